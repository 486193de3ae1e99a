"""The points of a spec that no claim holds yet, cut into chunks; and what they will cost."""

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from jepa_sweep.spec.grid import PIECE, Grid
from jepa_sweep.spec.models import Sweep
from jepa_sweep.systems.system import Cost, Points

LITTLE_WORK_S = 1.0  # nominal seconds, up to which points of several segments share a chunk


class Intervals:
    """A set of indices, as sorted, disjoint, half-open intervals."""

    def __init__(self, pieces: Iterable[tuple[int, int]] = ()) -> None:
        merged: list[list[int]] = []
        for start, stop in sorted(pieces):
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], stop)
            elif stop > start:
                merged.append([start, stop])
        self.starts = np.array([piece[0] for piece in merged], dtype=np.int64)
        self.stops = np.array([piece[1] for piece in merged], dtype=np.int64)

    def contains(self, index: np.ndarray) -> np.ndarray:
        """True for the indices in the set."""
        place = np.searchsorted(self.starts, index, side="right") - 1
        return (place >= 0) & (index < self.stops[place]) if len(self.starts) else np.zeros(len(index), dtype=bool)

    def gaps(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The parts of [start, stop) outside the set."""
        first = np.searchsorted(self.stops, start, side="right")
        for a, b in zip(self.starts[first:], self.stops[first:], strict=True):
            if a >= stop:
                break
            if a > start:
                yield start, int(a)
            start = max(start, int(b))
        if start < stop:
            yield start, stop


class Visited(NamedTuple):
    """What claims of a store hold of one spec: its grid, and the indices claimed."""

    grid: Grid
    indices: Intervals

    def holds(self, points: Points) -> np.ndarray:
        """True for the points that are in the store because of this spec."""
        found = self.grid.find(points)
        return (found >= 0) & self.indices.contains(found)


class Chunk(NamedTuple):
    """A stretch of indices that will share one commit."""

    start: int
    stop: int
    slot: int = 0  # its number among all chunks of the grid, whether or not they are done

    @property
    def indices(self) -> np.ndarray:
        """All of them."""
        return np.arange(self.start, self.stop)


class Left(NamedTuple):
    """What is still to be computed of a spec."""

    points: int  # of the spec, each counted once
    new: int  # not in the store
    chunks: int
    takes: Cost


def points_per_chunk(sweep: Sweep, grid: Grid) -> int:
    """How many points share a file, as the system of the sweep has it."""
    return sweep.system.chunk(grid.size, lambda: grid.columns(np.arange(1)), sweep.measurement)


def cost(sweep: Sweep, grid: Grid, index: np.ndarray | range) -> Cost:
    """What the points at `index` will take before any has been computed."""
    return sweep.system.cost(len(index), lambda: grid.columns(as_array(index)), sweep.measurement)


def as_array(index: np.ndarray | range) -> np.ndarray:
    """Indices as an array; of a range NumPy makes one by looking at every number."""
    return np.arange(index.start, index.stop) if isinstance(index, range) else index


def memory(sweep: Sweep, grid: Grid, size: int) -> float:
    """Bytes of memory at the peak, for chunks of `size` points."""
    return sweep.system.memory(min(size, grid.size), grid.heads(), sweep.measurement)


# --- cutting ----------------------------------------------------------------------------------------------------------


def cuts(sweep: Sweep, grid: Grid, size: int) -> Iterator[tuple[int, int]]:
    """The stretches of indices that share a commit each, whether or not they are done.

    A segment of more than `size` points is cut at multiples of that from its start. Smaller ones that follow each other
    share a commit, up to `size` points, so that many of them make few files; and as long as they are little work, so
    that several workers find something to do, and no one loses much. All this depends on the sweep alone, so that
    processes running the same spec agree.
    """
    before = _shared.get(grid)
    if before is None or before[0] is not sweep or before[1] != size:
        before = _shared[grid] = (sweep, size, _together(sweep, grid, size))
    for start, stop in itertools.pairwise(before[2]):
        for low in range(start, stop, size):
            yield low, min(low + size, stop)


# Of a grid what `cuts` found last, without the cuts within a segment: of many segments it takes a second, and is asked
# for again by each step of a run.
_shared: "WeakKeyDictionary[Grid, tuple[Sweep, int, list[int]]]" = WeakKeyDictionary()


def _together(sweep: Sweep, grid: Grid, size: int) -> list[int]:
    """Where stretches begin that are large segments, or small ones that share a commit; and where the last ends."""
    starts, seconds = [0], 0.0  # of what is to share a commit
    for a, b in grid.segments():
        takes = cost(sweep, grid, range(a, b)).seconds if b - a < size else math.inf
        if a > starts[-1] and (b - starts[-1] > size or seconds + takes > LITTLE_WORK_S):
            starts.append(a)
            seconds = 0.0
        seconds += takes
    return [*starts, grid.size]


def chunks(sweep: Sweep, grid: Grid, done: Intervals, size: int) -> Iterator[Chunk]:
    """The indices not yet done, in order, cut where `cuts` says."""
    for slot, (start, stop) in enumerate(cuts(sweep, grid, size)):
        yield from (Chunk(a, b, slot) for a, b in done.gaps(start, stop))


def longest_call(sweep: Sweep, grid: Grid, size: int) -> int:
    """The most points of a chunk that are computed together, see `compute.calls`."""
    starts, stops = np.array(grid.segments()).T
    if (stops - starts).max() >= size:
        return size
    cut = np.searchsorted([start for start, _ in cuts(sweep, grid, size)], starts, side="right")
    kinds = grid.kinds(groups=not sweep.system.across_groups)
    _, which = np.unique(cut * (kinds.max() + 1) + kinds, return_inverse=True)
    return int(np.bincount(which, weights=stops - starts).max())


# --- what is missing --------------------------------------------------------------------------------------------------


def fresh(grid: Grid, index: np.ndarray, others: Iterable[Visited]) -> np.ndarray:
    """True for the points that are neither in an earlier block of this sweep nor in the store from another spec."""
    new, others = np.ones(len(index), dtype=bool), list(others)
    if not others and _once(grid, index[0], index[-1] + 1):
        return new
    for points in grid.split(index):
        here = ~grid.repeated(points)
        for visited in others:
            own = visited.grid is grid
            here &= ~(visited.indices.contains(points.number) if own else visited.holds(points))
        new[np.searchsorted(index, points.number)] = here
    return new


def count_fresh(grid: Grid, index: np.ndarray | range, others: list[Visited]) -> int:
    """How many of some points, no two of them the same, none of `others` has; looked at piece by piece."""
    if not others:
        return len(index)
    pieces = (as_array(index[low : low + PIECE]) for low in range(0, len(index), PIECE))
    return sum(int(fresh(grid, piece, others).sum()) for piece in pieces)


def _once(grid: Grid, start: int, stop: int) -> bool:
    """True if it is known without looking that no point of a stretch stands twice."""
    return next(grid.doubtful(start, stop), None) is None


def missing(grid: Grid, stretches: Iterable[tuple[int, int]], others: list[Visited]) -> Iterator[np.ndarray | range]:
    """The indices of each stretch that are not visited by `others`, if there are any; long ones piece by piece."""
    for start, stop in stretches:
        if not others and _once(grid, start, stop):
            yield range(start, stop)
            continue
        for low in range(start, stop, PIECE):
            index = np.arange(low, min(stop, low + PIECE))
            if (new := fresh(grid, index, others)).any():
                yield index[new]


def left(sweep: Sweep, grid: Grid, finished: Intervals, others: list[Visited], size: int) -> Left:
    """How much of a sweep is `missing`, and what that will take."""
    stretches = ((chunk.start, chunk.stop) for chunk in chunks(sweep, grid, finished, size))
    new, count, takes = 0, 0, Cost()
    for index in missing(grid, stretches, others):
        new, count, takes = new + len(index), count + 1, takes.plus(cost(sweep, grid, index))
    return Left(grid.unique, new, count, takes)
