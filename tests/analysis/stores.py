"""Stores with given rows, which need no engine."""

import itertools

import pandas as pd
import pyarrow as pa

from jepa_sweep.results import Store
from jepa_sweep.store.records import Claim, Work
from jepa_sweep.store.schema import Column
from jepa_sweep.store.writer import Writer

KEYS = [
    Column("objective", "text", "", "learning objective"),
    Column("lam", "exact", "1", "covariance"),
    Column("L", "integer", "layers", "encoder layers"),
]
TABLES = {
    "points": [
        *KEYS,
        Column("status", "text", "", "how the point ended"),
        Column("t", "exact", "time", "time of crossing"),
        Column("w", "numeric", "1", "response"),
        Column("steps", "integer", "steps", "solver steps"),
    ],
    "failures": [*KEYS, Column("status", "text", "", "how the point ended"), Column("steps", "integer", "", "steps")],
}
USUAL = {"objective": "jepa", "lam": 1.0, "L": 2, "status": "learned", "t": None, "w": None, "steps": 0}
SPEC, WIDE = "0" * 64, 1000  # the hash of a spec, and how far the claims of chunks are apart
_numbers = itertools.count()


def made(chunks, path=None, precision="float64", failures=()):
    """A store with these points in each chunk, given as columns; what is left out is as usual.

    It lies in the memory of this process unless there is a path.
    """
    path = path or f"memory://made/{next(_numbers)}"
    frozen = {"system": "mine", "version": 1, "solver": {"method": "none"}, "trajectories": None}
    writer = Writer.create(path, frozen, TABLES, ["lam", "L"], precision, "own")
    for number, chunk in enumerate(chunks):
        add(writer, Claim(SPEC, WIDE * number, 0), points=chunk)
    for number, chunk in enumerate(failures, len(chunks)):
        add(writer, Claim(SPEC, WIDE * number, 0), failures=chunk)
    return Store(path)


def add(writer, claim, **tables):
    """One more chunk, of as many points as have rows."""
    rows = {name: _rows(writer.reader.schema(name), columns) for name, columns in tables.items()}
    rows.setdefault("points", writer.reader.schema("points").remove_metadata().empty_table())
    claim = claim._replace(stop=claim.start + sum(rows[name].num_rows for name in tables))
    number = writer.claim(claim, writer.reader.log.claims())
    writer.commit(number, claim, rows, "00000000", Work(seconds=1.0))


def _rows(schema, columns):
    count = max(map(len, columns.values()))
    arrays = [pa.array(columns.get(f.name, [USUAL[f.name]] * count), f.type) for f in schema]
    return pa.Table.from_arrays(arrays, schema=schema.remove_metadata())


def assert_same(ours, theirs, **kwargs):
    """Equal to the last bit."""
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True, **kwargs)


LAM = [0.1, 0.19306977288832497, 0.19999, 0.372759372031494, 1.0, 10.3]
ROWS = {
    "objective": ["jepa", "mae", "jepa", "mae", "jepa", "jepa"],
    "lam": LAM,
    "L": [1, 2, 2, 5, 8, 8],
    "status": ["learned", "learned", "not_reached", "learned", "above_threshold", "learned"],
    "t": [12.5, -3.25, None, 12.75, 0.0, 1e300],
    "w": [0.1, 0.2, 0.3, None, 0.1, -0.1],
    "steps": [0, 3, 9, 2**53 + 1, 3, 12],
}
