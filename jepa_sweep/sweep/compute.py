"""Points to rows: predictions, integration and trajectories of one chunk, as columns ready for the store."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from jepa_sweep.engine import lanes
from jepa_sweep.physics.systems import SENTENCES, Columns, Status, System, labels
from jepa_sweep.store.schema import Column
from jepa_sweep.sweep.grid import Grid
from jepa_sweep.sweep.spec import Sweep

# w(t) is called unresolved where rounding t to the solver's precision costs all but about three of its digits.
_RESOLVED_DIGITS = 2e-3


class Rows(NamedTuple):
    """Columns of one table, and for each row the place of its point among the indices computed."""

    columns: dict[str, np.ndarray]
    owner: np.ndarray


def parameter_columns(system: System) -> tuple[Column, ...]:
    """The system's parameters as columns of the tables."""
    return tuple(Column(q.name, "integer" if q.integer else "exact", q.unit, q.meaning) for q in system.parameters)


def compute(sweep: Sweep, grid: Grid, index: np.ndarray, width: int, device: str) -> dict[str, Rows]:
    """All tables for the points at `index`, which lie in one segment of the grid."""
    points = grid.take(index)
    system = sweep.systems[points.objective]
    order = np.argsort(system.cost(points.columns), kind="stable")  # rows of like cost share a batch
    columns = {name: values[order] for name, values in points.columns.items()}
    p = points.p[order]
    settings = sweep.solver.settings()
    predicted = lanes.predict(system, columns, p, width=width, device=device)
    if sweep.solver.method == "exact":
        solved = lanes.Solves(predicted.status, np.full(len(p), np.nan, settings.precision), np.zeros(len(p), int))
    else:
        solved = lanes.solve(system, columns, p, predicted, settings, width=width, device=device)
    unit = predicted.flow if sweep.solver.time == "flow" else np.ones(len(p))
    keys = {"objective": np.full(len(p), points.objective), **_typed(system, columns)}
    failed = np.isin(solved.status, [s for s in Status if s.failed])
    out = {
        "points": _pick(Rows({**keys, **_measures(p, predicted, solved, unit)}, order), ~failed),
        "failures": _pick(
            Rows({**keys, "p": p, "status": labels(solved.status), "message": _messages(solved.status),
                  "steps": solved.steps}, order),
            failed,
        ),
    }  # fmt: skip
    if sweep.measure.trajectories:
        sampled = (solved.status == Status.LEARNED) & (p == sweep.measure.p[0])
        out["trajectories"] = _trajectories(
            sweep, system, keys, columns, predicted, unit, order, sampled, width, device
        )
    return out


def tables(rows: dict[str, Rows], keep: np.ndarray, schemas: dict[str, pa.Schema]) -> dict[str, pa.Table]:
    """Arrow tables of the points marked in `keep`; numbers that are not finite become nulls."""
    out = {}
    for name, wanted in schemas.items():
        if name in rows:
            kept = _pick(rows[name], keep[rows[name].owner])
            arrays = [_array(kept.columns[f.name], f.type) for f in wanted]
            out[name] = pa.Table.from_arrays(arrays, schema=wanted.remove_metadata())
    return out


def _measures(p: np.ndarray, predicted: lanes.Predictions, solved: lanes.Solves, unit: np.ndarray) -> Columns:
    timed = np.isin(solved.status, [Status.LEARNED, Status.OVERFLOW, Status.MAX_STEPS, Status.NON_FINITE])
    grows = timed & (p < 1)
    with np.errstate(all="ignore"):
        difference = np.abs(solved.time.astype(float) - predicted.time) / predicted.time
        return {
            "p": p,
            "status": labels(solved.status),
            "w_star": predicted.w_star,
            "t_numeric": solved.time * unit.astype(solved.time.dtype),
            "t_exact": np.where(timed, predicted.time * unit, np.nan),
            "relative_difference": difference,
            "t_leading": np.where(grows, predicted.leading * unit, np.nan),
            "t_asymptotic": np.where(grows, predicted.asymptotic * unit, np.nan),
            "t_inflection": predicted.inflection * unit,
            "log_t_exact": np.where(timed, predicted.log_time + np.log(unit), np.nan),
            "steps": solved.steps,
        }


def _trajectories(
    sweep: Sweep,
    system: System,
    keys: Columns,
    columns: Columns,
    predicted: lanes.Predictions,
    unit: np.ndarray,
    order: np.ndarray,
    sampled: np.ndarray,
    width: int,
    device: str,
) -> Rows:
    wanted, settings = sweep.measure.trajectories, sweep.solver.settings()
    assert wanted is not None, "called only where the spec asks for trajectories"
    columns = {name: values[sampled] for name, values in columns.items()}
    times = predicted.time[sampled, None] * np.linspace(0, wanted.until, wanted.samples)
    count = times.shape[0]
    if count == 0:
        paths, exact, condition = lanes.Paths(times.astype(settings.precision), np.zeros(0, int)), times, times
    else:
        exact, condition = lanes.exact_paths(system, columns, times, width=width, device=device)
        if sweep.solver.method == "exact":
            paths = lanes.Paths(np.full_like(exact, np.nan, dtype=settings.precision), np.zeros(count, int))
        else:
            paths = lanes.paths(system, columns, times, settings, width=width, device=device)
    given_up = np.where(paths.steps >= settings.max_steps, Status.MAX_STEPS, Status.NON_FINITE)
    computed = exact if sweep.solver.method == "exact" else paths.w
    blurred = condition * np.finfo(settings.precision).eps > _RESOLVED_DIGITS
    status = np.where(np.isfinite(computed), Status.RESOLVED, given_up[:, None])
    status = np.where(blurred, Status.UNRESOLVED, status)

    def spread(values: np.ndarray) -> np.ndarray:
        return np.repeat(values[sampled], wanted.samples)

    samples = {
        "t": (times * unit[sampled, None]).ravel(),
        "w": paths.w.ravel(),
        "w_exact": exact.ravel(),
        "condition": condition.ravel(),
        "status": labels(status.ravel()),
    }
    return Rows({**{name: spread(values) for name, values in keys.items()}, **samples}, spread(order))


def _typed(system: System, columns: Columns) -> Columns:
    return {q.name: columns[q.name].astype(np.int64) if q.integer else columns[q.name] for q in system.parameters}


def _messages(codes: np.ndarray) -> np.ndarray:
    return np.array([SENTENCES[s] for s in Status])[codes]


def _pick(rows: Rows, mask: np.ndarray) -> Rows:
    return Rows({name: values[mask] for name, values in rows.columns.items()}, rows.owner[mask])


def _array(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    if pa.types.is_floating(kind):
        assert values.dtype == kind.to_pandas_dtype(), f"refusing to write {values.dtype} numbers as {kind}"
        return pa.array(values, mask=~np.isfinite(values))
    if pa.types.is_string(kind):
        words, codes = np.unique(values, return_inverse=True)
        return pa.array(words, pa.string()).take(pa.array(codes))
    return pa.array(values, kind)
