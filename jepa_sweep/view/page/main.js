// What happens when: controls, keys, pointer and theme.

function optionsFor(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, text]) => element("option", { value, textContent: text, selected: value === chosen })));
}

function fillControls() {
  optionsFor(document.getElementById("pair"), page.pairs.map((pair, k) => [String(k), pair.title]), "0");
  const axes = AXES.map((axis) => [axis.name, axis.name]);
  optionsFor(document.getElementById("across"), axes, state.across?.name);
  optionsFor(document.getElementById("up"), axes, state.up?.name);
  document.getElementById("axes").hidden = AXES.length < 2;
  const constants = CONSTANTS.map((axis) => `${axis.name} = ${axis.values[0] === null ? "none" : labelOf(axis, 0)}`);
  document.getElementById("constants").textContent = constants.length ? `The same in all points: ${constants.join(", ")}.` : "";
  const sentences = [page.sentence, page.trajectories?.lines.length && page.trajectories.begins.length > 1 ? page.trajectories.sentence : ""];
  document.getElementById("sentence").textContent = sentences.filter(Boolean).join(" ");
}

function sliderOf(axis) {
  const shown = element("output", {}, axis.words ? "" : labelOf(axis, state.place[axis.name]));
  const name = element("span", { title: meaningOf(axis.name) }, axis.name);
  if (axis.words) {
    const select = element("select", { id: `cut-${axis.name}` });
    optionsFor(select, axis.values.map((_, place) => [String(place), labelOf(axis, place)]), String(state.place[axis.name]));
    select.addEventListener("change", () => cutAt(axis, Number(select.value), shown));
    return element("label", { className: "field" }, name, select);
  }
  const range = element("input", { type: "range", id: `cut-${axis.name}`, min: "0", max: String(axis.values.length - 1), step: "1" });
  range.value = String(state.place[axis.name]);
  range.setAttribute("aria-valuetext", labelOf(axis, state.place[axis.name]));
  range.addEventListener("input", () => {
    range.setAttribute("aria-valuetext", labelOf(axis, Number(range.value)));
    cutAt(axis, Number(range.value), shown);
  });
  return element("label", { className: "field slider" }, name, shown, range);
}

function drawSliders() {
  document.getElementById("sliders").replaceChildren(...cutAxes().map(sliderOf));
}

function cutAt(axis, place, shown) {
  state.place[axis.name] = place;
  if (!axis.words) shown.textContent = labelOf(axis, place);
  if (SCATTERED.size) {
    const rows = visibleRows();
    if (rows.length) frameRow(rows.find((row) => panelOf(row) === state.panel) ?? rows[0]);
    else state.row = -1;
  } else state.row = rowAtFrame();
  draw();
}

// Everything that depends on the view or on the frame.
function draw() {
  drawMap();
  drawReadout(state.row, "Framed cell");
  drawTrajectory();
}

// The frame alone has moved.
function reframe(row) {
  state.row = row;
  Plotly.relayout(map, { shapes: frameShapes() });
  drawReadout(row, "Framed cell");
}

function drawTrajectory() {
  state.drawn = state.row;
  drawPath();
  drawCode();
}

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

function onKey(event) {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key in STEPS) {
    event.preventDefault();
    reframe(SCATTERED.size ? scatterStep(...STEPS[event.key]) : gridStep(...STEPS[event.key]));
    announce(state.row);
  } else if (event.key === "Enter") drawTrajectory();
}

// To the next cell; over the edge of a panel into the one beside it.
function gridStep(right, upward) {
  const width = lengthOf(state.across);
  const along = (state.across ? state.place[state.across.name] : 0) + right;
  const panel = state.panel + Math.floor(along / width);
  if (panel >= 0 && panel < OBJECTIVES.length) {
    state.panel = panel;
    if (state.across) state.place[state.across.name] = (along + width) % width;
  }
  if (state.up) state.place[state.up.name] = Math.min(lengthOf(state.up) - 1, Math.max(0, state.place[state.up.name] + upward));
  return rowAtFrame();
}

