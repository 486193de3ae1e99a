"""kill -9 at any instant: the same command afterwards computes only what is missing, and the rows are the same."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

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
KEYS = ["objective", "L", "lam", "rho", "eps"]


# A test run in the background of a shell passes on that SIGINT is ignored; a user's terminal does not.
START = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("jepa_sweep.cli", run_name="__main__")
"""


def command(spec, out):
    return [sys.executable, "-c", START, "run", str(spec), "--out", str(out), "--chunk-points", "3", "--json"]


def finish(spec, out):
    done = subprocess.run(command(spec, out), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


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
    report = finish(here / "spec.toml", here / "whole")
    assert report["computed"] == POINTS
    return here / "spec.toml", tables(here / "whole")


def kill_while_it_writes(spec, out, sent, rng):
    """Start a run, wait until it has committed something more, kill it a random moment later."""
    commits = out / "commits"
    before = len(os.listdir(commits)) if commits.exists() else 0
    victim = subprocess.Popen(command(spec, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while victim.poll() is None and not (commits.exists() and len(os.listdir(commits)) > before):
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.03))
    victim.send_signal(sent)
    return victim.wait()


def test_sigkill_at_random_moments_loses_and_repeats_nothing(uninterrupted, tmp_path):
    spec, whole = uninterrupted
    rng, out, killed = random.Random(1), tmp_path / "out", 0
    for _ in range(12):
        killed += kill_while_it_writes(spec, out, signal.SIGKILL, rng) == -signal.SIGKILL
        assert not any(p.suffix == ".parquet" for p in (out / ".staging").iterdir())
    committed = len(os.listdir(out / "commits"))
    pending = len(os.listdir(out / "points")) - committed
    report = finish(spec, out)
    assert killed >= 10
    assert 0 <= pending <= 1
    assert report["computed"] < POINTS - 3 * (committed - pending) + 3
    for name, frame in tables(out).items():
        pd.testing.assert_frame_equal(frame, whole[name], check_exact=True)
    assert finish(spec, out)["computed"] == 0


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 4), (signal.SIGUSR1, 4)])
def test_signals_leave_a_resumable_store_and_their_exit_code(uninterrupted, tmp_path, sent, code):
    spec, whole = uninterrupted
    assert kill_while_it_writes(spec, tmp_path / "out", sent, random.Random(2)) == code
    assert list((tmp_path / "out" / ".staging").iterdir()) == []
    assert 0 < finish(spec, tmp_path / "out")["computed"] < POINTS
    for name, frame in tables(tmp_path / "out").items():
        pd.testing.assert_frame_equal(frame, whole[name], check_exact=True)


def test_two_processes_share_one_store(uninterrupted, tmp_path):
    spec, whole = uninterrupted
    words = command(spec, tmp_path / "out")
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    reports = [json.loads(process.communicate()[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(report["computed"] for report in reports) == POINTS
    for name, frame in tables(tmp_path / "out").items():
        pd.testing.assert_frame_equal(frame, whole[name], check_exact=True)
