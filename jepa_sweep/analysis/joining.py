"""Rows of two stores that belong together: joined on their keys, then read file by file.

Held at a time are the keys of all rows of one table of both stores, 8 bytes each, and the numbers of one file of each.
With what finding partners takes, that is some 200 bytes a row: 1 GB for two runs of 2.5 million points.
"""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from jepa_sweep.store import table
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.schema import WITHIN
from jepa_sweep.store.table import Part

ROUNDING = 1e-12  # parameters that differ by no more, relatively, are the same: a program may have computed them


def tables_of(store: Reader) -> list[str]:
    """Points, and what is told apart by parameters and numbers; not samples, which lie at times of their own."""
    others = (name for name in store.tables if name not in ("points", "failures"))
    return ["points", *(name for name in others if "t" not in store.schema(name).names)]


def keys_of(store: Reader, name: str) -> list[str]:
    """The columns that tell the rows of one of these tables apart."""
    known = store.schema(name).names
    keys = dict.fromkeys((*store.manifest.keys, *WITHIN))  # a parameter may be called as what numbers features
    return [key for key in keys if key in known]


class Both(NamedTuple):
    """Rows of two runs that belong together, in the same order; apart, as a parameter may be called like anything."""

    keys: pd.DataFrame
    here: pd.DataFrame
    there: pd.DataFrame


class Side:
    """The keys of all rows of one table of a store, chunk after chunk, and which of them have no partner.

    Points that failed are among the points: without numbers, but with a status.
    """

    def __init__(self, store: Reader, name: str) -> None:
        self.columns, self._store, self._schema = keys_of(store, name), store, store.schema(name)
        chunks: dict[str, list[tuple[Part, pa.Schema]]] = {}  # by their numbers
        for one in (name, "failures") if name == "points" else (name,):
            for part in store.parts(one):
                if part.rows:
                    chunks.setdefault(PurePosixPath(part.file.path).stem, []).append((part, store.schema(one)))
        self._chunks = [*chunks.values()]
        # Where each chunk begins, and the last ends.
        self.ends = np.cumsum([0, *(sum(part.rows for part, _ in parts) for parts in self._chunks)])
        keys = table.side_by_side(lambda chunk: self._read(chunk, self.columns), range(len(self._chunks)))
        self.keys = pa.concat_tables([self._schema.empty_table().select(self.columns), *keys])
        self.left = np.ones(len(self.keys), bool)

    def _read(self, chunk: int, names: Sequence[str]) -> pa.Table:
        found = [
            table.rows(self._store.location, part, schema, [name for name in names if name in schema.names])
            for part, schema in self._chunks[chunk]
        ]
        found = [self._schema.empty_table().select(names), *found]  # perhaps all points of a chunk failed
        return pa.concat_tables(found, promote_options="default")

    def keys_left(self) -> pa.Table:
        """The keys of the rows that have no partner."""
        return self.keys if self.left.all() else self.keys.filter(pa.array(self.left))

    def rows(self, places: np.ndarray, columns: Sequence[str]) -> pd.DataFrame:
        """These columns of the rows at these places among all; no file is read twice."""
        chunks = np.searchsorted(self.ends, places, "right") - 1
        order = np.argsort(chunks, kind="stable")
        found = [self._schema.empty_table().select(columns)]
        for chunk in np.unique(chunks).tolist():
            found.append(self._read(chunk, columns).take(places[chunks == chunk] - self.ends[chunk]))
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return pa.concat_tables(found).take(back).to_pandas()

    def alone(self, columns: Sequence[str]) -> pd.DataFrame:
        """All rows that have no partner: their keys and these columns."""
        return self.rows(np.flatnonzero(self.left), [*self.columns, *columns])


def pairs(here: Side, there: Side, columns: Sequence[str]) -> Iterator[Both]:
    """Rows with the same keys, and these columns of both, file by file.

    First rows whose keys are equal to the last bit, then, of those that are left, rows whose keys are equal but for
    rounding. A row has one partner at most; several points within rounding of each other are left without a partner.
    """
    partner = np.full(len(here.left), -1)
    for rounded in (False, True):
        mine, theirs = np.flatnonzero(here.left), np.flatnonzero(there.left)
        one, two = _partners(here.keys_left(), there.keys_left().select(here.columns), rounded)
        partner[mine[one]] = theirs[two]
        here.left[mine[one]] = there.left[theirs[two]] = False
    for start, end in zip(here.ends[:-1], here.ends[1:], strict=True):
        found = start + np.flatnonzero(partner[start:end] >= 0)
        if len(found):
            mine, theirs = here.rows(found, columns), there.rows(partner[found], columns)
            yield Both(here.keys.take(found).to_pandas(), mine, theirs)


def _partners(mine: pa.Table, theirs: pa.Table, rounded: bool) -> tuple[np.ndarray, np.ndarray]:
    """The places of rows with the same keys in both tables."""
    if not (len(mine) and len(theirs)):
        return np.arange(0), np.arange(0)
    classes, count = np.zeros(len(mine) + len(theirs), dtype=np.int64), 1
    for values in pa.concat_tables([mine, theirs], promote_options="permissive").columns:
        numbers = _numbers(values, rounded)
        classes, known = pd.factorize(classes * (numbers.max() + 1) + numbers)
        count = len(known)
    one, two = (_first(side, count, alone=rounded) for side in (classes[: len(mine)], classes[len(mine) :]))
    both = (one >= 0) & (two >= 0)
    return one[both], two[both]


def _numbers(values: pa.ChunkedArray, rounded: bool) -> np.ndarray:
    """A whole number from 0 for each value of a column, the same for values that are the same."""
    if rounded and pa.types.is_floating(values.type):
        return numbered(values.to_numpy())
    return values.combine_chunks().dictionary_encode("encode").indices.to_numpy().astype(np.int64)


def _first(classes: np.ndarray, count: int, alone: bool) -> np.ndarray:
    """Where each class first stands, -1 for none; `alone` leaves out those that stand more than once."""
    places = np.full(count, -1)
    places[classes[::-1]] = np.arange(len(classes))[::-1]  # what is set last stays
    return np.where(np.bincount(classes, minlength=count) == 1, places, -1) if alone else places


def numbered(values: np.ndarray) -> np.ndarray:
    """A whole number for each value, the same for values that differ by rounding."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    numbers = np.zeros(len(values), dtype=np.int64)
    numbers[order[1:]] = np.cumsum(np.diff(ordered) > ROUNDING * np.abs(ordered[1:]))
    return numbers
