"""How far many workers on one store scale: a simulation from costs measured here, and a check against real workers.

    python benchmarks/scaling.py [--small]

takes a few minutes and writes the tables of benchmarks/scaling.md, unless `--small`. Exit code 1 if a prediction for 1,
2 or 4 local workers is off by more than a factor of 2, as may be where other programs take the cores. What is measured
is time of the processor, which they disturb least; `scaling_model.py` simulates the rest.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import cores, timed
from benchmarks.report import machine
from benchmarks.scaling_model import Costs, Prediction, Setting, Shared, Simulation, cut, predict
from benchmarks.sweeps import SPEC, command
from jepa_sweep.engine import devices
from jepa_sweep.running.job import Job
from jepa_sweep.running.limits import Shard
from jepa_sweep.running.opening import open_for
from jepa_sweep.spec.models import Sweep
from jepa_sweep.store import locate, records
from jepa_sweep.store.reader import Reader

PAGE = Path(__file__).with_name("scaling.md")
BAND = (0.5, 2.0)  # of predicted / measured
cpu_timed = partial(timed, clock=time.process_time)  # in seconds of the processor

# Assumed, not measured. NFS: a round trip and a commit to a server's disk take about 1 ms; publishing is create, write,
# commit, link, remove, and opening and committing the folder; reading is open, get, close; a reply lists about 500
# names; a good server does 20,000 operations a second, and 10 gigabits bring 1 GB a second.
NFS = Shared("NFS", 1e-3, publish=8, read=3, page=500, writes=20_000, reads=20_000, stream=1e9)
# S3: about 30 ms a request; 3,500 puts and 5,500 gets a second a prefix and 1,000 names a list request, as its manual
# says; one put moves about 100 MB a second.
S3 = Shared("S3", 0.03, publish=1, read=1, page=1000, writes=3500, reads=5500, stream=1e8)
POWERS = range(6, 12)  # of ten: how many points
CREWS = (  # how many workers, and how chunks are handed out to them
    *((workers, "free") for workers in (1, 2, 4, 8, 32, 128, 1024)),
    *((workers, hand_out) for hand_out in ("shard", "driver") for workers in (32, 1024)),
)


# --- measuring --------------------------------------------------------------------------------------------------------


def measured(method: str, lam: int, size: int, there: int, start: float) -> Costs:
    """What one worker costs that solves by a method; chunks of two sizes tell a chunk's cost from its points'."""
    text = SPEC.format(lam=lam, method=method)
    sweep = Sweep.parse(text)
    with tempfile.TemporaryDirectory() as folder:
        (few, _, _), (many, write, written) = (
            of_chunks(Job(sweep, text, open_for(sweep, f"{folder}/{points}"), "auto", points))
            for points in (size // 4, size)
        )
        each = max(0.0, many - few) / (size - size // 4)
        points = {"each": each, "chunk": many - each * size, "write": write / size, "bytes": written / size}
        return Costs(method, start=start, **points, **of_looks(Path(folder) / str(size), there))


def of_chunks(job: Job) -> tuple[float, float, float]:
    """Seconds to compute and to commit a chunk, and its bytes; means over the grid, since chunks differ."""
    chunks, seconds = list(job.queue(Shard()).left.values()), []
    with job:
        for chunk in (chunks.pop(0), chunks.pop()):  # compiles, for both objectives
            job.commit(job.compute(chunk))
        for chunk in chunks[:: len(chunks) // 10]:
            computing, found = cpu_timed(partial(job.compute, chunk))
            seconds.append((computing, cpu_timed(partial(job.commit, found))[0]))
    computing, committing = map(statistics.mean, zip(*seconds, strict=True))
    return computing, committing, statistics.mean(commit.bytes for commit in job.log.commits())


def of_looks(where: Path, there: int) -> dict[str, float]:
    """What looks at a store cost when so many more chunks are there, which are fabricated; and what a file costs."""
    record = json.loads((where / "commits/000001.json").read_bytes())
    del record["sha256"]
    points = record["claim"]["stop"] - record["claim"]["start"]
    for number in range(1001, 1001 + there):
        name, claim = f"{number:06d}", {**record["claim"], "start": number * points, "stop": (number + 1) * points}
        files = [{**file, "path": f"{file['path'].split('/')[0]}/{name}.parquet"} for file in record["files"]]
        fabricated = {**record, "number": name, "claim": claim, "files": files}
        (where / f"commits/{name}.json").write_bytes(records.sealed(fabricated))
        (where / f"claims/{name}.json").touch()
    log, folder = Reader(where).log, locate.at(where)
    first, _ = cpu_timed(log.claims)
    look = min(cpu_timed(log.claims)[0] for _ in range(5))
    publish = min(cpu_timed(partial(folder.publish, f"points/{number}", bytes(1000)))[0] for number in range(5))
    return {"look": look / there, "record": (first - look) / there, "publish": publish}


def observed(text: str, size: int, workers: int, cache: str) -> tuple[int, float]:
    """How many chunks so many real workers stored, and points a second in the later half, when all are at work."""
    kept = partial(command, cache=cache, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0")  # keeps all that it compiles
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as crew:
        spec, out = Path(folder) / "spec.toml", Path(folder) / "run"
        spec.write_text(text)
        words = ("run", str(spec), "--out", str(out), "--chunk-points", str(size))
        for run in [crew.submit(kept, *words) for _ in range(workers)]:
            run.result()
        commits = Reader(out).log.commits()
        assert len({(c.claim.start, c.claim.stop) for c in commits}) == len(commits), "each chunk once"
        times = sorted((out / f"commits/{c.number}.json").stat().st_mtime for c in commits)
        late = times[len(times) // 2 :]
        return len(times), size * (len(late) - 1) / (late[-1] - late[0])


def started(cache: str) -> float:
    """Seconds of the processor that a worker takes beside its chunks, its programs in the cache."""
    few = SPEC.format(lam=1, method="dopri8")
    observed(few, 1024, 1, cache)  # compiles
    before = sum(os.times()[2:4])  # of processes that have ended
    observed(few, 1024, 1, cache)
    return sum(os.times()[2:4]) - before


def check(costs: Costs, lam: int, size: int, workers: int, cache: str) -> tuple[str, int, int, float, float]:
    """Real workers against simulated ones: method, workers, chunks, points a second measured and predicted."""
    text = SPEC.format(lam=lam * (1 + workers) // 2, method=costs.method)
    chunks, measured = observed(text, size, workers, cache)
    setting = Setting(workers, chunks, size, cores=cores(), together=True)
    pace, _ = Simulation(costs, Shared("this machine"), setting).simulate().steady()
    return costs.method, workers, chunks, measured, size / pace


# --- the tables -------------------------------------------------------------------------------------------------------


def table(head: Sequence[str], body: list[list[str]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *body])


def matrix(ask: Callable[..., Prediction], crews: Sequence[tuple[int, str]], powers: Sequence[int]) -> str:
    """Points a second, efficiency, bottleneck and duplicates by workers and points."""
    alone = {power: ask(10**power, 1)[0] for power in powers}
    body = []
    for workers, hand_out in crews:
        row = [f"{workers:,}", hand_out]
        for power in powers:
            rate, bottleneck, duplicates = ask(10**power, workers, hand_out=hand_out)
            again = f", {duplicates:.0%} again" if duplicates >= 0.005 else ""
            row.append(f"{rate / 1e6:.3g} ({rate / workers / alone[power]:.0%}) {bottleneck}{again}")
        body.append(row)
    sizes = [f"10^{power} points in {cut('exact', 10**power)[0]:,} chunks" for power in powers]
    return table(["workers", "hand out", *sizes], body)


def main(small: bool = False) -> tuple[str, bool]:
    """The tables, and whether the check held; `small` only shows that the script runs."""
    methods, lam, size, there = (("exact",), 10, 1024, 200) if small else (("exact", "dopri8"), 640, 65536, 4000)
    real, crews, powers = ((1,), CREWS[:2], POWERS[:1]) if small else ((1, 2, 4), CREWS, POWERS)
    load, costs, checks = os.getloadavg()[1], [], []
    with tempfile.TemporaryDirectory() as folder:
        cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", folder)
        start = 3.0 if small else started(cache)
        for method in methods:
            costs.append(measured(method, lam, size, there, start))
            checks += [check(costs[-1], lam * 3 // 10, size // 4, workers, cache) for workers in real]
    held = all(BAND[0] <= predicted / measured <= BAND[1] for *_, measured, predicted in checks)
    parts = [
        "## Against real workers",
        f"`python benchmarks/scaling.py`, {time.strftime('%Y-%m-%d')}; measured on {machine()}. Other programs wanted "
        f"{load:.1f} cores in the five minutes before. Simulated workers have a machine of {cores()} such cores each.",
        table(
            ["method", "workers", "chunks", "measured points/s", "predicted points/s", "ratio"],
            [[m, str(w), str(c), f"{a:,.0f}", f"{b:,.0f}", f"{b / a:.2f}"] for m, w, c, a, b in checks],
        ),
        f"All ratios {'lie' if held else 'must lie, but do not,'} between {BAND[0]} and {BAND[1]}.",
        "## Measured here, in time of the processor",
        table(Costs._fields, [[each.method, *(f"{value:.3g}" for value in each[1:])] for each in costs]),
    ]
    for shared in (NFS, S3):
        facts = ", ".join(f"{name} {value:g}" for name, value in shared._asdict().items() if name != "name")
        parts.append(f"## {shared.name} (assumed, not measured: {facts})")
        for each in costs:
            ask = partial(predict, each, shared, cores=cores())
            parts += [f"{each.method}, millions of points a second:", matrix(ask, crews, powers)]
    return "\n\n".join(parts) + "\n", held


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="only show that the script runs; writes nothing")
    asked = parser.parse_args()
    devices.use_all_cores()
    tables, held = main(asked.small)
    print(tables)
    if not asked.small:
        PAGE.write_text(PAGE.read_text().partition("## Against real workers")[0] + tables)
        if not held:
            sys.exit("benchmarks/scaling.py: a prediction is further from what was measured than it may be")
