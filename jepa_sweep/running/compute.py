"""Points to rows, for every kind of table there is."""

import importlib
import time

import numpy as np

from jepa_sweep.spec.grid import Grid
from jepa_sweep.spec.models import Sweep
from jepa_sweep.systems.rows import Place, Rows, Work

LAYOUTS = {"critical_times": "flows", "networks": "networks", "estimates": "series"}


def compute(sweep: Sweep, grid: Grid, index: np.ndarray, place: Place) -> tuple[dict[str, Rows], Work]:
    """All tables for the points at `index`, which lie in one segment of the grid, and what they took.

    The layout of a system names the module here that computes its rows. It is imported when there is something to
    compute: planning, and finding out that nothing is left to do, need no engine.

    Raises:
        JepaSweepError: JAX was found to compute wrongly on this machine.
    """
    from jepa_sweep.engine import selfcheck

    began = time.perf_counter()
    selfcheck.require(place.device, sweep.solver.method)
    checking = time.perf_counter() - began
    layout = importlib.import_module(f"jepa_sweep.systems.{LAYOUTS[sweep.record.layout]}")
    rows, work = layout.compute(sweep, grid, index, place)
    return rows, work._replace(compile_seconds=work.compile_seconds + checking)
