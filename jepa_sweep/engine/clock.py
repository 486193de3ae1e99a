"""Time as a function of a coordinate that only grows with it: dT/dx = 1 / field, over a fixed interval of x.

Critical times are then integrals: no event is located, nothing is stiff at rest, and like points take like numbers of
steps. Samples of w(T) are the roots of T(x) within a step.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jepa_sweep.engine import dense
from jepa_sweep.engine.dense import KNOTS, Knots
from jepa_sweep.engine.pool import Course, Trip
from jepa_sweep.engine.quadrature import ClenshawCurtis
from jepa_sweep.engine.solver import Control, Goal, Outcome, Settings, Stepper
from jepa_sweep.physics.dynamics import Code, Coordinate, Flag, Scalar, Status

REACH = 30  # e-folds that one step of a rule for integrals may try at first
OVERSHOOT = 1.25  # of the time that is left: a last step may not spoil what lies before its end


class Lane(NamedTuple):
    """Where one solve stands. x counts from the start of the coordinate, T in units of dT/dx there."""

    goal: Goal  # its times in units of `unit`
    start: Scalar  # the coordinate at x = 0
    unit: Scalar
    stops: Float[Array, " p"]  # x of each threshold, inf where none is wanted
    until: Scalar  # T of the last sample
    x: Scalar
    T: Scalar
    slope: Scalar  # dT/dx at x
    control: Control
    hits: Float[Array, " p"]  # T of each threshold
    since: Trip  # of the first step that is not read yet
    noted: Code  # steps since then
    samples: Float[Array, "s o"]


def course(coordinate: Coordinate, settings: Settings) -> Course:
    """How one solve goes in a coordinate with `span`."""
    span = coordinate.span
    assert span is not None, "only a coordinate that knows its span can be the clock"

    def field(x: Any, T: Any, args: tuple) -> Scalar:
        point, start, unit = args
        return 1 / (unit * coordinate.field(T * unit, start + x, point))

    stepper = Stepper(settings, field)
    matrix = dense.of_quadrature(stepper.solver)
    whole = isinstance(stepper.solver, ClenshawCurtis)
    tiny = float(jnp.finfo(settings.precision).tiny)

    def start(goal: Goal, trip: Trip) -> Lane:
        begin = coordinate.start(goal.point)
        zero = jnp.zeros_like(begin)
        rate, slope = jax.jvp(lambda c: coordinate.field(zero, c, goal.point), (begin,), (jnp.ones_like(begin),))
        stops = jnp.where(goal.wanted, jax.vmap(span, (0, None))(goal.p, goal.point), jnp.inf)
        # The relative tolerance cannot choose a first step for a T that starts at 0: one e-fold of the field, or with
        # a rule for integrals all the way.
        e_fold = jnp.abs(rate / jnp.where(slope == 0, rate, slope))
        first = jnp.minimum(jnp.min(stops), REACH * e_fold if whole else e_fold)
        unit, samples = 1 / rate, goal.times.shape[0]
        times = goal.times / unit
        return Lane(
            goal=goal._replace(times=times),  # scaled once: what is waited for is what is read
            start=begin,
            unit=unit,
            stops=stops,
            until=jnp.max(times, initial=0.0, where=~jnp.isnan(times)),
            x=zero,
            T=zero,
            slope=jnp.ones_like(zero),
            control=stepper.control(first),
            hits=jnp.full_like(stops, jnp.nan),
            since=trip,
            noted=jnp.zeros((), int),
            samples=jnp.full((samples, coordinate.width), jnp.nan, zero.dtype),
        )

    def next_stop(lane: Lane) -> Scalar:
        return jnp.min(jnp.where(lane.stops > lane.x, lane.stops, jnp.inf))

    def blank(goal: Goal) -> Knots | None:
        like = coordinate.start(goal.point)
        return dense.empty(jnp.full(len(matrix), like), jnp.full(2, like)) if goal.times.shape[0] else None

    def advance(lane: Lane, knots: Knots | None, trip: Trip, wanted: Flag) -> tuple[Lane, Knots | None]:
        args = (lane.goal.point, lane.start, lane.unit)
        stop = next_stop(lane)
        if knots is not None:
            left = jnp.where(jnp.isinf(stop), lane.until - lane.T, jnp.inf)
            stop = jnp.minimum(stop, lane.x + OVERSHOOT * left / lane.slope)
        x, tried = stepper.attempt(lane.x, lane.T, lane.slope, args, lane.control, tiny, stop)
        if knots is not None:
            half = (x - lane.x) / 2
            bend = jnp.log(tried.carry / lane.slope)
            series = dense.polynomial(matrix, lane.T, tried.stages), jnp.stack([lane.x + half, half])
            knots = dense.remember(knots, trip, wanted, lane.T, tried.y, bend, *series)
        lane = lane._replace(
            noted=lane.noted + 1,
            x=jnp.where(tried.keep, x, lane.x),
            T=jnp.where(tried.keep, tried.y, lane.T),
            slope=jnp.where(tried.keep, tried.carry, lane.slope),
            control=tried.control,
            hits=jnp.where(tried.keep & (lane.stops == x), tried.y, lane.hits),
        )
        return lane, knots

    def over(lane: Lane) -> Flag:
        return (lane.control.ended != Status.LEARNED) | (jnp.isinf(next_stop(lane)) & (lane.until <= lane.T))

    def rests(lane: Lane) -> Flag:
        full = lane.noted >= KNOTS if lane.goal.times.shape[0] else False
        return over(lane) | full

    def settle(lane: Lane, knots: Knots | None, number: Code, trip: Trip) -> tuple[Lane, Outcome, Flag]:
        if knots is not None:

            def observe(x: Scalar) -> Float[Array, " o"]:
                return coordinate.observe(lane.start + x, lane.goal.point)

            def read(T: Scalar) -> tuple[Float[Array, " o"], Flag]:
                found, begun = dense.read(knots, number, lane.since, lane.noted, T, observe)
                return found, begun & (lane.T >= T)

            found, here = jax.vmap(read)(lane.goal.times)
            samples = jnp.where(here[:, None], found, lane.samples)
            lane = lane._replace(samples=samples, since=trip, noted=jnp.zeros((), int))
        outcome = Outcome(lane.hits * lane.unit, lane.samples, lane.control.ended, lane.control.steps)
        return lane, outcome, over(lane)

    return Course(start, blank, advance, rests, settle, share=0.5 if whole else 0.25)
