"""What was traced is kept for other processes, under a name that says all it was made of."""

import functools
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from conftest import mixed_points

from jepa_sweep.engine import devices, lanes, programs
from jepa_sweep.engine.programs import _kept as kept
from jepa_sweep.engine.programs import _name as name_of
from jepa_sweep.engine.settings import Settings
from jepa_sweep.physics import exact
from jepa_sweep.physics.reduced import CHI, DYNAMICS, LOG_W

COUNT = 100
P = np.full((COUNT, 1), 0.5)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Programs are kept here, and none is in the memory of this process."""
    monkeypatch.setattr(devices, "programs_folder", lambda: tmp_path)
    programs.compiled.cache_clear()
    yield tmp_path
    programs.compiled.cache_clear()


def predict():
    return lanes.predict(DYNAMICS["jepa"], mixed_points(COUNT), P).values


def solve():
    predicted = lanes.predict(DYNAMICS["jepa"], mixed_points(COUNT), P)
    return lanes.solve(DYNAMICS["jepa"], mixed_points(COUNT), P, predicted, Settings("clenshaw_curtis")).time


@pytest.mark.parametrize("compute", [predict, solve])
def test_a_program_is_traced_once_and_gives_the_same_numbers(folder, traces, compute):
    first, files = compute(), sorted(folder.glob("*.traced"))
    assert files
    traced = len(traces)
    programs.compiled.cache_clear()
    again = compute()
    assert len(traces) - traced <= 2 * len(files)  # of a call each, and nothing within it
    assert sorted(folder.glob("*.traced")) == files
    jax.tree.map(np.testing.assert_array_equal, first, again)


@pytest.mark.parametrize("damaged", [lambda text: text[:-1], lambda text: text[:30], lambda text: b"\xff\n"])
def test_a_file_that_is_not_whole_is_written_anew(folder, damaged):
    first = predict()
    [file] = folder.glob("*.traced")
    whole = file.read_bytes()
    file.write_bytes(damaged(whole))
    programs.compiled.cache_clear()
    jax.tree.map(np.testing.assert_array_equal, predict(), first)
    assert file.stat().st_size == len(whole)


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path, folder, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(devices, "programs_folder", lambda: tmp_path / "file")
    assert np.isfinite(predict()["t_exact"]).any()


def test_programs_of_other_things_have_other_names(folder, monkeypatch):
    program = programs.Program(
        lanes._pool_of, (CHI, Settings()), programs.Shape(64, 64), ((), ()), "float64", tuple(devices.pick("cpu")[:1])
    )
    others = [
        program._replace(key=(LOG_W, Settings())),
        program._replace(key=(CHI, Settings(rtol=1e-9))),
        program._replace(shape=programs.Shape(128, 64)),
        program._replace(inner=((), (1,))),
        program._replace(precision="float32"),
        program._replace(build=lanes._predict_one),
    ]
    names = {kept(each) for each in (program, *others)}
    assert None not in names
    assert len(names) == 7
    assert kept(program._replace(key=(CHI._replace(), Settings()))) == kept(program)
    for where, what in ((programs, "_sources"), (devices, "circumstances")):
        with monkeypatch.context() as patch:
            patch.setattr(where, what, lambda *_: "another")
            assert kept(program) not in names


def test_what_jax_cannot_export_is_traced_in_each_process(folder, monkeypatch):
    def refuse(*_, **__):
        def ask(*_):
            raise ValueError("Cannot serialize code with custom calls")

        return ask

    monkeypatch.setattr(programs.export, "export", refuse)
    assert np.isfinite(predict()["t_exact"]).any()
    assert not list(folder.glob("*.traced"))


@pytest.mark.parametrize(
    "value", [lambda x: x, functools.partial(lambda x: x), (CHI, predict), np.ones(2), {"a": 1}, os.path.join]
)
def test_what_may_change_between_two_processes_has_no_name(value):
    with pytest.raises(LookupError):
        name_of(value)


def test_a_function_that_was_replaced_has_no_name(monkeypatch):
    assert name_of(exact.critical_time) == "jepa_sweep.physics.exact.critical_time"
    real = exact.critical_time
    monkeypatch.setattr(exact, "critical_time", lambda *_: 0)
    with pytest.raises(LookupError):
        name_of(real)


@pytest.mark.process
def test_another_process_finds_what_this_one_traced(tmp_path):
    script = """
import sys
import jepa_sweep as js
print(js.solve("mae", lam=1, rho=0.5, L=2, eps=1e-3, method="dopri8").time)
print("diffrax" in sys.modules, file=sys.stderr)
"""
    kept_here = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path)}

    def run():
        return subprocess.run([sys.executable, "-c", script], env=kept_here, capture_output=True, text=True, check=True)

    first = run()
    assert first.stderr == "True\n"
    written = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.traced")}
    assert written
    again = run()
    assert again.stdout == first.stdout
    assert again.stderr == "False\n"  # which takes a second to import, and is needed to trace alone
    assert {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.traced")} == written
