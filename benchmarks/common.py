"""What the benchmarks share: the points, the equations in scaled units, a process on each core, and measuring.

JAX is imported only where it is used, because the worker processes of the peers import this module too.
"""

import functools
import importlib.util
import math
import multiprocessing
import os
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np

from jepa_sweep.engine.cores import number as cores

OBJECTIVES = ("jepa", "mae")
LAYERS = (1, 2, 3, 5, 8)
P = 0.5

Points = dict[str, np.ndarray]  # "lam", "rho", "L", "eps", each of shape (n,)
Times = dict[str, np.ndarray]  # objective -> paper times, in the order of its points
Run = Callable[[], Times]
T = TypeVar("T")


def _nothing() -> str:
    return ""


class Way(NamedTuple):
    """One way to compute critical times.

    `prepare(points by objective, rtol)` does what a user would do once, and returns what is timed. `missing()` says in
    one line why the way cannot run here, or nothing.
    """

    name: str
    prepare: Callable[[dict[str, Points], float], Run]
    missing: Callable[[], str] = _nothing
    exact: bool = False  # knows no tolerance
    apart: bool = False  # measured in a process of its own, see `apart`
    batch: int = 256  # points an objective it takes at once; to measure with fewer would count work on padding


class Row(NamedTuple):
    """One way at one tolerance."""

    way: str
    rtol: float
    points: int
    compile_seconds: float
    points_per_second: float
    worst_error: float
    median_error: float


# --- points and equations -----------------------------------------------------------------------------------------


def exponents(objective: str, L: Any) -> tuple[Any, Any]:
    """The (a, m) of dz/dtau = z^a (1 - z^m), with z = (w / w*)^(1/L)."""
    return (2 * L, L**0) if objective == "jepa" else (L, L + 1)


def grid(count: int) -> dict[str, Points]:
    """The mixed grid, `count` points an objective, those with least growth before them first.

    Only points which can be learned, and start at least 1 % below the threshold: nearer to it, the rounding of eps
    decides the time.
    """
    rng = np.random.default_rng(0)
    out = {}
    for objective in OBJECTIVES:
        points = {
            "lam": np.exp(rng.uniform(np.log(0.1), np.log(10), 2 * count)),
            "rho": rng.uniform(0.05, 1.0, 2 * count),
            "L": rng.choice(np.array(LAYERS, dtype=float), 2 * count),
            "eps": np.exp(rng.uniform(np.log(1e-6), np.log(1e-2), 2 * count)),
        }
        _, m = exponents(objective, points["L"])
        growth = points["L"] / m * np.log(points["rho"]) + math.log(P) - np.log(points["eps"])  # ln(p w* / eps)
        learned = np.flatnonzero(growth > 0.01)[:count]
        assert len(learned) == count, "more than half of the points can be learned"
        out[objective] = select(points, learned[np.argsort(growth[learned], kind="stable")])
    return out


def select(points: Points, index: Any) -> Points:
    """Some of the points."""
    return {name: values[index] for name, values in points.items()}


class Scaled(NamedTuple):
    """dv/ds = v^a (1 - (r v)^m) from v = 1 until v = q / r, with T = unit s: no number is very large or small.

    v = (w / eps)^(1/L), r = (eps / w*)^(1/L), q = p^(1/L).
    """

    r: np.ndarray
    q: np.ndarray
    a: np.ndarray
    m: np.ndarray
    unit: np.ndarray


def scaled(objective: str, points: Points) -> Scaled:
    """The flow in units of its start, for ways which stop at an event."""
    L = points["L"]
    a, m = exponents(objective, L)
    u = points["eps"] ** (1 / L)
    return Scaled(u * points["rho"] ** (-1 / m), P ** (1 / L), a, m, L / points["lam"] * u ** (1 - a))


class Clock(NamedTuple):
    """T = unit * integral over s in (0, 1) of span (scale (1 + exp(-chi)))^power, chi = start + span s.

    chi = logit(z^m); the integrand starts at `span`.
    """

    start: np.ndarray
    span: np.ndarray
    scale: np.ndarray
    power: np.ndarray
    unit: np.ndarray


def clock(objective: str, points: Points) -> Clock:
    """The time as a function of chi, for ways which integrate over a fixed interval, without an event."""
    r, q, a, m, unit = scaled(objective, points)
    start, end = (m * np.log(z) - np.log(-np.expm1(m * np.log(z))) for z in (r, q))
    return Clock(start, end - start, r**m, (a - 1) / m, unit / m)


