"""Checks of values a user gives, shared by spec files and the Python functions; every failure is a `SpecError`."""

import difflib
from collections.abc import Callable, Iterable, Sequence

import jax
import jax.core
import numpy as np

from jepa_sweep.engine import settings as engine
from jepa_sweep.errors import SpecError
from jepa_sweep.physics.experiments import UNTOLERANT
from jepa_sweep.physics.systems import Columns, Rule, Swept, System

PRECISIONS = ("float64", "float32")
METHODS = (*engine.METHODS, "exact")  # of a sweep; `exact` integrates nothing


def plain(text: object, most: int = 60) -> str:
    """A text as messages may hold it: on one line, nothing that would steer a terminal, too long a middle left out."""
    text = str(text)
    if len(text) > most:
        text = f"{text[: most // 2]} ... {text[-most // 3 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(value: object) -> str:
    """A value somebody gave as messages may repeat it, however large it is."""
    if isinstance(value, str):
        return f"'{plain(value)}'"
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a whole number of {value.bit_length():,} bits"  # Python refuses to write it in decimals
    if isinstance(value, list | tuple | dict):
        return "a table" if isinstance(value, dict) else "a list"
    return plain(value)


def _close(given: object, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(given[:60] if isinstance(given, str) else "", known, n=1, cutoff=0.5)


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """` Did you mean ...?` where something close is known, else the list of what is."""
    known = list(known)
    close = _close(given, known)
    return f" Did you mean `{close[0]}`?" if close else f" Known are: {', '.join(known)}."


def one_of(name: str, value: object, known: Sequence[str]) -> None:
    """Raise unless `value` is one of the `known` words."""
    if not isinstance(value, str) or value not in known:
        close = _close(value, known)
        hint = f" Did you mean `{close[0]}`?" if close else ""
        raise SpecError(f"`{name}` must be one of {', '.join(known)}, but it is {shown(value)}.{hint}")


def settings(given: engine.Settings, system: Swept, methods: Sequence[str] = METHODS, *, sampled: bool = False) -> None:
    """Raise unless these settings can be used for this system; `sampled` if w(t) is wanted beside critical times."""
    one_of("method", given.method, methods if isinstance(system, System) else system.methods)
    one_of("precision", given.precision, PRECISIONS)
    if given.method not in UNTOLERANT:
        tolerance(given.rtol, given.precision)
    steps(given.max_steps)
    if not isinstance(system, System):
        if given.coordinate is not None:
            raise SpecError(
                f"`coordinate` must be left out: {system.name} has none, but it is {shown(given.coordinate)}."
            )
        return
    if given.coordinate is not None:
        one_of("coordinate", given.coordinate, [c.name for c in system.coordinates])
    if given.method == "clenshaw_curtis":
        by_clock = [c.name for c in system.coordinates if c.span]
        if given.coordinate not in (None, *by_clock) or not by_clock:
            raise SpecError(
                f"`coordinate` must be one in which time is an integral ({', '.join(by_clock)}) for the method "
                f"clenshaw_curtis, but it is {shown(given.coordinate)}; try `method` dopri8."
            )
        if sampled:
            raise SpecError(
                "`method` clenshaw_curtis steps too far to sample w(t) on the way; for trajectories try dopri8."
            )


def tolerance(rtol: float, precision: str) -> None:
    """Raise unless a solver can keep this relative tolerance."""
    if isinstance(rtol, bool) or not isinstance(rtol, int | float):
        raise SpecError(f"`rtol` must be a number, but it is {shown(rtol)}.")
    floor = 10 * float(np.finfo(precision).eps)
    if not floor <= rtol <= 0.1:
        raise SpecError(
            f"`rtol` must lie between {floor:.0e} (ten roundings of {precision}) and 0.1, but it is "
            f"{shown(rtol)}; try 1e-8 in float64, 1e-5 in float32."
        )


def steps(most: int) -> None:
    """Raise unless this can be a limit on the number of steps."""
    if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most < 2**31:
        raise SpecError(f"`max_steps` must be a whole number from 1 to {2**31 - 1}, but it is {shown(most)}.")


def numbers(name: str, value: object) -> np.ndarray:
    """The value as an array of real numbers."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise SpecError(f"`{name}` must be numbers in rows of one length, but they are ragged.") from None
    if array.dtype.kind not in "fiu" and array.size:
        raise SpecError(f"`{name}` must be real numbers, but its type is {array.dtype}.")
    return array


def is_traced(value: object) -> bool:
    """True of a value, or a list with one in it, that JAX knows by its type only: inside jit, vmap or grad."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))


def untraced(function: str, values: object, instead: str = "") -> None:
    """Raise if JAX traces one of the values, which `function` has to see; `instead` says what to do with such."""
    if is_traced(values):
        raise SpecError(
            f"`{function}` must be called outside functions that JAX traces (jit, vmap, grad), because it works on the "
            f"host and cannot be traced{f'; inside, {instead}' if instead else ''}."
        )


def times(values: np.ndarray, name: str = "t") -> None:
    """Raise unless these are increasing, finite times from 0 on, in one dimension."""
    if values.ndim != 1 or not np.all(np.isfinite(values)) or np.any(values < 0) or np.any(np.diff(values) <= 0):
        raise SpecError(f"`{name}` must be one list of finite, strictly increasing times from 0 on.")


def arguments(system: System, columns: Columns) -> None:
    """Raise unless every value can be a parameter of the system; the arrays may broadcast against each other.

    What must hold `somewhere` is not asked: each point gets its status, be it alone or one of many.
    """
    try:
        np.broadcast_shapes(*(np.shape(v) for v in columns.values()))
    except ValueError:
        shapes = ", ".join(f"`{name}` {np.shape(v)}" for name, v in columns.items())
        raise SpecError(f"The shapes of the arguments must broadcast together, but they are {shapes}.") from None
    floats = {name: value.astype(float) for name, value in columns.items()}
    binding = system._replace(rules=tuple(rule for rule in system.rules if not rule.somewhere))
    rules(binding, floats, lambda names: "argument " + ", ".join(f"`{n}`" for n in names))


def rules(system: Swept, columns: Columns, where: Callable[[tuple[str, ...]], str]) -> None:
    """Raise unless the system's rules hold over columns that broadcast together; `where` names their place."""
    words = {q.name: q.choices for q in system.parameters if q.choices}
    with np.errstate(all="ignore"):
        for rule in system.rules:
            if all(name in columns for name in rule.parameters):
                _check(rule, {name: columns[name] for name in rule.parameters}, where, words)


def corners(columns: Columns, words: Iterable[str] = ()) -> Columns:
    """Smallest and largest value of each column, all of `words`, as axes that broadcast to all their combinations."""
    ends = [v if name in words else np.unique([np.min(v), np.max(v)]) for name, v in columns.items()]
    return dict(zip(columns, np.ix_(*ends), strict=True))


def _check(
    rule: Rule, columns: Columns, where: Callable[[tuple[str, ...]], str], words: dict[str, tuple[str, ...]]
) -> None:
    holds = np.asarray(rule.holds(columns))
    if holds.size == 0 or (holds.any() if rule.somewhere else holds.all()):
        return
    first = np.unravel_index(int(np.argmin(holds)), holds.shape)
    *most, last = (f"`{n}`" for n in rule.parameters)
    names = f"{', '.join(most)} and {last}" if most else last
    values = {n: float(np.broadcast_to(v, holds.shape)[first]) for n, v in columns.items()}
    given = [f"{n} = {words[n][int(v)] if n in words else f'{v:.12g}'}" for n, v in values.items()]
    example = "no point does; the first has" if rule.somewhere else "there is"
    raise SpecError(f"{names} must {rule.must}, but {example} {', '.join(given)} ({where(rule.parameters)}).")
