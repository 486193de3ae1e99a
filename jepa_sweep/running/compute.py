"""Points to rows, and what that took."""

import time

import numpy as np

from jepa_sweep.running.provenance import peak_memory
from jepa_sweep.spec.grid import Grid
from jepa_sweep.store.records import Work
from jepa_sweep.systems.rows import with_keys
from jepa_sweep.systems.system import Measurement, Place, Rows, System


def compute(
    system: System, grid: Grid, index: np.ndarray, measurement: Measurement, place: Place
) -> tuple[dict[str, Rows], Work]:
    """All tables for the points at `index`, which lie in one segment of the grid, and what they took.

    Raises:
        JepaSweepError: JAX was found to compute wrongly on this machine.
    """
    from jepa_sweep.engine import programs, selfcheck  # not at the top: planning needs no engine

    began = time.perf_counter()
    selfcheck.require(place.device, measurement.solver.method, place.batch)
    checking, compiling = time.perf_counter() - began, programs.Compiled.seconds
    points = grid.take(index)
    rows, effort = system.compute(points, measurement, place)
    rows = {name: with_keys(system, points, found) for name, found in rows.items()}
    compiled = programs.Compiled.seconds - compiling
    seconds = time.perf_counter() - began - checking - compiled
    return rows, Work(seconds, compiled + checking, *effort, peak_memory())
