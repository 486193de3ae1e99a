"""Folders of a store that vanish, while it is computed or afterwards: the next run sees it."""

import shutil

import pytest
from replayed import SPEC
from tables import assert_same_tables

import jepa_sweep as js
from jepa_sweep.errors import IntegrityError, StorageError
from jepa_sweep.running import recovery
from jepa_sweep.running.execute import execute
from jepa_sweep.store import location

pytest_plugins = ["replayed_fixtures"]
LOST = ("points", "trajectories")  # of which commit records list files
FOLDERS = (*LOST, "failures", *location.FOLDERS)
LARGER = {**SPEC, "axes": {**SPEC["axes"], "rho": [0.25, 0.5, 0.75, 1.0]}}


@pytest.fixture
def command(invoke, tmp_path):
    """The command that runs the spec."""
    spec = tmp_path / "spec.toml"
    spec.write_text(js.Sweep(**SPEC).to_toml())
    return lambda word: invoke(*((word, spec, "--out") if word == "run" else (word,)), tmp_path / "run")


@pytest.mark.parametrize("name", LOST)
def test_files_that_are_gone_are_seen_by_the_next_run(command, whole, tmp_path, name):
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / name)
    for _ in range(2):  # the first makes the folder anew
        result = command("run")
        assert f"{name}/000001.parquet and 1 more committed files are missing; run `jepa-sweep repair`" in result.output
        assert result.exit_code == IntegrityError.exit_code
    assert command("repair").exit_code == command("run").exit_code == command("verify").exit_code == 0
    assert_same_tables(tmp_path / "run", whole)


def test_one_file_that_is_gone_is_seen(command, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run/points/000002.parquet").unlink()
    result = command("run")
    assert "points/000002.parquet is missing; run `jepa-sweep repair`" in result.output
    assert result.exit_code == IntegrityError.exit_code


def attempt(path, **options):
    """The exit code that the command would have; 0 if all was well."""
    try:
        execute(js.Sweep(**LARGER), path, chunk_points=2, **options)
    except (IntegrityError, StorageError) as error:
        return error.exit_code
    return 0


@pytest.mark.parametrize("when", [1, 4])
@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_vanishes_while_a_run_computes_is_seen(tmp_path, monkeypatch, name, when):
    """After this chunk of four; what is lost is never taken for there."""
    monkeypatch.setattr(recovery.finish, "__defaults__", ("auto", 0.2))  # how long others are waited for
    path, seen = tmp_path / "run", []

    def vanish(_):
        seen.append(_)
        if len(seen) == when:
            shutil.rmtree(path / name)

    codes = [attempt(path, progress=vanish), attempt(path)]
    assert (5 in codes) == (name in LOST)
    if name in LOST:
        js.repair(path)
        codes.append(attempt(path))
    assert codes[-1] == 0
    store = js.Store(path)
    assert store.damage() == {}
    lost = [problem for problem in store.lost_notes() if "environment" in problem]
    assert len(lost) == len(store.lost_notes()) == (name == "environment")  # which is told by nothing else
    assert attempt(tmp_path / "other") == 0
    assert_same_tables(path, tmp_path / "other")
