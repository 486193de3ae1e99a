"""How far many workers on one store scale: a simulation from costs measured here, and a check against real workers.

    python benchmarks/scaling.py [--small] [--seed 0] [--nfs-latency 1e-3] [--s3-latency 0.03] [...]

takes a few minutes and writes benchmarks/scaling.md, unless `--small`. Exit code 1 if a prediction for 1, 2 or 4 local
workers is off by more than a factor of 2. What is measured (`scaling_measure.py`) is time of the processor, which other
work on the machine disturbs least; `scaling_model.py` simulates the rest.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import cores, release
from benchmarks.common import workers as processes
from benchmarks.report import machine
from benchmarks.scaling_measure import check, end_with, measured_costs, measured_method, started
from benchmarks.scaling_model import Costs, Method, Prediction, Shared, cut, predict, window
from benchmarks.sweeps import SPEC
from jepa_sweep.engine import devices
from jepa_sweep.running import plan

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
seed = {{ linear = [0, {last}], num = {networks} }}
"""


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
WORKERS = (1, 2, 4, 8, 32, 128, 1024)
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


def power(number: int) -> str:
    """A power of ten."""
    return f"10^{len(str(number)) - 1}"


def several(calls: list[tuple[Any, ...]], alone: bool) -> list[Prediction]:
    """`predict` for each tuple of arguments, the last being options; on all cores unless `alone`."""
    if alone:
        return [predict(*call, **more) for *call, more in calls]
    pools = processes()
    for pool in pools:
        pool.submit(end_with, os.getpid())
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
    return lines(" | ".join(["workers", *(f"{power(n)} points" for n in sizes)]), body)


def ways(
    method: Method, costs: Costs, shared: Shared, sizes: tuple[int, ...], crews: tuple[int, ...], seed: int
) -> str:
    """The same run handed out in other ways."""
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("as `run` does", {}),
        ("`--shard i/n`", {"hand_out": "shard"}),
        ("a driver", {"hand_out": "driver"}),
        ("if the file of the points took the number", {"whole": True}),
    ]
    body, cells = [], [(n, crew) for n in sizes for crew in crews]
    calls = [(method, costs, shared, n, crew, seed, more) for _, more in kinds for n, crew in cells]
    predicted = iter(several(calls, max(crews) < 32))
    for name, _ in kinds:
        found = [next(predicted) for _ in cells]
        body.append([name, *(f"{rate(f.rate)} {CAUSES[f.bottleneck]}, {f.duplicates:.0%} again" for f in found)])
    return lines(" | ".join([shared.name, *(f"{power(n)}, {crew} workers" for n, crew in cells)]), body)


def main(small: bool = False, nfs: Shared = NFS, s3: Shared = S3, seed: int = 0) -> tuple[str, bool]:
    """The report, and whether the check held; `small` only shows that the script runs."""
    sizes, crews = ((10**6,), (1, 4)) if small else (SIZES, WORKERS)
    few = crews if small else (1, 32, 1024)
    load = os.getloadavg()[1]
    measured, checks = [], []
    with tempfile.TemporaryDirectory() as cache:
        count, size = (1, 1024) if small else (64, 65536)
        start = 3.0 if small else started(cache)
        costs, sync = measured_costs(200 if small else 4000, start)
        for name in ("exact",) if small else ("exact", "dopri8"):
            text = SPEC.format(lam=count * 10, method=name)
            method = measured_method(name, text, size, cores())
            lam, chunk = (4, 1024) if small else {"exact": (384, 32768), "dopri8": (96, 16384)}[name]
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
        f"`python benchmarks/scaling.py`, {time.strftime('%Y-%m-%d')}; measured on {machine()}. Other programs wanted "
        f"the cores at the time: {load:.1f} threads in the five minutes before, and as many as the first table says "
        f"beside the real workers. Simulated workers have a machine of {cores()} such cores each.",
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
                + [f"{rate(points / window(costs, s, chunks // 2, looks=2))} points/s" for s in (nfs, s3)]
                for m, (chunks, points) in ((m, cut(m, 10**9)) for m in measured)
            ],
        ),
        f"A worker starts in {costs.start:.1f} s. For each chunk in the store, before each chunk: "
        f"{costs.look * 1e6:.1f} us a look (three of them), {costs.choose * 1e6:.2f} us to choose, "
        f"{costs.near * 1e6:.2f} us to see which are near, {costs.number * 1e6:.2f} us to take a number; "
        f"{costs.record * 1e6:.0f} us for each new record or claim, twice, and {costs.visit * 1e6:.1f} us to compare "
        f"it. A file takes {costs.publish * 1e3:.2f} ms and {costs.byte * 1e9:.2f} ns a byte, and the disk "
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
        *(ways(dopri8, costs, s, sizes[2::3] or sizes, few[1:], seed) for s in (nfs, s3)[: 2 - small]),
    ]
    release()
    return "\n\n".join(parts) + "\n", held


READ = """How to read this: a cell says points a second, in brackets the efficiency against one worker on as many
points, what most of the workers' time goes into, and chunks that were computed again for nothing, as a share of those
stored. *computing* includes encoding and writing. *numbers*: a worker that finds its number taken looks and writes its
claim again, so that the store grows by one chunk in the time of two looks and a small file, however many workers there
are; "numbers, at most" is that rate for 10^9 points, half done. *looking*: listing and reading what others have stored,
which grows with the number of chunks there. *operations* and *bytes*: what the shared place does in a second. *few
chunks*: nothing is left for some workers. Weak scaling is read down a diagonal. Runs too long to be simulated as a
whole are put together from stretches at 21 % and 79 % of them, which hold few chunks where many workers get in each
other's way: there the shares of chunks computed again are rough.

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
    if not held and not asked.small:
        sys.exit("benchmarks/scaling.py: a prediction is further from what was measured than it may be")
