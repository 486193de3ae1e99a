"""Training many deep linear networks: steps a second against plain loops, and the share of it that is matrix products.

    python benchmarks/networks.py [--device cpu|gpu] [--small]

trains 64 networks (1,024 on a GPU) of 100 features and L = 5 by JEPA's gradient descent in float32, and writes
benchmarks/networks.md. Every way starts from the same weights, takes the same steps, and must see every feature learned
as far at the end. Repeats of all ways alternate, and each is tried for half a minute, until nothing else computes
beside it.
"""

import argparse
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import goals
from benchmarks.common import cores, needs, release, timed
from benchmarks.quiet import alone
from benchmarks.report import processor
from benchmarks.ways import networks_torch
from benchmarks.ways.networks_torch import Numbers, Weights
from jepa_sweep.engine import devices
from jepa_sweep.engine.networks import batches, common
from jepa_sweep.engine.networks.common import Given, Recipe
from jepa_sweep.errors import SpecError
from jepa_sweep.physics import network

P = 0.5
JEPA = network.OBJECTIVES["jepa"]


class Problem(NamedTuple):
    """Networks to train: columns of `Given` for the engine, and the same as arrays for the other ways."""

    recipe: Recipe
    columns: dict[str, np.ndarray]
    device: str
    steps: int
    eta: float
    weights: Weights
    numbers: Numbers

    @property
    def networks(self) -> int:
        """How many."""
        return len(self.columns["seed"])

    @property
    def flops(self) -> int:
        """Of one step of one network: 3 L products of n x n matrices, 2 n^3 each.

        L for V W^L ... W^1, one for V^T R, one for dl/dV, and two for each of the layers above the first.
        """
        return 3 * self.recipe.L * 2 * self.recipe.features**3


class Way(NamedTuple):
    """One way to train: `prepare(problem)` returns what is timed, which returns the weights, or w and v of features."""

    name: str
    prepare: Callable[[Problem], Callable[[], Any]]
    missing: Callable[[], str] = lambda: ""
    plain: bool = True  # a plain loop or vmap; not ours, and not what takes gradients on paper or cores by hand
    cpu_only: bool = False


class Row(NamedTuple):
    """What was measured of one way."""

    name: str
    plain: bool
    compile_seconds: float
    steps_per_second: float  # of networks
    error: float  # of the responses w and v, against ours, relative to the largest


# --- the problem --------------------------------------------------------------------------------------------------


def problem(count: int, n: int, L: int, steps: int, device: str) -> Problem:
    """Gaussian starts, the spectrum of the paper with small lam at large rho, a seed for each network."""
    eta = 0.1
    recipe = Recipe("jepa", "gaussian", n, L, n, "gaussian", "sgd", samples=16)
    same = {
        "layout": 1,
        "lam_low": 1.0,
        "lam_high": 1.3,
        "rho_low": 0.4,
        "rho_high": 0.9,
        "target_noise": 1.0,
        "scale": 0.7,
        "predictor_scale": 0.7,
        "t_end": steps * eta,
        "eta": eta,
    }
    columns = {name: np.full(count, float(value)) for name, value in same.items()} | {"seed": np.arange(count) * 1.0}
    given = Given(*(jnp.asarray(columns.get(name, np.zeros(count)), jnp.float32) for name in Given._fields))
    weights, _ = jax.vmap(lambda g: common.begin(recipe, g))(given)
    features = jax.vmap(lambda g: common.features_of(recipe, g))(given)
    start = [np.array(w) for w in (*weights.layers, weights.predictor)]
    return Problem(recipe, columns, device, steps, eta, start, (np.array(features.s2), np.array(features.lam)))


def responses(problem: Problem, weights: Sequence[Any]) -> np.ndarray:
    """w and v of every feature of networks with these weights."""

    def one(weights: list[Any]) -> Any:
        *layers, v = weights
        seen = network.observe(JEPA, network.signals(network.Weights(tuple(layers), v)), jnp.eye(len(v), dtype=v.dtype))
        return jnp.stack([seen.w, seen.v])

    return np.asarray(jax.vmap(one)([jnp.asarray(w) for w in weights])).reshape(problem.networks, 2, -1)


