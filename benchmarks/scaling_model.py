"""A simulation of many workers on one store, with all that they share: cores, numbers, marks, operations on files.

It follows `local.compute`, `Queue` and `Job` in `jepa_sweep/running` step by step, but keeps counts where they keep
files. Run on simulated time, their own code would take days: the workers of scaling.md look at 10^11 claims.
"""

import itertools
import math
import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar

import simpy

from benchmarks.sweeps import SPEC
from jepa_sweep.spec.models import Sweep

PARTS, SHORTEST = 16, 0.01  # a thread's share of the cores is found anew for each part of its work, if that is so long
EVENTS, EVENTS_A_WORKER, ENOUGH = 20_000, 200, 8  # a simulation is cut off after so many, but not before 8 commits
FILLED = (0.2113, 0.7887)  # Gauss's two points: parts of the store that are there in stretches of a long run
SEGMENTS = 10  # stretches of a grid that share no chunk: two objectives, five depths

T = TypeVar("T")
Prediction = tuple[float, str, float]  # points a second, bottleneck, duplicates a chunk
Steps = Generator[simpy.Event, Any, T]  # what a thread does: it yields the events that it waits for


class Costs(NamedTuple):
    """Seconds of the processor that a worker takes which solves by some method."""

    method: str
    each: float  # of computing, a point
    chunk: float  # of computing, a chunk
    write: float  # tables, encoding and hashing, a point
    bytes: float  # of a points file, a point; not seconds
    start: float  # a worker: interpreter, imports, compiled programs from the cache
    look: float  # a look at the store (`Log.claims`), for each chunk that is there
    record: float  # a commit record or claim that is new
    publish: float  # a file


class Shared(NamedTuple):
    """A place that holds stores: how long operations on files take, and how many it does in a second."""

    name: str
    latency: float = 0.0  # seconds an operation takes however idle the place is
    publish: int = 1  # operations that create a file
    read: int = 1  # operations that read one
    page: int = 1 << 30  # names that one operation lists
    writes: float = 1e12  # operations a second that change something
    reads: float = 1e12  # other operations a second
    stream: float = 1e12  # bytes a second of one worker


class Setting(NamedTuple):
    """What is simulated."""

    workers: int
    chunks: int
    points: int  # of a chunk
    hand_out: str = "free"  # as `run` does; "shard" with --shard i/n; "driver" with one that hands out chunks
    cores: int = 2  # of a machine; computing uses all of them
    together: bool = False  # all workers on one machine, else one on each
    before: int = 0  # chunks in the store at the start, which all workers know already
    jitter: float = 0.1  # spread of times


class Thread:
    """One of the two threads of a worker, and what it has seen of the store."""

    def __init__(self, worker: int) -> None:
        self.worker = worker
        self.claims = 0  # how many of those made in this simulation
        self.gone: set[int] = set()  # chunks that it has seen claims of, or that are its own


