"""Critical times a second, at verified accuracy: this engine, its closed form, and other ways to integrate.

All visit the same mixed grid, on all cores where they can, and every row carries its worst and median relative error
against the closed form, so that speeds compare at known accuracy. Compile time stands apart; speeds are medians over
rounds through all ways, so that a minute in which the machine was slow does not fall on some of them.

    python benchmarks/peers.py [--small | --full]

adds its tables to benchmarks/results.md and draws benchmarks/work_precision.png, unless `--small`, which only checks
that everything runs. Ways that are not installed are skipped with the reason.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for this process and the worker processes

from benchmarks import goals
from benchmarks.common import Plan, Points, Row, Times, apart, grid, measure, release
from benchmarks.report import plot, report
from benchmarks.ways import heyoka_, numba_, odeint, ours, plain, rule, scipy_, torch_

HERE = Path(__file__).resolve().parent
WAYS = [*ours.WAYS, *plain.WAYS, *heyoka_.WAYS, *odeint.WAYS, *rule.WAYS, *numba_.WAYS, *torch_.WAYS, *scipy_.WAYS]

SMALL = Plan(128, (1e-8,), seconds=0.0, repeats=1, least=128)
MEDIUM = Plan(131_072, (1e-6, 1e-8, 1e-10), seconds=0.1, repeats=7, rounds=3)
FULL = Plan(262_144, tuple(10.0**-n for n in range(4, 13)), seconds=1.0, repeats=5, rounds=3)


def skipped() -> dict[str, str]:
    """Ways which cannot run here, each with the reason."""
    return {way.name: way.missing() for way in WAYS if way.missing()}


def main(small: bool = False, full: bool = False) -> list[Row]:
    """Measure every way that is installed; `small` is a check that the script runs, not a measurement."""
    plan = SMALL if small else FULL if full else MEDIUM
    points = grid(plan.points)
    exact = ours.closed_form(points, 0.0)()
    rounds = [list(_round(plan, points, exact)) for _ in range(plan.rounds)]
    release()
    return [_typical(rows) for rows in zip(*rounds, strict=True)]


def _round(plan: Plan, points: dict[str, Points], exact: Times) -> Iterator[Row]:
    """Every way at every tolerance, once."""
    for way in WAYS:
        if way.missing():
            continue
        for rtol in (0.0,) if way.exact else plan.tolerances:
            asked = (way, rtol, points, exact, plan)
            row = apart(measure, *asked) if way.apart else measure(*asked)
            print(f"{way.name}, {rtol:.0e}: {row.points_per_second:,.0f} points/s", file=sys.stderr, flush=True)
            yield row


def _typical(rows: Sequence[Row]) -> Row:
    """The one of median speed; only the first of them compiled."""
    middle = sorted(rows, key=lambda row: row.points_per_second)[len(rows) // 2]
    return middle._replace(compile_seconds=rows[0].compile_seconds)


if __name__ == "__main__":
    measured = main(small="--small" in sys.argv, full="--full" in sys.argv)
    text = report(measured, skipped())
    print(text)
    if "--small" not in sys.argv:
        figure = HERE / "work_precision.png"
        print(plot(measured, figure))
        link = f"![points a second over error]({figure.name})\n\n" if figure.exists() else ""
        heading = "## Critical times a second\n\n"
        print(goals.record("peers", goals.of_peers(measured), heading + link + text))
