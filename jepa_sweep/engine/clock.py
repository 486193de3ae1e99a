"""Time integrated over a coordinate x that only grows with it: dT/dx = 1 / field, over a fixed interval.

Critical times are then integrals: no event is located, nothing is stiff at rest, and like points take like numbers of
steps. Samples of w(T) are the roots of T(x) within a step.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jepa_sweep.engine import dense, search
from jepa_sweep.engine.dense import Knots
from jepa_sweep.engine.pool import Course, Index, Trip
from jepa_sweep.engine.search import Search
from jepa_sweep.engine.solver import Control, Goal, IntegralStepper, Outcome, Settings
from jepa_sweep.physics.dynamics import Coordinate, Flag, Scalar
from jepa_sweep.physics.elementary import log

MAX_E_FOLDS = 30  # that the first step of a rule for integrals may span
OVERSHOOT = 1.25  # of the time to the last sample: a step far beyond it would be less accurate there


class Lane(NamedTuple):
    """Where one solve stands. x counts from the start of the coordinate, T in the largest dT/dx of start and stops."""

    search: Search
    start: Scalar  # the coordinate at x = 0
    stops: Float[Array, " p"]  # x of each threshold, inf where none is wanted
    x: Scalar
    T: Scalar
    slope: Scalar  # dT/dx at x
    control: Control

    @property
    def next_stop(self) -> Scalar:
        """x of the next threshold, inf after the last."""
        return jnp.min(jnp.where(self.stops > self.x, self.stops, jnp.inf))


class _Clock(NamedTuple):
    """The functions of a `Course` in a coordinate with `span`."""

    coordinate: Coordinate
    stepper: IntegralStepper
    matrix: Float[np.ndarray, "terms stages"]  # of `dense.polynomial`

    def start(self, goal: Goal, trip: Trip) -> Lane:
        coordinate, point = self.coordinate, goal.point
        assert coordinate.span is not None, "only a coordinate that knows its span can be the clock"
        begin = coordinate.start(point)
        zero = jnp.zeros_like(begin)
        rate, slope = jax.jvp(lambda c: coordinate.field(zero, c, point), (begin,), (jnp.ones_like(begin),))
        stops = jnp.where(goal.wanted, jax.vmap(coordinate.span, (0, None))(goal.p, point), jnp.inf)
        # The relative tolerance cannot choose a first step for a T that starts at 0: one e-fold of the field, or with
        # a rule for integrals all the way.
        e_fold = jnp.abs(rate / jnp.where(slope == 0, rate, slope))
        first = jnp.minimum(jnp.min(stops), MAX_E_FOLDS * e_fold if self.stepper.settings.integrates else e_fold)
        at_stops = jax.vmap(lambda x: coordinate.field(zero, begin + jnp.where(jnp.isinf(x), 0.0, x), point))(stops)
        unit = 1 / jnp.min(jnp.where(at_stops > 0, at_stops, rate), initial=rate)  # of rates that are one
        return Lane(
            search=search.begin(goal, unit, coordinate.width, trip),
            start=begin,
            stops=stops,
            x=zero,
            T=zero,
            slope=jnp.maximum(1 / (rate * unit), jnp.finfo(zero.dtype).tiny),
            control=self.stepper.control(first),
        )

    def blank(self, goal: Goal) -> Knots | None:
        like = self.coordinate.start(goal.point)
        return dense.empty(jnp.full(len(self.matrix), like), jnp.full(2, like)) if goal.times.shape[0] else None

    def advance(self, lane: Lane, knots: Knots | None, trip: Trip, wanted: Flag) -> tuple[Lane, Knots | None]:
        """Try one step, at most up to the next threshold, and remember it if it is wanted."""
        args = (lane.search.goal.point, lane.start, lane.search.unit)
        stop = lane.next_stop
        if knots is not None:
            left = jnp.where(jnp.isinf(stop), lane.search.until - lane.T, jnp.inf)
            least = 4 * jnp.finfo(lane.T.dtype).eps * jnp.maximum(lane.x, lane.T / lane.slope)  # that changes both
            stop = jnp.minimum(stop, lane.x + jnp.maximum(OVERSHOOT * left / lane.slope, least))
        tiny = float(jnp.finfo(lane.T.dtype).tiny)
        x, tried = self.stepper.attempt(lane.x, lane.T, lane.slope, args, lane.control, tiny, stop)
        if knots is not None:
            half = (x - lane.x) / 2
            bend = log(tried.carry / lane.slope)
            series = dense.polynomial(self.matrix, lane.T, tried.stages), jnp.stack([lane.x + half, half])
            knots = dense.remember(knots, trip, wanted, lane.T, tried.y, bend, *series)
        found, here = lane.search, tried.keep & (lane.stops == x)
        error = jnp.where(tried.keep, found.error + jnp.abs(tried.error), found.error)
        hits, errors = jnp.where(here, tried.y, found.hits), jnp.where(here, error, found.errors)
        lane = lane._replace(
            search=found._replace(hits=hits, errors=errors, error=error, noted=found.noted + 1),
            x=jnp.where(tried.keep, x, lane.x),
            T=jnp.where(tried.keep, tried.y, lane.T),
            slope=jnp.where(tried.keep, tried.carry, lane.slope),
            control=tried.control,
        )
        return lane, knots

    def over(self, lane: Lane) -> Flag:
        return lane.search.is_over(lane.control, jnp.isinf(lane.next_stop), lane.T)

    def rests(self, lane: Lane) -> Flag:
        return self.over(lane) | lane.search.is_full()

    def settle(self, lane: Lane, knots: Knots | None, number: Index, trip: Trip) -> tuple[Lane, Outcome, Flag]:

        def observe(x: Scalar) -> Float[Array, " o"]:
            return self.coordinate.observe(lane.start + x, lane.search.goal.point)

        lane = lane._replace(search=lane.search.read(knots, number, trip, lane.T, observe))
        return lane, lane.search.outcome(lane.control), self.over(lane)


def _slope(coordinate: Coordinate, x: Any, T: Any, args: tuple) -> Scalar:
    """dT/dx, T in units of `unit`."""
    point, start, unit = args
    return 1 / (unit * coordinate.field(T * unit, start + x, point))


def course(coordinate: Coordinate, settings: Settings) -> Course:
    """Solves in a coordinate with `span`, for the pool."""
    stepper = IntegralStepper(settings, functools.partial(_slope, coordinate))
    clock = _Clock(coordinate, stepper, dense.of_rule(stepper.rule.nodes))
    return Course(clock.start, clock.blank, clock.advance, clock.rests, clock.settle, share=0.5)
