"""The check that JAX computes right: itself against 25 digits, and what it does about a JAX that is wrong."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import ROOT, TINY

import jepa_sweep as js
from jepa_sweep.engine import devices, lanes, programs, selfcheck
from jepa_sweep.engine.selfcheck import EXACT, Answer, require
from jepa_sweep.engine.settings import METHODS, Settings
from jepa_sweep.errors import JepaSweepError
from jepa_sweep.physics.reduced import DYNAMICS

FAULT = """
import jax.numpy as jnp
from jepa_sweep.physics import elementary
right = elementary.arctan
elementary.arctan = lambda x: right(x) * jnp.where(abs(x - 0.5) < 0.002, 1.07, 1.0)
"""


# --- the reference --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", DYNAMICS)
def test_the_reference_is_right_to_what_it_says(objective):
    with (ROOT / "tests/data/times.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["objective"] == objective]
    rows = [row for row in rows if int(row["L"]) <= 8 and float(row["eps"]) >= 1e-7]
    columns = {name: np.array([float(row[name]) for row in rows]) for name in ("lam", "rho", "L", "eps")}
    p, golden = (np.array([float(row[name]) for row in rows]) for name in ("p", "t_paper"))
    times, uncertain = selfcheck.reference(objective, columns, p)
    assert len(rows) >= 8
    assert uncertain < 1e-9
    np.testing.assert_allclose(times, golden, rtol=uncertain + selfcheck.ROUNDINGS)


@pytest.mark.parametrize("objective", DYNAMICS)
def test_the_points_keep_to_what_the_tolerances_are_derived_from(objective):
    columns, p = selfcheck.points(objective)
    L, eps = columns["L"], columns["eps"]
    assert set(L) == set(range(1, 9))
    assert 1000 < (p > 1).sum() < 3000
    assert np.abs(np.log(eps)).max() <= 17
    assert (js.status(objective, **columns, p=p) == "learned").all()
    m, w_star = (1 if objective == "jepa" else L + 1), js.fixed_point(objective, rho=columns["rho"], L=L)
    times, _ = selfcheck.reference(objective, columns, p)
    for fraction in (eps / w_star, p):  # dT/dchi / T is largest at one of the ends
        log_power = m / L * np.log(fraction)
        a = 2 * L if objective == "jepa" else L
        power = np.where(log_power < 0, 1 - a, 1 - a - m) / m
        per_chi = L / (m * columns["lam"] * columns["rho"] ** ((a - 1) / m)) * np.exp(power * log_power)
        assert (per_chi / times).max() <= selfcheck.FORWARD


@pytest.mark.long
def test_solves_take_fewer_steps_than_allowed_for():
    """tsit5 takes the most of those that a bound on the number of steps is for."""
    system = DYNAMICS["jepa"]
    columns, p = selfcheck.points("jepa")
    p = p[:, None]
    predicted = lanes.predict(system, columns, p)
    solved = lanes.solve(system, columns, p, predicted, Settings("tsit5", selfcheck.RTOL))
    assert solved.steps.max() <= selfcheck.MOST_STEPS


# --- what is right and what is wrong ----------------------------------------------------------------------------------


@pytest.mark.long
def test_jax_computes_right_here():
    found = selfcheck.answers(methods=(EXACT, "clenshaw_curtis"))
    assert [(a.objective, a.method) for a in found] == [(o, m) for o in DYNAMICS for m in (EXACT, "clenshaw_curtis")]
    assert not any(answer.wrong for answer in found)
    selfcheck.refuse_wrong(found)


@pytest.mark.long
@pytest.mark.parametrize(("method", "spoilt"), [(EXACT, "predict"), ("clenshaw_curtis", "solve")])
@pytest.mark.parametrize("value", [1.0000001, np.nan, np.inf])
def test_a_few_wrong_times_are_found(monkeypatch, method, spoilt, value):
    right = getattr(lanes, spoilt)
    factor = value if method == EXACT or not np.isfinite(value) else 1 + 2 * selfcheck.MOST_STEPS * selfcheck.RTOL

    def wrong(system, *args, **kwargs):
        found = right(system, *args, **kwargs)
        time = found.values["t_exact"] if spoilt == "predict" else found.time
        time = time.copy()
        time[[17, 1000, 4095]] *= factor if system is DYNAMICS["mae"] else 1
        if spoilt == "predict":
            return found._replace(values={**found.values, "t_exact": time})
        return found._replace(time=time)

    monkeypatch.setattr(lanes, spoilt, wrong)
    found = selfcheck.answers(methods=(EXACT, "clenshaw_curtis"))
    assert [(a.objective, a.method, a.wrong) for a in found if a.wrong] == [("mae", method, 3)]
    with pytest.raises(JepaSweepError, match=rf"jax {jax.__version__} .*`{method}` is wrong at 3 of 4,096 points, mae"):
        selfcheck.refuse_wrong(found)


def test_what_to_install_is_said(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_prefer_vector_width=512")
    with pytest.raises(JepaSweepError) as caught:
        selfcheck.refuse_wrong([Answer("mae", EXACT, 0.07, 1e-12, 12)])
    said = str(caught.value)
    assert f"!={jax.__version__}" in said
    assert "pip install 'jax" in said
    assert "unset XLA_FLAGS, which is '--xla_cpu_prefer_vector_width=512'" in said


# --- once on a machine ------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """The methods asked about, with a folder for compiled programs of this test's own; all is found right."""
    seen: list[str] = []

    def answers(device, methods, batch):
        seen.extend(methods)
        return [Answer("mae", method, 0.0, 1e-12, 0) for method in methods]

    monkeypatch.setattr(selfcheck, "answers", answers)
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "programs"))
    require.cache_clear()
    yield seen
    jax.config.update("jax_compilation_cache_dir", before)
    next_process()


