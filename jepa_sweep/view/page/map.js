// The map: one panel an objective, one colour scale for all of them.

const CHANGES = [ // of a ratio: dark blue below, orange above, so that the two sides differ in grey as well
  [0, "#0b1f4b"], [0.25, "#3f6fa8"], [0.45, "#c3d7e8"], [0.5, "#f4f2ee"], [0.55, "#fbe0bd"], [0.75, "#f2a94e"], [1, "#d4700c"],
];
const MARGIN = { l: 78, r: 104, t: 26, b: 46, autoexpand: false };
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
  const across = isNarrow() ? 1 : count;
  const down = Math.ceil(count / across);
  const [gapX, gapY] = [24 / map.clientWidth, 74 / map.clientHeight];
  const [width, height] = [(1 - gapX * (across - 1)) / across, (1 - gapY * (down - 1)) / down];
  return OBJECTIVES.map((_, k) => {
    const left = (k % across) * (width + gapX);
    const top = 1 - Math.floor(k / across) * (height + gapY);
    return { x: [left, left + width], y: [Math.max(0, top - height), top], first: k % across === 0 };
  });
}

function isNarrow() {
  return map.clientWidth < 560;
}

function suffix(panel) {
  return panel ? String(panel + 1) : "";
}

function widthOfLabels(axis) {
  return axis === null ? 1 : 8 + 6.6 * axis.values.reduce((most, _, place) => Math.max(most, labelOf(axis, place).length), 0);
}

function titleOf(axis) {
  return axis === null ? "" : escaped(`${axis.name}${unitOf(page.columns[axis.name])}`);
}

// Axis of a grid: cells of equal size, labelled with their values.
function gridAxis(axis, pixels, perLabel = widthOfLabels(axis)) {
  if (axis === null) return { range: [-0.5, 0.5], tickvals: [] };
  const count = axis.values.length;
  const every = Math.max(1, Math.ceil(count / Math.max(2, Math.floor(pixels / perLabel))));
  const places = axis.values.map((_, place) => place).filter((place) => place % every === 0);
  return {
    range: [-0.5, count - 0.5],
    tickvals: places,
    ticktext: places.map((place) => escaped(labelOf(axis, place))),
  };
}

// Axes of points are to scale, those that span more than one and a half powers of ten by their logarithm.
function byLogarithm(axis) {
  return !axis.words && axis.low > 0 && axis.high / axis.low > 30;
}

function coordinateOf(axis, row) {
  const number = axis.numbers[placeOf(axis, row)];
  return byLogarithm(axis) ? Math.log10(number) : number;
}

function scatterRange(axis) {
  if (axis.words) return [-0.5, axis.values.length - 0.5];
  const [low, high] = byLogarithm(axis) ? [Math.log10(axis.low), Math.log10(axis.high)] : [axis.low, axis.high];
  const margin = 0.04 * (high - low);
  return [low - margin, high + margin];
}

function scatterAxis(axis) {
  if (axis.words) return gridAxis(axis, Infinity);
  if (!byLogarithm(axis)) return { range: scatterRange(axis), nticks: 7 };
  const ticks = logTicks(Math.log10(axis.low), Math.log10(axis.high), 6);
  return { range: scatterRange(axis), tickvals: ticks.map(Math.log10), ticktext: ticks.map(powerOrBrief) };
}

