"""How far many workers on one store scale: a simulation from costs measured here, and a check against real workers.

    python benchmarks/scaling.py [--small] [--seed 0] [--nfs latency=1e-3,...] [--s3 latency=0.03,...]

takes a few minutes and writes the tables of benchmarks/scaling.md, unless `--small`. Exit code 1 if a prediction for 1,
2 or 4 local workers is off by more than a factor of 2. `scaling_measure.py` measures time of the processor, which other
work on the machine disturbs least; `scaling_model.py` simulates the rest.
"""

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import cores, release, workers
from benchmarks.report import machine
from benchmarks.scaling_measure import check, measured_costs, measured_method, started
from benchmarks.scaling_model import Prediction, Shared, cut, predict, window
from benchmarks.sweeps import SPEC
from jepa_sweep.engine import devices
from jepa_sweep.systems.shared import MOST_RUNS

PAGE = Path(__file__).with_name("scaling.md")
BAND = (0.5, 2.0)  # of predicted / measured
TRAINING = """name = "trained"
system = "training"
objective = "jepa"
[axes]
features = 16
L = 2
scale = 0.25
t_end = 20.0
eta = 0.02
seed = { linear = [0, 1023], num = 1024 }
"""

# Assumed, not measured. NFS: a round trip and a commit to a server's disk take about 1 ms; publishing is create, write,
# commit, link, remove, and opening and committing the folder; reading is open, get, close; a reply lists about 500
# names; a good server does 20,000 operations and, behind 10 gigabits, 1 GB a second.
NFS = Shared("NFS", 1e-3, publish=8, read=3, page=500, writes=20_000, reads=20_000, bytes=1e9, stream=1e9)
# S3: about 30 ms a request; 3,500 puts and 5,500 gets a second a prefix and 1,000 names a list request, as its manual
# says; one put moves about 100 MB a second; what many machines have in common, 10 GB a second.
S3 = Shared("S3", 0.03, publish=1, read=1, page=1000, writes=3500, reads=5500, bytes=1e10, stream=1e8)
SIZES = tuple(10**n for n in range(6, 12))
WORKERS = (1, 2, 4, 8, 32, 128, 1024)
WAYS: dict[str, dict[str, Any]] = {
    "as `run` does": {},
    "`--shard i/n`": {"hand_out": "shard"},
    "a driver": {"hand_out": "driver"},
    "if the file of the points took the number": {"whole": True},
}


def lines(head: str, body: list[list[str]]) -> str:
    """A table in Markdown."""
    names = head.split(" | ")
    return "\n".join("| " + " | ".join(row) + " |" for row in [names, ["---"] * len(names), *body])


def rate(value: float) -> str:
    """Points a second, short."""
    unit, name = next(((u, n) for u, n in ((1e9, " G"), (1e6, " M"), (1e3, " k")) if value >= u), (1, ""))
    return f"{value / unit:.3g}{name}"


def power(number: int) -> str:
    """A power of ten."""
    return f"10^{len(str(number)) - 1}"


def cell(found: Prediction, efficiency: str = "") -> str:
    """What is said of one prediction."""
    again = f", {found.duplicates:.0%} again" if found.duplicates >= 0.005 else ""
    return f"{rate(found.rate)}{efficiency} {found.bottleneck}{again}"


def predictions(ask: Callable[..., Prediction], cells: list[tuple[int, int]], **way: Any) -> list[Prediction]:
    """Of so many points by so many workers; on all cores where there are several."""
    calls = [partial(ask, *cell, **way) for cell in cells]
    if len(calls) < 3:
        return [call() for call in calls]
    futures = [pool.submit(call) for pool, call in zip(itertools.cycle(workers()), calls, strict=False)]
    return [future.result() for future in futures]


def matrix(ask: Callable[..., Prediction], sizes: tuple[int, ...], crews: tuple[int, ...]) -> str:
    """Points a second, efficiency and bottleneck by workers and points."""
    cells = list(itertools.product(sizes, crews))
    found = dict(zip(cells, predictions(ask, cells), strict=True))
    share = {(n, crew): each.rate / crew / found[n, 1].rate for (n, crew), each in found.items()}
    body = [[f"{crew:,}", *(cell(found[n, crew], f" ({share[n, crew]:.0%})") for n in sizes)] for crew in crews]
    return lines(" | ".join(["workers", *(f"{power(n)} points" for n in sizes)]), body)


def ways(name: str, ask: Callable[..., Prediction], sizes: tuple[int, ...], crews: tuple[int, ...]) -> str:
    """The same run handed out in other ways."""
    cells = list(itertools.product(sizes, crews))
    body = [[title, *map(cell, predictions(ask, cells, **way))] for title, way in WAYS.items()]
    return lines(" | ".join([name, *(f"{power(n)}, {crew} workers" for n, crew in cells)]), body)


