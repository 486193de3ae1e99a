"""Stores of every format that is read, and files in a run directory that are not the store's."""

import json
import re
import shutil

import duckdb
import pandas as pd
import polars as pl
import pytest
from conftest import KEYS, ROOT
from tables import assert_same, files_of

import jepa_sweep as js
from jepa_sweep.results import Store
from jepa_sweep.running.execute import execute
from jepa_sweep.running.summary import status_of
from jepa_sweep.store import manifest
from jepa_sweep.systems import registry

STORES = ROOT / "tests/data/stores"
FORMATS = sorted(STORES.iterdir())
ROWS = {"points": 142, "trajectories": 288, "failures": 2}


@pytest.fixture
def then(monkeypatch):
    """The system has the version whose results these stores hold."""
    monkeypatch.setitem(registry.BUILT_IN, "reduced", registry.BUILT_IN["reduced"]._replace(version=1))


@pytest.fixture(params=FORMATS, ids=lambda path: path.name)
def old(request, tmp_path):
    """A store as it was written then."""
    return shutil.copytree(request.param, tmp_path / "run")


def test_there_is_a_store_of_every_format():
    assert [path.name for path in FORMATS] == [f"format-{n}" for n in range(2, manifest.FORMAT + 1)]


def test_a_store_of_any_format_is_read(old):
    store = Store(old)
    assert {name: len(store.read(name)) for name in store.tables} == ROWS
    assert {name: store.rows(name) for name in store.tables} == ROWS
    assert store.damage() == {}
    assert store.lost_notes() == store.strays() == []
    frame = store.points(filters=[("L", "==", 3), ("lam", ">", 1.0)])
    assert set(frame.L) == {3}
    assert (frame.relative_difference <= 1e-8 * frame.steps).all()
    facts = status_of(old)
    assert facts["specs"][0]["missing"] == 0
    assert facts["statuses"] == {"learned": 142, "max_steps": 2}


def test_a_store_is_read_without_the_system_that_made_it(old, monkeypatch):
    monkeypatch.setattr(registry, "BUILT_IN", {})
    store = Store(old)
    assert {name: len(store.read(name)) for name in store.tables} == store.overview().rows == ROWS
    assert [c.name for c in store.parameters] == ["lam", "rho", "L", "eps"]
    assert store.schema("points").field("t_exact").metadata[b"unit"] == b"paper time"
    with pytest.raises(js.SpecError, match="its system 'reduced' stood in no file"):
        store.compare()


def test_the_formats_hold_the_same(old):
    first = Store(FORMATS[0]).points().sort_values(KEYS).reset_index(drop=True)
    assert_same(Store(old).points().sort_values(KEYS).reset_index(drop=True), first)


@pytest.mark.usefixtures("then")
def test_a_store_of_any_format_is_gone_on_with(old):
    """Extended, its failures tried again, a chunk of it lost and computed again."""
    before = files_of(old)
    text = next((old / "specs").iterdir()).read_text()
    assert execute(js.Sweep.parse(text), old).computed == 0
    assert execute(js.Sweep.parse(text.replace("0.25,", "0.25,\n    0.75,")), old).computed == 48
    assert {name: files_of(old)[name] for name in before} == before
    assert js.retry(Store(old), max_steps=100)["failed"] == 0
    (old / "points/000001.parquet").write_bytes(b"")
    assert list(js.repair(Store(old))) == ["000001"]
    store = Store(old)
    assert store.damage() == {}
    assert (len(store.points()), len(store.failures())) == (144 + 48, 0)
    assert not store.points().duplicated(KEYS).any()


@pytest.fixture
def retried(tmp_path):
    """A store of format 2 of whose 24 points 9 had failed, 1 of these again, and that once more."""
    return shutil.copytree(ROOT / "tests/data/retried/format-2", tmp_path / "run")


def test_retries_of_format_2_are_read(retried):
    store = Store(retried)
    assert len(pd.read_parquet(retried / "failures")) == 9 + 1 + 1
    assert (len(store.points()), len(store.failures()), store.rows("failures")) == (23, 1, 1)
    assert store.counts("failures", "status") == {"max_steps": 1}
    assert status_of(retried)["statuses"] == {"learned": 23, "max_steps": 1}
    assert store.damage() == {}


@pytest.mark.usefixtures("then")
@pytest.mark.parametrize("lost", [["000002"], ["000004"], ["000005"], ["000002", "000004"], ["000001", "000003"]])
def test_retries_of_format_2_are_gone_on_with(retried, lost):
    """Chunks 3 and 4 compute again what failed in 1 and 2, and 5 what failed in 4."""

    def points():
        return Store(retried).points([*KEYS, "status"]).sort_values(KEYS).reset_index(drop=True)

    before = points()
    for number in lost:
        [file, *_] = [
            part.file.path for name in ("points", "failures") for part in Store(retried).reader.parts(name, number)
        ]
        (retried / file).write_bytes(b"")
    assert list(js.repair(Store(retried))) == lost
    store = Store(retried)
    assert_same(points(), before)
    assert (len(store.failures()), store.damage()) == (1, {})
    assert js.retry(store, max_steps=1000) == {"tried": 1, "failed": 0, "complete": True}
    assert (len(Store(retried).points()), len(Store(retried).failures())) == (24, 0)


# --- files that are not ours ------------------------------------------------------------------------------------------

HARMLESS = [
    "notes.txt",
    ".DS_Store",
    "points/.nfs0000000000ab",
    "points/._000001.parquet",
    "points/_SUCCESS",
    "commits/000001.json.swp",
    "specs/mine.toml",
    "environment/README",
    "analysis/points/000001.parquet",
    "trajectories/.ipynb_checkpoints/000001-checkpoint.parquet",
]


@pytest.fixture
def strewn(stored):
    """A run among whose files others lie."""
    for name in HARMLESS:
        (stored.path / name).parent.mkdir(parents=True, exist_ok=True)
        (stored.path / name).write_bytes(b"not ours")
    return stored


def documented_lines(path):
    """What the documentation says pandas, DuckDB and Polars are to be given."""
    text = (ROOT / "docs/index.md").read_text().replace("runs/quickstart", str(path))
    [query] = re.findall(r"DuckDB \(`(.*?)`\)", text)
    yield duckdb.sql(query).df()
    [line] = re.findall(r"Polars \(`(.*?)`\)", text)
    yield pd.DataFrame(eval(line, {"pl": pl}).to_dicts())
    [line] = re.findall(r"points = (pd\.read_parquet\(.*?\))", text)
    yield eval(line, {"pd": pd})


def test_files_that_are_not_ours_are_listed_and_ignored(strewn, command):
    store = Store(strewn.path)
    truth = strewn.points().sort_values(KEYS).reset_index(drop=True)
    assert_same(store.points().sort_values(KEYS).reset_index(drop=True), truth)
    assert sorted(store.strays()) == sorted(str(strewn.path / name) for name in HARMLESS)
    assert store.damage() == {}
    assert execute(js.Sweep.load(next(strewn.path.glob("specs/1-*.toml"))), strewn.path).computed == 0
    told = command(None, command="verify")
    assert told.exit_code == 0
    assert told.stdout.count("not a file of the store: ") == len(HARMLESS)
    assert len(json.loads(command(None, "--json", command="verify").stdout)["strays"]) == len(HARMLESS)


def test_the_documented_lines_read_the_table_among_them(strewn):
    truth = strewn.points().sort_values(KEYS).reset_index(drop=True)
    for frame in documented_lines(strewn.path):
        assert_same(frame.sort_values(KEYS).reset_index(drop=True), truth, check_dtype=False)
