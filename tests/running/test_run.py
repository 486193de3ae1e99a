"""From a spec to a store: several thresholds, one chunk written while the next is computed, and what a run reports."""

import json
import re

import jax
import numpy as np
import pytest
from conftest import TINY, TRACKED

import jepa_sweep as js
from jepa_sweep.cli import shell
from jepa_sweep.computing import run
from jepa_sweep.engine import lanes, programs
from jepa_sweep.errors import StorageError
from jepa_sweep.results import Store
from jepa_sweep.running.execute import execute
from jepa_sweep.running.job import Job
from jepa_sweep.running.summary import status_of

SINGLE = {**TINY, "name": "single", "solver": {"precision": "float32", "rtol": 1e-5}}
KEYS = ["objective", "L", "lam", "rho", "eps", "p"]


# --- several thresholds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk_points", [None, 7])
def test_every_threshold_of_every_point_is_right(tmp_path, chunk_points):
    """Seven does not divide into points of three thresholds: some are cut in two."""
    spec = js.Sweep(**{**TINY, "measure": {"p": [0.1, 0.5, 0.9]}})
    frame = run(spec, tmp_path, chunk_points=chunk_points).points()
    assert len(frame) == 3 * 72
    assert not frame.duplicated(KEYS).any()
    for objective, rows in frame.groupby("objective"):
        exact = js.critical_time(objective, **{name: rows[name].to_numpy() for name in KEYS[1:]})
        # The same formula, compiled for one threshold: some roundings, where it takes a difference up to 1 / (1 - p).
        np.testing.assert_allclose(rows.t_exact, exact, rtol=1e-12)
        assert (np.abs(rows.t_numeric / exact - 1) <= 1e-8 * rows.steps).all()


def test_a_threshold_more_costs_no_second_integration(tmp_path):
    one = execute(js.Sweep(**TINY), tmp_path / "one")
    three = execute(js.Sweep(**{**TINY, "measure": {"p": [0.1, 0.5, 0.9]}}), tmp_path / "three")
    # A step ends at each threshold, and the last lies further on.
    assert three.work.steps < 2 * one.work.steps


# --- one chunk is written while the next is computed ----------------------------------------------------------------


@pytest.fixture
def watched(monkeypatch):
    """What a run does, in order, and a way to make a commit fail."""
    events, fail = [], {}
    compute, commit = Job.compute, Job.commit

    def computing(self, chunk, *args):
        found = compute(self, chunk, *args)
        events.append(("computed", chunk.start))
        return found

    def committing(self, found):
        if found.claim.start in fail:
            raise fail.pop(found.claim.start)
        commit(self, found)
        events.append(("committed", found.claim.start))

    monkeypatch.setattr(Job, "compute", computing)
    monkeypatch.setattr(Job, "commit", committing)
    return events, fail


def test_chunks_are_committed_in_order_and_at_most_two_are_held(tmp_path, watched):
    events, _ = watched
    report = execute(js.Sweep(**TINY), tmp_path, chunk_points=6)
    committed = [start for what, start in events if what == "committed"]
    assert committed == sorted(committed)
    assert len(committed) == len([1 for what, _ in events if what == "computed"]) == 12
    held = np.cumsum([1 if what == "computed" else -1 for what, _ in events])
    assert held.max() <= 2
    assert (report.complete, report.computed) == (True, 72)


def test_progress_counts_what_is_stored(tmp_path):
    seen = []

    def look(progress):
        seen.append((progress, len(Store(tmp_path).points(columns=["L"]))))

    run(js.Sweep(**TINY), tmp_path, chunk_points=6, progress=look)
    assert [p.done for p, _ in seen] == list(range(6, 73, 6))
    assert all(stored >= p.computed for p, stored in seen)
    assert {p.total for p, _ in seen} == {72}


def union(*depths):
    """A spec of blocks that share points."""
    blocks = [{"axes": {**TINY["axes"], "L": L}} for L in depths]
    return js.Sweep(name="union", block=blocks, solver={"method": "exact"})


