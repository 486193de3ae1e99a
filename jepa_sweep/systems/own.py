"""A user's own flow: a system from its equation alone."""

import collections
import keyword
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jepa_sweep.errors import SpecError
from jepa_sweep.physics.dynamics import (
    Code,
    Columns,
    Coordinate,
    Dynamics,
    Flag,
    Point,
    Prediction,
    Scalar,
    State,
    Status,
)
from jepa_sweep.store.schema import Column
from jepa_sweep.systems import flows
from jepa_sweep.systems.record import Mask, Pair, Parameter, Rule, System

RESERVED = ("objective", "p", "t", "w", "w_star", "status", "message", "steps", "condition", "try")
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
        integer: whether it takes whole numbers only; `jepa_sweep.compare` groups by such parameters.

    Returns:
        What `flow` takes.

    Raises:
        SpecError: the name cannot be a column.

    Example:
        >>> import jepa_sweep as js
        >>> js.parameter("mu", "weight decay", rule=lambda mu: mu >= 0, must="be at least 0").parameter.name
        'mu'
    """
    if not (isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("_")):
        raise SpecError(
            f"The name of a parameter must be a Python name without a leading underscore, but it is {name!r}."
        )
    if name in RESERVED:
        raise SpecError(f"The name of a parameter must not be that of another column, but it is {name!r}; try another.")
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
    start: Callable[[Any], State],
    field: Callable[[Any, State, Any], State],
    response: Callable[[State, Any], Any],
    rest: Callable[[Any], Any] | None = None,
    threshold: Callable[[Any], Any] | None = None,
    critical_time: Callable[[Any, Any], Any] | None = None,
    trajectory: Callable[[Any, Any], Any] | None = None,
    observables: Mapping[str, Callable[[State, Any], Any]] | None = None,
    conserved: Mapping[str, Callable[[State, Any], Any]] | None = None,
    coordinates: Sequence[Coordinate] = (),
) -> System:
    r"""A system of your own from its equation: $\dot y = field(t, y, q)$, $y(0) = start(q)$.

    A point is learned when the response first meets $p\, rest(q)$, $p$ the threshold of the spec. The functions are
    those of one point, written with `jax.numpy`; `q` holds its parameters by name.

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
    level = rest or threshold
    if level is None or (rest and threshold):
        raise SpecError(f"`flow` must be given one of `rest` and `threshold` for {name!r}, but it has both or none.")
    names = [q.parameter.name for q in parameters]
    watched = {**(observables or {}), **(conserved or {})}
    _check_names(name, names, [*watched])
    Q = collections.namedtuple("Q", names)
    own = Coordinate(
        "y",
        start=lambda q: _arrays(start(q), q),
        field=lambda t, y, q: _arrays(field(t, y, q), q),
        response=lambda y, q: _arrays(response(y, q), q),
        observables=tuple(_numeric(f) for f in watched.values()),
    )
    _check_functions(name, Q, own, _numeric(lambda _, q: level(q)), [*watched])
    short = [c.name for c in coordinates if len(c.observables) != len(watched)]
    if short:
        raise SpecError(
            f"Every coordinate of {name!r} must bring {len(watched)} observables ({', '.join(watched) or 'none'}), but "
            f"`{short[0]}` does not."
        )
    prediction = () if critical_time is None else (Prediction("t_exact", _numeric(critical_time, first=True)),)
    dynamics = Dynamics(
        parameters=tuple(names),
        point=lambda **values: Q(**values),
        rest=lambda q: _arrays(level(q), q),
        status=_status(own, level, rest is not None, prediction),
        coordinates=(own, *coordinates),
        predictions=prediction,
        trajectory=None if trajectory is None else _numeric(trajectory, first=True),
        condition=None if trajectory is None else _condition(_numeric(trajectory, first=True)),
    )
    meaning = "rest point of the response" if rest else "threshold of the response"
    return flows.system(
        name,
        version,
        {name: dynamics},
        parameters=tuple(q.parameter for q in parameters),
        rules=(*(rule for q in parameters for rule in q.rules), *_thresholds(rest is not None)),
        predicted=() if critical_time is None else (T_EXACT,),
        pairs=(Pair("Critical time", "t_numeric", "" if critical_time is None else "t_exact"),),
        w_star=Column("w_star", "exact", "1", meaning),
        response=Column("w", "numeric", "1", "response by integration", "w(0) = response(start)"),
        observed=tuple(Column(key, "numeric", "1", f"{key} along the flow") for key in watched),
        conserved=tuple(conserved or ()),
        p=(0.5,) if rest else (1.0,),
        times=("own",),
        source=_text_of_caller(),
    )


def _arrays(values: Any, q: Any) -> Any:
    """Numbers as arrays of the precision in which the parameters are."""
    dtype = jnp.result_type(*q) if q else float
    return jax.tree.map(lambda value: jnp.asarray(value, dtype), tuple(values) if isinstance(values, list) else values)


