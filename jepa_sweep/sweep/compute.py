"""Points to rows, for every kind of table there is."""

from collections.abc import Callable

import numpy as np

from jepa_sweep.sweep import critical_times, estimates, networks
from jepa_sweep.sweep.grid import Grid
from jepa_sweep.sweep.rows import Place, Rows, Work
from jepa_sweep.sweep.spec import Sweep

Compute = Callable[[Sweep, Grid, np.ndarray, Place], tuple[dict[str, Rows], Work]]
LAYOUTS: dict[str, Compute] = {
    "critical_times": critical_times.compute,
    "networks": networks.compute,
    "estimates": estimates.compute,
}


def compute(sweep: Sweep, grid: Grid, index: np.ndarray, place: Place) -> tuple[dict[str, Rows], Work]:
    """All tables for the points at `index`, which lie in one segment of the grid, and what they took."""
    return LAYOUTS[sweep.record.layout](sweep, grid, index, place)
