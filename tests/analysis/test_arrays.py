"""Tables as arrays over their axes: every row is at its coordinates, and nothing else is anywhere."""

import doctest
import itertools
import shutil
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import ROOT, TINY

import jepa_sweep as js
from jepa_sweep.analysis import arrays
from jepa_sweep.running.execute import execute
from jepa_sweep.store.schema import WITHIN

EXACT = {**TINY, "solver": {"method": "exact"}}
NETWORKS = {
    "name": "networks",
    "system": "training",
    "axes": {"features": [2, 3], "layout": ["same", "opposite"], "L": 2, "scale": 0.25, "t_end": 6.0, "eta": 0.1},
    "measure": {"p": [0.5, 0.8], "trajectories": {"samples": 3}},
}
SERIES = {  # the shorter ones end before their last sample
    "name": "series",
    "system": "temporal",
    "axes": {"features": [2, 3], "gamma_first": 0.9, "gamma_last": 0.5, "log10_T": [1.0, 2.0], "seed": [0, 1]},
    "measure": {"trajectories": {"samples": 20}},
}


def run(tmp_path_factory, spec, **options):
    return js.run(spec, tmp_path_factory.mktemp("run") / "run", **options)


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    """A run of which some points failed."""
    solver = {"method": "dopri8", "max_steps": 12}
    return run(tmp_path_factory, {**TINY, "measure": {"p": [0.5, 0.9]}, "solver": solver}, chunk_points=12)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    return run(tmp_path_factory, NETWORKS)


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    return run(tmp_path_factory, SERIES)


@pytest.fixture(scope="module")
def decay(tmp_path_factory):
    """A run of a flow of the user's own, which stands in a file."""
    here = tmp_path_factory.mktemp("decay")
    shutil.copy(ROOT / "tests/data/decay.py", here)
    (here / "decay.toml").write_text(
        'name = "decay"\nsystem = "decay.py:DECAY"\n[axes]\nrate = [0.5, 1.0]\nlevel = [0.9, 0.5, 0.1]\n'
        '[measure]\ntrajectories = { samples = 3 }\n[solver]\nmethod = "exact"\n'
    )
    return js.run(here / "decay.toml", here / "run")


def rows_of(store, name):
    """The rows that become cells, with the number of each sample."""
    frame = store.read(name)
    if name == "points":
        frame = pd.concat([frame, store.failures()[[c for c in store.failures() if c in frame]]], ignore_index=True)
    keys = [c for c in ("objective", *(q.name for q in store.parameters), *WITHIN) if c in frame]
    return frame.assign(sample=frame.groupby(keys).cumcount()) if "t" in frame else frame


def assert_holds(found, frame):
    """The dataset has the rows of the frame, bit by bit, and nothing else."""
    at = {axis: xr.DataArray(frame[axis].to_numpy(), dims="rows") for axis in found.dims}
    picked = found.sel(at)
    for column in frame.columns.difference(["sample"]):
        values = np.broadcast_to(picked[column].to_numpy(), len(frame))
        np.testing.assert_array_equal(values, frame[column].to_numpy(values.dtype), err_msg=column)
    for column, values in found.data_vars.items():
        empty = values.to_numpy() == "absent" if values.dtype.kind == "U" else np.isnan(values.to_numpy())
        wanted = frame[column].notna().sum()
        assert empty.size - empty.sum() == wanted, column
    assert set(found.variables) - {"sample"} == set(frame.columns) - {"sample"}


TABLES = [
    ("finished", "points"),
    ("finished", "trajectories"),
    ("failing", "points"),
    *(("networks", name) for name in ("points", "features", "trajectories", "losses")),
    *(("series", name) for name in ("points", "features", "covariances", "trajectories")),
    ("decay", "points"),
    ("decay", "trajectories"),
]


@pytest.mark.parametrize(("which", "name"), TABLES, ids=["-".join(pair) for pair in TABLES])
def test_every_row_is_at_its_coordinates_and_nothing_else_is(which, name, request):
    store = request.getfixturevalue(which)
    assert_holds(store.to_xarray(name), rows_of(store, name))


def test_axes_with_several_values_are_dimensions(finished, networks):
    found = finished.to_xarray()
    assert dict(found.sizes) == {"objective": 2, "lam": 2, "rho": 3, "L": 3, "eps": 2}
    assert found.p.shape == ()
    assert found.t_numeric.dims == tuple(found.sizes)
    assert found.indexes["rho"].is_monotonic_increasing
    paths = finished.to_xarray("trajectories")
    assert paths.w.dims == (*found.sizes, "sample")
    assert paths.t.dims == paths.w.dims
    assert "p" not in paths.coords
    trained = networks.to_xarray("trajectories")
    assert trained.w.dims == ("objective", "features", "layout", "feature", "sample")
    assert trained.t.dims == ("objective", "features", "layout", "sample")
    assert trained.width.dims == ("features",)  # which it equals
    assert list(trained.layout.to_numpy()) == ["same", "opposite"]
    assert trained.activation.item() == "linear"


def test_arrays_say_what_they_are(finished):
    for name in ("points", "trajectories"):
        found = finished.to_xarray(name)
        for field in finished.schema(name):
            notes = {key.decode(): value.decode() for key, value in field.metadata.items()}
            told = found[field.name].attrs
            assert told["long_name"] == notes["meaning"]
            assert told.get("units", "") == notes["unit"]
            assert told.get("equation") == notes.get("equation")
        assert found.attrs["table"] == name
        assert found.attrs["spec"] == next(iter(finished.specs().values()))
        assert found.attrs["time"] == "paper time T = L t"
        assert found.attrs["software"] == f"jepa_sweep {js.__version__}"


