"""What a worker on a store costs, measured here; and real workers against simulated ones."""

import contextlib
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import common
from benchmarks.scaling_model import Costs, Method, Setting, Shared, Simulation
from benchmarks.sweeps import SPEC, command
from jepa_sweep.running.job import Job
from jepa_sweep.running.limits import Shard
from jepa_sweep.running.opening import open_for
from jepa_sweep.running.plan import Chunk
from jepa_sweep.spec.models import Sweep
from jepa_sweep.store import locate, records
from jepa_sweep.store.reader import Reader

T = TypeVar("T")

kept = partial(command, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0")  # all that it compiles is kept in the cache


def timed(call: Callable[..., T], *given: Any) -> tuple[float, T]:
    """Seconds of the processor it took, and what it gave."""
    began = time.process_time()
    out = call(*given)
    return time.process_time() - began, out


def least(call: Callable[..., Any], *given: Any) -> float:
    """Seconds of the processor that a call takes, undisturbed."""
    return min(timed(call, *given)[0] for _ in range(5))


@contextlib.contextmanager
def working(text: str, size: int) -> Iterator[Job]:
    """A job on a new store."""
    with tempfile.TemporaryDirectory() as folder:
        sweep = Sweep.parse(text)
        with Job(sweep, text, open_for(sweep, f"{folder}/run"), "auto", size) as work:
            yield work


def measured_method(name: str, text: str, size: int, threads: int, samples: int = 10) -> Method:
    """Chunks from all over the grid, and parts of them; means, since chunks differ in what they take."""
    with working(text, size) as work:
        chunks, few, measured = list(work.queue(Shard()).left.values()), max(1, size // 8), []
        work.commit(work.compute(chunks.pop()))  # compiles
        for chunk in (chunks[i * len(chunks) // samples] for i in range(samples)):
            short, _ = timed(work.compute, chunk._replace(stop=chunk.start + few))
            long, found = timed(work.compute, chunk)
            write, _ = timed(work.commit, found)
            measured.append((short, long, write))
        short, long, write = map(statistics.mean, zip(*measured, strict=True))
        each = min(max(0.0, long - short) / (size - few), long / size)
        written = statistics.mean(commit.bytes for commit in work.log.commits())
        return Method(name, each, long - each * size, write / size, written / size, threads)


def measured_costs(there: int, start: float) -> tuple[Costs, float]:
    """What looks cost in a store of so many chunks, fabricated; and seconds of the disk to make a file durable."""
    with working(SPEC.format(lam=there * 10 // 64 + 64, method="exact"), 1024) as work:
        chunks, where = list(work.queue(Shard()).left.values()), Path(work.store.reader.path)
        work.commit(work.compute(chunks[0]))
        footer, _ = timed(lambda: Reader(where).overview())
        record = json.loads((where / "commits/000001.json").read_bytes())
        del record["sha256"]
        for number, chunk in enumerate(chunks[1:there], 2):
            name, claim = f"{number:06d}", {**record["claim"], "start": chunk.start, "stop": chunk.stop}
            (where / f"commits/{name}.json").write_bytes(records.sealed({**record, "number": name, "claim": claim}))
            (where / f"claims/{name}.json").touch()
        store, folder, names = Reader(where).log, locate.at(where), itertools.count()
        first, look = timed(store.claims)[0], least(store.claims)

        def published(size: int) -> float:
            return timed(folder.publish, f"points/x{next(names)}", bytes(size))[0]

        files = [common.timed(lambda: published(1000)) for _ in range(8)]
        publish = min(seconds for _, seconds in files)
        near = least(work.compute, Chunk(chunks[0].start, chunks[0].start + 1)) - look  # a point that is there
        byte = (min(published(10**7) for _ in range(3)) - publish) / 10**7
        look, near, record = (max(0.0, seconds) / there for seconds in (look, near, first - look))
        return Costs(start, look, near, record, publish, byte, footer), min(wall - cpu for wall, cpu in files)


def started(cache: str) -> float:
    """Seconds of the processor that a worker takes beside its chunks, its programs in the cache."""
    with tempfile.TemporaryDirectory() as folder:
        spec, took = Path(folder) / "spec.toml", []
        spec.write_text(SPEC.format(lam=1, method="dopri8"))
        for number in range(3):
            before = sum(os.times()[2:4])  # of processes that have ended
            kept("run", str(spec), "--out", f"{folder}/{number}", "--chunk-points", "65536", cache=cache)
            took.append(sum(os.times()[2:4]) - before)
        return statistics.median(took[1:])


# --- against real workers ---------------------------------------------------------------------------------------------


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


def threads_of_others() -> float:
    """Threads that want a core now, but for this one and those of processes it has started; 0 without /proc."""
    try:
        running = int(Path("/proc/stat").read_text().split("procs_running ")[1].split()[0])
        pids = [pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]
        stats = [task / "stat" for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
        own = sum(stat.read_text().rpartition(")")[2].split()[0] == "R" for stat in stats)
    except (OSError, IndexError):
        return 0.0
    return max(0.0, running - own - 1)


def observed(text: str, size: int, workers: int, cache: str) -> tuple[float, float, int]:
    """Points a second of so many real workers, threads of others meanwhile, and how many chunks there were."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as crew:
        spec, out, others = Path(folder) / "spec.toml", Path(folder) / "run", []
        spec.write_text(text)
        words = ("run", str(spec), "--out", str(out), "--chunk-points", str(size))
        runs = [crew.submit(kept, *words, cache=cache) for _ in range(workers)]
        while not all(run.done() for run in runs):
            others.append((len(list(out.glob("commits/*"))), threads_of_others()))
            time.sleep(0.2)
        for run in runs:
            run.result()
        commits = Reader(out).log.commits()
        assert len({(c.claim.start, c.claim.stop) for c in commits}) == len(commits), "each chunk once"
        when = [(out / "commits" / f"{c.number}.json").stat().st_mtime for c in commits]
        done = [(t, c.claim.writer, c.rows("points")) for t, c in zip(when, commits, strict=True)]
        busy = [threads for chunks, threads in others if 0 < chunks < len(done)]
        return steady(done, workers), statistics.mean(busy or [0.0]), len(done)


def check(
    method: Method, costs: Costs, sync: float, lam: int, size: int, crews: tuple[int, ...], cache: str
) -> list[list[Any]]:
    """Real workers against simulated ones: threads of others, points/s of each, and predicted / measured."""
    out = []
    for workers in crews:
        text = SPEC.format(lam=lam * (1 + workers) // 2, method=method.name)
        measured, others, chunks = observed(text, size, workers, cache)
        setting = Setting(workers, chunks, size, cores=common.cores(), together=True, others=others)
        commits = Simulation(method, costs, Shared("this machine", sync=sync), setting).run().commits
        predicted = steady([(when, who, size) for when, who, _ in commits], workers)
        out.append([method.name, workers, chunks, others, measured, predicted, predicted / measured])
        print(*out[-1], file=sys.stderr, flush=True)
    return out