def main(small: bool = False, nfs: Shared = NFS, s3: Shared = S3, seed: int = 0) -> tuple[str, bool]:
    """The tables, and whether the check held; `small` only shows that the script runs."""
    sizes, crews, few = ((10**6,), (1, 4), (1, 4)) if small else (SIZES, WORKERS, (1, 32, 1024))
    load, measured, checks = os.getloadavg()[1], [], []
    with tempfile.TemporaryDirectory() as folder:
        cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", folder)
        costs, sync = measured_costs(200 if small else 4000, 3.0 if small else started(cache))
        for name, lam, size in (("exact", 4, 1024),) if small else (("exact", 384, 32768), ("dopri8", 96, 16384)):
            text = SPEC.format(lam=10 if small else 640, method=name)
            measured.append(measured_method(name, text, 1024 if small else 65536, cores()))
            checks += check(measured[-1], costs, sync, lam, size, (1,) if small else (1, 2, 4), cache)
    if small:
        measured *= 3  # instead of the others
    else:
        measured.append(measured_method("trained", TRAINING, MOST_RUNS, cores(), samples=3))
    exact, dopri8, trained = measured
    most = cut(dopri8, 10**11)[0]
    held = all(BAND[0] <= row[-1] <= BAND[1] for row in checks)
    parts = [
        "## Against real workers",
        f"`python benchmarks/scaling.py`, {time.strftime('%Y-%m-%d')}; measured on {machine()}. Other programs wanted "
        f"the cores at the time: {load:.1f} threads in the five minutes before, and as many as this table says beside "
        f"the real workers. Simulated workers have a machine of {cores()} such cores each.",
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
                + [f"{rate(points / window(costs, s, chunks // 2, looks=2))} points/s" for s in (nfs, s3)]
                for m, (chunks, points) in ((m, cut(m, 10**9)) for m in measured)
            ],
        ),
        f"A worker starts in {costs.start:.1f} s. For each chunk in the store, before each chunk: "
        f"{costs.look * 1e6:.1f} us a look (three of them), {costs.near * 1e6:.2f} us to see which are near; "
        f"{costs.record * 1e6:.0f} us for each new record or claim, twice. A file takes {costs.publish * 1e3:.2f} ms "
        f"and {costs.byte * 1e9:.2f} ns a byte, and the disk {sync * 1e3:.2f} ms. Opening a store of n chunks for "
        f"reading: {(costs.record + costs.look) * 1e3:.2f} ms n, and its ranges {costs.footer * 1e3:.1f} ms n more: "
        f"{(costs.record + costs.look) * most:.0f} s and {costs.footer * most:.0f} s for 10^11 points.",
    ]
    others = ["## Other ways to hand out chunks, dopri8"]
    for shared in (nfs, s3):
        ask = {m: partial(predict, m, costs, shared, seed=seed, cores=cores()) for m in measured}
        facts = ", ".join(f"{name} {value:g}" for name, value in shared._asdict().items() if name != "name")
        parts += [
            f"## {shared.name} (assumed, not measured: {facts})",
            "dopri8: points a second, efficiency against one worker, what takes most of the workers' time.",
            matrix(ask[dopri8], sizes, crews),
            "exact:",
            matrix(ask[exact], sizes, few),
            "trained:",
            matrix(ask[trained], sizes[:3], few),
        ]
        others.append(ways(shared.name, ask[dopri8], sizes[2::3] or sizes, few[1:]))
    release()
    return "\n\n".join(parts + others) + "\n", held


def assuming(known: Shared) -> Callable[[str], Shared]:
    """Reads `latency=1e-3,publish=8` as the known place with these in place of its own."""

    def place(text: str) -> Shared:
        pairs = (pair.partition("=") for pair in text.split(","))
        return known._replace(**{name: float(value) for name, _, value in pairs})

    return place


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="only show that the script runs; writes nothing")
    parser.add_argument("--seed", type=int, default=0)
    for shared in (NFS, S3):
        parser.add_argument(f"--{shared.name.lower()}", type=assuming(shared), default=shared, help=str(shared))
    asked = parser.parse_args()
    devices.use_all_cores()
    tables, held = main(asked.small, asked.nfs, asked.s3, asked.seed)
    print(tables)
    if not asked.small:
        introduction, heading, _ = PAGE.read_text().partition("## Against real workers")
        assert heading, "the page says first how to read the tables"
        PAGE.write_text(introduction + tables)
        if not held:
            sys.exit("benchmarks/scaling.py: a prediction is further from what was measured than it may be")
