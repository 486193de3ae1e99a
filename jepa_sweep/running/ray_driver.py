"""A run on many machines: a driver hands chunks out to workers of a Ray cluster, which commit to the store themselves.

The driver holds no device and no results: it plans, and reads what was done from the store. Whatever dies, the store
is right at every moment, and the same command goes on from there.
"""

import contextlib
import functools
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

from jepa_sweep.errors import SpecError
from jepa_sweep.running import execute as local
from jepa_sweep.running import forecast, limits, plan
from jepa_sweep.running.execute import Progress, Report, default_path, load, open_for
from jepa_sweep.running.job import done
from jepa_sweep.running.plan import Chunk
from jepa_sweep.running.queue import Queue
from jepa_sweep.running.ray_workers import ACCELERATORS, AT_ONCE, MEND, Crew, Order, connected
from jepa_sweep.spec.grid import Grid
from jepa_sweep.spec.models import Sweep
from jepa_sweep.store import writers
from jepa_sweep.store.log import Log, Mark
from jepa_sweep.store.records import Claim
from jepa_sweep.systems.rows import Work

DEATHS = 3  # of workers that had the same chunk, before it is given up
LOOK = 1.0  # seconds between looks at other writers, and at whether to stop


def execute(
    spec: str | Path | Sweep,
    out: str | Path | None = None,
    *,
    cluster: str | None,
    device: str = "auto",
    chunk_points: int | None = None,
    shard: str | None = None,
    max_failures: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Report:
    """`execute.execute` on a Ray cluster; `stop` is asked every second.

    A worker has one accelerator, where the cluster has any for `device`; else all cores of a machine, or as many as
    JAX is set to use here (JAX_NUM_CPU_DEVICES=4). `compile_seconds` are those of the worker that compiled longest.

    Args:
        spec: as `jepa_sweep.run` takes it, as all arguments but these two.
        out: where the run lies, a place that all machines see.
        cluster: "ray" for the cluster that runs on this machine or else this machine alone; "ray:ADDRESS" for another;
            None for this process, without Ray.
        device: "auto", "cpu", "gpu" or "tpu".
        chunk_points: see there.
        shard: see there.
        max_failures: see there.
        progress: called after each chunk.
        stop: no chunk is begun after it has returned True.

    Raises:
        SpecError: the spec cannot be run, or there is no such cluster, or its machines do not see `out`.
        StorageError: the file system refused something to a worker.
    """
    if cluster is None:
        bounds = {"chunk_points": chunk_points, "shard": shard, "max_failures": max_failures}
        return local.execute(spec, out, device=device, progress=progress, stop=stop, **bounds)
    began, address = time.perf_counter(), _address(cluster)
    sweep, text = load(spec)
    if device not in ACCELERATORS:
        raise SpecError(
            f"`device` must be one of {', '.join(ACCELERATORS)} on a cluster, where each worker has one of its own, "
            f"but it is {device!r}."
        )
    size, mine, limit = limits.chunk_points(chunk_points), limits.shard(shard), limits.Failures(max_failures)
    store, grid = open_for(sweep, _absolute(out or default_path(sweep))), Grid(sweep)
    name, log = store.add_spec(text), store.reader.log
    chunks = plan.chunks(grid, done(store.reader, name), size or plan.points_per_chunk(sweep, grid))
    chunks = list(filter(mine.holds, chunks))
    chunks.sort(key=lambda chunk: -forecast.of(sweep, grid, chunk.indices).seconds)
    queue, tally = _Queue(grid, chunks, log, name), _Tally(log)

    def enough() -> str:
        return "it was asked to" if stop() else limit.exceeded(tally.failed, tally.computed)

    def told(repeated: int) -> None:
        for claim in tally.look():
            queue.stored(claim)  # its worker may be about to tell
        tally.repeated += repeated
        if progress:
            spent = time.perf_counter() - began - tally.work.compile_seconds
            progress(Progress(queue.done, queue.total, tally.computed, tally.failed, spent))

    stopped = ""
    if chunks or log.pending():
        with connected(address) as ray, _marked(log, name) as mark:
            order = Order(text, str(store.reader.path), device, chunk_points, mark, sys.argv)
            crew = Crew(ray, order, max(0, jax.config.values["jax_num_cpu_devices"]))
            tally.writers = crew.writers
            try:
                stopped = _drive(crew, queue, log, enough, told)
            finally:
                crew.dismiss()
                log.forget(crew.writers)  # who died could not
        told(0)  # with what they had stored
    stopped, spent = stopped or queue.trouble, time.perf_counter() - began
    counts = grid.unique, tally.computed, tally.failed, tally.repeated
    return Report(store.reader, *counts, stopped, spent, tally.work)


def _drive(crew: Crew, queue: "_Queue", log: Log, enough: Callable[[], str], told: Callable[[int], None]) -> str:
    """Have all chunks computed, then claims of the dead settled; returns why it ended before, if it did."""
    stopped, settled = "", False
    while True:
        if not stopped:
            queue.look()
            stopped = enough() or crew.recruit(len(queue.left) + crew.busy)
            if stopped:
                crew.quit()
            elif not (queue.left or crew.busy or settled):
                settled = True
                queue.left.update({(0, 0): MEND} if log.pending() else {})
        if (crew.lost and stopped) or not (crew.busy or (queue.left and not stopped)):
            return stopped
        for depth in range(0 if stopped else AT_ONCE):
            for member in crew.idle(depth):
                if chunk := queue.next(alone=depth == 0):
                    crew.give(member, chunk)
        ended = crew.wait(LOOK)
        for chunk, repeated, death in ended:
            if repeated is None:
                queue.back(chunk, death)
            else:
                queue.stored(chunk)
        if committed := [e.repeated for e in ended if e.repeated is not None]:
            told(sum(committed))


class _Queue(Queue):
    """The chunks still to be handed out, the most expensive first."""

    def __init__(self, grid: Grid, chunks: list[Chunk], log: Log, name: str) -> None:
        super().__init__(grid, chunks, log, name)
        self.trouble = ""  # why a chunk was given up
        self._deaths: Counter[Chunk] = Counter()
        self._next_look = 0.0

    def look(self) -> None:
        """As `Queue`, but only now and then."""
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK
            super().look()

    def next(self, alone: bool) -> Chunk | None:
        """The next chunk for a worker, which is `alone` with it or has another one.

        What was with a worker that died is only given to one that has nothing else, so that no other chunk is blamed.
        """
        return self.take(lambda chunk: alone or not self._deaths[chunk])

    def back(self, chunk: Chunk, death: str) -> None:
        """A chunk that was not committed goes to the end; if too many workers died of it, it is given up."""
        self._deaths[chunk] += bool(death)
        if self._deaths[chunk] < DEATHS:
            self.left[chunk.start, chunk.stop] = chunk
        else:
            what = f"the points {chunk.start:,} to {chunk.stop - 1:,}" if chunk != MEND else "what dead workers left"
            self.trouble = f"{what} were given up after {DEATHS} workers died of them: {death}"


class _Tally:
    """What our workers have committed, by the records: a worker may die before it can tell."""

    def __init__(self, log: Log) -> None:
        self.writers: set[str] = set()
        self.computed = self.failed = self.repeated = 0
        self._log, self._seen = log, set[str]()
        self._work: dict[str, Work] = {}  # writer -> of its chunks

    def look(self) -> list[Claim]:
        """Count what is new, and say which it is."""
        new = [c for c in self._log.commits() if c.claim.writer in self.writers and c.number not in self._seen]
        for commit in new:
            writer = commit.claim.writer
            self._seen.add(commit.number)
            self.computed += commit.rows("points") + commit.rows("failures")
            self.failed += commit.rows("failures")
            self._work[writer] = self._work.get(writer, Work()).plus(Work(**commit.work))
        return [commit.claim for commit in new]

    @property
    def work(self) -> Work:
        """Of all, but for the compiling, which workers do at the same time: of the one that took longest."""
        longest = max((work.compile_seconds for work in self._work.values()), default=0.0)
        return functools.reduce(Work.plus, self._work.values(), Work())._replace(compile_seconds=longest)


def _address(cluster: str) -> str:
    """The address in "ray:ADDRESS"; empty where none is named."""
    match = re.fullmatch(
        r"ray(?::(auto|(?:ray://)?[^\s/:\[\]]+:\d{1,5}|(?:ray://)?\[[0-9A-Fa-f:.]+\]:\d{1,5}))?", cluster
    )
    if not match:
        raise SpecError(
            "`cluster` must be ray, or ray:ADDRESS with an address like auto, 10.0.0.1:6379 or ray://host:10001, "
            f"but it is {cluster!r}."
        )
    return match[1] or ""


def _absolute(out: str | Path) -> str | Path:
    """Where the run lies, for processes that work elsewhere; a bucket is the same everywhere."""
    return out if "://" in str(out) else Path(out).absolute()


@contextlib.contextmanager
def _marked(log: Log, name: str) -> Iterator[Mark]:
    """A mark in the store, by which others can tell that they look into the same one."""
    writer = writers.enlist()
    mark = Mark(writer, name[:8], 0, 0)
    log.announce(mark)
    try:
        yield mark
    finally:
        log.withdraw(mark)
        writers.dismiss(writer)
