"""A user's own flow: a system from its equation alone."""

import collections
import keyword
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from typing_extensions import TypeAliasType

from jepa_sweep.checks import said, shown
from jepa_sweep.errors import SpecError
from jepa_sweep.physics.dynamics import Code, Coordinate, Dynamics, Flag, Point, Prediction, Scalar, State
from jepa_sweep.physics.host import Columns, Status
from jepa_sweep.store.schema import Column
from jepa_sweep.systems import flows
from jepa_sweep.systems.shared import FRACTION_OF_REST, THRESHOLD
from jepa_sweep.systems.system import Mask, Pair, Parameter, Rule, System

RESERVED = (  # columns, words that stand beside the axes of a spec, and words of `select`, `plot` and `compare`
    *("objective", "p", "status", "message", "steps", "try", "w_star", "t_numeric", "t_exact", "relative_difference"),
    *("t", "w", "w_exact", "condition", "combine", "num", "by", "ax", "rtol", "row", "points", "learned"),
)
OfPoint = TypeAliasType("OfPoint", Callable[[Any], Any])  # q -> a state, or a response
Field = TypeAliasType("Field", Callable[[Any, State, Any], State])  # (t, y, q) -> dy/dt
OfState = TypeAliasType("OfState", Callable[[State, Any], Any])  # (y, q) -> a number
Theory = TypeAliasType("Theory", Callable[[Any, Any], Any])  # (q, p) or (q, t) -> what theory says
T_EXACT = Column("t_exact", "exact", "time", "critical time as theory has it")


class OwnParameter(NamedTuple):
    """A parameter with the rules it must obey."""

    parameter: Parameter
    rules: tuple[Rule, ...]


def parameter(
    name: str,
    meaning: str = "",
    *,
    default: float | str | None = None,
    rule: Callable[[np.ndarray], Any] | None = None,
    must: str = "",
    unit: str = "1",
    integer: bool = False,
) -> OwnParameter:
    """One parameter of a flow of your own: an axis that a spec may sweep.

    Args:
        name: as it stands in the spec, in the tables, and in the equation as `q.name`.
        meaning: what it is, in words; stands in the tables.
        default: its value where a spec says nothing: a number, or the name of the parameter it then equals. Without one
            every spec must give it.
        rule: true for the values it may have, of an array of them; every value must be finite besides.
        must: the same in words: "be positive" makes the message "`c` must be positive, but there is c = -1".
        unit: its unit.
        integer: whether it takes whole numbers only; `Store.compare` groups by such parameters.

    Returns:
        What `flow` takes.

    Raises:
        SpecError: the name cannot be a column, or default or rule are of the wrong kind.

    Example:
        >>> import jepa_sweep as js
        >>> js.parameter("mu", "weight decay", rule=lambda mu: mu >= 0, must="be at least 0").parameter.name
        'mu'
    """
    _check_name("a parameter", name)
    number = isinstance(default, int | float) and not isinstance(default, bool) and math.isfinite(default)
    if not (default is None or isinstance(default, str) or number):
        raise SpecError(
            f"The default of `{name}` must be a finite number, or the name of a parameter, but it is {shown(default)}."
        )
    if not (rule is None or callable(rule)):
        raise SpecError(f"The rule of `{name}` must be a function of an array of values, but it is {shown(rule)}.")
    rules = [Rule((name,), lambda c: np.isfinite(c[name]), "be a finite number")]
    if integer:
        rules.append(Rule((name,), lambda c: c[name] == np.floor(c[name]), "be a whole number"))
    if rule is not None:
        rules.append(Rule((name,), _on_arrays(name, rule), must or "obey its rule"))
    return OwnParameter(Parameter(name, meaning, unit, integer, default=default), tuple(rules))


