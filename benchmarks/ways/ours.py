"""This package: its engine in the ways it offers, and its closed form."""

import functools
from typing import Any

import numpy as np

from benchmarks.common import P, Points, Run, Times, Way

ENGINE = "jepa_sweep engine"
SOLVE = "js.solve, as it stands"
CRITICAL_TIME = "js.critical_time, as it stands"


def engine(points: dict[str, Points], rtol: float, **settings: Any) -> Run:
    """The engine, its predictions made before, with a thread for each core."""
    from jepa_sweep.engine import lanes
    from jepa_sweep.engine.settings import Settings
    from jepa_sweep.physics.reduced import DYNAMICS

    systems, p, predicted = DYNAMICS, {}, {}
    for o in points:
        p[o] = np.full((len(points[o]["L"]), 1), P)
        predicted[o] = lanes.predict(systems[o], points[o], p[o])

    def solve(o: str) -> np.ndarray:
        return lanes.solve(systems[o], points[o], p[o], predicted[o], Settings(rtol=rtol, **settings)).time[:, 0]

    def run() -> Times:
        return {o: solve(o) for o in points}

    return run


def closed_form(points: dict[str, Points], rtol: float) -> Run:
    """The closed form of the times, through the public function."""
    del rtol
    import jepa_sweep as js

    columns: dict[str, Any] = {**points}
    return lambda: {o: np.asarray(js.critical_time(o, p=P, **columns[o])) for o in points}


def as_it_stands(points: dict[str, Points], rtol: float) -> Run:
    """The public function, with what it assumes where nothing is said."""
    import jepa_sweep as js

    columns: dict[str, Any] = {**points}
    return lambda: {o: js.solve(o, rtol=rtol, **columns[o]).time for o in points}


def _engine(name: str, **settings: Any) -> Way:
    return Way(f"{ENGINE}, {name}", functools.partial(engine, **settings), batch=65_536)


WAYS = [
    _engine("clenshaw_curtis over chi", method="clenshaw_curtis"),
    _engine("dopri8 over chi"),
    _engine("dopri8, event in ln w", coordinate="log_w"),
    _engine("tsit5, event in ln w", coordinate="log_w", method="tsit5"),
    Way(SOLVE, as_it_stands, apart=True, batch=65_536),
    Way("jepa_sweep closed form", closed_form, exact=True, batch=65_536),
    Way(CRITICAL_TIME, closed_form, exact=True, apart=True, batch=65_536),
]
