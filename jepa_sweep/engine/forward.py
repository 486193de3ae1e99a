"""The flow forward in time, for states of any shape: thresholds are events, samples come from diffrax's dense output.

Time is integrated beside the state, over the coordinate's own clock s: ds/dT = pace, or s = T without one.

A step that would carry the response across its threshold is not taken at first: the lane rests, the crossing is found
on the dense output, and one more step of the solver from the same start lands there, so that the time of a crossing
has the order of the solver and not that of its interpolation.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jepa_sweep.engine import dense
from jepa_sweep.engine.dense import KNOTS, Knots
from jepa_sweep.engine.pool import Course, Trip
from jepa_sweep.engine.solver import Control, Goal, Outcome, Settings, Stepper, Tried
from jepa_sweep.physics.dynamics import Code, Coordinate, Flag, Scalar, State, Status

Both = tuple[Scalar, State]  # time, in units of dT/ds at the start, and the state


class Lane(NamedTuple):
    """Where one solve stands."""

    goal: Goal  # its times in units of `unit`
    atol: Scalar
    unit: Scalar  # of time
    until: Scalar  # time of the last sample
    s: Scalar
    y: Both
    carry: Any  # what the solver keeps between steps
    control: Control
    met: Code  # thresholds behind us
    crossing: Flag  # the next step meets the next threshold
    hits: Float[Array, " p"]
    since: Trip  # of the first step that is not read yet
    noted: Code  # steps since then
    samples: Float[Array, "s o"]


def course(coordinate: Coordinate, settings: Settings) -> Course:
    """How one solve goes in any coordinate."""

    def pace(y: State, point: Any) -> Scalar:
        return jnp.ones((), settings.precision) if coordinate.pace is None else coordinate.pace(y, point)

    def field(s: Any, y: Both, args: tuple) -> Both:
        del s
        (T, state), (point, unit) = y, args
        per_s = 1 / pace(state, point)
        return per_s / unit, jax.tree.map(lambda f: f * per_s, coordinate.field(T * unit, state, point))

    stepper = Stepper(settings, field)
    matrix = dense.of_flow(stepper.solver)
    halvings = math.ceil(-math.log2(settings.rtol)) + 1  # down to the tolerance; Newton's method does the rest

    def args_of(lane: Lane) -> tuple:
        return lane.goal.point, lane.unit

    def start(goal: Goal, trip: Trip) -> Lane:
        state = coordinate.start(goal.point)
        size = jnp.abs(coordinate.response(state, goal.point))
        atol, zero = settings.rtol * size, jnp.zeros_like(size)
        unit = zero + 1 / pace(state, goal.point)
        y, args, times = (zero, state), (goal.point, unit), goal.times / unit
        return Lane(
            goal=goal._replace(times=times),  # scaled once: what is waited for is what is read
            atol=atol,
            unit=unit,
            until=jnp.max(times, initial=0.0, where=~jnp.isnan(times)),
            s=zero,
            y=y,
            carry=stepper.carry(zero, y, args, atol),
            control=stepper.control(stepper.first(y, args, atol)),
            met=jnp.zeros((), int),
            crossing=jnp.zeros((), bool),
            hits=jnp.full_like(goal.p, jnp.nan),
            since=trip,
            noted=jnp.zeros((), int),
            samples=jnp.full((goal.times.shape[0], coordinate.width), jnp.nan, zero.dtype),
        )

    def blank(goal: Goal) -> Knots | None:
        state = coordinate.start(goal.point)
        y = (jnp.abs(coordinate.response(state, goal.point)), state)
        room = jax.tree.map(lambda v: jnp.zeros((len(matrix), *v.shape), v.dtype), y)
        return dense.empty(*room) if goal.times.shape[0] else None

    def attempt(lane: Lane) -> tuple[Scalar, Tried]:
        return stepper.attempt(lane.s, lane.y, lane.carry, args_of(lane), lane.control, lane.atol, jnp.inf + lane.s)

    def polynomials(lane: Lane, tried: Tried) -> Any:
        return jax.tree.map(lambda y, k: dense.polynomial(matrix, y, k), lane.y, tried.stages)

    def pending(lane: Lane) -> Flag:
        return lane.met < jnp.sum(lane.goal.wanted)

    def target(lane: Lane) -> Scalar:
        return lane.goal.target[jnp.minimum(lane.met, lane.goal.p.shape[0] - 1)]

    def beyond(lane: Lane, state: State) -> Flag:
        """True where the response is on the far side of the next threshold, or on it."""
        before = coordinate.response(lane.y[1], lane.goal.point)
        after = coordinate.response(state, lane.goal.point)
        return jnp.where(before < target(lane), after >= target(lane), after <= target(lane))

    def advance(lane: Lane, knots: Knots | None, trip: Trip, wanted: Flag) -> tuple[Lane, Knots | None]:
        s, tried = attempt(lane)
        crossing = jnp.zeros((), bool)
        if lane.goal.p.shape[0]:
            crossing = tried.keep & pending(lane) & beyond(lane, tried.y[1])
        keep = tried.keep & ~crossing

        def kept(new: Any, old: Any) -> Any:
            return jax.tree.map(lambda a, b: jnp.where(keep, a, b), new, old)

        if knots is not None:
            (T0, state0), (T1, state1), point = lane.y, tried.y, lane.goal.point
            bend = jnp.log(pace(state0, point) / pace(state1, point))
            knots = dense.remember(knots, trip, wanted, T0, T1, bend, *polynomials(lane, tried))
        lane = lane._replace(
            noted=lane.noted + 1,
            s=kept(s, lane.s),
            y=kept(tried.y, lane.y),
            carry=kept(tried.carry, lane.carry),
            control=jax.tree.map(lambda a, b: jnp.where(crossing, b, a), tried.control, lane.control),
            crossing=crossing,
        )
        return lane, knots

    def over(lane: Lane) -> Flag:
        return (lane.control.ended != Status.LEARNED) | (~pending(lane) & (lane.y[0] >= lane.until))

    def rests(lane: Lane) -> Flag:
        full = lane.noted >= KNOTS if lane.goal.times.shape[0] else False
        return over(lane) | lane.crossing | full

    def locate(lane: Lane) -> Scalar:
        """The time at which the next step meets the next threshold."""
        s, tried = attempt(lane)
        point, coefficients = lane.goal.point, polynomials(lane, tried)[1]

        def halve(_: Code, ends: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
            low, high = ends
            middle = (low + high) / 2
            far = beyond(lane, jax.tree.map(lambda c: dense.value(list(c), middle), coefficients))
            return jnp.where(far, low, middle), jnp.where(far, middle, high)

        one = jnp.ones_like(s)
        low, high = lax.fori_loop(0, halvings, halve, (-one, one))
        near = lane.s + (s - lane.s) * ((low + high) / 2 + 1) / 2
        T, state = stepper.again(lane.s, near, lane.y, lane.carry, args_of(lane), lane.atol)
        rate = coordinate.field(T * lane.unit, state, point)
        response, slope = jax.jvp(lambda y: coordinate.response(y, point), (state,), (rate,))
        # Newton's method, but never out of the step: at a turning point the dense output is all there is.
        better = T - (response - target(lane)) / jnp.where(slope == 0, jnp.inf, slope * lane.unit)
        return jnp.clip(better, lane.y[0], tried.y[0])

    def settle(lane: Lane, knots: Knots | None, number: Code, trip: Trip) -> tuple[Lane, Outcome, Flag]:
        if lane.goal.p.shape[0]:
            here = lane.crossing & (jnp.arange(lane.goal.p.shape[0]) == lane.met)
            lane = lane._replace(
                hits=jnp.where(here, locate(lane), lane.hits),
                met=lane.met + lane.crossing.astype(int),
                crossing=jnp.zeros((), bool),
            )
        if knots is not None:

            def observe(state: State) -> Float[Array, " o"]:
                return coordinate.observe(state, lane.goal.point)

            def read(T: Scalar) -> tuple[Float[Array, " o"], Flag]:
                found, begun = dense.read(knots, number, lane.since, lane.noted, T, observe)
                return found, begun & (lane.y[0] >= T)

            found, here = jax.vmap(read)(lane.goal.times)
            samples = jnp.where(here[:, None], found, lane.samples)
            lane = lane._replace(samples=samples, since=trip, noted=jnp.zeros((), int))
        outcome = Outcome(lane.hits * lane.unit, lane.samples, lane.control.ended, lane.control.steps)
        return lane, outcome, over(lane)

    return Course(start, blank, advance, rests, settle)
