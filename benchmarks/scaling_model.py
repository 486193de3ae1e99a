"""A simulation of many workers on one store, with everything that they share: cores, numbers, marks, files, bytes.

It follows `execute`, `Job` and `Queue` in `jepa_sweep/running` step by step, but keeps counts where they keep files.
Run on simulated time, their own code would take days: the workers of scaling.md look at 10^11 claims.
"""

import heapq
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar

from benchmarks.sweeps import SPEC
from jepa_sweep.running import plan
from jepa_sweep.spec.models import Sweep
from jepa_sweep.systems.shared import MOST_RUNS

PARTS, SHORTEST = 16, 0.01  # a thread's share of the cores is found anew for each part of its work, if that is so long
ENOUGH, MOST_EVENTS = 8, 1 << 16  # no simulation is cut off before so many commits, or else so many events
SEGMENTS = 10  # stretches of a grid that share no chunk: two objectives, five depths
CLAIM = 1 << 10  # bytes of a claim, at most

T = TypeVar("T")
Steps = Generator["float | Thread", None, T]  # what a thread does: it yields the time, or the thread, to wait for


class Method(NamedTuple):
    """Seconds of the processor that points take."""

    name: str
    each: float  # of computing, a point
    chunk: float  # of computing, a chunk
    write: float  # tables, encoding and hashing, a point
    bytes: float  # of a points file, a point
    threads: float  # cores that computing uses


class Costs(NamedTuple):
    """Seconds of the processor that everything else takes, as far as it matters."""

    start: float  # a worker: interpreter, imports, compiled programs from the cache
    look: float  # a look at the store (`Log.claims`), for each chunk that is there
    near: float  # `Job.compute` beside its look, for each chunk that is there
    record: float  # a commit record or claim that is new
    publish: float  # a file
    byte: float  # a byte of it
    footer: float  # a file whose footer is read when a store is opened to be read


