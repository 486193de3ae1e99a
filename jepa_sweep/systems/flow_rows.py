"""Rows of scalar flows: one a point, measured and predicted, and samples of the response over time."""

import dataclasses
from typing import NamedTuple

import numpy as np

from jepa_sweep.engine import lanes
from jepa_sweep.engine.solves import Predicted, Solves, unsolved
from jepa_sweep.physics.dynamics import Dynamics, Prediction
from jepa_sweep.physics.host import Columns, Status
from jepa_sweep.systems.rows import Integrations, pick
from jepa_sweep.systems.system import Effort, Measurement, Place, Points, Rows

# w(t) is called unresolved where rounding t to the solver's precision costs all but about three of its digits.
RESOLVED_DIGITS = 2e-3
RECHECKED, RECHECK_RTOL = 64, 1e-10  # single-precision points of a chunk that are solved again, and how well

# By the code of a status: whether the numerics gave up, and whether the response crosses, so that theory speaks of it.
GAVE_UP = np.array([status.failed for status in Status])
CROSSES = GAVE_UP | np.isin(list(Status), [Status.LEARNED, Status.OVERFLOW, Status.UNDERFLOW])


class _Solved(NamedTuple):
    """What was found of some points: arrays with one row an integration, and one column a threshold."""

    dynamics: Dynamics
    measurement: Measurement
    place: Place
    columns: Columns
    p: np.ndarray
    predicted: Predicted
    found: Solves
    times: np.ndarray | None  # of samples; NaN where there is no critical time at the first threshold

    def in_time(self, values: np.ndarray, at: np.ndarray | None = None, *, logarithm: bool = False) -> np.ndarray:
        """Times in the field's own convention, or their logarithms, in the convention asked for.

        They are given for all integrations and thresholds; or for the first threshold of the integrations `at`.
        """
        if self.measurement.time != "flow":
            return values
        unit = self.predicted.flow_time if at is None else self.predicted.flow_time[at, :1]
        return values + np.log(unit) if logarithm else values * unit.astype(values.dtype)


def compute(
    dynamics: Dynamics, observed: tuple[str, ...], points: Points, measurement: Measurement, place: Place
) -> tuple[dict[str, Rows], Effort]:
    """All tables of some points of a flow, whose observables are named in `observed`."""
    at = Integrations(points)
    solved = _solved(dynamics, at, measurement, place)
    status = at.rows(solved.found.status)
    steps = solved.found.steps[at.of_row]
    measures = {"status": status, "steps": steps, **{name: at.rows(v) for name, v in _measures(solved).items()}}
    failures = {"status": status, "message": status, "steps": steps}
    failed, every = GAVE_UP[status], np.arange(len(status))
    out = {"points": pick(Rows(measures, every), ~failed), "failures": pick(Rows(failures, every), failed)}
    if solved.times is not None:
        owner = np.flatnonzero((status == Status.LEARNED) & (at.slot == 0))
        out["trajectories"] = _trajectories(solved, observed, owner, at.of_row[owner])
    return out, Effort(int(solved.found.steps.sum()), solved.found.lane_steps, *_recheck(solved))


def _solved(dynamics: Dynamics, at: Integrations, measurement: Measurement, place: Place) -> _Solved:
    """Predict and integrate.

    Where theory lacks a critical time, that of a first integration says until when a second one samples.
    """
    rows = place.batch and place.batch * at.p.shape[1]
    predicted = lanes.predict(dynamics, at.columns, at.p, batch=rows, device=place.device)
    predicted = predicted._replace(status=np.where(at.wanted, predicted.status, Status.NOT_REACHED))

    wanted = predicted.status == Status.LEARNED
    exact = predicted.values["t_exact"] if "t_exact" in predicted.values else np.full(at.p.shape, np.nan)

    def times_until(critical: np.ndarray) -> np.ndarray | None:
        if not measurement.samples:
            return None
        first = np.where(wanted[:, :1], critical[:, :1].astype(float), np.nan)
        return first * np.linspace(0, measurement.until, measurement.samples)

    def solve(predicted: Predicted, times: np.ndarray | None) -> Solves:
        keep = {"within": measurement.within, **place._asdict()}
        return lanes.solve(dynamics, at.columns, at.p, predicted, measurement.solver, times=times, **keep)

    times = times_until(exact)
    if measurement.solver.method == "exact":
        settings = measurement.solver
        coordinate = dynamics.coordinate(settings.coordinate)
        found = unsolved(predicted.status, times, coordinate, settings.precision, Status.LEARNED)
    elif times is None or np.isfinite(exact[:, 0][wanted[:, 0]]).all():
        found = solve(predicted, times)
    else:
        found = solve(predicted, None)
        times = times_until(np.where(np.isfinite(exact), exact, found.time))
        sampled = solve(predicted._replace(status=np.full_like(predicted.status, Status.NOT_REACHED)), times)
        steps, lane_steps = found.steps + sampled.steps, found.lane_steps + sampled.lane_steps
        found = sampled._replace(status=found.status, time=found.time, steps=steps, lane_steps=lane_steps)
    if measurement.time == "flow":
        found = found.in_unit(predicted.flow_time)
    return _Solved(dynamics, measurement, place, at.columns, at.p, predicted, found, times)


