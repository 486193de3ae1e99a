"""What the package must reach, beside what peers.py, sweeps.py and networks.py measured last; writes results.md.

Each script leaves its numbers and its tables in a file under `measured`, and this page is made from those files.
"""

import datetime
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.common import Row
from benchmarks.report import best, machine
from benchmarks.ways.ours import CRITICAL_TIME, ENGINE, SOLVE

HERE = Path(__file__).resolve().parent
SCRIPTS = ("peers", "sweeps", "networks", "limits")


class Goal(NamedTuple):
    """A number of one of the scripts, and what it must be."""

    name: str
    number: str
    limit: float
    at_most: bool = False
    unit: str = "times"

    def reached(self, measured: float) -> bool:
        """Whether it is what it must be."""
        return measured <= self.limit if self.at_most else measured >= self.limit

    def show(self, value: float) -> str:
        """A number with its unit."""
        return f"{value:,.0f} {self.unit}" if value > 1000 else f"{value:.3g} {self.unit}"


GOALS = (
    Goal("best numeric way, engine alone, against heyoka's best", "engine / heyoka", 3),
    Goal("the default, a rule over chi, against Boost.odeint's dopri5, 16 wide", "default / Boost", 1),
    Goal("dopri8 over chi against the same", "dopri8 / Boost", 1),
    Goal("events in ln w against heyoka's best event form", "events / heyoka", 3),
    Goal("`js.solve` from plain Python against heyoka's best on all cores", "js.solve / heyoka", 2),
    Goal("closed form from plain Python", "js.critical_time", 15e6, unit="points/s"),
    Goal("64 samples of w(t), against the time alone by dopri8", "samples / alone", 2.5, at_most=True),
    Goal("`run` into Parquet against the same in memory, 10^7 points", "run / memory", 0.9),
    Goal("`run`, exact, end to end, 10^7 points", "run, exact", 4e6, unit="rows/s"),
    Goal("compiling the scalar flows, empty cache", "compile, cold", 2.5, at_most=True, unit="s"),
    Goal("compiling the scalar flows, warm cache", "compile, warm", 0.5, at_most=True, unit="s"),
    Goal("`run` of a finished spec", "run, finished", 1, at_most=True, unit="s"),
    Goal("64 networks against the best tuned peer", "networks / peer", 1.25),
    Goal("64 networks, share of the rate of products", "networks / products", 0.88, unit="of it"),
)


def of_peers(rows: list[Row]) -> dict[str, float]:
    """The numbers of peers.py, at a worst error of 1e-8, and rates; what was not measured is left out."""
    fastest = best(rows)

    def rate(family: str, form: str = "") -> float:
        rates = (row.points_per_second for row in fastest if row.way.startswith(family) and form in row.way)
        return max(rates, default=math.nan)

    rates = {
        "heyoka": rate("heyoka"),
        "heyoka, events": rate("heyoka", "event"),
        "Boost": rate("Boost.odeint dopri5, over chi, 16 wide"),
        "js.critical_time": rate(CRITICAL_TIME),
    }
    numbers = rates | {
        "engine / heyoka": rate(ENGINE) / rates["heyoka"],
        "default / Boost": rate(ENGINE, "clenshaw_curtis over chi") / rates["Boost"],
        "dopri8 / Boost": rate(ENGINE, "dopri8 over chi") / rates["Boost"],
        "events / heyoka": rate(ENGINE, "event in ln w") / rates["heyoka, events"],
        "js.solve / heyoka": rate(SOLVE) / rates["heyoka"],
    }
    return {name: number for name, number in numbers.items() if not math.isnan(number)}


def table(numbers: Mapping[str, float]) -> str:
    """Each goal, what was measured, and whether that reaches it."""
    lines = ["| what | goal | measured | reached |", "|---|---|---|---|"]
    for goal in GOALS:
        asked = f"at {'most' if goal.at_most else 'least'} {goal.show(goal.limit)}"
        measured = numbers.get(goal.number)
        found = "not measured |" if measured is None else f"{goal.show(measured)} | {_word(goal.reached(measured))}"
        lines.append(f"| {goal.name} | {asked} | {found} |")
    return "\n".join(lines) + "\n"


def _word(reached: bool) -> str:
    return "yes" if reached else "no"


def read(folder: Path = HERE) -> dict[str, dict]:
    """What each script has left."""
    files = {script: folder / "measured" / f"{script}.json" for script in SCRIPTS}
    return {script: json.loads(file.read_text()) for script, file in files.items() if file.exists()}


def numbers(folder: Path = HERE) -> dict[str, float]:
    """All numbers that the scripts have left."""
    return {name: number for one in read(folder).values() for name, number in one["numbers"].items()}


def record(script: str, mine: Mapping[str, float], text: str = "", folder: Path = HERE) -> str:
    """Keep what a script measured, write results.md anew, and return the table of goals.

    Args:
        script: one of `SCRIPTS`.
        mine: its numbers, by the names that `GOALS` give them.
        text: what the script adds to results.md.
        folder: where results.md stands.
    """
    kept = folder / "measured"
    kept.mkdir(exist_ok=True)
    left = {"when": f"{datetime.date.today().isoformat()}, {machine()}", "numbers": dict(mine), "text": text}
    (kept / f"{script}.json").write_text(json.dumps(left, indent=1) + "\n")
    found, goals = read(folder), table(numbers(folder))
    when = [f"- {script}.py: {one['when']}" for script, one in found.items()]
    parts = ["# Results", "## What it must reach", goals, *when, *(one["text"] for one in found.values())]
    (folder / "results.md").write_text("\n\n".join(part.strip() for part in parts if part) + "\n")
    return goals
