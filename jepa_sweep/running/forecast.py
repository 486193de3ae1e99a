"""What points will take, before any has been computed: nominal rates of two cores of a 2024 server processor.

Good to a factor of a few; once a store has points, `plan` goes by what they took.
"""

from typing import NamedTuple

import numpy as np

from jepa_sweep.engine.settings import COPIES, GROUP
from jepa_sweep.physics.experiments import OPTIMIZERS
from jepa_sweep.physics.systems import Columns
from jepa_sweep.spec.grid import Grid
from jepa_sweep.spec.models import Sweep

FLOPS = 3e10  # a second, in products of matrices that stay in the cache
OVERHEAD = 1e-6  # seconds a step takes, however small its matrices
FLOW_STEPS, FLOW_STAGES = 1000, 13  # of a gradient flow, rtol 1e-8
SECONDS_PER_VALUE, FEWEST_VALUES = 5e-8, 1 << 15  # of a series: a value of a feature at one time
BYTES_PER_SAMPLE, BYTES_PER_FEATURE, BYTES_PER_ENTRY, BYTES_PER_LOSS, BYTES_PER_ROW = 30.0, 45.0, 20.0, 15.0, 100.0
CORES = 2

# Of scalar flows, rtol 1e-8: one row of points, one sample of a trajectory.
_SECONDS_PER_POINT, _SECONDS_PER_SAMPLE = 2e-6, 2e-7
_BYTES_PER_POINT, _BYTES_PER_SAMPLE = 75.0, 27.0


class Forecast(NamedTuple):
    """What some rows of `points` take, with all that belongs to them in other tables."""

    seconds: float = 0.0  # without compiling
    bytes: float = 0.0  # of files

    def plus(self, other: "Forecast") -> "Forecast":
        """Of both together."""
        return Forecast(self.seconds + other.seconds, self.bytes + other.bytes)


def of(sweep: Sweep, grid: Grid, index: np.ndarray | range) -> Forecast:
    """For the points at `index`, which lie in one segment of the grid."""
    count, layout = len(index), sweep.record.layout
    if not count:
        return Forecast()
    if layout == "critical_times":
        each = _samples(sweep) / len(grid.p)  # trajectories belong to the first threshold
        seconds = _SECONDS_PER_POINT + each * _SECONDS_PER_SAMPLE
        return Forecast(count * seconds, count * (_BYTES_PER_POINT + each * _BYTES_PER_SAMPLE))
    columns = grid.take(np.asarray(index)).columns
    d = columns["features"]
    if layout == "estimates":
        values = np.maximum(10 ** columns["log10_T"] * d, FEWEST_VALUES)
        each = BYTES_PER_FEATURE * d + BYTES_PER_ENTRY * d**2 + BYTES_PER_SAMPLE * d * _samples(sweep)
        return Forecast(float(values.sum()) * SECONDS_PER_VALUE, float((BYTES_PER_ROW + each).sum()))
    # Thresholds share one network, and its samples.
    each = _samples(sweep) / len(grid.p)
    seconds = steps(sweep, columns) * (OVERHEAD + step_flops(columns) / FLOPS) / len(grid.p)
    size = BYTES_PER_ROW + BYTES_PER_FEATURE * d + each * (BYTES_PER_LOSS + BYTES_PER_SAMPLE * d)
    return Forecast(float(seconds.sum()), float(size.sum()))


def steps(sweep: Sweep, columns: Columns) -> np.ndarray:
    """Evaluations of the gradient: steps of an optimiser, or all stages of a flow's steps."""
    if sweep.solver.method in OPTIMIZERS:
        return np.rint(columns["t_end"] / columns["eta"])
    return np.full(columns["t_end"].shape, FLOW_STEPS * FLOW_STAGES)


def step_flops(columns: Columns) -> np.ndarray:
    """Floating-point operations of one gradient of one network.

    Of the whole population 6 (L+1) n^2 d: through each layer one product forward and two back. Of a batch of b samples
    8 (L+1) n^2 b, since the target is encoded too, and a look at the maps of a linear network besides.
    """
    L, d = columns["L"], columns["features"]
    n = np.maximum(columns["width"], d)
    batch = columns.get("batch", np.zeros_like(L))
    return (L + 1) * n**2 * np.where(batch > 0, 8 * batch + 2 * d, 6 * d)


def memory(sweep: Sweep, grid: Grid, size: int) -> float:
    """Bytes of memory at the peak, for chunks of `size` points, of which two are held."""
    each, chunk = _samples(sweep) / len(grid.p), min(size, grid.size)
    if sweep.record.layout == "critical_times":
        return 5e8 + chunk * (600 + 400 * each)
    # Features, L and width group files: one point of each segment says them.
    heads = [grid.take(np.array([start])).columns for start, _ in grid.segments()]
    d = max(float(c["features"][0]) for c in heads)
    columns = 15 + len(sweep.record.parameters)
    entries = d**2 if sweep.record.layout == "estimates" else 0.0
    held = 2 * 8 * columns * chunk * (1 + d * (1 + each) + entries)
    if sweep.record.layout == "networks":
        weights = max(float((c["L"][0] + 1) * max(c["width"][0], c["features"][0]) ** 2) for c in heads)
        held += 8 * CORES * GROUP * COPIES * weights
    return 7e8 + held


def _samples(sweep: Sweep) -> int:
    wanted = sweep.measure.trajectories
    return wanted.samples if wanted else 0
