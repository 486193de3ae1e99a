"""What can be swept: one record each, and of a dynamical system pure functions of one point.

Everything else in the package asks the record (for its parameters, its field, its predictions) and knows
nothing of the system itself, so a new kind of dynamics is one new `System` and nothing more.

Times inside a record are in paper time `T = L t`; `System.flow` converts to plain gradient-flow time `t`.
"""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Scalar = Float[Array, ""]
Code = Int[Array, ""]
Flag = Bool[Array, ""]
State = Any  # a pytree of arrays: the unknown of the flow
Point = Any  # a pytree of scalars: one setting of the parameters
Columns = dict[str, np.ndarray]  # name -> values, one entry per point, on the host
Mask = np.ndarray | np.bool_  # the second of a single point


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


class Parameter(NamedTuple):
    """One axis that may be swept. `groups` marks those whose every value gets files of its own.

    `choices` are the words it takes, if not numbers; columns on the host hold their places. `default` is what it is
    where a spec says nothing: a number, one of the choices, or the name of the parameter it then equals.
    """

    name: str
    meaning: str
    unit: str = "1"
    integer: bool = False
    groups: bool = False
    default: float | str | None = None
    choices: tuple[str, ...] = ()


class Rule(NamedTuple):
    """A condition on parameters and thresholds `p`: `holds(columns)` is true where met, `must` says it in words.

    It binds every point, or with `somewhere` at least one of them: the others then get a status of their own.
    """

    parameters: tuple[str, ...]
    holds: Callable[[Columns], Mask]
    must: str
    somewhere: bool = False


class Idle(NamedTuple):
    """Where a parameter cannot matter: `holds(columns)` is true of the points to which its value makes no difference.

    Numbers then differ by rounding, or the solver's tolerance, alone.
    """

    parameter: str
    depends: tuple[str, ...]  # the parameters that `holds` looks at
    holds: Callable[[Columns], Mask]
    methods: tuple[str, ...]  # of computing the points, of which this is true
    where: str  # in words: where that is
    instead: str  # what to try where it should matter


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
    """What theory says about one point, in paper time; `p` is a fraction of the rest point."""

    critical_time: Callable[[Point, Scalar], Scalar]
    log_critical_time: Callable[[Point, Scalar], Scalar]
    leading_critical_time: Callable[[Point], Scalar]
    asymptotic_critical_time: Callable[[Point, Scalar], Scalar]
    inflection_time: Callable[[Point], Scalar]
    trajectory: Callable[[Point, Scalar], Scalar]
    condition: Callable[[Point, Scalar], Scalar]


class System(NamedTuple):
    """One learning rule. `version` changes whenever its results would, so that stores never mix two."""

    name: str
    objective: str
    version: int
    parameters: tuple[Parameter, ...]
    rules: tuple[Rule, ...]
    point: Callable[..., Point]  # keyword parameters -> point
    status: Callable[[Point, Scalar], Code]  # LEARNED where a critical time exists
    rest: Callable[[Point], Scalar]
    flow: Callable[[Point], Scalar]  # flow time per unit of paper time
    cost: Callable[[Columns], np.ndarray]  # predicted work, in any unit, one per point
    coordinates: tuple[Coordinate, ...]  # the paper's first, then better ones; the last is the default
    prediction: Prediction
    layout: str = "critical_times"  # the tables it fills
    idle: tuple[Idle, ...] = ()

    def coordinate(self, name: str | None = None) -> Coordinate:
        """Look a coordinate up by name; the last one, which integrates best, by default."""
        by_name = {c.name: c for c in self.coordinates}
        return self.coordinates[-1] if name is None else by_name[name]


class Experiment(NamedTuple):
    """Something else that is swept: what may vary, and in which ways it is computed."""

    name: str
    objective: str
    version: int
    parameters: tuple[Parameter, ...]
    rules: tuple[Rule, ...]
    layout: str
    methods: tuple[str, ...]  # of computing it; the first is the default
    idle: tuple[Idle, ...] = ()


Swept = System | Experiment