# --- the ways -----------------------------------------------------------------------------------------------------


def ours(problem: Problem) -> Callable[[], np.ndarray]:
    """The engine: also looks at every feature on every step, and samples the curves."""
    p = np.full((problem.networks, 1), P)

    def run() -> np.ndarray:
        learned = batches.learn(problem.recipe, problem.columns, p, precision="float32", device=problem.device)
        return learned.seen[:, -1, [0, 2]]

    return run


def _descend(weights: list[Any], s2: Any, lam: Any, steps: int, eta: float) -> list[Any]:
    """Gradient descent of one network as one would write it in JAX."""

    def loss(weights: list[Any]) -> Any:
        wbar = weights[0]
        for layer in weights[1:-1]:
            wbar = layer @ wbar
        output = weights[-1] @ wbar
        return jnp.sum((output * s2 / 2 - lax.stop_gradient(wbar) * lam) * output)

    def step(_: Any, weights: list[Any]) -> list[Any]:
        return jax.tree.map(lambda w, slope: w - eta * slope, weights, jax.grad(loss)(weights))

    return lax.fori_loop(0, steps, step, weights)


def _start(problem: Problem) -> tuple[list[Any], Any, Any]:
    """Weights and numbers of all networks, on the first device."""
    s2, lam = map(jnp.asarray, problem.numbers)
    return jax.device_put(([*map(jnp.asarray, problem.weights)], s2, lam), devices.pick(problem.device)[0])


def jax_loop(problem: Problem) -> Callable[[], Weights]:
    """Plain JAX, one network after another."""
    start, one = _start(problem), jax.jit(partial(_descend, steps=problem.steps, eta=problem.eta))

    def run() -> Weights:
        done = [one(*jax.tree.map(lambda a, n=n: a[n], start)) for n in range(problem.networks)]
        return [np.stack(same) for same in zip(*done, strict=True)]

    return run


def jax_vmap(problem: Problem) -> Callable[[], Weights]:
    """Plain JAX, `vmap` over all networks."""
    start, every = _start(problem), jax.jit(jax.vmap(partial(_descend, steps=problem.steps, eta=problem.eta)))
    return lambda: [np.asarray(w) for w in every(*start)]


def jax_shares(problem: Problem) -> Callable[[], Weights]:
    """Plain JAX, `vmap` over a share of the networks on each device."""
    split, on_each = _on_each_device(problem)
    share = jax.vmap(partial(_descend, steps=problem.steps, eta=problem.eta))
    start, every = jax.device_put(_start(problem), split), jax.jit(on_each(share))
    return lambda: [np.asarray(w) for w in every(*start)]


def jax_shares_loop(problem: Problem) -> Callable[[], Weights]:
    """Plain JAX, one network after another on each device."""
    split, on_each = _on_each_device(problem)

    def share(*start: Any) -> Any:
        return lax.map(lambda one: _descend(*one, steps=problem.steps, eta=problem.eta), start)

    start, every = jax.device_put(_start(problem), split), jax.jit(on_each(share))
    return lambda: [np.asarray(w) for w in every(*start)]


def _on_each_device(problem: Problem) -> tuple[Any, Callable[[Callable], Callable]]:
    """Where arrays lie that are split over the devices, and what makes a function compute on each device's share."""
    mesh = jax.sharding.Mesh(np.array(devices.pick(problem.device)), ("devices",))
    split = jax.sharding.PartitionSpec("devices")
    on_each = partial(jax.shard_map, mesh=mesh, in_specs=split, out_specs=split, check_vma=False)
    return jax.sharding.NamedSharding(mesh, split), on_each


def _torch_device(problem: Problem) -> str:
    return "cuda" if problem.device == "gpu" else "cpu"


def _torch(name: str, way: Callable[..., Any], plain: bool = True, cpu_only: bool = False) -> Way:
    """One of `ways/networks_torch.py`."""

    def prepare(problem: Problem) -> Callable[[], Weights]:
        return way(problem.weights, problem.numbers, problem.steps, problem.eta, _torch_device(problem))

    return Way(name, prepare, needs("torch"), plain, cpu_only)