def flow(
    name: str,
    *,
    version: int,
    parameters: Sequence[OwnParameter],
    start: OfPoint,
    field: Field,
    response: OfState,
    rest: OfPoint | None = None,
    threshold: OfPoint | None = None,
    critical_time: Theory | None = None,
    trajectory: Theory | None = None,
    observables: Mapping[str, OfState] | None = None,
    conserved: Mapping[str, OfState] | None = None,
    coordinates: Sequence[Coordinate] = (),
) -> System:
    r"""A system of your own from its equation: $\dot y = field(t, y, q)$, $y(0) = start(q)$.

    A point is learned when the response first meets $p\, rest(q)$, $p$ the threshold of the spec: when a step of the
    solver ends on its other side, so that a crossing taken back within a step is not seen. The functions are those of
    one point, written with `jax.numpy`; `q` holds its parameters by name.

    Args:
        name: of the system; stands in the column `objective` too.
        version: to be raised whenever results would change.
        parameters: what `parameter` makes.
        start: q -> state: a number, or a tuple (or any other pytree) of numbers and arrays.
        field: (t, y, q) -> dy/dt, of the same form as the state.
        response: (y, q) -> the number that meets thresholds.
        rest: q -> the response at rest. It is approached, and never reached: p = 1 is refused, and p > 1 speaks of
            decay from above it.
        threshold: q -> a response, instead of `rest`: p is then a fraction of that, 1 by default.
        critical_time: (q, p) -> when the threshold is met as theory has it, NaN where theory does not say, inf where
            never; fills `t_exact` and `relative_difference`. Without it there are no such columns.
        trajectory: (q, t) -> the response as theory has it; fills `w_exact` and `condition` of trajectories.
        observables: name -> (y, q) -> number: further columns of trajectories.
        conserved: the same of what should not change along the flow; `compare` tells the largest change.
        coordinates: other variables in which to integrate, better ones last; the last is the default. With observables
            or conserved quantities each brings these in its own variable, in this order.

    Returns:
        A `System`: for `js.Sweep(system=...)`, for `system = "file.py:NAME"` in a spec, or for the entry point group
        "jepa_sweep.systems".

    Raises:
        SpecError: the functions do not fit each other.

    Example:
        >>> import tempfile, jepa_sweep as js
        >>> decay = js.flow(
        ...     "decay", version=1, parameters=[js.parameter("k", rule=lambda k: k > 0, must="be positive")],
        ...     start=lambda q: 1.0, field=lambda t, y, q: -q.k * y, response=lambda y, q: y, threshold=lambda q: 1.0)
        >>> sweep = js.Sweep(name="tiny", system=decay, axes={"k": [1.0, 2.0]}, measure={"p": 0.5})
        >>> js.run(sweep, out=tempfile.mkdtemp()).points().t_numeric.round(6).tolist()
        [0.693147, 0.346574]
    """
    if not (isinstance(name, str) and name.isidentifier()):
        raise SpecError(f"The name of a flow must be a Python name, but it is {name!r}.")
    level = rest or threshold
    if level is None or (rest and threshold):
        raise SpecError(f"`flow` must be given one of `rest` and `threshold` for {name!r}, but it has both or none.")
    if isinstance(version, bool) or not isinstance(version, int):
        raise SpecError(f"`version` of {name!r} must be a whole number, but it is {shown(version)}.")
    names = _names_of(name, parameters)
    observables = _functions(name, "observables", observables)
    conserved = _functions(name, "conserved", conserved)
    watched, every = {**observables, **conserved}, [*names, *observables, *conserved]
    if twice := sorted({key for key in every if every.count(key) > 1}):
        raise SpecError(f"Every column of {name!r} must have a name of its own, but `{twice[0]}` stands twice.")
    Q = collections.namedtuple("Q", names)
    own = Coordinate(
        "y",
        start=_of_arrays(start),
        field=_of_arrays(field),
        response=_of_arrays(response),
        observables=tuple(_of_arrays(f) for f in watched.values()),
    )
    whole = _of_arrays(level)
    crossing = None if critical_time is None else _of_arrays(critical_time, q_at=0)
    path = None if trajectory is None else _of_arrays(trajectory, q_at=0)
    theory = {what: f for what, f in (("critical_time", crossing), ("trajectory", path)) if f is not None}
    _check_coordinates(name, [own, *coordinates], [*watched])
    for coordinate in (own, *coordinates):
        _check_functions(name, Q, coordinate, {"rest" if rest else "threshold": whole}, theory, [*watched])
    dynamics = Dynamics(
        parameters=tuple(names),
        point=lambda **values: Q(**values),
        rest=whole,
        status=_status(own, whole, rest is not None, crossing),
        coordinates=(own, *coordinates),
        **({} if crossing is None else {"predictions": (Prediction("t_exact"),), "predict": _predict(crossing)}),
        trajectory=None if path is None else _conditioned(path),
    )
    meaning = "rest point of the response" if rest else "threshold of the response"
    return flows.system(
        name,
        version,
        (name,),
        lambda: {name: dynamics},
        coordinates=tuple(c.name for c in dynamics.coordinates),
        by_clock=tuple(c.name for c in dynamics.coordinates if c.span),
        curve=path is not None,
        parameters=tuple(q.parameter for q in parameters),
        rules=(*(rule for q in parameters for rule in q.rules), FRACTION_OF_REST if rest else THRESHOLD),
        predicted=() if critical_time is None else (T_EXACT,),
        pairs=(Pair("Critical time", "t_numeric", "" if critical_time is None else "t_exact"),),
        w_star=Column("w_star", "exact", "1", meaning),
        response=Column("w", "numeric", "1", "response by integration", "w(0) = response(start)"),
        observed=tuple(Column(key, "numeric", "1", f"{key} along the flow") for key in watched),
        conserved=tuple(conserved),
        p=(0.5,) if rest else (1.0,),
        times=("own",),
        source=_text_of_caller(),
    )


