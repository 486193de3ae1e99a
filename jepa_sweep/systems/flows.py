"""Scalar flows: when a response meets its thresholds, beside what theory predicts, and the response over time.

`system` makes a `System` from its `Dynamics`. Whatever its theory predicts becomes a column; without
predictions there are none of these columns.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from jepa_sweep.checks import shown
from jepa_sweep.engine.settings import METHODS
from jepa_sweep.errors import SpecError
from jepa_sweep.physics.dynamics import Columns, Dynamics, Prediction, Status
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.schema import MESSAGE, STATUS, STEPS, Column, P, T
from jepa_sweep.systems.rows import Integrations, pick
from jepa_sweep.systems.shared import ROWS_PER_FILE
from jepa_sweep.systems.system import Cost, Curves, Effort, Measurement, Pair, Place, Points, Rows, System

if TYPE_CHECKING:  # planning, and finding out that nothing is left to do, need no engine
    from jepa_sweep.engine import lanes

# w(t) is called unresolved where rounding t to the solver's precision costs all but about three of its digits.
RESOLVED_DIGITS = 2e-3
RECHECKED, RECHECK_RTOL = 64, 1e-10  # single-precision points of a chunk that are solved again, and how well

# Nominal rates of two cores of a 2024 server processor at rtol 1e-8, good to a factor of a few.
SECONDS_PER_POINT, SECONDS_PER_SAMPLE = 2e-6, 2e-7
BYTES_PER_POINT, BYTES_PER_SAMPLE = 75.0, 27.0
FEWEST_POINTS, USUAL_POINTS, MOST_POINTS = 1 << 12, 1 << 17, 1 << 20  # of a chunk

W_STAR = Column("w_star", "exact", "1", "rest point of the response", "rho^L (jepa), rho^(L/(L+1)) (mae)")
T_NUMERIC = Column("t_numeric", "numeric", "time", "critical time by integration", "w(t_numeric) = p w_star")
DIFFERENCE = Column(
    "relative_difference", "exact", "1", "disagreement of the two", "abs(t_numeric - t_exact) / t_exact"
)
W = Column("w", "numeric", "1", "encoder response by integration", "w(0) = eps")
CURVE = (
    Column("w_exact", "exact", "1", "encoder response in closed form"),
    Column("condition", "exact", "1", "relative change of w per relative change of t", "abs(d ln w / d ln t)"),
)
SAMPLE_STATUS = Column(
    "status", "text", "", "resolved, unresolved (w(t) has no correct digits here), or why the solver stopped"
)


def system(
    name: str,
    version: int,
    dynamics: Mapping[str, Dynamics],
    *,
    predicted: tuple[Column, ...] = (),
    pairs: tuple[Pair, ...],
    w_star: Column = W_STAR,
    response: Column = W,
    observed: tuple[Column, ...] = (),
    conserved: tuple[str, ...] = (),
    **more: Any,
) -> System:
    """The `System` of one or several flows with the same parameters.

    Args:
        name: of the system.
        version: changes whenever its results would.
        dynamics: objective -> flow.
        predicted: columns for the flow's predictions, in the order in which they stand in `points`.
        pairs: what the explorer shows beside each other; the closed form first.
        w_star: the column that says what thresholds are fractions of.
        response: the column of the response along trajectories.
        observed: columns of trajectories for the observables of the flow's coordinates, in their order.
        conserved: which of these should not change along a flow.
        **more: further fields of the `System`; parameters and rules at least.
    """
    first = next(iter(dynamics.values()))
    exact = any(column.name == "t_exact" for column in predicted)
    curve = CURVE if first.trajectory else ()
    columns = tuple(
        c for column in predicted for c in ((column, DIFFERENCE) if column.name == "t_exact" else (column,))
    )
    return System(
        name=name,
        version=version,
        objectives=tuple(dynamics),
        tables={
            "points": (P, STATUS, w_star, T_NUMERIC, *columns, STEPS),
            "trajectories": (T, response, *curve, *observed, SAMPLE_STATUS),
            "failures": (P, STATUS, MESSAGE, STEPS),
        },
        methods=("dopri8", *(m for m in METHODS if m != "dopri8"), *(["exact"] if exact else [])),
        compute=functools.partial(compute, dict(dynamics), tuple(column.name for column in observed)),
        cost=cost,
        memory=memory,
        chunk=chunk,
        compare=functools.partial(compare, conserved),
        curves=Curves(
            table="points",
            noun="points",
            pairs=pairs,
            also=("w_star",),
            lines=("w", "w_exact") if curve else ("w",),
            crossing="t_numeric",
        ),
        coordinates=tuple(c.name for c in first.coordinates),
        without_rtol=("exact",),
        check=functools.partial(check, first),
        **more,
    )


# --- settings and costs -----------------------------------------------------------------------------------------------


def check(dynamics: Dynamics, measurement: Measurement) -> None:
    """Raise a `SpecError` where method, coordinate and samples do not go together."""
    settings = measurement.solver
    if settings.method != "clenshaw_curtis":
        return
    by_clock = [c.name for c in dynamics.coordinates if c.span]
    if settings.coordinate not in (None, *by_clock) or not by_clock:
        raise SpecError(
            f"`coordinate` must be one in which time is an integral ({', '.join(by_clock) or 'there is none'}) for the "
            f"method clenshaw_curtis, but it is {shown(settings.coordinate)}; try `method` dopri8."
        )
    if measurement.samples:
        raise SpecError(
            "`method` clenshaw_curtis steps too far to sample w(t) on the way; for trajectories try dopri8."
        )


def cost(count: int, columns: object, measurement: Measurement) -> Cost:
    """Seconds and bytes of `count` points; trajectories belong to the first threshold."""
    del columns  # all points cost about the same
    each = measurement.samples / measurement.thresholds
    seconds = SECONDS_PER_POINT + each * SECONDS_PER_SAMPLE
    return Cost(count * seconds, count * (BYTES_PER_POINT + each * BYTES_PER_SAMPLE))


def memory(chunk: int, heads: list[Columns], measurement: Measurement) -> float:
    """Bytes at the peak, for chunks of so many points, of which two are held."""
    del heads
    return 5e8 + chunk * (600 + 400 * measurement.samples / measurement.thresholds)


def chunk(total: int, first: object, measurement: Measurement) -> int:
    """Few, large files for large sweeps; small enough to be read at once, and for a crash to cost little."""
    del first
    wanted = max(min(total // 8, USUAL_POINTS), total // 256)
    fitting = max(1, ROWS_PER_FILE // max(1, measurement.samples))
    return int(np.clip(wanted, FEWEST_POINTS if measurement.samples else 16 * FEWEST_POINTS, min(fitting, MOST_POINTS)))


# --- rows -------------------------------------------------------------------------------------------------------------


class _Solved(NamedTuple):
    """What was found of some points: arrays with one row an integration, and one column a threshold."""

    dynamics: Dynamics
    measurement: Measurement
    place: Place
    columns: Columns
    p: np.ndarray
    predicted: "lanes.Predicted"
    found: "lanes.Solves"
    times: np.ndarray | None  # of samples; NaN where there is no critical time at the first threshold

    @property
    def unit(self) -> np.ndarray:
        """What times in the field's own convention are multiplied by."""
        return self.predicted.flow_time if self.measurement.time == "flow" else np.ones_like(self.predicted.flow_time)