OURS = Way("jepa_sweep", ours, plain=False)
PEERS = [
    Way("JAX, loop over networks", jax_loop),
    Way("JAX, vmap", jax_vmap),
    Way("JAX, vmap over a share on each core", jax_shares, plain=False, cpu_only=True),
    Way("JAX, loop over a share on each core", jax_shares_loop, plain=False, cpu_only=True),
    _torch("PyTorch, loop over networks", networks_torch.loop),
    _torch("PyTorch, loop in a process on each core", networks_torch.processes, plain=False, cpu_only=True),
    _torch("torch.func.vmap, torch.compile", networks_torch.func()),
    _torch("torch.func.vmap, torch.compile, blocks of 8", networks_torch.func(block=8), cpu_only=True),
    _torch("torch.bmm, gradients by hand", networks_torch.by_hand(), plain=False),
    _torch("torch.bmm, gradients by hand, blocks of 8", networks_torch.by_hand(block=8), plain=False, cpu_only=True),
    _torch("torch.bmm by hand, blocks of 8, a process on each core", networks_torch.by_hand_in_processes, False, True),
]


# --- the rate of products -----------------------------------------------------------------------------------------


def product_rates(problem: Problem, repeats: int) -> dict[str, Callable[[], int]]:
    """Calls which do batched products of the shapes of the problem, and return how many."""
    n, where = problem.recipe.features, devices.pick(problem.device)
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((problem.networks, n, n)).astype(np.float32) / n**0.5 for _ in range(2))
    split, on_each = _on_each_device(problem)

    def by_jax(each: int) -> Callable[[], int]:
        """So many matrices at once on each device."""
        group = len(where) * each
        calls = repeats * problem.networks // group

        def products(a: Any, b: Any) -> Any:
            if each == 1:
                return lax.fori_loop(0, calls, lambda _, a: a @ b[0], a[0])[None]
            return lax.fori_loop(0, calls, lambda _, a: a @ b, a)

        program, some = jax.jit(on_each(products)), jax.device_put((a[:group], b[:group]), split)

        def run() -> int:
            jax.block_until_ready(program(*some))
            return calls * group

        return run

    def by_numpy() -> int:
        for _ in range(repeats):
            np.matmul(a, b)
        return repeats * problem.networks

    if problem.device != "cpu":
        out = {"JAX": by_jax(problem.networks // len(where))}
    else:
        out = {"JAX, one by one": by_jax(1), f"JAX, {batches.GROUP} at once": by_jax(batches.GROUP), "NumPy": by_numpy}
    if not needs("torch")():
        out["torch.bmm"] = networks_torch.products(problem.networks, n, repeats, _torch_device(problem))
        if problem.device == "cpu":
            out["torch.bmm in processes"] = networks_torch.products_in_processes(problem.networks, n, repeats)
    return out


# --- measuring ----------------------------------------------------------------------------------------------------


def measure(problem: Problem, peers: list[Way], repeats: int, wait: float) -> tuple[list[Row], dict[str, float], float]:
    """All ways, and the rates of products in FLOP a second, in turns; and how much of a core others used at worst."""
    ways = [OURS, *peers]
    runs = [way.prepare(problem) for way in ways]
    first = [timed(run) for run in runs]
    products = product_rates(problem, 5 * problem.steps)
    counts = [call() for call in products.values()]
    calls = [*runs, *products.values()]
    rounds = [[alone(call, wait) for call in calls] for _ in range(repeats)]
    disturbed = max(others for each in rounds for _, others in each)
    seconds = [statistics.median(took for took, _ in tries) for tries in zip(*rounds, strict=True)]
    found = [out if isinstance(out, np.ndarray) else responses(problem, out) for _, out in first]
    total, rows = problem.networks * problem.steps, []
    for way, (began, _), took, out in zip(ways, first, seconds[: len(ways)], found, strict=True):
        error = float(np.max(np.abs(out - found[0])) / np.max(np.abs(found[0])))
        rows.append(Row(way.name, way.plain, max(0.0, began - took), total / took, error))
    flops = [count * 2 * problem.recipe.features**3 for count in counts]
    rates = {name: f / took for name, f, took in zip(products, flops, seconds[len(ways) :], strict=True)}
    return rows, rates, disturbed


def report(problem: Problem, rows: list[Row], rates: dict[str, float], disturbed: float, skipped: list[str]) -> str:
    """As Markdown."""
    best = max(rates.values())
    us, plain = rows[0], [row for row in rows if row.plain]
    versions = [f"{name} {metadata.version(name)}" for name in ("jax", "numpy", "torch") if not needs(name)()]
    where = devices.pick(problem.device)
    on_cpu = problem.device == "cpu"
    machine = f"{cores()} cores of {processor()}" if on_cpu else f"{len(where)} x {where[0].device_kind}"
    peer = max(plain, key=lambda row: row.steps_per_second)
    lines = [
        f"# Training many networks on {machine}",
        "",
        f"`python benchmarks/networks.py --device {problem.device}`; Python {platform.python_version()}, "
        f"{', '.join(versions)}; float32. {problem.networks:,} networks of {problem.recipe.features} features and as "
        f"wide, L = {problem.recipe.L}, {problem.steps} steps of JEPA's gradient descent each.",
        "",
        "| way | compile s | network steps/s | jepa_sweep / this | GFLOP/s | of the product rate | error |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        rate = row.steps_per_second * problem.flops
        lines.append(
            f"| {row.name} | {row.compile_seconds:.1f} | {row.steps_per_second:,.0f} | "
            f"{us.steps_per_second / row.steps_per_second:.2f} | {rate / 1e9:,.1f} | {rate / best:.0%} | "
            f"{row.error:.0e} |"
        )
    measured = ", ".join(f"{name} {rate / 1e9:,.1f}" for name, rate in rates.items())
    lines += [
        "",
        f"jepa_sweep is {us.steps_per_second / peer.steps_per_second:.2f} times as fast as the best plain loop or vmap "
        f"({peer.name}) and runs at {us.steps_per_second * problem.flops / best:.0%} of the product rate.",
        "",
        f"Product rate: batched {problem.recipe.features} x {problem.recipe.features} products in float32 on all of "
        f"the machine, GFLOP/s: {measured}. A step is counted as its 3 L products, {problem.flops / 1e6:g} MFLOP. "
        f"During the runs that count, other processes took {disturbed:.0%} of a core at most.",
    ]
    return "\n".join(lines) + "\n" + "".join(f"\n{line}\n" for line in skipped)


def numbers(problem: Problem, rows: list[Row], rates: dict[str, float]) -> dict[str, float]:
    """What `goals.GOALS` ask of this script."""
    us, *peers = (row.steps_per_second for row in rows)
    return {"networks / peer": us / max(peers), "networks / products": us * problem.flops / max(rates.values())}


def main(
    small: bool = False, device: str = "cpu", peers: list[Way] | None = None
) -> tuple[list[Row], dict[str, float], str]:
    """Measure: every way, the numbers of the goals, and the report.

    `small` is a check that the script runs, not a measurement.
    """
    with devices.scope("float32", devices.pick(device)[0]):
        if small:
            given = problem(4, 8, 3, steps=5, device=device)
        else:
            given = problem(64 if device == "cpu" else 1024, 100, 5, steps=50, device=device)
        asked = [way for way in (PEERS if peers is None else peers) if device == "cpu" or not way.cpu_only]
        skipped = [f"{way.name}: skipped, {way.missing()}." for way in asked if way.missing()]
        present = [way for way in asked if not way.missing()]
        repeats, wait = (1, 0.0) if small else (3, 30.0)
        rows, rates, disturbed = measure(given, present, repeats, wait)
        release()
        return rows, numbers(given, rows, rates), report(given, rows, rates, disturbed, skipped)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "gpu"))
    parser.add_argument("--small", action="store_true", help="only check that the script runs; writes nothing")
    asked = parser.parse_args()
    devices.use_all_cores()
    try:
        _, found, text = main(asked.small, asked.device)
    except SpecError as error:
        sys.exit(f"benchmarks/networks.py: {error}")
    print(text)
    if not asked.small:
        name = "networks.md" if asked.device == "cpu" else "networks_gpu.md"
        Path(__file__).with_name(name).write_text(text)
    if not asked.small and asked.device == "cpu":
        print(goals.record("networks", found))