def test_progress_counts_points_of_several_blocks_once(tmp_path):
    """48 points of the first block, 24 more of the second, none of the third; then 24 more in the same store."""
    seen = []
    depths = [[1, 2], [2, 3], [1, 3]]
    report = execute(union(*depths), tmp_path, chunk_points=6, progress=seen.append)
    assert (report.total, report.computed) == (72, 72)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    assert {(p.total, p.done - p.computed) for p in seen} == {(72, 0)}
    assert seen[-1].done == 72
    more = []
    execute(union(*depths, [3, 4]), tmp_path, chunk_points=6, progress=more.append)
    assert (more[-1].done, more[-1].total, more[-1].computed) == (96, 96, 24)


def test_the_last_line_of_progress_has_all_points_and_stands_once(command):
    spec = union([1, 2], [2, 3], [1, 3])
    lines = command(spec, "--chunk-points", "6").stderr.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("72/")] == ["72/72"]
    assert command(spec, "--chunk-points", "6").stderr == ""


def test_progress_of_a_union_begins_with_what_is_stored(tmp_path):
    seen, sweep = [], union([1, 2], [2, 3])
    stopped = execute(sweep, tmp_path, chunk_points=12, stop=lambda: len(seen) > 2, progress=seen.append)
    assert (stopped.stopped, seen[-1].done) == ("it was asked to", stopped.computed)
    again = []
    execute(sweep, tmp_path, chunk_points=12, progress=again.append)
    assert {p.done - p.computed for p in again} == {stopped.computed}
    assert again[-1].done == again[-1].total == 72


@pytest.mark.parametrize("start", [0, 18, 66], ids=["first", "middle", "last"])
def test_an_error_of_the_writer_surfaces_and_the_next_run_goes_on(tmp_path, watched, start):
    events, fail = watched
    fail[start] = StorageError("Could not write x: the disk is full; make room and run again.")
    with pytest.raises(StorageError, match="the disk is full"):
        run(js.Sweep(**TINY), tmp_path / "run", chunk_points=6)
    # What was being computed meanwhile is not stored, and nothing says that it is.
    assert [s for what, s in events if what == "committed"] == list(range(0, start, 6))
    assert len(Store(tmp_path / "run").points()) == start
    assert status_of(tmp_path / "run")["specs"][0]["missing"] == 72 - start
    report = execute(js.Sweep(**TINY), tmp_path / "run", chunk_points=6)
    assert (report.complete, report.computed) == (True, 72 - start)
    whole = run(js.Sweep(**TINY), tmp_path / "whole", chunk_points=6).points()
    np.testing.assert_array_equal(report.store.read("points"), whole)


