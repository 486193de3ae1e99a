"""Axes to points and back: every point of a sweep has one index, and no large grid is ever written out.

The order of a block is objective, then the parameters whose values stand apart in files (L), then the other axes, then
the threshold p, which varies fastest. Blocks follow each other. Both directions are arithmetic, so finding out which
points of one spec another spec has already visited needs no stored list of points.
"""

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jepa_sweep.physics.host import Columns
from jepa_sweep.spec.axes import Range
from jepa_sweep.spec.blocks import FullBlock
from jepa_sweep.spec.listed import Keys, ListedGrid, place_of
from jepa_sweep.spec.models import Sweep
from jepa_sweep.systems.system import Parameter, Points

WRITTEN_OUT = 1 << 22  # rows of all blocks that are written out together, where there are several
A_PAIR = 1 << 7  # rows that are looked up in the time that it takes to compare a block with another
PIECE = 1 << 17  # points looked at at a time


class ProductGrid:
    """Every combination of the axes, the first axis slowest; and parameters that are the same as one of them.

    A table of the parameters of a block, without objective and p, that is read both ways, as `ListedGrid` is.
    """

    def __init__(self, axes: Columns, groups: int, same: dict[str, str]) -> None:
        self._axes, self._groups, self._same = axes, groups, same  # the first `groups` axes stand apart in files
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

    @functools.cached_property
    def _orders(self) -> dict[str, np.ndarray]:
        return {name: np.argsort(values) for name, values in self._axes.items()}

    @functools.cached_property
    def values(self) -> Columns:
        """The values of every parameter, sorted."""
        values = {name: axis[self._orders[name]] for name, axis in self._axes.items()}
        return values | {name: values[other] for name, other in self._same.items()}

    def find(self, columns: Columns) -> np.ndarray:
        """Row numbers of the given parameters, -1 where there is no such row; values compare exactly."""
        index = np.full(len(next(iter(columns.values()))), -1)
        left, row = np.arange(len(index)), np.zeros_like(index)  # of those whose values all occur so far
        for name, order in self._orders.items():
            place = place_of(self.values[name], columns[name][left])
            there = place >= 0
            left, row = left[there], (row * len(order) + order[place])[there]
        for name, other in self._same.items():
            there = columns[name][left] == columns[other][left]
            left, row = left[there], row[there]
        index[left] = row
        return index

    def starts(self) -> np.ndarray:
        """Row numbers at which a new group begins, the first being 0."""
        return np.arange(math.prod(self._shape[: self._groups])) * math.prod(self._shape[self._groups :])


class _Table(NamedTuple):
    """The rows of one block, or of several that are written out below each other."""

    rows: ProductGrid | ListedGrid
    blocks: np.ndarray  # their numbers
    first: np.ndarray  # row of each of them


class _Place(NamedTuple):
    """Where indices stand in a grid; one number where it is the same for all."""

    block: np.ndarray
    objective: np.ndarray
    row: np.ndarray  # of the block
    threshold: np.ndarray