def compute(
    dynamics: dict[str, Dynamics], observed: tuple[str, ...], points: Points, measurement: Measurement, place: Place
) -> tuple[dict[str, Rows], Effort]:
    """All tables of some points, of one of the flows in `dynamics`, whose observables are named in `observed`."""
    at = Integrations(points)
    solved = _solved(dynamics[points.objective], at, measurement, place)
    status = at.rows(solved.found.status)
    steps = solved.found.steps[at.of_row]
    measures = {"status": status, "steps": steps, **{name: at.rows(v) for name, v in _measures(solved).items()}}
    failures = {"status": status, "message": status, "steps": steps}
    failed, every = np.isin(status, [s for s in Status if s.failed]), np.arange(len(status))
    out = {"points": pick(Rows(measures, every), ~failed), "failures": pick(Rows(failures, every), failed)}
    if solved.times is not None:
        owner = np.flatnonzero((status == Status.LEARNED) & (at.slot == 0))
        out["trajectories"] = _trajectories(solved, observed, owner, at.of_row[owner])
    return out, Effort(int(solved.found.steps.sum()), solved.found.lane_steps, *_recheck(solved))


def _solved(dynamics: Dynamics, at: Integrations, measurement: Measurement, place: Place) -> _Solved:
    """Predict and integrate.

    Where theory lacks a critical time, that of a first integration says until when a second one samples.
    """
    from jepa_sweep.engine import lanes

    rows = place.batch and place.batch * at.p.shape[1]
    predicted = lanes.predict(dynamics, at.columns, at.p, batch=rows, device=place.device)
    predicted = predicted._replace(status=np.where(at.wanted, predicted.status, Status.NOT_REACHED))

    wanted = predicted.status == Status.LEARNED
    exact = predicted.values.get("t_exact", np.full(at.p.shape, np.nan))

    def times_until(critical: np.ndarray) -> np.ndarray | None:
        first = np.where(wanted[:, :1], critical[:, :1].astype(float), np.nan)
        return first * np.linspace(0, measurement.until, measurement.samples) if measurement.samples else None

    def solve(predicted: lanes.Predicted, times: np.ndarray | None) -> lanes.Solves:
        return lanes.solve(dynamics, at.columns, at.p, predicted, measurement.solver, times=times, **place._asdict())

    times = times_until(exact)
    if measurement.solver.method == "exact":
        settings = measurement.solver
        coordinate = dynamics.coordinate(settings.coordinate)
        found = lanes.unsolved(predicted.status, times, coordinate, settings.precision, Status.LEARNED)
    elif times is None or np.isfinite(exact[:, 0][wanted[:, 0]]).all():
        found = solve(predicted, times)
    else:
        found = solve(predicted, None)
        times = times_until(np.where(np.isfinite(exact), exact, found.time))
        sampled = solve(predicted._replace(status=np.full_like(predicted.status, Status.NOT_REACHED)), times)
        steps, lane_steps = found.steps + sampled.steps, found.lane_steps + sampled.lane_steps
        found = sampled._replace(status=found.status, time=found.time, steps=steps, lane_steps=lane_steps)
    return _Solved(dynamics, measurement, place, at.columns, at.p, predicted, found, times)


