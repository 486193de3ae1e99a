"""What stops each goal: the part of the work that cannot be left out, measured alone.

    python benchmarks/limits.py [--small]

takes some minutes, after the other scripts of `make bench`, and adds to benchmarks/results.md what each number would be
if nothing but that part were done: nothing around the arithmetic, no copy. `--small` only checks that the
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
from benchmarks.common import OBJECTIVES, P, cores, grid, median_seconds, timed
from jepa_sweep.engine import dense, devices, forward, lanes, many, programs, whole
from jepa_sweep.engine.methods import SOLVERS, rule_of
from jepa_sweep.engine.pool import choose
from jepa_sweep.engine.settings import Settings
from jepa_sweep.engine.solver import Stepper
from jepa_sweep.physics import exact
from jepa_sweep.physics.dynamics import Coordinate
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
    return jax.vmap(lambda x, point: 1 / coordinate.field(x, x, point))(x, point)


def rule(intervals: int, coordinate: Coordinate, x: Any, point: Any) -> Any:
    """The critical time by a rule, from its start and span on, and what it says of its error."""
    moved = _moved(point, x)
    leaves, treedef = jax.tree.flatten(moved)
    program = whole.part(coordinate, treedef, intervals, None, programs.Shape(len(x), len(x)))
    time, error = program(None, jnp.full_like(x, P), *leaves)
    return time + error


def closed_form(coordinate: Coordinate, x: Any, point: Any) -> Any:
    """The critical time in closed form."""
    del coordinate
    return exact.critical_time(_moved(point, x), jnp.full_like(x, P))


def _moved(point: Any, x: Any) -> Any:
    """The point in a place that depends on x, so that nothing of it is the same in the next turn."""
    near = 1 + 1e-12 * x
    return point._replace(lam=point.lam * near, rho=point.rho * near, eps=point.eps * near)


def steps(number: int, coordinate: Coordinate, x: Any, point: Any) -> Any:
    """So many steps of dopri8 with control of their size, of time and state over the coordinate's clock."""
    stepper, pace = Stepper(Settings("dopri8", 1e-8), functools.partial(forward._field, coordinate)), coordinate.pace
    assert pace is not None, "only a coordinate with a clock of its own is stepped over it"

    def one(x: Any, point: Any) -> Any:
        zero = jnp.zeros_like(x)
        y, args, atol = (zero, x), (point, 1 / pace(x, point)), 1e-8 * coordinate.response(x, point)

        def turn(_: Any, at: tuple) -> tuple:
            s, y, carry, control = at
            end, tried = stepper.attempt(s, y, carry, args, control, atol, jnp.inf + s)
            return *choose(tried.keep, (end, tried.y, tried.carry), (s, y, carry)), tried.control

        begin = zero, y, stepper.carry(zero, y, args, atol), stepper.control(0.1 + zero)
        _, (time, _), *_ = lax.fori_loop(0, number, turn, begin)
        return time

    return jax.vmap(one)(x, point)


def sample(coordinate: Coordinate, x: Any, point: Any) -> Any:
    """The response at a time within a step: a root of the step's polynomial, and w there."""

    def one(x: Any, point: Any) -> Any:
        series = [x * 0.1**n for n in range(TERMS)]
        return coordinate.response(dense.root(series, 0.5 * jnp.ones_like(x), x, x), point)

    return jax.vmap(one)(x, point)


def _repeated(coordinate: Coordinate, function: Callable, times: int, treedef: Any) -> Callable:
    """A function of the coordinate at so many places, which differ a little so that none can be left out."""

    def one(*leaves: Any) -> tuple[Any]:  # of blocks of points
        point = jax.tree.unflatten(treedef, leaves)
        start = jax.vmap(coordinate.start)(point)

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
        call = functools.partial(many.evaluate, _repeated, key, columns, elementwise=True)
        seconds += median_seconds(call, repeats)
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
    cold, warm = 0.0, 0.0

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        nonlocal cold
        if event.endswith("/backend_compile_duration"):
            cold += duration_secs

    name = "jax_compilation_cache_dir"
    before, where = jax.config.values[name], devices.pick()
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        with tempfile.TemporaryDirectory() as folder:
            jax.config.update(name, folder)
            programs.compiled.cache_clear()
            jax.clear_caches()
            solved(128, 1, method="dopri8")
            for file in Path(folder).glob("*.compiled"):
                warm += timed(functools.partial(programs.kept(file).loaded, where))[0]
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
        jax.config.update(name, before)
    return cold, warm


def main(known: Mapping[str, float], small: bool = False) -> list[Limit]:
    """All limits that can be told; `known` are the numbers that the other scripts have left."""
    count, repeats = (256, 1) if small else (1 << 17, 3)
    limits = []

    def against(peer: str, number: str, mine: float, why: str) -> None:
        if peer in known:
            limits.append(Limit(number, mine / known[peer], f"{why}: {mine / 1e6:.2f} million points/s"))

    n = whole.intervals(1e-8)
    why = f"start, span, a rule of {n + 1} points and its error"
    once = rate("chi", functools.partial(rule, n), 1, count, repeats)
    against("heyoka", "engine / heyoka", once, why)
    against("heyoka", "js.solve / heyoka", once, "the same, as the function must integrate")
    form = rate("chi", closed_form, 1, count, repeats)
    limits.append(Limit("js.critical_time", form, "the incomplete beta function of a point, again and again in cache"))
    alone, taken = solved(count, repeats, method="dopri8")
    stages = len(rule_of(SOLVERS["dopri8"].tableau).nodes) - 1
    slopes = rate("chi", slope, taken * stages, count, repeats)
    against("Boost", "dopri8 / Boost", slopes, f"{taken:.1f} steps of {stages} slopes dT/dchi a point")
    _, events = solved(count // 8, 1, method="dopri8", coordinate="log_w")
    number = round(events)
    stepping = rate("log_w", functools.partial(steps, number), 1, count, repeats)
    against(
        "heyoka, events", "events / heyoka", stepping, f"{number} steps of dopri8 in ln w with control of their size"
    )

    _, longer = solved(count // 8, 1, until=2, method="dopri8")
    samples = alone / rate("chi", sample, SAMPLES, count, repeats)
    why = f"{longer:.1f} steps to twice the time for {taken:.1f}, and {SAMPLES} roots and w(chi), {samples:.2f} solves"
    limits.append(Limit("samples / alone", longer / taken + samples, why))
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
    found = main(goals.numbers(), small="--small" in sys.argv)
    text = table(found)
    print(text)
    if "--small" not in sys.argv:
        print(goals.record("limits", {}, f"## What stops it\n\n{text}"))
