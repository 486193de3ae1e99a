"""Points to rows, and what that took."""

import time
from typing import NamedTuple

import numpy as np

from jepa_sweep.running.provenance import peak_memory
from jepa_sweep.spec.grid import Grid
from jepa_sweep.systems.rows import with_keys
from jepa_sweep.systems.system import Measurement, Place, Rows, System


class Work(NamedTuple):
    """What the rows of a chunk took, as it stands in its commit record."""

    seconds: float = 0.0  # of computing, without compiling
    compile_seconds: float = 0.0  # and of checking what was compiled, where nobody had yet
    steps: int = 0  # of the solver, accepted and rejected
    lane_steps: int = 0  # paid for on all lanes; what exceeds `steps` was wasted
    rechecked: int = 0  # single-precision times that were solved again in double precision
    recheck_error: float = 0.0  # the worst relative difference among them
    peak_memory_bytes: int = 0  # of the process, until then

    def plus(self, other: "Work") -> "Work":
        """The work of two chunks together."""
        # To a type checker all that `zip` gives may be a fraction, the counts too.
        both = Work(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))  # type: ignore[arg-type]
        return both._replace(
            recheck_error=max(self.recheck_error, other.recheck_error),
            peak_memory_bytes=max(self.peak_memory_bytes, other.peak_memory_bytes),
        )


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