// Text in a figure may hold markup, so what a table says must not.
function escaped(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function colourAxis(rows) {
  const [low, high] = spanOf(rows);
  const bar = { thickness: 12, outlinewidth: 0, tickfont: { size: 11 } };
  const ratio = state.show === "ratio";
  if (state.scale === "log" && !ratio) {
    const ticks = logTicks(low, high, 7);
    bar.tickvals = ticks.map(Math.log10);
    bar.ticktext = ticks.every((tick) => Number.isInteger(Math.log10(tick))) ? ticks.map(powerOrBrief) : toldApart(ticks);
  } else {
    bar.tickvals = roundBetween(low, high, 6);
    bar.ticktext = toldApart(bar.tickvals);
  }
  return { cmin: low, cmax: high, colorscale: ratio ? CHANGES : "Viridis", colorbar: bar };
}

function powerOrBrief(tick) {
  const exponent = Math.log10(tick);
  return Number.isInteger(exponent) && Math.abs(exponent) > 2 ? `10<sup>${brief(exponent)}</sup>` : brief(tick);
}

// How a row is drawn: with a colour of the scale, or why not.
function kindOf(row) {
  if (row < 0) return "absent";
  if (Number.isFinite(heightOf(valueOf(row)))) return "colour";
  const value = valueOf(row);
  if (Math.abs(value) === Infinity) return "infinite";
  return Number.isNaN(value) ? "without" : "negative";
}

// What the numbers beside the colours are, at the right edge of the figure.
function colourTitle() {
  const column = columnOf();
  const unit = state.show === "ratio" ? "" : unitOf(page.columns[column]);
  const ratio = state.scale === "log" ? `log₁₀(${column})` : `${column} − 1`;
  return {
    text: escaped(state.show === "ratio" ? ratio : `${column}${unit}`), textangle: -90, showarrow: false,
    xref: "paper", yref: "paper", x: 1, y: 0.5, xshift: MARGIN.r - 10, xanchor: "center", yanchor: "middle",
  };
}

// What lies below a cell, so that only cells without a number show the hatched ground of the panel.
const GROUNDS = { colour: 0, absent: 0, infinite: 1, without: null, negative: null };

// Two layers a panel: the grounds, and the colours on them.
function gridTraces(shown) {
  const { cells, width, height } = cellsOf(shown);
  const [across, up] = [[...Array(width).keys()], [...Array(height).keys()]];
  const gap = Math.max(width, height) <= 40 ? 1 : 0;
  const blank = [[0, ink("ground")], [0.5, ink("ground")], [0.5, ink("infinite")], [1, ink("infinite")]];
  const seen = new Set();
  const traces = OBJECTIVES.flatMap((_, panel) => {
    const layer = (draw) => up.map((y) => across.map((x) => draw(cells[panel][y * width + x])));
    const grounds = layer((row) => {
      seen.add(kindOf(row));
      return GROUNDS[kindOf(row)];
    });
    const colours = layer((row) => (kindOf(row) === "colour" ? heightOf(valueOf(row)) : null));
    const common = { type: "heatmap", x: across, y: up, ...axesOf(panel) };
    return [
      { ...common, z: grounds, zmin: 0, zmax: 1, colorscale: blank, showscale: false },
      { ...common, z: colours, xgap: gap, ygap: gap, coloraxis: "coloraxis", meta: { panel } },
    ];
  });
  return { traces, seen };
}

function axesOf(panel) {
  return { xaxis: `x${suffix(panel)}`, yaxis: `y${suffix(panel)}` };
}

function scatterTraces(shown) {
  const seen = new Set();
  const traces = OBJECTIVES.flatMap((_, panel) => {
    const rows = shown.filter((row) => panelOf(row) === panel);
    const room = Math.sqrt((map.clientWidth * map.clientHeight) / OBJECTIVES.length / rows.length);
    const size = Math.min(9, Math.max(3, 0.55 * room));
    return ["without", "negative", "infinite", "colour"].map((kind) => {
      const here = rows.filter((row) => kindOf(row) === kind);
      if (here.length) seen.add(kind);
      const marker = {
        colour: { line: { width: size > 5 ? 0.5 : 0, color: ink("line") }, size, color: here.map((row) => heightOf(valueOf(row))), coloraxis: "coloraxis" },
        infinite: { size: size + 1, color: ink("infinite"), symbol: "diamond" },
        negative: { size, color: ink("quiet"), symbol: "x-thin-open" },
        without: { size, color: ink("quiet"), symbol: "x-thin-open" },
      }[kind];
      return {
        type: "scatter", mode: "markers", ...axesOf(panel), meta: { panel },
        x: here.map((row) => coordinateOf(state.across, row)),
        y: here.map((row) => coordinateOf(state.up, row)),
        customdata: here, marker,
      };
    });
  });
  return { traces, seen };
}

function mapLayout(shown) {
  const domains = panelDomains();
  const layout = {
    ...plainLayout(map),
    margin: MARGIN,
    coloraxis: colourAxis(shown),
    annotations: [colourTitle()],
    shapes: frameShapes(),
  };
  domains.forEach((domain, panel) => {
    const [width, height] = [domain.x, domain.y].map(([low, high]) => high - low);
    const [roomX, roomY] = [width * (map.clientWidth - MARGIN.l - MARGIN.r), height * (map.clientHeight - MARGIN.t - MARGIN.b)];
    const axis = (which, ...room) => (SCATTERED.size ? scatterAxis(which) : gridAxis(which, ...room));
    const lines = { ticks: "outside", ticklen: 4, tickcolor: ink("line"), showline: true, mirror: true, linecolor: ink("line") };
    const common = { showgrid: false, zeroline: false, ...lines };
    layout[`xaxis${suffix(panel)}`] = {
      ...common, ...axis(state.across, roomX), domain: domain.x, anchor: `y${suffix(panel)}`,
      title: { text: titleOf(state.across), standoff: 6 }, tickangle: 0,
    };
    layout[`yaxis${suffix(panel)}`] = {
      ...common, ...axis(state.up, roomY, 20), domain: domain.y, anchor: `x${suffix(panel)}`,
      title: { text: domain.first ? titleOf(state.up) : "", standoff: 10 },
      ...(domain.first ? {} : { showticklabels: false }),
    };
    layout.annotations.push({
      text: `<b>${escaped(OBJECTIVES[panel])}</b>`, showarrow: false, xref: "paper", yref: "paper",
      x: domain.x[0], y: domain.y[1], xanchor: "left", yanchor: "bottom", font: { size: 14 },
    });
  });
  return layout;
}

function plainLayout(node) {
  return {
    width: node.clientWidth,
    height: node.clientHeight,
    font: { family: FONT, size: 12, color: ink("text") },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    showlegend: false,
  };
}

// A light line around a dark one, so that the frame is seen on any colour.
function frameShapes() {
  if (SCATTERED.size) return scatterFrame();
  const [x, y] = [state.across, state.up].map((axis) => (axis ? state.place[axis.name] : 0));
  const place = { x0: x - 0.5, x1: x + 0.5, y0: y - 0.5, y1: y + 0.5 };
  return outlined({ type: "rect", xref: `x${suffix(state.panel)}`, yref: `y${suffix(state.panel)}`, ...place });
}

function scatterFrame() {
  if (state.row < 0) return [];
  const [x, y] = [state.across, state.up].map((axis) => coordinateOf(axis, state.row));
  const circle = { xsizemode: "pixel", ysizemode: "pixel", xanchor: x, yanchor: y, x0: -8, x1: 8, y0: -8, y1: 8 };
  return outlined({ type: "circle", xref: `x${suffix(state.panel)}`, yref: `y${suffix(state.panel)}`, ...circle });
}

function outlined(shape) {
  return [["#ffffff", 5], ["#000000", 2]].map(([color, width]) => ({ ...shape, line: { color, width } }));
}

// Hatched, black and blank cells, explained where they occur.
function drawLegend(seen, shown) {
  const mark = SCATTERED.size ? "mark" : "swatch";
  const entries = [
    ["without", "no number"],
    ["negative", "not above 0, so not on a log scale"],
    ["infinite", "infinite"],
    ["absent", "no such point in the sweep"],
  ];
  const key = ([kind, text]) => element("span", { className: "key" }, element("i", { className: `${mark} ${kind}` }), text);
  const keys = entries.filter(([kind]) => seen.has(kind)).map(key);
  const doubled = SCATTERED.size ? 0 : cellsOf(shown).doubled;
  if (doubled) keys.push(element("strong", {}, `Rows not shown, since another has the same cell: ${counted(doubled)}.`));
  if (!shown.length) keys.push(element("strong", {}, "The sweep has no points at these values."));
  document.getElementById("legend").replaceChildren(...keys);
}

function drawMap() {
  const shown = visibleRows();
  const { traces, seen } = SCATTERED.size ? scatterTraces(shown) : gridTraces(shown);
  map.style.height = isNarrow() ? `${90 + 230 * OBJECTIVES.length}px` : "";
  map.classList.toggle("cells", SCATTERED.size === 0);
  drawLegend(seen, shown);
  const column = columnOf();
  document.getElementById("map-title").textContent = `${column}${state.show === "ratio" ? "" : unitOf(page.columns[column])}`;
  return Plotly.react(map, traces, mapLayout(shown), { staticPlot: true });
}
