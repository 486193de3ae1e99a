"""The conditions on a run from which a figure can be drawn, checked before anything is drawn or written."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from jepa_sweep.errors import SpecError
from jepa_sweep.store.overview import Values, written
from jepa_sweep.store.reader import Reader

_LISTED = 5  # values in a message


class Needs(NamedTuple):
    """What one figure needs of a run.

    Parameters, "objective", "p" and "method" are named alike. What is neither in `varies` nor in `has` must have one
    value.
    """

    system: str
    tables: tuple[str, ...]  # that must have rows
    varies: tuple[str, ...] = ()  # what may have several values
    only: Mapping[str, tuple[Any, ...]] = {}  # the only values that each may have
    has: Mapping[str, tuple[Any, ...]] = {}  # the values that each must have, perhaps among others
    equal: tuple[tuple[str, str], ...] = ()  # pairs of parameters that must be equal
    measured: str = ""  # a column of points that must not be empty
    full: bool = False  # whether what is in `has` and `varies` must come in every combination of its values
    also: Callable[[Reader], list[str]] = lambda store: []  # what else does not fit, in words; called if all else does


def check(name: str, needs: Needs, store: Reader, remedy: str) -> None:
    """Raise a `SpecError` unless the figure can be drawn; it names all that does not fit, and what to try."""
    misfits = list(_misfits(needs, store)) or needs.also(store)
    if misfits:
        raise SpecError(
            f"`{name}` must be drawn from a run like that of sweeps/{name}.toml, but {store.path} does not fit: "
            f"{'; '.join(misfits)}. {remedy}"
        )


def _misfits(needs: Needs, store: Reader) -> Iterator[str]:
    overview = store.overview()
    if overview.system != needs.system:
        yield f"it must hold runs of the system {needs.system}, but its system is {overview.system}"
        return
    empty = [table for table in needs.tables if not overview.rows.get(table)]
    if empty:
        yield f"it must have rows of {', '.join(needs.tables)}, but has none of {', '.join(empty)}"
        return
    if needs.measured and store.read("points", columns=[needs.measured])[needs.measured].isna().all():
        yield f"it must have measured `{needs.measured}`, but nothing was integrated, or nothing learned"
        return
    found = {**overview.axes, "method": Values(overview.method, overview.method, frozenset({overview.method}))}
    for name, values in found.items():
        several = values.distinct is None or len(values.distinct) > 1
        if name in needs.only and not (values.distinct or {None}) <= set(needs.only[name]):
            yield f"`{name}` must be {_joined(needs.only[name], 'or')}, but it is {_words(values)}"
        elif several and name not in (*needs.varies, *needs.has):
            yield f"`{name}` varies ({_words(values)}) and must be fixed"
        missing = [value for value in needs.has.get(name, ()) if value not in (values.distinct or ())]
        if missing:
            yield f"`{name}` must have {_joined(needs.has[name], 'and')}, but it lacks {_joined(missing, 'and')}"
    for first, second in needs.equal:
        if found[first].distinct != found[second].distinct:
            yield (f"`{first}` must equal `{second}`, but they are {_words(found[first])} and {_words(found[second])}")
    if needs.full:
        crossed = [*needs.has, *needs.varies]
        wanted = math.prod(len(found[name].distinct or ()) for name in crossed)
        there = len(store.read("points", columns=crossed).drop_duplicates())
        if there != wanted:
            names = ", ".join(f"`{name}`" for name in crossed)
            yield f"{names} must come in all {wanted:,} combinations of their values, but {there:,} are there"


def _words(values: Values) -> str:
    if values.distinct is None or len(values.distinct) > _LISTED:
        count = "many" if values.distinct is None else f"{len(values.distinct):,}"
        return f"{count} values from {written(values.low)} to {written(values.high)}"
    return ", ".join(written(value) for value in sorted(values.distinct))


def _joined(values: tuple[Any, ...] | list[Any], last: str) -> str:
    *others, end = (written(value) for value in values)
    return f"{', '.join(others)} {last} {end}" if others else end
