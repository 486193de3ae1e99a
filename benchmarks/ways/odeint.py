"""Boost.odeint, from the small C++ program beside this file, compiled here for this machine; a thread on each core."""

from functools import partial

import numpy as np

from benchmarks.common import Points, Run, Way, clock, scaled, select
from benchmarks.ways import cpp

PROGRAM = "odeint.cpp"


def missing() -> str:
    """Whether there is a compiler, and Boost."""
    reason = cpp.missing("boost/numeric/odeint.hpp")
    return f"{reason} (Debian: `g++`, `libboost-dev`)" if reason else ""


def version() -> str:
    """Boost's version."""
    number = cpp.compiled(PROGRAM).boost_version()
    return f"{number // 100_000}.{number // 100 % 1000}.{number % 100}"


def prepare(points: dict[str, Points], rtol: float, order: int, width: int) -> Run:
    """Over chi (`order` 5: dopri5, 0: bulirsch_stoer), or in u with an event when `width` is 0."""
    program = cpp.compiled(PROGRAM)
    call = partial(program.clock_times, order, width) if width else program.event_times
    # Points of one depth side by side, because those that share a state share their steps.
    index = {o: np.argsort(points[o]["L"], kind="stable") for o in points}
    given = {o: (clock if width else scaled)(o, select(points[o], index[o])) for o in points}

    def times(objective: str) -> np.ndarray:
        out = np.empty(len(index[objective]))
        out[index[objective]] = cpp.solve(call, given[objective], rtol)
        return out

    return lambda: {objective: times(objective) for objective in points}


def _way(name: str, order: int, width: int) -> Way:
    return Way(f"Boost.odeint {name}", partial(prepare, order=order, width=width), missing)


WAYS = [
    *(_way(f"bulirsch_stoer, over chi, {width} wide", 0, width) for width in (1, 16, 32)),
    *(_way(f"dopri5, over chi, {width} wide", 5, width) for width in (1, 16, 32)),
    _way("dopri5, event in u", 5, 0),
]
