// Sets every formula of a page by KaTeX. Docstrings write `lam`, `rho` and `eps` as Python does; here they are symbols.
"use strict";

const SYMBOLS = { lam: "\\lambda", rho: "\\rho", eps: "\\varepsilon" };
const NAMES = ["ema", "field", "rest", "start"];

function asWritten(formula) {
  for (const [word, symbol] of Object.entries(SYMBOLS)) {
    formula = formula.replace(new RegExp(`(?<![A-Za-z\\\\])${word}(?![A-Za-z])`, "g"), `${symbol} `);
  }
  const names = new RegExp(`(?<![A-Za-z\\\\])(${NAMES.join("|")})(?![A-Za-z])`, "g");
  return formula.replace(names, "\\mathrm{$1}");
}

for (const node of document.querySelectorAll(".arithmatex")) {
  const text = node.textContent.trim(); // \(...\) in a line, \[...\] on a line of its own
  katex.render(asWritten(text.slice(2, -2)), node, { displayMode: text.startsWith("\\["), throwOnError: false });
}
