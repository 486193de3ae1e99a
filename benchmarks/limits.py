"""What stops each goal: the part of the work that cannot be left out, measured alone.

    python benchmarks/limits.py [--small]

takes some minutes, after the other scripts of `make bench`, and adds to benchmarks/results.md what each number would be
if nothing but that part were done: no start of a solve, no control of steps, no copy. `--small` only checks that the
script runs.
"""

import functools
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
from jax import lax

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jepa_sweep as js
from benchmarks import goals
from benchmarks.common import OBJECTIVES, P, cores, grid, median_seconds
from jepa_sweep.engine import dense, devices, lanes, programs, quadrature, whole
from jepa_sweep.engine.methods import SOLVERS, rule_of
from jepa_sweep.engine.settings import Settings
from jepa_sweep.physics import exact
from jepa_sweep.physics.dynamics import Coordinate
from jepa_sweep.physics.elementary import exp, log
from jepa_sweep.physics.reduced import DYNAMICS

SAMPLES = 64
TERMS = len(rule_of(SOLVERS["dopri8"].tableau).nodes) + 1  # of the polynomial of a step of dopri8 over chi
TURNS = 16  # of the arithmetic of each point, so that to bring the point does not count


class Limit(NamedTuple):
    """What a number would be at best, and why."""

    number: str  # as `goals.GOALS` calls it
    value: float
    why: str


def slope(coordinate: Coordinate, x: Any, point: Any) -> Any:
    """dT/dx."""
    return 1 / coordinate.field(x, x, point)


def rule(intervals: int, coordinate: Coordinate, x: Any, point: Any) -> Any:
    """The critical time by a rule that begins at x, and what it says of its error."""
    assert coordinate.span is not None, "only a coordinate that knows its span has such rules"
    span = coordinate.span(jnp.full_like(x, P), point)
    first, last = (coordinate.field(x, end, point) for end in (x, x + span))
    fall = first / last
    at = whole.Interval(x, span, 1 / first, exp(-whole.STRETCH / 2 * log(fall)), fall)
    inner = jnp.asarray(quadrature.nodes(intervals)[1:-1], x.dtype)
    between = lax.map(lambda y: whole._slope(y, coordinate, at, point), inner)
    total, error = quadrature.integral([span / at.stretch, *between, span * at.stretch * fall])
    return at.unit * total + error


def closed_form(coordinate: Coordinate, x: Any, point: Any) -> Any:
    """The critical time in closed form, of a threshold that depends on x."""
    del coordinate
    return exact.critical_time(point, P + 1e-9 * x)


def sample(coordinate: Coordinate, x: Any, point: Any) -> Any:
    """The response at a time within a step: a root of the step's polynomial, and w there."""
    series = [x * 0.1**n for n in range(TERMS)]
    return coordinate.response(dense.root(series, 0.5 * jnp.ones_like(x), x, x), point)


def _repeated(coordinate: Coordinate, function: Callable, times: int, treedef: Any) -> Callable:
    """A function of the coordinate at so many places, which differ a little so that none can be left out."""

    def one(*leaves: Any) -> tuple[Any]:
        point = jax.tree.unflatten(treedef, leaves)
        start = coordinate.start(point)

        def turn(number: Any, total: Any) -> Any:
            return total + function(coordinate, start + 1e-9 * number, point)

        return (lax.fori_loop(0, times, turn, jnp.zeros_like(start)),)

    return one


def rate(coordinate: str, function: Callable, each: float, count: int, repeats: int) -> float:
    """Points a second on all cores, if a point takes a function so many times, and nothing else."""
    seconds, times = 0.0, max(1, round(TURNS * each))
    for objective, points in grid(count).items():
        point = DYNAMICS[objective].point(**points)
        key = (DYNAMICS[objective].coordinate(coordinate), function, times, jax.tree.structure(point))
        columns = [np.asarray(leaf, float) for leaf in jax.tree.leaves(point)]
        seconds += median_seconds(functools.partial(lanes.evaluate, _repeated, key, columns), repeats)
    return 2 * count * times / each / seconds


def solved(count: int, repeats: int, until: float = 0, **settings: Any) -> tuple[float, float]:
    """Points a second, and steps a point, of solves at 1e-8 that go on `until` so many critical times."""
    seconds, taken = 0.0, []
    for objective, points in grid(count).items():
        dynamics, p = DYNAMICS[objective], np.full((count, 1), P)
        predicted = lanes.predict(dynamics, points, p)
        times = until * predicted.values["t_exact"] if until else None
        asked = (dynamics, points, p, predicted, Settings(rtol=1e-8, **settings))
        seconds += median_seconds(lambda asked=asked, times=times: lanes.solve(*asked, times=times), repeats)
        taken.append(lanes.solve(*asked, times=times).steps.mean())
    return 2 * count / seconds, float(np.mean(taken))


def predicted(count: int, repeats: int) -> float:
    """Points a second of all that theory says of a point, in memory, on all cores."""
    points, p = grid(count), np.full((count, 1), P)
    return 2 * count / median_seconds(lambda: [lanes.predict(DYNAMICS[o], points[o], p) for o in OBJECTIVES], repeats)


