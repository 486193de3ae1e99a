"""What all kinds of rows share: columns on their way to the store, and what they cost."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from jepa_sweep.physics.catalog import SYSTEMS
from jepa_sweep.physics.systems import SENTENCES, Columns, Status, Swept
from jepa_sweep.store.schema import Column

# What the integers of a text column stand for, until it is written.
_RECORDS = [record for objectives in SYSTEMS.values() for record in objectives.values()]
_WORDS = {
    "objective": sorted({record.objective for record in _RECORDS}),
    "status": [status.label for status in Status],
    "message": [SENTENCES[status] for status in Status],
    **{q.name: q.choices for record in _RECORDS for q in record.parameters if q.choices},
}


class Rows(NamedTuple):
    """Columns of one table, and for each row the place of its point among the indices computed."""

    columns: dict[str, np.ndarray]
    owner: np.ndarray


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
        return Work(
            seconds=self.seconds + other.seconds,
            compile_seconds=self.compile_seconds + other.compile_seconds,
            steps=self.steps + other.steps,
            lane_steps=self.lane_steps + other.lane_steps,
            rechecked=self.rechecked + other.rechecked,
            recheck_error=max(self.recheck_error, other.recheck_error),
            peak_memory_bytes=max(self.peak_memory_bytes, other.peak_memory_bytes),
        )


class Place(NamedTuple):
    """Where and how to compute: the same for all chunks of a run, so that they share their programs."""

    device: str = "auto"
    batch: int | None = None  # points of a full chunk


def parameter_columns(system: Swept) -> tuple[Column, ...]:
    """The system's parameters as columns of the tables."""
    return tuple(
        Column(q.name, "text" if q.choices else "integer" if q.integer else "exact", q.unit, q.meaning)
        for q in system.parameters
    )


def keys_of(system: Swept, columns: Columns) -> Columns:
    """Objective and parameters of some points, typed as they are stored."""
    count = len(next(iter(columns.values())))
    objective = np.full(count, _WORDS["objective"].index(system.objective), np.int8)
    whole = {q.name for q in system.parameters if q.integer or q.choices}
    return {"objective": objective, **{n: v.astype(np.int64) if n in whole else v for n, v in columns.items()}}


class Thresholds:
    """Rows of one point that differ in p alone lie together: one integration serves them all."""

    def __init__(self, index: np.ndarray, count: int) -> None:
        self.slot = index % count
        if count == 1:
            self.first = self.point = np.arange(len(index))
        else:
            _, self.first, self.point = np.unique(index // count, return_index=True, return_inverse=True)
        self._shape = (len(self.first), count)

    def spread(self, values: np.ndarray, missing: float) -> np.ndarray:
        """One row a point, one column a threshold."""
        out = np.full(self._shape, missing, values.dtype)
        out[self.point, self.slot] = values
        return out


def tables(rows: dict[str, Rows], keep: np.ndarray, schemas: dict[str, pa.Schema]) -> dict[str, pa.Table]:
    """Arrow tables of the points marked in `keep`; numbers that are not finite become nulls."""
    out = {}
    for name, wanted in schemas.items():
        if name in rows:
            kept = pick(rows[name], keep[rows[name].owner])
            arrays = [_array(f.name, kept.columns[f.name], f.type) for f in wanted]
            out[name] = pa.Table.from_arrays(arrays, schema=wanted.remove_metadata())
    return out


def pick(rows: Rows, mask: np.ndarray) -> Rows:
    """The rows marked in `mask`."""
    if mask.all():
        return rows
    return Rows({name: values[mask] for name, values in rows.columns.items()}, rows.owner[mask])


def _array(name: str, values: np.ndarray, kind: pa.DataType) -> pa.Array:
    if pa.types.is_floating(kind):
        assert values.dtype == kind.to_pandas_dtype(), f"refusing to write {values.dtype} numbers as {kind}"
        return pa.array(values, mask=~np.isfinite(values))
    if pa.types.is_string(kind):
        return pa.array(_WORDS[name], pa.string()).take(pa.array(values))
    return pa.array(values, kind)
