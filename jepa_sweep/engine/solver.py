"""One point through diffrax: critical time, number of steps, how it ended, and the response at requested times.

Nothing here raises for a point that does not finish, and nothing here sees a batch: `lanes` does that.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import diffrax as dfx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float

from jepa_sweep.physics.systems import Code, Coordinate, Point, Scalar, State, Status

SOLVERS = {"tsit5": dfx.Tsit5, "dopri5": dfx.Dopri5, "dopri8": dfx.Dopri8, "kvaerno5": dfx.Kvaerno5}


@dataclass(frozen=True)
class Settings:
    """How to integrate. Every field is a compile key; `coordinate` None means the system's best."""

    method: str = "dopri8"
    rtol: float = 1e-8
    max_steps: int = 10_000
    precision: str = "float64"
    coordinate: str | None = None


class Outcome(NamedTuple):
    """What one solve came to, in paper time."""

    time: Scalar  # the critical time; NaN unless `status` is LEARNED
    status: Code
    steps: Code  # accepted and rejected, of all integrations


class _Run(NamedTuple):
    time: Scalar
    finished: Scalar
    out_of_steps: Scalar
    steps: Code


def _run(sol: dfx.Solution, time: Scalar, finished: Scalar) -> _Run:
    return _Run(time, finished, sol.result == dfx.RESULTS.max_steps_reached, sol.stats["num_steps"])


def _by_clock(coordinate: Coordinate, point: Point, p: Scalar, runs: Scalar, settings: Settings) -> _Run:
    """T as the integral of dT/dchi over a fixed interval: no event to locate, and no stiffness at rest."""
    assert coordinate.at is not None, "only a coordinate with `at` can be the independent variable"
    here = jnp.where(runs, coordinate.start(point), 0.0)
    there = jnp.where(runs, coordinate.at(p, point), 0.0)
    zero = jnp.zeros_like(here)

    # Times in units of the field at the start, so that they stay near 1 whatever their size; a first step of one
    # e-fold of the field, because a relative tolerance cannot choose one for a time that starts at 0.
    slowest, slope = jax.jvp(lambda chi: coordinate.field(zero, chi, point), (here,), (jnp.ones_like(here),))
    e_fold = jnp.abs(slowest / jnp.where(slope == 0, slowest, slope))

    def clock(chi: Any, time: Any, point: Point) -> Scalar:
        return slowest / coordinate.field(time, chi, point)

    sol = dfx.diffeqsolve(
        dfx.ODETerm(clock),
        SOLVERS[settings.method](),
        here,
        there,
        jnp.minimum((there - here) / 2, e_fold),
        zero,
        point,
        stepsize_controller=dfx.PIDController(rtol=settings.rtol, atol=float(jnp.finfo(zero.dtype).tiny)),
        max_steps=settings.max_steps,
        adjoint=dfx.ForwardMode(),
        throw=False,
    )
    assert sol.ys is not None, "diffrax saves the end by default"
    return _run(sol, sol.ys[-1] / slowest, sol.result == dfx.RESULTS.successful)


def _forward(coordinate: Coordinate, point: Point, until: Scalar, settings: Settings, **options) -> dfx.Solution:
    """The flow itself, from the start up to time `until`."""
    start, zero = coordinate.start(point), jnp.zeros_like(until)
    if coordinate.at is None:
        size, first, shortest = jnp.abs(coordinate.response(start, point)), None, zero
    else:
        # A coordinate that only grows is of order 1 where it passes through 0, else no smaller than its start.
        size = jnp.where(start > 0, jnp.minimum(start, 1.0), 1.0)
        first = jnp.minimum(0.01 * size / coordinate.field(zero, start, point), until)
        # Growth may be faster than the clock can resolve once t is large; step over it, see `Status.UNRESOLVED`.
        shortest = jnp.where(start > 0, 0.0, 8 * jnp.finfo(until.dtype).eps * until)
    return dfx.diffeqsolve(
        dfx.ODETerm(coordinate.field),
        SOLVERS[settings.method](),
        zero,
        until,
        first,
        start,
        point,
        max_steps=settings.max_steps,
        adjoint=dfx.ForwardMode(),
        throw=False,
        stepsize_controller=dfx.PIDController(
            rtol=settings.rtol, atol=settings.rtol * size, dtmin=shortest, force_dtmin=True
        ),
        **options,
    )


def _by_event(coordinate: Coordinate, point: Point, target: Scalar, runs: Scalar, settings: Settings) -> _Run:
    """T as the time at which the response meets its target, located on the solver's dense output."""
    rising = jnp.sign(target - coordinate.response(coordinate.start(point), point))

    def crossing(t: Scalar, y: State, args: Point, **_) -> Scalar:
        return rising * (coordinate.response(y, args) / target - 1)

    # With `flip` known, bisection needs no run-time check: one bad point cannot stop its batch.
    locate = optx.Bisection(rtol=1e-2 * settings.rtol, atol=1e-2 * settings.rtol, flip=False)
    until = jnp.where(runs, jnp.inf, jnp.zeros_like(target))
    sol = _forward(coordinate, point, until, settings, event=dfx.Event(crossing, root_finder=locate))
    assert sol.ts is not None, "diffrax saves the end by default"
    return _run(sol, sol.ts[-1], jnp.asarray(sol.event_mask))


def critical_time(
    coordinate: Coordinate, point: Point, p: Scalar, target: Scalar, ready: Code, settings: Settings
) -> Outcome:
    """Integrate until the response is `target`, which is `p` of the rest point; only where `ready` is LEARNED."""
    runs = ready == Status.LEARNED
    if coordinate.at is None:
        run = _by_event(coordinate, point, target, runs, settings)
    else:
        run = _by_clock(coordinate, point, p, runs, settings)
    failed = jnp.where(run.out_of_steps, Status.MAX_STEPS, Status.NON_FINITE)
    ended = jnp.where(run.finished & jnp.isfinite(run.time), Status.LEARNED, failed)
    status = jnp.where(runs, ended, ready)
    time = jnp.where(status == Status.LEARNED, run.time, jnp.nan)
    return Outcome(time, status, jnp.where(runs, run.steps, 0))


def response(
    coordinate: Coordinate, point: Point, times: Float[Array, " s"], settings: Settings
) -> tuple[Float[Array, " s"], Code]:
    """The response at `times` (increasing, from 0 on) and the steps taken; NaN from where the solver gave up."""

    def save(t: Scalar, y: State, args: Point) -> Scalar:
        return coordinate.response(y, args)

    starts = jax.tree.leaves(coordinate.start(point))
    runs = jnp.isfinite(times[-1]) & jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in starts]))
    until = jnp.where(runs, times[-1], 0.0)
    asked = jnp.where(runs, times, 0.0)
    sol = _forward(coordinate, point, until, settings, saveat=dfx.SaveAt(ts=asked, fn=save))
    assert sol.ys is not None, "saved at the times asked for"
    reached = runs & jnp.isfinite(sol.ys)
    return jnp.where(reached, sol.ys, jnp.nan), sol.stats["num_steps"]
