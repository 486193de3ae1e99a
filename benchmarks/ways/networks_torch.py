"""Networks in PyTorch: loops with autograd, torch.func with torch.compile, and gradients by hand with torch.bmm.

torch is imported only where it is used, because it is not among the packages of `jepa_sweep`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.common import cores, workers

Weights = list[np.ndarray]  # W^1, ..., W^L and V, each of shape (networks, n, n)
Numbers = tuple[np.ndarray, np.ndarray]  # s2 and lam of every feature, (networks, d)
Run = Callable[[], Weights]


def _loss(weights: list[Any], s2: Any, lam: Any) -> Any:
    """The JEPA loss less its part without a gradient: tr(V Wbar Sxx Wbar^T V^T)/2 - tr(V Wbar Syx^T sg(Wbar)^T)."""
    wbar = weights[0]
    for layer in weights[1:-1]:
        wbar = layer @ wbar
    output = weights[-1] @ wbar
    return ((output * s2 / 2 - wbar.detach() * lam) * output).sum()


def _one(weights: list[Any], s2: Any, lam: Any, steps: int, eta: float) -> list[Any]:
    """Gradient descent of one network, as one would write it."""
    import torch  # pyright: ignore[reportMissingImports]

    weights = [w.clone().requires_grad_() for w in weights]
    for _ in range(steps):
        slopes = torch.autograd.grad(_loss(weights, s2, lam), weights)
        with torch.no_grad():
            for w, slope in zip(weights, slopes, strict=True):
                w.sub_(slope, alpha=eta)
    return [w.detach() for w in weights]


def _each(weights: Weights, numbers: Numbers, steps: int, eta: float, threads: int, device: str = "cpu") -> Weights:
    """All networks in turn."""
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(threads)
    start = [torch.from_numpy(w).to(device) for w in weights]
    s2, lam = (torch.from_numpy(a).to(device) for a in numbers)
    done = [_one([w[n] for w in start], s2[n], lam[n], steps, eta) for n in range(len(s2))]
    return [torch.stack(same).cpu().numpy() for same in zip(*done, strict=True)]


def loop(weights: Weights, numbers: Numbers, steps: int, eta: float, device: str) -> Run:
    """A loop over networks in this process, products on all cores."""
    return lambda: _each(weights, numbers, steps, eta, cores(), device)


def processes(weights: Weights, numbers: Numbers, steps: int, eta: float, device: str) -> Run:
    """The same loop in a process of one thread on each core."""
    del device
    return _shares(_each, weights, numbers, steps, eta, 1)


def by_hand_in_processes(weights: Weights, numbers: Numbers, steps: int, eta: float, device: str) -> Run:
    """torch.bmm with the gradients of the theory, blocks of 8, in a process of one thread on each core."""
    del device
    return _shares(_each_by_hand, weights, numbers, steps, eta)


def _each_by_hand(weights: Weights, numbers: Numbers, steps: int, eta: float) -> Weights:
    return by_hand(block=8, threads=1)(weights, numbers, steps, eta, "cpu")()


def _shares(each: Callable[..., Weights], weights: Weights, numbers: Numbers, *options: Any) -> Run:
    """`each(weights, numbers, *options)` of a share of the networks in a process on each core."""
    pools = workers()

    def run() -> Weights:
        shares = [slice(i, None, len(pools)) for i in range(len(pools))]
        under_way = [
            pool.submit(each, [w[s] for w in weights], (numbers[0][s], numbers[1][s]), *options)
            for pool, s in zip(pools, shares, strict=True)
        ]
        out = [np.empty_like(w) for w in weights]
        for share, found in zip(shares, under_way, strict=True):
            for whole, part in zip(out, found.result(), strict=True):
                whole[share] = part
        return out

    return run


def func(block: int | None = None) -> Callable[..., Run]:
    """torch.func.vmap of torch.func.grad through torch.compile, `block` networks at once."""

    def prepare(weights: Weights, numbers: Numbers, steps: int, eta: float, device: str) -> Run:
        import torch  # pyright: ignore[reportMissingImports]

        torch.set_num_threads(cores())
        slopes = torch.func.vmap(torch.func.grad(_loss))

        def step(weights: list[Any], s2: Any, lam: Any) -> list[Any]:
            return [w - eta * slope for w, slope in zip(weights, slopes(weights, s2, lam), strict=True)]

        step = torch.compile(step, dynamic=False)

        def descend(weights: list[Any], s2: Any, lam: Any) -> list[Any]:
            for _ in range(steps):
                weights = step(weights, s2, lam)
            return weights

        return lambda: _blocks(descend, weights, numbers, block, device)

    return prepare


def by_hand(block: int | None = None, threads: int | None = None) -> Callable[..., Run]:
    """torch.bmm into buffers, with the gradients of the theory, `block` networks at once."""

    def prepare(weights: Weights, numbers: Numbers, steps: int, eta: float, device: str) -> Run:
        import torch  # pyright: ignore[reportMissingImports]

        torch.set_num_threads(threads or cores())

        def descend(weights: list[Any], s2: Any, lam: Any) -> list[Any]:
            *layers, v = [w.clone() for w in weights]
            s2, lam = s2[:, None], lam[:, None]
            products = [layers[0], *(torch.empty_like(layer) for layer in layers[1:])]
            residual, scaled = torch.empty_like(v), torch.empty_like(v)
            backs = [torch.empty_like(layer) for layer in layers]
            for _ in range(steps):
                for a, layer in enumerate(layers[1:]):
                    torch.bmm(layer, products[a], out=products[a + 1])
                torch.bmm(v, products[-1], out=residual)
                torch.mul(products[-1], lam, out=scaled)
                residual.mul_(s2).sub_(scaled)
                torch.bmm(v.mT, residual, out=backs[-1])
                for a in range(len(layers) - 1, 0, -1):
                    torch.bmm(layers[a].mT, backs[a], out=backs[a - 1])
                v.baddbmm_(residual, products[-1].mT, alpha=-eta)
                for a in range(len(layers) - 1, 0, -1):
                    layers[a].baddbmm_(backs[a], products[a - 1].mT, alpha=-eta)
                layers[0].sub_(backs[0], alpha=eta)
            return [*layers, v]

        return lambda: _blocks(descend, weights, numbers, block, device)

    return prepare


def _blocks(descend: Callable, weights: Weights, numbers: Numbers, block: int | None, device: str) -> Weights:
    """Blocks of networks one after the other."""
    import torch  # pyright: ignore[reportMissingImports]

    count = len(numbers[0])
    start = [torch.from_numpy(w).to(device) for w in weights]
    s2, lam = (torch.from_numpy(a).to(device) for a in numbers)
    done = []
    for i in range(0, count, block or count):
        part = slice(i, i + (block or count))
        done.append(descend([w[part] for w in start], s2[part], lam[part]))
    return [torch.cat(same).cpu().numpy() for same in zip(*done, strict=True)]


def products(networks: int, n: int, repeats: int, device: str = "cpu") -> Callable[[], int]:
    """A call which does batched n x n float32 products by torch.bmm, and returns how many."""
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(cores())
    a, b = (torch.randn(networks, n, n, device=device) for _ in range(2))
    out = torch.empty_like(a)

    def run() -> int:
        for _ in range(repeats):
            torch.bmm(a, b, out=out)
        if device != "cpu":
            torch.cuda.synchronize()
        return repeats * networks

    return run


def products_in_processes(networks: int, n: int, repeats: int) -> Callable[[], int]:
    """The same as `products`, for blocks of 8 in a process of one thread on each core."""
    pools = workers()

    def run() -> int:
        times = repeats * networks // (8 * len(pools))
        return sum([done.result() for done in [pool.submit(_products_of_8, n, times) for pool in pools]])

    return run


def _products_of_8(n: int, repeats: int) -> int:
    """In a process of one thread."""
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(1)
    a, b = (torch.randn(8, n, n) for _ in range(2))
    out = torch.empty_like(a)
    for _ in range(repeats):
        torch.bmm(a, b, out=out)
    return 8 * repeats
