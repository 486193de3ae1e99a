// Panels of text: the readout of a cell, statuses and failures of the whole run, and where its numbers come from.

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function tableOf(head, rows, caption) {
  const cells = (tag, row) => element("tr", {}, ...row.map((text) => element(tag, tag === "th" ? { scope: "col" } : {}, text)));
  return element(
    "table", {},
    element("caption", {}, caption),
    element("thead", {}, cells("th", head)),
    element("tbody", {}, ...rows.map((row) => cells("td", row))),
  );
}

// What is known of a row, in full: [name, text, key] each; the key is what tests and scripts find it by.
function factsOf(row) {
  const { numeric, predicted } = state.pair;
  const number = (name) => inFull(page.values[name][row], page.values[name] instanceof Float32Array);
  const facts = [["objective", OBJECTIVES[panelOf(row)]]];
  for (const axis of AXES) facts.push([axis.name, literalOf(axis.name, row) ?? "none"]);
  if (page.status) facts.push(["status", page.statuses[page.status[row]] ?? "none"]);
  facts.push([numeric, number(numeric)]);
  if (predicted) facts.push([predicted, number(predicted)], [`${numeric} / ${predicted}`, inFull(valueOf(row, "ratio"))]);
  for (const name of page.also) if (name !== numeric && name !== predicted) facts.push([name, number(name)]);
  return facts;
}

function factsOfNothing(panel, place) {
  const facts = [["objective", OBJECTIVES[panel]]];
  for (const axis of AXES) facts.push([axis.name, axis.values[place[axis.name]] ?? "none"]);
  return [...facts, ["status", "no such point in the sweep"]];
}

function meaningOf(name) {
  const column = page.columns[name];
  if (!column) return "";
  return [`${column.meaning}${unitOf(column)}`, column.equation].filter(Boolean).join("; ");
}

function drawReadout(row, title, nothing = factsOfNothing(state.panel, state.place)) {
  document.getElementById("readout-title").textContent = title;
  const facts = row < 0 ? nothing : factsOf(row);
  const shown = columnOf();
  document.getElementById("values").replaceChildren(...facts.map(([name, text]) => {
    const line = element("tr", { className: name === shown ? "shown" : "" });
    line.append(element("th", { scope: "row", title: meaningOf(name) }, name), element("td", {}, text));
    line.dataset.name = name;
    return line;
  }));
  const status = row < 0 || !page.status ? null : page.statuses[page.status[row]];
  document.getElementById("meaning").textContent = page.census.find((entry) => entry.status === status)?.meaning ?? "";
}

function announce(row) {
  const facts = row < 0 ? factsOfNothing(state.panel, state.place) : factsOf(row);
  const drawn = ["objective", state.across?.name, state.up?.name, "status", columnOf()];
  const text = facts.filter(([name]) => drawn.includes(name)).map(([name, value]) => `${name} ${value}`).join(", ");
  document.getElementById("announcer").textContent = text;
}

function drawCensus() {
  const rows = page.census.map((entry) => [entry.table, entry.status, counted(entry.count), entry.meaning]);
  const census = document.getElementById("census");
  if (rows.length) census.replaceChildren(tableOf(["table", "status", "rows", "meaning"], rows, "Counted over the whole run"));
  else census.replaceChildren(element("p", { className: "quiet" }, "No table of this run has rows with a status."));
  const { total, columns, rows: listed } = page.failures;
  const failures = document.getElementById("failures");
  if (!total) failures.replaceChildren(element("p", {}, "No point failed."));
  else {
    const caption = total > listed.length
      ? `Failed points: the first ${counted(listed.length)} of ${counted(total)}` : `Failed points: all ${counted(total)}`;
    failures.replaceChildren(tableOf(columns, listed, caption));
  }
}

// Nested settings as a list of names and values.
function listed(value) {
  if (value === null || typeof value !== "object") return document.createTextNode(value === null ? "none" : String(value));
  if (Array.isArray(value)) return document.createTextNode(value.map((v) => (typeof v === "string" ? v : JSON.stringify(v))).join(" "));
  const entries = Object.entries(value).flatMap(([name, inner]) => [element("dt", {}, name), element("dd", {}, listed(inner))]);
  return element("dl", {}, ...entries);
}

function drawProvenance() {
  const { settings, environments, specs, ...counts } = page.provenance;
  const block = (title, body, open = true) => element("details", { open }, element("summary", {}, title), body);
  const number = (k, all) => (all.length > 1 ? ` ${k + 1} of ${all.length}` : "");
  const columns = Object.entries(page.columns).map(([name, c]) => [name, c.meaning, c.unit, c.equation ?? ""]);
  const rows = Object.fromEntries(Object.entries(counts.rows).map(([name, n]) => [name, counted(n)]));
  const run = { "first commit": counts.first, "last commit": counts.last, commits: counted(counts.commits), bytes: counted(counts.bytes), rows };
  document.getElementById("facts").replaceChildren(
    element(
      "div", { className: "columns" },
      block("Run", listed(run)),
      block("Settings that decide the numbers", listed(settings)),
      ...environments.map((facts, k) => block(`Environment${number(k, environments)}`, listed(facts), k === 0)),
    ),
    ...specs.map((text, k) => block(`Spec${number(k, specs)}`, element("pre", {}, text), k === 0)),
    block("What the columns mean", element("div", { className: "scroll" }, tableOf(["column", "meaning", "unit", "equation"], columns, `Table ${page.table}`)), false),
  );
}