def _recheck(solved: _Solved) -> tuple[int, float]:
    """Solve some single-precision points again in double precision on the host; how many, and their worst error."""
    settings, found = solved.measurement.solver, solved.found
    if settings.precision == "float64" or settings.method == "exact":
        return 0, 0.0
    learned = np.argwhere(found.status == Status.LEARNED)
    if not len(learned):
        return 0, 0.0
    point, slot = np.random.default_rng(solved.p.size).choice(learned, min(RECHECKED, len(learned)), replace=False).T
    again = lanes.solve(
        solved.dynamics,
        {name: values[point] for name, values in solved.columns.items()},
        solved.p[point, slot, None],
        solved.predicted.map(lambda square: square[point, slot, None]),
        dataclasses.replace(settings, precision="float64", rtol=RECHECK_RTOL),
        batch=RECHECKED,
        device="cpu",
        within=np.inf,
    )
    return len(point), float(np.nanmax(np.abs(found.time[point, slot] / again.time[:, 0] - 1)))


def _measures(solved: _Solved) -> Columns:
    """Measured and predicted times in the unit asked for."""
    found, predicted = solved.found, solved.predicted
    crosses = CROSSES[found.status]
    speaks = {"crossing": crosses, "growth": crosses & (solved.p < 1)}

    def column(prediction: Prediction) -> np.ndarray:
        values = solved.in_time(predicted.values[prediction.name], logarithm=prediction.logarithm)
        return values if prediction.where == "always" else np.where(speaks[prediction.where], values, np.nan)

    with np.errstate(all="ignore"):
        measures = {prediction.name: column(prediction) for prediction in solved.dynamics.predictions}
        if "t_exact" in predicted.values:
            exact = predicted.values["t_exact"]
            difference = found.time.astype(float)
            difference -= exact
            measures["relative_difference"] = np.divide(np.abs(difference, out=difference), exact, out=difference)
        return {**measures, "w_star": predicted.w_star, "t_numeric": solved.in_time(found.time)}


def _trajectories(solved: _Solved, observed: tuple[str, ...], owner: np.ndarray, at: np.ndarray) -> Rows:
    """Samples of the rows in `owner`, which are those of the integrations `at`."""
    dynamics, found = solved.dynamics, solved.found
    assert solved.times is not None, "asked for where there are samples"
    times, seen = solved.times[at], found.samples[at]
    samples = {"w": seen[:, :, 0], **{name: seen[:, :, 1 + i] for i, name in enumerate(observed)}}
    computed, blurred, off = samples["w"], *np.zeros((2, *times.shape), dtype=bool)
    if dynamics.trajectory:
        exact, condition = times, times
        if len(at):
            own = {name: values[at] for name, values in solved.columns.items()}
            exact, condition = lanes.exact_paths(dynamics, own, times, **solved.place._asdict())
        computed = exact if solved.measurement.solver.method == "exact" else computed
        blurred = condition * np.finfo(seen.dtype).eps > RESOLVED_DIGITS
        if dynamics.exact:
            off = np.abs(computed - exact) > solved.measurement.within * (1 + condition) * exact
        samples |= {"w_exact": exact, "condition": condition}
    gave_up = np.where(found.ended[at] == Status.LEARNED, Status.NON_FINITE, found.ended[at])[:, None]
    status = np.where(np.isfinite(computed), np.where(off, Status.INACCURATE, Status.RESOLVED), gave_up)
    samples |= {"t": solved.in_time(times, at), "status": np.where(blurred, Status.UNRESOLVED, status)}
    return Rows({name: values.ravel() for name, values in samples.items()}, np.repeat(owner, times.shape[1]))
