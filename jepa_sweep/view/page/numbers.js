// Numbers in words: in full where they are read off, short where they label an axis.

function counted(n) {
  return n.toLocaleString("en");
}

// The shortest text that reads back as the same number, in the precision of its column.
function inFull(value, single = false) {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (!single) return String(value);
  for (let digits = 1; digits < 9; digits++) {
    const text = String(Number(value.toPrecision(digits)));
    if (Math.fround(Number(text)) === value) return text;
  }
  return String(Number(value.toPrecision(9)));
}

function brief(value, digits = 4) {
  if (!Number.isFinite(value)) return inFull(value);
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e5 || size < 1e-3)) {
    return value.toExponential(digits - 1).replace(/\.?0+e/, "e").replace("e+", "e").replaceAll("-", "−");
  }
  return String(Number(value.toPrecision(digits))).replaceAll("-", "−");
}

// Short labels, but with as many digits as it takes to tell them apart.
function toldApart(values) {
  for (let digits = 4; digits < 16; digits++) {
    const texts = values.map((value) => brief(value, digits));
    if (new Set(texts).size === values.length) return texts;
  }
  return values.map((value) => inFull(value));
}

function labelOf(axis, place) {
  const value = axis.values[place];
  if (value === null) return "none";
  return axis.words ? value : brief(Number(value));
}

// Round numbers between two ends, about `count` of them.
function roundBetween(low, high, count) {
  const rough = (high - low) / count;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 5, 10].find((factor) => factor * unit >= rough);
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) ticks.push(k * step);
  return ticks;
}

// Ticks of a logarithmic scale between 10^low and 10^high: whole powers if there are enough, else round numbers.
function logTicks(low, high, count) {
  const every = Math.max(1, Math.ceil((high - low) / count));
  const powers = [];
  for (let k = Math.ceil(low); k <= high; k += every) powers.push(10 ** k);
  if (powers.length > 2) return powers;
  if (high - low < 0.7) return roundBetween(10 ** low, 10 ** high, count);
  const decades = [Math.floor(low), Math.floor(low) + 1, Math.floor(low) + 2];
  const ticks = decades.flatMap((k) => [1, 2, 5].map((factor) => factor * 10 ** k));
  return ticks.filter((tick) => tick >= 10 ** low && tick <= 10 ** high);
}

function unitOf(column) {
  const unit = column.unit;
  return unit && unit !== "1" ? `, ${unit}` : "";
}
