"""From computed columns to Arrow tables; and which rows share one integration."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from jepa_sweep.physics.host import SENTENCES, Columns, Status
from jepa_sweep.systems.system import Points, Rows, System


class Integrations:
    """Rows of one point that differ in p alone share one integration: which rows, and which of its thresholds."""

    def __init__(self, points: Points) -> None:
        count = len(points.thresholds)
        self._alone = count == 1  # each row is an integration of its own, and nothing needs to be looked up
        self.columns: Columns = points.columns
        if self._alone:
            self.slot = np.zeros(len(points.number), dtype=np.int64)
            self.first = self.of_row = np.arange(len(points.number))
        else:
            self.slot = points.number % count  # threshold of each row
            _, self.first, self.of_row = np.unique(points.number // count, return_index=True, return_inverse=True)
            self.columns = {name: values[self.first] for name, values in points.columns.items()}
        self.p = np.tile(points.thresholds, (len(self.first), 1))

    @property
    def wanted(self) -> np.ndarray:
        """True for the thresholds of each integration that are a row."""
        if self._alone:
            return np.ones(self.p.shape, dtype=bool)
        out = np.zeros(self.p.shape, dtype=bool)
        out[self.of_row, self.slot] = True
        return out

    def rows(self, values: np.ndarray) -> np.ndarray:
        """Values given for each integration and threshold, as one value a row."""
        return values[:, 0] if self._alone else values[self.of_row, self.slot]


def with_keys(system: System, points: Points, rows: Rows) -> Rows:
    """The same with the columns that say which point a row belongs to."""
    objective = np.full(len(rows.owner), system.objectives.index(points.objective))
    keys = {**points.columns, "p": points.p}
    if len(rows.owner) != len(points.p) or np.any(rows.owner != np.arange(len(points.p))):
        keys = {name: values[rows.owner] for name, values in keys.items()}
    return Rows({"objective": objective, **keys, **rows.columns}, rows.owner)


def pick(rows: Rows, mask: np.ndarray) -> Rows:
    """The rows marked in `mask`."""
    if mask.all():
        return rows
    return Rows({name: values[mask] for name, values in rows.columns.items()}, rows.owner[mask])


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of several calls, one after the other; their owners are numbered alike."""
    if len(parts) == 1:
        return parts[0]
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    return Rows(columns, np.concatenate([part.owner for part in parts]))


def words_of(system: System) -> dict[str, list[str]]:
    """What the numbers in a text column stand for, until it is written."""
    return {
        "objective": list(system.objectives),
        "status": [status.label for status in Status],
        "message": [SENTENCES[status] for status in Status],
        **{q.name: list(q.choices) for q in system.parameters if q.choices},
    }


def tables(
    system: System, rows: Mapping[str, Rows], keep: np.ndarray, schemas: Mapping[str, pa.Schema]
) -> dict[str, pa.Table]:
    """Arrow tables of the points marked in `keep`; numbers that are not finite become nulls."""
    out, words, every = {}, words_of(system), bool(keep.all())
    for name, wanted in schemas.items():
        if name in rows:
            kept = rows[name] if every else pick(rows[name], keep[rows[name].owner])
            arrays = [_array(kept.columns[f.name], f.type, words.get(f.name, [])) for f in wanted]
            out[name] = pa.Table.from_arrays(arrays, schema=wanted.remove_metadata())
    return out


def _array(values: np.ndarray, kind: pa.DataType, words: list[str]) -> pa.Array:
    if pa.types.is_floating(kind):
        assert values.dtype == kind.to_pandas_dtype(), f"refusing to write {values.dtype} numbers as {kind}"
        finite = np.isfinite(values)
        return pa.array(values, mask=None if finite.all() else ~finite)
    if pa.types.is_string(kind):
        return pa.array(words, pa.string()).take(pa.array(values.astype(np.int64)))
    return pa.array(values.astype(np.int64), kind)
