"""What is computed again: failed points, unfinished chunks; and runs that stop when too much fails."""

import json
import re

import jax
import numpy as np
import pandas as pd
import pytest
from conftest import KEYS, TINY

import jepa_sweep as js
from jepa_sweep.engine import lanes, programs
from jepa_sweep.results import Store
from jepa_sweep.running import limits, recovery
from jepa_sweep.running.execute import execute
from jepa_sweep.running.summary import status_of
from jepa_sweep.store import writer_names
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.writer import Writer

FAILING = {**TINY, "measure": {"p": [0.5, 0.9]}, "solver": {"method": "dopri8", "max_steps": 12}}
POINTS = 2 * 2 * 3 * 3 * 2 * 2


@pytest.fixture
def failed(tmp_path):
    """A run in several chunks of which some points failed."""
    return js.run(js.Sweep(**FAILING), tmp_path / "run", chunk_points=12)


def keys_of(frame):
    return set(map(tuple, frame[KEYS].to_numpy()))


def test_failed_points_are_tried_again_and_no_others(failed):
    before, points = failed.failures(), failed.points()
    assert 0 < len(before) < POINTS
    assert before.message.str.contains("raise `max_steps`, .* with `retry`").all()
    result = js.retry(failed, max_steps=1000)
    assert result == {"tried": len(before), "failed": 0, "complete": True}
    fresh = Store(failed.path)
    assert len(fresh.failures()) == 0
    assert keys_of(fresh.points()) == keys_of(points) | keys_of(before)
    assert not fresh.points().duplicated(KEYS).any()
    new = fresh.points().merge(before[KEYS], on=KEYS)
    assert (new.status == "learned").all()
    assert (new.relative_difference <= 1e-8 * new.steps).all()
    assert fresh.damage() == {}
    # The files only grow: a plain reader sees also what had failed before.
    assert keys_of(pd.read_parquet(failed.path / "failures")) == keys_of(before)
    # Settings in place of the spec's own stand in the record.
    again = [c.claim for c in fresh.reader.log.commits() if c.claim.attempt > 1]
    assert {(claim.attempt, claim.solver) for claim in again} == {(2, (("max_steps", 1000),))}
    assert execute(js.Sweep(**FAILING), failed.path).computed == 0
    assert js.retry(Store(failed.path))["tried"] == 0


def test_counts_follow(failed):
    failures = len(failed.failures())
    assert failed.overview().statuses["max_steps"] == failures
    js.retry(failed, max_steps=1000)
    for store in (failed, Store(failed.path)):  # one that had counted before, and one that had not
        held = store.overview()
        assert (held.rows["points"], held.rows["failures"]) == (POINTS, 0)
        assert held.statuses == {"learned": POINTS}
        assert store.counts("failures", "status") == {}
    assert status_of(failed.path)["failures"] == 0


def test_points_that_fail_again_stand_once(failed):
    before = failed.failures()
    first = js.retry(failed, max_steps=13)
    assert first["tried"] == len(before)
    again = Store(failed.path).failures()
    assert 0 < len(again) == first["failed"] < len(before)
    assert (again.steps > before.steps.max()).all()
    assert not again.duplicated(KEYS).any()
    assert set(again["try"]) == {2}
    logged = pd.read_parquet(failed.path / "failures").value_counts("try")
    assert (logged[1], logged[2]) == (len(before), len(again))
    second = js.retry(failed, ["max_steps"], max_steps=1000)
    assert second["tried"] == len(again)
    assert keys_of(Store(failed.path).points()) == keys_of(js.run(js.Sweep(**FAILING), failed.path).points())
    assert len(Store(failed.path).points()) == POINTS


def test_a_tolerance_of_its_own(failed):
    rtol = 1e-5
    js.retry(failed, rtol=rtol)
    eased = [dict(commit.claim.solver) for commit in failed.reader.log.commits() if commit.claim.attempt > 1]
    assert eased
    assert all(solver == {"rtol": rtol} for solver in eased)
    assert failed.frozen["solver"]["rtol"] == 1e-8


