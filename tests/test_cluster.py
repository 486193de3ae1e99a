"""Runs on a Ray cluster: whatever dies, every point stands once, and the tables are those of a run on one machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from conftest import KEYS, QUICKLY_COMPILED, TRACKED

import jepa_sweep as js
from jepa_sweep.engine import devices
from jepa_sweep.errors import SpecError, StorageError
from jepa_sweep.running import execute, ray_driver, ray_workers
from jepa_sweep.running.plan import Chunk
from jepa_sweep.running.ray_workers import AT_ONCE
from jepa_sweep.spec.grid import Grid
from jepa_sweep.store import location
from jepa_sweep.store.log import Mark
from jepa_sweep.store.writers import gone

# Ray starts its own processes with a function between fork and exec, of which JAX, being threaded, warns.
pytestmark = [
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning:ray"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
]

SWEEP = js.Sweep(**{**TRACKED, "solver": {"method": "exact"}})  # what is written matters here, not what is integrated
POINTS = 72

# The command line, which tells at its end whether JAX has looked for devices.
DRIVER = """
import sys
from jepa_sweep import cli
from jax._src import xla_bridge
try:
    cli.app()
finally:
    print("backends:", len(xla_bridge._backends), file=sys.stderr)
"""


def command(spec, out, *words):
    return [sys.executable, "-c", DRIVER, "run", str(spec), "--out", str(out), "--json", *words]


@pytest.fixture(scope="module", autouse=True)
def settings():
    """What workers and commands inherit: one core each, and programs that are quickly compiled, once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_NUM_CPU_DEVICES", "1")
        patch.setenv("RAY_worker_niceness", "0")  # it is 15, and other tests on the machine would starve them
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        patch.setenv("XLA_FLAGS", QUICKLY_COMPILED)
        yield


@pytest.fixture(scope="module")
def alone(settings, tmp_path_factory):
    """A spec, and the tables of a run of it on one machine."""
    here = tmp_path_factory.mktemp("alone")
    (here / "spec.toml").write_text(SWEEP.to_toml())
    subprocess.run(command(here / "spec.toml", here / "run", "--chunk-points", "1"), check=True, capture_output=True)
    return here / "spec.toml", tables(here / "run")


@pytest.fixture(scope="module")
def machines(settings):
    """One machine with one core, to which others may be added."""
    from ray.cluster_utils import Cluster

    some = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield some
    some.shutdown()


@pytest.fixture
def on(machines, monkeypatch):
    """Runs a sweep on these machines, from this process, which asks JAX for no device."""

    def run(sweep, out, **more):
        return ray_driver.execute(sweep, out, cluster=f"ray:{machines.address}", **more)

    def refuse(*_):
        raise AssertionError("the driver must not ask for devices")

    monkeypatch.setattr(devices, "pick", refuse)
    return run


def tables(out):
    return {
        name: pd.read_parquet(Path(out) / name).sort_values([*KEYS[:-1], by]).reset_index(drop=True)
        for name, by in (("points", "p"), ("trajectories", "t"))
    }


def same(out, wanted):
    """The same rows, and nothing left behind."""
    for name, frame in tables(out).items():
        pd.testing.assert_frame_equal(frame, wanted[name], check_exact=True)
    assert [os.listdir(out / name) for name in (location.STAGING, location.WORKING)] == [[], []]


def ended(writers):
    """Wait until none of them runs: a worker ends a little after its machine."""
    while not all(map(gone, writers)):
        time.sleep(0.05)


