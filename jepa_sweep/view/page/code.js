// For what is shown, the line of pandas that reads the same numbers from the run directory.

function literal(axis, place) {
  const value = axis.values[place];
  return axis.words ? JSON.stringify(value) : value;
}

// One condition in three spellings: for the Parquet reader, for `query`, and for missing values, which both pass over.
function condition(axis, places) {
  const missing = places.some((place) => axis.values[place] === null);
  const there = places.filter((place) => axis.values[place] !== null).map((place) => literal(axis, place));
  if (missing) {
    const others = there.length ? `d["${axis.name}"].isin([${there.join(", ")}]) | ` : "";
    return { loc: `.loc[lambda d: ${others}d["${axis.name}"].isna()]` };
  }
  if (there.length === 1) return { filter: `("${axis.name}", "==", ${there[0]})`, query: `${axis.name} == ${there[0]}` };
  return { filter: `("${axis.name}", "in", [${there.join(", ")}])`, query: `${axis.name} in [${there.join(", ")}]` };
}

function reading(table, conditions) {
  const filters = conditions.filter((c) => c.filter).map((c) => c.filter);
  const given = filters.length ? `, filters=[${filters.join(", ")}]` : "";
  return `pd.read_parquet(${inRun(table)}${given})${conditions.map((c) => c.loc ?? "").join("")}`;
}

function inRun(table) {
  return `${page.path.slice(0, -1)}/${table}"`;
}

// Values that the page leaves out are left out here too, unless asked for.
function thinnedConditions(axes) {
  if (document.getElementById("whole").checked) return [];
  return axes.filter((axis) => page.thinned.includes(axis.name)).map((axis) => condition(axis, axis.values.map((_, place) => place)));
}

function rowsLine() {
  const cuts = cutAxes().map((axis) => condition(axis, [state.place[axis.name]]));
  if (page.step === 1 || document.getElementById("whole").checked) {
    const drawn = [state.across, state.up].filter(Boolean);
    return reading(page.table, [...cuts, ...thinnedConditions(drawn)]);
  }
  // Every so many rows were taken before anything was cut.
  const queries = cuts.filter((c) => c.query).map((c) => c.query).join(" and ");
  const rest = `${queries ? `.query(${JSON.stringify(queries)})` : ""}${cuts.map((c) => c.loc ?? "").join("")}`;
  return `${reading(page.table, thinnedConditions(AXES))}.iloc[::${page.step}]${rest}`;
}

function mapLine() {
  const { numeric, predicted } = state.pair;
  const ratio = state.show === "ratio";
  const value = ratio ? "ratio" : state.pair[state.show];
  const assigned = ratio ? `.assign(ratio=lambda d: d["${numeric}"] / d["${predicted}"])` : "";
  const [across, up] = [state.across, state.up].map((axis) => (axis ? `"${axis.name}"` : null));
  const lines = `${rowsLine()}${assigned}`;
  if (SCATTERED.size || cellsOf(visibleRows()).doubled) {
    return `${lines}[[${['"objective"', across, up, `"${value}"`].filter(Boolean).join(", ")}]]`;
  }
  if (!across) return `${lines}.set_index("objective")["${value}"]`;
  return `${lines}.pivot(index=${up ? `["objective", ${up}]` : '"objective"'}, columns=${across}, values="${value}")`;
}

function samplesLine(kind) {
  const samples = page[kind];
  const axes = page.axes.filter((axis) => samples.keys.includes(axis.name) && axis.values.length > 1);
  const conditions = axes.map((axis) => condition(axis, [page.codes[axis.name][state.drawn]]));
  const columns = ["t", ...samples.lines].map((name) => `"${name}"`).join(", ");
  return `${reading(kind, conditions)}.sort_values("t")[[${columns}]]`;
}

function codeBlock(id, title, text) {
  const code = element("code", { id, tabIndex: 0 }, text);
  const button = element("button", { type: "button" }, "Copy");
  button.setAttribute("aria-label", `Copy the line for the ${title}`);
  button.addEventListener("click", () => copy(code, button));
  return element("div", { className: "line" }, element("span", { className: "quiet" }, title), element("pre", {}, code), button);
}

// Pages opened from a file may have no clipboard: then the text is selected, to be copied by hand.
async function copy(code, button) {
  let done = true;
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    getSelection().selectAllChildren(code);
    done = document.execCommand("copy");
  }
  button.textContent = done ? "Copied" : "Selected";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

function drawCode() {
  document.getElementById("whole-label").hidden = !page.thinned.length && page.step === 1;
  const blocks = [codeBlock("map-line", "map", mapLine())];
  for (const kind of ["trajectories", "losses"]) {
    const stored = page[kind] && page[kind].begins.length > 1;
    if (stored && state.drawn >= 0) {
      blocks.push(codeBlock(`${kind}-line`, kind === "losses" ? "loss" : "trajectory", samplesLine(kind)));
    }
  }
  document.getElementById("lines").replaceChildren(...blocks);
}
