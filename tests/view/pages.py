"""What the tests of the explorer share: stores of made-up rows, and what a page holds."""

import base64
import itertools
import json
import re

import numpy as np
import pandas as pd
import pyarrow as pa
from conftest import columns_of

from jepa_sweep.results import Store
from jepa_sweep.store.records import Claim, Work
from jepa_sweep.store.schema import Column
from jepa_sweep.store.writer import Writer

REDUCED = tuple(Column(name, "exact", "1", f"meaning of {name}") for name in ("lam", "rho", "eps"))
REDUCED = (*REDUCED[:2], Column("L", "integer", "layers", "encoder layers"), REDUCED[2])


SYSTEMS = {"critical_times": "reduced", "networks": "training", "estimates": "temporal"}


def grid(**axes):
    """All combinations, as a table."""
    return pd.DataFrame(list(itertools.product(*axes.values())), columns=list(axes))


def critical_times(lam=3, rho=4, L=(2, 3), eps=(1e-3,), p=(0.5,), objective=("jepa", "mae"), seed=0):
    """Rows of `points` with times of any kind: the page does no physics."""
    rng = np.random.default_rng(seed)
    rows = grid(objective=objective, lam=np.geomspace(0.1, 10, lam), rho=np.linspace(0.1, 1, rho), L=L, eps=eps, p=p)
    rows["t_exact"] = np.exp(rng.normal(3, 2, len(rows)))
    rows["t_numeric"] = rows["t_exact"] * (1 + 1e-9 * rng.normal(size=len(rows)))
    rows["w_star"] = rows["rho"] ** rows["L"]
    return rows.assign(status="learned")


def curves(points, samples=5):
    """Samples of w(t) for some points."""
    rows = points.drop(columns=["p", "status", "w_star"]).drop_duplicates(["objective", "lam", "rho", "L", "eps"])
    rows = rows.loc[rows.index.repeat(samples)].reset_index(drop=True)
    rows["t"] = np.tile(np.linspace(0, 2, samples), len(rows) // samples) * rows["t_exact"]
    rows["w_exact"] = rows["eps"] + rows["rho"] * np.tanh(rows["t"])
    return rows.assign(w=rows["w_exact"] * (1 + 1e-8), status="resolved")


def stored(path, layout="critical_times", parameters=REDUCED, chunks=1, precision="float64", **tables):
    """A store that holds these rows; columns that are not given hold nothing."""
    columns, names = columns_of(SYSTEMS[layout], parameters), [c.name for c in parameters]
    frozen = {"system": SYSTEMS[layout], "version": 1, "solver": {"method": "dopri8"}, "trajectories": None}
    writer = Writer.create(path, frozen, columns, names, precision, "paper")
    store = Store(writer.reader)
    spec = writer.add_spec('name = "made up"\n')
    environment = writer.add_environment({"device": "none", "versions": {"jepa_sweep": "0"}})
    tables = {name: rows.reset_index(drop=True) for name, rows in tables.items()}
    parts = {name: np.array_split(np.arange(len(rows)), chunks) for name, rows in tables.items()}
    for k in range(chunks):
        store.reader.log.claims()
        made = {
            name: _arrow(tables[name].iloc[parts[name][k]] if name in tables else None, store.schema(name))
            for name in columns
        }
        count = made["points"].num_rows + made["failures"].num_rows
        claim = Claim(spec, 10_000 * k, 10_000 * k + count)
        writer.commit(writer.claim(claim, writer.reader.log.claims()), claim, made, environment, Work())
    return store


def _arrow(rows, wanted):
    """Rows in the types of the store; NaN and infinities stay, only None is missing."""
    columns = []
    for field in wanted:
        given = [] if rows is None else rows[field.name].tolist() if field.name in rows else [None] * len(rows)
        columns.append(pa.array(given, field.type))
    return pa.Table.from_arrays(columns, schema=wanted.remove_metadata())


def held(html):
    """The numbers of a page."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)[1])


def unpacked(packed):
    """A column of a page."""
    return np.frombuffer(base64.b64decode(packed["data"]), f"<{packed['type']}")


def rows_of(page):
    """The rows a page holds, as a table again."""
    frame = {}
    for axis in page["axes"]:
        values = axis["values"] if axis["words"] else [None if v is None else float(v) for v in axis["values"]]
        frame[axis["name"]] = [values[code] for code in unpacked(page["codes"][axis["name"]])]
    return pd.DataFrame(frame | {name: unpacked(packed) for name, packed in page["values"].items()})
