"""Several processes on one store: every point once, little computed twice, nothing left behind."""

import contextlib
import json
import random
import re
import time

import pandas as pd
import pytest
from conftest import KEYS
from processes import finished, start

import jepa_sweep as js
from jepa_sweep.results import Store
from jepa_sweep.running import limits, opening
from jepa_sweep.running.job import Job
from jepa_sweep.running.summary import status_of
from jepa_sweep.store import location
from jepa_sweep.store.log import Mark
from jepa_sweep.store.reader import Reader

CHUNK = 12
SPEC = {
    "name": "shared",
    "objective": ["jepa", "mae"],
    "axes": {"lam": [0.5, 1.0, 2.0], "rho": [0.5, 0.6, 0.7, 0.8], "L": [1, 2, 3, 5], "eps": [1e-4, 1e-3]},
    "solver": {"method": "exact"},
}
POINTS = 2 * 3 * 4 * 4 * 2
WIDER = {**SPEC, "name": "wider", "axes": {**SPEC["axes"], "lam": [1.0, 2.0, 4.0], "L": [3, 2, 8]}}
OTHER = {**SPEC, "name": "other", "axes": {**SPEC["axes"], "lam": [8.0]}}


def begun(folder, spec, *words, chunk=CHUNK):
    """A writer of a spec on the one store in a folder."""
    path = folder / f"{spec['name']}.toml"
    if not path.exists():  # a writer may be reading it
        path.write_text(js.Sweep(**spec).to_toml())
    return start(folder, path, "--out", folder / "run", "--chunk-points", chunk, *words)