def _recheck(solved: _Solved) -> tuple[int, float]:
    """Solve some single-precision points again in double precision on the host; how many, and their worst error."""
    from jepa_sweep.engine import lanes

    settings, found = solved.measurement.solver, solved.found
    learned = np.argwhere(found.status == Status.LEARNED)
    if settings.precision == "float64" or settings.method == "exact" or not len(learned):
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
    )
    return len(point), float(np.nanmax(np.abs(found.time[point, slot] / again.time[:, 0] - 1)))


def _measures(solved: _Solved) -> Columns:
    """Measured and predicted times in the unit asked for."""
    found, predicted, unit = solved.found, solved.predicted, solved.unit
    crosses = np.isin(found.status, [Status.LEARNED, Status.OVERFLOW, *(s for s in Status if s.failed)])
    speaks = {"crossing": crosses, "growth": crosses & (solved.p < 1), "always": np.ones_like(crosses)}

    def column(prediction: Prediction) -> np.ndarray:
        values = predicted.values[prediction.name]
        values = values + np.log(unit) if prediction.logarithm else values * unit
        return np.where(speaks[prediction.where], values, np.nan)

    with np.errstate(all="ignore"):
        measures = {prediction.name: column(prediction) for prediction in solved.dynamics.predictions}
        if "t_exact" in predicted.values:
            exact = predicted.values["t_exact"]
            measures["relative_difference"] = np.abs(found.time.astype(float) - exact) / exact
        return {**measures, "w_star": predicted.w_star, "t_numeric": found.time * unit.astype(found.time.dtype)}


