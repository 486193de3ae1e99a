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
from jepa_sweep.running.job import Job
from jepa_sweep.running.plan import Chunk
from jepa_sweep.spec.models import Sweep, read_spec
from jepa_sweep.spec.replicates import replicates
from jepa_sweep.store import schema
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.writer import Writer
from jepa_sweep.systems.rows import Work, parameter_columns


class Progress(NamedTuple):
    """Where a run stands, after each chunk."""

    done: int  # points of this spec looked at so far, each counted once
    total: int  # points of this spec
    computed: int  # of them, by this run
    failed: int  # of those, without a result
    seconds: float  # of this run so far, without compiling


class Report(NamedTuple):
    """What a run came to."""

    store: Reader
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
    """Compute what is missing of a spec, as `jepa_sweep.run`; `stop` is asked before each chunk.

    One chunk is written while the next is computed, and no more than these two are held in memory.
    """
    sweep, text = load(spec)
    began = time.perf_counter()
    devices.pick(device)  # a device that is not there is refused before a directory is made
    size, mine, limit = limits.chunk_points(chunk_points), limits.shard(shard), limits.Failures(max_failures)
    store = open_for(sweep, out)
    recovery.finish(store, device, timeout_s=0)
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
    return Report(store.reader, *counts, stopped, time.perf_counter() - began, job.work)


def load(spec: str | Path | Sweep) -> tuple[Sweep, str]:
    """A sweep and the text to keep of it; warns of points that only seem to be independent."""
    if isinstance(spec, Sweep):
        sweep, text = spec, spec.to_toml()
    else:
        text = read_spec(spec)
        sweep = Sweep.parse(text, str(spec))
    for sentence in replicates(sweep):
        warnings.warn(sentence, SpecWarning, stacklevel=4)  # the line that called `run`
    return sweep, text


def default_path(sweep: Sweep) -> Path:
    """Where a sweep is stored unless another place is given."""
    return Path("runs") / sweep.name


def open_for(sweep: Sweep, out: str | Path | None) -> Writer:
    """The store of a sweep, created if need be."""
    parameters, tables, solver = parameter_columns(sweep.record), schema.LAYOUTS[sweep.record.layout], sweep.solver
    return Writer.create(out or default_path(sweep), sweep.frozen(), tables, parameters, solver.precision, solver.time)