def _of_arrays(function: Callable[..., Any], q_at: int = -1) -> Callable[..., Any]:
    """The same function with arrays for numbers, of the precision of its parameters, which are argument `q_at`."""

    def arrays(*args: Any) -> Any:
        values, dtype = function(*args), jnp.result_type(*args[q_at])
        values = tuple(values) if isinstance(values, list) else values
        return jax.tree.map(lambda value: jnp.asarray(value, dtype), values)

    return arrays


def _predict(crossing: Callable[[Any, Any], Scalar]) -> Callable[..., dict[str, Scalar]]:
    return lambda q, p, names: {name: crossing(q, p) for name in names}


def _conditioned(trajectory: Callable[[Any, Any], Scalar]) -> Callable[[Any, Any], tuple[Scalar, Scalar]]:
    def conditioned(q: Any, t: Scalar) -> tuple[Scalar, Scalar]:
        w, slope = jax.jvp(lambda t: trajectory(q, t), (t,), (jnp.ones_like(t),))
        return w, jnp.abs(t * slope / w)

    return conditioned


def _status(
    own: Coordinate, whole: Callable[[Any], Scalar], at_rest: bool, crossing: Callable[[Any, Any], Scalar] | None
) -> Callable[[Point, Scalar], Code]:
    """What is known of a threshold, which is a fraction of `whole`, before anything is integrated."""

    def status(q: Point, p: Scalar) -> Code:
        now, end = own.response(own.start(q), q), whole(q)
        goal = p * end
        ahead, never, rests = now != goal, jnp.zeros((), bool), jnp.zeros((), bool)
        if at_rest:
            side = jnp.sign(end)  # where the rest point is negative, growth goes down
            grows: Flag = side * now < side * end
            ahead = jnp.where(grows, side * now < side * goal, side * now > side * goal) & (grows == (p < 1))
            never = jnp.where(grows, p > 1, (p < 1) | (side * now < side * goal)) | (end == 0)
            rests = now == end
        if crossing is not None:
            never = never | jnp.isposinf(crossing(q, p))
        answer = jnp.where(ahead & ~never, Status.LEARNED, Status.ABOVE_THRESHOLD)
        answer = jnp.where(never, Status.NOT_REACHED, answer)
        answer = jnp.where(rests, Status.AT_FIXED_POINT, answer)
        return jnp.where(jnp.isfinite(now) & jnp.isfinite(goal), answer, Status.NON_FINITE)

    return status


def _on_arrays(name: str, rule: Callable[[np.ndarray], Any]) -> Callable[[Columns], Mask]:
    def holds(c: Columns) -> Mask:
        try:
            return np.asarray(rule(c[name]), dtype=bool) & np.ones_like(c[name], dtype=bool)
        except Exception as error:  # of any kind: it is the user's code
            hint = "; try `&` for `and`" if "ambiguous" in str(error) else ""
            raise SpecError(
                f"The rule of parameter `{name}` must answer for an array of values, but it raised {said(error)}{hint}."
            ) from error

    return holds