def test_an_interrupt_while_computing_keeps_the_chunk_being_written(tmp_path, monkeypatch):
    compute, calls = Job.compute, []

    def interrupted(self, chunk, *args):
        calls.append(chunk)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return compute(self, chunk, *args)

    monkeypatch.setattr(Job, "compute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(js.Sweep(**TINY), tmp_path, chunk_points=6)
    assert len(Store(tmp_path).points()) == 12


# --- single precision -----------------------------------------------------------------------------------------------


@pytest.mark.long
def test_single_precision_is_checked_against_double(tmp_path):
    report = execute(js.Sweep(**SINGLE), tmp_path)
    assert 0 < report.work.rechecked <= 64 * 2 * len(report.store.log.commits())  # of each objective
    for commit in report.store.log.commits():
        assert commit.work.rechecked > 0
        # Each step may err by rtol; the closed form says the same of all of them.
        assert 0 < commit.work.recheck_error <= 1e-5 * 40
    frame = report.store.read("points")
    assert report.work.recheck_error <= 1.001 * frame.relative_difference.max() + 1e-7
    assert frame.relative_difference.max() <= 1e-5 * frame.steps.max()
    facts = status_of(tmp_path)
    assert facts["rechecked"] == report.work.rechecked
    assert facts["recheck_error"] == report.work.recheck_error


def test_double_precision_is_not_checked(tmp_path, tiny):
    work = execute(tiny, tmp_path).work
    assert (work.rechecked, work.recheck_error) == (0, 0.0)


@pytest.mark.long
def test_samples_that_single_precision_cannot_resolve_say_so(tmp_path):
    """d ln w / d ln t times a rounding of t: where that is not small, w(t) has no correct digit."""
    axes = {"lam": 1.0, "rho": 0.8, "L": 3, "eps": [1e-2, 1e-5]}
    spec = {**SINGLE, "objective": "jepa", "axes": axes}
    spec["measure"] = {"trajectories": {"samples": 9, "until": 1.0}}
    frame = run(js.Sweep(**spec), tmp_path).trajectories()
    steep = frame.condition * np.finfo("float32").eps > 2e-3
    assert 0 < steep.sum() < len(frame)
    np.testing.assert_array_equal(frame.status == "unresolved", steep)
    fine = frame[~steep]
    assert (fine.status == "resolved").all()
    assert fine.w.notna().all()
    assert ((fine.w / fine.w_exact - 1).abs() <= 1e-5 * 40 * (1 + 2 * fine.condition)).all()


# --- what is reported -----------------------------------------------------------------------------------------------

MEASURED = ("points_per_second", "steps_per_point", "wasted", "peak_memory_bytes", "compile_seconds")


def test_a_run_says_what_it_took(tmp_path, tiny):
    report = execute(tiny, tmp_path)
    facts = report.facts()
    assert set(MEASURED) <= facts.keys()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["points_per_second"] == pytest.approx(72 / (facts["seconds"] - facts["compile_seconds"]))
    assert facts["steps_per_point"] == pytest.approx(report.store.read("points").steps.mean())
    assert 0 <= facts["wasted"] < 1
    assert facts["peak_memory_bytes"] > 50e6  # Python with JAX takes more than that
    again = execute(tiny, tmp_path).facts()
    assert again["computed"] == 0
    assert [again[name] for name in MEASURED] == [None, None, None, None, 0]


def test_work_of_chunks_adds_up(tmp_path, tiny):
    report = execute(tiny, tmp_path, chunk_points=9)
    commits, facts = report.store.log.commits(), status_of(tmp_path)
    assert sum(c.work.steps for c in commits) == report.work.steps == facts["steps"]
    assert report.work.steps == report.store.read("points").steps.sum()
    assert max(c.work.peak_memory_bytes for c in commits) == facts["peak_memory_bytes"]
    assert set(MEASURED) <= facts.keys()
    assert 0 <= facts["wasted"] < 1
    assert facts["steps_per_point"] == pytest.approx(report.steps_per_point, abs=0.01)


@pytest.mark.long
def test_the_command_line_prints_it(command):
    single = js.Sweep(**SINGLE)
    text = command(single)
    assert text.exit_code == 0, text.output
    assert "points were solved again in float64: single precision was off by at most" in text.stdout
    assert "points a second" in text.stdout
    assert "solver steps a point" in text.stdout
    facts = json.loads(command(single, "--json", command="status").stdout)
    assert set(MEASURED) <= facts.keys()
    assert facts["rechecked"] > 0
    again = json.loads(command(single, "--json").stdout)
    assert set(MEASURED) <= again.keys()
    assert again["computed"] == 0


def test_a_finished_run_says_that_there_is_nothing_to_do(command, tmp_path):
    """And no rate, of which there is none. A run that was stopped before it began has something left."""
    spec = js.Sweep(**{**TINY, "solver": {"method": "exact"}})
    first = command(spec).stdout
    assert "72 of 72 points computed now, " in first
    assert "steps" not in first
    done = command(spec)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == f"{tmp_path / 'run'}: nothing to do: all 72 points are there."
    assert lines[1].startswith("Store(")
    assert not re.search("a second|GB|wasted", done.stdout)
    facts = json.loads(command(spec, "--json").stdout)
    assert [facts[name] for name in MEASURED[:-1]] == [None] * 4
    assert facts["complete"] is True


def test_a_run_that_was_stopped_at_once_has_something_left(command, monkeypatch):
    monkeypatch.setattr(shell, "stop_on_signal", lambda: lambda: True)
    done = command(js.Sweep(**{**TINY, "solver": {"method": "exact"}}))
    assert done.exit_code == 4
    assert "0 of 72 points computed now.\n" in done.stdout
    assert "nothing to do" not in done.stdout


def test_points_that_fit_into_no_memory_are_failures(command, tmp_path, monkeypatch):
    real = programs.compiled

    def full(program):
        if program.build is lanes._pool_of:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return real(program)

    monkeypatch.setattr(programs, "compiled", full)
    done = command(js.Sweep(**TRACKED))
    assert done.exit_code == 3, done.output
    assert "72 points failed" in done.stdout
    failures = Store(tmp_path / "run").failures()
    assert len(failures) == 72
    assert set(failures.status) == {"oom"}
    assert failures.message.str.contains("fits into the memory").all()
    assert len(Store(tmp_path / "run").points()) == 0