@pytest.fixture
def begin(tmp_path):
    return lambda spec=SPEC, *words, chunk=CHUNK: begun(tmp_path, spec, *words, chunk=chunk)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The table of writers that had the store to themselves, one after another."""
    folder = tmp_path_factory.mktemp("alone")
    for spec in (SPEC, WIDER, OTHER):
        finished(begun(folder, spec))
    return table(folder / "run")


def table(path):
    return pd.read_parquet(path / "points").sort_values(KEYS).reset_index(drop=True)


def assert_whole(path, truth):
    pd.testing.assert_frame_equal(table(path), truth, check_exact=True)
    assert Store(path).damage() == {}
    assert Store(path).reader.log.pending() == {}
    assert Store(path).strays() == []
    for folder in (location.STAGING, location.WORKING):
        assert list((path / folder).iterdir()) == []


def of_spec(alone, spec):
    wanted = alone.lam.isin(spec["axes"]["lam"]) & alone.L.isin(spec["axes"]["L"])
    return alone[wanted].reset_index(drop=True)


@pytest.mark.process
@pytest.mark.parametrize("writers", [2, 8])
def test_writers_of_one_spec_share_it(tmp_path, begin, alone, writers):
    reports = [finished(process) for process in [begin() for _ in range(writers)]]
    assert sum(report["computed"] for report in reports) == POINTS
    assert_whole(tmp_path / "run", of_spec(alone, SPEC))


@pytest.mark.parametrize("writers", [2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_a_writer_computes_what_another_is_at_only_when_nothing_else_is_left(tmp_path, writers, seed):
    """Steps of runs in any order; in processes, two may also look at the same moment, before either has said so."""
    sweep, rng = js.Sweep(**SPEC), random.Random(seed)
    with contextlib.ExitStack() as stack:
        jobs = [
            stack.enter_context(Job(sweep, sweep.to_toml(), opening.open_for(sweep, tmp_path / "run"), "cpu", CHUNK))
            for _ in range(writers)
        ]
        under_way = [steps(job) for job in jobs]
        while under_way:
            chosen = rng.choice(under_way)
            if next(chosen, "the end") == "the end":
                under_way.remove(chosen)
        assert sum(job.computed for job in jobs) == POINTS
        # At the end, each may compute whatever the others have under way: one chunk computed, one being written.
        assert sum(job.repeated for job in jobs) <= writers * 2 * (writers - 1) * CHUNK
    stored = table(tmp_path / "run")
    assert len(stored) == POINTS
    assert not stored.duplicated(KEYS).any()
    assert Store(tmp_path / "run").reader.log.announced() == []


def steps(job):
    """What a run does with a job, one step after another."""
    queue, writing = job.queue(limits.shard(None)), None
    for chunk in queue:
        busy = {(mark.start, mark.stop) for mark in job.log.announced() if mark.writer != job.writer}
        assert (chunk.start, chunk.stop) not in busy or queue.left.keys() <= busy
        computed = job.compute(chunk)
        yield
        if writing:
            job.commit(writing)
            yield
        writing = computed
    if writing:
        job.commit(writing)


@pytest.mark.process
def test_writers_of_overlapping_and_different_specs(tmp_path, begin, alone):
    chosen = [(SPEC, 12), (WIDER, 7), (OTHER, 5), (WIDER, 12), (SPEC, 5)]
    reports = [finished(process) for process in [begin(spec, chunk=chunk) for spec, chunk in chosen]]
    assert sum(report["computed"] for report in reports) == len(alone)
    assert_whole(tmp_path / "run", alone)


@pytest.mark.process
def test_a_writer_that_is_killed_holds_up_no_one(tmp_path, begin, alone):
    processes = [begin() for _ in range(3)]
    while not Reader.exists(tmp_path / "run") or len(Store(tmp_path / "run").reader.log.commits()) < 3:
        time.sleep(0.005)
    processes[0].kill()
    for process in processes[1:]:
        finished(process)
    finished(begin())  # clears what the dead one left
    assert_whole(tmp_path / "run", of_spec(alone, SPEC))


@pytest.mark.process
def test_shards_cover_a_spec_without_knowing_of_each_other(tmp_path, begin, alone):
    reports = [finished(process) for process in [begin(SPEC, "--shard", f"{i}/3") for i in range(3)]]
    assert [report["repeated"] for report in reports] == [0, 0, 0]
    assert sum(report["computed"] for report in reports) == POINTS
    assert max(r["computed"] for r in reports) - min(r["computed"] for r in reports) <= 2 * CHUNK
    assert_whole(tmp_path / "run", of_spec(alone, SPEC))


def test_shards_that_overlap_do_no_harm(tmp_path):
    sweep, path = js.Sweep(**SPEC), tmp_path / "run"
    half = js.run(sweep, path, chunk_points=CHUNK, shard="0/2").points()
    assert len(half) == POINTS / 2
    again = js.run(sweep, path, chunk_points=CHUNK, shard="0/3").points()
    assert len(half) < len(again) < POINTS
    assert not again.duplicated(KEYS).any()
    missing = status_of(path)["specs"][0]["missing"]
    assert missing == POINTS - len(again)
    assert len(js.run(sweep, path).points()) == POINTS


@pytest.mark.parametrize("text", ["3/3", "1", "-1/3", "0/0", "a/b", "1/3/5", "1.0/3", "٣/٤", ""])
def test_a_shard_that_makes_no_sense_is_explained(text):
    with pytest.raises(js.SpecError, match="`shard` must be i/n with i from 0 to n - 1"):
        limits.shard(text)


@pytest.mark.process
def test_status_shows_the_progress_of_all_writers_from_the_store_alone(tmp_path, begin, command):
    processes = [begin() for _ in range(2)]
    seen = []
    while any(process.is_alive() for process in processes):
        if Reader.exists(tmp_path / "run"):
            seen.append(status_of(tmp_path / "run"))
        time.sleep(0.01)
    # Whoever came late found everything done.
    named = {f"-{process.pid}-" for process in processes if finished(process)["computed"]}
    facts = status_of(tmp_path / "run")
    assert len(facts["writers"]) == len(named)
    assert all(any(name in w["writer"] for w in facts["writers"]) for name in named)
    assert sum(w["points"] for w in facts["writers"]) == POINTS
    missing = [s["missing"] for status in seen for s in status["specs"]]
    assert missing == sorted(missing, reverse=True)
    assert not any(w["computing"] for w in facts["writers"])
    printed = command(None, command="status").stdout
    assert len(re.findall("chunks +last wrote", printed)) == len(named)
    assert json.loads(command(None, "--json", command="status").stdout)["writers"] == facts["writers"]


def test_status_shows_what_is_being_computed(tmp_path):
    sweep = js.Sweep(**SPEC)
    with Job(sweep, sweep.to_toml(), opening.open_for(sweep, tmp_path / "run"), "cpu", CHUNK) as job:

        def shown():
            return [(w["writer"], w["computing"], w["points"]) for w in status_of(tmp_path / "run")["writers"]]

        first, second, *_ = job.queue(limits.shard(None))
        assert shown() == []
        written = job.compute(first)
        assert shown() == [(job.writer, 1, 0)]
        job.compute(second)
        assert shown() == [(job.writer, 2, 0)]
        job.commit(written)
        assert shown() == [(job.writer, 1, CHUNK)]


def test_a_machine_that_died_is_not_shown_at_what_others_have_stored_since(tmp_path):
    """What it said of itself stays, as no one here knows of its death, but for a driver that saw it."""
    store = js.run(js.Sweep(**SPEC), tmp_path / "run", chunk_points=CHUNK)
    written = Store(store.path)
    claim = written.reader.log.claims()["000001"]
    dead = Mark("elsewhere-7-0123456789ab", claim.spec[:8], claim.start, claim.stop)
    for mark in (dead, dead._replace(start=claim.stop, stop=claim.stop + 1)):
        written.reader.log.announce(mark)
    assert {w["writer"]: w["computing"] for w in status_of(store.path)["writers"]}[dead.writer] == 1
    written.reader.log.forget([dead.writer])
    assert written.reader.log.announced() == []
