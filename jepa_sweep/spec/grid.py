"""Axes to points and back: every point of a sweep has one index, and no grid is ever written out whole.

The order of a block is objective, then the parameters that get files of their own (L), then the other axes, then
the threshold p, which varies fastest. Blocks follow each other. Both directions are arithmetic, so finding out which
points of one spec another spec has already visited needs no stored list of points.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jepa_sweep.physics.host import Columns
from jepa_sweep.spec.axes import Range
from jepa_sweep.spec.blocks import FullBlock
from jepa_sweep.spec.models import Sweep
from jepa_sweep.systems.system import Parameter, Points

if TYPE_CHECKING:
    from jepa_sweep.spec.listed import ListedGrid


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
        start, stop = int(index[0]), int(index[-1]) + 1
        # Along a stretch, as chunks are, values are repeated: a tenth of the time of looking every row up.
        stretch = stop - start == len(index) and np.array_equal(index, np.arange(start, stop))
        columns, each = {}, self.size  # rows in which an axis keeps its value before it takes the next
        for name, values in self._axes.items():
            each //= len(values)
            columns[name] = _repeated(values, each, start, stop) if stretch else values[index // each % len(values)]
        return columns | {name: columns[other] for name, other in self._same.items()}

    def find(self, columns: Columns) -> np.ndarray:
        """Row numbers of the given parameters, -1 where there is no such row; values compare exactly."""
        index = np.zeros(len(next(iter(columns.values()))), dtype=np.int64)
        known = np.ones(len(index), dtype=bool)
        for name, values in self._axes.items():
            place = places(values, columns[name])
            known &= place >= 0
            index = index * len(values) + place
        for name, other in self._same.items():
            known &= columns[name] == columns[other]
        return np.where(known, index, -1)

    def starts(self) -> np.ndarray:
        """Row numbers at which a new group of files begins, the first being 0."""
        return np.arange(math.prod(self._shape[: self._groups])) * math.prod(self._shape[self._groups :])


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
        row, threshold = np.divmod(local, len(self.p)) if len(self.p) > 1 else (local, np.zeros_like(local))
        objective = int(row[0]) // rows.size
        assert objective == int(row[-1]) // rows.size, "the indices of one call lie in one segment"
        columns = rows.take(row - objective * rows.size)
        return Points(self.objectives[objective], columns, self.p[threshold], index, self.p)

    def some(self, most: int) -> Iterator[Points]:
        """All points, each once, in pieces; of more than `most` about so many drawn at random, always the same."""
        few = self.size <= most
        drawn = np.arange(self.size) if few else np.unique(np.random.default_rng(0).integers(self.size, size=most))
        widths = [size // len(self.objectives) for size in self._sizes for _ in self.objectives]
        for index in np.split(drawn, np.searchsorted(drawn, np.cumsum(widths)[:-1])):
            if len(index):
                points = self.take(index)
                yield points if not (repeated := self.repeated(index, points)).any() else points.kept(~repeated)

    def find(self, points: Points, blocks: int | None = None) -> np.ndarray:
        """The first index of each point, looking in the first `blocks` blocks only; -1 where there is none."""
        found = np.full(len(points.p), -1, dtype=np.int64)
        threshold = places(self.p, points.p)
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


def _repeated(values: np.ndarray, each: int, start: int, stop: int) -> np.ndarray:
    """Entries [start, stop) of an endless sequence in which all values follow each other, every one `each` times."""
    first, last = start // each, (stop - 1) // each
    turns = values[np.arange(first, last + 1) % len(values)]
    if each == 1:
        return turns
    times = np.full(len(turns), each)
    times[0] -= start - first * each
    times[-1] -= (last + 1) * each - stop
    return np.repeat(turns, times)


def places(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where among distinct values each of the wanted ones stands, -1 for those that do not; they compare exactly."""
    order = np.argsort(values)
    near = order[np.minimum(np.searchsorted(values, wanted, sorter=order), len(values) - 1)]
    return np.where(values[near] == wanted, near, -1)


def rows_of(block: FullBlock, parameters: Sequence[Parameter]) -> "ProductGrid | ListedGrid":
    """The parameters of a block, row by row, without objective and p."""
    ordered = sorted((q for q in parameters if q.name not in block.same), key=lambda q: not q.partitions_files)
    names, groups = [q.name for q in ordered], sum(q.partitions_files for q in ordered)
    if block.combine == "product":
        axes = {n: axis for n in names if not isinstance(axis := block.axes[n], Range)}
        return ProductGrid(axes, groups, block.same)
    from jepa_sweep.spec.listed import ListedGrid  # not at the top: it brings pandas, which products do without

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
