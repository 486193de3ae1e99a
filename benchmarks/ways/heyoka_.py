"""heyoka, a Taylor integrator which compiles each equation: over chi without an event, in u and in ln u with one.

`width` points go side by side in vector registers, each with steps of its own. Of its settings `fast_math` makes it
faster; `force_avx512` and `compact_mode` do not, nor does writing the equation over chi as products of three states.
"""

import functools
from typing import Any

import numpy as np

from benchmarks.common import Clock, Scaled, Way, clock, needs, on_each_core, scaled


def integrator(equations: list[tuple[Any, Any]], pars: int, width: int, rtol: float, event: Any = None) -> Any:
    """The integrator of equations with `pars` parameters, scalar or `width` wide, until `event` is zero if it is given.

    heyoka weighs the size of the event's function in its choice of steps, hence a function of order 1.
    """
    import heyoka as hy  # pyright: ignore[reportMissingImports]

    settings: dict[str, Any] = {"tol": rtol, "fast_math": True}
    if width == 1:
        events = [] if event is None else [hy.t_event(event)]
        return hy.taylor_adaptive(equations, [1.0] * len(equations), pars=[0.5] * pars, t_events=events, **settings)
    events = [] if event is None else [hy.t_event_batch(event)]
    start, half = np.ones((len(equations), width)), np.full((pars, width), 0.5)
    return hy.taylor_adaptive_batch(equations, start, pars=half, t_events=events, **settings)


@functools.cache
def over_chi(power: float, width: int, rtol: float) -> Any:
    """Time from s = 0 to 1, see `benchmarks.common.Clock`; an integrator for each power, which is a constant."""
    import heyoka as hy  # pyright: ignore[reportMissingImports]

    span, start, scale = hy.par[0], hy.par[1], hy.par[2]
    right = span * (scale * (1.0 + hy.exp(-start - span * hy.time))) ** power
    return integrator([(hy.make_vars("y"), right)], 3 if power else 1, width, rtol)


@functools.cache
def in_u(a: float, m: float, width: int, rtol: float) -> Any:
    """Time and v until r / q v is 1, see `benchmarks.common.Scaled`."""
    import heyoka as hy  # pyright: ignore[reportMissingImports]

    s, v = hy.make_vars("s", "v")
    equations = [(s, hy.expression(1.0)), (v, v**a * (1.0 - (hy.par[0] * v) ** m))]
    return integrator(equations, 2, width, rtol, event=hy.par[1] * v - 1.0)


@functools.cache
def in_log_u(width: int, rtol: float) -> Any:
    """Time and x = ln v until x / ln(q / r) is 1, on a clock on which x grows evenly at first."""
    import heyoka as hy  # pyright: ignore[reportMissingImports]

    s, x = hy.make_vars("s", "x")
    a, m, r_to_m, inverse = (hy.par[i] for i in range(4))
    equations = [(s, hy.exp((1.0 - a) * x)), (x, 1.0 - r_to_m * hy.exp(m * x))]
    return integrator(equations, 4, width, rtol, event=inverse * x - 1.0)


def solve_clock(c: Clock, rtol: float, width: int) -> np.ndarray:
    """Times over chi."""
    out = np.empty(len(c.unit))
    for power in np.unique(c.power):
        index = np.flatnonzero(c.power == power)
        ta = over_chi(float(power), width, rtol)
        pars = np.stack([c.span, c.start, c.scale])[: len(ta.pars), index]
        out[index] = _to_the_end(ta, pars, width)
    return c.unit * out


def _to_the_end(ta: Any, pars: np.ndarray, width: int) -> np.ndarray:
    """The state at time 1 from 0 at time 0, for columns of parameters."""
    count, state, room = pars.shape[1], ta.state, ta.pars
    out = np.empty(count)
    if width == 1:
        for i in range(count):
            state[0], room[:], ta.time = 0.0, pars[:, i], 0.0
            ta.propagate_until(1.0)
            out[i] = state[0]
        return out
    pars = np.pad(pars, ((0, 0), (0, -count % width)), mode="edge")
    for i in range(0, count, width):
        state[:], room[:] = 0.0, pars[:, i : i + width]
        ta.set_time(0.0)
        ta.propagate_until(1.0)
        out[i : i + width] = state[0, : count - i]
    return out


def solve_u(s: Scaled, rtol: float, width: int) -> np.ndarray:
    """Times by an event in u."""
    out = np.empty(len(s.unit))
    for a in np.unique(s.a):
        index = np.flatnonzero(s.a == a)
        ta = in_u(float(a), float(s.m[index[0]]), width, rtol)
        out[index] = _to_the_event(ta, np.stack([s.r, s.r / s.q])[:, index], 1.0, width)
    return s.unit * out


def solve_log_u(s: Scaled, rtol: float, width: int) -> np.ndarray:
    """Times by an event in ln u; points of one depth side by side end about together."""
    index = np.argsort(s.a, kind="stable")
    pars = np.stack([s.a, s.m, s.r**s.m, 1 / np.log(s.q / s.r)])[:, index]
    out = np.empty(len(s.unit))
    out[index] = _to_the_event(in_log_u(width, rtol), pars, 0.0, width)
    return s.unit * out


def _to_the_event(ta: Any, pars: np.ndarray, start: float, width: int) -> np.ndarray:
    """The first variable, from 0, when the second, from `start`, times the last parameter is 1.

    A lane which is there takes the next point.
    """
    count, state, room = pars.shape[1], ta.state, ta.pars
    if width == 1:
        out = np.empty(count)
        for i in range(count):
            state[:], room[:], ta.time = (0.0, start), pars[:, i], 0.0
            ta.reset_cooldowns()
            ta.propagate_until(1e30)
            out[i] = state[0]
        return out
    pars = pars[:, np.minimum(np.arange(count + width), count - 1)]  # for lanes with nothing left to do
    out = np.empty(count + width)
    lanes, waiting = np.arange(width), width
    state[0], state[1], room[:] = 0.0, start, pars[:, lanes]
    ta.set_time(0.0)
    while lanes.min() < count:
        ta.reset_cooldowns()
        ta.propagate_until(1e30)
        done = np.flatnonzero(state[1] * room[-1] > 1 - 1e-9)  # a lane at its event is there to rounding
        out[lanes[done]] = state[0, done]
        following = np.minimum(np.arange(waiting, waiting + len(done)), count + width - 1)
        waiting += len(done)
        lanes[done], room[:, done] = following, pars[:, following]
        state[0, done], state[1, done] = 0.0, start
    return out[:count]


def _way(name: str, scale: Any, solve: Any, width: int) -> Way:
    return Way(f"heyoka, {name}, {width} wide", on_each_core(scale, solve, width), needs("heyoka"))


WAYS = [
    *(_way("over chi", clock, solve_clock, width) for width in (1, 8, 64)),
    *(_way("event in u", scaled, solve_u, width) for width in (1, 128)),
    *(_way("event in ln u", scaled, solve_log_u, width) for width in (1, 256)),
]
