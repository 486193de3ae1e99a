"""Runs of a few small networks that several tests share, and how their tables are compared."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from conftest import paths_of

import jepa_sweep as js
from jepa_sweep.systems.registry import BUILT_IN

TRAINING = {
    "name": "trained",
    "system": "training",
    "axes": {"features": 3, "layout": ["same", "opposite"], "L": 2, "scale": 0.25, "t_end": 60.0, "eta": [0.02, 0.04]},
    "measure": {"p": [0.5, 0.8], "trajectories": {"samples": 4}},
}
JEPA = {**TRAINING, "objective": "jepa"}
FLOW = {
    **JEPA,
    "name": "flow",
    "system": "network",
    "axes": {name: values for name, values in TRAINING["axes"].items() if name != "eta"},
    "solver": {"method": "tsit5", "rtol": 1e-9},
}
NETWORK = ["objective", "layout", "eta", "seed"]
SORTED = {
    "points": [*NETWORK, "p"],
    "features": [*NETWORK, "p", "feature"],
    "trajectories": [*NETWORK, "t", "feature"],
    "losses": [*NETWORK, "t"],
    "failures": [*NETWORK, "p"],
}


def finished(spec, **options):
    """A fixture: the store of a run that all tests of a module look at."""

    @pytest.fixture(scope="module")
    def store(tmp_path_factory):
        return js.run(js.Sweep(**spec), tmp_path_factory.mktemp("finished") / "run", **options)

    return store


def change(spec, axes=(), **others):
    """A spec with other axes, or other parts."""
    return {**spec, "axes": {**spec["axes"], **dict(axes)}, **others}


def table_of(store, name):
    """A table in an order that does not depend on who wrote what when."""
    frame = store.read(name)
    keys = [key for key in SORTED[name] if key in frame]
    return frame.sort_values(keys).reset_index(drop=True)


def assert_same(ours, theirs, **tolerance):
    """All tables of two runs, to the last bit unless a tolerance is given."""
    for name in ours.tables:
        tolerance = tolerance or {"check_exact": True}
        pd.testing.assert_frame_equal(table_of(ours, name), table_of(theirs, name), **tolerance)


def assert_columns(store, system):
    """Files and tables have the columns of their system."""
    columns = BUILT_IN[system].columns()
    assert store.tables == tuple(columns)
    for name in store.tables:
        wanted = [c.name for c in columns[name]]
        for path in paths_of(store, name):
            assert pa.parquet.read_schema(path).equals(store.schema(name))
        frame = store.read(name)
        assert list(frame) == wanted
        assert len(wanted) == len(set(wanted)) or name == "failures"
