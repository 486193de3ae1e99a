"""One spec at work on one store: which points are new, computing them, committing them."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jepa_sweep.checks import said
from jepa_sweep.errors import IntegrityError, SpecError
from jepa_sweep.running import plan, provenance
from jepa_sweep.running.compute import compute
from jepa_sweep.running.limits import Shard
from jepa_sweep.running.plan import Chunk, Intervals, Visited
from jepa_sweep.running.queue import Queue
from jepa_sweep.spec.grid import Grid
from jepa_sweep.spec.models import Sweep
from jepa_sweep.spec.settings import tried_again
from jepa_sweep.store import writer_names
from jepa_sweep.store.location import REPAIR
from jepa_sweep.store.log import Mark
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.records import Claim, Work
from jepa_sweep.store.writer import Writer
from jepa_sweep.systems.rows import tables
from jepa_sweep.systems.system import Place, Rows, System


def visited(store: Reader, system: System, grids: dict[str, Grid], claims: dict[str, Claim]) -> dict[str, Visited]:
    """What some claims hold of each spec, by its digest; `grids` caches the grids of the store's specs."""
    if unknown := {claim.spec for claim in claims.values()} - grids.keys():
        grids |= {digest: Grid(kept(store, system, text)) for digest, text in store.specs_of(unknown).items()}
    present: dict[str, list[tuple[int, int]]] = {}
    for claim in claims.values():
        present.setdefault(claim.spec, []).extend(claim.pieces)
    for number, claim in claims.items():
        check_within(store, number, claim, grids[claim.spec])
    return {digest: Visited(grids[digest], Intervals(pieces)) for digest, pieces in present.items()}


def check_within(store: Reader, number: str, claim: Claim, grid: Grid) -> None:
    """Raise an `IntegrityError` if a claim is of points or settings that its spec cannot have."""

    def where() -> str:
        name = f"claims/{number}.json"  # the commit record holds the claim, too
        return store.location.where(name if store.location.exists(name) else f"commits/{number}.json")

    if claim.stop > grid.size:
        raise IntegrityError(
            f"{where()} is damaged: it claims points up to number {claim.stop:,}, but its spec has {grid.size:,}; "
            f"{REPAIR}."
        )
    if claim.solver:
        try:
            tried_again(grid.sweep.system, grid.sweep.measurement, dict(claim.solver))
        except SpecError as error:
            raise IntegrityError(
                f"{where()} is damaged: its solver must be one that can be used ({said(error)}); {REPAIR}."
            ) from None


def kept(store: Reader, system: System, text: str) -> Sweep:
    """The sweep of a spec kept in the store, by the method that the store's numbers were made by."""
    sweep = Sweep.parse(text, f"a spec kept in {store.path}", system=system)
    return sweep.by(store.frozen["solver"]["method"])


def done(claims: Mapping[str, Claim], digest: str) -> Intervals:
    """The indices of one spec that are claimed because of it; what others claimed for it is found by `plan.fresh`."""
    return Intervals(piece for claim in claims.values() if claim.spec == digest for piece in claim.pieces)


class Computed(NamedTuple):
    """The rows of some points, which are not claimed yet."""

    claim: Claim  # as it will be made, but for what is `absent`
    indices: np.ndarray  # of the points, sorted
    rows: dict[str, Rows]
    work: Work
    known: dict[str, Claim]  # claims looked at before computing


