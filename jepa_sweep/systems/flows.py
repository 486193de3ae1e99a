"""Critical times of scalar flows: predictions, integration and trajectories of one chunk, as rows."""

import dataclasses
import time

import numpy as np

from jepa_sweep.engine import blocks, lanes
from jepa_sweep.physics.systems import Columns, Status, System
from jepa_sweep.running.provenance import peak_memory
from jepa_sweep.spec.grid import Grid, Points
from jepa_sweep.spec.models import Sweep
from jepa_sweep.systems.rows import Place, Rows, Thresholds, Work, keys_of, pick

# w(t) is called unresolved where rounding t to the solver's precision costs all but about three of its digits.
_RESOLVED_DIGITS = 2e-3
_RECHECKED, _RECHECK_RTOL = 64, 1e-10  # single-precision points of a chunk that are solved again, and how well


def compute(sweep: Sweep, grid: Grid, index: np.ndarray, place: Place) -> tuple[dict[str, Rows], Work]:
    """All tables for the points at `index`, which lie in one segment of the grid."""
    began, compiling = time.perf_counter(), blocks.Compiled.seconds
    points = grid.take(index)
    system, settings = sweep.systems[points.objective], sweep.solver.settings()
    assert isinstance(system, System), "this layout belongs to scalar flows"
    predicted = lanes.predict(system, points.columns, points.p, **place._asdict())
    rows = Thresholds(index, len(grid.p))
    times = _sample_times(sweep, rows, predicted)
    if sweep.solver.method == "exact":
        solved = _not_solved(rows, predicted, times, settings.precision)
    else:
        solved = lanes.solve(
            system,
            {name: values[rows.first] for name, values in points.columns.items()},
            rows.spread(points.p, np.nan),
            lanes.Predictions(*(rows.spread(field, Status.NOT_REACHED) for field in predicted)),
            settings,
            times=times,
            **place._asdict(),
        )
    status, steps = solved.status[rows.point, rows.slot], solved.steps[rows.point]
    unit = predicted.flow if sweep.solver.time == "flow" else np.ones(len(index))
    keys = keys_of(system, points.columns)
    failed = np.isin(status, [s for s in Status if s.failed])
    numeric = solved.time[rows.point, rows.slot]
    measures = {**keys, **_measures(points.p, predicted, numeric, status, steps, unit)}
    failures = {**keys, "p": points.p, "status": status, "message": status, "steps": steps}
    every = np.arange(len(index))
    out = {"points": pick(Rows(measures, every), ~failed), "failures": pick(Rows(failures, every), failed)}
    if times is not None:
        out["trajectories"] = _trajectories(sweep, system, keys, points, rows, solved, times, status, unit, place)
    checked = _recheck(sweep, system, points, predicted, numeric, status)
    compiled = blocks.Compiled.seconds - compiling
    seconds = time.perf_counter() - began - compiled
    return out, Work(seconds, compiled, int(solved.steps.sum()), solved.lane_steps, *checked, peak_memory())


def _sample_times(sweep: Sweep, rows: Thresholds, predicted: lanes.Predictions) -> np.ndarray | None:
    """Paper times of the samples of each point; NaN for points without a critical time at the first threshold."""
    wanted = sweep.measure.trajectories
    if not wanted:
        return None
    learned = np.where((predicted.status == Status.LEARNED) & (rows.slot == 0), predicted.time, np.nan)
    return rows.spread(learned, np.nan)[:, :1] * np.linspace(0, wanted.until, wanted.samples)


def _not_solved(
    rows: Thresholds, predicted: lanes.Predictions, times: np.ndarray | None, precision: str
) -> lanes.Solves:
    """In place of numeric results where none are asked for."""
    status = rows.spread(predicted.status, Status.NOT_REACHED)
    samples = 0 if times is None else times.shape[1]
    return lanes.Solves(
        status=status,
        time=np.full(status.shape, np.nan, precision),
        steps=np.zeros(len(status), np.int64),
        samples=np.full((len(status), samples, 1), np.nan, precision),
        ended=np.full(len(status), Status.LEARNED),
        lane_steps=0,
    )


