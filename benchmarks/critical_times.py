"""Points a second for critical times: this engine, the plain way to write it, and the closed form.

All three visit the same mixed grid in one process, and each row carries its verified worst and median relative error
against the closed form, so that speeds compare at known accuracy. Compile time stands apart; run times are medians.

    python benchmarks/critical_times.py [--small]
"""

import functools
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx

from jepa_sweep.engine import lanes
from jepa_sweep.engine.solver import Settings
from jepa_sweep.physics.catalog import SYSTEMS
from jepa_sweep.physics.systems import Status

OBJECTIVES = ("jepa", "mae")


class Row(NamedTuple):
    """One way at one tolerance."""

    way: str
    rtol: float
    points: int
    compile_seconds: float
    points_per_second: float
    worst_error: float
    median_error: float


def grid(count: int) -> dict[str, dict[str, np.ndarray]]:
    """The mixed grid, `count` points an objective, only those that can be learned, cheap ones first."""
    rng = np.random.default_rng(0)
    out = {}
    for objective in OBJECTIVES:
        points = {
            "lam": np.exp(rng.uniform(np.log(0.1), np.log(10), 2 * count)),
            "rho": rng.uniform(0.05, 1.0, 2 * count),
            "L": rng.choice([1.0, 2.0, 3.0, 5.0, 8.0], 2 * count),
            "eps": np.exp(rng.uniform(np.log(1e-6), np.log(1e-2), 2 * count)),
        }
        system = SYSTEMS["reduced"][objective]
        learned = lanes.predict(system, points, np.full(2 * count, 0.5)).status == Status.LEARNED
        cheap = np.argsort(system.cost(points), kind="stable")
        order = cheap[learned[cheap]][:count]
        out[objective] = {name: values[order] for name, values in points.items()}
    return out


def plain(objective: str, solver: dfx.AbstractSolver, rtol: float) -> Callable[..., jax.Array]:
    """What one would write with diffrax: integrate w from eps until an event at p w*, vmapped and jitted."""
    power = 3.0 if objective == "jepa" else 2.0

    def one(lam: Any, rho: Any, L: Any, eps: Any) -> Any:
        target = 0.5 * (rho**L if objective == "jepa" else rho ** (L / (L + 1)))
        sol = dfx.diffeqsolve(
            dfx.ODETerm(lambda t, w, _: lam * (w ** (power - 1 / L) - w**3 / rho)),
            solver,
            0.0,
            jnp.inf,
            None,
            eps,
            stepsize_controller=dfx.PIDController(rtol=rtol, atol=rtol * eps),
            event=dfx.Event(
                lambda t, y, args, **_: y / target - 1,
                root_finder=optx.Bisection(rtol=1e-2 * rtol, atol=1e-2 * rtol, flip=False),
            ),
            max_steps=10_000,
            adjoint=dfx.ForwardMode(),
            throw=False,
        )
        assert sol.ts is not None, "saved at the end"
        return sol.ts[-1]

    return jax.jit(jax.vmap(one))


def measure(way: str, rtol: float, call: Callable[[str], Any], exact: dict[str, np.ndarray], repeats: int) -> Row:
    """Time `call` over both objectives: once with compiling, then the median of `repeats`."""

    def sweep() -> tuple[float, dict[str, np.ndarray]]:
        began = time.perf_counter()
        out = {objective: np.asarray(call(objective)) for objective in OBJECTIVES}
        return time.perf_counter() - began, out

    first, out = sweep()
    run = statistics.median(sweep()[0] for _ in range(repeats))
    errors = np.concatenate([np.abs(out[o] / exact[o] - 1) for o in OBJECTIVES])
    count = errors.size
    return Row(way, rtol, count, max(first - run, 0.0), count / run, float(errors.max()), float(np.median(errors)))


def main(small: bool = False) -> list[Row]:
    """Measure every way; `small` is a check that the script runs, not a measurement."""
    count, repeats, tolerances = (128, 1, (1e-8,)) if small else (32_768, 5, (1e-4, 1e-6, 1e-8, 1e-10))
    points = grid(count)
    p = np.full(count, 0.5)
    systems = SYSTEMS["reduced"]
    predicted = {o: lanes.predict(systems[o], points[o], p) for o in OBJECTIVES}
    exact = {o: predicted[o].time for o in OBJECTIVES}
    rows = []
    for rtol in tolerances:
        settings = Settings(rtol=rtol)
        rows.append(
            measure(
                "this engine (dopri8 in chi)",
                rtol,
                lambda o, s=settings: lanes.solve(systems[o], points[o], p, predicted[o], s).time,
                exact,
                repeats,
            )
        )
        for solver in (dfx.Tsit5(), dfx.Dopri8()):
            ways = {o: functools.partial(plain(o, solver, rtol), **points[o]) for o in OBJECTIVES}
            with jax.enable_x64(True):
                name = f"plain vmap, event in w ({type(solver).__name__.lower()})"
                rows.append(measure(name, rtol, lambda o, w=ways: w[o](), exact, repeats))
    rows.append(
        measure(
            "closed form, all predictions",
            0.0,
            lambda o: lanes.predict(systems[o], points[o], p).time,
            exact,
            repeats,
        )
    )
    return rows


def report(rows: list[Row]) -> str:
    """The rows as a table, with the machine."""
    lines = [
        f"jax {jax.__version__}, {platform.processor() or platform.machine()}, {jax.devices()[0]}",
        "| way | rtol | points | compile s | points/s | worst error | median error |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        numbers = f"{r.points:,} | {r.compile_seconds:.1f} | {r.points_per_second:,.0f}"
        lines.append(f"| {r.way} | {r.rtol:.0e} | {numbers} | {r.worst_error:.1e} | {r.median_error:.1e} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(report(main(small="--small" in sys.argv)))
