"""What a worker on a store costs, measured here; and real workers against simulated ones."""

import contextlib
import inspect
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from benchmarks.common import cores
from benchmarks.scaling_model import Costs, Method, Setting, Shared, Simulation
from benchmarks.sweeps import SPEC
from jepa_sweep.running import job
from jepa_sweep.running.job import Job
from jepa_sweep.running.limits import Shard
from jepa_sweep.running.opening import open_for
from jepa_sweep.running.plan import Chunk
from jepa_sweep.running.queue import Queue
from jepa_sweep.spec.models import Sweep
from jepa_sweep.store import locate, records, table
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.writer import Writer
from jepa_sweep.systems import rows

T = TypeVar("T")


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
        chunks = list(work.queue(Shard()).left.values())
        chosen = [chunks[i * len(chunks) // samples] for i in range(samples)]
        schemas = {table_name: work.store.reader.schema(table_name) for table_name in work.store.reader.tables}
        work.compute(chosen[0])  # compiles
        whole, part, write, sizes = [], [], [], []
        for chunk in chosen:
            part.append(timed(lambda c=chunk: work.compute(c._replace(stop=c.start + max(1, size // 8))))[0])
            seconds, found = timed(lambda c=chunk: work.compute(c))
            whole.append(seconds)

            def encoded(rows_found=found) -> list[bytes]:
                made = rows.tables(rows_found.rows, np.ones(len(rows_found.indices), bool), schemas)
                files = [table.encode(t, work.store.reader.manifest.parameters) for t in made.values() if t.num_rows]
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
        chunks, where = list(work.queue(Shard()).left.values()), Path(work.store.reader.path)
        work.commit(work.compute(chunks[0]))
        footer = timed(lambda: Reader(where).overview())[0]
        record = json.loads((where / "commits/000001.json").read_bytes())
        del record["sha256"]
        for number, chunk in enumerate(chunks[1:there], 2):
            claim = {**record["claim"], "start": chunk.start, "stop": chunk.stop}
            name = f"{number:06d}"
            (where / f"commits/{name}.json").write_bytes(records.sealed({**record, "number": name, "claim": claim}))
            (where / f"claims/{name}.json").touch()
        store, queue = Reader(where), Queue(work.grid, chunks[there:], Reader(where).log, work.name, work.writer)
        first, _ = timed(store.log.claims)
        look, claims = min((timed(store.log.claims) for _ in range(5)), key=lambda pair: pair[0])
        nothing = Chunk(chunks[0].start, chunks[0].start + 1)  # a point that is there: it looks, and computes nothing
        work.compute(nothing)
        near = min(timed(lambda: work.compute(nothing))[0] for _ in range(5))
        visit = min(timed(lambda: job.visited(store, {work.name: work.grid}, claims))[0] for _ in range(5))
        queue.look()
        choose = min(timed(queue.look)[0] for _ in range(5))
        first_claim = claims["000001"]
        number = min(timed(lambda: Writer(store).claim(first_claim))[0] for _ in range(5))
        folder, walls = locate.at(where), []
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
            near=max(0.0, near - look) / there,
            visit=visit / there,
            choose=max(0.0, choose - look) / there,
            number=max(0.0, number - small) / there,
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


def end_with(parent: int) -> None:
    """End this process when its parent is no more."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _begun(spec: Path, out: str, size: int, cache: str) -> Worker:
    words = ["run", str(spec), "--out", out, "--chunk-points", str(size), "--json"]
    environment = {
        "PYTHONFAULTHANDLER": "1",
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        **os.environ,
    }
    text = f"""import os, sys, threading, time
{inspect.getsource(end_with)}
end_with({os.getpid()})
from jepa_sweep.cli import main
main()"""
    program = [sys.executable, "-c", text, *words]
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
                for c in Reader(out).log.commits()]  # fmt: skip
        assert len({(c.claim.start, c.claim.stop) for c in Reader(out).log.commits()}) == len(done), "each chunk once"
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
