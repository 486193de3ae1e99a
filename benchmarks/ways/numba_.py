"""numba, which compiles loops of Python over points: DOP853 over chi, and a rule over each point's whole interval.

Threads on all cores (`parallel=True`), without `fastmath`. Its wheels know no exp and log of vectors, so that a point
is computed after another; an exp and log written in Python so that they vectorise made a rule 1.5 times as fast.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.integrate import DOP853

from benchmarks.common import Clock, Points, Run, Way, clock, needs
from benchmarks.ways.rule import gauss

BLOCK = 256  # points a thread takes at once, because the costly points are the last ones


@functools.cache
def dop853() -> Any:
    """Adaptive steps, with SciPy's coefficients and control, by the stages which carry weight.

    Over chi the slope does not depend on the state, so that the others have no effect; the last stage of a step is the
    first of the next.
    """
    import numba as nb  # pyright: ignore[reportMissingImports]

    stages = np.flatnonzero(DOP853.B)
    nodes, weights, by_5, by_3 = (np.array(all_[stages]) for all_ in (DOP853.C, DOP853.B, DOP853.E5, DOP853.E3))

    @nb.njit(parallel=True)
    def times(start: Any, span: Any, scale: Any, power: Any, rtol: float, out: Any) -> None:
        for i in nb.prange(len(out)):
            a, b, c, d = -start[i], -span[i], scale[i], power[i]
            s, time, step = 0.0, 0.0, min(0.5, 1 / (1e-3 + d * span[i]))  # no more than an e-fold of the integrand
            left = math.exp(d * math.log(c + c * math.exp(a)))
            while s < 1:
                step = min(step, 1 - s)
                slope = left
                rise, error_5, error_3 = weights[0] * slope, by_5[0] * slope, by_3[0] * slope
                for j in range(1, len(nodes)):
                    slope = math.exp(d * math.log(c + c * math.exp(a + b * (s + nodes[j] * step))))
                    rise += weights[j] * slope
                    error_5 += by_5[j] * slope
                    error_3 += by_3[j] * slope
                error = error_5**2 / math.sqrt(error_5**2 + 0.01 * error_3**2 + 1e-300)
                ratio = abs(step * error) / (rtol * (time + step * rise))
                if ratio < 1:
                    s, time, left = s + step, time + step * rise, slope
                step *= min(10.0, max(0.2, 0.9 * (ratio + 1e-300) ** -0.125))
            out[i] = span[i] * time

    return times


@functools.cache
def stretched_gauss() -> Any:
    """Gauss-Legendre of 12 points in the variable y of `rule.cpp`, its error from 10 points; halves where it fails."""
    import numba as nb  # pyright: ignore[reportMissingImports]

    (nodes, weights), (rough_nodes, rough_weights) = gauss(12), gauss(10)

    @nb.njit
    def integral(nodes: Any, weights: Any, low: float, width: float, start: float, rate: float, reach: float, c, d):
        total = 0.0
        for j in range(len(nodes)):
            left = 1 - reach * (low + width * nodes[j])
            total += weights[j] / left * math.exp(d * math.log(c + c * math.exp(rate * math.log(left) - start)))
        return total * width

    @nb.njit(parallel=True)
    def times(start: Any, span: Any, scale: Any, power: Any, rtol: float, out: Any) -> None:
        for i in nb.prange(len(out)):
            ratio = (1 + math.exp(-start[i])) / (1 + math.exp(-start[i] - span[i]))
            k = max(1e-3, 0.1 * power[i] * math.log(ratio))
            rate, reach = span[i] / k, 1 - math.exp(-k)
            low, width, total = 0.0, 1.0, 0.0
            while low < 1:
                fine = integral(nodes, weights, low, width, start[i], rate, reach, scale[i], power[i])
                rough = integral(rough_nodes, rough_weights, low, width, start[i], rate, reach, scale[i], power[i])
                if abs(fine - rough) <= rtol * fine or width < 1e-3:
                    low, total = low + width, total + fine
                else:
                    width /= 2
            out[i] = rate * reach * total

    return times


def prepare(points: dict[str, Points], rtol: float, program: Callable[[], Any]) -> Run:
    """Over chi, see `benchmarks.common.Clock`."""
    import numba as nb  # pyright: ignore[reportMissingImports]

    call, given = program(), {objective: clock(objective, points[objective]) for objective in points}
    nb.set_parallel_chunksize(BLOCK)

    def times(c: Clock) -> np.ndarray:
        out = np.empty(len(c.unit))
        call(*c[:4], rtol, out)
        return c.unit * out

    return lambda: {objective: times(c) for objective, c in given.items()}


def _way(name: str, program: Callable[[], Any]) -> Way:
    return Way(f"numba {name}", functools.partial(prepare, program=program), needs("numba"), batch=4096)


WAYS = [
    _way("dop853, over chi", dop853),
    _way("Gauss-Legendre of 12 and 10 points, stretched", stretched_gauss),
]
