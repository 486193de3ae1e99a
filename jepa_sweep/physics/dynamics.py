"""What a flow is, as pure functions of one point.

Times are in the time convention of the field; for the paper's flows that is paper time `T = L t`, and
`Dynamics.flow_time` converts to plain gradient-flow time `t`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jepa_sweep.physics.host import Columns

Scalar = Float[Array, ""]
Code = Int[Array, ""]
Flag = Bool[Array, ""]
Numbers = Float[Array, "*n"]  # of one point, or of arrays of points
Codes = Int[Array, "*n"]
Flags = Bool[Array, "*n"]
State = Any  # a pytree of arrays: the unknown of the flow
Point = Any  # a pytree of scalars: one setting of the parameters


class Coordinate(NamedTuple):
    """A variable in which to integrate the flow.

    `span(fraction, point)` is given for a scalar coordinate that moves in one direction only, growing with time, by a
    field that does not depend on time: how far it is from its start to where the response is `fraction` times the rest
    point. A critical time is then the integral of `1 / field` over a fixed interval. Without `span` the engine
    integrates forward in time until the response meets the threshold, over the coordinate's own clock s if `pace`
    says how fast that runs, `ds/dT`: best so that the state changes evenly in s, however unevenly in T. Where the
    coordinate is `logarithmic`, its errors are relative ones of the response: how large it is itself says nothing.
    """

    name: str
    start: Callable[[Point], State]
    field: Callable[[Any, State, Point], State]  # (t, state, point) -> d state / dt
    response: Callable[[State, Point], Scalar]
    span: Callable[[Scalar, Point], Scalar] | None = None
    pace: Callable[[State, Point], Scalar] | None = None
    observables: tuple[Callable[[State, Point], Scalar], ...] = ()  # what else to sample along the flow
    logarithmic: bool = False

    @property
    def width(self) -> int:
        """Number of quantities sampled: the response and the other observables."""
        return 1 + len(self.observables)

    def observe(self, state: State, point: Point) -> Float[Array, " o"]:
        """The response, then the other observables."""
        return jnp.stack([self.response(state, point), *(f(state, point) for f in self.observables)])


class Prediction(NamedTuple):
    """A time that theory gives for each point: a column of the table `points`. `Dynamics.predict` computes it.

    `where` says of which thresholds it speaks: "crossing" of those that are met, "growth" of those that are met from
    below, "always" of all. A `logarithm` is that of the time which would overflow first.
    """

    name: str
    where: str = "crossing"
    logarithm: bool = False


def _unity(point: Point) -> Scalar:
    return jnp.ones_like(jax.tree.leaves(point)[0])


def _nothing(point: Point, p: Scalar, names: tuple[str, ...]) -> dict[str, Scalar]:
    del point, p, names
    return {}


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
    exact: str = ""  # the prediction that is true to rounding, if any: by it numeric times are judged
    # (point, p, names) -> those predictions by name, in this order; what several share is computed once
    predict: Callable[[Point, Scalar, tuple[str, ...]], dict[str, Scalar]] = _nothing
    # (point, time) -> response, and its condition |d ln response / d ln time|
    trajectory: Callable[[Point, Scalar], tuple[Scalar, Scalar]] | None = None
    # Whether rest, status, flow_time, predict and trajectory take arrays of points, too: traced twice as fast.
    elementwise: bool = False

    def coordinate(self, name: str | None = None) -> Coordinate:
        """Look a coordinate up by name; the last one, which integrates best, by default."""
        by_name = {c.name: c for c in self.coordinates}
        return self.coordinates[-1] if name is None else by_name[name]