class Job:
    """One spec at work on one store, as one of perhaps many writers; close it when it will write no more.

    `compute` and `commit` may run in two threads: of what both use, the log looks in one thread at a time, and grids
    are complete once they are kept.
    """

    def __init__(
        self,
        sweep: Sweep,
        text: str,
        store: Writer,
        device: str,
        chunk_points: int | None = None,
        grid: Grid | None = None,
    ) -> None:
        """`grid` is that of the sweep, if it has been made already."""
        self.sweep, self.store, self.log = sweep, store, store.reader.log
        self.digest = store.add_spec(text)
        self.grid = grid or Grid(sweep)
        self.computed = self.failed = self.repeated = 0
        self.work = Work()
        self._size = chunk_points or plan.points_per_chunk(sweep, self.grid)
        longest = plan.longest_call(sweep, self.grid, self._size)
        self._place = Place(device, -(-longest // len(sweep.measure.p)))
        self._grids = {self.digest: self.grid}
        self._schemas = {name: store.reader.schema(name) for name in store.reader.tables}
        self.writer = writer_names.enlist()
        self._marks: set[Mark] = set()

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, *_: object) -> None:
        writer_names.dismiss(self.writer)
        for mark in self._marks:
            self.log.withdraw(mark)

    @functools.cached_property
    def _environment(self) -> str:
        """The name of the provenance of what is committed; kept in the store once there is something."""
        from jepa_sweep.engine import devices  # not at the top: a job with nothing left to do needs no JAX

        where = devices.pick(self._place.device)
        return self.store.add_environment(provenance.facts(where, self.sweep.solver.precision))

    def queue(self, mine: Shard) -> Queue:
        """What is left to do, at this moment, of a share of the chunks."""
        claims = self.log.claims()
        for number, claim in claims.items():
            if claim.spec == self.digest:
                check_within(self.store.reader, number, claim, self.grid)
        chunks = plan.chunks(self.sweep, self.grid, done(claims, self.digest), self._size)
        return Queue(self.grid, filter(mine.holds, chunks), self.log, self.digest, self.writer)

    # --- computing and committing -------------------------------------------------------------------------------------

    def compute(self, chunk: Chunk, absent: Intervals | None = None) -> Computed:
        """Compute the points of a chunk that are not in the store, leaving out the `absent` ones."""
        claim = Claim(self.digest, chunk.start, chunk.stop, writer=self.writer)
        self._announce(claim)
        known = self.log.claims()
        near = {number: c for number, c in known.items() if c.spec != self.digest or c.meets(claim)}
        stored = visited(self.store.reader, self.sweep.system, self._grids, near).values()
        wanted = plan.fresh(self.grid, chunk.indices, stored)
        if absent:
            wanted &= ~absent.contains(chunk.indices)
        return self._computed(claim, chunk.indices[wanted], known)

    def again(
        self, index: np.ndarray, attempt: int, solver: tuple[tuple[str, Any], ...], known: dict[str, Claim]
    ) -> Computed:
        """Compute points that have failed once more: sorted indices, and the claims looked at to choose them."""
        start, stop = int(index[0]), int(index[-1]) + 1
        claim = Claim(self.digest, start, stop, solver=solver, writer=self.writer, attempt=attempt)
        self._announce(claim)
        return self._computed(claim, index, known)

    def commit(self, found: Computed) -> None:
        """Commit what was computed, but for points that another writer has claimed meanwhile."""
        keep, known, claim, number = np.ones(len(found.indices), dtype=bool), dict(found.known), found.claim, None
        while number is None and keep.any():
            claims = self.log.claims()
            theirs = {n: c for n, c in claims.items() if n not in known and c.writer != self.writer}
            known |= theirs
            if theirs:
                stored = visited(self.store.reader, self.sweep.system, self._grids, theirs).values()
                keep &= plan.fresh(self.grid, found.indices, stored)
            claim = claim._replace(absent=_gaps(claim.start, claim.stop, found.indices[keep]))
            number = self.store.claim(claim, claims) if keep.any() else None
        if number:
            self.failed += self._publish(number, claim, found, keep)
            self.computed += int(keep.sum())
            self.work = self.work.plus(found.work)
        self.repeated += int((~keep).sum())
        mark = Mark.of(found.claim)
        self.log.withdraw(mark)
        self._marks.discard(mark)

    def complete(self, number: str, claim: Claim) -> None:
        """Compute and commit what a dead writer has claimed."""
        self.log.hold(number, claim)
        index = np.arange(claim.start, claim.stop)
        found = self._computed(claim, index[~Intervals(claim.absent).contains(index)], {})
        self._publish(number, claim, found, np.ones(len(found.indices), dtype=bool))

    def _announce(self, claim: Claim) -> None:
        self._marks.add(Mark.of(claim))
        self.log.announce(Mark.of(claim))

    def _computed(self, claim: Claim, index: np.ndarray, known: dict[str, Claim]) -> Computed:
        rows, work = dict[str, Rows](), Work()
        if len(index):
            measurement = self.sweep.measurement.again(**dict(claim.solver))
            rows, work = compute(self.sweep.system, self.grid, index, measurement, self._place)
            failures = rows["failures"]
            attempts = np.full(len(failures.owner), claim.attempt)
            rows["failures"] = failures._replace(columns=failures.columns | {"try": attempts})
        return Computed(claim, index, rows, work, known)

    def _publish(self, number: str, claim: Claim, found: Computed, keep: np.ndarray) -> int:
        """Commit a chunk that is claimed; returns how many of its points failed."""
        made = tables(self.sweep.system, found.rows, keep, self._schemas)
        self.store.commit(number, claim, made, self._environment, found.work)
        return made["failures"].num_rows


def _gaps(start: int, stop: int, index: np.ndarray) -> tuple[tuple[int, int], ...]:
    """The stretches of [start, stop) that are not among the indices."""
    if len(index) == stop - start:
        return ()
    missing = np.ones(stop - start, dtype=np.int8)
    missing[index - start] = 0
    edges = start + np.flatnonzero(np.diff(missing, prepend=0, append=0))
    return tuple((int(a), int(b)) for a, b in edges.reshape(-1, 2))
