"""How the points of a sweep will end, as far as their system knows before anything is computed; it needs no JAX."""

from typing import NamedTuple

import numpy as np

from jepa_sweep.physics.host import Status
from jepa_sweep.spec.grid import Grid
from jepa_sweep.spec.models import Sweep

MOST = 1 << 17  # points that are looked at, which takes some hundredths of a second


class Unmet(NamedTuple):
    """Values with which no point is learned."""

    values: np.ndarray
    counts: np.ndarray  # (values, codes of statuses), of the points that have them


class Forecast(NamedTuple):
    """What was found of the points that were looked at: all of a sweep, or some drawn from it."""

    statuses: dict[str, int]  # the most frequent first
    unmet: dict[str, Unmet]  # by parameter, or p
    looked: int
    all: bool

    def of(self, points: int) -> dict[str, int]:
        """The statuses of so many points; in three digits, if not all were looked at."""
        if self.all:
            return self.statuses
        return {status: int(float(f"{n * points / self.looked:.3g}")) for status, n in self.statuses.items()}


def forecast(sweep: Sweep, grid: Grid) -> Forecast | None:
    """What the system of a sweep knows of its points; None if it knows nothing before they are computed."""
    if sweep.system.forecast is None:
        return None
    pieces = list(grid.some(MOST))
    codes = [sweep.system.forecast(points, sweep.measurement) for points in pieces]
    every = np.concatenate(codes)
    missed = every != Status.LEARNED
    unmet: dict[str, Unmet] = {}
    if missed.any() and not missed.all():
        for name in (*pieces[0].columns, "p"):
            values = np.concatenate([q.p if name == "p" else q.columns[name] for q in pieces])
            some, which = np.unique(values[missed], return_inverse=True)
            never = ~np.isin(some, values[~missed])
            if never.any():
                cells = np.bincount(which * len(Status) + every[missed], minlength=len(some) * len(Status))
                unmet[name] = Unmet(some[never], cells.reshape(len(some), len(Status))[never])
    return Forecast(_counted(every), unmet, len(every), grid.size <= MOST)


def _counted(codes: np.ndarray) -> dict[str, int]:
    counts = np.bincount(codes)
    order = [code for code in np.argsort(-counts, kind="stable") if counts[code]]
    return {Status(code).label: int(counts[code]) for code in order}
