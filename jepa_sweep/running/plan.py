"""The points of a spec that no claim holds yet, cut into chunks; and what they will cost."""

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from jepa_sweep.spec.grid import Grid
from jepa_sweep.spec.models import Sweep
from jepa_sweep.systems.system import Cost, Points


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
    return sweep.system.chunk(grid.size, lambda: grid.take(np.arange(1)).columns, sweep.measurement)


def cost(sweep: Sweep, grid: Grid, index: np.ndarray | range) -> Cost:
    """What the points at `index`, which lie in one segment of the grid, will take before any has been computed."""
    return sweep.system.cost(len(index), lambda: grid.take(as_array(index)).columns, sweep.measurement)


def as_array(index: np.ndarray | range) -> np.ndarray:
    """Indices as an array; of a range NumPy makes one by looking at every number."""
    return np.arange(index.start, index.stop) if isinstance(index, range) else index


def memory(sweep: Sweep, grid: Grid, size: int) -> float:
    """Bytes of memory at the peak, for chunks of `size` points."""
    heads = [grid.take(np.array([start])).columns for start, _ in grid.segments()]
    return sweep.system.memory(min(size, grid.size), heads, sweep.measurement)


def chunks(grid: Grid, done: Intervals, size: int) -> Iterator[Chunk]:
    """The indices not yet done, in order, cut at multiples of `size` from the start of their segment.

    Cuts and slots depend on the grid alone, so that processes running the same spec agree on them.
    """
    slots = 0
    for start, stop in grid.segments():
        for a, b in done.gaps(start, stop):
            cuts = [a, *range(start + ((a - start) // size + 1) * size, b, size), b]
            yield from (Chunk(x, y, slots + (x - start) // size) for x, y in itertools.pairwise(cuts))
        slots += -(-(stop - start) // size)


def fresh(grid: Grid, index: np.ndarray, others: Iterable[Visited]) -> np.ndarray:
    """True for the points that are neither in an earlier block of this sweep nor in the store from another spec."""
    others = list(others)
    if grid.single and not others:
        return np.ones(len(index), dtype=bool)
    points = grid.take(index)
    new = ~grid.repeated(index, points)
    for visited in others:
        new &= ~(visited.indices.contains(index) if visited.grid is grid else visited.holds(points))
    return new


def missing(grid: Grid, finished: Intervals, others: list[Visited], size: int) -> Iterator[np.ndarray | range]:
    """The indices neither finished because of this spec nor visited by `others`, by chunks of `size` points."""
    for chunk in chunks(grid, finished, size):
        if grid.single and not others:
            yield range(chunk.start, chunk.stop)
        elif (new := fresh(grid, chunk.indices, others)).any():
            yield chunk.indices[new]


def left(sweep: Sweep, grid: Grid, finished: Intervals, others: list[Visited], size: int) -> Left:
    """How much of a sweep is `missing`, and what that will take."""
    new, count, takes = 0, 0, Cost()
    for index in missing(grid, finished, others, size):
        new, count, takes = new + len(index), count + 1, takes.plus(cost(sweep, grid, index))
    return Left(grid.unique, new, count, takes)