def encoded(count: int, repeats: int) -> float:
    """Rows of points a second that one core makes a file of."""
    axes = {"lam": [1.0], "L": [2], "rho": {"linear": [0.05, 1], "num": count // 32}}
    axes |= {"eps": {"geom": [1e-6, 1e-2], "num": 16}}
    with tempfile.TemporaryDirectory() as folder:
        store = js.run({"name": "files", "axes": axes, "solver": {"method": "exact"}}, f"{folder}/run")
        rows = pq.read_table(next(Path(store.path, "points").iterdir())).replace_schema_metadata(None)
        return len(rows) / median_seconds(lambda: store.reader.manifest.encoded("points", rows), repeats)


def compiling() -> tuple[float, float]:
    """Seconds that XLA alone takes to compile the programs of a run by dopri8, and to load them when they are kept."""
    spent = {"backend_compile_duration": 0.0, "cache_retrieval_time_sec": 0.0}

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if (name := event.rsplit("/", 1)[-1]) in spent:
            spent[name] += duration_secs

    kept = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before, cold = {name: jax.config.values[name] for name in kept}, 0.0
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name, value in zip(kept, (folder, 0), strict=True):
                jax.config.update(name, value)
            for _ in range(2):
                programs.compiled.cache_clear()
                jax.clear_caches()
                solved(128, 1, method="dopri8")
                if not spent["cache_retrieval_time_sec"]:
                    cold = spent["backend_compile_duration"]
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
        for name, value in before.items():
            jax.config.update(name, value)
    return cold, spent["cache_retrieval_time_sec"]


def main(known: Mapping[str, float], small: bool = False) -> list[Limit]:
    """All limits that can be told; `known` are the numbers that the other scripts have left."""
    count, repeats = (256, 1) if small else (1 << 17, 3)
    limits = []

    def against(peer: str, number: str, mine: float, why: str) -> None:
        if peer in known:
            limits.append(Limit(number, mine / known[peer], f"{why}: {mine / 1e6:.2f} million points/s"))

    first, second = (rate("chi", functools.partial(rule, n), 1, count, repeats) for n in whole.INTERVALS)
    _, taken = solved(count, 1, method="clenshaw_curtis")
    rules = 1 / (1 / first + (taken - 1) / second)
    few, more = (n + 1 for n in whole.INTERVALS)
    why = f"a rule of {few} points and its error, and for {taken - 1:.0%} one of {more}"
    against("heyoka", "engine / heyoka", rules, why)
    against("heyoka", "js.solve / heyoka", rules, "the same, as the function must integrate")
    form = rate("chi", closed_form, 1, count, repeats)
    limits.append(Limit("js.critical_time", form, "the incomplete beta function of a point"))
    alone, steps = solved(count, repeats, method="dopri8")
    stages = len(rule_of(SOLVERS["dopri8"].tableau).nodes) - 1
    slopes = rate("chi", slope, steps * stages, count, repeats)
    against("Boost", "dopri8 / Boost", slopes, f"{steps:.1f} steps of {stages} slopes dT/dchi a point")
    _, events = solved(count // 8, 1, method="dopri8", coordinate="log_w")
    stages = len(SOLVERS["dopri8"].tableau.c)
    slopes = rate("log_w", slope, events * stages, count, repeats)
    against("heyoka, events", "events / heyoka", slopes, f"{events:.1f} steps of {stages} slopes in ln w a point")

    _, longer = solved(count // 8, 1, until=2, method="dopri8")
    samples = alone / rate("chi", sample, SAMPLES, count, repeats)
    why = f"{longer:.1f} steps to twice the time for {steps:.1f}, and {SAMPLES} roots and w(chi), {samples:.2f} solves"
    limits.append(Limit("samples / alone", longer / steps + samples, why))
    theory, files = predicted(count, repeats), encoded(2 * count, repeats)
    rows = 1 / (1 / theory + 1 / (cores() * files))
    why = f"predictions at {theory / 1e6:.2f} million points/s, and files at {files / 1e6:.2f} million rows/s a core"
    limits.append(Limit("run, exact", rows, why))
    cold, warm = compiling()
    limits.append(Limit("compile, cold", cold, "what XLA alone takes, without tracing and lowering"))
    limits.append(Limit("compile, warm", warm, "what XLA alone takes to load its programs"))
    if "networks / peer" in known:
        best = known["networks / peer"] / known["networks / products"]
        limits.append(Limit("networks / peer", best, "all time spent on products, at the best rate measured of them"))
    return limits


def table(limits: list[Limit]) -> str:
    """As Markdown."""
    names = {goal.number: goal for goal in goals.GOALS}
    lines = [f"| {names[e.number].name} | {names[e.number].show(e.value)} | {e.why} |" for e in limits]
    return "\n".join(["| what | at best | if nothing were done but |", "|---|---|---|", *lines]) + "\n"


if __name__ == "__main__":
    devices.use_all_cores()
    found = main(goals.numbers(), small="--small" in sys.argv)
    text = table(found)
    print(text)
    if "--small" not in sys.argv:
        print(goals.record("limits", {}, f"## What stops it\n\n{text}"))
