// The trajectory of the framed cell: the response by integration, what theory predicts, and the loss if there is one.

const path = document.getElementById("path");

function parametersOf(row) {
  return AXES.map((axis) => `${axis.name} = ${labelOf(axis, page.codes[axis.name][row])}`).join(", ");
}

function whyNoPath(row) {
  if (row < 0) return "The sweep has no point in this cell.";
  if (!page.trajectories) return "A run of this kind stores no trajectories.";
  if (page.trajectories.begins.length === 1) return "This run stores no trajectories.";
  if (!page.trajectories.thinned) return "No trajectory is stored for this point.";
  return "No trajectory of this point is in the page, which holds some of them only; the line below reads it.";
}

function curveTraces(samples) {
  const style = [
    { mode: samples.t.length <= 100 ? "lines+markers" : "lines", line: { color: ink("series-1"), width: 2 }, marker: { size: 4 } },
    { mode: "lines", line: { color: ink("series-2"), width: 2, dash: "dash" } },
  ];
  return page.trajectories.lines.map((name, k) => ({
    type: "scatter", x: samples.t, y: samples[name], ...style[k],
    name: `${name}, ${page.trajectories.columns[name].meaning.replace("encoder response", "").trim() || "encoder response"}`,
    hovertemplate: `t = %{x}<br>${name} = %{y}<extra></extra>`,
  }));
}

// Where the response should meet its threshold, measured and predicted, if the pair at hand are times.
function crossingTraces(row) {
  const { numeric, predicted } = state.pair;
  const threshold = page.values.w_star[row] * Number(literalOf("p", row));
  if (!numeric.startsWith("t_")) return [];
  return [[page.crossing, "circle-open", "series-1"], [predicted, "x-thin-open", "series-2"]]
    .filter(([name]) => name && Number.isFinite(page.values[name][row]))
    .map(([name, symbol, colour]) => ({
      type: "scatter", mode: "markers", x: [page.values[name][row]], y: [threshold], name: `${name}, at p w_star`,
      marker: { symbol, size: 12, color: ink(colour), line: { width: 2, color: ink(colour) } },
      hovertemplate: `${name} = %{x}<br>p w_star = %{y}<extra></extra>`,
    }));
}

function restLine(row) {
  const rest = page.values.w_star[row];
  const line = { color: ink("quiet"), width: 1, dash: "dot" };
  return { type: "line", xref: "x domain", yref: "y", x0: 0, x1: 1, y0: rest, y1: rest, line };
}

function restLabel(row) {
  const rest = page.values.w_star[row];
  const y = document.getElementById("log-w").checked ? Math.log10(rest) : rest;
  return {
    text: "w_star", xref: "x domain", yref: "y", x: 0, y, xanchor: "left", yanchor: "bottom", showarrow: false,
    font: { size: 11, color: ink("quiet") },
  };
}

// Linear, or logarithmic with ticks at round numbers, as the box `id` says.
function scaleFor(id, values) {
  if (!document.getElementById(id).checked) return { type: "linear", nticks: 6 };
  const positive = values.filter((value) => value > 0);
  if (!positive.length) return { type: "log" };
  const ends = [Math.log10(positive.reduce((a, b) => Math.min(a, b))), Math.log10(positive.reduce((a, b) => Math.max(a, b)))];
  const ticks = logTicks(...ends, 5);
  return { type: "log", tickvals: ticks, ticktext: ticks.map(powerOrBrief) };
}

function pathLayout(row, samples, losses) {
  const time = escaped(`t${unitOf(page.trajectories.columns.t)}`);
  const lines = { gridcolor: ink("faint"), zerolinecolor: ink("faint"), fixedrange: true, exponentformat: "power", linecolor: ink("line") };
  const narrow = path.clientWidth < 480;
  const layout = {
    ...plainLayout(path),
    dragmode: false,
    margin: { l: 62, r: 12, t: 8, b: 46 },
    showlegend: true,
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", xanchor: "left", font: { size: 11 } },
    xaxis: { ...lines, title: { text: time, standoff: 6 }, ...scaleFor("log-t", samples.t), domain: losses && !narrow ? [0, 0.56] : [0, 1], anchor: "y" },
    yaxis: { ...lines, title: { text: escaped(page.trajectories.lines[0]), standoff: 6 }, ...scaleFor("log-w", samples[page.trajectories.lines[0]]), domain: losses && narrow ? [0.6, 1] : [0, 1] },
    shapes: [restLine(row)],
    annotations: [restLabel(row)],
  };
  if (losses) {
    layout.xaxis2 = { ...lines, title: { text: time, standoff: 6 }, ...scaleFor("log-t", losses.t), domain: narrow ? [0, 1] : [0.7, 1], anchor: "y2" };
    layout.yaxis2 = { ...lines, title: { text: "loss", standoff: 6 }, domain: narrow ? [0, 0.35] : [0, 1], anchor: "x2" };
  }
  return layout;
}

function drawPath() {
  const row = state.drawn;
  const samples = samplesOf("trajectories", row);
  const losses = samplesOf("losses", row);
  const about = row < 0 ? "" : [OBJECTIVES[panelOf(row)], parametersOf(row)].filter(Boolean).join(" · ");
  document.getElementById("path-of").textContent = samples ? about : whyNoPath(row);
  for (const node of [path, document.getElementById("path-choices")]) node.hidden = !samples;
  if (!samples) return;
  path.style.height = losses && path.clientWidth < 480 ? "440px" : "";
  const traces = [...curveTraces(samples), ...crossingTraces(row)];
  if (losses) {
    traces.push({
      type: "scatter", mode: "lines", x: losses.t, y: losses.loss, xaxis: "x2", yaxis: "y2", name: "loss", showlegend: false,
      line: { color: ink("series-1"), width: 2 }, hovertemplate: "t = %{x}<br>loss = %{y}<extra></extra>",
    });
  }
  Plotly.react(path, traces, pathLayout(row, samples, losses), { displayModeBar: false, doubleClick: false });
}
