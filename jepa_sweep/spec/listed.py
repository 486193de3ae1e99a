"""Points of blocks that are written out one by one, and found by their values."""

import functools
from collections.abc import Sequence

import numpy as np

from jepa_sweep.physics.host import Columns

LARGEST = 1 << 62  # number of a row, until they are numbered anew


class Keys:
    """Numbers for rows: the same for rows of the same values, which compare exactly."""

    def __init__(self, columns: Columns) -> None:
        number, most = np.zeros(len(next(iter(columns.values()))), dtype=np.int64), 1
        self._steps: list[tuple[str, np.ndarray, np.ndarray | None]] = []
        for name, column in columns.items():
            values, place = np.unique(column, return_inverse=True)
            known = None
            if most * len(values) >= LARGEST:
                known, number = np.unique(number, return_inverse=True)
                most = len(known)
            number, most = number * len(values) + place, most * len(values)
            self._steps.append((name, values, known))
        self._known, self.number = np.unique(number, return_inverse=True)

    def find(self, columns: Columns) -> np.ndarray:
        """The numbers of given rows, -1 for those that do not occur."""
        number = np.zeros(len(next(iter(columns.values()))), dtype=np.int64)
        there = np.ones(len(number), dtype=bool)
        for name, values, known in self._steps:
            if known is not None:
                number = place_of(known, number)
                there &= number >= 0
            place = place_of(values, columns[name])
            there &= place >= 0
            number = number * len(values) + place
        return np.where(there, place_of(self._known, number), -1)


class ListedGrid:
    """Rows written out one by one. Where rows of several blocks stand below each other, the first of a kind is found.

    A table of parameters, without objective and p, that is read both ways, as `ProductGrid` is.
    """

    def __init__(self, columns: Columns, groups: Sequence[str]) -> None:
        """Rows that follow each other and share the values of `groups` make a group."""
        self.columns, self._groups = columns, groups
        self.size = len(next(iter(columns.values())))

    @classmethod
    def of_block(cls, columns: Columns, groups: Sequence[str]) -> "ListedGrid":
        """Rows in the order of their groups; repeated rows count once."""
        first = np.sort(np.unique(Keys(columns).number, return_index=True)[1])
        if groups:  # a stable order, so that within a group rows stand as they were written
            first = first[np.lexsort([columns[name][first] for name in reversed(groups)])]
        return cls({name: values[first] for name, values in columns.items()}, groups)

    def take(self, index: np.ndarray) -> Columns:
        """The parameters at the given row numbers."""
        return {name: values[index] for name, values in self.columns.items()}

    @functools.cached_property
    def values(self) -> Columns:
        """The values of every parameter, sorted."""
        return {name: np.unique(column) for name, column in self.columns.items()}

    @functools.cached_property
    def _keys(self) -> tuple[Keys, np.ndarray]:
        """Keys, and the first row of each number."""
        keys = Keys(self.columns)
        return keys, np.unique(keys.number, return_index=True)[1]

    def find(self, columns: Columns) -> np.ndarray:
        """Row numbers of the given parameters, -1 where there is no such row; values compare exactly."""
        keys, first = self._keys
        number = keys.find(columns)
        return np.where(number < 0, -1, first[number])

    def starts(self) -> np.ndarray:
        """Row numbers at which a new group begins, the first being 0."""
        keys = np.stack([self.columns[name] for name in self._groups] or [np.zeros(self.size)])
        changes = np.any(keys[:, 1:] != keys[:, :-1], axis=0)
        return np.flatnonzero(np.concatenate([[True], changes]))


def place_of(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where among sorted, distinct values each of the wanted ones stands, -1 for those that do not."""
    near = np.minimum(np.searchsorted(values, wanted), len(values) - 1)
    return np.where(values[near] == wanted, near, -1)
