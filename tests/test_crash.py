"""kill -9 at any instant: the same command afterwards computes only what is missing, and the rows are the same."""

import os
import random
import signal

import pandas as pd
import pytest
from processes import finished, killed, start

from jepa_sweep.results import Store
from jepa_sweep.store import location

pytestmark = pytest.mark.process

SPEC = """
name = "crash"
[axes]
lam = { geom = [0.5, 2.0], num = 4 }
rho = { linear = [0.5, 1.0], num = 5 }
L = [1, 2, 3]
eps = { geom = [1e-4, 1e-3], num = 3 }
[measure.trajectories]
samples = 4
[solver]
method = "exact"  # what is written matters here, not what is integrated
"""
POINTS = 2 * 4 * 5 * 3 * 3
CHUNK = 6
KEYS = ["objective", "L", "lam", "rho", "eps"]


def tables(out):
    return {
        name: pd.read_parquet(out / name).sort_values([*KEYS, by]).reset_index(drop=True)
        for name, by in (("points", "p"), ("trajectories", "t"))
    }


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Where the spec is, and the tables of a run left in peace."""
    here = tmp_path_factory.mktemp("crash")
    (here / "spec.toml").write_text(SPEC)
    report = finished(start(here, here / "spec.toml", "--out", here / "whole", "--chunk-points", CHUNK))
    assert report["computed"] == POINTS
    return here / "spec.toml", tables(here / "whole")


@pytest.fixture
def writer(uninterrupted, tmp_path):
    """Starts the same command in a process of its own."""
    return lambda: start(tmp_path, uninterrupted[0], "--out", tmp_path / "out", "--chunk-points", CHUNK)


def listed(folder):
    return len(os.listdir(folder)) if folder.exists() else 0


def assert_whole(out, whole):
    for name, frame in tables(out).items():
        pd.testing.assert_frame_equal(frame, whole[name], check_exact=True)
    for folder in (location.STAGING, location.WORKING):
        assert list((out / folder).iterdir()) == []


@pytest.mark.parametrize("seed", range(2))
def test_ten_times_sigkill_at_random_moments_loses_and_repeats_nothing(uninterrupted, writer, tmp_path, seed):
    """Real processes; `store/test_replay.py` tries every instant."""
    rng, out, deaths = random.Random(seed), tmp_path / "out", 0
    for _ in range(10):
        before = listed(out / "commits")
        code = killed(writer(), signal.SIGKILL, lambda: listed(out / "commits"), before, rng)
        deaths += code == -signal.SIGKILL
        assert not any(p.suffix == ".parquet" for p in (out / location.STAGING).iterdir())
        assert Store(out).damage() == {}
    committed = listed(out / "commits")
    pending = listed(out / "claims") - committed
    assert deaths == 10
    assert 0 <= pending <= 1
    report = finished(writer())
    assert report["computed"] == POINTS - CHUNK * (committed + pending)
    assert_whole(out, uninterrupted[1])
    assert finished(writer())["computed"] == 0


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 4), (signal.SIGUSR1, 4)])
def test_signals_leave_a_resumable_store_and_their_exit_code(uninterrupted, writer, tmp_path, sent, code):
    out = tmp_path / "out"
    assert killed(writer(), sent, lambda: listed(out / "commits"), 0, random.Random(2)) == code
    for folder in (location.STAGING, location.WORKING):
        assert list((out / folder).iterdir()) == []
    assert 0 < finished(writer())["computed"] < POINTS
    assert_whole(out, uninterrupted[1])
