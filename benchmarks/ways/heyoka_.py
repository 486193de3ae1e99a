"""heyoka, a Taylor integrator which compiles each equation: over chi without an event, and in u with one.

One integrator for each objective and depth, compiled once and fed parameters; `width` points go side by side in vector
registers, each with steps of its own.
"""

import functools
from typing import Any

import numpy as np

from benchmarks.common import Points, Way, by_layers, clock, exponents, needs, on_each_core, scaled


def integrator(right: Any, width: int, rtol: float, inverse: Any = None) -> Any:
    """The integrator of y' = right, scalar or `width` wide, until y meets 1 / `inverse` if there is one.

    heyoka weighs the size of the event's function in its choice of steps, hence a function of order 1.
    """
    import heyoka as hy  # pyright: ignore[reportMissingImports]

    y = hy.make_vars("y")
    pars = len(hy.get_params([right] if inverse is None else [right, inverse]))
    if width == 1:
        events = [] if inverse is None else [hy.t_event(y * inverse - 1.0)]
        return hy.taylor_adaptive([(y, right)], [1.0], pars=[0.5] * pars, tol=rtol, t_events=events)
    events = [] if inverse is None else [hy.t_event_batch(y * inverse - 1.0)]
    start, half = np.ones((1, width)), np.full((pars, width), 0.5)
    return hy.taylor_adaptive_batch([(y, right)], start, pars=half, tol=rtol, t_events=events)


@functools.cache
def over_chi(objective: str, L: int, width: int, rtol: float) -> Any:
    """Time from s = 0 to 1, see `benchmarks.common.Clock`."""
    import heyoka as hy  # pyright: ignore[reportMissingImports]

    a, m = exponents(objective, L)
    span, start, scale = hy.par[0], hy.par[1], hy.par[2]
    right = span * (scale * (1.0 + hy.exp(-start - span * hy.time))) ** ((a - 1) / m)
    return integrator(right, width, rtol)


@functools.cache
def in_u(objective: str, L: int, width: int, rtol: float) -> Any:
    """v until it meets q / r, see `benchmarks.common.Scaled`."""
    import heyoka as hy  # pyright: ignore[reportMissingImports]

    a, m = exponents(objective, L)
    v = hy.make_vars("y")
    right = v ** float(a) * (1.0 - (hy.par[0] * v) ** float(m))
    return integrator(right, width, rtol, inverse=hy.par[1])


def solve_clock(objective: str, points: Points, rtol: float, width: int) -> np.ndarray:
    """Times of `points` over chi."""

    def times(objective: str, L: int, points: Points) -> np.ndarray:
        ta = over_chi(objective, L, width, rtol)
        c = clock(objective, points)
        state, pars = ta.state, ta.pars
        rows = np.stack([c.span, c.start, c.scale])[: len(pars)]  # the integrand of MAE at L = 1 is a constant
        count = len(c.unit)
        out = np.empty(count)
        if width == 1:
            for i in range(count):
                state[0], pars[:], ta.time = 0.0, rows[:, i], 0.0
                ta.propagate_until(1.0)
                out[i] = state[0]
            return c.unit * out
        rows = rows[:, np.minimum(np.arange(count + -count % width), count - 1)]
        for i in range(0, count, width):
            state[:], pars[:] = 0.0, rows[:, i : i + width]
            ta.set_time(0.0)
            ta.propagate_until(1.0)
            out[i : i + width] = state[0, : count - i]
        return c.unit * out

    return by_layers(objective, points, times)


def solve_event(objective: str, points: Points, rtol: float, width: int) -> np.ndarray:
    """Times of `points` in u; a lane which met its threshold takes the next point."""

    def times(objective: str, L: int, points: Points) -> np.ndarray:
        ta = in_u(objective, L, width, rtol)
        s = scaled(objective, points)
        rows, state, pars = np.stack([s.r, s.r / s.q]), ta.state, ta.pars
        count = len(s.unit)
        out = np.empty(count)
        if width == 1:
            for i in range(count):
                state[0], pars[:], ta.time = 1.0, rows[:, i], 0.0
                ta.reset_cooldowns()
                ta.propagate_until(1e30)
                out[i] = ta.time
            return s.unit * out
        rows = rows[:, np.minimum(np.arange(count + width), count - 1)]  # for lanes with nothing left to do
        out = np.empty(count + width)
        lanes, waiting = np.arange(width), width
        state[:], pars[:] = 1.0, rows[:, lanes]
        ta.set_time(0.0)
        while lanes.min() < count:
            ta.reset_cooldowns()
            ta.propagate_until(1e30)
            done = np.flatnonzero(state[0] * pars[1] > 1 - 1e-9)  # a lane at its event is there to rounding
            now = ta.time.copy()
            out[lanes[done]] = now[done]
            lanes[done] = np.minimum(np.arange(waiting, waiting + len(done)), count + width - 1)
            waiting += len(done)
            state[0, done], pars[:, done], now[done] = 1.0, rows[:, lanes[done]], 0.0
            ta.set_time(now)
        out = out[:count]
        return s.unit * out

    return by_layers(objective, points, times)


def _way(name: str, solve: Any, width: int) -> Way:
    return Way(f"heyoka, {name}, {width} wide", on_each_core(solve, width), needs("heyoka"))


WAYS = [_way("over chi", solve_clock, w) for w in (1, 8, 32)] + [_way("event in u", solve_event, w) for w in (1, 64)]
