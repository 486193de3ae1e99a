"""One file with a flow of the user's own goes through everything: commands, resume, writers, clusters, buckets."""

import json
import random
import shutil
import signal
import sys

import pandas as pd
import pytest
from conftest import ROOT
from flags import chosen
from processes import finished, killed, start

import jepa_sweep as js
from jepa_sweep.running.execute import execute
from jepa_sweep.systems import registry

FILE = ROOT / "tests/data/predator.py"
SPEC = """
name = "hunt"
system = "predator.py:PREDATOR"
[axes]
rate = { geom = [0.5, 2.0], num = 4 }
prey = { linear = [1.5, 3.0], num = 5 }
level = [0.5, 0.6, 0.8]
herds = [1, 2]
[measure]
trajectories = { samples = 4 }
"""
POINTS = 4 * 5 * 3 * 2
KEYS = ["rate", "prey", "level", "herds"]


@pytest.fixture
def folder(tmp_path):
    """The file, and a spec that names it."""
    shutil.copy(FILE, tmp_path)
    (tmp_path / "hunt.toml").write_text(SPEC)
    return tmp_path


def table(path, name="points"):
    by = KEYS if name == "points" else [*KEYS, "t"]
    return pd.read_parquet(path / name).sort_values(by).reset_index(drop=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run left in peace."""
    here = tmp_path_factory.mktemp("alone")
    shutil.copy(FILE, here)
    (here / "hunt.toml").write_text(SPEC)
    return js.run(here / "hunt.toml", here / "run", chunk_points=10)


def test_the_kept_file_is_verified(alone, tmp_path, invoke):
    run = shutil.copytree(alone.path, tmp_path / "run")
    assert invoke("verify", run).exit_code == 0
    [file] = (run / "specs").glob("*.py")
    text = file.read_text()
    file.write_text(text + "# edited")
    done = invoke("verify", run)
    assert done.exit_code == 5
    assert f"{file} is damaged: its text does not match its name" in done.stdout
    file.unlink()
    done = invoke("verify", run)
    assert done.exit_code == 5
    assert f"lacks {alone.frozen['source'][:8]}, the file of its system" in done.stdout


def test_every_command_works_on_it(folder, invoke):
    spec, run = folder / "hunt.toml", folder / "run"

    def told(*words):
        done = invoke(*words, "--json", cwd=folder)
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    assert told("plan", spec, "--out", run)["new"] == POINTS
    assert told("run", spec, "--out", run, "--chunk-points", 40)["computed"] == POINTS
    assert told("run", spec, "--out", run)["computed"] == 0
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    (folder / "predator.py").unlink()  # from here on the store is enough
    assert told("status", run)["specs"][0]["missing"] == 0
    [one, two] = told("compare", run)["groups"]
    assert (one["points"], two["learned"]) == (POINTS // 2, POINTS // 2)
    assert {"drift_energy"} <= one.keys()
    assert "worst_difference" not in one
    assert len(told("query", run, "--where", "herds = 2", "--limit", "0")) == POINTS // 2
    assert told("verify", run)["damaged"] == {}
    assert told("explore", run, "--out", folder / "page.html")["bytes"] > 1e6
    (run / "points/000001.parquet").write_bytes(b"lost")
    assert list(told("repair", run)["repaired"]) == ["000001"]
    assert told("verify", run)["damaged"] == {}


def test_the_store_keeps_the_file_and_refuses_another(folder, alone):
    [kept] = (alone.path / "specs").glob("*.py")
    assert kept.read_text() == FILE.read_text()
    edited = (folder / "predator.py").read_text().replace("herds * 0.1", "herds * 0.2")
    (folder / "predator.py").write_text(edited)
    with pytest.raises(js.SpecError, match=r"numbers made in one way, .*source: \w+ here, \w+ asked.*--out"):
        js.run(folder / "hunt.toml", alone.path)


def test_the_file_that_the_store_keeps_is_not_run_where_the_file_was(alone):
    """So that its functions have their programs already."""
    modules = set(sys.modules)
    assert registry.of_store(alone.reader).name == "predator"
    assert set(sys.modules) == modules


def test_an_edited_spec_computes_what_is_new(folder, alone):
    run = shutil.copytree(alone.path, folder / "run")
    (folder / "hunt.toml").write_text(SPEC.replace("[0.5, 0.6, 0.8]", "[0.5, 0.7, 0.8]"))
    assert execute(folder / "hunt.toml", run).computed == POINTS // 3
    assert len(js.Store(run).points()) == POINTS * 4 // 3


def test_failures_are_tried_again(folder):
    (folder / "hunt.toml").write_text(f"{SPEC}\n[solver]\nmax_steps = 10\n")
    store = js.run(folder / "hunt.toml", folder / "run")
    failed = len(store.failures())
    assert failed > 0
    (folder / "predator.py").unlink()
    assert js.retry(store, max_steps=1000) == {"tried": failed, "failed": 0, "complete": True}
    assert len(js.Store(store.path).points()) == POINTS


def test_a_system_from_python_needs_no_file(folder, alone):
    system = js.Sweep.load(folder / "hunt.toml").system._replace(source="")
    sweep = js.Sweep(name="x", system=system, axes={"rate": [0.5, 2.0]})
    store = js.run(sweep, folder / "run")
    assert execute(sweep, folder / "run").computed == 0
    assert store.compare().points.tolist() == [2]
    assert js.Store(store.path, system=system).compare().points.tolist() == [2]
    with pytest.raises(js.SpecError, match=r"its system 'predator' stood in no file; pass it from Python"):
        js.Store(store.path).compare()


def test_pictures(alone):
    ax = alone.plot.critical_times("rate", by="prey", level=0.5, herds=1)
    assert len(ax.lines) == 5
    assert ax.get_ylabel() == "critical time"
    ax = alone.plot.trajectories("rate", prey=1.5, level=0.5, herds=1)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time", "response w")


def test_its_time_is_that_of_its_equation(folder, alone):
    assert repr(alone).splitlines()[1] == "  predator, dopri8 at rtol 1e-08, float64"
    assert alone.schema("points").field("t_numeric").metadata[b"unit"] == b"time"
    (folder / "hunt.toml").write_text(f'{SPEC}\n[solver]\ntime = "paper"\n')
    with pytest.raises(js.SpecError, match=r"`time` must be .*own.* but it is 'paper' \(line \d+, \[solver.time\]\)"):
        js.Sweep.load(folder / "hunt.toml")


def test_a_bucket_holds_it(folder, alone):
    pytest.importorskip("obstore")
    store = js.run(folder / "hunt.toml", "memory://own-flow/run", chunk_points=10)
    (folder / "predator.py").unlink()
    pd.testing.assert_frame_equal(
        store.points().sort_values(KEYS, ignore_index=True), alone.points().sort_values(KEYS, ignore_index=True)
    )
    assert js.Store("memory://own-flow/run").compare().points.sum() == POINTS


@pytest.mark.process
def test_it_goes_on_after_a_kill_and_several_writers_share_it(folder, alone):
    def begin(run):
        return start(folder, folder / "hunt.toml", "--out", run, "--chunk-points", 10)

    cut, shared = folder / "cut", folder / "shared"
    ended = killed(begin(cut), signal.SIGKILL, lambda: len(list(cut.glob("commits/*"))), 2, random.Random(0))
    assert ended == -signal.SIGKILL
    assert finished(begin(cut))["computed"] < POINTS
    assert sum(finished(one)["computed"] for one in [begin(shared), begin(shared)]) == POINTS
    for run in (cut, shared):
        for name in ("points", "trajectories"):
            pd.testing.assert_frame_equal(table(run, name), table(alone.path, name), check_exact=True)
        assert js.Store(run).damage() == {}


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning:ray")
@pytest.mark.filterwarnings("ignore::FutureWarning:ray")
def test_workers_of_a_cluster_run_the_file_that_the_store_keeps(folder, alone, monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("XLA_FLAGS", chosen())
    machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        report = execute(folder / "hunt.toml", folder / "run", cluster=f"ray:{machines.address}", chunk_points=40)
    finally:
        machines.shutdown()
    assert report.computed == POINTS
    pd.testing.assert_frame_equal(table(folder / "run"), table(alone.path), rtol=1e-9)
