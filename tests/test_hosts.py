"""Machines and programs as they are: caches that fail, other float settings, limits, clocks that jump."""

import datetime
import errno
import json
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from conftest import KEYS, TINY
from flags import chosen

import jepa_sweep as js
from jepa_sweep.running.execute import execute
from jepa_sweep.running.summary import status_of
from jepa_sweep.store import writer

EXACT = {**TINY, "solver": {"method": "exact"}}


@pytest.fixture
def typed(tmp_path):
    """The command in a process of its own, as a user would start it."""

    def call(sweep, **environment):
        path = tmp_path / "spec.toml"
        path.write_text(sweep.to_toml())
        words = [sys.executable, "-m", "jepa_sweep.cli", "run", path, "--out", tmp_path / "run", "--json"]
        words = list(map(str, words))
        return subprocess.run(words, env=os.environ | environment, capture_output=True, text=True, check=False)

    return call


# --- the cache of compiled programs -----------------------------------------------------------------------------------


def corrupt(folder):
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] + b"rubbish")
    return folder


def taken(folder):
    """A file where the folder should be: no cache can be kept, whatever the permissions."""
    path = folder.with_name("a file")
    path.write_text("not a folder")
    return path / "programs"


@pytest.mark.process
def test_a_cache_of_programs_that_fails_costs_time_and_nothing_else(typed, tmp_path):
    programs, tables = tmp_path / "programs", []
    for fault in (lambda missing: missing, corrupt, taken):
        done = typed(js.Sweep(**EXACT), JAX_COMPILATION_CACHE_DIR=str(fault(programs)), XLA_FLAGS=chosen())
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["computed"] == 72
        assert "Traceback" not in done.stderr
        tables.append(pd.read_parquet(tmp_path / "run/points").sort_values(KEYS).reset_index(drop=True))
        shutil.rmtree(tmp_path / "run")
    for other in tables[1:]:
        pd.testing.assert_frame_equal(other, tables[0], check_exact=True)


# --- precision --------------------------------------------------------------------------------------------------------

HOST = """
import jax
jax.config.update("jax_enable_x64", False)
import jax.numpy as jnp
before = jnp.ones(3)
import sys
import numpy as np
import jepa_sweep as js
store = js.run(sys.argv[1], out=sys.argv[2])
frame = store.points()
assert frame.t_numeric.dtype == frame.t_exact.dtype == np.float64
assert (frame.relative_difference <= 1e-8 * frame.steps).all()
time = js.critical_time("jepa", lam=0.7, rho=0.4, L=3, eps=1e-6, p=0.9)
assert abs(float(time) / 8848567742.605930 - 1) < 5e-14, time
assert not jax.config.jax_enable_x64 and (before + jnp.ones(3)).dtype == np.float32
"""


@pytest.mark.process
def test_a_host_program_that_switches_float64_off_changes_nothing(tmp_path):
    (tmp_path / "spec.toml").write_text(js.Sweep(**TINY).to_toml())
    words = [sys.executable, "-W", "error::UserWarning", "-c", HOST, tmp_path / "spec.toml", tmp_path / "run"]
    environment = os.environ | {"JAX_ENABLE_X64": "0"}
    done = subprocess.run([*map(str, words)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["a file/run", "a file"])
def test_a_place_that_cannot_be_written_is_told(command, invoke, tmp_path, where):
    (tmp_path / "a file").write_text("mine")
    (tmp_path / "spec.toml").write_text(js.Sweep(**EXACT).to_toml())
    done = invoke("run", tmp_path / "spec.toml", "--out", tmp_path / where)
    assert done.exit_code == 6
    assert "choose another directory with --out" in done.stderr
    assert (tmp_path / "a file").read_text() == "mine"


@pytest.mark.parametrize("call", ["mkdir", "open"])
def test_a_folder_without_permission_is_told(invoke, tmp_path, monkeypatch, call):
    """Refused by the call itself: whoever runs the tests may have every permission."""
    (tmp_path / "spec.toml").write_text(js.Sweep(**EXACT).to_toml())
    real = getattr(os, call)

    def refuse(path, *args, **options):
        if str(path).startswith(str(tmp_path / "run")):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, *args, **options)

    monkeypatch.setattr(os, call, refuse)
    done = invoke("run", tmp_path / "spec.toml", "--out", tmp_path / "run")
    assert done.exit_code == 6
    assert "there is no permission; change it, or choose another directory with --out" in done.stderr
    assert not list(tmp_path.glob("run/*/*"))


# --- clocks -----------------------------------------------------------------------------------------------------------


class Jumping(datetime.datetime):
    """A clock that is set back and forth between any two looks."""

    years = iter([2026, 1970, 2099, 1980, 2038, 1999] * 20)

    @classmethod
    def now(cls, tz=None):
        return datetime.datetime(next(cls.years), 3, 29, 2, 30, tzinfo=tz)


def test_clocks_that_jump_change_nothing(tmp_path, monkeypatch):
    sweep = js.Sweep(**EXACT)
    truth = js.run(sweep, tmp_path / "steady", chunk_points=12).points()
    monkeypatch.setattr(writer, "datetime", Jumping)
    seen = iter([False, False, True])
    execute(sweep, tmp_path / "run", chunk_points=12, stop=lambda: next(seen))
    report = execute(sweep, tmp_path / "run", chunk_points=12)
    years = [commit.created[:4] for commit in report.store.log.commits()]
    assert len(set(years)) > 3
    pd.testing.assert_frame_equal(report.store.read("points"), truth, check_exact=True)
    assert report.store.damage() == {}
    assert status_of(tmp_path / "run")["last_commit"][:4] == years[-1]
