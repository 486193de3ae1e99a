"use strict";
// What the page knows: the block of JSON beside these scripts, its columns as typed arrays.

const TYPES = {
  u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, i4: Int32Array, f4: Float32Array, f8: Float64Array,
};

function decoded(packed) {
  const text = atob(packed.data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new TYPES[packed.type](bytes.buffer);
}

function decodedAll(columns) {
  return Object.fromEntries(Object.entries(columns).map(([name, packed]) => [name, decoded(packed)]));
}

const page = JSON.parse(document.getElementById("data").textContent);
page.codes = decodedAll(page.codes);
page.values = decodedAll(page.values);
page.status = page.status && decoded(page.status);
for (const kind of ["trajectories", "losses"]) {
  const samples = page[kind];
  if (!samples) continue;
  samples.curve = decoded(samples.curve);
  samples.begins = decoded(samples.begins);
  samples.values = decodedAll(samples.values);
}

// The objective is not among the axes: its values stand side by side.
const OBJECTIVES = page.axes[0].values;
const AXES = page.axes.slice(1).filter((axis) => axis.values.length > 1);
const CONSTANTS = page.axes.slice(1).filter((axis) => axis.values.length === 1);
const SCATTERED = new Set(page.scattered); // axes that hardly repeat a value: then points are drawn, not cells

for (const axis of page.axes) {
  // Where the values lie if they are drawn to scale; words and missing values have a place instead.
  axis.numbers = axis.values.map((value, place) => (axis.words || value === null ? place : Number(value)));
  axis.low = axis.numbers.reduce((a, b) => Math.min(a, b), Infinity);
  axis.high = axis.numbers.reduce((a, b) => Math.max(a, b), -Infinity);
}

function axisNamed(name) {
  return page.axes.find((axis) => axis.name === name);
}

function literalOf(name, row) {
  return axisNamed(name).values[page.codes[name][row]];
}

// The samples of one row, column by column; null if the page has none.
function samplesOf(kind, row) {
  const samples = page[kind];
  if (!samples || row < 0 || samples.curve[row] < 0) return null;
  const [from, to] = [samples.begins[samples.curve[row]], samples.begins[samples.curve[row] + 1]];
  return Object.fromEntries(Object.entries(samples.values).map(([name, all]) => [name, all.subarray(from, to)]));
}
