"""Which runs there are, and how far each is."""

import json
import os
import re
import shutil
import threading

import pytest
from conftest import TINY

import jepa_sweep as js
from jepa_sweep.running import listing
from jepa_sweep.running.listing import below, listed
from jepa_sweep.store import table

EXACT = {**TINY, "solver": {"method": "exact"}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of runs: a whole one, a part of one, one deep below, one of a user's own flow, and damaged ones."""
    folder = tmp_path_factory.mktemp("listing")
    js.run(js.Sweep(**EXACT), folder / "whole")
    js.run(js.Sweep(**EXACT), folder / "part", chunk_points=6, shard="0/3")
    shutil.copytree(folder / "whole", folder / "deep/er/run")
    for name, damaged in (("lost", "store.json"), ("torn", "commits/000001.json")):
        shutil.copytree(folder / "whole", folder / name)
        (folder / name / damaged).write_text("{}")
    (folder / "foreign").mkdir()
    (folder / "foreign/store.json").write_text("[]")
    (folder / "empty").mkdir()
    (folder / "whole/points/store.json").write_text("{}")  # no run lies in another
    return folder


def test_every_run_below_a_folder_is_found(runs):
    found = [path.removeprefix(f"{runs}/") for path in below(str(runs))]
    assert found == ["deep/er/run", "foreign", "lost", "part", "torn", "whole"]
    assert list(below(str(runs / "whole"))) == [str(runs / "whole")]
    with pytest.raises(js.SpecError, match="no folder"):
        list(below(str(runs / "nowhere")))


def test_a_folder_that_cannot_be_read_is_an_error_and_one_in_it_is_passed_over(runs, invoke, monkeypatch):
    real = os.scandir

    def refused(place):
        if place in closed:
            raise PermissionError(13, "Permission denied")
        return real(place)

    monkeypatch.setattr(os, "scandir", refused)
    closed = [str(runs)]
    done = invoke("list", runs)
    assert done.exit_code == js.StorageError.exit_code
    assert f"{runs} cannot be read: Permission denied" in done.stderr
    closed = [str(runs / "deep")]
    assert [path.removeprefix(f"{runs}/") for path in below(str(runs))] == ["foreign", "lost", "part", "torn", "whole"]


def test_a_run_is_told_in_a_few_numbers_without_reading_a_table(runs, monkeypatch):
    monkeypatch.setattr(table, "load", lambda *_, **__: pytest.fail("no table is to be read"))
    whole, part = listed(str(runs / "whole")), listed(str(runs / "part"))
    assert (whole["system"], whole["done"], whole["asked"], whole["complete"]) == ("reduced", 72, 72, True)
    assert (part["done"], part["asked"], part["complete"], part["failed"]) == (24, 72, False, 0)
    assert whole["bytes"] == sum(p.stat().st_size for p in (runs / "whole").glob("[pft]*/*.parquet"))
    assert whole["last_commit"] > "2020"
    assert whole["error"] is part["error"] is None


def test_a_damaged_run_says_so_and_the_others_are_shown(runs, invoke):
    done = invoke("list", runs)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    for path in (str(runs / name) for name in ("lost", "torn", "foreign")):
        assert [line for line in lines if line.split()[:1] == [path] and "unreadable" in line]
    assert re.search(rf"^  {re.escape(str(runs))}/whole +reduced +72 +complete ", done.stdout, re.M)
    assert "24 of 72" in done.stdout
    facts = json.loads(invoke("list", runs, "--json").stdout)
    assert facts == [listed(path) for path in below(str(runs))]
    assert [bool(run["error"]) for run in facts] == [False, True, True, False, True, False]


def test_runs_are_listed_in_other_forms_too(runs, invoke):
    csv = invoke("list", runs, "--format", "csv").stdout.splitlines()
    assert csv[0].startswith("run,system,done,asked,complete,")
    assert len(csv) == 1 + len(list(below(str(runs))))
    [whole] = [line for line in csv if line.startswith(f"{runs}/whole,")]
    assert whole.startswith(f"{runs}/whole,reduced,72,72,True,0,")  # though others are unreadable
    [torn] = [line for line in csv if line.startswith(f"{runs}/torn,")]
    assert torn.startswith(f"{runs}/torn,reduced,,,,,")
    assert "| run" in invoke("list", runs, "--format", "markdown").stdout.splitlines()[0]
    assert invoke("list", runs, "--format", "xml").exit_code == 2


def test_no_code_of_a_user_is_run(tmp_path, monkeypatch):
    """How many points were asked for is then unknown."""
    spec = 'name = "own"\nsystem = "own.py:FLOW"\n[axes]\nk = [1.0, 2.0]\n'
    source = """
from jepa_sweep import flow, parameter
FLOW = flow("own", version=1, parameters=[parameter("k")], start=lambda q: 1.0, field=lambda t, y, q: -q.k * y,
            response=lambda y, q: y, threshold=lambda q: 1.0)
"""
    (tmp_path / "own.toml").write_text(spec + "[measure]\np = 0.5\n")
    (tmp_path / "own.py").write_text(source)
    js.run(tmp_path / "own.toml", tmp_path / "run")
    monkeypatch.setattr("jepa_sweep.systems.registry.of_store", lambda _: pytest.fail("no code is to be run"))
    found = listed(str(tmp_path / "run"))
    assert (found["system"], found["done"], found["asked"], found["complete"]) == ("own", 2, None, None)
    assert found["error"] is None


def test_where_there_is_no_run_it_says_so(tmp_path, invoke):
    assert invoke("list", tmp_path).stdout == f"There is no run below {tmp_path}.\n"
    assert json.loads(invoke("list", tmp_path, "--json").stdout) == []
    assert invoke("list", tmp_path / "nowhere").exit_code == 2


def test_runs_are_looked_at_side_by_side(runs, invoke, monkeypatch):
    """Two looks wait for each other, three times."""
    together, real = threading.Barrier(2, timeout=20), listing.listed
    monkeypatch.setattr(listing, "listed", lambda path: together.wait() >= 0 and real(path))
    assert "24 of 72" in invoke("list", runs).stdout