def next_process():
    """Forget what this process knows."""
    require.cache_clear()
    devices.circumstances.cache_clear()


def test_a_machine_is_asked_once_about_a_method(asked, monkeypatch):
    require("auto", "dopri8")
    require("auto", "dopri8")
    assert asked == [EXACT, "dopri8"]
    next_process()
    require("auto", "dopri8")
    require("auto", "exact")
    require("auto", "adam")  # an optimiser: there is only the closed form beside it to look at
    assert asked == [EXACT, "dopri8"]
    require("auto", "tsit5")
    assert asked == [EXACT, "dopri8", EXACT, "tsit5"]
    next_process()
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_prefer_vector_width=512")
    require("auto", "dopri8")
    assert asked[4:] == [EXACT, "dopri8"]


def test_doctor_spares_runs_the_check(asked):
    selfcheck.remember("auto")
    for method in METHODS:
        require("auto", method)
    assert asked == []


def test_what_was_found_wrong_is_found_wrong_again(asked, monkeypatch):
    wrong = [Answer("mae", EXACT, 0.07, 1e-12, 12)]
    with monkeypatch.context() as patch:
        patch.setattr(selfcheck, "answers", lambda *_: wrong)
        for _ in range(2):
            with pytest.raises(JepaSweepError):
                require("auto", "dopri8")
    require("auto", "dopri8")
    assert asked == [EXACT, "dopri8"]


def test_a_library_that_keeps_no_programs_is_not_asked(asked):
    jax.config.update("jax_compilation_cache_dir", None)
    require("auto", "dopri8")
    assert asked == []


@pytest.mark.parametrize("where", ["a file", "gs://bucket/programs"])
def test_where_no_note_can_be_left_every_process_asks(asked, tmp_path, where):
    (tmp_path / "a file").write_text("not a folder")
    jax.config.update("jax_compilation_cache_dir", where if "://" in where else str(tmp_path / where / "programs"))
    for _ in range(2):
        next_process()
        require("auto", "exact")
    assert asked == [EXACT, EXACT]


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_run_asks_before_anything_is_stored(command, monkeypatch, tmp_path):
    def wrong(device, method, batch):
        raise JepaSweepError(f"wrong by {method} on {device}")

    monkeypatch.setattr(selfcheck, "require", wrong)
    done = command(js.Sweep(**TINY), "--device", "cpu")
    assert done.exit_code == 1
    assert "wrong by clenshaw_curtis on cpu" in done.stderr
    assert len(js.Store(tmp_path / "run").points()) == 0


@pytest.mark.long
def test_a_run_with_nothing_left_to_do_does_not_ask(command, monkeypatch):
    assert command(js.Sweep(**TINY)).exit_code == 0
    monkeypatch.setattr(selfcheck, "require", lambda *_: pytest.fail("asked"))
    assert command(js.Sweep(**TINY)).exit_code == 0


@pytest.mark.long
def test_a_run_uses_the_programs_that_were_checked(asked, monkeypatch, command):
    """So that a first run compiles nothing twice."""
    monkeypatch.undo()  # the check itself, with a folder for programs where nothing was found right yet
    monkeypatch.setattr(selfcheck, "require", require)
    before = programs.compiled.cache_info().misses
    assert command(js.Sweep(**TINY, solver={"method": "dopri8"})).exit_code == 0
    notes = Path(jax.config.values["jax_compilation_cache_dir"]).glob("*right*")
    assert {note.name.split("-is-")[0] for note in notes} == {"jepa_sweep-dopri8", "jepa_sweep-exact"}
    assert programs.compiled.cache_info().misses - before <= 2  # of predictions and of steps


@pytest.mark.process
def test_a_fault_of_jax_stops_the_command(tmp_path):
    """A JAX whose arctan is off here and there, in a process of its own."""
    (tmp_path / "spec.toml").write_text(js.Sweep(**TINY).to_toml())
    script = f"{FAULT}\nfrom jepa_sweep import cli\ncli.main()"
    words = ["run", "spec.toml", "--out", "run"]
    line = [sys.executable, "-c", script, *words]
    first = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "programs")}  # where nothing was found right yet
    done = subprocess.run(line, cwd=tmp_path, env=first, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "`exact` is wrong at" in done.stderr
    assert not list((tmp_path / "run").glob("points/*.parquet"))
