"""Puts what was measured last where readers look for it: four rows into README.md, all into docs/benchmarks.md.

What stands between two marks of a page, `<!-- name -->` and `<!-- /name -->`, is written anew; the rest stays. The
numbers are those of `measured`, which `make bench` renews: `python benchmarks/pages.py` measures nothing itself.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that the imports below are found where this runs as a script

from benchmarks import goals  # noqa: E402
from benchmarks.ways.ours import CRITICAL_TIME, SOLVE  # noqa: E402


class Speed(NamedTuple):
    """A way to critical times, as the table of peers.py shows it."""

    way: str
    rate: float  # points a second
    ratio: float  # to plain diffrax


CHOSEN = {  # how the way of a row begins -> what the README calls it
    CRITICAL_TIME: "`js.critical_time`, the closed form",
    SOLVE: "`js.solve`, integrated",
    ("heyoka", "Boost.odeint", "torchode", "numba", "scipy"): "fastest of five other integrators: {}",
    "diffrax": "`jit(vmap(diffeqsolve(..., Event)))`",
}


def tables(text: str) -> list[str]:
    """The tables in a text of Markdown, in order."""
    return re.findall(r"(?:^\|.*\|\n?)+", text, re.M)


def speeds(table: str) -> list[Speed]:
    """The rows of the first table of peers.py, the fastest first; ways that were not exact enough are left out."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return [Speed(row[0], float(row[3].replace(",", "")), float(row[4])) for row in rows if row[4]]


def rounded(number: float) -> str:
    """Three digits, as one reads them."""
    return f"{float(f'{number:.3g}'):,.10g}"


def short(measured: dict[str, dict]) -> str:
    """The table of the README."""
    found = speeds(tables(measured["peers"]["text"])[0])
    lines = [
        f"Critical times at a worst relative error of at most 1e-8, on one machine ({measured['peers']['when']}):",
        "",
        "| way | points a second | against plain diffrax |",
        "|---|---|---|",
    ]
    for start, name in CHOSEN.items():
        row = next(speed for speed in found if speed.way.startswith(start))
        lines.append(f"| {name.format(row.way)} | {rounded(row.rate)} | {rounded(row.ratio)} |")
    return "\n".join(lines)


def sections(measured: dict[str, dict]) -> dict[str, str]:
    """What stands between the marks of docs/benchmarks.md."""
    peers, sweeps = measured["peers"], measured["sweeps"]
    numbers = {name: number for one in measured.values() for name, number in one["numbers"].items()}
    return {
        "speed": f"Measured: {peers['when']}.\n\n{tables(peers['text'])[0].strip()}",
        "sweeps": f"Measured: {sweeps['when']}.\n\n{tables(sweeps['text'])[0].strip()}",
        "goals": goals.table(numbers).strip(),
    }


def filled(page: str, name: str, text: str) -> str:
    """A page with a new text between the marks of this name, which it must have once."""
    opened, closed = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
    before, found, rest = page.partition(opened)
    _, ended, after = rest.partition(closed)
    if not found or not ended or opened in rest:
        raise ValueError(f"A page must have the marks {opened.strip()} and {closed.strip()} once, but it has not.")
    return f"{before}{opened}\n{text}\n{closed}{after}"  # a table stands between empty lines


def pages(root: Path = ROOT) -> dict[Path, str]:
    """The pages as they should be."""
    measured = goals.read(root / "benchmarks")
    readme, benchmarks = root / "README.md", root / "docs" / "benchmarks.md"
    text = benchmarks.read_text()
    for name, section in sections(measured).items():
        text = filled(text, name, section)
    return {readme: filled(readme.read_text(), "speed", short(measured)), benchmarks: text}


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content)
        print(path.relative_to(ROOT))