// To the next point of the panel in the order of the axis.
function scatterStep(right, upward) {
  const codes = page.codes[(right ? state.across : state.up).name];
  const rows = visibleRows().filter((row) => panelOf(row) === state.panel).sort((a, b) => codes[a] - codes[b]);
  const next = rows[rows.indexOf(state.row) + right + upward] ?? state.row;
  if (next >= 0) frameRow(next);
  return next;
}

function onMove(event) {
  const under = underPointer(event);
  if (!under) return drawReadout(state.row, "Framed cell");
  return drawReadout(under.row, "Under the pointer", factsOfNothing(under.panel, under.place));
}

function onClick(event) {
  const under = underPointer(event);
  if (!under) return;
  if (under.row >= 0) frameRow(under.row);
  else [state.place, state.panel] = [under.place, under.panel];
  reframe(under.row);
  drawTrajectory();
}

function onAxis(which, other) {
  const chosen = axisNamed(document.getElementById(which).value);
  if (state[other] === chosen) state[other] = state[which]; // the two change places
  state[which] = chosen;
  document.getElementById(other).value = state[other].name;
  drawSliders();
  draw();
}

// Times are told apart by powers of ten, all else by differences.
function chooseScale() {
  state.scale = state.pair.numeric.startsWith("t_") ? "log" : "linear";
  document.querySelector(`[name=scale][value=${state.scale}]`).checked = true;
}

// What nothing predicts is shown as it was measured.
function choosePair(pair) {
  state.pair = pair;
  document.getElementById("shown").hidden = !pair.predicted;
  if (!pair.predicted) state.show = "numeric";
  document.querySelector(`[name=show][value=${state.show}]`).checked = true;
  chooseScale();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  document.getElementById("theme").textContent = theme === "dark" ? "Light" : "Dark";
}

function watchTheme() {
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  setTheme(preferred.matches ? "dark" : "light");
  preferred.addEventListener("change", () => {
    setTheme(preferred.matches ? "dark" : "light");
    if (page.count) draw();
  });
  document.getElementById("theme").addEventListener("click", () => {
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    if (page.count) draw();
  });
}

function listen() {
  document.getElementById("pair").addEventListener("change", (event) => {
    choosePair(page.pairs[Number(event.target.value)]);
    draw();
  });
  for (const name of ["show", "scale", "span"]) {
    for (const radio of document.getElementsByName(name)) {
      radio.addEventListener("change", () => {
        state[name] = radio.value;
        draw();
      });
    }
  }
  document.getElementById("across").addEventListener("change", () => onAxis("across", "up"));
  document.getElementById("up").addEventListener("change", () => onAxis("up", "across"));
  document.getElementById("whole").addEventListener("change", drawCode);
  for (const id of ["log-t", "log-w"]) document.getElementById(id).addEventListener("change", drawPath);
  map.addEventListener("keydown", onKey);
  map.addEventListener("mousemove", onMove);
  map.addEventListener("mouseleave", () => drawReadout(state.row, "Framed cell"));
  map.addEventListener("click", onClick);
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(draw, 100);
  });
}

const NOUNS = { trajectories: "samples of trajectories", losses: "samples of losses" };

function summarise() {
  const { rows, last } = page.provenance;
  const timed = page.pairs.some((pair) => pair.numeric.startsWith("t_"));
  const time = timed ? { paper: "paper time T = L t", flow: "flow time t = T / L" }[page.time] : "";
  const noun = (name, n) => (n === 1 ? (NOUNS[name] ?? name).replace(/s( |$)/, "$1") : NOUNS[name] ?? name);
  const counts = Object.entries(rows).filter(([, n]) => n).map(([name, n]) => `${counted(n)} ${noun(name, n)}`);
  const date = last ? last.slice(0, 10) : "";
  document.getElementById("summary").textContent = [...counts, time, date].filter(Boolean).join(" · ");
}

function begin() {
  watchTheme();
  summarise();
  drawCensus();
  drawProvenance();
  if (!page.count) {
    document.getElementById("nothing").hidden = false;
    return;
  }
  // A store without integration has predictions only.
  if (page.values[state.pair.numeric].every(Number.isNaN)) state.show = "predicted";
  choosePair(state.pair);
  [state.across = null, state.up = null] = firstAxes();
  frameRow(firstRow());
  document.getElementById("explorer").hidden = false;
  fillControls();
  drawSliders();
  draw();
  listen();
}

begin();
