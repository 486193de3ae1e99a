// The map: one panel an objective, one colour scale for all of them.

const CHANGES = [ // of a ratio: dark blue below, orange above, so that the two sides differ in grey as well
  [0, "#0b1f4b"], [0.25, "#3f6fa8"], [0.45, "#c3d7e8"], [0.5, "#f4f2ee"], [0.55, "#fbe0bd"], [0.75, "#f2a94e"], [1, "#d4700c"],
];
const QUIET = { displayModeBar: false, doubleClick: false, responsive: false };
const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';

const map = document.getElementById("map");

function ink(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function columnOf(show = state.show) {
  return show === "ratio" ? `${state.pair.numeric} / ${state.pair.predicted}` : state.pair[show];
}

// Rectangles of the panels in parts of the figure: side by side, below each other where it is narrow.
function panelDomains() {
  const count = OBJECTIVES.length;
  const across = map.clientWidth < 560 ? 1 : count;
  const down = Math.ceil(count / across);
  const [gapX, gapY] = [24 / map.clientWidth, 74 / map.clientHeight];
  const [width, height] = [(1 - gapX * (across - 1)) / across, (1 - gapY * (down - 1)) / down];
  return OBJECTIVES.map((_, k) => {
    const left = (k % across) * (width + gapX);
    const top = 1 - Math.floor(k / across) * (height + gapY);
    return { x: [left, left + width], y: [Math.max(0, top - height), top], first: k % across === 0 };
  });
}

function suffix(panel) {
  return panel ? String(panel + 1) : "";
}

// Axis of a grid: cells of equal size, labelled with their values.
function gridAxis(axis, pixels) {
  if (axis === null) return { range: [-0.5, 0.5], showticklabels: false };
  const count = axis.values.length;
  const every = Math.ceil(count / Math.max(2, Math.floor(pixels)));
  const places = axis.values.map((_, place) => place).filter((place) => place % every === 0);
  return {
    range: [-0.5, count - 0.5],
    tickvals: places,
    ticktext: places.map((place) => escaped(labelOf(axis, place))),
  };
}

// Axis of points: to scale, by powers of ten if it spans more than one and a half of them.
function scatterAxis(axis) {
  if (axis.words) return gridAxis(axis, 99);
  const [low, high] = [Math.min(...axis.numbers), Math.max(...axis.numbers)];
  return low > 0 && high / low > 30 ? { type: "log", exponentformat: "power" } : { type: "linear" };
}

// Text in a figure may hold markup, so what a table says must not.
function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function colourAxis(rows) {
  const [low, high] = spanOf(rows);
  const bar = { thickness: 12, outlinewidth: 0, tickfont: { size: 11 }, title: { side: "right", font: { size: 12 } } };
  const [column, ratio] = [columnOf(), state.show === "ratio"];
  const unit = ratio ? "" : unitOf(page.columns[column]);
  if (state.scale === "log" && !ratio) {
    const ticks = logTicks(low, high, 7);
    bar.tickvals = ticks.map(Math.log10);
    bar.ticktext = ticks.map((tick) => brief(tick));
    bar.title.text = `${column}${unit}`;
  } else {
    bar.tickvals = roundBetween(low, high, 6);
    bar.ticktext = bar.tickvals.map((tick) => brief(tick));
    bar.title.text = !ratio ? `${column}${unit}` : state.scale === "log" ? `log₁₀(${column})` : `${column} − 1`;
  }
  return { cmin: low, cmax: high, colorscale: ratio ? CHANGES : "Viridis", colorbar: bar };
}

// Two layers a panel: what has a colour on the scale, and below it what has none.
function gridTraces(shown) {
  const { cells, width, height } = cellsOf(shown);
  const [across, up] = [[...Array(width).keys()], [...Array(height).keys()]];
  const seen = { without: false, infinite: false, absent: false };
  const layer = (panel, kind) =>
    up.map((y) => across.map((x) => {
      const row = cells[panel][y * width + x];
      const level = row < 0 ? NaN : heightOf(valueOf(row));
      if (kind === "colour") return Number.isFinite(level) ? level : null;
      if (row < 0) return (seen.absent = true) && 0;
      if (Math.abs(level) === Infinity || Math.abs(valueOf(row)) === Infinity) return (seen.infinite = true) && 1;
      if (Number.isNaN(level)) seen.without = true;
      return null; // the hatched ground shows through
    }));
  const gap = Math.max(width, height) <= 40 ? 1 : 0;
  const traces = OBJECTIVES.flatMap((_, panel) => {
    const common = { type: "heatmap", x: across, y: up, xgap: gap, ygap: gap, hoverinfo: "none", ...axesOf(panel) };
    const blank = [[0, ink("ground")], [0.5, ink("ground")], [0.5, ink("infinite")], [1, ink("infinite")]];
    return [
      { ...common, z: layer(panel, "rest"), zmin: 0, zmax: 1, colorscale: blank, showscale: false, hoverinfo: "skip" },
      { ...common, z: layer(panel, "colour"), coloraxis: "coloraxis", meta: { panel } },
    ];
  });
  return { traces, seen };
}

function axesOf(panel) {
  return { xaxis: `x${suffix(panel)}`, yaxis: `y${suffix(panel)}` };
}

function scatterTraces(shown) {
  const seen = { without: false, infinite: false, absent: false };
  const kindOf = (row) => {
    const level = heightOf(valueOf(row));
    if (Number.isFinite(level)) return "colour";
    return Math.abs(level) === Infinity || Math.abs(valueOf(row)) === Infinity ? "infinite" : "without";
  };
  const traces = OBJECTIVES.flatMap((_, panel) => {
    const rows = shown.filter((row) => panelOf(row) === panel);
    return ["without", "infinite", "colour"].map((kind) => {
      const here = rows.filter((row) => kindOf(row) === kind);
      if (here.length) seen[kind] = true;
      const size = rows.length > 2000 ? 5 : 8;
      const marker = {
        colour: { size, color: here.map((row) => heightOf(valueOf(row))), coloraxis: "coloraxis" },
        infinite: { size: size + 1, color: ink("infinite"), symbol: "diamond" },
        without: { size, color: ink("quiet"), symbol: "x-thin-open" },
      }[kind];
      return {
        type: "scatter", mode: "markers", ...axesOf(panel), meta: { panel }, hoverinfo: "none", showlegend: false,
        x: here.map((row) => state.across.numbers[placeOf(state.across, row)]),
        y: here.map((row) => state.up.numbers[placeOf(state.up, row)]),
        customdata: here, marker,
      };
    });
  });
  return { traces, seen };
}

function mapLayout(shown) {
  const domains = panelDomains();
  const layout = {
    ...plainLayout(),
    margin: { l: 62, r: 92, t: 26, b: 46 },
    coloraxis: colourAxis(shown),
    hovermode: "closest",
    annotations: [],
    shapes: frameShapes(),
  };
  domains.forEach((domain, panel) => {
    const [width, height] = [domain.x, domain.y].map(([low, high]) => high - low);
    const roomX = (width * (map.clientWidth - 154)) / 46;
    const roomY = (height * (map.clientHeight - 72)) / 20;
    const axis = (which, room) => (scattered() ? scatterAxis(which) : gridAxis(which, room));
    const common = { fixedrange: true, showgrid: false, zeroline: false, ticks: "outside", ticklen: 4, tickcolor: ink("line") };
    layout[`xaxis${suffix(panel)}`] = {
      ...common, ...axis(state.across, roomX), domain: domain.x, anchor: `y${suffix(panel)}`,
      title: { text: state.across ? state.across.name : "", standoff: 6 }, tickangle: 0,
    };
    layout[`yaxis${suffix(panel)}`] = {
      ...common, ...axis(state.up, roomY), domain: domain.y, anchor: `x${suffix(panel)}`,
      title: { text: domain.first && state.up ? state.up.name : "", standoff: 6 },
      ...(domain.first ? {} : { showticklabels: false }),
    };
    layout.annotations.push({
      text: `<b>${escaped(OBJECTIVES[panel])}</b>`, showarrow: false, xref: "paper", yref: "paper",
      x: domain.x[0], y: domain.y[1], xanchor: "left", yanchor: "bottom", font: { size: 14 },
    });
  });
  return layout;
}

function plainLayout() {
  return {
    font: { family: FONT, size: 12, color: ink("text") },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    dragmode: false,
    showlegend: false,
  };
}

// A light line around a dark one, so that the frame is seen on any colour.
function frameShapes() {
  if (scattered()) return scatterFrame();
  const [x, y] = [state.across, state.up].map((axis) => (axis ? state.place[axis.name] : 0));
  const place = { x0: x - 0.5, x1: x + 0.5, y0: y - 0.5, y1: y + 0.5 };
  return outlined({ type: "rect", xref: `x${suffix(state.panel)}`, yref: `y${suffix(state.panel)}`, ...place });
}

function scatterFrame() {
  if (state.row < 0) return [];
  const [x, y] = [state.across, state.up].map((axis) => axis.numbers[placeOf(axis, state.row)]);
  const circle = { xsizemode: "pixel", ysizemode: "pixel", xanchor: x, yanchor: y, x0: -8, x1: 8, y0: -8, y1: 8 };
  return outlined({ type: "circle", xref: `x${suffix(state.panel)}`, yref: `y${suffix(state.panel)}`, ...circle });
}

function outlined(shape) {
  return [["#ffffff", 5], ["#000000", 2]].map(([color, width]) => ({ ...shape, line: { color, width } }));
}

// Hatched, black and blank cells, explained where they occur.
function drawLegend(seen, shown) {
  const mark = scattered() ? "mark" : "swatch";
  const entries = [
    [seen.without, `${mark} without`, state.scale === "log" ? "no number, or none above 0 for the log scale" : "no number"],
    [seen.infinite, `${mark} infinite`, "infinite"],
    [seen.absent, "swatch absent", "no such point in the sweep"],
  ];
  const keys = entries.filter(([there]) => there).map(([, kind, text]) => element("span", { className: "key" }, element("i", { className: kind }), text));
  const doubled = scattered() ? 0 : cellsOf(shown).doubled;
  if (doubled) keys.push(element("strong", {}, `${counted(doubled)} rows share a cell with another; the first of a cell is shown.`));
  if (!shown.length) keys.push(element("strong", {}, "The sweep has no points at these values."));
  document.getElementById("legend").replaceChildren(...keys);
}

function drawMap() {
  const shown = visibleRows();
  const { traces, seen } = scattered() ? scatterTraces(shown) : gridTraces(shown);
  drawLegend(seen, shown);
  const column = columnOf();
  document.getElementById("map-title").textContent = `${column}${state.show === "ratio" ? "" : unitOf(page.columns[column])}`;
  return Plotly.react(map, traces, mapLayout(shown), QUIET);
}

// The row under a point of the figure, as plotly tells of it.
function rowUnder(point) {
  if (point.customdata !== undefined) return point.customdata;
  return cellsOf(visibleRows()).cells[point.data.meta.panel][point.y * lengthOf(state.across) + point.x];
}
