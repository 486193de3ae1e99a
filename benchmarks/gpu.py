"""Critical times on an accelerator: points a second, where it overtakes the processor, and where the time goes.

    python benchmarks/gpu.py [--device gpu] [--small]

needs a GPU (or names another device), takes a few minutes, prints its tables and writes them to benchmarks/gpu.md:
the rate of each program on numbers that are on the device, the rate at each lane width and the crossover against the
processor's cores from 10^2 to 10^8 points, both with numbers that come from the host and go back, and what share of a
solve in lanes is arithmetic of the steps, what the loop and the handing out of tasks.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import P, Points, grid, median_seconds
from jepa_sweep.engine import devices, lanes, pool, programs, whole
from jepa_sweep.engine.methods import SOLVERS
from jepa_sweep.engine.settings import Settings
from jepa_sweep.engine.solver import Goal
from jepa_sweep.errors import SpecError
from jepa_sweep.physics import exact
from jepa_sweep.physics.reduced import DYNAMICS

MOST = 1 << 22  # points of one call; larger sweeps come in chunks of this size, as in `jepa-sweep run`


class Problem:
    """The mixed grid's JEPA and MAE points, half of each, with their predictions."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._parts = []
        for objective, points in grid(max(1, count // 2)).items():
            system, p = DYNAMICS[objective], np.full((max(1, count // 2), 1), P)
            self._parts.append((system, points, p, lanes.predict(system, points, p, device="cpu")))

    @property
    def jepa(self) -> tuple:
        """The system, its points, thresholds and predictions."""
        return self._parts[0]

    def solve(self, settings: Settings, device: str, width: int | None = None) -> float:
        """Solve everything once; the worst relative error."""
        worst = 0.0
        for system, points, p, predicted in self._parts:
            found = lanes.solve(system, points, p, predicted, settings, width=width, device=device)
            worst = max(worst, float(np.max(np.abs(found.time / predicted.values["t_exact"] - 1))))
        return worst

    def goals(self, width: int) -> tuple[Any, Goal]:
        """The JEPA system, and goals for as many lanes, evenly out of its points."""
        system, points, p, predicted = self._parts[0]
        some = np.linspace(0, len(p) - 1, width).astype(int)
        chosen: Points = {name: values[some] for name, values in points.items()}
        point = jax.tree.map(lambda v: jnp.asarray(v, float) * jnp.ones(width), system.point(**chosen))
        target = jnp.asarray((p * predicted.w_star)[some])
        return system, Goal(point, jnp.asarray(p[some]), target, jnp.ones((width, 1), bool), jnp.zeros((width, 0)))


def on_device(problem: Problem, device: str, repeats: int) -> str:
    """Points a second of each program of the engine alone: no number goes to the device or comes back."""
    where, (system, points, p, predicted) = devices.pick(device)[0], problem.jepa
    count, best = len(p), system.coordinate()
    with devices.scope("float64", where):
        point = jax.tree.map(lambda v: jnp.asarray(v, float) * jnp.ones(count), system.point(**points))
        treedef = jax.tree.structure(point)
        wanted = jnp.ones((count, 1), bool)
        goals = Goal(point, jnp.asarray(p), jnp.asarray(p * predicted.w_star), wanted, jnp.zeros((count, 0)))

        def rule(intervals: int) -> Any:
            program = whole.part(best, treedef, intervals, None, programs.Shape(count, count))
            return lambda goals: program(None, goals.p[:, 0], *jax.tree.leaves(goals.point))[0]

        def in_lanes(coordinate: str) -> Any:
            course = lanes.course_of(system.coordinate(coordinate), Settings("dopri8", 1e-8))
            return lambda goals: pool.run(course, goals, jnp.asarray(count), min(1 << 18, count)).results.times

        ways = {
            "closed form": lambda goals: jax.vmap(exact.critical_time)(goals.point, goals.p[:, 0]),
            "rule of 19 points over the whole interval": rule(18),
            "rule of 37 points over the whole interval": rule(36),
            "dopri8 over chi, in lanes": in_lanes("chi"),
            "dopri8 with events in ln w, in lanes": in_lanes("log_w"),
        }
        rows = ["| program | points/s | worst error |", "|---|---|---|"]
        for name, way in ways.items():
            times = jax.jit(way)
            worst = np.max(np.abs(np.asarray(times(goals)).ravel() / predicted.values["t_exact"].ravel() - 1))
            seconds = median_seconds(lambda f=times: jax.block_until_ready(f(goals)), repeats)
            rows.append(f"| {name} | {count / seconds:,.0f} | {worst:.1e} |")
    return "\n".join(rows)


def widths(problem: Problem, settings: Settings, device: str, repeats: int) -> str:
    """The rate at each number of lanes."""
    rows = ["| lanes | points/s | worst error |", "|---|---|---|"]
    width = 1 << 10
    while width <= min(1 << 20, problem.count // 2):
        worst = problem.solve(settings, device, width)
        seconds = median_seconds(lambda w=width: problem.solve(settings, device, w), repeats)
        rows.append(f"| {width:,} | {problem.count / seconds:,.0f} | {worst:.1e} |")
        width *= 4
    return "\n".join(rows)


def crossover(counts: list[int], settings: Settings, device: str, repeats: int) -> str:
    """Seconds for so many points, on the device and on the cores of the processor.

    Beyond `MOST` points a sweep is so many calls of that size, and their time is multiplied.
    """
    rows = [f"| points | {device} s | cpu s | {device}/cpu speed |", "|---|---|---|---|"]
    for count in counts:
        problem, calls = Problem(min(count, MOST)), max(1.0, count / MOST)
        here, there = (
            calls * median_seconds(lambda w=w, p=problem: p.solve(settings, w), repeats) for w in (device, "cpu")
        )
        rows.append(f"| {count:,} | {here:.4f} | {there:.4f} | {there / here:.2f} |")
    return "\n".join(rows)


def shares(problem: Problem, settings: Settings, device: str, repeats: int) -> str:
    """Nanoseconds a lane step: bare arithmetic of the field, the step, the step in the loop, the whole pool."""
    where, width, trips = devices.pick(device)[0], min(1 << 17, problem.count // 2), 64
    with devices.scope(settings.precision, where):
        system, goals = problem.goals(width)
        coordinate = system.coordinate(settings.coordinate)
        course = lanes.course_of(coordinate, settings)
        goals = jax.device_put(goals, where)
        trip, busy = jnp.zeros((), int), jnp.ones(width, bool)
        lane, notes = jax.jit(jax.vmap(course.start, (0, None)))(goals, trip), jax.vmap(course.blank)(goals)

        @jax.jit
        def field(x: Any, point: Any) -> Any:
            def stages(_: Any, x: Any) -> Any:
                for _stage in SOLVERS[settings.method].tableau.c:
                    x = x + 1e-9 * jax.vmap(lambda x, p: coordinate.field(0.0, x, p))(x, point)
                return x

            return jax.lax.fori_loop(0, trips, stages, x)

        @jax.jit
        def step(lane: Any, notes: Any) -> Any:
            advance = jax.vmap(course.advance, (0, 0, None, 0))
            return jax.lax.fori_loop(0, trips, lambda i, both: advance(both[0], both[1], i, busy), (lane, notes))

        whole = jax.jit(lambda goals: pool.run(course, goals, jnp.asarray(width), width // 4))
        x = jax.vmap(coordinate.start)(goals.point)
        paid = int(whole(goals).trips) * (width // 4)
        parts = (
            ("the field at every stage", lambda: jax.block_until_ready(field(x, goals.point)), trips * width),
            ("a step and its control", lambda: jax.block_until_ready(step(lane, notes)), trips * width),
            ("the pool, everything", lambda: jax.block_until_ready(whole(goals)), paid),
        )
        each = {name: median_seconds(call, repeats) / count * 1e9 for name, call, count in parts}
    total = each["the pool, everything"]
    rows = ["| part | ns a lane step | share of the pool |", "|---|---|---|"]
    return "\n".join(rows + [f"| {name} | {ns:.3f} | {ns / total:.0%} |" for name, ns in each.items()])


def main(device: str = "gpu", small: bool = False) -> str:
    """All tables, as text."""
    where, repeats = devices.pick(device), 1 if small else 3
    # The small ones share their programs.
    count, counts = (2048, [2048]) if small else (1 << 22, [10**n for n in range(2, 9)])
    problem = Problem(count)
    parts = [
        f"# Critical times on {len(where)} x {where[0].device_kind}",
        f"jax {jax.__version__}, float64.",
        "## Numbers on the device",
        on_device(problem, device, repeats),
    ]
    for method, rtol in (("dopri8", 1e-8), ("clenshaw_curtis", 1e-8)):
        settings = Settings(method=method, rtol=rtol)
        parts += [f"## {method}, rtol {rtol:.0e}, from the host and back", crossover(counts, settings, device, repeats)]
    settings = Settings("dopri8", 1e-8)
    parts += [
        "## Lanes of dopri8",
        widths(problem, settings, device, repeats),
        shares(problem, settings, device, repeats),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="gpu", help="gpu, tpu or cpu")
    parser.add_argument("--small", action="store_true", help="only check that the script runs; writes nothing")
    given = parser.parse_args()
    devices.use_all_cores()
    try:
        text = main(given.device, given.small)
    except SpecError as error:
        sys.exit(f"benchmarks/gpu.py: {error}")
    print(text)
    if not given.small:
        Path(__file__).with_name("gpu.md").write_text(text)
