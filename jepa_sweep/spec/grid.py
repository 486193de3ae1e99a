"""Axes to points and back: every point of a sweep has one index, and no grid is ever written out whole.

The order of a block is objective, then the parameters that get files of their own (L), then the other axes, then
the threshold p, which varies fastest. Blocks follow each other. Both directions are arithmetic, so finding out which
points of one spec another spec has already visited needs no stored list of points.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from jepa_sweep.physics.dynamics import Columns
from jepa_sweep.spec.axes import Range
from jepa_sweep.spec.blocks import FullBlock
from jepa_sweep.spec.models import Sweep
from jepa_sweep.systems.system import Parameter, Points


class ProductGrid:
    """Every combination of the axes, the first axis slowest; and parameters that are the same as one of them.

    A table of the parameters of a block, without objective and p, that is read both ways, as `ListedGrid` is.
    """

    def __init__(self, axes: Columns, groups: int, same: dict[str, str]) -> None:
        self._axes, self._groups, self._same = axes, groups, same  # the first `groups` axes get files of their own
        self._shape = tuple(len(values) for values in axes.values())
        self.size = math.prod(self._shape)

    def take(self, index: np.ndarray) -> Columns:
        """The parameters at the given row numbers."""
        places = np.unravel_index(index, self._shape)
        columns = {name: values[i] for (name, values), i in zip(self._axes.items(), places, strict=True)}
        return columns | {name: columns[other] for name, other in self._same.items()}

    def find(self, columns: Columns) -> np.ndarray:
        """Row numbers of the given parameters, -1 where there is no such row; values compare exactly."""
        index = np.zeros(len(next(iter(columns.values()))), dtype=np.int64)
        known = np.ones(len(index), dtype=bool)
        for name, values in self._axes.items():
            place = pd.Index(values).get_indexer(columns[name])
            known &= place >= 0
            index = index * len(values) + place
        for name, other in self._same.items():
            known &= columns[name] == columns[other]
        return np.where(known, index, -1)

    def starts(self) -> np.ndarray:
        """Row numbers at which a new group of files begins, the first being 0."""
        return np.arange(math.prod(self._shape[: self._groups])) * math.prod(self._shape[self._groups :])


class ListedGrid:
    """Rows written out one by one, put into the order of their groups; repeated rows count once."""

    def __init__(self, columns: Columns, groups: int) -> None:
        frame = pd.DataFrame(columns).drop_duplicates(ignore_index=True)
        self._keys = list(columns)[:groups]
        self._frame = frame.sort_values(self._keys, kind="stable", ignore_index=True) if self._keys else frame
        self.size = len(self._frame)

    def take(self, index: np.ndarray) -> Columns:
        """The parameters at the given row numbers."""
        return {str(name): self._frame[name].to_numpy()[index] for name in self._frame}

    @functools.cached_property
    def _lookup(self) -> pd.MultiIndex:
        lookup = pd.MultiIndex.from_frame(self._frame)
        lookup.get_indexer(lookup[:1])  # fills its table, before another thread may look into it
        return lookup

    def find(self, columns: Columns) -> np.ndarray:
        """Row numbers of the given parameters, -1 where there is no such row; values compare exactly."""
        wanted = pd.MultiIndex.from_arrays([columns[str(name)] for name in self._frame])
        return self._lookup.get_indexer(wanted)

    def starts(self) -> np.ndarray:
        """Row numbers at which a new group of files begins, the first being 0."""
        keys = np.stack([self._frame[key].to_numpy() for key in self._keys] or [np.zeros(self.size)])
        changes = np.any(keys[:, 1:] != keys[:, :-1], axis=0)
        return np.flatnonzero(np.concatenate([[True], changes]))


class Grid:
    """All points of a sweep, by index."""

    def __init__(self, sweep: Sweep) -> None:
        self.objectives, self.p = sweep.objective, np.array(sweep.measure.p)
        self._blocks = [rows_of(block, sweep.system.parameters) for block in sweep.blocks]
        self._sizes = [len(self.objectives) * rows.size * len(self.p) for rows in self._blocks]
        self._offsets = np.concatenate([[0], np.cumsum(self._sizes)]).astype(np.int64)

    @property
    def size(self) -> int:
        """Number of indices; points that stand in two blocks have two."""
        return int(self._offsets[-1])

    @property
    def single(self) -> bool:
        """True if there is one block, so that no point stands twice."""
        return len(self._blocks) == 1

    @functools.cached_property
    def unique(self) -> int:
        """Number of points, those of several blocks counted once."""
        return sum(self.unique_in(start, stop) for start, stop in self.segments())

    def unique_in(self, start: int, stop: int) -> int:
        """Number of points of a part of one segment, without those that an earlier block holds."""
        if stop <= self._offsets[1]:
            return stop - start
        pieces = (np.arange(low, min(stop, low + (1 << 20))) for low in range(start, stop, 1 << 20))
        return stop - start - sum(int(self.repeated(index, self.take(index)).sum()) for index in pieces)

    def segments(self) -> list[tuple[int, int]]:
        """Stretches of indices that share a block, an objective and a group, so that they may share a file."""
        out = []
        for offset, rows in zip(self._offsets, self._blocks, strict=False):
            bounds = [*rows.starts(), rows.size]
            for number in range(len(self.objectives)):
                base = offset + number * rows.size * len(self.p)
                out += [
                    (int(base + a * len(self.p)), int(base + b * len(self.p))) for a, b in itertools.pairwise(bounds)
                ]
        return out

    def take(self, index: np.ndarray) -> Points:
        """The points at indices that lie in one segment."""
        number = int(np.searchsorted(self._offsets, index[0], side="right")) - 1
        rows, local = self._blocks[number], index - self._offsets[number]
        row, threshold = np.divmod(local, len(self.p))
        objective, row = np.divmod(row, rows.size)
        assert objective[0] == objective[-1], "the indices of one call lie in one segment"
        return Points(self.objectives[int(objective[0])], rows.take(row), self.p[threshold], index, self.p)

    def find(self, points: Points, blocks: int | None = None) -> np.ndarray:
        """The first index of each point, looking in the first `blocks` blocks only; -1 where there is none."""
        found = np.full(len(points.p), -1, dtype=np.int64)
        threshold = pd.Index(self.p).get_indexer(points.p)
        if points.objective not in self.objectives:
            return found
        number = self.objectives.index(points.objective)
        for offset, rows in zip(self._offsets[:-1][:blocks], self._blocks[:blocks], strict=True):
            row = rows.find(points.columns)
            here = offset + (number * rows.size + row) * len(self.p) + threshold
            valid = (found < 0) & (row >= 0) & (threshold >= 0)
            found = np.where(valid, here, found)
        return found

    def repeated(self, index: np.ndarray, points: Points) -> np.ndarray:
        """True for points that an earlier block already holds."""
        number = int(np.searchsorted(self._offsets, index[0], side="right")) - 1
        return self.find(points, blocks=number) >= 0 if number else np.zeros(len(index), dtype=bool)


def rows_of(block: FullBlock, parameters: Sequence[Parameter]) -> ProductGrid | ListedGrid:
    """The parameters of a block, row by row, without objective and p."""
    ordered = sorted((q for q in parameters if q.name not in block.same), key=lambda q: not q.partitions_files)
    names, groups = [q.name for q in ordered], sum(q.partitions_files for q in ordered)
    if block.combine == "product":
        axes = {n: axis for n in names if not isinstance(axis := block.axes[n], Range)}
        return ProductGrid(axes, groups, block.same)
    columns = _sobol(block) if block.combine == "sobol" else block.listed()
    columns |= {name: columns[other] for name, other in block.same.items()}
    return ListedGrid({name: columns[name] for name in (*names, *block.same)}, groups)


def _sobol(block: FullBlock) -> Columns:
    """A Sobol sequence over the drawn axes: the first n points are the same however many are asked for.

    Listed values are drawn as equal parts of their axis; the other axes have one value.
    """
    from scipy.stats import qmc  # not at the top: half a second of every command, for the few that need it

    sequence = qmc.Sobol(len(block.drawn), scramble=block.seed is not None, rng=block.seed)
    unit = sequence.random_base2(max(0, (block.num - 1).bit_length()))[: block.num]
    columns: Columns = {}
    for name, axis in block.axes.items():
        u = unit[:, block.drawn.index(name)] if name in block.drawn else np.zeros(block.num)
        columns[name] = axis.at(u) if isinstance(axis, Range) else axis[(u * len(axis)).astype(int)]
    return columns
