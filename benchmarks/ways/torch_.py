"""torchode, which steps each row of a batch on its own but knows no events: over chi, one thread a process."""

import importlib
from typing import Any

import numpy as np

from benchmarks.common import Clock, Way, clock, needs, on_each_core

WIDTH = 32_768  # rows of one batch, which runs until its slowest row ends; fewer cost more in dispatching


def solve(c: Clock, rtol: float, method: str) -> np.ndarray:
    """Times by the method `method`."""
    import torch  # pyright: ignore[reportMissingImports]

    to: Any = importlib.import_module("torchode")  # its own types are too narrow for a checker

    torch.set_num_threads(1)

    def times(start: Any, span: Any, scale: Any, power: Any) -> Any:
        def right(s: Any, y: Any) -> Any:
            return (span * (scale + scale * torch.exp(-start - span * s)) ** power)[:, None]

        term = to.ODETerm(right, with_stats=False)
        controller = to.IntegralController(atol=1e-300, rtol=rtol, term=term)
        solver = to.AutoDiffAdjoint(getattr(to, method)(term), controller, max_steps=100_000)
        zero, one = torch.zeros_like(span), torch.ones_like(span)
        first = torch.minimum(one / 2, 1 / (1e-3 + power * span))  # no more than an e-fold of the integrand
        problem = to.InitialValueProblem(y0=zero[:, None], t_start=zero, t_end=one)
        return solver.solve(problem, dt0=first).ys[:, -1, 0]

    columns = [torch.from_numpy(np.ascontiguousarray(x)) for x in c[:4]]
    with torch.no_grad():
        parts = [times(*(x[i : i + WIDTH] for x in columns)) for i in range(0, len(c.unit), WIDTH)]
    return c.unit * torch.cat(parts).numpy()


WAYS = [
    Way(f"torchode {method.lower()}, over chi", on_each_core(clock, solve, method), needs("torchode"), batch=2 * WIDTH)
    for method in ("Dopri5", "Tsit5")
]
