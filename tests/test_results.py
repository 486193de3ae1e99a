"""`js.run` and `js.Store`: what the command can do, from Python."""

import numpy as np
import pytest
from conftest import TINY

import jepa_sweep as js
from jepa_sweep.progress import Progress
from jepa_sweep.store.log import Log
from jepa_sweep.store.writer import Writer

SPEC = {**TINY, "solver": {"method": "exact"}}  # what comes of a run matters here, not what is integrated
POINTS = 2 * 2 * 3 * 3 * 2


def test_the_store_of_a_run_has_its_report(tmp_path):
    store = js.run(SPEC, tmp_path / "run", chunk_points=10)
    assert (store.report.computed, store.report.failed, store.report.complete) == (POINTS, 0, True)
    assert store.report.system is store.system
    assert js.run(SPEC, tmp_path / "run").report.computed == 0
    assert js.Store(store.path).report is None


def test_a_run_says_why_it_stopped(tmp_path):
    failing = {**TINY, "solver": {"method": "dopri8", "max_steps": 3}}
    report = js.run(failing, tmp_path / "run", chunk_points=4, max_failures=2).report
    assert not report.complete
    assert "points failed, more than the 2 that may" in report.stopped


def test_a_dict_is_a_spec_and_a_range_is_an_axis(tmp_path):
    spec = {**SPEC, "axes": {**SPEC["axes"], "L": range(1, 4), "rho": np.array([0.25, 0.5, 1.0])}}
    store = js.run(spec, tmp_path / "run")
    assert js.run(js.Sweep(**SPEC), tmp_path / "run").report.computed == 0
    assert sorted(set(store.points().L)) == [1, 2, 3]
    with pytest.raises(js.SpecError, match=r"Did you mean `axes`\?.*\[axess\]"):
        js.run({**SPEC, "axess": {}}, tmp_path / "other")
    with pytest.raises(js.SpecError, match=r"`L` must have at least one value"):
        js.run({**SPEC, "axes": {**SPEC["axes"], "L": range(0)}}, tmp_path / "other")


def test_progress_is_called_or_silenced(tmp_path, capsys):
    seen = []
    js.run(SPEC, tmp_path / "seen", chunk_points=18, progress=seen.append)
    assert [type(one) for one in seen] == [Progress] * len(seen)
    assert (seen[-1].done, seen[-1].total) == (POINTS, POINTS)
    js.run(SPEC, tmp_path / "silent", progress=False)
    js.run(SPEC, tmp_path / "piped")  # neither a terminal nor a notebook
    assert capsys.readouterr() == ("", "")


def test_a_cluster_that_cannot_be_named_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(js.SpecError, match=r"`cluster` must be ray, or ray:ADDRESS"):
        js.run(SPEC, tmp_path / "run", cluster="slurm")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("spec", [None, 12])
def test_a_spec_is_a_file_or_its_keys(spec, tmp_path):
    with pytest.raises(js.SpecError, match=f"A spec must be a file, a `Sweep` or a dict of its keys, but it is {spec}"):
        js.run(spec, tmp_path / "run")


def test_the_keys_of_a_spec_are_words(tmp_path):
    with pytest.raises(js.SpecError, match="The keys of a spec must be words, but one is 1"):
        js.run({1: 2}, tmp_path / "run")


def test_bounds_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(js.SpecError, match="`shard` must be i/n"):
        js.run(SPEC, tmp_path / "run", shard=(0, 8))
    for given in (True, 0, 2.0, 2**28 + 1):
        with pytest.raises(js.SpecError, match=f"`chunk_points` must be a whole number, .* it is {given}"):
            js.run(SPEC, tmp_path / "run", chunk_points=given)
    assert js.run(SPEC, tmp_path / "run", chunk_points=np.int64(4096)).report.complete


def test_nothing_of_a_store_writes(finished):
    """Writing belongs to `store.writer`, `run`, `repair` and `retry`."""
    names = {name for name in dir(finished) if not name.startswith("_")}
    assert {"points", "select", "read", "overview"} <= names
    assert names.isdisjoint({"log", "location", "publish", "mark", *vars(Writer), *vars(Log)})
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = finished.no_such_thing


def test_the_overlap_of_a_path_is_that_of_its_store(finished):
    with pytest.raises(js.SpecError, match="`store` must hold networks to compare"):
        js.overlap(finished.path)