@pytest.mark.ray
def test_workers_and_machines_may_die(machines, on, alone, tmp_path):
    second = machines.add_node(num_cpus=1)
    machines.wait_for_nodes()
    writers, done, told = set(), [], []

    def fault(progress):
        told.append(progress.done)
        claims = js.Store(tmp_path / "run").log.claims().values()
        writers.update(claim.writer for claim in claims)
        if len(writers) == 1:
            time.sleep(0.2)  # else one may do it all while the other is being started
        elif not done:
            done.append("killed")
            os.kill(int(min(writers).split("-")[1]), signal.SIGKILL)
        elif done == ["killed"] and progress.done > POINTS // 2:
            done.append("removed")
            machines.remove_node(second)

    report = on(SWEEP, tmp_path / "run", chunk_points=1, progress=fault)
    assert done == ["killed", "removed"]
    assert (report.complete, report.total, report.computed, report.failed) == (True, POINTS, POINTS, 0)
    assert told == sorted(told)
    assert told[-1] == POINTS
    ended(writers)
    assert on(SWEEP, tmp_path / "run").computed == 0  # and takes away what those who died were writing
    same(tmp_path / "run", alone[1])


@pytest.mark.ray
def test_the_driver_may_die(machines, alone, tmp_path):
    (spec, wanted), out = alone, tmp_path / "run"
    words = command(spec, out, "--chunk-points", "1", "--cluster")
    victim = subprocess.Popen([*words, f"ray:{machines.address}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    while victim.poll() is None and not ((out / "commits").exists() and os.listdir(out / "commits")):
        time.sleep(0.01)
    victim.kill()
    assert (victim.communicate()[0], victim.returncode) == (b"", -signal.SIGKILL)

    there = os.environ | {"RAY_ADDRESS": machines.address}
    again = subprocess.run([*words, "ray"], capture_output=True, text=True, check=False, env=there)
    assert again.returncode == 0, again.stderr
    assert 0 < json.loads(again.stdout)["computed"] < POINTS
    assert "backends: 0" in again.stderr
    same(out, wanted)


@pytest.mark.ray
def test_it_stops_when_asked_and_goes_on(on, alone, tmp_path):
    told = []
    bounds = {"chunk_points": 1, "shard": "1/2", "max_failures": "0"}
    stopped = on(SWEEP, tmp_path / "run", progress=told.append, stop=lambda: len(told) > 1, **bounds)
    assert stopped.stopped == "it was asked to"
    assert 2 <= stopped.computed <= 2 + AT_ONCE
    assert [p.done - p.computed for p in told] == [POINTS // 2] * len(told)
    assert on(SWEEP, tmp_path / "run", chunk_points=1).computed == POINTS - stopped.computed
    same(tmp_path / "run", alone[1])
    assert on(SWEEP, tmp_path / "run", chunk_points=1).computed == 0


@pytest.mark.ray
def test_progress_counts_points_of_several_blocks_once(on, tmp_path):
    blocks = [{"axes": {"lam": 1.0, "rho": [0.5, 1.0], "L": L, "eps": 1e-3}} for L in ([1, 2], [2, 3], [1, 3])]
    told = []
    report = on(js.Sweep(name="union", block=blocks, solver={"method": "exact"}), tmp_path, progress=told.append)
    assert [(p.done, p.computed) for p in told] == sorted((p.done, p.done) for p in told)
    assert told[-1].done == told[-1].total == report.total == report.computed == 12


@pytest.mark.ray
def test_what_a_worker_meets_is_told_as_it_is(on, tmp_path):
    execute.open_for(SWEEP, tmp_path)
    (tmp_path / "trajectories").rmdir()
    (tmp_path / "trajectories").write_text("in the way")
    with pytest.raises(StorageError, match="a part of the path is a file"):
        on(SWEEP, tmp_path, chunk_points=1)


# --- what needs no cluster --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "slurm", "ray:", "ray:10.0.0.1", "ray:host:port", "ray:http://host:1", "ray: auto"]
)
def test_an_address_must_be_one(text, tmp_path):
    with pytest.raises(SpecError, match="`cluster` must be ray, or ray:ADDRESS"):
        ray_driver.execute(SWEEP, tmp_path, cluster=text)


@pytest.mark.ray
def test_nothing_at_the_address_is_told_before_ray_begins_to_try(tmp_path, invoke, alone, monkeypatch):
    import ray

    tried = []
    monkeypatch.setattr(ray, "init", lambda **given: tried.append(given))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    done = invoke("run", alone[0], "--out", tmp_path, "--cluster", f"ray:127.0.0.1:{port}")
    assert done.exit_code == 2
    assert "must name a Ray cluster that can be reached" in done.stderr
    assert tried == []


def test_without_ray_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SpecError, match=r"pip install 'jepa_sweep\[ray\]'"):
        ray_driver.execute(SWEEP, tmp_path, cluster="ray")


@pytest.mark.parametrize(("more", "match"), [({"device": "gpu:0"}, "`device` must be"), ({"shard": "2/2"}, "`shard`")])
def test_arguments_are_refused_before_anything_starts(more, match, tmp_path):
    with pytest.raises(SpecError, match=match):
        ray_driver.execute(SWEEP, tmp_path / "run", cluster="ray", **more)
    assert not (tmp_path / "run").exists()


def test_without_a_cluster_it_runs_here(monkeypatch):
    monkeypatch.setattr(execute, "execute", lambda *given, **more: (given, more["shard"], more["device"]))
    assert ray_driver.execute(SWEEP, "out", cluster=None, shard="0/2") == ((SWEEP, "out"), "0/2", "auto")


def test_a_worker_that_sees_another_folder_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(ray_workers, "SEE", 0.0)
    execute.open_for(SWEEP, tmp_path)
    order = ray_workers.Order(
        SWEEP.to_toml(), str(tmp_path), "cpu", None, Mark("host-1-0123456789ab", "01234567", 0, 0), []
    )
    with pytest.raises(SpecError, match="must lie where every machine of the cluster sees it"):
        ray_workers.Worker().begin(order, 0)


def test_a_chunk_that_kills_its_workers_is_given_up_and_no_other_is_blamed(tmp_path):
    bad, good = Chunk(0, 5), Chunk(5, 10)
    queue = ray_driver._Queue(Grid(SWEEP), [bad, good], execute.open_for(SWEEP, tmp_path), "01234567")
    assert [queue.next(alone=True), queue.next(alone=False)] == [bad, good]
    for chunk in (bad, good):  # both were with the worker
        queue.back(chunk, "killed")
    assert queue.next(alone=False) is None
    for _ in range(2):
        while queue.next(alone=True) != bad:
            pass
        queue.back(bad, "killed")
    assert not queue.left
    assert "the points 0 to 4 were given up after 3 workers died of them: killed" in queue.trouble


def test_what_a_worker_has_stored_and_not_told_yet_is_both_computed_and_done(tmp_path):
    js.run(SWEEP, tmp_path, chunk_points=12)
    log = js.Store(tmp_path).log
    commits = log.commits()
    queue = ray_driver._Queue(Grid(SWEEP), [Chunk(start, start + 12) for start in range(0, POINTS, 12)], log, "")
    tally = ray_driver._Tally(log)
    tally.writers |= {commit.claim.writer for commit in commits}
    for claim in tally.look():
        queue.stored(claim)
        queue.stored(claim)  # the worker itself, a moment later
    assert (queue.done, tally.computed) == (POINTS, POINTS)
    assert tally.look() == []


def test_where_there_is_room_for_workers():
    class Ray:
        remote = staticmethod(lambda actor: actor)
        nodes = staticmethod(
            lambda: [
                {"NodeID": "a", "Alive": True, "Resources": {"CPU": 8.0, "GPU": 4.0}},
                {"NodeID": "b", "Alive": True, "Resources": {"CPU": 6.0}},
                {"NodeID": "c", "Alive": False, "Resources": {"CPU": 64.0, "TPU": 8.0}},
                {"NodeID": "d", "Alive": True, "Resources": {}},
            ]
        )

    def rooms(device, cores=0):
        order = ray_workers.Order("", "", device, None, Mark("", "", 0, 0), [])
        return {node: count for node, (count, _, _) in ray_workers.Crew(Ray, order, cores)._rooms().items()}

    assert rooms("auto") == rooms("gpu") == {"a": 4}
    assert rooms("cpu") == {"a": 1, "b": 1}
    assert rooms("cpu", 4) == {"a": 2, "b": 1}
    with pytest.raises(SpecError, match="no machine of the cluster offers one"):
        rooms("tpu")
