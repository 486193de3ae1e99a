"""A simulation of many workers on one store, with everything that they share: cores, numbers, marks, files, bytes.

It plays the protocol of `jepa_sweep/store/log.py` and the loop of `jepa_sweep/running/execute.py` step by step.
"""

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any, NamedTuple

from jepa_sweep.running import plan

MOST_EVENTS = 1 << 17  # of one simulation that is not run to its end
SEGMENTS = 10  # stretches of a grid that share no chunk: two objectives, five depths
CLAIM = 1 << 10  # bytes of a claim, at most


class Method(NamedTuple):
    """Seconds of the processor that points take."""

    name: str
    each: float  # of computing, a point
    chunk: float  # of computing, a chunk
    write: float  # tables, encoding and hashing, a point
    bytes: float  # of a points file, a point
    threads: float  # cores that computing uses


class Costs(NamedTuple):
    """Seconds of the processor that everything else takes."""

    start: float  # a worker: interpreter, imports, compiled programs from the cache
    look: float  # a look at the store (`Log.claims`), for each chunk that is there
    record: float  # for each commit record that is new
    near: float  # `Job.compute` beside its look, for each chunk that is there
    visit: float  # `visited` in `Job.commit`, for each claim of others that is new
    choose: float  # `Queue.look` beside its look, for each chunk that is there
    number: float  # `Writer.claim` beside its file, for each chunk that is there
    publish: float  # a file
    byte: float  # a byte of it
    footer: float  # a file whose footer is read when a store is opened to be read


class Shared(NamedTuple):
    """A place where stores lie."""

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
    others: float = 0.0  # threads of other programs there
    before: int = 0  # chunks in the store at the start, which all workers know already
    whole: bool = False  # what if: the file that takes a number has the points, as before format 2
    jitter: float = 0.1  # spread of times
    events: int = 1 << 62  # at most


class Outcome(NamedTuple):
    """What came of it."""

    commits: list[tuple[float, int, int]]  # time, worker, chunk
    seconds: float
    spent: dict[str, float]  # worker-seconds by cause
    duplicates: list[float]  # when chunks were dropped that had been computed for nothing
    complete: bool
    until: float  # time simulated


# --- simulating -------------------------------------------------------------------------------------------------------

Steps = Generator[tuple, None, None]  # ("cpu", seconds, threads, machine), ("at", time) or ("park", queue)


class Clock:
    """Events in order of time, and machines whose cores are shared fairly by all threads."""

    def __init__(self, setting: Setting) -> None:
        self.now, self._heap, self._count, self.steps = 0.0, list[tuple[float, int, Any, int]](), 0, 0
        self._cores, self._others, self._limit = setting.cores, setting.others, setting.events
        self._jobs: dict[int, list[list[Any]]] = defaultdict(list)  # machine -> [seconds left, threads, who]
        self._since: dict[int, tuple[float, float, int]] = defaultdict(lambda: (0.0, 1.0, 0))  # time, share, version

    def run(self) -> None:
        """Until nothing is left to happen."""
        while self._heap and self.steps < self._limit:
            self.now, _, who, version = heapq.heappop(self._heap)
            if isinstance(who, int):
                if self._since[who][2] == version:
                    self._turn(who)
            else:
                self.step(who)

    def step(self, who: Steps) -> None:
        """Let a thread go on to its next wait."""
        self.steps += 1
        for kind, *what in who:
            if kind == "cpu":
                seconds, threads, machine = what
                self._turn(machine, [seconds, threads, who])
            elif kind == "at":
                self._push(what[0], who)
            else:
                what[0].append(who)
            return

    def _push(self, when: float, who: Any, version: int = 0) -> None:
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, who, version))

    def _turn(self, machine: int, new: list[Any] | None = None) -> None:
        """Bring a machine up to now, and see which of its threads is the next to be done."""
        jobs, (since, share, version) = self._jobs[machine], self._since[machine]
        for one in jobs:
            one[0] -= (self.now - since) * share * one[1]
        ended = [] if new else [one for one in jobs if one[0] <= 1e-9]
        jobs[:] = [one for one in jobs if one not in ended] + ([new] if new else [])
        share = min(1.0, self._cores / max(1e-9, sum(one[1] for one in jobs) + self._others))
        self._since[machine] = (self.now, share, version + 1)
        if jobs:
            self._push(self.now + max(0.0, min(one[0] / one[1] for one in jobs)) / share, machine, version + 1)
        for one in ended:
            self.step(one[2])


