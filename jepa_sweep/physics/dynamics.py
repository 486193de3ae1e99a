"""What a flow is, as pure functions of one point; and the words for how the search for a time ends.

Times are in the time convention of the field; for the paper's flows that is paper time `T = L t`, and
`Dynamics.flow_time` converts to plain gradient-flow time `t`.
"""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Scalar = Float[Array, ""]
Code = Int[Array, ""]
Flag = Bool[Array, ""]
State = Any  # a pytree of arrays: the unknown of the flow
Point = Any  # a pytree of scalars: one setting of the parameters
Columns = dict[str, np.ndarray]  # name -> values, one entry per point, on the host


class Status(enum.IntEnum):
    """How the search for one critical time, or one sample of a trajectory, ended; `SENTENCES` says it in words."""

    LEARNED = 0
    ABOVE_THRESHOLD = 1
    AT_FIXED_POINT = 2
    NOT_REACHED = 3
    NO_SIGNAL = 4
    COLLAPSES = 5
    OVERFLOW = 6
    MAX_STEPS = 7
    NON_FINITE = 8
    RESOLVED = 9
    UNRESOLVED = 10
    OOM = 11
    TRAINED = 12
    DIVERGED = 13
    NOT_YET = 14
    ESTIMATED = 15
    UNSTABLE = 16

    @property
    def label(self) -> str:
        """The name as it stands in the tables: `learned`, `max_steps`, ..."""
        return self.name.lower()

    @property
    def failed(self) -> bool:
        """True where the numerics gave up; every other status is an answer about the point."""
        return self in (Status.MAX_STEPS, Status.NON_FINITE, Status.OOM, Status.DIVERGED)


SENTENCES = {
    Status.LEARNED: "The response crossed its threshold at the time given.",
    Status.ABOVE_THRESHOLD: "The start already lies at or above the threshold p w*, so there is no crossing to time.",
    Status.AT_FIXED_POINT: "The start is the fixed point; nothing moves.",
    Status.NOT_REACHED: "The threshold lies where the flow never goes: growth from below needs p < 1, "
    "decay from above needs 1 < p < eps / w*.",
    Status.NO_SIGNAL: "lam = rho = 0: the feature carries no signal and its response decays to zero.",
    Status.COLLAPSES: "lam < 0: from a positive start the response decays to zero.",
    Status.OVERFLOW: "The critical time is larger than the largest number of this precision; read log_t_exact.",
    Status.MAX_STEPS: "The solver used up its steps; raise `max_steps` or loosen `rtol`, "
    "for the points of a run with `retry`.",
    Status.NON_FINITE: "The integration produced a number that is not finite.",
    Status.RESOLVED: "The response at this time was computed.",
    Status.UNRESOLVED: "The response changes by more than itself within the rounding of t, so w(t) has no "
    "correct digits; read the time of a response instead.",
    Status.OOM: "Not even the smallest batch with this point fits into the memory of the device; choose another one.",
    Status.TRAINED: "The network was trained to the end.",
    Status.DIVERGED: "Training blew up: the step is far above the stability limit; lower `eta`.",
    Status.UNSTABLE: "The network was trained, but its step is above the stability limit of its rest point, which it "
    "therefore cannot keep; lower `eta`.",
    Status.NOT_YET: "The response had not met its threshold when training ended; raise `t_end` to see it.",
    Status.ESTIMATED: "The moments of the series were estimated.",
}


def labels(codes: np.ndarray) -> np.ndarray:
    """Status codes as the words of the tables."""
    return np.asarray(np.array([status.label for status in Status])[codes])


class Coordinate(NamedTuple):
    """A variable in which to integrate the flow.

    `span(fraction, point)` is given for a scalar coordinate that moves in one direction only, growing with time: how
    far it is from its start to where the response is `fraction` times the rest point. Time is then a function of the
    coordinate, and a critical time is the integral of `1 / field` over a fixed interval. Without `span` the engine
    integrates forward in time until the response meets the threshold, over the coordinate's own clock s if `pace`
    says how fast that runs, `ds/dT`: best so that the state changes evenly in s, however unevenly in T.
    """

    name: str
    start: Callable[[Point], State]
    field: Callable[[Any, State, Point], State]  # (t, state, point) -> d state / dt
    response: Callable[[State, Point], Scalar]
    span: Callable[[Scalar, Point], Scalar] | None = None
    pace: Callable[[State, Point], Scalar] | None = None
    observables: tuple[Callable[[State, Point], Scalar], ...] = ()  # what else to sample along the flow

    @property
    def width(self) -> int:
        """Number of quantities sampled: the response and the other observables."""
        return 1 + len(self.observables)

    def observe(self, state: State, point: Point) -> Float[Array, " o"]:
        """The response, then the other observables."""
        return jnp.stack([self.response(state, point), *(f(state, point) for f in self.observables)])


class Prediction(NamedTuple):
    """What theory says about one point: a column of the table `points`.

    `where` says of which thresholds it speaks: "crossing" of those that are met, "growth" of those that are met from
    below, "always" of all. A `logarithm` is that of the time which would overflow first.
    """

    name: str
    value: Callable[[Point, Scalar], Scalar]  # (point, p) -> time
    where: str = "crossing"
    logarithm: bool = False


def _unity(point: Point) -> Scalar:
    return jnp.ones_like(jax.tree.leaves(point)[0])


def _even(columns: Columns) -> np.ndarray:
    return np.zeros(len(next(iter(columns.values()))))


class Dynamics(NamedTuple):
    """A flow whose scalar response meets thresholds, `p` times its rest point, and what theory says of it."""

    parameters: tuple[str, ...]
    point: Callable[..., Point]  # parameters by name -> point
    rest: Callable[[Point], Scalar]
    status: Callable[[Point, Scalar], Code]  # (point, p) -> LEARNED where the threshold will be met, however late
    coordinates: tuple[Coordinate, ...]  # as the equation is written first, then better ones; the last is the default
    flow_time: Callable[[Point], Scalar] = _unity  # flow time per unit of the field's time
    cost: Callable[[Columns], np.ndarray] = _even  # predicted work, in any unit, one per point
    predictions: tuple[Prediction, ...] = ()
    trajectory: Callable[[Point, Scalar], Scalar] | None = None  # (point, time) -> response
    condition: Callable[[Point, Scalar], Scalar] | None = None  # of the same: |d ln response / d ln time|

    def coordinate(self, name: str | None = None) -> Coordinate:
        """Look a coordinate up by name; the last one, which integrates best, by default."""
        by_name = {c.name: c for c in self.coordinates}
        return self.coordinates[-1] if name is None else by_name[name]