def test_failed_points_say_so(failing):
    found = failing.to_xarray()
    failed = found.status == "max_steps"
    assert failed.sum() == len(failing.failures()) > 0
    assert np.isnan(found.t_numeric.to_numpy()[failed.to_numpy()]).all()
    assert (found.steps.to_numpy()[failed.to_numpy()] > 0).all()


def test_specs_that_extend_a_run_are_one_grid(tmp_path):
    js.run(EXACT, tmp_path / "run")
    more = {**EXACT["axes"], "rho": [0.125, 0.5, 0.75], "L": [1, 2, 3, 4]}
    extended = js.run({**EXACT, "axes": {**more, "rho": [0.125, 0.25, 0.5, 0.75, 1.0]}}, tmp_path / "run")
    assert len(extended.specs()) == 2
    found = extended.to_xarray()
    assert list(found.rho) == [0.125, 0.25, 0.5, 0.75, 1.0]
    assert_holds(found, rows_of(extended, "points"))
    assert {"spec", "spec_2"} <= set(found.attrs)
    apart = js.run(EXACT, tmp_path / "apart")
    js.run({**EXACT, "axes": more}, apart.path)
    with pytest.raises(js.SpecError, match=r"all combinations .* no point with .*, rho = 0.25, L = 4"):
        apart.to_xarray()


def test_points_that_are_not_there_yet_are_absent(tmp_path):
    seen = itertools.count()
    store = execute(js.Sweep(**EXACT), tmp_path / "run", chunk_points=6, stop=lambda: next(seen) > 2).store
    missing = 72 - store.rows("points")
    assert 0 < missing < 72
    found = js.Store(store.path).to_xarray()
    assert (found.status == "absent").sum() == np.isnan(found.t_exact).sum() == missing
    assert found.steps.dtype == float
    assert_holds(found, rows_of(js.Store(store.path), "points"))


@pytest.mark.parametrize(
    ("block", "why"),
    [
        ({"combine": "zip", "axes": {"lam": [0.5, 1.0], "rho": [0.5, 1.0], "L": 1, "eps": 1e-3}}, '"zip"'),
        ({"combine": "points", "points": [{"lam": x, "rho": x, "L": 1, "eps": 1e-3} for x in (0.5, 1)]}, '"points"'),
    ],
)
def test_what_is_no_grid_is_refused_with_what_to_do(tmp_path, block, why):
    spec = {"name": "x", "solver": {"method": "exact"}, "block": [block]}
    store = js.run(spec, tmp_path / "run")
    with pytest.raises(js.SpecError, match=rf'{why} .* store.read\("points"\).to_xarray\(\).*{store.path}'):
        store.to_xarray()
    assert dict(store.read("points").to_xarray().sizes) == {"index": 4}


def test_points_that_are_listed_may_be_a_grid(tmp_path):
    points = [{"lam": lam, "rho": rho, "L": 1, "eps": 1e-3} for rho in (1.0, 0.5) for lam in (0.5, 0.7)]
    store = js.run({**EXACT, "axes": {}, "combine": "points", "points": points}, tmp_path / "run")
    assert_holds(store.to_xarray(), rows_of(store, "points"))


def test_what_cannot_be_arrays_is_refused(finished, monkeypatch, tmp_path):
    with pytest.raises(js.SpecError, match=r"Failed points .* store.failures\(\)"):
        finished.to_xarray("failures")
    with pytest.raises(js.SpecError, match=r"has the tables points, .*, but `features`"):
        finished.to_xarray("features")
    with pytest.raises(js.SpecError, match=r"must hold rows .* none of trajectories"):
        js.run(EXACT, tmp_path / "run").to_xarray("trajectories")
    monkeypatch.setattr(arrays, "FEW", 10)
    monkeypatch.setattr(arrays, "MOST_EMPTY", 0.9)
    with pytest.raises(js.SpecError, match=r"must not be almost empty, but points has 72 rows for 72 combinations of"):
        finished.to_xarray()
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(js.SpecError, match=r"need xarray, but .* `pip install 'jepa_sweep\[xarray\]'"):
        finished.to_xarray()


def test_a_spec_that_is_lost_is_missed(stored):
    for file in (stored.path / "specs").iterdir():
        file.unlink()
    with pytest.raises(js.IntegrityError, match=r"must keep every spec that was run, .* run that spec again"):
        js.Store(stored.path).to_xarray()


def test_memory_goes_with_the_table(tmp_path):
    axes = {"lam": {"geom": [0.1, 10.0], "num": 32}, "rho": {"linear": [0.05, 1.0], "num": 32}}
    sweep = js.Sweep(**{**EXACT, "axes": {**axes, "L": [1, 2, 3, 5], "eps": {"geom": [1e-6, 1e-2], "num": 16}}})
    store = js.run(sweep, tmp_path / "run", chunk_points=1 << 13)
    assert store.rows("points") == 131_072
    frame = store.points().memory_usage(deep=True).sum()
    store.to_xarray()  # imports
    tracemalloc.start()
    found = store.to_xarray()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.nbytes < frame
    assert peak < 1.25 * frame


@pytest.mark.parametrize("name", ["to_xarray", "export"])
def test_examples_run(name):
    [test] = doctest.DocTestFinder(recurse=False).find(getattr(js.Store, name), name, globs={})
    assert len(test.examples) >= 4
    assert doctest.DocTestRunner().run(test).failed == 0