class Shared(NamedTuple):
    """A place that holds stores: how long operations on files take, and how many it does in a second."""

    name: str
    latency: float = 0.0  # seconds an operation takes however idle the place is
    publish: int = 1  # operations that create a file
    sync: float = 0.0  # seconds more of each, for the disk
    read: int = 1  # operations that read one
    page: int = 1 << 30  # names that one operation lists
    writes: float = 1e12  # operations a second that change something
    reads: float = 1e12  # other operations a second
    bytes: float = 1e12  # a second
    stream: float = 1e12  # bytes a second of one worker

    def pages(self, names: int) -> int:
        """Operations that list so many names."""
        return max(1, -(-names // self.page))


class Setting(NamedTuple):
    """What is simulated."""

    workers: int
    chunks: int
    points: int  # of a chunk
    hand_out: str = "free"  # as `run` does; "shard" with --shard i/n; "driver" with one that hands out chunks
    cores: int = 2  # of a machine
    together: bool = False  # all workers on one machine, else one on each
    others: float = 0.0  # threads of other programs on a machine
    before: int = 0  # chunks in the store at the start, which all workers know already
    whole: bool = False  # what if: the file that takes a number has the points, as before format 2
    jitter: float = 0.1  # spread of times
    events: int = 1 << 62  # that are simulated, at most


class Thread:
    """One of the two threads of a worker."""

    def __init__(self, worker: int) -> None:
        self.worker = worker
        self.claims = self.commits = 0  # that it has seen, of those made in this simulation
        self.gone: set[int] = set()  # chunks that it has seen claims of, or that are its own
        self.busy = False
        self.waiting: list[Steps[None]] = []  # until it is no longer busy


class Simulation:
    """Workers on one store, each with a thread that computes and one that writes."""

    def __init__(self, method: Method, costs: Costs, shared: Shared, setting: Setting, seed: int = 0) -> None:
        self.method, self.costs, self.shared, self.setting = method, costs, shared, setting
        self.now, self.seconds, self.complete = 0.0, 0.0, False
        self.commits: list[tuple[float, int, int]] = []  # time, worker, chunk
        self.duplicates: list[float] = []  # when chunks were dropped that had been computed for nothing
        self.spent: dict[str, float] = defaultdict(float)  # seconds of the workers' threads, by cause
        self._events = 0  # pieces of work that have been begun
        self._ends: list[float] = []  # of workers
        self._random, self._order, self._handed_out = random.Random(seed), itertools.count(), itertools.count()
        self._waits: list[tuple[float, int, Steps[None]]] = []
        self._wanted: dict[int, float] = defaultdict(lambda: setting.others)  # machine -> cores that threads want
        self._free: dict[str, float] = defaultdict(float)  # when the place has done what it was asked, of each kind
        self._claims: list[tuple[int, int]] = []  # worker and chunk, in the order of their numbers
        self._open: set[int] = set()  # chunks that are claimed, but without a commit record
        self._marks: Counter[int | None] = Counter()
        self._file = setting.points * method.bytes
        self._encoding = setting.points * method.write + self._file * costs.byte
        self._claim = self._file if setting.whole else CLAIM

    def run(self) -> "Simulation":
        """Simulate until every worker has ended, or for as many events as the setting allows."""
        setting = self.setting
        for number in range(setting.workers):
            self._step(self._work(number))
        while self._waits and self._events < (setting.events if len(self.commits) >= ENOUGH else MOST_EVENTS):
            self.now, _, steps = heapq.heappop(self._waits)
            self._step(steps)
        self.seconds = self.commits[-1][0] if self.commits else 0.0
        self.spent["few chunks"] += sum(max(0.0, self.seconds - ended) for ended in self._ends)
        self.complete = len(self.commits) == setting.chunks and len(self._ends) == setting.workers
        return self

    def _step(self, steps: Steps[None]) -> None:
        """Let a thread go on to its next wait."""
        wait = next(steps, None)
        if isinstance(wait, Thread):
            wait.waiting.append(steps)
        elif wait is not None:
            heapq.heappush(self._waits, (wait, next(self._order), steps))

    def _do(
        self, thread: Thread, cause: str, seconds=0.0, threads=1.0, writes=0, reads=0, waits=0.0, data=0.0, sync=0.0
    ) -> Steps[None]:
        """Compute, then operate on files; `waits` of the operations follow each other. The time is added to `spent`."""
        machine, began = 0 if self.setting.together else thread.worker, self.now
        seconds *= self._random.lognormvariate(0, self.setting.jitter)
        self._wanted[machine] += threads
        part = max(SHORTEST, seconds / threads / PARTS)
        while seconds > 0:
            share = threads * self.setting.cores / max(self.setting.cores, self._wanted[machine])
            yield self.now + min(part, seconds / share)
            seconds -= part * share
        self._wanted[machine] -= threads
        self._events += 1
        alone = self.now + waits * self.shared.latency + sync + data / self.shared.stream
        busy = max(self._served("writes", writes), self._served("reads", reads))
        moved = self._served("bytes", data)
        if (end := max(alone, busy, moved)) > self.now:
            yield end
        self.spent[cause] += alone - began
        self.spent["bytes" if moved >= busy else "operations"] += end - alone

    def _served(self, kind: str, amount: float) -> float:
        """When the place will have done this too: it does everything in turn."""
        if not amount:
            return 0.0
        self._free[kind] = max(self._free[kind], self.now) + amount / getattr(self.shared, kind)
        return self._free[kind]

    def _publish(self, thread: Thread, cause: str, data: float = 0.0, seconds: float = 0.0) -> Steps[None]:
        """Create a file of so many bytes that takes so many seconds to make."""
        seconds, count, sync = seconds + self.costs.publish, self.shared.publish, self.shared.sync
        yield from self._do(thread, cause, seconds, writes=count, waits=count, data=data, sync=sync)

    def _look(self, thread: Thread, cause: str, near: float = 0.0, marks: int = 0) -> Steps[None]:
        """`Log.claims`: list two folders, and a third with marks; read new records, and claims that have none yet."""
        here, claims = self.setting.before + len(self._claims), {chunk for _, chunk in self._claims[thread.claims :]}
        unlisted = len(claims & self._open)
        new = len(self.commits) - thread.commits + unlisted
        thread.claims, thread.commits = len(self._claims), len(self.commits)
        thread.gone |= claims
        pages, read = 2 * self.shared.pages(here) + -(-marks // self.shared.page), new * self.shared.read
        waits, data = pages + -(-read // min(8, max(2, self.setting.cores))), unlisted * self._claim
        seconds = here * (self.costs.look + near) + new * self.costs.record + data * self.costs.byte
        yield from self._do(thread, cause, seconds, reads=pages + read, waits=waits, data=data)

    def _work(self, number: int) -> Steps[None]:
        """A worker, which writes one chunk while it computes the next, as `execute` does."""
        thread, writer = Thread(number), Thread(number)
        yield from self._do(thread, "start-up", self.costs.start, writes=20, reads=10, waits=30)
        while (chunk := (yield from self._next(thread))) is not None:
            yield from self._do(thread, "looking", writes=1, waits=1)
            self._marks[chunk] += 1
            yield from self._look(thread, "looking", self.costs.near)
            began, new = self.now, chunk not in thread.gone
            thread.gone.add(chunk)
            if new:
                seconds = self.method.chunk + self.setting.points * self.method.each
                yield from self._do(thread, "computing", seconds, self.method.threads)
            took = self.now - began
            if writer.busy:
                yield writer
            self._step(self._write(writer, chunk, thread.claims if new else None, took))
        if writer.busy:
            yield writer
        self._ends.append(self.now)

    def _next(self, thread: Thread) -> Steps[int | None]:
        """The first chunk that nobody is known to have stored or to be at; else the first that nobody has stored."""
        chunks, workers = self.setting.chunks, self.setting.workers
        if self.setting.hand_out == "driver":
            return chunk if (chunk := next(self._handed_out)) < chunks else None
        yield from self._look(thread, "looking", marks=workers)
        share = range(thread.worker, chunks, workers) if self.setting.hand_out == "shard" else range(chunks)
        left = (chunk for chunk in share if chunk not in thread.gone)
        first = next(left, None)
        return next((chunk for chunk in itertools.chain([first], left) if not self._marks[chunk]), first)

    def _write(self, thread: Thread, chunk: int, known: int | None, took: float) -> Steps[None]:
        """`Job.commit` of a chunk before which `known` claims had been seen; None if there was nothing to compute."""
        thread.busy = True
        if known is not None and (yield from self._take_number(thread, chunk, known, took)):
            if not self.setting.whole:
                yield from self._publish(thread, "writing", self._file, self._encoding)
            yield from self._do(thread, "writing", reads=2, waits=2)
            yield from self._publish(thread, "writing")
            self._open.remove(chunk)
            self.commits.append((self.now, thread.worker, chunk))
        yield from self._do(thread, "writing", writes=1, waits=1)
        self._marks[chunk] -= 1
        thread.busy = False
        while thread.waiting:
            self._step(thread.waiting.pop())

    def _take_number(self, thread: Thread, chunk: int, known: int, took: float) -> Steps[bool]:
        """Claim a chunk under the next number that is free; False if another worker has claimed it."""
        cause = "looking"
        while True:
            yield from self._look(thread, cause)
            theirs = any(worker != thread.worker for worker, _ in self._claims[known : thread.claims])
            known = thread.claims
            if chunk in thread.gone:
                self.duplicates.append(self.now)
                self.spent["computing"] -= took
                self.spent["duplicates"] += took
                return False
            if not theirs:  # else it looks again until nothing is new
                seconds = self._encoding if self.setting.whole else 0.0
                yield from self._publish(thread, "numbers", self._claim, seconds)
                if known == len(self._claims):
                    self._claims.append((thread.worker, chunk))
                    self._open.add(chunk)
                    return True
            cause = "numbers"


# --- predicting -------------------------------------------------------------------------------------------------------


class Prediction(NamedTuple):
    """What is predicted of a run."""

    rate: float  # points a second
    bottleneck: str  # what most of the time of the workers' threads goes into
    duplicates: float  # chunks computed for nothing, of those stored


def cut(method: Method, total: int) -> tuple[int, int]:
    """Number of chunks of a sweep, and points of each, as `plan` cuts it."""
    if method.name == "trained":
        return -(-total // MOST_RUNS), min(total, MOST_RUNS)
    grid: Any = SimpleNamespace(size=total)
    size = plan.points_per_chunk(Sweep.parse(SPEC.format(lam=1, method=method.name)), grid)
    chunks = SEGMENTS * -(-total // SEGMENTS // size)
    return chunks, total // chunks


def window(costs: Costs, shared: Shared, here: int = 0, looks: int = 1) -> float:
    """Seconds from a look in a store of so many chunks to the claim it allows: numbers are taken no faster.

    A writer that finds claims of others looks twice.
    """
    look = 2 * shared.pages(here) * shared.latency + here * costs.look
    return looks * look + costs.publish + shared.publish * shared.latency + shared.sync


def predict(method: Method, costs: Costs, shared: Shared, total: int, workers: int, seed=0, **more) -> Prediction:
    """Simulate a run as a whole, or if it is long, two stretches of it with some of the store there already."""
    chunks, points = cut(method, total)
    setting = Setting(workers, chunks, points, events=2000 + 30 * workers, **more)
    whole = Simulation(method, costs, shared, setting, seed).run()
    seconds, spent, duplicates = whole.seconds, whole.spent, len(whole.duplicates) / chunks
    if not whole.complete:
        began = whole.commits[0][0] if whole.commits else 0.0
        seconds, spent, duplicates = began, defaultdict(float, {"start-up": workers * began}), 0.0
        for filled in (0.2113, 0.7887):  # Gauss's two points
            here = setting._replace(before=int(filled * chunks))
            stretch = Simulation(method, costs, shared, here, seed).run()
            times = [when for when, _, _ in stretch.commits[len(stretch.commits) // 2 :]]
            if len(times) < 2:  # it hardly moves at all
                times = [began, stretch.now]
            took = chunks / 2 * (times[-1] - times[0]) / (len(times) - 1)
            seconds += took
            duplicates += sum(times[0] <= when <= times[-1] for when in stretch.duplicates) / (len(times) - 1) / 2
            for cause in stretch.spent.keys() - {"start-up"}:
                spent[cause] += stretch.spent[cause] * took / stretch.now
    spent["computing"] += spent.pop("writing", 0.0)
    worst = max(spent, key=lambda cause: spent[cause])
    if worst == "duplicates" and workers > chunks:
        worst = "few chunks"
    return Prediction(total / seconds, worst, duplicates)
