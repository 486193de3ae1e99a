"""Rows of two stores that belong together, file by file.

Held at a time are one file of each store, and one byte a row for whether the row has found its partner yet.
"""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
import pyarrow as pa

from jepa_sweep.store import table
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.table import Part

ROUNDING = 1e-12  # parameters that differ by no more, relatively, are the same: a program may have computed them
WITHIN = ("feature", "row", "column")  # columns that tell the rows of one point apart


def tables_of(store: Reader) -> list[str]:
    """Points, and what is told apart by parameters and numbers; not samples, which lie at times of their own."""
    others = (name for name in store.tables if name not in ("points", "failures"))
    return ["points", *(name for name in others if "t" not in store.schema(name).names)]


def keys_of(store: Reader, name: str) -> list[str]:
    """The columns that tell the rows of one of these tables apart."""
    known = store.schema(name).names
    return [key for key in (*store.manifest.keys, *WITHIN) if key in known]


class Side:
    """The rows of one table of a store, chunk by chunk, and which of them have found no partner yet.

    Points that failed are among the points: without numbers, but with a status.
    """

    def __init__(self, store: Reader, name: str) -> None:
        self.keys, self._store, self._schema = keys_of(store, name), store, store.schema(name)
        self._chunks: dict[str, list[tuple[Part, pa.Schema]]] = {}  # by their numbers
        for one in (name, "failures") if name == "points" else (name,):
            for part in store.parts(one):
                if part.rows:
                    number = PurePosixPath(part.file.path).stem
                    self._chunks.setdefault(number, []).append((part, store.schema(one)))
        self.left = {n: np.ones(sum(part.rows for part, _ in parts), bool) for n, parts in self._chunks.items()}
        # Least and largest value of each key in each chunk.
        self._numbers = np.array([*self._chunks])
        bounds = table.side_by_side(self._bounds, self._chunks.values())
        self._low, self._high = ({key: np.array([b[key][end] for b in bounds]) for key in self.keys} for end in (0, 1))

    def _bounds(self, parts: list[tuple[Part, pa.Schema]]) -> dict[str, tuple]:
        found = [self._ends(part, schema) for part, schema in parts]
        return {key: (min(one[key][0] for one in found), max(one[key][1] for one in found)) for key in self.keys}

    def _ends(self, part: Part, schema: pa.Schema) -> dict[str, tuple]:
        found = table.ends(self._store.location, part, schema, self.keys)
        for key in (key for key in self.keys if key not in found):  # the footer does not say
            values = table.rows(self._store.location, part, schema, [key])[key].unique().sort()
            found[key] = values[0].as_py(), values[-1].as_py()
        return found

    def rows_left(self, number: str, columns: Sequence[str]) -> pd.DataFrame:
        """The rows of a chunk that have no partner yet: their keys and these columns."""
        names = [*self.keys, *columns]
        found = [
            table.rows(self._store.location, part, schema, [name for name in names if name in schema.names])
            for part, schema in self._chunks[number]
        ]
        found = [self._schema.empty_table().select(names), *found]  # perhaps all points of a chunk failed
        whole = pa.concat_tables(found, promote_options="default")
        return whole.filter(pa.array(self.left[number])).to_pandas()

    def alone(self, columns: Sequence[str]) -> pd.DataFrame:
        """All rows that have no partner: their keys and these columns."""
        lonely = [number for number, left in self.left.items() if left.any()]
        found = [self.rows_left(number, columns) for number in lonely]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=[*self.keys, *columns])

    def near(self, other: "Side", number: str) -> list[str]:
        """Numbers of the chunks that may hold partners for a chunk of another side, one of the same number first."""
        place = int(np.flatnonzero(other._numbers == number)[0])
        meets = np.ones(len(self._numbers), bool)
        for key in self.keys:
            low, high = other._low[key][place], other._high[key][place]
            if isinstance(low, np.number):
                slack = ROUNDING * max(abs(low), abs(high))
                low, high = low - slack, high + slack
            meets &= (self._low[key] <= high) & (self._high[key] >= low)
        return sorted(self._numbers[meets].tolist(), key=lambda one: (one != number, one))


def pairs(here: Side, there: Side, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Rows with the same keys: the keys, then each of the columns as `<column>_here` and `<column>_there`.

    First rows whose keys are equal to the last bit, then, of those that are left, rows whose keys are equal but for
    rounding. A row has one partner at most.
    """
    for rounded in (False, True):
        for number, left in here.left.items() if there.left else ():
            for other in there.near(here, number) if left.any() else ():
                if not (left.any() and there.left[other].any()):
                    continue
                mine, theirs = here.rows_left(number, columns), there.rows_left(other, columns)
                one, two = _partners(mine.loc[:, here.keys], theirs.loc[:, here.keys], rounded)
                if len(one):
                    left[np.flatnonzero(left)[one]] = False
                    there.left[other][np.flatnonzero(there.left[other])[two]] = False
                    yield _side_by_side(mine.take(one), theirs.take(two), here.keys, columns)


def _side_by_side(
    mine: pd.DataFrame, theirs: pd.DataFrame, keys: Sequence[str], columns: Sequence[str]
) -> pd.DataFrame:
    values = {name: mine[name].to_numpy() for name in keys}
    for name in columns:
        values |= {f"{name}_here": mine[name].to_numpy(), f"{name}_there": theirs[name].to_numpy()}
    return pd.DataFrame(values)


def _partners(mine: pd.DataFrame, theirs: pd.DataFrame, rounded: bool) -> tuple[np.ndarray, np.ndarray]:
    """The places of rows with the same keys in both frames."""
    keys = list(mine)
    if not rounded and mine.equals(theirs):
        return np.arange(len(mine)), np.arange(len(mine))
    mine, theirs = mine.assign(_here=np.arange(len(mine))), theirs.assign(_there=np.arange(len(theirs)))
    if rounded:
        for key in keys:
            if mine[key].dtype.kind == "f":
                numbers = numbered(np.concatenate([mine[key], theirs[key]]))
                mine[key], theirs[key] = numbers[: len(mine)], numbers[len(mine) :]
        # Of points that only rounding tells apart nobody knows which is which.
        mine, theirs = (frame.drop_duplicates(keys, keep=False) for frame in (mine, theirs))
    both = mine.merge(theirs, on=keys)
    return both["_here"].to_numpy(), both["_there"].to_numpy()


def numbered(values: np.ndarray) -> np.ndarray:
    """A whole number for each value, the same for values that differ by rounding."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    numbers = np.zeros(len(values), dtype=np.int64)
    numbers[order[1:]] = np.cumsum(np.diff(ordered) > ROUNDING * np.abs(ordered[1:]))
    return numbers