# --- a process on each core ---------------------------------------------------------------------------------------


def end_with(parent: int) -> None:
    """End this process when its parent is no more."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _process() -> ProcessPoolExecutor:
    """One process, started afresh because a fork of a process that runs JAX may hang."""
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=spawn, initializer=end_with, initargs=(os.getpid(),))


def apart(call: Callable[..., T], *arguments: Any) -> T:
    """The result of a call in a process of its own, which has set nothing up and may use all cores."""
    with _process() as pool:
        return pool.submit(call, *arguments).result()


@functools.lru_cache(maxsize=1)
def workers() -> list[ProcessPoolExecutor]:
    """One process a core."""
    pools = [_process() for _ in range(cores())]
    for started in [pool.submit(int) for pool in pools]:
        started.result()
    return pools


def release() -> None:
    """End the worker processes, if there are any."""
    if not workers.cache_info().currsize:
        return
    for pool in workers():
        pool.shutdown()
    workers.cache_clear()


def on_each_core(
    scale: Callable[[str, Points], Any], solve: Callable[..., np.ndarray], *options: Any
) -> Callable[[dict[str, Points], float], Run]:
    """The `prepare` of a way whose `solve(scale(objective, points), rtol, *options)` uses one core."""

    def prepare(points: dict[str, Points], rtol: float) -> Run:
        pools = workers()
        shares = [slice(i, None, len(pools)) for i in range(len(pools))]
        parts = {o: [scale(o, select(points[o], share)) for share in shares] for o in points}

        def run() -> Times:
            work = {
                o: [pool.submit(solve, part, rtol, *options) for pool, part in zip(pools, parts[o], strict=True)]
                for o in points
            }
            out = {o: np.empty(len(points[o]["L"])) for o in points}
            for o, futures in work.items():
                for share, future in zip(shares, futures, strict=True):
                    out[o][share] = future.result()
            return out

        return run

    return prepare


def needs(module: str) -> Callable[[], str]:
    """The `missing` of a way which needs a Python package."""
    return lambda: "" if importlib.util.find_spec(module) else f"the Python package `{module}` is not installed"


# --- measuring ----------------------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """How much to measure."""

    points: int  # of each objective, at most
    tolerances: tuple[float, ...]
    seconds: float  # at least, for a run
    repeats: int
    least: int = 0  # points of each objective to begin with, if not the way's own `batch`
    rounds: int = 1  # through all ways


def timed(call: Callable[[], T], clock: Callable[[], float] = time.perf_counter) -> tuple[float, T]:
    """Seconds by a clock, and what came out."""
    began = clock()
    out = call()
    return clock() - began, out


def median_seconds(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of a call whose programs are compiled."""
    return medians([call], repeats)[0]


def medians(calls: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """The same of several calls that are to be compared, and take turns."""
    for call in calls:
        call()
    rounds = [[timed(call)[0] for call in calls] for _ in range(repeats)]
    return [statistics.median(seconds) for seconds in zip(*rounds, strict=True)]


def measure(way: Way, rtol: float, points: dict[str, Points], exact: Times, plan: Plan) -> Row:
    """Time one way on as much of the grid as keeps it busy long enough.

    The first run has the compile time; the speed is a median over runs of programs that are there.
    """
    total = len(points["jepa"]["L"])

    def sized(count: int) -> tuple[Run, Times]:
        index = np.sort(np.random.default_rng(1).permutation(total)[:count])  # sorted: cheap points stay first
        return way.prepare({o: select(points[o], index) for o in points}, rtol), {o: exact[o][index] for o in exact}

    began = time.perf_counter()
    count = min(total, plan.least or way.batch)
    run, expected = sized(count)
    run()
    first = time.perf_counter() - began
    again = took = timed(run)[0]
    while took < plan.seconds / 2 and count < total:
        count = min(4 * count, total)
        run, expected = sized(count)
        run()  # a new shape may compile
        took = timed(run)[0]
    runs = [timed(run) for _ in range(plan.repeats)]
    took, out = statistics.median(r[0] for r in runs), runs[-1][1]
    errors = np.concatenate([np.abs(out[o] / expected[o] - 1) for o in OBJECTIVES])
    errors = np.where(np.isfinite(errors), errors, np.inf)  # a time that was not found is wrong
    worst, median = float(errors.max()), float(np.median(errors))
    return Row(way.name, rtol, errors.size, max(first - again, 0.0), errors.size / took, worst, median)