def _recheck(
    sweep: Sweep, system: System, points: Points, predicted: lanes.Predictions, numeric: np.ndarray, status: np.ndarray
) -> tuple[int, float]:
    """Solve some single-precision points again in double precision on the host; how many, and their worst error."""
    settings = sweep.solver.settings()
    learned = np.flatnonzero(status == Status.LEARNED)
    if settings.precision == "float64" or settings.method == "exact" or not len(learned):
        return 0, 0.0
    some = np.random.default_rng(len(status)).choice(learned, min(_RECHECKED, len(learned)), replace=False)
    double = dataclasses.replace(settings, precision="float64", rtol=_RECHECK_RTOL)
    again = lanes.solve(
        system,
        {name: values[some] for name, values in points.columns.items()},
        points.p[some, None],
        lanes.Predictions(*(field[some, None] for field in predicted)),
        double,
        batch=_RECHECKED,
        device="cpu",
    )
    return len(some), float(np.nanmax(np.abs(numeric[some] / again.time[:, 0] - 1)))


def _measures(
    p: np.ndarray,
    predicted: lanes.Predictions,
    numeric: np.ndarray,
    status: np.ndarray,
    steps: np.ndarray,
    unit: np.ndarray,
) -> Columns:
    timed = np.isin(status, [Status.LEARNED, Status.OVERFLOW, *(s for s in Status if s.failed)])
    grows = timed & (p < 1)
    with np.errstate(all="ignore"):
        return {
            "p": p,
            "status": status,
            "w_star": predicted.w_star,
            "t_numeric": numeric * unit.astype(numeric.dtype),
            "t_exact": np.where(timed, predicted.time * unit, np.nan),
            "relative_difference": np.abs(numeric.astype(float) - predicted.time) / predicted.time,
            "t_leading": np.where(grows, predicted.leading * unit, np.nan),
            "t_asymptotic": np.where(grows, predicted.asymptotic * unit, np.nan),
            "t_inflection": predicted.inflection * unit,
            "log_t_exact": np.where(timed, predicted.log_time + np.log(unit), np.nan),
            "steps": steps,
        }


def _trajectories(
    sweep: Sweep,
    system: System,
    keys: Columns,
    points: Points,
    rows: Thresholds,
    solved: lanes.Solves,
    times: np.ndarray,
    status: np.ndarray,
    unit: np.ndarray,
    place: Place,
) -> Rows:
    owner = np.flatnonzero((status == Status.LEARNED) & (rows.slot == 0))
    here, precision = rows.point[owner], solved.samples.dtype
    times, numeric = times[here], solved.samples[here, :, 0]
    columns = {name: values[owner] for name, values in points.columns.items()}
    exact, condition = times, times
    if len(owner):
        exact, condition = lanes.exact_paths(system, columns, times, **place._asdict())
    given_up = np.where(solved.ended[here] == Status.LEARNED, Status.NON_FINITE, solved.ended[here])
    computed = exact if sweep.solver.method == "exact" else numeric
    blurred = condition * np.finfo(precision).eps > _RESOLVED_DIGITS
    resolved = np.where(np.isfinite(computed), Status.RESOLVED, given_up[:, None])
    resolved = np.where(blurred, Status.UNRESOLVED, resolved)

    def spread(values: np.ndarray) -> np.ndarray:
        return np.repeat(values[owner], times.shape[1])

    samples = {
        "t": (times * unit[owner, None]).ravel(),
        "w": numeric.ravel(),
        "w_exact": exact.ravel(),
        "condition": condition.ravel(),
        "status": resolved.ravel(),
    }
    return Rows({**{name: spread(values) for name, values in keys.items()}, **samples}, spread(np.arange(len(status))))