def _numeric(function: Callable[[Any, Any], Any], first: bool = False) -> Callable[[Any, Any], Scalar]:
    """The same function with an array for a number; its parameters are its first argument, or its second."""
    return lambda a, b: _arrays(function(a, b), a if first else b)


def _condition(trajectory: Callable[[Any, Any], Scalar]) -> Callable[[Any, Any], Scalar]:
    def condition(q: Any, t: Scalar) -> Scalar:
        w, slope = jax.jvp(lambda t: trajectory(q, t), (t,), (jnp.ones_like(t),))
        return jnp.abs(t * slope / w)

    return condition


def _status(
    own: Coordinate, level: Callable[[Any], Any], at_rest: bool, prediction: tuple[Prediction, ...]
) -> Callable[[Point, Scalar], Code]:
    """What is known of a threshold before anything is integrated."""

    def status(q: Point, p: Scalar) -> Code:
        now, end = own.response(own.start(q), q), _arrays(level(q), q)
        goal = p * end
        grows: Flag = now < end
        ahead, never = now != goal, jnp.zeros_like(grows)
        if at_rest:
            ahead = jnp.where(grows, now < goal, now > goal) & jnp.where(grows, p < 1, p > 1)
            never = jnp.where(grows, p > 1, (p < 1) | (now < goal))
        for one in prediction:
            never = never | jnp.isposinf(one.value(q, p))
        answer = jnp.where(ahead & ~never, Status.LEARNED, Status.ABOVE_THRESHOLD)
        return jnp.where(never | ~jnp.isfinite(now * goal), Status.NOT_REACHED, answer)

    return status


def _thresholds(at_rest: bool) -> list[Rule]:
    def positive(c: Columns) -> Mask:
        return np.isfinite(c["p"]) & (c["p"] > 0)

    if not at_rest:
        return [Rule(("p",), positive, "be finite and positive")]
    must = "be finite, positive and different from 1, because the rest point itself is never reached"
    return [Rule(("p",), lambda c: positive(c) & (c["p"] != 1), must)]


def _on_arrays(name: str, rule: Callable[[np.ndarray], Any]) -> Callable[[Columns], Mask]:
    def holds(c: Columns) -> Mask:
        try:
            return np.asarray(rule(c[name]), dtype=bool) & np.ones_like(c[name], dtype=bool)
        except Exception as error:  # of any kind: it is the user's code
            raise SpecError(
                f"The rule of parameter `{name}` must answer for an array of values, but it raised "
                f"{type(error).__name__}: {error}; try `&` for `and`."
            ) from error

    return holds


def _check_names(name: str, parameters: list[str], watched: list[str]) -> None:
    if not (isinstance(name, str) and name.isidentifier()):
        raise SpecError(f"The name of a flow must be a Python name, but it is {name!r}.")
    every = [*parameters, *watched, *RESERVED, "t_numeric", "t_exact", "relative_difference", "w_exact"]
    twice = sorted({key for key in every if every.count(key) > 1})
    if twice:
        raise SpecError(f"Every column of {name!r} must have a name of its own, but `{twice[0]}` stands twice.")


def _check_functions(
    name: str, Q: Callable[..., Any], own: Coordinate, level: Callable[[Any, Any], Any], watched: list[str]
) -> None:
    """Raise unless the functions fit each other; they are only traced, with numbers nobody has given."""

    def all_of(q: Any) -> tuple:
        y = own.start(q)
        numbers = own.response(y, q), level(y, q), *(watch(y, q) for watch in own.observables)
        return y, own.field(jnp.zeros(()), y, q), numbers

    with jax.enable_x64(True):
        number = jax.ShapeDtypeStruct((), jnp.float64)
        q = Q(*[number] * len(Q._fields))  # type: ignore[attr-defined]
        try:
            y, slope, numbers = jax.eval_shape(all_of, q)
        except Exception as error:  # of any kind: it is the user's code
            raise SpecError(
                f"The functions of {name!r} must work on one point, but: {type(error).__name__}: {error}"
            ) from error
    forms = [(jax.tree.structure(tree), [leaf.shape for leaf in jax.tree.leaves(tree)]) for tree in (y, slope)]
    if forms[0] != forms[1]:
        raise SpecError(f"`field` of {name!r} must return what `start` does, {y}, but it returns {slope}.")
    for what, found in zip(("response", "rest or threshold", *watched), numbers, strict=True):
        if getattr(found, "shape", None) != ():
            raise SpecError(f"`{what}` of {name!r} must return one number, but it returns {found}.")


def _text_of_caller() -> str:
    """The text of the file in which `flow` was called; empty where that is none, as in a notebook."""
    path = sys._getframe(2).f_globals.get("__file__")
    try:
        return Path(path).read_text("utf-8") if path else ""
    except (OSError, ValueError):
        return ""
