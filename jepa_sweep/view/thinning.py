"""Which rows of a store go into a page, and what the page must say about those that do not.

A grid is thinned along its longest axes, to every k-th value with both ends kept, and never by averaging; points that
form no grid are thinned to every k-th row. Tables are read file by file, so they may be larger than memory.
"""

import functools
import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jepa_sweep.store.reader import Reader

_COUNTED = 50_000  # distinct values of an axis that are told apart; a sweep with more is no grid
_SCATTERED = 40  # distinct values from which an axis may be taken for one that never repeats a value


class Axis(NamedTuple):
    """A column that tells rows apart: the values it takes in the store (none if too many), and those shown."""

    name: str
    words: bool
    values: tuple[Any, ...]
    stride: int = 1

    @property
    def shown(self) -> tuple[Any, ...]:
        """Every `stride`-th value, and the last."""
        return tuple(self.values[i] for i in _every(len(self.values), self.stride))

    @property
    def share(self) -> float:
        """Part of the values that is shown."""
        return len(self.shown) / len(self.values)


class Plan(NamedTuple):
    """What is shown of a table: some values of each axis, or every `step`-th row of one that is no grid."""

    axes: tuple[Axis, ...]
    scattered: frozenset[str] = frozenset()  # axes whose values do not repeat
    step: int = 1

    def sentence(self, shown: int, total: int, what: str) -> str:
        """What is shown of how many."""
        if shown == total:
            return f"All {total:,} {what} are shown." if total > 1 else "The only row is shown."
        rules = [
            f"every {_ordinal(a.stride)} value of {a.name} ({len(a.shown)} of {len(a.values)}, both ends kept)"
            for a in self.axes
            if a.stride > 1
        ]
        if self.step > 1:
            rules.append(f"every {_ordinal(self.step)} row in stored order")
        return f"{shown:,} of {total:,} {what} are shown" + (f": {', '.join(rules)}." if rules else ".")


def axes_of(store: Reader, name: str, keys: Sequence[str]) -> tuple[Axis, ...]:
    """The key columns of a table with all their values, sorted; a value that is missing comes last."""
    seen: dict[str, list[Any] | None] = {key: [] for key in keys}
    for frame in store.batches(name, keys):
        for key, values in seen.items():
            if values is not None:
                merged = pd.unique(pd.Series([*values, *frame[key].unique()], dtype=frame[key].dtype))
                seen[key] = list(merged) if len(merged) <= _COUNTED else None
    kinds = {key: pa.types.is_string(store.schema(name).field(key).type) for key in keys}
    return tuple(Axis(key, kinds[key], ordered(values or ())) for key, values in seen.items())


def ordered(values: Iterable[Any]) -> tuple[Any, ...]:
    """Distinct values in order, as plain Python; None, if among them, comes last."""
    plain = [v.item() if isinstance(v, np.generic) else v for v in values]
    there = {v for v in plain if not pd.isna(v)}
    return (*sorted(there), *([None] if len(there) < len(plain) and any(pd.isna(v) for v in plain) else []))


def plan(axes: tuple[Axis, ...], total: int, budget: int, scattered_budget: int) -> Plan:
    """Show at most `budget` of `total` rows, or `scattered_budget` if they form no grid."""
    every = Plan(axes, _scattered(axes, total))
    return thinner(every, total, scattered_budget if every.scattered else budget, every)


def thinner(given: Plan, total: int, budget: float, base: Plan) -> Plan:
    """The same with strides so long that about `budget` of `total` rows are left, each a multiple of that of `base`."""
    axes = list(given.axes)
    while not given.scattered and _left(axes, total) > budget:
        lengths = [0 if a.words else len(a.shown) for a in axes]
        longest = lengths.index(max(lengths))
        if lengths[longest] <= 2:
            break
        axes[longest] = axes[longest]._replace(stride=axes[longest].stride + base.axes[longest].stride)
    step = math.ceil(_left(axes, total) / budget / base.step) * base.step  # what the axes cannot give
    return given._replace(axes=tuple(axes), step=max(given.step, step))