def _trajectories(solved: _Solved, observed: tuple[str, ...], owner: np.ndarray, at: np.ndarray) -> Rows:
    """Samples of the rows in `owner`, which are those of the integrations `at`."""
    from jepa_sweep.engine import lanes

    dynamics, found = solved.dynamics, solved.found
    assert solved.times is not None, "asked for where there are samples"
    times, seen = solved.times[at], found.samples[at]
    samples = {"w": seen[:, :, 0], **{name: seen[:, :, 1 + i] for i, name in enumerate(observed)}}
    computed, blurred = samples["w"], np.zeros(times.shape, dtype=bool)
    if dynamics.trajectory:
        exact, condition = times, times
        if len(at):
            own = {name: values[at] for name, values in solved.columns.items()}
            exact, condition = lanes.exact_paths(dynamics, own, times, **solved.place._asdict())
        computed = exact if solved.measurement.solver.method == "exact" else computed
        blurred = condition * np.finfo(seen.dtype).eps > RESOLVED_DIGITS
        samples |= {"w_exact": exact, "condition": condition}
    gave_up = np.where(found.ended[at] == Status.LEARNED, Status.NON_FINITE, found.ended[at])[:, None]
    status = np.where(np.isfinite(computed), Status.RESOLVED, gave_up)
    samples |= {"t": times * solved.unit[at, :1], "status": np.where(blurred, Status.UNRESOLVED, status)}
    return Rows({name: values.ravel() for name, values in samples.items()}, np.repeat(owner, times.shape[1]))


# --- comparing --------------------------------------------------------------------------------------------------------


def compare(conserved: tuple[str, ...], store: Reader) -> pd.DataFrame:
    """One row an objective and depth: how many points, how many learned, and how far they are from what theory says.

    `worst_difference` and `mean_difference` are relative differences from the closed form, `worst_leading_error` and
    `worst_asymptotic_error` those of the approximations from it, `drift_...` the largest relative change of a
    conserved quantity along a trajectory. What there is nothing to say of has no column. File by file: memory stays
    small.
    """
    keys = ["objective", *(c.name for c in store.parameters if c.dtype == "integer")]
    known = store.schema("points").names
    measured = [n for n in ("status", "relative_difference", "t_exact", "t_leading", "t_asymptotic") if n in known]
    found = _together([_counted(frame, keys) for frame in store.batches("points", [*keys, *measured])], keys)
    if "_compared" in found:
        total, compared = found.pop("_total"), found.pop("_compared")
        found.insert(3, "mean_difference", total / compared.replace(0, np.nan))
    drifts = [name for name in conserved if name in store.schema("trajectories").names]
    if drifts:
        names = ["objective", *(c.name for c in store.parameters), "t", *drifts]
        frames = [_drifted(frame, keys, drifts) for frame in store.batches("trajectories", names)]
        found = found.join(_together(frames, keys))
    return found.reset_index()


def _counted(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Sums and extremes of one file of points."""
    frame["_learned"] = frame["status"] == "learned"
    wanted = {"points": ("_learned", "size"), "learned": ("_learned", "sum")}
    if "relative_difference" in frame:
        wanted |= {"worst_difference": ("relative_difference", "max"), "_compared": ("relative_difference", "count")}
        wanted["_total"] = ("relative_difference", "sum")
    for name in ("leading", "asymptotic"):
        if f"t_{name}" in frame:
            frame[f"_{name}"] = (frame[f"t_{name}"] / frame["t_exact"] - 1).abs()
            wanted[f"worst_{name}_error"] = (f"_{name}", "max")
    return frame.groupby(keys, sort=False).agg(**wanted)


def _drifted(frame: pd.DataFrame, keys: list[str], names: list[str]) -> pd.DataFrame:
    """The largest relative change of each conserved quantity from the start of its trajectory, of one file."""
    points = [c for c in frame.columns if c not in ("t", *names)]
    frame = frame.sort_values("t", kind="stable")
    first = frame.groupby(points, sort=False)[names].transform("first")
    for name in names:
        frame[f"drift_{name}"] = (frame[name] / first[name] - 1).abs()
    return pd.DataFrame(frame.groupby(keys, sort=False)[[f"drift_{name}" for name in names]].max())


def _together(frames: list[pd.DataFrame], keys: list[str]) -> pd.DataFrame:
    """Sums and extremes of all files."""
    sums = ("points", "learned", "_compared", "_total")
    how = {name: "sum" if name in sums else "max" for name in frames[0].columns}
    return pd.concat([frame for frame in frames if len(frame)] or frames).groupby(level=keys).agg(how)
