"""Plan to engine to store: run a spec, chunk after chunk."""

import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from jepa_sweep.engine import devices
from jepa_sweep.errors import SpecWarning
from jepa_sweep.running import limits, recovery
from jepa_sweep.running.compute import Work
from jepa_sweep.running.job import Job
from jepa_sweep.running.plan import Chunk
from jepa_sweep.spec.models import Sweep, read_spec
from jepa_sweep.spec.replicates import replicates
from jepa_sweep.store.store import Store


class Progress(NamedTuple):
    """Where a run stands, after each chunk."""

    done: int  # points of this spec looked at so far, each counted once
    total: int  # points of this spec
    computed: int  # of them, by this run
    failed: int  # of those, without a result
    seconds: float  # of this run so far, without compiling


class Report(NamedTuple):
    """What a run came to."""

    store: Store
    total: int  # points of the spec
    computed: int  # by this run
    failed: int  # of those, without a result
    repeated: int  # computed by this run, but stored by another writer meanwhile
    stopped: str  # why it ended before its end; empty where it did not
    seconds: float  # in all
    work: Work  # of the points computed

    @property
    def complete(self) -> bool:
        """True if nothing of it is left to do."""
        return not self.stopped

    @property
    def points_per_second(self) -> float | None:
        """From beginning to end, without compiling; None, as the other rates, where nothing was computed."""
        return self.computed / max(self.seconds - self.work.compile_seconds, 1e-9) if self.computed else None

    @property
    def steps_per_point(self) -> float | None:
        """Solver steps, accepted and rejected."""
        return self.work.steps / self.computed if self.computed else None

    @property
    def wasted(self) -> float | None:
        """The share of all lane steps in which a lane had nothing to do; None without lanes."""
        return 1 - self.work.steps / self.work.lane_steps if self.work.lane_steps else None

    def facts(self) -> dict[str, Any]:
        """All of it as one flat record."""
        own = self._asdict() | {"store": str(self.store.path)}
        rates = {name: getattr(self, name) for name in ("complete", "points_per_second", "steps_per_point", "wasted")}
        return {
            **{k: v for k, v in own.items() if k != "work"},
            **rates,
            **self.work._asdict(),
            "seconds": self.seconds,
            "peak_memory_bytes": self.work.peak_memory_bytes or None,
        }


def run(
    spec: str | Path | Sweep,
    out: str | Path | None = None,
    *,
    device: str = "auto",
    chunk_points: int | None = None,
    shard: str | None = None,
    max_failures: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Store:
    """Compute every point of a spec that is not in the store yet, and return the store.

    Args:
        spec: a spec file, or a `Sweep`.
        out: the run directory, or a place in a bucket like `s3://bucket/run`; `runs/<name>` by default. Running
            again continues or extends what is there.
        device: "auto", "cpu", "gpu" or "tpu".
        chunk_points: points that share one file; chosen from the size of the sweep by default.
        shard: "i/n" for every n-th chunk from the i-th on, counted from 0; all of them by default.
        max_failures: stop when more points than this have failed: a number, or a share of those computed like "5%".
        progress: called after each chunk.

    Returns:
        The open `Store`; read it with `.points()`, `.trajectories()`, `.failures()`.

    Raises:
        SpecError: the spec cannot be run, or its numbers do not belong into this store.
        StorageError: the file system refused something; what was committed before stays, and running again goes on.

    Warns:
        SpecWarning: several points give the same numbers, as seeds do that cannot matter.

    Example:
        >>> import tempfile, jepa_sweep as js
        >>> sweep = js.Sweep(name="tiny", axes={"lam": 1.0, "rho": [0.5, 1.0], "L": [1, 2], "eps": 1e-3})
        >>> store = js.run(sweep, out=tempfile.mkdtemp())
        >>> len(store.points())
        8
    """
    options = {"chunk_points": chunk_points, "shard": shard, "max_failures": max_failures}
    return execute(spec, out, device=device, progress=progress, **options).store


def execute(
    spec: str | Path | Sweep,
    out: str | Path | None = None,
    *,
    device: str = "auto",
    chunk_points: int | None = None,
    shard: str | None = None,
    max_failures: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Report:
    """`run` with a report; `stop` is asked before each chunk.

    One chunk is written while the next is computed, and no more than these two are held in memory.
    """
    sweep, text = load(spec)
    began = time.perf_counter()
    devices.pick(device)  # a device that is not there is refused before a directory is made
    size, mine, limit = limits.chunk_points(chunk_points), limits.shard(shard), limits.Failures(max_failures)
    store = open_for(sweep, out)
    recovery.finish(store, device, patience=0)
    with Job(sweep, text, store, device, size) as job, ThreadPoolExecutor(1, "writer") as writer:
        queue, stopped = job.queue(mine), ""
        writing: tuple[Chunk, Future[None]] | None = None

        def written() -> None:
            nonlocal writing
            if writing:
                (chunk, result), writing = writing, None
                result.result()
                queue.stored(chunk)
                if progress:
                    spent = time.perf_counter() - began - job.work.compile_seconds
                    progress(Progress(queue.done, queue.total, job.computed, job.failed, spent))

        for chunk in queue:
            stopped = "it was asked to" if stop() else limit.exceeded(job.failed, job.computed)
            if stopped:
                break
            computed = job.compute(chunk)
            written()
            writing = chunk, writer.submit(job.commit, computed)
        written()
    if not stopped:
        recovery.finish(store, device)
    counts = job.grid.unique, job.computed, job.failed, job.repeated
    return Report(store, *counts, stopped, time.perf_counter() - began, job.work)


def load(spec: str | Path | Sweep) -> tuple[Sweep, str]:
    """A sweep and the text to keep of it; warns of points that only seem to be independent."""
    if isinstance(spec, Sweep):
        sweep, text = spec, spec.to_toml()
    else:
        text = read_spec(spec)
        sweep = Sweep.parse(text, str(spec), beside=Path(spec).parent)
    for sentence in replicates(sweep):
        warnings.warn(sentence, SpecWarning, stacklevel=4)  # the line that called `run`
    return sweep, text


def default_path(sweep: Sweep) -> Path:
    """Where a sweep is stored unless another place is given."""
    return Path("runs") / sweep.name


def open_for(sweep: Sweep, out: str | Path | None) -> Store:
    """The store of a sweep, created if need be."""
    columns, solver = [q.column for q in sweep.record.parameters], sweep.solver
    return Store.create(
        out or default_path(sweep), sweep.frozen(), columns, solver.precision, solver.time, sweep.record.name
    )