def test_only_the_statuses_asked_for(tmp_path, monkeypatch):
    """No memory for one depth, too few steps for some points of another."""
    real = programs.compiled
    shy = {"on": True}

    def full(program):
        if shy["on"] and program.build is lanes._pool_of:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return real(program)

    monkeypatch.setattr(programs, "compiled", full)
    sweep = js.Sweep(**{**FAILING, "objective": "jepa"})
    seen = iter([False, True])
    execute(sweep, tmp_path, chunk_points=12, stop=lambda: next(seen))
    shy["on"] = False
    store = js.run(sweep, tmp_path, chunk_points=12)
    counts = store.counts("failures", "status")
    assert counts["oom"] == 12
    assert counts["max_steps"] > 0
    assert js.retry(store, ["oom"])["tried"] == 12
    left = Store(tmp_path).counts("failures", "status")
    assert "oom" not in left
    assert left["max_steps"] >= counts["max_steps"]
    assert js.retry(store, ["oom"])["tried"] == 0


def test_a_damaged_second_try_is_computed_as_it_was(failed):
    js.retry(failed, max_steps=1000)
    whole = Store(failed.path).points().sort_values(KEYS).reset_index(drop=True)
    number = next(c.number for c in failed.reader.log.commits() if c.claim.attempt > 1)
    path = failed.path / f"points/{number}.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    assert list(js.repair(Store(failed.path))) == [number]
    again = Store(failed.path)
    assert again.damage() == {}
    assert len(again.failures()) == 0
    pd.testing.assert_frame_equal(again.points().sort_values(KEYS).reset_index(drop=True), whole)


@pytest.mark.parametrize("second", [False, True])
def test_a_damaged_first_try_leaves_every_point_once(failed, second):
    number = next(c.number for c in failed.reader.log.commits() if c.rows("failures"))
    js.retry(failed, max_steps=1000)
    first, *others = (c for c in failed.reader.log.commits() if c.claim.meets(failed.reader.log.claims()[number]))
    late = next(c.number for c in others if c.claim.attempt > first.claim.attempt)
    for name in (f"points/{number}.parquet", *([f"points/{late}.parquet"] if second else [])):
        (failed.path / name).write_bytes(b"")
    assert set(js.repair(Store(failed.path))) == ({number, late} if second else {number})
    store = Store(failed.path)
    assert store.damage() == {}
    both = pd.concat([store.points()[KEYS], store.failures()[KEYS]])
    assert len(both) == POINTS
    assert not both.duplicated().any()
    assert len(store.points()) == POINTS
    assert js.retry(store, max_steps=1000)["tried"] == 0


def test_a_second_try_whose_writer_died_is_finished(failed, monkeypatch):
    class Died(BaseException):
        pass

    def die(*_):
        raise Died

    before = len(failed.failures())
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "commit", die)
        with pytest.raises(Died):
            js.retry(Store(failed.path), max_steps=1000)
    assert len(Store(failed.path).failures()) == before  # until the record is there, nothing has changed
    assert len(Store(failed.path).reader.log.pending()) == 1
    result = js.retry(Store(failed.path), max_steps=1000)
    assert 0 < result["tried"] < before
    assert len(Store(failed.path).points()) == POINTS
    assert len(Store(failed.path).failures()) == 0


def test_two_second_tries_at_once_store_each_point_once(failed, monkeypatch):
    """The other one commits between our look and our claim."""
    claim, raced = Writer.claim, []

    def racing(self, wanted, known):
        if wanted.attempt > 1 and not raced:
            raced.append(True)
            js.retry(Store(failed.path), max_steps=1000)
        return claim(self, wanted, known)

    monkeypatch.setattr(Writer, "claim", racing)
    js.retry(failed, max_steps=1000)
    store = Store(failed.path)
    assert len(store.points()) == POINTS
    assert not store.points().duplicated(KEYS).any()
    assert len(store.failures()) == 0