def _left(axes: Sequence[Axis], total: int) -> float:
    """Rows of a full grid that the axes show; all, where the values of an axis have not been told apart."""
    return total * math.prod(a.share for a in axes if a.values)


def rows(store: Reader, name: str, columns: Sequence[str], given: Plan, budget: int) -> tuple[pd.DataFrame, Plan]:
    """The rows that a plan shows, and the plan, made thinner where a union of blocks held more than it promised."""
    total, aim = store.rows(name), float(budget)
    while True:
        frames = _until(_read(store, name, columns, given), budget)
        if frames is not None:
            return pd.concat(frames, ignore_index=True), given
        aim /= 2
        given = thinner(given, total, aim, given._replace(axes=tuple(a._replace(stride=1) for a in given.axes), step=1))


def samples(
    store: Reader, name: str, columns: Sequence[str], points: pd.DataFrame, given: Plan, budget: int
) -> tuple[pd.DataFrame, Plan]:
    """Samples of `points`, with their number in the column `row`, in order of row and time; and what was left out.

    Of `points`, which the plan `given` shows, every so many are taken that their samples stay within the budget.
    """
    total, aim, thin = store.rows(name), float(budget), given
    keys = [c for c in points.columns if c != "row"]
    while True:
        thin = thinner(thin, total, aim, given)
        wanted = points.iloc[:: thin.step // given.step]
        for axis in thin.axes:
            if axis.stride > 1 and axis.name in keys:
                wanted = wanted[wanted[axis.name].isin([np.nan if v is None else v for v in axis.shown])]
        read = _read(store, name, [*keys, *columns], thin._replace(step=1))
        frames = _until((frame.merge(wanted, on=keys) for frame in read), budget)
        if frames is not None:
            found = pd.concat(frames, ignore_index=True)
            return found.sort_values(["row", "t"], kind="stable", ignore_index=True), thin
        aim /= 2


def _until(frames: Iterator[pd.DataFrame], budget: int) -> list[pd.DataFrame] | None:
    """All frames, or None as soon as they hold more rows than the budget."""
    kept, count = [], 0
    for frame in frames:
        kept.append(frame)
        count += len(frame)
        if count > budget:
            return None
    return kept


def _read(store: Reader, name: str, columns: Sequence[str], given: Plan) -> Iterator[pd.DataFrame]:
    """File by file, the rows a plan shows; first a table without rows, for the types."""
    offset = 0
    for frame in store.batches(name, columns, _filter(given, columns)):
        yield frame.iloc[-offset % given.step :: given.step]
        offset += len(frame)


def _filter(given: Plan, among: Sequence[str]) -> pc.Expression | None:
    """Only the axes that are thinned need one."""
    terms = []
    for axis in given.axes:
        if axis.stride > 1 and axis.name in among:
            there = [v for v in axis.shown if v is not None]
            term = pc.field(axis.name).isin(there)
            terms.append(term | pc.field(axis.name).is_null() if len(there) < len(axis.shown) else term)
    return functools.reduce(operator.and_, terms) if terms else None


def _scattered(axes: tuple[Axis, ...], total: int) -> frozenset[str]:
    """Axes whose values hardly repeat, if there are two or more: drawn at random, or walked through together."""
    companions = math.prod(len(a.values) for a in axes if a.name in ("objective", "p", "feature"))
    found = {
        a.name
        for a in axes
        if not a.words and (not a.values or (len(a.values) > _SCATTERED and total / len(a.values) <= 2 * companions))
    }
    return frozenset(found) if len(found) > 1 and total else frozenset()


def _every(count: int, stride: int) -> list[int]:
    return sorted({*range(0, count, stride), count - 1}) if count else []


def _ordinal(n: int) -> str:
    last = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{last}"
