// The view: what is chosen, which rows it shows, and what they are worth.

const state = {
  pair: page.pairs[0],
  show: "numeric", // or "predicted", "ratio"
  scale: "log",
  span: "view", // of the colour scale; or "all" rows of the page
  across: null,
  up: null,
  place: {}, // axis name -> place of the value at which the view is cut, or the frame stands
  panel: 0,
  row: -1, // framed; -1 where the sweep has no such point
  drawn: -1, // whose trajectory is drawn
};

// Axes with a slider: those not drawn, but for axes that hardly repeat a value, along which one cannot cut.
function cutAxes() {
  return AXES.filter((axis) => axis !== state.across && axis !== state.up && !SCATTERED.has(axis.name));
}

function visibleRows() {
  const cuts = cutAxes().map((axis) => [page.codes[axis.name], state.place[axis.name]]);
  const rows = [];
  for (let row = 0; row < page.count; row++) {
    if (cuts.every(([codes, place]) => codes[row] === place)) rows.push(row);
  }
  return rows;
}

function panelOf(row) {
  return page.codes.objective[row];
}

function placeOf(axis, row) {
  return axis === null ? 0 : page.codes[axis.name][row];
}

function lengthOf(axis) {
  return axis === null ? 1 : axis.values.length;
}

// Rows by cell, panel by panel: -1 where there is none. Should two rows share a cell, the first stands for both.
function cellsOf(rows) {
  const [width, height] = [lengthOf(state.across), lengthOf(state.up)];
  const cells = OBJECTIVES.map(() => new Int32Array(width * height).fill(-1));
  let doubled = 0;
  for (const row of rows) {
    const cell = placeOf(state.up, row) * width + placeOf(state.across, row);
    if (cells[panelOf(row)][cell] >= 0) doubled++;
    else cells[panelOf(row)][cell] = row;
  }
  return { cells, width, height, doubled };
}

// What is shown of a row: a measured number, its prediction, or their ratio.
function valueOf(row, show = state.show) {
  const { numeric, predicted } = state.pair;
  if (show === "numeric") return page.values[numeric][row];
  if (show === "predicted") return page.values[predicted][row];
  return page.values[numeric][row] / page.values[predicted][row];
}

// Where a value lies on the colour scale; NaN if nowhere. Ratios are measured from 1.
function heightOf(value) {
  if (state.scale === "log") return value > 0 ? Math.log10(value) : NaN;
  return state.show === "ratio" ? value - 1 : value;
}

function rowsSpanned(rows) {
  return state.span === "view" ? rows : page.codes.objective.keys();
}

// Both ends of the colour scale.
function spanOf(rows) {
  let [low, high] = [Infinity, -Infinity];
  for (const row of rowsSpanned(rows)) {
    const height = heightOf(valueOf(row));
    if (Number.isFinite(height)) [low, high] = [Math.min(low, height), Math.max(high, height)];
  }
  if (low > high) [low, high] = [0, 1];
  if (state.show === "ratio") {
    high = Math.max(Math.abs(low), Math.abs(high)) || 1e-16;
    low = -high;
  }
  const margin = high > low ? 0 : state.scale === "log" ? 0.05 : Math.abs(low) * 0.05 || 1;
  return [low - margin, high + margin];
}

// Put the frame on a row, and the sliders where it lies.
function frameRow(row) {
  state.row = row;
  state.panel = panelOf(row);
  for (const axis of AXES) state.place[axis.name] = page.codes[axis.name][row];
}

// The row at the places of the sliders and the frame, in the panel of the frame; -1 if there is none.
function rowAtFrame() {
  for (let row = 0; row < page.count; row++) {
    if (panelOf(row) === state.panel && AXES.every((axis) => page.codes[axis.name][row] === state.place[axis.name])) {
      return row;
    }
  }
  return -1;
}

// A first row to look at: one of the cut with the most rows, near its middle, with a value and a trajectory.
function firstRow() {
  const cuts = cutAxes();
  const counts = new Map();
  const known = page.values[state.pair.predicted || state.pair.numeric];
  const keyOf = (row) => cuts.map((axis) => page.codes[axis.name][row]).join();
  for (let row = 0; row < page.count; row++) {
    if (!Number.isFinite(known[row])) continue;
    counts.set(keyOf(row), (counts.get(keyOf(row)) ?? 0) + 1);
  }
  const fullest = Math.max(...counts.values());
  const best = [...counts].filter(([, count]) => count === fullest).map(([key]) => key);
  const cut = best[Math.floor(best.length / 2)];
  const rows = [...page.codes.objective.keys()].filter((row) => panelOf(row) === 0 && (!counts.size || keyOf(row) === cut));
  const merit = (row) => 2 * (samplesOf("trajectories", row) !== null) + Number.isFinite(valueOf(row));
  const most = rows.reduce((best, row) => Math.max(best, merit(row)), 0);
  const among = rows.length ? rows.filter((row) => merit(row) === most) : [0];
  const fromMiddle = (row) => [state.across, state.up].reduce((sum, axis) => sum + Math.abs((placeOf(axis, row) + 0.5) / lengthOf(axis) - 0.5), 0);
  return among.reduce((best, row) => (fromMiddle(row) < fromMiddle(best) ? row : best));
}

// The two longest axes that are not words, else any; scattered ones before all others.
function firstAxes() {
  const rank = (axis) => (SCATTERED.has(axis.name) ? 1e9 : 0) + (axis.words ? 0 : 1e6) + axis.values.length;
  const ranked = [...AXES].sort((a, b) => rank(b) - rank(a));
  return AXES.filter((axis) => ranked.slice(0, 2).includes(axis));
}