def test_the_command(failed, command):
    count = len(failed.failures())
    text = command(None, "--status", "oom, non_finite", command="retry")
    assert (text.exit_code, text.stdout) == (0, "nothing to do: no point has failed so.\n")
    facts = command(None, "--status", "max_steps", "--status", "oom", "--max-steps", "13", "--json", command="retry")
    assert facts.exit_code == 3
    assert json.loads(facts.stdout)["tried"] == count
    assert command(None, "--max-steps", "1000", command="retry").exit_code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--status", "max_steps", "--status", "learned"], "`status` must be one of failed, .* 'learned'"),
        (["--status", "learned"], "`status` must be one of failed, max_steps, non_finite"),
        (["--status", ","], "`status` must name failures to try again"),
        (["--rtol", "0"], "`rtol` must lie between"),
        (["--rtol", "nan"], "`rtol` must lie between"),
        (["--max-steps", "0"], "`max_steps` must be a whole number"),
    ],
)
def test_questions_that_make_no_sense_are_explained(failed, command, words, says):
    done = command(None, *words, command="retry")
    assert done.exit_code == 2
    assert re.search(says, done.stderr)


def test_statuses_to_try_again_must_be_named(failed):
    with pytest.raises(js.SpecError, match="`status` must name failures to try again"):
        js.retry(failed, [])
    with pytest.raises(js.SpecError, match=r"`status` must be one of failed, .* 'learned'"):
        js.retry(failed, "learned")
    assert js.retry(failed, "oom")["tried"] == 0


# --- runs that stop when too much fails -------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "stops"), [("0", True), ("3", True), ("1000", False), ("1%", True), ("100%", False)])
def test_a_run_stops_when_too_many_points_fail(command, limit, stops):
    done = command(js.Sweep(**FAILING), "--chunk-points", 12, "--max-failures", limit, "--json")
    assert done.exit_code == (4 if stops else 3)
    facts = json.loads(done.stdout)
    assert facts["complete"] != stops
    assert (facts["computed"] < POINTS) == stops
    if stops:
        assert f"more than the {limit} that may" in facts["stopped"]
        assert f"more than the {limit} that may" in command(
            js.Sweep(**FAILING), "--chunk-points", 12, "--max-failures", limit
        ).stdout  # fmt: skip
    assert json.loads(command(js.Sweep(**FAILING), "--json").stdout)["complete"]


@pytest.mark.parametrize("text", ["-1", "5 %", "101%", "1e3", "%", "nan", "½", ""])
def test_a_limit_that_makes_no_sense_is_explained(text):
    with pytest.raises(js.SpecError, match=r"`max_failures` must be a number of points like 100 or a share like 5%"):
        limits.failures(text)


# --- unfinished chunks ------------------------------------------------------------------------------------------------


def unfinished(path, writer):
    """A store with a chunk that this writer claimed and did not commit; returns all points it held before."""
    store = js.run(js.Sweep(**TINY), path)
    whole, [number, claim] = store.points(), next(iter(store.reader.log.claims().items()))
    for name in (f"commits/{number}.json", f"claims/{number}.json"):
        (path / name).unlink()
    assert Writer(Reader(path)).claim(claim._replace(writer=writer), ()) == number
    return whole


@pytest.mark.parametrize(
    ("writer", "waits"),
    [("dead", False), ("elsewhere-1-0123456789ab", True)],
    ids=["dead", "on another machine"],
)
def test_unfinished_chunks_are_finished_when_their_writer_cannot(tmp_path, monkeypatch, writer, waits):
    if writer == "dead":
        writer = writer_names.enlist()
        writer_names.dismiss(writer)
    points = unfinished(tmp_path / "run", writer)
    slept = []
    clock = {"now": 0.0}
    monkeypatch.setattr(recovery.time, "monotonic", lambda: clock["now"])

    def sleep(seconds):
        slept.append(seconds)
        clock["now"] += seconds

    monkeypatch.setattr(recovery.time, "sleep", sleep)
    again = js.run(js.Sweep(**TINY), tmp_path / "run").points()
    np.testing.assert_array_equal(again.sort_values(KEYS).t_exact, points.sort_values(KEYS).t_exact)
    assert (sum(slept) >= recovery.CLAIM_TIMEOUT_S) == waits
