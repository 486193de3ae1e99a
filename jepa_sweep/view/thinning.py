"""Choosing the rows of a store that go into a page, and saying which were left out.

A grid is thinned along its longest axes, to every k-th value with both ends kept, and never by averaging; points that
form no grid are thinned to every k-th row. Tables are read file by file, so they may be larger than memory.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jepa_sweep.store.reader import Reader
from jepa_sweep.store.table import all_of

_COUNTED = 50_000  # the most distinct values of an axis that are kept; a sweep with more is no grid
_SCATTERED = 40  # the most distinct values of an axis that is always part of a grid


class Axis(NamedTuple):
    """A column that tells rows apart: the values it takes in the store (none if too many), and those shown."""

    name: str
    words: bool
    values: tuple[Any, ...]
    stride: int = 1

    @property
    def shown(self) -> tuple[Any, ...]:
        """Every `stride`-th value, and the last."""
        return (*self.values[: -1 : self.stride], *self.values[-1:])

    @property
    def share(self) -> float:
        """Part of the values that is shown."""
        return len(self.shown) / len(self.values)


class Selection(NamedTuple):
    """What is shown of a table: some values of each axis, or every `step`-th row of one that is no grid."""

    axes: tuple[Axis, ...]
    scattered: frozenset[str] = frozenset()  # axes whose values do not repeat
    step: int = 1

    def sentence(self, shown: int, total: int, what: str) -> str:
        """How many of the rows are shown, and which."""
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


def choose_rows(
    store: Reader, name: str, keys: Sequence[str], others: Sequence[str], budget: int, scattered_budget: int
) -> tuple[pd.DataFrame, Selection]:
    """At most `budget` rows of a table, or `scattered_budget` if they form no grid; and which they are.

    `keys` are the columns that tell rows apart, `others` what is read besides.
    """
    total, axes = store.rows(name), _axes(store, name, keys)
    every = Selection(axes, _scattered(axes, total))
    most = scattered_budget if every.scattered else budget
    frame, thin = _within(most, total, every, lambda thin: _read(store, name, [*keys, *others], thin))
    # An axis whose values were too many to count, or that was thinned by rows, has the values of the rows shown.
    by_rows = [not a.values or (thin.step > 1 and a.stride == 1) for a in thin.axes]
    axes = [a._replace(values=ordered(frame[a.name])) if new else a for a, new in zip(thin.axes, by_rows, strict=True)]
    return frame, thin._replace(axes=tuple(axes))


def choose_samples(
    store: Reader, name: str, columns: Sequence[str], points: pd.DataFrame, given: Selection, budget: int
) -> tuple[pd.DataFrame, Selection]:
    """At most `budget` samples over time of the `points` that `given` shows, whole curves; and which they are.

    They have the number of their point in the column `row`, and are in the order of row and time.
    """
    keys = [c for c in points.columns if c != "row"]

    def read(thin: Selection) -> Iterator[pd.DataFrame]:
        wanted = points.iloc[:: thin.step // given.step]
        frames = _read(store, name, [*keys, *columns], thin._replace(step=1))
        return (frame.merge(wanted, on=keys) for frame in frames)

    frame, thin = _within(budget, store.rows(name), given, read)
    return frame.sort_values(["row", "t"], kind="stable", ignore_index=True), thin


def ordered(values: Sequence[Any] | pd.Series) -> tuple[Any, ...]:
    """Distinct values in order, as plain Python; None, if one is missing, comes last."""
    distinct = pd.Series(values).unique().tolist()
    there = sorted(v for v in distinct if not pd.isna(v))
    return (*there, None) if len(there) < len(distinct) else tuple(there)


def _axes(store: Reader, name: str, keys: Sequence[str]) -> tuple[Axis, ...]:
    """The key columns of a table with all their values."""
    seen: dict[str, tuple[Any, ...] | None] = dict.fromkeys(keys, ())
    for frame in store.batches(name, keys):
        for key, values in seen.items():
            if values is not None:
                merged = ordered([*values, *frame[key].unique()])
                seen[key] = merged if len(merged) <= _COUNTED else None
    words = {key: pa.types.is_string(store.schema(name).field(key).type) for key in keys}
    return tuple(Axis(key, words[key], values or ()) for key, values in seen.items())


def _within(
    budget: int, total: int, base: Selection, read: Callable[[Selection], Iterator[pd.DataFrame]]
) -> tuple[pd.DataFrame, Selection]:
    """Read thinner and thinner selections, from `base` on, until one keeps the budget: its rows, and that selection.

    How many rows one has is known in advance for a full grid only; a union of blocks may have more.
    """
    thin, aim = base, float(budget)
    while True:
        thin = _thinner(thin, total, aim, base)
        frames, count = [], 0
        for frame in read(thin):
            frames.append(frame)
            count += len(frame)
            if count > budget:
                break
        else:
            return pd.concat(frames, ignore_index=True), thin
        aim /= 2


def _thinner(given: Selection, total: int, budget: float, base: Selection) -> Selection:
    """A selection with strides so long that about `budget` of `total` rows are left, each a multiple of `base`'s."""
    axes = list(given.axes)
    while not given.scattered and _left(axes, total) > budget:
        lengths = [0 if a.words else len(a.shown) for a in axes]
        longest = lengths.index(max(lengths))
        if lengths[longest] <= 2:
            break
        axes[longest] = axes[longest]._replace(stride=axes[longest].stride + base.axes[longest].stride)
    step = math.ceil(_left(axes, total) / budget / base.step) * base.step  # where thinning the axes is not enough
    return given._replace(axes=tuple(axes), step=max(given.step, step))


def _left(axes: Sequence[Axis], total: int) -> float:
    """Rows of a full grid that the axes show; an axis with too many values to count is not thinned."""
    return total * math.prod(a.share for a in axes if a.values)


def _read(store: Reader, name: str, columns: Sequence[str], given: Selection) -> Iterator[pd.DataFrame]:
    """The rows that are shown, file by file; first a table without rows, for the types."""
    offset = 0
    for frame in store.batches(name, columns, _filter(given, columns)):
        yield frame.iloc[-offset % given.step :: given.step]
        offset += len(frame)


def _filter(given: Selection, among: Sequence[str]) -> pc.Expression | None:
    """A filter for the values shown of the axes that are thinned; None if none is."""
    terms = []
    for axis in given.axes:
        if axis.stride > 1 and axis.name in among:
            field, there = pc.field(axis.name), [v for v in axis.shown if v is not None]
            terms.append(field.isin(there) | field.is_null() if None in axis.shown else field.isin(there))
    return all_of(terms)


def _scattered(axes: tuple[Axis, ...], total: int) -> frozenset[str]:
    """Axes whose values hardly repeat, if there are two or more: values drawn at random, or paired with each other."""
    companions = math.prod(len(a.values) for a in axes if a.name in ("objective", "p", "feature"))
    found = {
        a.name
        for a in axes
        if not a.words and (not a.values or (len(a.values) > _SCATTERED and total / len(a.values) <= 2 * companions))
    }
    return frozenset(found) if len(found) > 1 and total else frozenset()


def _ordinal(n: int) -> str:
    last = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{last}"
