"""How far many workers on one store scale: a simulation from costs measured here, and a check against real workers.

    python benchmarks/scaling.py [--small] [--seed 0] [--nfs-latency 1e-3] [--s3-latency 0.03] [...]

takes a few minutes and writes benchmarks/scaling.md, unless `--small`. Exit code 1 if a prediction for 1, 2 or 4 local
workers is off by more than a factor of 2. What is measured is time of the processor, which other work on the machine
disturbs least; a simulation then plays the protocol of `jepa_sweep/store/log.py` and the loop of
`jepa_sweep/sweep/run.py` step by step, with everything that is shared: cores, numbers, marks, file operations, bytes.
"""

import argparse
import contextlib
import heapq
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import cores, release
from benchmarks.common import workers as processes
from benchmarks.sweeps import SPEC
from jepa_sweep.engine import devices
from jepa_sweep.store import place, records, table
from jepa_sweep.store.store import Store
from jepa_sweep.sweep import job, plan, rows
from jepa_sweep.sweep.job import Job
from jepa_sweep.sweep.run import open_for
from jepa_sweep.sweep.spec import Sweep

BAND = (0.5, 2.0)  # of predicted / measured
MOST_EVENTS = 1 << 17  # of one simulation that is not run to its end
SEGMENTS = 10  # stretches of a grid that share no chunk: two objectives, five depths
TRAINING = """name = "trained"
system = "training"
objective = "jepa"
[axes]
features = 16
L = 2
scale = 0.25
t_end = 20.0
eta = 0.02
seed = {{ linear = [0, {last}], num = {networks} }}
"""
T = TypeVar("T")


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
    visit: float  # `visited`, for each chunk that is there
    choose: float  # `Job.choose` beside its look, for each chunk that is there
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
    claims: str = "now"  # what if: "checked", a number is looked at again before a file is written, and of the files of
    # others only the end is read; "small", a claim is a small file of its own, and only it is repeated
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
        self._glance = self._file if setting.claims == "now" else 1 << 16  # bytes read of a claim without a record
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
        """`Log.claims`: list two folders, read new records, and points files of claims that have none yet."""
        here, claims, committed = self.setting.before + len(self.claimed), len(self.claimed), len(self.commits)
        new, unlisted = committed - log[1], sum(n >= log[0] for n in self.open)
        log[:] = claims, committed
        pages = 2 * -(-here // self.shared.page) + (-(-self.setting.workers // self.shared.page) if choosing else 0)
        read = (new + unlisted) * self.shared.read
        waits = pages + -(-read // self._readers)
        yield from self._files(bill, why, reads=pages + read, waits=waits, data=unlisted * self._glance)
        seconds = here * (self.costs.look + (self.costs.choose if choosing else 0)) + new * self.costs.record
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
            seconds = (before + log[0]) * self.costs.visit
            yield from self._cpu(seconds, number, self.spent, "looking")
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
        stored, why, small = known < 0, "looking", self.setting.claims == "small"
        encoding, size = self.setting.points * self.method.write + self._file * self.costs.byte, self._file
        publishing = {"writes": self.shared.publish, "waits": self.shared.publish, "sync": self.shared.sync}
        if small and not stored:
            yield from self._cpu(encoding + self.costs.publish, number, bill, "writing")
            yield from self._files(bill, "writing", data=size, **publishing)
            encoding, size = 0.0, 0.0
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
            yield from self._cpu(encoding + self.costs.publish, number, attempt, "writing")
            if self.setting.claims == "checked":
                yield from self._files(attempt, "writing", reads=1, waits=1)
            if self.setting.claims != "checked" or store[0] == len(self.claimed):
                yield from self._files(attempt, "writing", data=size, **publishing)
            if store[0] == len(self.claimed):  # the number is free
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


def window(method: Method, costs: Costs, shared: Shared, points: int) -> float:
    """Seconds from a look that finds a number free to the file that takes it: numbers are taken no faster."""
    size = points * method.bytes
    work = points * method.write + size * costs.byte + costs.publish
    return work + shared.publish * shared.latency + shared.sync + size / shared.stream


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


# --- measuring --------------------------------------------------------------------------------------------------------


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Seconds of the processor it took, and what it gave."""
    began = time.process_time()
    out = call()
    return time.process_time() - began, out


@contextlib.contextmanager
def working(text: str, size: int) -> Iterator[Job]:
    """A job on a new store."""
    with tempfile.TemporaryDirectory() as folder:
        sweep = Sweep.parse(text)
        with Job(sweep, text, open_for(sweep, f"{folder}/run"), "auto", size) as work:
            yield work


def measured_method(name: str, text: str, size: int, threads: int, samples: int = 10) -> Method:
    """Chunks from all over the grid, and parts of them."""
    with working(text, size) as work:
        chunks = work.chunks()
        chosen = [chunks[i * len(chunks) // samples] for i in range(samples)]
        schemas = {table_name: work.store.schema(table_name) for table_name in work.store.tables}
        work.compute(chosen[0])  # compiles
        whole, part, write, sizes = [], [], [], []
        for chunk in chosen:
            part.append(timed(lambda c=chunk: work.compute(c._replace(stop=c.start + max(1, size // 8))))[0])
            seconds, found = timed(lambda c=chunk: work.compute(c))
            whole.append(seconds)

            def encoded(rows_found=found) -> list[bytes]:
                made = rows.tables(rows_found.rows, np.ones(int(rows_found.wanted.sum()), bool), schemas)
                files = [table.encode(t, [q.name for q in work.store.parameters]) for t in made.values() if t.num_rows]
                return [data for data in files if table.listed("points/1", data, 1)]

            seconds, files = timed(encoded)
            write.append(seconds / size)
            sizes.append(sum(map(len, files)) / size)
        # Means, since chunks differ in what they take, and a run has them all.
        long, short = statistics.mean(whole), statistics.mean(part)
        each = max(0.0, long - short) / (size - max(1, size // 8))
        each = min(each, long / size)
        return Method(name, each, long - each * size, statistics.mean(write), statistics.mean(sizes), threads)


def measured_costs(there: int, start: float) -> tuple[Costs, float]:
    """What looks cost in a store of so many chunks, fabricated; and seconds of the disk to make a file durable."""
    text, size = SPEC.format(lam=there * 10 // 64 + 64, method="exact"), 1024
    with working(text, size) as work:
        chunks, where = work.chunks(), Path(work.store.path)
        work.commit(work.compute(chunks[0]))
        footer = timed(lambda: Store(where).digest())[0]
        record = json.loads((where / "commits/000001.json").read_bytes())
        del record["sha256"]
        for number, chunk in enumerate(chunks[1:there], 2):
            claim = {**record["claim"], "start": chunk.start, "stop": chunk.stop}
            name = f"{number:06d}"
            (where / f"commits/{name}.json").write_bytes(records.sealed({**record, "number": name, "claim": claim}))
            (where / f"points/{name}.parquet").touch()
        store, remaining = Store(where), {(c.start, c.stop): c for c in chunks[there:]}
        first, _ = timed(store.claims)
        look, claims = min((timed(store.claims) for _ in range(5)), key=lambda pair: pair[0])
        visit = min(timed(lambda: job.visited(store, {work.name: work.grid}, claims))[0] for _ in range(5))
        work.choose(remaining)
        choose = min(timed(lambda: work.choose(remaining))[0] for _ in range(5))
        folder, walls = place.at(where), []
        for n in range(8):
            began = time.perf_counter()
            seconds = timed(lambda name=f"points/x{n}": folder.publish(name, bytes(1000)))[0]
            walls.append((time.perf_counter() - began, seconds))
        large = min(timed(lambda name=f"points/y{n}": folder.publish(name, bytes(10**7)))[0] for n in range(3))
        small, sync = min(c for _, c in walls), min(w - c for w, c in walls)
        costs = Costs(
            start=start,
            look=look / there,
            record=(first - look) / there,
            visit=visit / there,
            choose=max(0.0, choose - look) / there,
            publish=small,
            byte=max(0.0, large - small) / 10**7,
            footer=footer,
        )
        return costs, sync


def started(cache: str) -> float:
    """Seconds of the processor that a worker takes beside its chunks, its programs in the cache."""
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "spec.toml"
        spec.write_text(SPEC.format(lam=1, method="dopri8"))
        took = []
        for number in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            _ended(_begun(spec, f"{folder}/{number}", 65536, cache))
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return statistics.median(took[1:])


# --- against real workers ---------------------------------------------------------------------------------------------


Worker = tuple[subprocess.Popen, IO[bytes]]  # a process, and what it says


def _begun(spec: Path, out: str, size: int, cache: str) -> Worker:
    words = ["run", str(spec), "--out", out, "--chunk-points", str(size), "--json"]
    environment = {
        **os.environ,
        "PYTHONFAULTHANDLER": "1",
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    program = [sys.executable, "-m", "jepa_sweep.cli", *words]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=said, env=environment)
        return process, os.fdopen(os.dup(said.fileno()), "rb")


def _ended(worker: Worker) -> None:
    process, said = worker
    code = process.wait()
    with said:
        said.seek(0)
        if code:
            raise RuntimeError(f"a worker ended with exit code {code}: {said.read()[-2000:].decode(errors='replace')}")


def steady(commits: list[tuple[float, Any, int]], workers: int) -> float:
    """Points a second from when all workers are at work to when the first runs out of chunks."""
    commits = sorted(commits, key=lambda commit: commit[0])
    firsts: dict[Any, int] = {}
    for number, (_, who, _) in enumerate(commits):
        firsts.setdefault(who, number)
    first, last = max(firsts.values()), len(commits) - workers
    if last - first < 5:
        first, last = 0, len(commits) - 1
    return sum(points for _, _, points in commits[first + 1 : last + 1]) / (commits[last][0] - commits[first][0])


def _threads_of_others(pids: list[int]) -> float:
    """Threads that want a core now and are not of these processes nor of this one."""
    try:
        running = int(Path("/proc/stat").read_text().split("procs_running ")[1].split()[0])
        files = [task / "stat" for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
        own = sum(file.read_text().rpartition(")")[2].split()[0] == "R" for file in files)
    except (OSError, IndexError):
        return 0.0
    return max(0.0, running - own - 1)


def observed(text: str, size: int, workers: int, cache: str) -> tuple[float, float, int]:
    """Points a second of so many real workers, threads of others meanwhile, and how many workers had chunks."""
    with tempfile.TemporaryDirectory() as folder:
        spec, out = Path(folder) / "spec.toml", Path(folder) / "run"
        spec.write_text(text)
        crew, others = [_begun(spec, str(out), size, cache) for _ in range(workers)], []
        while any(process.poll() is None for process, _ in crew):
            with contextlib.suppress(OSError):
                others.append((len(list(out.glob("commits/*"))), _threads_of_others([p.pid for p, _ in crew])))
            time.sleep(0.2)
        for worker in crew:
            _ended(worker)
        done = [(os.stat(out / "commits" / f"{c.number}.json").st_mtime, c.claim.writer, c.rows("points"))
                for c in Store(out).commits()]  # fmt: skip
        assert len({(c.claim.start, c.claim.stop) for c in Store(out).commits()}) == len(done), "each chunk once"
        busy = [threads for chunks, threads in others if 0 < chunks < len(done)]
        return steady(done, workers), statistics.mean(busy) if busy else 0.0, len(done)


def check(
    method: Method, costs: Costs, sync: float, lam: int, size: int, crews: tuple[int, ...], cache: str
) -> list[list[Any]]:
    """Real workers against simulated ones: workers, points/s of each, predicted / measured, threads of others."""
    out = []
    for workers in crews:
        text = SPEC.format(lam=lam * (1 + workers) // 2, method=method.name)
        measured, others, chunks = observed(text, size, workers, cache)
        setting = Setting(workers, chunks, size, cores=cores(), together=True, others=others)
        outcome = Simulation(method, costs, Shared("this machine", sync=sync), setting).run()
        predicted = steady([(when, who, size) for when, who, _ in outcome.commits], workers)
        out.append([method.name, workers, chunks, others, measured, predicted, predicted / measured])
        print(*out[-1], file=sys.stderr, flush=True)
    return out


# --- reporting --------------------------------------------------------------------------------------------------------

# Assumed, not measured. NFS: a round trip and a commit to a server's disk take about 1 ms; publishing is create, write,
# commit, link, remove, and opening and committing the folder; reading is open, get, close; a reply lists about 500
# names; a good server does 20,000 operations and, behind 10 gigabits, 1 GB a second.
NFS = Shared("NFS", 1e-3, publish=8, read=3, page=500, writes=20_000, reads=20_000, bytes=1e9, stream=1e9)
# S3: about 30 ms a request; 3,500 puts and 5,500 gets a second a prefix and 1,000 names a list request, as its manual
# says; one put moves about 100 MB a second; what many machines have in common, 10 GB a second.
S3 = Shared("S3", 0.03, publish=1, read=1, page=1000, writes=3500, reads=5500, bytes=1e10, stream=1e8)
# What a run in `--small` does not measure, in seconds of a processor of 2024.
NOMINAL = (
    Method("dopri8", 2e-6, 5e-3, 2.4e-7, 35, 2),
    Method("trained", 0.05, 0.05, 5e-5, 2000, 2),
)
SIZES = tuple(10**n for n in range(6, 12))
WORKERS = tuple(2**n for n in range(11))
CAUSES = {
    "computing": "computing",
    "numbers": "numbers",
    "looking": "looking",
    "operations": "operations",
    "bytes": "bytes",
    "start-up": "start-up",
    "duplicates": "duplicates",
    "too few chunks": "few chunks",
}


def lines(head: str, body: list[list[str]]) -> str:
    """A table in Markdown."""
    names = head.split(" | ")
    return "\n".join("| " + " | ".join(row) + " |" for row in [names, ["---"] * len(names), *body])


def rate(value: float) -> str:
    """Points a second, short."""
    unit, name = next(((u, n) for u, n in ((1e9, " G"), (1e6, " M"), (1e3, " k")) if value >= u), (1, ""))
    return f"{value / unit:.3g}{name}"


def several(calls: list[tuple[Any, ...]], alone: bool) -> list[Prediction]:
    """`predict` for each tuple of arguments, the last being options; on all cores unless `alone`."""
    if alone:
        return [predict(*call, **more) for *call, more in calls]
    pools = processes()
    futures = [pools[i % len(pools)].submit(predict, *call, **more) for i, (*call, more) in enumerate(calls)]
    return [future.result() for future in futures]


def matrix(
    method: Method, costs: Costs, shared: Shared, sizes: tuple[int, ...], workers: tuple[int, ...], seed: int
) -> str:
    """Points a second, efficiency and bottleneck by workers and points."""
    body, cells = [], [(crew, n) for crew in workers for n in sizes]
    calls = [(method, costs, shared, n, crew, seed, {}) for crew, n in cells]
    predicted = dict(zip(cells, several(calls, max(workers) < 32), strict=True))
    alone = {n: predicted[1, n].rate for n in sizes}
    for crew in workers:
        row = [f"{crew:,}"]
        for n in sizes:
            found = predicted[crew, n]
            again = f", {found.duplicates:.0%} again" if found.duplicates >= 0.005 else ""
            row.append(f"{rate(found.rate)} ({found.rate / crew / alone[n]:.0%}) {CAUSES[found.bottleneck]}{again}")
        body.append(row)
    return lines(" | ".join(["workers", *(f"10^{len(str(n)) - 1} points" for n in sizes)]), body)


def ways(method: Method, costs: Costs, shared: Shared, seed: int, crews: tuple[int, ...]) -> str:
    """The same run handed out in other ways."""
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("as `run` does", {}),
        ("`--shard i/n`", {"hand_out": "shard"}),
        ("a driver", {"hand_out": "driver"}),
        ("what if numbers were checked before writing", {"claims": "checked"}),
        ("what if claims were small files", {"claims": "small"}),
        ("the same, with a driver", {"claims": "small", "hand_out": "driver"}),
    ]
    body, cells = [], [(n, crew) for n in (10**8, 10**11) for crew in crews]
    calls = [(method, costs, shared, n, crew, seed, more) for _, more in kinds for n, crew in cells]
    predicted = iter(several(calls, max(crews) < 32))
    for name, _ in kinds:
        found = [next(predicted) for _ in cells]
        body.append([name, *(f"{rate(f.rate)} {CAUSES[f.bottleneck]}, {f.duplicates:.0%} again" for f in found)])
    return lines(" | ".join([shared.name, *(f"10^{e}, {crew} workers" for e in (8, 11) for crew in crews)]), body)


def main(small: bool = False, nfs: Shared = NFS, s3: Shared = S3, seed: int = 0) -> tuple[str, bool]:
    """The report, and whether the check held; `small` only shows that the script runs."""
    from benchmarks.report import machine

    sizes, crews = ((10**6, 10**8), (1, 4)) if small else (SIZES, WORKERS)
    few = crews if small else (1, 32, 1024)
    measured, checks = [], []
    with tempfile.TemporaryDirectory() as cache:
        count, size = (1, 1024) if small else (64, 65536)
        start = 3.0 if small else started(cache)
        costs, sync = measured_costs(200 if small else 4000, start)
        for name in ("exact",) if small else ("exact", "dopri8"):
            text = SPEC.format(lam=count * 10, method=name)
            method = measured_method(name, text, size, cores())
            lam, chunk = (8, 2048) if small else {"exact": (512, 32768), "dopri8": (128, 16384)}[name]
            checks += check(method, costs, sync, lam, chunk, (1,) if small else (1, 2, 4), cache)
            measured.append(method)
    if small:
        measured += NOMINAL
    else:
        text = TRAINING.format(last=1023, networks=1024)
        measured.append(measured_method("trained", text, plan.MOST_NETWORKS, cores(), samples=3))
    exact, dopri8, trained = measured
    most = cut(dopri8, 10**11)[0]
    held = all(BAND[0] <= row[-1] <= BAND[1] for row in checks)
    parts = [
        "# Many workers on one store",
        f"`python benchmarks/scaling.py`, {time.strftime('%Y-%m-%d')}; measured on {machine()}, while "
        f"{os.getloadavg()[1]:.0f} threads wanted them (load over five minutes). Simulated workers have a machine of "
        f"{cores()} such cores each.",
        READ,
        "## Against real workers",
        lines(
            "method | workers | chunks | threads of others | measured points/s | predicted points/s | ratio",
            [[m, str(w), str(c), f"{o:.1f}", f"{a:,.0f}", f"{b:,.0f}", f"{r:.2f}"] for m, w, c, o, a, b, r in checks],
        ),
        f"All ratios {'lie' if held else 'must lie, but do not,'} between {BAND[0]} and {BAND[1]}.",
        "## Measured here, in time of the processor",
        lines(
            "method | us a point | ms a chunk | us a point to encode | bytes a point | numbers, at most, NFS | S3",
            [
                [m.name, f"{m.each * 1e6:.3g}", f"{m.chunk * 1e3:.3g}", f"{m.write * 1e6:.3g}", f"{m.bytes:.3g}"]
                + [f"{rate(cut(m, 10**9)[1] / window(m, costs, s, cut(m, 10**9)[1]))} points/s" for s in (nfs, s3)]
                for m in measured
            ],
        ),
        f"A worker starts in {costs.start:.1f} s. For each chunk in the store, before each chunk: "
        f"{costs.look * 1e6:.1f} us a look (three of them), {costs.choose * 1e6:.1f} us to choose, "
        f"{costs.visit * 1e6:.1f} us to see what is stored; {costs.record * 1e6:.0f} us for each new record, twice. "
        f"A file takes {costs.publish * 1e3:.2f} ms and {costs.byte * 1e9:.2f} ns a byte, and the disk "
        f"{sync * 1e3:.2f} ms. Opening a store of n chunks for reading: {(costs.record + costs.look) * 1e3:.2f} ms n, "
        f"and its ranges {costs.footer * 1e3:.1f} ms n more: {(costs.record + costs.look) * most:.0f} s and "
        f"{costs.footer * most:.0f} s for 10^11 points.",
    ]
    for shared in (nfs, s3):
        facts = ", ".join(f"{name} {value:g}" for name, value in shared._asdict().items() if name != "name")
        parts += [
            f"## {shared.name} (assumed, not measured: {facts})",
            f"dopri8: points a second, efficiency against one worker, what takes most of the workers' time.\n\n"
            f"{matrix(dopri8, costs, shared, sizes, crews, seed)}",
            f"exact:\n\n{matrix(exact, costs, shared, sizes, few, seed)}",
            f"trained:\n\n{matrix(trained, costs, shared, sizes[:3], few, seed)}",
        ]
    parts += [
        "## Other ways to hand out chunks, dopri8",
        *(ways(dopri8, costs, s, seed, few[1:]) for s in (nfs, s3)[: 2 - small]),
    ]
    release()
    return "\n\n".join(parts) + "\n", held


READ = """How to read this: a cell says points a second, in brackets the efficiency against one worker on as many
points, what most of the workers' time goes into, and chunks that were computed again for nothing, as a share of those
stored. *computing* includes encoding and writing. *numbers*: a worker that finds its number taken looks, encodes and
writes again, so that the store grows by one chunk a look, an encoding and a put at a time, however many workers there
are. *looking*: listing and reading what others have stored, which grows with the number of chunks there. *operations*
and *bytes*: what the shared place does in a second. *few chunks*: nothing is left for some workers. Weak scaling is
read down a diagonal. Runs too long to be simulated as a whole are put together from stretches at 21 % and 79 % of them,
which hold few chunks where many workers get in each other's way: there the shares of chunks computed again are rough.

NFS and S3 are assumed, not measured; that a client of NFS may see an old listing for some seconds is left out. The
check compares rates between the moment at which all workers are at work and that at which the first runs out of
chunks; the simulation is told how many threads of other programs wanted the cores meanwhile."""


def _place(known: Shared) -> Callable[[str], Shared]:
    def changed(text: str) -> Shared:
        pairs = (pair.partition("=") for pair in text.split(","))
        return known._replace(**{name: float(value) for name, _, value in pairs})

    return changed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="only show that the script runs; writes nothing")
    parser.add_argument("--seed", type=int, default=0)
    for shared in (NFS, S3):
        help_ = f"what to assume in place of {', '.join(f'{k}={v:g}' for k, v in list(shared._asdict().items())[1:])}"
        parser.add_argument(f"--{shared.name.lower()}", type=_place(shared), default=shared, help=help_)
    asked = parser.parse_args()
    devices.use_all_cores()
    report, held = main(asked.small, asked.nfs, asked.s3, asked.seed)
    print(report)
    if not asked.small:
        Path(__file__).with_name("scaling.md").write_text(report)
    sys.exit(0 if held else "benchmarks/scaling.py: a prediction is further from what was measured than it may be")
