"""One spec at work on one store: which points are new, computing them, committing them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jepa_sweep.engine import devices
from jepa_sweep.errors import IntegrityError
from jepa_sweep.store.records import Claim
from jepa_sweep.store.store import Store
from jepa_sweep.sweep import plan, provenance
from jepa_sweep.sweep.compute import compute
from jepa_sweep.sweep.grid import Grid
from jepa_sweep.sweep.plan import Intervals, Visited
from jepa_sweep.sweep.rows import Place, Rows, Work, tables
from jepa_sweep.sweep.spec import Sweep


def visited(store: Store, grids: dict[str, Grid], claims: dict[str, Claim] | None = None) -> list[Visited]:
    """What is stored, spec by spec; `grids` caches the grids of the store's specs."""
    claims = store.claims() if claims is None else claims
    if any(claim.spec not in grids for claim in claims.values()):
        for name, text in store.specs().items():
            if name not in grids:
                grids[name] = Grid(Sweep.parse(text, f"a spec kept in {store.path}"))
    present: dict[str, list[tuple[int, int]]] = {}
    for claim in claims.values():
        pieces = Intervals(claim.absent).gaps(claim.start, claim.stop)
        present.setdefault(claim.spec, []).extend(pieces)
    unknown = present.keys() - grids.keys()
    if unknown:
        raise IntegrityError(f"{store.path} must keep every spec that was run, but {min(unknown)[:8]} is missing.")
    return [Visited(grids[name], Intervals(pieces)) for name, pieces in present.items()]


def done(store: Store, name: str) -> Intervals:
    """The indices of one spec that are stored because of it; what others stored for it is found by `plan.fresh`."""
    claims = [c for c in store.claims().values() if c.spec == name]
    return Intervals(piece for c in claims for piece in Intervals(c.absent).gaps(c.start, c.stop))


class Computed(NamedTuple):
    """The rows of a stretch of indices, before anyone else has been asked about them."""

    start: int
    stop: int
    wanted: np.ndarray  # which of the indices were computed
    rows: dict[str, Rows]
    work: Work
    known: dict[str, Claim]  # claims looked at before computing


class Job:
    """One spec at work on one store.

    `compute` and `commit` may run in two threads: they share nothing that changes but what `commit` counts.
    """

    def __init__(self, sweep: Sweep, text: str, store: Store, device: str, chunk_points: int | None) -> None:
        self.sweep, self.store = sweep, store
        self.name = store.add_spec(text)
        self.grid = Grid(sweep)
        self.computed = self.failed = 0
        self.work = Work()
        self._size = chunk_points or plan.points_per_chunk(sweep, self.grid)
        longest = max((b - a for a, b in self.grid.segments()), default=1)
        self._place = Place(device, -(-min(self._size, longest) // len(sweep.measure.p)))
        self._seen = Store(store.path)  # for `compute`; `store` is for `commit`
        self._grids = {self.name: self.grid}
        self._own: set[str] = set()
        self._schemas = {name: store.schema(name) for name in store.tables}
        where = devices.pick(device)
        self._environment = store.add_environment(provenance.facts(where, sweep.solver.precision))

    def chunks(self) -> Iterator[plan.Chunk]:
        """What is left to do, at this moment."""
        return plan.chunks(self.grid, done(self.store, self.name), self._size)

    def compute(self, chunk: plan.Chunk, absent: Intervals | None = None) -> Computed:
        """Compute the points of a chunk that are not in the store, leaving out the `absent` ones."""
        known = self._seen.claims()
        wanted = plan.fresh(self.grid, chunk.indices, visited(self._seen, dict(self._grids), known))
        if absent:
            wanted &= ~absent.contains(chunk.indices)
        rows, work = (
            compute(self.sweep, self.grid, chunk.indices[wanted], self._place) if wanted.any() else ({}, Work())
        )
        return Computed(chunk.start, chunk.stop, wanted, rows, work, known)

    def commit(self, found: Computed) -> None:
        """Commit what was computed, but for points that another process has claimed meanwhile."""
        index = np.arange(found.start, found.stop)[found.wanted]
        keep, known = np.ones(len(index), dtype=bool), dict(found.known)
        while keep.any():
            theirs = {n: c for n, c in self.store.claims().items() if n not in known and n not in self._own}
            known |= theirs
            if theirs:
                points = self.grid.take(index)
                for other in visited(self.store, self._grids, theirs):
                    keep &= ~other.holds(points)
                continue
            here = found.wanted.copy()
            here[found.wanted] = keep
            made = tables(found.rows, keep, self._schemas)
            number = self.store.claim(
                Claim(self.name, found.start, found.stop, _intervals(found.start, ~here)), made["points"]
            )
            if number:
                self._own.add(number)
                self.store.commit(number, made, self._environment, found.work._asdict())
                self.computed += int(keep.sum())
                self.failed += made["failures"].num_rows
                self.work = self.work.plus(found.work)
                return

    def redo(self, claim: Claim) -> None:
        """Compute and commit exactly the points of a claim that was set aside."""
        self.commit(self.compute(plan.Chunk(claim.start, claim.stop), Intervals(claim.absent)))

    def complete(self, number: str, claim: Claim) -> None:
        """Publish what a dead writer of a claim did not come to."""
        index = np.arange(claim.start, claim.stop)
        index = index[~Intervals(claim.absent).contains(index)]
        rows, work = compute(self.sweep, self.grid, index, self._place)
        made = tables(rows, np.ones(len(index), dtype=bool), self._schemas)
        self.store.commit(number, made, self._environment, work._asdict())


def _intervals(start: int, mask: np.ndarray) -> tuple[tuple[int, int], ...]:
    """The stretches where the mask is true, as indices from `start` on."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return tuple((int(start + a), int(start + b)) for a, b in edges.reshape(-1, 2))
