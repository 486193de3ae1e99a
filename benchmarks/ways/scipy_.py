"""SciPy's `solve_ivp`, one point after another: in u with a terminal event, and over chi without one."""

import math

import numpy as np
from scipy.integrate import solve_ivp

from benchmarks.common import Clock, Scaled, Way, clock, on_each_core, scaled

LEAST = 100 * np.finfo(float).eps  # of a relative tolerance, in SciPy


def solve_clock(c: Clock, rtol: float, method: str) -> np.ndarray:
    """Times over chi, by the method `method`."""

    def one(start: float, span: float, scale: float, power: float) -> float:
        first = min(0.5, 1 / (1e-3 + power * span))  # no more than an e-fold of the integrand
        sol = solve_ivp(
            lambda s, y: [span * (scale + scale * math.exp(-start - span * s)) ** power],
            (0.0, 1.0),
            [0.0],
            method=method,
            rtol=max(rtol, LEAST),
            atol=1e-300,
            first_step=first,
        )
        return sol.y[0, -1]

    return c.unit * [one(*row) for row in zip(c.start, c.span, c.scale, c.power, strict=True)]


def solve_event(scaled: Scaled, rtol: float, method: str) -> np.ndarray:
    """Times in u, by the method `method`."""

    def one(r: float, q: float, a: float, m: float) -> float:
        def event(s: float, v: np.ndarray) -> float:
            return v[0] * r / q - 1

        event.__dict__["terminal"] = True  # as `solve_ivp` asks, in words that type checkers accept
        sol = solve_ivp(
            lambda s, v: v**a * (1 - (r * v) ** m),
            (0.0, 1e30),
            [1.0],
            method=method,
            rtol=max(rtol, LEAST),
            atol=rtol,
            events=event,
            first_step=0.01,
        )
        return sol.t_events[0][0] if len(sol.t_events[0]) else np.nan

    with np.errstate(over="ignore", invalid="ignore"):  # of steps tried and rejected
        times = [one(*row) for row in zip(*scaled[:4], strict=True)]
    return scaled.unit * times


WAYS = [
    Way(f"scipy {method}, {name}", on_each_core(scale, solve, method), batch=128)
    for name, scale, solve in (("over chi", clock, solve_clock), ("event in u", scaled, solve_event))
    for method in ("DOP853", "LSODA")
]