class Grid:
    """All points of a sweep, by index."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep, self.objectives, self.p = sweep, sweep.objective, np.array(sweep.measure.p)
        self._groups = [q.name for q in sweep.system.parameters if q.partitions_files]
        blocks = [rows_of(block, sweep.system.parameters) for block in sweep.blocks]
        self._rows = np.array([rows.size for rows in blocks])
        self._offsets = np.concatenate([[0], np.cumsum(self._rows * (len(self.objectives) * len(self.p)))])
        self._tables = _tables(blocks, self._groups)
        self._table, self._first = np.zeros((2, len(blocks)), dtype=np.int64)  # of each block: which, and where in it
        for number, table in enumerate(self._tables):
            self._table[table.blocks], self._first[table.blocks] = number, table.first

    @property
    def size(self) -> int:
        """Number of indices; points that stand in two blocks have two."""
        return int(self._offsets[-1])

    # --- segments -----------------------------------------------------------------------------------------------------

    @functools.cached_property
    def _starts(self) -> np.ndarray:
        starts = []
        for rows, blocks, first in self._tables:
            row = np.union1d(rows.starts(), first)
            within = np.searchsorted(first, row, side="right") - 1
            block, row = blocks[within], row - first[within]
            starts += [self._index(block, number, row) for number in range(len(self.objectives))]
        return np.sort(np.concatenate(starts))

    def segments(self) -> list[tuple[int, int]]:
        """Stretches of indices that share a block, an objective and a group."""
        return list(itertools.pairwise([*self._starts.tolist(), self.size]))

    def heads(self) -> Columns:
        """The parameters of the first point of each segment."""
        return self.columns(self._starts)

    def kinds(self, *, groups: bool = True) -> np.ndarray:
        """A number for each segment, from 0: the same for those of one objective and, if asked for, of one group."""
        objective = np.broadcast_to(self._where(self._starts).objective, self._starts.shape)
        heads = self.heads() if groups else {}
        return Keys({"objective": objective} | {name: heads[name] for name in self._groups if groups}).number

    # --- index to point -----------------------------------------------------------------------------------------------

    def columns(self, index: np.ndarray) -> Columns:
        """The parameters at indices."""
        at = self._where(index)
        return self._columns(at.block, at.row)

    def take(self, index: np.ndarray) -> Points:
        """The points at indices of one objective."""
        at = self._where(index)
        assert np.ndim(at.objective) == 0, "the indices of one call have one objective"
        columns = self._columns(at.block, at.row)
        return Points(self.objectives[int(at.objective)], columns, self.p[at.threshold], index, self.p)

    def split(self, index: np.ndarray) -> list[Points]:
        """The points at any indices, objective by objective."""
        objective = self._where(index).objective
        if np.ndim(objective) == 0:
            return [self.take(index)]
        return [self.take(index[objective == number]) for number in np.unique(objective)]

    def _where(self, index: np.ndarray) -> _Place:
        low, high = np.searchsorted(self._offsets, [index.min(), index.max()], side="right") - 1
        block = low if low == high else np.searchsorted(self._offsets, index, side="right") - 1
        row = index - self._offsets[block]
        row, threshold = np.divmod(row, len(self.p)) if len(self.p) > 1 else (row, np.zeros_like(row))
        rows = self._rows[block]
        if np.ndim(block) == 0 and row.min() // rows == row.max() // rows:
            objective = row.min() // rows
            return _Place(block, objective, row - objective * rows, threshold)
        objective, row = np.divmod(row, rows)
        same = len(objective) and (objective == objective[0]).all()
        return _Place(block, objective[0] if same else objective, row, threshold)

    def _columns(self, block: np.ndarray, row: np.ndarray) -> Columns:
        table, row = self._table[block], row + self._first[block]
        numbers = np.unique(table)
        if len(numbers) == 1:
            return self._tables[numbers[0]].rows.take(row)
        out: Columns = {}
        for number in numbers:
            here = table == number
            for name, values in self._tables[number].rows.take(row[here]).items():
                out.setdefault(name, np.empty(len(row)))[here] = values
        return out

    def some(self, most: int) -> Iterator[Points]:
        """All points, each once, in pieces; of more than `most` about so many drawn at random, always the same."""
        few = self.size <= most
        drawn = np.arange(self.size) if few else np.unique(np.random.default_rng(0).integers(self.size, size=most))
        for points in self.split(drawn):
            yield points if not (repeated := self.repeated(points)).any() else points.kept(~repeated)

    # --- point to index -----------------------------------------------------------------------------------------------

    def find(self, points: Points) -> np.ndarray:
        """The first index of each point; -1 where there is none."""
        return self._found(points, range(len(self._tables)))

    def _found(self, points: Points, tables: Iterable[int]) -> np.ndarray:
        """The same, looking into some tables only."""
        found = np.full(len(points.p), -1, dtype=np.int64)
        if points.objective not in self.objectives:
            return found
        objective, threshold = self.objectives.index(points.objective), places(self.p, points.p)
        low, high = (np.array([end(points.columns[name]) for name in self._names]) for end in (np.min, np.max))
        lows, highs = self._ends
        for number in tables:
            if (lows[number] > high).any() or (highs[number] < low).any():
                continue
            rows, blocks, first = self._tables[number]
            row = rows.find(points.columns)
            there = np.flatnonzero((row >= 0) & (threshold >= 0))
            within = np.searchsorted(first, row[there], side="right") - 1
            index = self._index(blocks[within], objective, row[there] - first[within]) + threshold[there]
            found[there] = np.where(found[there] < 0, index, np.minimum(index, found[there]))
        return found

    def _index(self, block: np.ndarray, objective: int, row: np.ndarray) -> np.ndarray:
        """Indices of rows of blocks, at the first threshold."""
        return self._offsets[block] + (objective * self._rows[block] + row) * len(self.p)

    # --- points that stand in several blocks --------------------------------------------------------------------------

    @functools.cached_property
    def unique(self) -> int:
        """Number of points, those of several blocks counted once."""
        return self.unique_in(0, self.size)

    def unique_in(self, start: int, stop: int) -> int:
        """Number of points of a stretch, without those that an earlier block holds."""
        again = 0
        for low, high in self.doubtful(start, stop):
            for begin in range(low, high, PIECE):
                piece = np.arange(begin, min(high, begin + PIECE))
                again += sum(int(self.repeated(points).sum()) for points in self.split(piece))
        return stop - start - again

    def doubtful(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The parts of a stretch that lie in blocks whose points an earlier one may hold."""
        low, high = np.searchsorted(self._offsets, [start, stop - 1], side="right") - 1
        edges = low + np.flatnonzero(np.diff(self._contested[low : high + 1], prepend=False, append=False))
        for a, b in edges.reshape(-1, 2):
            yield max(start, int(self._offsets[a])), min(stop, int(self._offsets[b]))

    def repeated(self, points: Points) -> np.ndarray:
        """True for points, as `take` gives them, that an earlier block already holds."""
        block = np.searchsorted(self._offsets, points.number, side="right") - 1
        rivals = sorted({rival for number in np.unique(self._table[block]) for rival in self._rivals[number]})
        found = self._found(points, rivals)
        return (found >= 0) & (found < points.number)

    @functools.cached_property
    def _names(self) -> list[str]:
        return list(self._tables[0].rows.values)

    @functools.cached_property
    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and the highest value of each parameter, table by table."""
        values = [[table.rows.values[name] for name in self._names] for table in self._tables]
        low, high = (np.array([[axis[end] for axis in axes] for axes in values]) for end in (0, -1))
        return low, high

    @functools.cached_property
    def _contested(self) -> np.ndarray:
        """True for each block whose points an earlier one may hold."""
        return np.array([bool(rivals) for rivals in self._rivals])[self._table]

    @functools.cached_property
    def _rivals(self) -> list[list[int]]:
        """For each table those that may hold its points, too, in an earlier block."""
        if len(self._rows) == 1:
            return [[]]
        (lows, highs), out = self._ends, []
        for number, (rows, blocks, _) in enumerate(self._tables):
            near = np.flatnonzero(((lows <= highs[number]) & (highs >= lows[number])).all(axis=1)).tolist()
            earlier = (other for other in near if other != number and self._tables[other].blocks[0] < blocks[-1])
            own = [number] if len(blocks) > 1 else []
            out.append(own + [other for other in earlier if _meet(rows.values, self._tables[other].rows.values)])
        return out


def _tables(blocks: Sequence[ProductGrid | ListedGrid], groups: Sequence[str]) -> list[_Table]:
    """The rows of all blocks; those of the smallest ones below each other, so that they are looked up together."""
    # To be written out; listed ones are already.
    sizes = np.array([0.0 if isinstance(b, ListedGrid) else b.size for b in blocks])
    order = np.argsort(sizes, kind="stable")
    fit = (np.cumsum(sizes[order]) <= WRITTEN_OUT) & (sizes[order] <= A_PAIR * len(blocks))
    fitting = np.sort(order[fit]).tolist()
    small = {n: blocks[n] for n in fitting} if len(fitting) > 1 else {}
    tables = [_Table(b, np.array([n]), np.array([0])) for n, b in enumerate(blocks) if n not in small]
    if small:
        columns = [b.take(np.arange(b.size)) for b in small.values()]
        together = {name: np.concatenate([some[name] for some in columns]) for name in columns[0]}
        first = np.cumsum([0, *(b.size for b in small.values())])[:-1]
        tables.append(_Table(ListedGrid(together, groups), np.array([*small]), first))
    return tables


def _meet(some: Columns, others: Columns) -> bool:
    """True if every parameter has a value that is among the others of it."""
    return all((place_of(others[name], values) >= 0).any() for name, values in some.items())


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
    place = place_of(values[order], wanted)
    return np.where(place < 0, -1, order[place])


def rows_of(block: FullBlock, parameters: Sequence[Parameter]) -> ProductGrid | ListedGrid:
    """The parameters of a block, row by row, without objective and p."""
    ordered = sorted((q for q in parameters if q.name not in block.same), key=lambda q: not q.partitions_files)
    names, groups = [q.name for q in ordered], [q.name for q in ordered if q.partitions_files]
    if block.combine == "product":
        axes = {n: axis for n in names if not isinstance(axis := block.axes[n], Range)}
        return ProductGrid(axes, len(groups), block.same)
    columns = _sobol(block) if block.combine == "sobol" else block.listed()
    columns |= {name: columns[other] for name, other in block.same.items()}
    return ListedGrid.of_block({name: columns[name] for name in (*names, *block.same)}, groups)


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
