"""Plan to engine to store: run a spec, finish what an earlier run left, repair what is damaged."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jepa_sweep.engine import devices, lanes
from jepa_sweep.errors import IntegrityError, SpecError
from jepa_sweep.store import schema
from jepa_sweep.store.records import Claim
from jepa_sweep.store.store import Store
from jepa_sweep.sweep import plan, provenance
from jepa_sweep.sweep.compute import Rows, compute, parameter_columns, tables
from jepa_sweep.sweep.grid import Grid
from jepa_sweep.sweep.plan import Intervals, Visited
from jepa_sweep.sweep.spec import Sweep, read_spec


class Progress(NamedTuple):
    """Where a run stands, after each chunk."""

    done: int  # points of this spec looked at so far; points of several blocks count in each
    total: int
    computed: int  # of them, by this run
    failed: int  # of those, without a result
    seconds: float  # of this run so far, without compiling


class Report(NamedTuple):
    """What a run came to."""

    store: Store
    total: int  # points of the spec
    computed: int  # by this run
    failed: int  # of those, without a result
    complete: bool  # False if it was asked to stop before the end
    seconds: float  # in all
    compile_seconds: float
    points_per_second: float  # without compiling


def run(
    spec: str | Path | Sweep,
    out: str | Path | None = None,
    *,
    device: str = "auto",
    chunk_points: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Store:
    """Compute every point of a spec that is not in the store yet, and return the store.

    Args:
        spec: a spec file, or a `Sweep`.
        out: the run directory; `runs/<name>` by default. Running again continues or extends what is there.
        device: "auto", "cpu", "gpu" or "tpu".
        chunk_points: points that share one file; chosen from the size of the sweep by default.
        progress: called after each chunk.

    Returns:
        The open `Store`; read it with `.points()`, `.trajectories()`, `.failures()`.

    Raises:
        SpecError: the spec cannot be run, or its numbers do not belong into this store.
        StorageError: the file system refused something; what was committed before stays, and running again goes on.

    Example:
        >>> import tempfile, jepa_sweep as js
        >>> sweep = js.Sweep(name="tiny", axes={"lam": 1.0, "rho": [0.5, 1.0], "L": [1, 2], "eps": 1e-3})
        >>> store = js.run(sweep, out=tempfile.mkdtemp())
        >>> len(store.points())
        8
    """
    return execute(spec, out, device=device, chunk_points=chunk_points, progress=progress).store


def execute(
    spec: str | Path | Sweep,
    out: str | Path | None = None,
    *,
    device: str = "auto",
    chunk_points: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Report:
    """`run` with a report; `stop` is asked before each chunk."""
    sweep, text = load(spec)
    began, compiling = time.perf_counter(), lanes.Compiled.seconds
    devices.pick(device)  # a device that is not there is refused before a directory is made
    if chunk_points is not None and (not isinstance(chunk_points, int) or chunk_points < 1):
        raise SpecError(f"`chunk_points` must be a whole number, 1 or more, but it is {chunk_points!r}.")
    store = open_for(sweep, out)
    finish_pending(store, device)
    job = _Job(sweep, text, store, device, chunk_points)
    remaining = list(job.chunks())
    done = job.grid.size - sum(chunk.stop - chunk.start for chunk in remaining)
    complete = True
    for chunk in remaining:
        if stop():
            complete = False
            break
        job.do(chunk)
        done += chunk.stop - chunk.start
        if progress:
            spent = time.perf_counter() - began - (lanes.Compiled.seconds - compiling)
            progress(Progress(done, job.grid.size, job.computed, job.failed, spent))
    seconds, compiled = time.perf_counter() - began, lanes.Compiled.seconds - compiling
    rate = job.computed / max(seconds - compiled, 1e-9)
    return Report(store, job.grid.unique, job.computed, job.failed, complete, seconds, compiled, rate)


def load(spec: str | Path | Sweep) -> tuple[Sweep, str]:
    """A sweep and the text to keep of it."""
    if isinstance(spec, Sweep):
        return spec, spec.to_toml()
    text = read_spec(spec)
    return Sweep.parse(text, str(spec)), text


def default_path(sweep: Sweep) -> Path:
    """Where a sweep is stored unless another place is given."""
    return Path("runs") / sweep.name


def open_for(sweep: Sweep, out: str | Path | None) -> Store:
    """The store of a sweep, created if need be."""
    parameters = parameter_columns(next(iter(sweep.systems.values())))
    path = Path(out) if out else default_path(sweep)
    return Store.create(path, sweep.frozen(), parameters, sweep.solver.precision, sweep.solver.time)


def finish_pending(store: Store, device: str = "auto") -> None:
    """Complete the chunks whose writer died between publishing their points and their commit record."""
    for number, claim in store.pending().items():
        _of_spec(store, claim.spec, device).complete(number, claim)


def repair(store: Store, *, device: str = "auto") -> dict[str, list[str]]:
    """Set damaged chunks aside and compute exactly their points again.

    Returns:
        Number of each chunk that was damaged -> what was wrong with it. A chunk whose record and points are both
        unreadable is only set aside: nothing says any more which points it held, and running its spec again finds
        them missing.

    Raises:
        IntegrityError: a spec kept in the store is damaged.
    """
    store.make_folders()
    found = store.damage()
    claims = {number: store.claim_of(number) for number in found}
    for number in found:
        store.set_aside(number)
    finish_pending(store, device)
    for number, claim in claims.items():
        if claim is None:
            found[number].append("which points it held is lost; run its spec again to compute what is missing")
        else:
            _of_spec(store, claim.spec, device).redo(claim)
    return found


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


class _Job:
    """One spec at work on one store."""

    def __init__(self, sweep: Sweep, text: str, store: Store, device: str, chunk_points: int | None) -> None:
        self.sweep, self.store, self.device = sweep, store, device
        self.name = store.add_spec(text)
        self.grid = Grid(sweep)
        self.computed = self.failed = 0
        samples = sweep.measure.trajectories.samples if sweep.measure.trajectories else 0
        self._size = chunk_points or plan.points_per_chunk(self.grid, samples)
        longest = max((b - a for a, b in self.grid.segments()), default=1)
        self._width = lanes.width_for(min(self._size, longest))
        self._grids = {self.name: self.grid}
        self._schemas = {name: store.schema(name) for name in schema.TABLES}
        self._environment = store.add_environment(provenance.facts(devices.pick(device), sweep.solver.precision))

    def chunks(self) -> Iterator[plan.Chunk]:
        """What is left to do, at this moment."""
        return plan.chunks(self.grid, done(self.store, self.name), self._size)

    def do(self, chunk: plan.Chunk) -> None:
        """Compute and commit the points of a chunk that are not in the store."""
        known = self.store.claims()
        stored = visited(self.store, self._grids, known)
        self._commit(chunk.start, chunk.stop, plan.fresh(self.grid, chunk.indices, stored), known)

    def redo(self, claim: Claim) -> None:
        """Compute and commit exactly the points of a claim that was set aside."""
        known = self.store.claims()
        index = np.arange(claim.start, claim.stop)
        fresh = plan.fresh(self.grid, index, visited(self.store, self._grids, known))
        self._commit(claim.start, claim.stop, fresh & ~Intervals(claim.absent).contains(index), known)

    def complete(self, number: str, claim: Claim) -> None:
        """Publish what a dead writer of a claim did not come to."""
        index = np.arange(claim.start, claim.stop)
        index = index[~Intervals(claim.absent).contains(index)]
        rows, seconds = self._compute(index)
        made = tables(rows, np.ones(len(index), dtype=bool), self._schemas)
        self.store.commit(number, made, self._environment, seconds)

    def _compute(self, index: np.ndarray) -> tuple[dict[str, Rows], float]:
        began, compiling = time.perf_counter(), lanes.Compiled.seconds
        rows = compute(self.sweep, self.grid, index, self._width, self.device)
        return rows, time.perf_counter() - began - (lanes.Compiled.seconds - compiling)

    def _commit(self, start: int, stop: int, wanted: np.ndarray, known: dict[str, Claim]) -> None:
        """Compute the `wanted` points of [start, stop) and commit those that no claim beyond the `known` ones holds."""
        index = np.arange(start, stop)
        if not wanted.any():
            return
        rows, seconds = self._compute(index[wanted])
        keep = np.ones(int(wanted.sum()), dtype=bool)
        while keep.any():
            here = wanted.copy()
            here[wanted] = keep
            claim = Claim(self.name, start, stop, _intervals(start, ~here))
            made = tables(rows, keep, self._schemas)
            number = self.store.claim(claim, made["points"])
            if number:
                self.store.commit(number, made, self._environment, seconds)
                self.computed += int(keep.sum())
                self.failed += made["failures"].num_rows
                return
            # Another process took the number: leave out the points it has just claimed.
            theirs = {n: c for n, c in self.store.claims().items() if n not in known}
            known |= theirs
            points = self.grid.take(index[wanted])
            for other in visited(self.store, self._grids, theirs):
                keep &= ~other.holds(points)


def _of_spec(store: Store, name: str, device: str) -> _Job:
    """A job for a spec kept in the store."""
    specs = store.specs()
    if name not in specs:
        raise IntegrityError(f"{store.path} must keep every spec that was run, but {name[:8]} is missing.")
    return _Job(Sweep.parse(specs[name], f"a spec kept in {store.path}"), specs[name], store, device, None)


def _intervals(start: int, mask: np.ndarray) -> tuple[tuple[int, int], ...]:
    """The stretches where the mask is true, as indices from `start` on."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return tuple((int(start + a), int(start + b)) for a, b in edges.reshape(-1, 2))
