"""This package: its engine, and its closed form."""

from typing import Any

import numpy as np

from benchmarks.common import P, Points, Run, Times, Way

ENGINE = "jepa_sweep engine"


def ours(points: dict[str, Points], rtol: float) -> Run:
    """The engine as it comes, with every default."""
    from jepa_sweep.engine import lanes
    from jepa_sweep.engine.solver import Settings
    from jepa_sweep.physics.catalog import SYSTEMS

    systems, settings = SYSTEMS["reduced"], Settings(rtol=rtol)
    p = {o: np.full(len(points[o]["L"]), P) for o in points}
    predicted = {o: lanes.predict(systems[o], points[o], p[o]) for o in points}

    def run() -> Times:
        return {o: lanes.solve(systems[o], points[o], p[o], predicted[o], settings).time for o in points}

    return run


def closed_form(points: dict[str, Points], rtol: float) -> Run:
    """The closed form of the times, through the public function."""
    del rtol
    import jepa_sweep as js

    columns: dict[str, Any] = {**points}
    return lambda: {o: np.asarray(js.critical_time(o, p=P, **columns[o])) for o in points}


WAYS = [Way(ENGINE, ours, batch=16_384), Way("jepa_sweep closed form", closed_form, exact=True, batch=16_384)]
