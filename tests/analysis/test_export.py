"""Exports are the tables to the last bit, overwrite nothing, and appear whole or not at all."""

import json
import re
import resource
import runpy
import shutil
import sys
import weakref
from fnmatch import fnmatch

import duckdb
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from conftest import ROOT, TINY, paths_of

import jepa_sweep as js
from jepa_sweep.analysis import export as module
from jepa_sweep.analysis.export import SUFFIXES
from jepa_sweep.physics.host import Status
from jepa_sweep.running.execute import execute

EXACT = {**TINY, "solver": {"method": "exact"}}
ZIPPED = {"combine": "zip", "axes": {"lam": [0.5, 1.0], "rho": [0.5, 1.0], "L": 1, "eps": 1e-3}}


@pytest.fixture
def retried():
    """A run with failures of which all but one were tried again with success; of an older format."""
    return js.Store(ROOT / "tests/data/retried/format-2")


def read(path, like):
    """A CSV file with the types of a table; numbers are read by Python, which reads all digits."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    for column in frame:
        if like[column].dtype.kind in "fi":
            frame[column] = np.array([float(x or "nan") for x in frame[column]], dtype=like[column].dtype)
    return frame


def same(ours, theirs):
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True, check_dtype=False)


# --- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["finished", "retried"])
def test_csv_has_all_digits(which, request, tmp_path):
    store = request.getfixturevalue(which)
    folder = store.export("csv", tmp_path / "x.csv")
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{name}.csv" for name in store.tables)
    for name in store.tables:
        same(read(folder / f"{name}.csv", store.read(name)), store.read(name))


def test_csv_is_written_file_by_file(finished, tmp_path, monkeypatch):
    alive, most = [], []

    def watched(*args):
        for rows in original(*args):
            alive.append(weakref.ref(rows))
            most.append(sum(one() is not None for one in alive))
            yield rows

    original = module.table.pieces
    monkeypatch.setattr(module.table, "pieces", watched)
    finished.export("csv", tmp_path / "x")
    assert len(most) > 10
    assert max(most) <= 2


@pytest.mark.parametrize("which", ["finished", "retried"])
def test_duckdb_has_rows_types_and_comments(which, request, tmp_path):
    store = request.getfixturevalue(which)
    with duckdb.connect(store.export("duckdb", tmp_path / "x.duckdb"), read_only=True) as base:
        names = {name for (name,) in base.execute("select table_name from duckdb_tables()").fetchall()}
        assert names == {*store.tables, "provenance"}
        for name in store.tables:
            same(base.table(name).df(), store.read(name))
            told = "select column_name, comment from duckdb_columns() where table_name = ?"
            comments = dict(base.execute(told, [name]).fetchall())
            for field in store.schema(name):
                notes = {key.decode(): value.decode() for key, value in field.metadata.items()}
                assert comments[field.name].startswith(notes["meaning"])
                assert f"[{notes['unit']}]" in comments[field.name] or not notes["unit"]
                assert notes.get("equation", "") in comments[field.name]
        facts = dict(base.table("provenance").fetchall())
        assert facts["spec"] == next(iter(store.specs().values()))


def test_rows_need_no_system(tmp_path):
    """A flow that stands in no file is known to Python alone."""
    module = runpy.run_path(str(ROOT / "tests/data/decay.py"))
    spec = {"name": "decay", "axes": {"rate": [0.5, 1.0], "level": 0.5}, "solver": {"method": "exact"}}
    store = js.run(js.Sweep(system=module["DECAY"]._replace(source=""), **spec), tmp_path / "run")
    alone = js.Store(store.path)
    same(read(alone.export("csv") / "points.csv", store.points()), store.points())
    with pytest.raises(js.SpecError, match="pass it from Python"):
        alone.export("zarr")
    assert store.export("zarr") == tmp_path / "run.zarr"


def test_one_table_alone(finished, tmp_path):
    folder = finished.export("csv", tmp_path / "x", "points")
    assert [path.name for path in folder.iterdir()] == ["points.csv"]
    assert list(xr.open_datatree(finished.export("netcdf", tmp_path / "x.nc", "trajectories")).children) == [
        "trajectories"
    ]


# --- arrays -----------------------------------------------------------------------------------------------------------


def opened(to, path, name):
    if to == "netcdf":
        return xr.open_dataset(path, group=name).load()
    return xr.open_zarr(path, group=name, consolidated=False).load()


def in_words(found):
    """The same with words in place of the codes that stand for them."""
    codes, flags = found.status.to_numpy(), found.status.attrs
    assert codes.dtype == np.int8
    words = dict(zip(flags.pop("flag_values"), flags.pop("flag_meanings").split(), strict=True))
    assert {code: word for code, word in words.items() if code >= 0}.items() <= {(s, s.label) for s in Status}
    found["status"] = (found.status.dims, np.array([words[code] for code in codes.ravel()]).reshape(codes.shape), flags)
    return found


@pytest.mark.parametrize("to", ["netcdf", "zarr"])
@pytest.mark.parametrize("which", ["finished", "retried"])
def test_arrays_are_read_back_as_they_were(to, which, request, tmp_path):
    store = request.getfixturevalue(which)
    path = store.export(to, tmp_path / "x")
    for name in ("points", "trajectories") if which == "finished" else ("points",):
        found = in_words(opened(to, path, name))
        texts = {axis: values.astype("U13") for axis, values in found.coords.items() if values.dtype.kind in "OT"}
        xr.testing.assert_identical(found.assign_coords(texts), store.to_xarray(name))


@pytest.mark.parametrize("to", ["netcdf", "zarr"])
def test_points_that_are_no_grid_are_no_arrays(to, tmp_path):
    store = js.run({"name": "x", "solver": {"method": "exact"}, "block": [ZIPPED]}, tmp_path / "run")
    with pytest.raises(js.SpecError, match="must be all combinations"):
        store.export(to)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


# --- places -----------------------------------------------------------------------------------------------------------


def test_exports_stand_beside_their_run(stored):
    for to, suffix in SUFFIXES.items():
        assert stored.export(to) == stored.path.parent / f"run.{suffix}"
    names = {"run", *(f"run.{suffix}" for suffix in SUFFIXES.values())}
    assert {path.name for path in stored.path.parent.iterdir()} == names
    assert stored.strays() == []


@pytest.mark.parametrize("to", [*SUFFIXES, "card"])
def test_nothing_is_overwritten(to, stored, tmp_path):
    path = stored.export(to)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(js.SpecError, match=f"{path} must not be there yet, because nothing is overwritten"):
        stored.export(to)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_a_file_that_appears_meanwhile_stays(finished, tmp_path, monkeypatch):
    def slow(*args):
        (tmp_path / "x").write_text("somebody's")
        return write(*args)

    write = module.provenance.facts
    monkeypatch.setattr(module.provenance, "facts", slow)
    with pytest.raises(js.SpecError, match="must not be there yet"):
        finished.export("duckdb", tmp_path / "x")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["somebody's"]


@pytest.mark.parametrize("to", SUFFIXES)
def test_an_export_that_is_interrupted_leaves_nothing(to, finished, tmp_path, monkeypatch):
    def interrupted(*args):
        if calls := len(seen):
            raise KeyboardInterrupt(calls)
        seen.append(args)
        return read(*args)

    seen, read = [], module.table.pieces
    monkeypatch.setattr(module.table, "pieces", interrupted)
    with pytest.raises(KeyboardInterrupt):
        finished.export(to, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("to", SUFFIXES)
def test_an_export_that_the_disk_refuses_leaves_nothing(to, finished, tmp_path):
    """Real refusals: no file may grow beyond a few bytes."""
    finished.export(to, tmp_path / "whole")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        with pytest.raises(js.StorageError, match=r"Could not write .*x: .* run .*again"):
            finished.export(to, tmp_path / "x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_what_cannot_be_exported_is_refused(finished, tmp_path, monkeypatch):
    for given, said in [
        (("cvs",), r"`to` must be one of csv, .*card, but it is 'cvs'. Did you mean `csv`\?"),
        (("csv", None, "point"), r"`table` must be one of .* Did you mean `points`\?"),
        (("card", None, "points"), "A card must describe all tables"),
        (("csv", finished.path / "csv"), "must lie outside the run directory"),
        (("netcdf", tmp_path / "x", "failures"), "Failed points must be read as rows"),
    ]:
        with pytest.raises(js.SpecError, match=said):
            finished.export(*given)
    with pytest.raises(js.StorageError, match="there is no such folder; create it"):
        finished.export("csv", tmp_path / "missing" / "x")
    for to, package in {"duckdb": "duckdb", "netcdf": "netCDF4", "zarr": "zarr"}.items():
        extra = "sql" if to == "duckdb" else "xarray"
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(js.SpecError, match=rf"needs {package}, but .* `pip install 'jepa_sweep\[{extra}\]'`"):
            finished.export(to, tmp_path / "x")
    empty = execute(js.Sweep(**EXACT), tmp_path / "run", stop=lambda: True).store
    with pytest.raises(js.SpecError, match="must hold rows to be exported, but nothing is computed yet"):
        js.Store(empty.path).export("card")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


# --- cards ------------------------------------------------------------------------------------------------------------


def front_matter(text):
    return yaml.safe_load(text.split("---\n")[1])


def files_of(store, configured):
    """The files that a hub takes for a table."""
    patterns = [configured] if isinstance(configured, str) else configured
    there = [path.relative_to(store.path).as_posix() for path in store.path.rglob("*")]
    return {file for file in there if any(fnmatch(file, pattern) for pattern in patterns)}


@pytest.mark.parametrize("stray", [False, True], ids=["alone", "beside a stray"])
def test_the_front_matter_of_a_card_names_the_committed_files(stray, stored):
    if stray:
        shutil.copy(paths_of(stored, "points")[0], stored.path / "points/999999.parquet")
    front = front_matter(stored.export("card").read_text())
    assert front["size_categories"] == ["n<1K"]
    configured = {config["config_name"]: config["data_files"] for config in front["configs"]}
    assert set(configured) == {"points", "trajectories"}
    for name, patterns in configured.items():
        committed = {path.relative_to(stored.path).as_posix() for path in paths_of(stored, name)}
        assert files_of(stored, patterns) == committed
        assert isinstance(patterns, str) != (stray and name == "points")


@pytest.mark.parametrize("which", ["stored", "retried"])
def test_a_card_says_what_the_store_knows(which, request, tmp_path):
    store = request.getfixturevalue(which)
    text = re.sub(" +", " ", store.export("card", tmp_path / "card.md").read_text())  # cells are padded
    for name in (name for name in store.tables if store.rows(name)):
        section = text.split(f"## Table `{name}`: {store.rows(name):,} rows\n")[1].split("\n## ")[0]
        assert re.findall(r"^\| `(\w+)` \|", section, re.M) == store.schema(name).names
    assert re.sub(" +", " ", next(iter(store.specs().values()))).rstrip() in text
    [note] = store.environments().values()
    for package, version in note["versions"].items():
        assert f"{package} {version}" in text
    for status, count in store.overview().statuses.items():
        assert f"| `{status}` | {count:,} | {js.SENTENCES[Status[status.upper()]]} |" in text
    assert ("the row with the largest `try` counts" in text) == (which == "retried")
    assert text.count("```") % 2 == 0


def test_a_card_is_no_stray(stored, invoke):
    with pytest.raises(js.SpecError, match="must lie outside the run directory"):
        stored.export("card", stored.path / "other.md")
    assert not (stored.path / "other.md").exists()
    assert stored.export("card") == stored.path / "README.md"
    assert invoke("verify", stored.path).stdout.strip().endswith("Every file is as it was committed.")
    same(pd.read_parquet(stored.path / "points"), stored.points())


def test_the_card_of_a_run_of_an_own_flow_has_its_file(tmp_path):
    shutil.copy(ROOT / "tests/data/decay.py", tmp_path)
    spec = {"name": "decay", "system": f"{tmp_path}/decay.py:DECAY", "axes": {"rate": [0.5, 1.0], "level": 0.5}}
    store = js.run({**spec, "solver": {"method": "exact"}}, tmp_path / "run")
    text = store.export("card").read_text()
    assert f"```python\n{store.source().rstrip()}\n```" in text
    assert "littwin" not in text
    assert front_matter(text)["tags"][1] == "decay"


@pytest.mark.parametrize(
    ("rows", "size"),
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (655_360, "100K<n<1M"),
        (10**12 - 1, "100B<n<1T"),
        (10**12, "n>1T"),
    ],
)
def test_sizes_are_in_the_words_of_hubs(rows, size):
    assert module.card._size(rows) == size


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", SUFFIXES)
def test_the_command_says_what_it_wrote(to, stored, invoke, tmp_path):
    done = invoke("export", stored.path, "--to", to, "--json")
    facts = json.loads(done.stdout)
    assert done.exit_code == 0
    assert facts["path"] == str(stored.path.parent / f"run.{SUFFIXES[to]}")
    assert facts["rows"]["points"] == 72
    assert facts["bytes"] > 0
    again = invoke("export", stored.path, "--to", to)
    assert again.exit_code == 2
    assert "because nothing is overwritten" in again.stderr
    other = invoke("export", stored.path, "--to", to, "--out", tmp_path / "x", "--table", "points")
    assert re.fullmatch(r".*x: \d+(\.\d)? [kM]B; rows: points 72\.\n", other.stdout)


def test_the_command_refuses_as_json(stored, invoke):
    done = invoke("export", stored.path, "--to", "xml", "--json")
    assert done.exit_code == 2
    assert "`to` must be one of" in json.loads(done.stdout)["error"]