class Queue:
    """Something that serves so much a second, in turn."""

    def __init__(self, rate: float) -> None:
        self._rate, self._free = rate, 0.0

    def done(self, now: float, amount: float) -> float:
        """When it has served this too."""
        self._free = max(self._free, now) + amount / self._rate
        return self._free


class Simulation:
    """Workers on one store, each with a thread that computes and one that writes."""

    def __init__(self, method: Method, costs: Costs, shared: Shared, setting: Setting, seed: int = 0) -> None:
        self.method, self.costs, self.shared, self.setting = method, costs, shared, setting
        self.clock, self._random = Clock(setting), random.Random(seed)
        self._writes, self._reads, self._bytes = Queue(shared.writes), Queue(shared.reads), Queue(shared.bytes)
        self.claimed: dict[int, int] = {}  # chunk -> its place in the order of numbers
        self._owners: list[int] = []  # of the numbers
        self.open: set[int] = set()  # places of claims without a commit record
        self.commits: list[tuple[float, int, int]] = []
        self.marks: Counter[int] = Counter()
        self.next = 0  # chunk that a driver hands out next
        self.spent: dict[str, float] = defaultdict(float)
        self.duplicates: list[float] = []
        self._ends: dict[int, float] = {}
        self._waiting: dict[int, tuple[float, dict[str, Any]]] = {}  # worker -> since when, and for what
        self._file = setting.points * method.bytes
        self._glance = self._file if setting.whole else CLAIM  # bytes read of a claim without a record
        self._readers = min(8, max(2, setting.cores))

    def run(self) -> Outcome:
        """Until all is done, or too much has happened."""
        for number in range(self.setting.workers):
            self.clock.step(self._worker(number))
        self.clock.run()
        for began, bill in self._waiting.values():  # where it was cut off
            self._blame(self.clock.now - began, bill)
        complete = len(self.commits) == self.setting.chunks and len(self._ends) == self.setting.workers
        end = max((when for when, _, _ in self.commits), default=0.0)
        for stopped in self._ends.values():
            self.spent["too few chunks"] += max(0.0, end - stopped)
        return Outcome(self.commits, end, dict(self.spent), self.duplicates, complete, self.clock.now)

    # Every piece of work yields its waits, and adds what it took to `bill`, by cause.

    def _cpu(self, seconds: float, worker: int, bill: dict[str, float], why: str, threads: float = 1.0) -> Steps:
        began, machine = self.clock.now, 0 if self.setting.together else worker
        if seconds > 0:
            yield "cpu", seconds * self._random.lognormvariate(0, self.setting.jitter), threads, machine
        bill[why] += self.clock.now - began

    def _files(self, bill: dict[str, float], why: str, writes=0.0, reads=0.0, waits=0.0, data=0.0, sync=0.0) -> Steps:
        """File operations, of which `waits` follow each other; longer where the place is busy."""
        now = self.clock.now
        alone = now + waits * self.shared.latency + sync + data / self.shared.stream
        busy = max(self._writes.done(now, writes) if writes else 0, self._reads.done(now, reads) if reads else 0)
        moved = self._bytes.done(now, data) if data else 0
        if (end := max(alone, busy, moved)) > now:
            yield "at", end
        bill[why] += min(alone, end) - now
        bill["bytes" if moved >= busy else "operations"] += end - min(alone, end)

    def _look(self, worker: int, log: list[int], bill: dict[str, float], why: str, choosing=False) -> Steps:
        """`Log.claims`: list two folders, read new records, and the claims that have none yet."""
        here, claims, committed = self.setting.before + len(self.claimed), len(self.claimed), len(self.commits)
        new, unlisted = committed - log[1], sum(n >= log[0] for n in self.open)
        log[:] = claims, committed
        pages = 2 * self.shared.pages(here) + (self.shared.pages(self.setting.workers) if choosing else 0)
        read = (new + unlisted) * self.shared.read
        waits = pages + -(-read // self._readers)
        yield from self._files(bill, why, reads=pages + read, waits=waits, data=unlisted * self._glance)
        seconds = here * (self.costs.look + (self.costs.choose if choosing else 0))
        seconds += (new + unlisted) * self.costs.record
        yield from self._cpu(seconds + unlisted * self._glance * self.costs.byte, worker, bill, why)

    def _worker(self, number: int) -> Steps:
        log, done, mine, parked = [0, 0], {"write": True}, set[int](), list[Steps]()
        store, first, hand_out = [0, 0], 0, self.setting.hand_out
        before = self.setting.before
        yield from self._cpu(self.costs.start, number, self.spent, "start-up")
        yield from self._files(self.spent, "start-up", writes=20, reads=10, waits=30)
        while True:
            if hand_out == "driver":
                chunk, self.next = self.next, self.next + 1
                if chunk >= self.setting.chunks:
                    break
            else:
                yield from self._look(number, log, self.spent, "looking", choosing=True)
                while first < self.setting.chunks and (self.claimed.get(first, 1 << 60) < log[0] or first in mine):
                    first += 1
                if (chunk := self._chosen(number, first, log[0], mine)) is None:
                    break
            mine.add(chunk)
            yield from self._files(self.spent, "looking", writes=1, waits=1)
            self.marks[chunk] += 1
            yield from self._look(number, log, self.spent, "looking")
            yield from self._cpu((before + log[0]) * self.costs.near, number, self.spent, "looking")
            wanted, began = self.claimed.get(chunk, 1 << 60) >= log[0], self.clock.now
            if wanted:
                seconds = self.method.chunk + self.setting.points * self.method.each
                yield from self._cpu(seconds, number, self.spent, "computing", self.method.threads)
            took, waiting = self.clock.now - began, self.clock.now
            if not done["write"]:
                self._waiting[number] = waiting, done
                yield "park", parked
                del self._waiting[number]
            self._blame(self.clock.now - waiting, done)
            done = defaultdict(float, write=False)
            known = log[0] if wanted else -1
            self.clock.step(self._writer(number, chunk, known, took, store, done, parked))
        waiting = self.clock.now
        if not done["write"]:
            yield "park", parked
        self._blame(self.clock.now - waiting, done)
        self._ends[number] = self.clock.now

    def _chosen(self, number: int, first: int, seen: int, mine: set[int]) -> int | None:
        """The first chunk that nobody is known to have stored or to be at; else the first that nobody has stored."""
        some, shard = None, self.setting.hand_out == "shard"
        for chunk in range(first, self.setting.chunks):
            if chunk in mine or self.claimed.get(chunk, 1 << 60) < seen:
                continue
            if shard and chunk % self.setting.workers != number:
                continue
            if not self.marks[chunk]:
                return chunk
            some = chunk if some is None else some
        return some

    def _blame(self, waited: float, bill: dict[str, Any]) -> None:
        """Waiting for a write is put down to what the write consisted of."""
        causes = {why: seconds for why, seconds in bill.items() if why != "write"}
        for why, seconds in causes.items():
            self.spent[why] += waited * seconds / max(sum(causes.values()), 1e-12)

    def _writer(
        self, number: int, chunk: int, known: int, took: float, store: list[int], bill: dict, parked: list[Steps]
    ) -> Steps:
        """`Job.commit` of a chunk before which `known` claims had been seen; -1 if there was nothing to compute."""
        stored, why, whole = known < 0, "looking", self.setting.whole
        encoding = self.setting.points * self.method.write + self._file * self.costs.byte
        publishing = {"writes": self.shared.publish, "waits": self.shared.publish, "sync": self.shared.sync}
        while not stored:
            yield from self._look(number, store, bill, why)
            theirs = sum(owner != number for owner in self._owners[known : store[0]])
            known = store[0]
            if theirs:  # it looks again until nothing is new
                yield from self._cpu(theirs * self.costs.visit, number, bill, why)
                if self.claimed.get(chunk, 1 << 60) < known:
                    self.duplicates.append(self.clock.now)
                    self.spent["computing"] -= took
                    self.spent["duplicates"] += took
                    break
                why = "numbers"
                continue
            attempt: dict[str, float] = defaultdict(float)
            seconds = self.costs.publish + (self.setting.before + known) * self.costs.number
            yield from self._cpu(seconds + (encoding if whole else 0), number, attempt, "writing")
            yield from self._files(attempt, "writing", data=self._file if whole else CLAIM, **publishing)
            if known == len(self.claimed):  # the number is free
                stored = True
                assert chunk not in self.claimed, "a chunk that was claimed is seen to be"
                self.open.add(len(self.claimed))
                self.claimed[chunk] = len(self.claimed)
                self._owners.append(number)
            else:
                attempt = {"numbers": sum(attempt.values())}
            why = "numbers"
            for cause, seconds in attempt.items():
                bill[cause] += seconds
        if stored and known >= 0:
            if not whole:
                yield from self._cpu(encoding + self.costs.publish, number, bill, "writing")
                yield from self._files(bill, "writing", data=self._file, **publishing)
            yield from self._files(bill, "writing", reads=2, waits=2)
            yield from self._cpu(self.costs.publish, number, bill, "writing")
            yield from self._files(bill, "writing", **publishing)
            self.open.discard(self.claimed[chunk])
            self.commits.append((self.clock.now, number, chunk))
        yield from self._files(bill, "writing", writes=1, waits=1)
        self.marks[chunk] -= 1
        bill["write"] = True
        while parked:
            self.clock.step(parked.pop())


# --- predicting -------------------------------------------------------------------------------------------------------


class Prediction(NamedTuple):
    """What a run comes to."""

    rate: float  # points a second
    bottleneck: str  # where most of the workers' time goes
    duplicates: float  # chunks computed for nothing, of those stored


def cut(method: Method, total: int) -> tuple[int, int]:
    """Number of chunks of a sweep, and points of each, as `plan` cuts it."""
    if method.name == "trained":
        return -(-total // plan.MOST_NETWORKS), min(total, plan.MOST_NETWORKS)
    measure = SimpleNamespace(trajectories=None)
    sweep: Any = SimpleNamespace(measure=measure, record=SimpleNamespace(layout="critical_times"))
    grid: Any = SimpleNamespace(size=total)
    chunks = SEGMENTS * -(-total // SEGMENTS // plan.points_per_chunk(sweep, grid))
    return chunks, total // chunks


def window(costs: Costs, shared: Shared, here: int = 0, looks: int = 1) -> float:
    """Seconds from a look in a store of so many chunks to the claim it allows: numbers are taken no faster.

    A writer that finds claims of others looks twice.
    """
    look = 2 * shared.pages(here) * shared.latency + here * costs.look
    return looks * look + here * costs.number + costs.publish + shared.publish * shared.latency + shared.sync


def predict(method: Method, costs: Costs, shared: Shared, total: int, workers: int, seed=0, **more) -> Prediction:
    """Simulate a run as a whole, or where that is long, stretches of it with some of the store there already."""
    chunks, points = cut(method, total)
    setting = Setting(workers, chunks, points, events=4000 + 60 * workers, **more)
    whole = Simulation(method, costs, shared, setting, seed).run()
    seconds, spent, duplicates = whole.seconds, defaultdict(float, whole.spent), len(whole.duplicates) / chunks
    if not whole.complete:
        began = whole.commits[0][0] if whole.commits else 0.0
        seconds, spent, duplicates = 0.0, defaultdict(float), 0.0
        for filled in (0.2113, 0.7887):  # Gauss's two points
            here = setting._replace(before=int(filled * chunks))
            stretch = Simulation(method, costs, shared, here, seed).run()
            while len(stretch.commits) < 8 and here.events < MOST_EVENTS:
                here = here._replace(events=2 * here.events)
                stretch = Simulation(method, costs, shared, here, seed).run()
            times = sorted(when for when, _, _ in stretch.commits)
            later = times[len(times) // 2 :]
            if len(later) < 2:  # it hardly moves at all
                later = [began, stretch.until]
            took = chunks / 2 * (later[-1] - later[0]) / (len(later) - 1)
            seconds += took
            duplicates += sum(later[0] <= when <= later[-1] for when in stretch.duplicates) / (len(later) - 1) / 2
            busy = {why: s for why, s in stretch.spent.items() if why not in ("start-up", "too few chunks")}
            for why, s in busy.items():
                spent[why] += workers * took * s / sum(busy.values())
        spent["start-up"] = workers * began
        seconds += began
    spent["computing"] += spent.pop("writing", 0.0)
    worst = max(spent, key=lambda why: spent[why])
    if worst == "duplicates" and workers > chunks:
        worst = "too few chunks"
    return Prediction(total / seconds, worst, duplicates)
