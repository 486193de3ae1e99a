"""Integration forward in time, for states of any shape; thresholds are events, samples come from dense output.

Time is integrated beside the state, over the coordinate's own clock s: ds/dT = pace, or s = T without one.

A step that would carry the response across its threshold is not taken at first: the lane rests, the crossing is found
on the dense output, and one more step of the solver from the same start lands there, so that the time of a crossing
has the order of the solver and not that of its interpolation.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Bool, Float

from jepa_sweep.engine import dense, search
from jepa_sweep.engine.dense import Knots
from jepa_sweep.engine.pool import Course, Index, Trip, choose
from jepa_sweep.engine.search import Search
from jepa_sweep.engine.solver import Control, Goal, Outcome, Settings, Stepper, Tried
from jepa_sweep.physics.dynamics import Coordinate, Flag, Scalar, State
from jepa_sweep.physics.elementary import log

TimeAndState = tuple[Scalar, State]  # time in units of dT/ds at the start


class Lane(NamedTuple):
    """Where one solve stands."""

    search: Search
    atol: Scalar
    s: Scalar
    y: TimeAndState
    carry: Any  # what the solver keeps between steps
    control: Control
    met: Bool[Array, " p"]  # thresholds behind us, and those not looked for
    crossed: Bool[Array, " p"]  # others that the next step meets

    @property
    def args(self) -> tuple:
        """Arguments of the field."""
        return self.search.goal.point, self.search.unit


class _Forward(NamedTuple):
    """The functions of a `Course` in any coordinate."""

    coordinate: Coordinate
    stepper: Stepper
    matrix: Float[np.ndarray, "terms stages"]  # of `dense.polynomial`
    halvings: int  # down to half the digits asked for; Newton's method has the others

    def start(self, goal: Goal, trip: Trip) -> Lane:
        coordinate, stepper, point = self.coordinate, self.stepper, goal.point
        state = coordinate.start(point)
        size = _size(coordinate, coordinate.response(state, point), state, goal)
        atol, zero = stepper.settings.rtol * size, jnp.zeros_like(size)
        unit = zero + 1 / _pace(coordinate, state, point)
        y, args = (zero, state), (point, unit)
        return Lane(
            search=search.begin(goal, unit, coordinate.width, trip),
            atol=atol,
            s=zero,
            y=y,
            carry=stepper.carry(zero, y, args, atol),
            control=stepper.control(stepper.first(y, args, atol, lambda y: optx.rms_norm(y[1]))),
            met=~goal.wanted,
            crossed=jnp.zeros_like(goal.wanted),
        )

    def blank(self, goal: Goal) -> Knots | None:
        state = self.coordinate.start(goal.point)
        y = (jnp.abs(self.coordinate.response(state, goal.point)), state)
        room = jax.tree.map(lambda v: jnp.zeros((len(self.matrix), *v.shape), v.dtype), y)
        return dense.empty(*room) if goal.times.shape[0] else None

    def attempt(self, lane: Lane) -> tuple[Scalar, Tried]:
        """The next step, kept or not: s at its end, and what came of it."""
        end = jnp.inf + lane.s
        return self.stepper.attempt(lane.s, lane.y, lane.carry, lane.args, lane.control, lane.atol, end)

    def beyond(self, lane: Lane, state: State, target: Array) -> Array:
        """True where the response is on the far side of a threshold, or on it."""
        before = self.coordinate.response(lane.y[1], lane.search.goal.point)
        after = self.coordinate.response(state, lane.search.goal.point)
        return jnp.where(before < target, after >= target, after <= target)

    def advance(self, lane: Lane, knots: Knots | None, trip: Trip, wanted: Flag) -> tuple[Lane, Knots | None]:
        """Try one step, take it unless it crosses a threshold not met yet, and remember it if it is wanted."""
        s, tried = self.attempt(lane)
        crossed = tried.keep & ~lane.met & self.beyond(lane, tried.y[1], lane.search.goal.target)
        crossing = jnp.any(crossed)
        keep = tried.keep & ~crossing
        if knots is not None:
            (T0, state0), (T1, state1), point = lane.y, tried.y, lane.search.goal.point
            bend = log(_pace(self.coordinate, state0, point) / _pace(self.coordinate, state1, point))
            series = dense.polynomial(self.matrix, lane.y, tried.stages)
            knots = dense.remember(knots, trip, wanted, T0, T1, bend, *series)
        error = jnp.where(
            keep, lane.search.error + self.late(lane, tried.y, tried.error, tried.carry), lane.search.error
        )
        lane = lane._replace(
            search=lane.search._replace(error=error, noted=lane.search.noted + 1),
            s=jnp.where(keep, s, lane.s),
            y=choose(keep, tried.y, lane.y),
            carry=choose(keep, tried.carry, lane.carry),
            control=choose(crossing, lane.control, tried.control),
            crossed=crossed,
        )
        return lane, knots

    def over(self, lane: Lane) -> Flag:
        return lane.search.is_over(lane.control, jnp.all(lane.met), lane.y[0])

    def rests(self, lane: Lane) -> Flag:
        return self.over(lane) | jnp.any(lane.crossed) | lane.search.is_full()

    def late(self, lane: Lane, y: TimeAndState, error: TimeAndState, carry: Any) -> Scalar:
        """What errors of time and state at the end of a step come to in time: how long the flow takes to go so far.

        So far in its response or, where that is about to turn, in all parts of the state, in units of allowed errors. A
        field that depends on time does not wait for a state that is behind: there it is the error of the response.
        """
        rates = carry if self.stepper.settings.explicit else self.stepper.field(lane.s, y, lane.args)
        allowed = self.stepper.allowed(jax.tree.map(jnp.abs, y), lane.atol)[1]

        def lengths(change: State) -> tuple[Scalar, Scalar]:
            parts = jax.tree.leaves(jax.tree.map(jnp.divide, change, allowed))
            return self.change(lane, y[1], change), jnp.sqrt(sum(jnp.sum(x * x) for x in parts))

        off, moves = lengths(error[1]), lengths(rates[1])
        if self.is_driven(lane):
            return off[0] + jnp.abs(error[0]) * _ratio(moves[0], rates[0])
        return jnp.abs(error[0]) + rates[0] * jnp.minimum(*map(_ratio, off, moves))

    def change(self, lane: Lane, state: State, by: State) -> Scalar:
        """How far the response goes where the state changes a little, without its sign."""
        return jnp.abs(jax.jvp(lambda y: self.coordinate.response(y, lane.search.goal.point), (state,), (by,))[1])

    def is_driven(self, lane: Lane) -> bool:
        """Whether the field depends on time itself."""
        field = jax.make_jaxpr(self.coordinate.field)(lane.y[0], lane.y[1], lane.search.goal.point).jaxpr
        return any(field.invars[0] is used for equation in field.eqns for used in equation.invars)

    def locate(self, lane: Lane, target: Scalar) -> tuple[Scalar, Scalar]:
        """The time at which the next step meets a threshold, and its error."""
        s, tried = self.attempt(lane)
        coefficients = dense.polynomial(self.matrix, lane.y, tried.stages)[1]
        u = dense.bisect(
            lambda u: self.beyond(lane, dense.at(coefficients, u), target), jnp.ones_like(s), self.halvings
        )
        near = lane.s + (s - lane.s) * (u + 1) / 2
        y, error, carry, _ = self.stepper.step(lane.s, near, lane.y, lane.carry, lane.args, lane.atol)
        T, state = y
        point, unit = lane.args
        rate = self.coordinate.field(T * unit, state, point)
        response, slope = jax.jvp(lambda y: self.coordinate.response(y, point), (state,), (rate,))
        # Newton's method, but never out of the step: at a turning point the dense output is all there is.
        better = T - (response - target) / jnp.where(slope == 0, jnp.inf, slope * unit)
        late, pace = self.late(lane, y, error, carry), jnp.abs(slope * unit)
        missed = _ratio(self.change(lane, state, error[1]), pace)
        if self.is_driven(lane):
            off = _ratio(lane.search.error + late, pace)
        else:
            off = lane.search.error + jnp.maximum(late, missed)
        return jnp.clip(better, lane.y[0], tried.y[0]), off

    def settle(self, lane: Lane, knots: Knots | None, number: Index, trip: Trip) -> tuple[Lane, Outcome, Flag]:
        """Locate one crossing if there is any, and read samples off the steps since the last time.

        The step is then tried again: where it crosses several thresholds, each is located in its turn.
        """
        found, thresholds = lane.search, lane.search.goal.p.shape[0]
        if thresholds:
            first = jnp.argmax(lane.crossed)
            here = lane.crossed & (jnp.arange(thresholds) == first)
            time, error = self.locate(lane, found.goal.target[first])
            hits, errors = jnp.where(here, time, found.hits), jnp.where(here, error, found.errors)
            found = found._replace(hits=hits, errors=errors)
            lane = lane._replace(met=lane.met | here, crossed=jnp.zeros_like(here))

        def observe(state: State) -> Float[Array, " o"]:
            return self.coordinate.observe(state, found.goal.point)

        lane = lane._replace(search=found.read(knots, number, trip, lane.y[0], observe))
        return lane, lane.search.outcome(lane.control), self.over(lane)


def _size(coordinate: Coordinate, response: Scalar, state: State, goal: Goal) -> Scalar:
    """What errors must be small beside: 1 where they are relative ones, else the smallest response that is asked for.

    That is the one at the start or at a threshold or, where all of these are 0, the largest number of the state.
    """
    if coordinate.logarithmic:
        return jnp.ones_like(response)
    asked = jnp.abs(jnp.append(jnp.where(goal.wanted, goal.target, 0.0), response))
    smallest = jnp.min(jnp.where(asked > 0, asked, jnp.inf)).astype(response.dtype)
    largest = jnp.max(jnp.concatenate([jnp.abs(leaf).ravel() for leaf in jax.tree.leaves(state)]))
    largest = jnp.where(largest > 0, largest, 1.0).astype(response.dtype)
    return jnp.where(jnp.isfinite(smallest), smallest, largest)


def _allowed(coordinate: Coordinate, rtol: float, size: TimeAndState, atol: Scalar) -> TimeAndState:
    """How large errors of time and state may be: those of time are relative from the start, where it is 0."""
    T, state = size
    relative = 0.0 if coordinate.logarithmic else rtol
    tiny = float(jnp.finfo(T.dtype).tiny)
    return tiny + rtol * T, jax.tree.map(lambda y: atol + relative * y, state)


def _ratio(off: Scalar, moves: Scalar) -> Scalar:
    """How often one length goes into another; 0 where that is 0."""
    return jnp.where(off > 0, off / moves, 0.0)


def _pace(coordinate: Coordinate, state: State, point: Any) -> Scalar | float:
    """ds/dT."""
    return 1.0 if coordinate.pace is None else coordinate.pace(state, point)


def _field(coordinate: Coordinate, s: Any, y: TimeAndState, args: tuple) -> TimeAndState:
    """d(T, state)/ds, T in units of `unit`."""
    del s
    (T, state), (point, unit) = y, args
    pace = _pace(coordinate, state, point)
    # Divided, not multiplied by 1 / pace: XLA computes what ends in a product anew wherever a later stage uses it.
    rates = jax.tree.map(lambda f: _over(f, pace), coordinate.field(T * unit, state, point))
    return _over(jnp.ones_like(T), pace * unit), rates


@jax.custom_jvp
def _over(x: Array, y: Scalar | float) -> Array:
    """x / y; implicit methods differentiate it, and JAX's own rule squares y, which may be beyond all numbers then."""
    return x / y


@_over.defjvp
def _over_jvp(primals: tuple[Array, Scalar], tangents: tuple[Array, Scalar]) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    ratio = x / y
    return ratio, dx / y - ratio * (dy / y)


def course(coordinate: Coordinate, settings: Settings) -> Course:
    """Solves in any coordinate, for the pool."""
    allowed = functools.partial(_allowed, coordinate, settings.rtol)
    stepper = Stepper(settings, functools.partial(_field, coordinate), allowed)
    halvings = math.ceil(-math.log2(settings.rtol) / 2) + 3
    forward = _Forward(coordinate, stepper, dense.of_flow(stepper.solver), halvings)
    return Course(forward.start, forward.blank, forward.advance, forward.rests, forward.settle)
