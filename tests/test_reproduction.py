"""Figures from the command line: files, claims, exit codes, and sentences where a run does not fit."""

import json
import subprocess
import sys

import pytest
from conftest import TRACKED
from matplotlib.figure import Figure

import jepa_sweep as js
from jepa_sweep import reproduction
from jepa_sweep.view.catalog import PICTURES
from jepa_sweep.view.claims import FigureClaim

SWEEP = {**TRACKED, "axes": {**TRACKED["axes"], "eps": [1e-5, 1e-4, 1e-3]}}
PNG, PDF = b"\x89PNG\r\n", b"%PDF-"


@pytest.fixture
def call(invoke, monkeypatch, tmp_path):
    """The command line, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return invoke


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A finished run that the tests here only read."""
    return js.run(js.Sweep(**SWEEP), tmp_path_factory.mktemp("stored") / "run")


@pytest.fixture
def sketched(monkeypatch):
    """The figure of critical times as an empty page, for tests of all but the drawing, which takes seconds."""
    sketch = PICTURES["critical_times"]._replace(draw=lambda store: Figure())
    monkeypatch.setitem(PICTURES, "critical_times", sketch)
    return sketch


@pytest.mark.figure
def test_a_figure_of_a_run(call, stored, tmp_path):
    done = call("figure", "critical_times", "--run", stored.path, "--out", "pictures")
    assert done.exit_code == 0, done.output
    assert "pass  measured critical times are those of the closed form" in done.output
    assert "pictures/critical_times.png, pictures/critical_times.pdf" in done.output
    png, pdf = ((tmp_path / f"pictures/critical_times.{kind}").read_bytes() for kind in ("png", "pdf"))
    assert png.startswith(PNG)
    assert pdf.startswith(PDF)
    again = call("figure", "critical_times", "--run", stored.path, "--out", "pictures", "--json")
    facts = json.loads(again.stdout)
    assert facts["figure"] == "critical_times"
    assert all(claim["holds"] is True for claim in facts["claims"])
    # The same tables give the same files.
    assert (tmp_path / "pictures/critical_times.png").read_bytes() == png
    assert (tmp_path / "pictures/critical_times.pdf").read_bytes() == pdf


def test_without_a_run_the_spec_is_run_where_it_belongs(call, sketched, monkeypatch, tmp_path):
    spec = tmp_path / "small.toml"
    spec.write_text(js.Sweep(**{**SWEEP, "name": "small"}).to_toml())
    monkeypatch.setattr(reproduction, "spec_path", lambda name: spec)
    for computed in (True, False):
        before = sorted((tmp_path / "runs").rglob("*.parquet"))
        assert call("figure", "critical_times").exit_code == 0
        assert (sorted((tmp_path / "runs").rglob("*.parquet")) != before) is computed
    assert (tmp_path / "figures/critical_times.pdf").exists()


def test_a_claim_that_fails_is_told_and_has_its_exit_code(call, sketched, stored, monkeypatch):
    failing = sketched._replace(claims=lambda store: [FigureClaim("the sky is green", "it is blue", False)])
    monkeypatch.setitem(PICTURES, "critical_times", failing)
    done = call("figure", "critical_times", "--run", stored.path)
    assert done.exit_code == 3
    assert "FAIL  the sky is green\n        it is blue" in done.output


def test_all_figures_are_drawn_and_counted(call, sketched, stored, monkeypatch):
    monkeypatch.setattr(reproduction, "compute", lambda *args, **kwargs: stored)
    monkeypatch.setattr(reproduction, "PICTURES", dict.fromkeys(["fig4", "critical_times"], sketched))
    done = call("reproduce")
    assert done.exit_code == 0, done.output
    assert "4 of 4 claims hold" in done.output
    assert [one["figure"] for one in json.loads(call("reproduce", "--json").stdout)] == ["fig4", "critical_times"]


def test_a_figure_that_does_not_exist_is_refused(call):
    done = call("figure", "fig6")
    assert done.exit_code == 2
    assert "`figure` must be one of fig1, " in done.output


def test_a_run_that_does_not_fit_is_refused_and_leaves_no_trace(call, stored, tmp_path):
    done = call("figure", "fig4", "--run", stored.path)
    assert done.exit_code == 2
    for word in ("`lam` varies (0.5, 2) and must be fixed", "`eps` varies (1e-05, 0.0001, 0.001) and must be fixed"):
        assert word in done.output
    assert "Try without --run, which computes what is missing of runs/fig4" in done.output
    assert not (tmp_path / "figures").exists()


def test_a_run_in_the_place_of_its_own_that_does_not_fit_is_refused(call, stored, monkeypatch):
    monkeypatch.setattr(reproduction, "compute", lambda *args, **kwargs: stored)
    done = call("figure", "fig4")
    assert done.exit_code == 2
    assert f"move {stored.path} away to have it computed anew" in done.output


def test_a_folder_that_cannot_be_written_to(call, stored, tmp_path):
    (tmp_path / "file").write_text("")
    done = call("figure", "critical_times", "--run", stored.path, "--out", "file/pictures")
    assert done.exit_code == 6
    assert "a part of the path is a file" in done.output


def test_a_page_to_explore(call, stored):
    done = call("explore", stored.path)
    assert done.exit_code == 0, done.output
    page = stored.path.with_name("run.html")
    assert str(page) in done.output
    assert page.read_text("utf-8").lstrip().lower().startswith("<!doctype html>")


@pytest.mark.process
@pytest.mark.parametrize(("module", "extra"), [("matplotlib", "plot"), ("plotly", "report")])
def test_a_missing_extra_is_named(stored, tmp_path, module, extra):
    words = {"plot": ["figure", "critical_times", "--run"], "report": ["explore"]}[extra]
    script = f"import sys; sys.modules[{module!r}] = None; from jepa_sweep.cli import main; main()"
    command = [sys.executable, "-c", script, *words, str(stored.path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert f"pip install 'jepa_sweep[{extra}]'" in done.stderr
