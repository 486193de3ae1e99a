"""Compiled programs are kept for other processes, under names that say all they were made of."""

import functools
import hashlib
import importlib.metadata
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from conftest import mixed_points
from jax.experimental.compilation_cache import compilation_cache

from jepa_sweep.engine import devices, lanes, programs
from jepa_sweep.engine.programs import _name as name_of
from jepa_sweep.engine.programs import _path as path_of
from jepa_sweep.engine.settings import Settings
from jepa_sweep.physics import exact
from jepa_sweep.physics.reduced import CHI, DYNAMICS, LOG_W

COUNT = 100
P = np.full((COUNT, 1), 0.5)


def keep_in(where):
    """What is compiled from now on is kept there, by JAX as well, and nothing that was is in memory."""
    jax.config.update("jax_compilation_cache_dir", where)
    compilation_cache.reset_cache()
    programs.compiled.cache_clear()


@pytest.fixture
def folder(tmp_path):
    """Where programs are kept."""
    before = jax.config.values["jax_compilation_cache_dir"]
    keep_in(str(tmp_path / "programs"))
    yield tmp_path / "programs"
    keep_in(before)


def forget(folder, pattern):
    """Remove programs, and all that this process has compiled."""
    for file in folder.glob(pattern):
        file.unlink()
    programs.compiled.cache_clear()


def predict():
    return lanes.predict(DYNAMICS["jepa"], mixed_points(COUNT), P).values


def solve():
    predicted = lanes.predict(DYNAMICS["jepa"], mixed_points(COUNT), P)
    return lanes.solve(DYNAMICS["jepa"], mixed_points(COUNT), P, predicted, Settings("clenshaw_curtis")).time


@pytest.mark.parametrize("compute", [predict, solve])
def test_a_program_is_traced_once_and_gives_the_same_numbers(folder, traces, compilations, compute):
    first, files = compute(), sorted(folder.glob("*.compiled"))
    assert files
    forget(folder, "*-cache")
    del traces[:], compilations[:]
    again = compute()
    assert (traces, sorted(compilations)) == ([], [file.name for file in files])
    assert sorted(folder.glob("*.compiled")) == files
    jax.tree.map(np.testing.assert_array_equal, first, again)


def test_what_jax_took_from_its_own_cache_is_not_kept(folder):
    """Written once more it would load, and fail when it is called."""
    first = predict()
    assert list(folder.glob("*-cache"))
    forget(folder, "*.compiled")
    jax.tree.map(np.testing.assert_array_equal, predict(), first)
    assert not list(folder.glob("*.compiled"))


@pytest.mark.parametrize("damaged", [lambda text: text[:-1], lambda text: text[:30], lambda text: b"\xff\n"])
def test_a_file_that_is_not_whole_is_written_anew(folder, damaged):
    first = predict()
    [file] = folder.glob("*.compiled")
    file.write_bytes(damaged(file.read_bytes()))
    forget(folder, "*-cache")
    jax.tree.map(np.testing.assert_array_equal, predict(), first)
    digest, _, packed = file.read_bytes().partition(b"\n")
    assert digest == hashlib.sha256(packed).hexdigest().encode()


def test_what_this_machine_does_not_load_is_written_anew(folder, monkeypatch):
    def refuse(*_, **__):
        raise jax.errors.JaxRuntimeError("Target machine feature is not supported")

    first = predict()
    [file] = folder.glob("*.compiled")
    written = file.stat().st_mtime_ns
    forget(folder, "*-cache")
    with monkeypatch.context() as patch:
        patch.setattr(programs.serialize_executable, "deserialize_and_load", refuse)
        jax.tree.map(np.testing.assert_array_equal, predict(), first)
    assert file.stat().st_mtime_ns > written


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(folder):
    folder.write_text("in the way")
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
    names = {path_of(each) for each in (program, *others)}
    assert None not in names
    assert len(names) == 7
    assert path_of(program._replace(key=(CHI._replace(), Settings()))) == path_of(program)
    for where, what in ((programs, "_sources"), (devices, "circumstances")):
        with monkeypatch.context() as patch:
            patch.setattr(where, what, lambda *_: "another")
            assert path_of(program) not in names


def test_what_jax_cannot_write_is_compiled_in_each_process(folder, monkeypatch):
    def refuse(_):
        raise ValueError("Compilation does not support serialization")

    monkeypatch.setattr(programs.serialize_executable, "serialize", refuse)
    assert np.isfinite(predict()["t_exact"]).any()
    assert not list(folder.glob("*.compiled"))


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


def test_a_program_that_calls_this_process_is_not_kept(folder):
    """It would call whatever stands in its place in another."""

    def called(x):
        return jax.pure_callback(lambda y: y, jax.ShapeDtypeStruct((), x.dtype), x)

    lowered = jax.jit(called).lower(jax.ShapeDtypeStruct((), "float32"))
    folder.mkdir()
    programs._write(folder / "a.compiled", lowered.compile(), programs._calls(lowered))
    assert not list(folder.glob("*.compiled"))


SOLVE = """
import sys
import jepa_sweep as js
print(js.solve("mae", lam=1, rho=0.5, L=2, eps=1e-3, method="dopri8").time)
print("diffrax" in sys.modules, file=sys.stderr)
"""
SERIES = """
import numpy as np
from jepa_sweep.engine import series
print(series.estimate(np.full((1, 2), 0.9), np.full((1, 2), 0.1), np.array([100]), np.array([7])).off_diagonal)
"""


@pytest.fixture
def twice(tmp_path):
    """What a script prints in a process, and in a second one that finds all its programs."""

    def run(script):
        here = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", script], env=here, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done, {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.compiled")}

    def call(script):
        (first, written), (again, found) = run(script), run(script)
        assert written
        assert found == written
        return first, again

    return call


@pytest.mark.process
def test_each_release_keeps_its_programs_apart(tmp_path):
    """JAX would take those of another from its cache, and they could not be kept."""
    script = "from jepa_sweep.engine import devices as d; d.keep_compiled_programs(); print(d.programs_folder())"
    here = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    del here["JAX_COMPILATION_CACHE_DIR"]
    done = subprocess.run([sys.executable, "-c", script], env=here, capture_output=True, text=True, check=True)
    release = importlib.metadata.version("jepa_sweep")
    assert done.stdout == f"{tmp_path / 'jepa_sweep' / 'compiled' / release}\n"


@pytest.mark.process
def test_another_process_finds_what_this_one_compiled(twice):
    first, again = twice(SOLVE)
    assert first.stdout == again.stdout
    assert first.stderr.endswith("True\n")
    assert again.stderr.endswith("False\n")  # which takes a second to import, and is needed to trace alone


@pytest.mark.process
def test_another_process_finds_lapack_as_well(twice):
    """Which JAX looks for when it traces a call of it; without that, a program that is loaded crashes."""
    first, again = twice(SERIES)
    assert first.stdout == again.stdout