def _check_name(what: str, name: Any) -> None:
    """Raise unless this can be the name of a column that is the user's own."""
    if not (isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("_")):
        raise SpecError(f"The name of {what} must be a Python name without a leading underscore, but it is {name!r}.")
    if name in RESERVED:
        raise SpecError(
            f"The name of {what} must not be one that has a meaning already, but it is {name!r}; try another."
        )


def _names_of(name: str, parameters: Sequence[OwnParameter]) -> list[str]:
    """The names of parameters that have been checked to be some, with defaults that exist."""
    given = list(parameters) if isinstance(parameters, list | tuple) else []
    if not given or not all(isinstance(q, OwnParameter) for q in given):
        raise SpecError(f"`parameters` of {name!r} must be a list of what `parameter` makes, of one at least.")
    numbers = [q.parameter.name for q in given if not isinstance(q.parameter.default, str)]
    for q, _ in given:
        if isinstance(q.default, str) and q.default not in numbers:
            raise SpecError(
                f"The default of `{q.name}` must be a number, or a parameter of {name!r} whose own default is not "
                f"another one, but it is {shown(q.default)}; known are: {', '.join(numbers) or 'none'}."
            )
    return [q.parameter.name for q in given]


def _functions(name: str, what: str, given: Any) -> Mapping[str, Callable[[State, Any], Any]]:
    """The functions by name; none if nothing is given."""
    if not (given is None or (isinstance(given, Mapping) and all(callable(f) for f in given.values()))):
        raise SpecError(f"`{what}` of {name!r} must be functions by name, but it is {shown(given)}.")
    for key in given or {}:
        _check_name("an observable", key)
    return given or {}


def _check_coordinates(name: str, coordinates: list[Coordinate], watched: list[str]) -> None:
    for coordinate in coordinates:
        if len(coordinate.observables) != len(watched):
            raise SpecError(
                f"Every coordinate of {name!r} must bring {len(watched)} observables ({', '.join(watched) or 'none'}), "
                f"but `{coordinate.name}` does not."
            )
    names = [coordinate.name for coordinate in coordinates]
    if len(set(names)) < len(names):
        raise SpecError(
            f"Every coordinate of {name!r} must have a name of its own, but they are {', '.join(names)}; `y` is "
            "that of the equation."
        )


def _check_functions(
    name: str,
    Q: Callable[..., Any],
    own: Coordinate,
    level: Mapping[str, Callable[[Any], Any]],
    theory: Mapping[str, Callable[[Any, Any], Any]],
    watched: list[str],
) -> None:
    """Raise unless the functions fit each other; they are only traced, with numbers nobody has given."""

    def all_of(q: Any) -> tuple:
        y = own.start(q)
        found = {"response": own.response(y, q), **{what: number(q) for what, number in level.items()}}
        found |= {what: number(q, q[0]) for what, number in theory.items()}  # at any threshold or time: it is traced
        found |= {what: watch(y, q) for what, watch in zip(watched, own.observables, strict=True)}
        return y, own.field(jnp.zeros(()), y, q), found

    with jax.enable_x64(True):
        number = jax.ShapeDtypeStruct((), jnp.float64)
        q = Q(*[number] * len(Q._fields))  # type: ignore[attr-defined]  # of a class that was made from the parameters
        try:
            y, slope, found = jax.eval_shape(all_of, q)
        except Exception as error:  # of any kind: it is the user's code
            hint = "; try `jnp.where` for `if`" if isinstance(error, jax.errors.TracerBoolConversionError) else ""
            raise SpecError(f"The functions of {name!r} must work on one point, but: {said(error)}{hint}.") from error
    shapes = [jax.tree.map(lambda leaf: leaf.shape, tree) for tree in (y, slope)]
    if shapes[0] != shapes[1]:
        raise SpecError(
            f"`field` of {name!r} must return what `start` does, of shape {shapes[0]}, but it returns {shapes[1]}."
        )
    for what, number in found.items():
        if getattr(number, "shape", None) != ():
            form = jax.tree.map(lambda leaf: leaf.shape, number)
            raise SpecError(f"`{what}` of {name!r} must return one number, but it returns numbers of shape {form}.")


def _text_of_caller() -> str:
    """The text of the file in which `flow` was called; empty where that is none, as in a notebook."""
    path = sys._getframe(2).f_globals.get("__file__")
    try:
        return Path(path).read_text("utf-8") if path else ""
    except (OSError, ValueError):
        return ""
