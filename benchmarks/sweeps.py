"""What a whole sweep costs beside its solves: the closed form, trajectories, files, memory, compiling, size.

    python benchmarks/sweeps.py [--small]

takes some minutes, prints one table and adds it to benchmarks/results.md, unless `--small`. Each figure is a median
over repeats on all cores; runs are processes of their own, as a user would start them.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jepa_sweep as js
from benchmarks import goals
from benchmarks.common import LAYERS, OBJECTIVES, P, Points, grid, median_seconds, medians, timed
from jepa_sweep.engine import devices, lanes
from jepa_sweep.engine.settings import Settings
from jepa_sweep.physics.reduced import DYNAMICS

HERE = Path(__file__).resolve().parent

SPEC = """name = "bench"
[axes]
lam = {{ geom = [0.1, 10.0], num = {lam} }}
rho = {{ linear = [0.05, 1.0], num = 64 }}
L   = [1, 2, 3, 5, 8]
eps = {{ geom = [1e-6, 1e-2], num = 16 }}
[solver]
method = "{method}"
"""


class Figure(NamedTuple):
    """One line of the table."""

    what: str
    value: str
    number: float = math.nan
    goal: str = ""  # which of `goals.GOALS` asks for the number


def command(*words: str, cache: str, **variables: str) -> tuple[float, dict[str, Any]]:
    """Wall seconds and JSON result of one `jepa-sweep` command, which ends when this process does."""
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache, **variables}
    text = f"from benchmarks.common import end_with; end_with({os.getpid()}); from jepa_sweep.cli import main; main()"
    program = [sys.executable, "-c", text, *words, "--json"]
    began = time.perf_counter()
    done = subprocess.run(program, capture_output=True, text=True, check=False, env=environment, cwd=HERE.parent)
    if done.returncode:
        raise RuntimeError(f"`jepa-sweep {' '.join(words)}` ended with {done.returncode}: {done.stderr[-2000:]}")
    return time.perf_counter() - began, json.loads(done.stdout)


def swept(lam: int, method: str, cache: str) -> dict[str, Any]:
    """The report of a fresh run of 10,240 points for each value of lam."""
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "spec.toml"
        spec.write_text(SPEC.format(lam=lam, method=method))
        return command("run", str(spec), "--out", f"{folder}/run", cache=cache)[1]


def points_of_spec(lam: int) -> dict[str, Points]:
    """The points of `SPEC`, for each objective."""
    axes = np.geomspace(0.1, 10, lam), np.linspace(0.05, 1, 64), np.array(LAYERS, float), np.geomspace(1e-6, 1e-2, 16)
    columns = (column.ravel() for column in np.meshgrid(*axes, indexing="ij"))
    points: Points = dict(zip(("lam", "rho", "L", "eps"), columns, strict=True))
    return dict.fromkeys(OBJECTIVES, points)


def in_memory(points: dict[str, Points], samples: int = 0, **settings: Any) -> Callable[[], Any]:
    """Predictions and solves of points, without files."""

    def run() -> None:
        for objective in OBJECTIVES:
            system, p = DYNAMICS[objective], np.full((len(points[objective]["L"]), 1), P)
            predicted = lanes.predict(system, points[objective], p)
            times = predicted.values["t_exact"] * np.linspace(0, 2, samples) if samples else None
            lanes.solve(system, points[objective], p, predicted, Settings(**settings), times=times)

    return run


def closed_form(count: int, repeats: int) -> Figure:
    """`jepa_sweep.critical_time` on arrays."""
    points: dict[str, Any] = grid(count)
    seconds = median_seconds(lambda: [js.critical_time(o, p=P, **points[o]) for o in OBJECTIVES], repeats)
    return Figure("closed form, `js.critical_time` on arrays", f"{2 * count / seconds:,.0f} points/s")


def trajectories(count: int, repeats: int) -> Figure:
    """64 samples of w(t) and the critical time, against the time alone."""
    points = grid(count)
    alone, both = medians([in_memory(points, samples, method="dopri8") for samples in (0, 64)], repeats)
    rates = f"{2 * count / both:,.0f} against {2 * count / alone:,.0f} points/s"
    what, value = "dopri8: time and 64 samples, against the time alone", f"{both / alone:.1f} times as long ({rates})"
    return Figure(what, value, both / alone, "samples / alone")


def scaling(counts: tuple[int, ...], repeats: int) -> Figure:
    """Time a point over the size of the sweep."""
    parts = []
    for count in counts:
        seconds = median_seconds(in_memory(grid(count // 2)), repeats)
        parts.append(f"{count:,}: {seconds / count * 1e6:.2f}")
    return Figure("microseconds a point (predictions and solves) by number of points", ", ".join(parts))


def runs(small: bool, repeats: int) -> list[Figure]:
    """Runs from the command line, from an empty compile cache on."""
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as folder:
        quickstart = str(HERE.parent / "sweeps" / "quickstart.toml")
        cold, warm = (swept(1, "dopri8", cache)["compile_seconds"] for _ in range(2))
        walls = [command("run", quickstart, "--out", f"{folder}/{n}", cache=cache)[0] for n in range(1 + repeats)]
        wall = statistics.median(walls[1:])
        again = statistics.median(
            command("run", quickstart, "--out", f"{folder}/1", cache=cache)[0] for _ in range(repeats)
        )
        out = [
            Figure("compiling, scalar flows, empty cache", f"{cold:.1f} s", cold, "compile, cold"),
            Figure("the same from the cache", f"{warm:.1f} s", warm, "compile, warm"),
            Figure("quickstart, wall time from a warm cache", f"{wall:.1f} s"),
            Figure("the same again, nothing to do", f"{again:.1f} s", again, "run, finished"),
        ]
        large, larger = (1, 2) if small else (98, 977)  # a million points, and ten
        many = 10_240 * larger
        bare = in_memory(points_of_spec(larger), method="dopri8")
        bare()
        for method, beside in (("dopri8", bare), ("exact", lambda: None)):
            turns = [(swept(large, method, cache), swept(larger, method, cache), timed(beside)) for _ in range(repeats)]
            *reports, alone = zip(*turns, strict=True)
            rate, into = (statistics.median(r["points_per_second"] for r in each) for each in reports)
            peak, more = (max(r["peak_memory_bytes"] for r in each) / 1e9 for each in reports)
            goal = "run, exact" if method == "exact" else ""
            out += [
                Figure(f"`jepa-sweep run`, {method}, {10_240 * large:,} points into Parquet", f"{rate:,.0f} points/s"),
                Figure(f"the same, {many:,} points", f"{into:,.0f} points/s", into, goal),
                Figure("peak memory of the two", f"{peak:.2f} and {more:.2f} GB ({more / peak:.2f} times)"),
            ]
            if method == "dopri8":
                memory = many / statistics.median(seconds for seconds, _ in alone)
                value = f"{memory:,.0f} points/s, of which the run has {into / memory:.0%}"
                out.append(Figure("the same in memory, no files", value, into / memory, "run / memory"))
    return out


def main(small: bool = False) -> list[Figure]:
    """Measure everything; `small` is a check that the script runs, not a measurement."""
    repeats, count = (1, 128) if small else (3, 262_144)
    return [
        closed_form(count, repeats),
        trajectories(count // 16, repeats),
        scaling((256,) if small else (10**4, 10**5, 10**6, 10**7), repeats),
        *runs(small, repeats),
    ]


def table(figures: list[Figure]) -> str:
    """As Markdown."""
    return "\n".join(["| what | measured |", "|---|---|", *(f"| {f.what} | {f.value} |" for f in figures)]) + "\n"


if __name__ == "__main__":
    devices.use_all_cores()
    measured = main(small="--small" in sys.argv)
    text = table(measured)
    print(text)
    if "--small" not in sys.argv:
        numbers = {figure.goal: figure.number for figure in measured if figure.goal}
        print(goals.record("sweeps", numbers, f"## Whole sweeps\n\n{text}"))
