"""What theory says of many points, and what solves of them come to: arrays that threads fill, each its own rows."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jepa_sweep.physics.dynamics import Coordinate
from jepa_sweep.physics.host import Status

Times = Float[np.ndarray, "n s"]


class Predicted(NamedTuple):
    """Theory for a batch of points and thresholds, float64; status codes decided before any integration."""

    status: np.ndarray
    values: dict[str, np.ndarray]  # what was asked for, by name

    @property
    def w_star(self) -> np.ndarray:
        """Rest points."""
        return self.values["w_star"]

    @property
    def flow_time(self) -> np.ndarray:
        """Flow time per unit of the field's time."""
        return self.values["flow_time"]

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> "Predicted":
        """The same with a change to every array."""
        return Predicted(change(self.status), {name: change(array) for name, array in self.values.items()})


class Solves(NamedTuple):
    """Numeric results for n points, in the precision asked for, times in the field's convention."""

    status: np.ndarray  # (n, thresholds), codes
    time: np.ndarray  # (n, thresholds); NaN unless `status` is LEARNED
    steps: np.ndarray  # (n,), accepted and rejected
    samples: np.ndarray  # (n, times, observables), the response first; NaN from where the solver gave up
    ended: np.ndarray  # (n,), LEARNED, or why the solver gave up
    lane_steps: int  # paid for, on all lanes, whether they had work or not

    def rows(self, rows: slice) -> "Solves":
        """Those of some of the points, in the same memory."""
        return Solves(*(a[rows] for a in self[:-1]), lane_steps=0)

    def in_unit(self, factor: np.ndarray) -> "Solves":
        """The same for whoever multiplies times by a factor: those that are no number then are UNDERFLOW."""
        if np.all(factor == 1):
            return self
        its, lost = np.finfo(self.time.dtype), np.zeros(self.time.shape, bool)
        np.less(self.time * factor, its.tiny, out=lost, where=self.status == Status.LEARNED)
        status, time = np.where(lost, Status.UNDERFLOW, self.status), np.where(lost, np.nan, self.time)
        return self._replace(status=status.astype(self.status.dtype), time=time)

    def clear(self, status: np.ndarray, ended: Status) -> None:
        """Note that nothing was integrated: no times, no samples, no steps."""
        self.status[...], self.time[...], self.steps[...] = status, np.nan, 0
        self.samples[...], self.ended[...] = np.nan, ended


def room(shape: tuple[int, ...], samples: int, coordinate: Coordinate, precision: str) -> Solves:
    """Memory for the results of points with thresholds, not yet touched: that is left to the threads that use it."""
    return Solves(
        status=np.empty(shape, np.int8),
        time=np.empty(shape, precision),
        steps=np.empty(shape[:1], np.int64),
        samples=np.empty((shape[0], samples, coordinate.width), precision),
        ended=np.empty(shape[:1], np.int8),
        lane_steps=0,
    )


def unsolved(status: np.ndarray, times: Times | None, coordinate: Coordinate, precision: str, ended: Status) -> Solves:
    """Results of points before any integration: no times, no samples, no steps."""
    solves = room(status.shape, 0 if times is None else times.shape[1], coordinate, precision)
    solves.clear(status, ended)
    return solves