class Simulation(simpy.Environment):
    """Workers on one store, each with a thread that computes and one that writes."""

    def __init__(self, costs: Costs, shared: Shared, setting: Setting, seed: int = 0) -> None:
        super().__init__()
        self.costs, self.shared, self.setting = costs, shared, setting
        self.commits: list[tuple[float, int]] = []  # time, chunk
        self.duplicates: list[float] = []  # when chunks were dropped that had been computed for nothing
        self.ended: list[float] = []  # when workers found no chunk left
        self.spent: dict[str, float] = defaultdict(float)  # seconds of the workers' threads, by cause
        self._random = random.Random(seed)
        self._handed_out = iter(range(setting.chunks))  # by the driver
        self._wanted: dict[int, float] = defaultdict(float)  # machine -> cores that threads want
        self._free: dict[str, float] = defaultdict(float)  # when the place has done what it was asked, of each kind
        self._claims: list[int] = []  # chunks, in the order of their numbers
        self._marks: Counter[int] = Counter()

    def simulate(self, events: float = math.inf) -> "Simulation":
        """Go on until every worker has ended, or for about so many events."""
        for number in range(self.setting.workers):
            self.process(self._work(number))
        done = itertools.count()
        while self.peek() < math.inf and (next(done) < events or len(self.commits) < ENOUGH):
            self.step()
        return self

    def steady(self) -> tuple[float, float]:
        """Seconds a chunk and duplicates a chunk, in the later half of what was simulated."""
        times = [when for when, _ in self.commits[len(self.commits) // 2 :]]
        duplicates = sum(times[0] < when <= times[-1] for when in self.duplicates)
        return (times[-1] - times[0]) / (len(times) - 1), duplicates / (len(times) - 1)

    def _compute(self, worker: int, cause: str, seconds: float, threads: int = 1) -> Steps[None]:
        """Use the cores of the worker's machine, which all threads on it share."""
        machine, began = 0 if self.setting.together else worker, self.now
        seconds *= self._random.lognormvariate(0, self.setting.jitter)
        self._wanted[machine] += threads
        part = max(SHORTEST, seconds / threads / PARTS)
        while seconds > 0:
            share = threads * min(1.0, self.setting.cores / self._wanted[machine])
            yield self.timeout(min(part, seconds / share))
            seconds -= part * share
        self._wanted[machine] -= threads
        self.spent[cause] += self.now - began

    def _operate(self, cause: str, kind: str, operations: int, in_turn: int = 0, data: float = 0.0) -> Steps[None]:
        """Wait for operations on files, each after the one before unless told; the place does one after the other."""
        alone = (in_turn or operations) * self.shared.latency + data / self.shared.stream
        self._free[kind] = max(self._free[kind], self.now) + operations / getattr(self.shared, kind)
        queued = max(0.0, self._free[kind] - self.now - alone)
        self.spent[cause] += alone
        self.spent["operations"] += queued
        yield self.timeout(alone + queued)

    def _publish(self, worker: int, cause: str, seconds: float = 0.0, data: float = 0.0) -> Steps[None]:
        """Create a file that takes so many seconds to make, and has so many bytes."""
        yield from self._compute(worker, cause, seconds + self.costs.publish)
        yield from self._operate(cause, "writes", self.shared.publish, data=data)

    def _look(self, thread: Thread, cause: str) -> Steps[None]:
        """`Log.claims`: list claims and commit records, and read new ones, once for both threads of a worker."""
        here, new = self.setting.before + len(self._claims), self._claims[thread.claims :]
        thread.claims = len(self._claims)
        thread.gone.update(new)
        pages, files = 2 * max(1, math.ceil(here / self.shared.page)), len(new)
        yield from self._compute(thread.worker, cause, here * self.costs.look + files * self.costs.record)
        read, side_by_side = files * self.shared.read, min(8, max(2, self.setting.cores))
        yield from self._operate(cause, "reads", pages + read, pages + math.ceil(read / side_by_side))

    def _mark(self, chunk: int, change: int) -> Steps[None]:
        """Tell the others that a worker begins with a chunk, or that it is done."""
        yield from self._operate("looking", "writes", 1)
        self._marks[chunk] += change

    def _work(self, number: int) -> Steps[None]:
        """A worker, which writes one chunk while it computes the next, as `local.compute` does."""
        thread, writer, written = Thread(number), Thread(number), self.timeout(0)
        yield from self._compute(number, "start-up", self.costs.start)
        yield from self._operate("start-up", "reads", 30)
        while (chunk := (yield from self._next(thread))) is not None:
            yield from self._mark(chunk, 1)
            yield from self._look(thread, "looking")
            if chunk in thread.gone:  # another worker has stored it meanwhile
                yield from self._mark(chunk, -1)
                continue
            thread.gone.add(chunk)
            began, seconds = self.now, self.costs.chunk + self.setting.points * self.costs.each
            yield from self._compute(number, "computing", seconds, self.setting.cores)
            took = self.now - began
            yield written
            written = self.process(self._write(writer, chunk, took))
        self.ended.append(self.now)

    def _next(self, thread: Thread) -> Steps[int | None]:
        """The first chunk that nobody is known to have stored or to be at; else the first that nobody has stored."""
        if self.setting.hand_out == "driver":
            return next(self._handed_out, None)
        yield from self._look(thread, "looking")
        yield from self._operate("looking", "reads", 1)  # lists the marks
        share = range(self.setting.chunks)
        if self.setting.hand_out == "shard":
            share = share[thread.worker :: self.setting.workers]
        first = next((chunk for chunk in share if chunk not in thread.gone), None)
        return next((chunk for chunk in share if chunk not in thread.gone and not self._marks[chunk]), first)

    def _write(self, thread: Thread, chunk: int, took: float) -> Steps[None]:
        """`Job.commit` of a chunk that took so long to compute."""
        if (yield from self._claim(thread, chunk)):
            data = self.setting.points * self.costs.bytes
            yield from self._publish(thread.worker, "computing", self.setting.points * self.costs.write, data)
            yield from self._operate("computing", "reads", 2)  # there are no files of the other two tables
            yield from self._publish(thread.worker, "computing")
            self.commits.append((self.now, chunk))
        else:
            self.duplicates.append(self.now)
            self.spent["computing"] -= took
            self.spent["duplicates"] += took
        yield from self._mark(chunk, -1)

    def _claim(self, thread: Thread, chunk: int) -> Steps[bool]:
        """Claim a chunk under the next number that is free; False if another worker has claimed it."""
        yield from self._look(thread, "looking")
        while chunk not in thread.gone:
            yield from self._publish(thread.worker, "numbers")
            if thread.claims == len(self._claims):
                self._claims.append(chunk)
                return True
            yield from self._look(thread, "numbers")
        return False


def cut(method: str, total: int) -> tuple[int, int]:
    """Number of chunks of a sweep, and points of each, as `plan` cuts it."""
    sweep = Sweep.parse(SPEC.format(lam=1, method=method))
    size = sweep.system.chunk(total, dict, sweep.measurement)
    chunks = SEGMENTS * math.ceil(total / SEGMENTS / size)
    return chunks, total // chunks


def predict(costs: Costs, shared: Shared, total: int, workers: int, seed: int = 0, **more: Any) -> Prediction:
    """Simulate a run as a whole, or if it is long, its start and two stretches of it.

    Returns points a second, what most of the threads' time goes into, and chunks computed for nothing, of those stored.
    """
    chunks, points = cut(costs.method, total)

    def simulated(before: int) -> Simulation:
        setting = Setting(workers, chunks, points, before=before, **more)
        return Simulation(costs, shared, setting, seed).simulate(EVENTS + EVENTS_A_WORKER * workers)

    run = simulated(0)
    seconds, spent, duplicates = run.commits[-1][0], run.spent, len(run.duplicates) / chunks
    spent["few chunks"] = sum(max(0.0, seconds - when) for when in run.ended)
    if len(run.commits) < chunks:
        stretches = [simulated(int(filled * chunks)) for filled in FILLED]
        paces, shares = zip(*(stretch.steady() for stretch in stretches), strict=True)
        seconds, duplicates = run.commits[0][0] + chunks * statistics.mean(paces), statistics.mean(shares)
        causes = spent.keys() - {"start-up", "few chunks"}
        spent = {cause: sum(stretch.spent[cause] for stretch in stretches) for cause in causes}
    return total / seconds, max(spent, key=lambda cause: spent[cause]), duplicates
