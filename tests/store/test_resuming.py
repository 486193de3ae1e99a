"""Running again: what is there stays, what is missing is computed, numbers made in two ways never mix."""

import json
import sys

import pytest
from conftest import KEYS, TINY, TRACKED
from tables import assert_same_tables, files_of

import jepa_sweep as js
from jepa_sweep.computing import run
from jepa_sweep.results import Store
from jepa_sweep.running import job
from jepa_sweep.running.execute import execute
from jepa_sweep.store.records import sealed


def test_a_finished_run_computes_nothing_again(stored):
    before = files_of(stored.path)
    report = execute(js.Sweep(**TRACKED), stored.path)
    assert report.computed == 0
    after = files_of(stored.path)
    assert {name: after[name] for name in before} == before


def test_a_command_that_computes_nothing_leaves_no_provenance(stored, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["something else"])
    before = set(stored.path.glob("environment/*"))
    js.retry(Store(stored.path))
    js.repair(Store(stored.path))
    js.run(js.Sweep(**TRACKED), stored.path)
    assert set(stored.path.glob("environment/*")) == before
    (stored.path / "points/000002.parquet").unlink()
    js.repair(Store(stored.path))
    assert len(set(stored.path.glob("environment/*")) - before) == 1


def test_a_stopped_run_goes_on_where_it_stopped(tmp_path, stored):
    seen = iter([False, False, True])
    first = execute(js.Sweep(**TRACKED), tmp_path / "again", chunk_points=5, stop=lambda: next(seen))
    assert not first.complete
    second = execute(js.Sweep(**TRACKED), tmp_path / "again", chunk_points=5)
    assert second.complete
    assert first.computed + second.computed == 72
    assert_same_tables(tmp_path / "again", stored.path)


@pytest.mark.parametrize(
    ("change", "new"),
    [
        ({"axes": {**TINY["axes"], "L": [1, 2, 3, 4]}}, 24),
        ({"axes": {**TINY["axes"], "lam": [0.5, 1.0, 2.0]}}, 36),
        ({"measure": {"p": [0.5, 0.9]}}, 72),
        ({"axes": {**TINY["axes"], "rho": [0.5]}}, 0),
        ({"name": "renamed"}, 0),
        ({"solver": {"max_steps": 20_000}}, 0),
    ],
    ids=["deeper", "between", "thresholds", "subset", "name", "max_steps"],
)
def test_an_edited_spec_computes_only_its_new_points(tmp_path, tiny, change, new):
    run(tiny, tmp_path, chunk_points=5)
    report = execute(js.Sweep(**{**TINY, **change}), tmp_path, chunk_points=7)
    assert report.computed == new
    frame = report.store.read("points")
    assert len(frame) == 72 + new
    assert not frame.duplicated(KEYS).any()


def test_a_spec_that_ran_before_is_read_once_a_run(tmp_path, tiny, monkeypatch):
    run(tiny, tmp_path)
    real, read = job.kept, []
    monkeypatch.setattr(job, "kept", lambda *given: read.append(given) or real(*given))
    report = execute(js.Sweep(**{**TINY, "axes": {**TINY["axes"], "L": [4, 5]}}), tmp_path, chunk_points=4)
    assert report.computed == 48
    assert len(list((tmp_path / "commits").glob("*.json"))) > 10
    assert len(read) == 1


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"solver": {"rtol": 1e-7}}, "rtol: 1e-08 here, 1e-07 asked"),
        ({"solver": {"method": "tsit5"}}, "method: dopri8 here, tsit5 asked"),
        ({"solver": {"coordinate": "w"}}, "coordinate: chi here, w asked"),
        (
            {"solver": {"precision": "float32", "rtol": 1e-5}},
            "precision: float64 here, float32 asked; rtol: 1e-08 here, 1e-05 asked",
        ),
        ({"solver": {"time": "flow"}}, "time: paper here, flow asked"),
        ({"measure": {"trajectories": {}}}, "trajectories.samples: none here, 64 asked"),
    ],
)
def test_numbers_made_in_another_way_are_refused(tmp_path, change, what):
    by_dopri8 = {"method": "dopri8"}
    run(js.Sweep(**TINY, solver=by_dopri8), tmp_path)
    before = files_of(tmp_path)
    with pytest.raises(js.SpecError, match=rf"\(.*{what}.*\); write to another directory with --out"):
        run(js.Sweep(**TINY, **{**change, "solver": {**by_dopri8, **change.get("solver", {})}}), tmp_path)
    assert files_of(tmp_path) == before


def test_another_version_of_the_model_is_refused(tmp_path, tiny, monkeypatch):
    run(tiny, tmp_path)
    frozen = js.Sweep.frozen
    monkeypatch.setattr(js.Sweep, "frozen", lambda self: {**frozen(self), "version": 99})
    with pytest.raises(js.SpecError, match=rf"\(version: {tiny.system.version} here, 99 asked\)"):
        run(tiny, tmp_path)


def test_a_newer_format_is_refused(stored):
    record = json.loads((stored.path / "store.json").read_text())
    del record["sha256"]
    (stored.path / "store.json").write_bytes(sealed({**record, "format": 99}))
    with pytest.raises(js.SpecError, match="install a newer jepa_sweep"):
        Store(stored.path)


def test_specs_and_provenance_are_kept(stored):
    kept = list((stored.path / "specs").glob("1-*.toml"))
    assert js.Sweep.load(kept[0]) == js.Sweep(**TRACKED)
    commit = stored.reader.log.commits()[0]
    facts = json.loads((stored.path / "environment" / f"{commit.environment}.json").read_text())
    assert facts["precision"] == "float64"
    assert {"jax", "diffrax", "jepa_sweep"} <= facts["versions"].keys()
