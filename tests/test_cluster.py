"""Runs on a Ray cluster: whatever dies, every point stands once, and the tables are those of a run on one machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest
from conftest import KEYS, TRACKED
from flags import chosen

import jepa_sweep as js
from jepa_sweep.engine import devices
from jepa_sweep.errors import IntegrityError, SpecError
from jepa_sweep.running import opening, ray_cluster, ray_driver, ray_workers
from jepa_sweep.running.execute import execute
from jepa_sweep.running.plan import Chunk
from jepa_sweep.running.queue import Queue
from jepa_sweep.running.ray_workers import TASKS_AT_ONCE, Recover
from jepa_sweep.spec.grid import Grid
from jepa_sweep.store import location, writer_names
from jepa_sweep.store.log import Mark

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
        patch.setenv("XLA_FLAGS", chosen())
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
        return execute(sweep, out, cluster=f"ray:{machines.address}", **more)

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


def ended(names):
    """Wait until none of these writers runs: a worker ends a little after its machine."""
    while not all(map(writer_names.gone, names)):
        time.sleep(0.05)


@pytest.mark.ray
def test_workers_and_machines_may_die(machines, on, alone, tmp_path):
    second = machines.add_node(num_cpus=1)
    machines.wait_for_nodes()
    begun, done, told = set(), [], []

    def fault(progress):
        told.append(progress.done)
        claims = js.Store(tmp_path / "run").reader.log.claims().values()
        begun.update(claim.writer for claim in claims)
        if len(begun) == 1:
            time.sleep(0.2)  # else one may do it all while the other is being started
        elif not done:
            done.append("killed")
            os.kill(int(min(begun).split("-")[1]), signal.SIGKILL)
        elif done == ["killed"] and progress.done > POINTS // 2:
            done.append("removed")
            machines.remove_node(second)

    report = on(SWEEP, tmp_path / "run", chunk_points=1, progress=fault)
    assert done == ["killed", "removed"]
    assert (report.complete, report.total, report.computed, report.failed) == (True, POINTS, POINTS, 0)
    assert told == sorted(told)
    assert told[-1] == POINTS
    ended(begun)
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
    assert 2 <= stopped.computed <= 2 + TASKS_AT_ONCE
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
    there = tmp_path / "trajectories"

    def fault(_):
        if there.is_dir():
            there.rename(tmp_path / "elsewhere")
            there.write_text("in the way")

    with pytest.raises(IntegrityError, match="trajectories is damaged: it must be a folder of the run itself"):
        on(SWEEP, tmp_path, chunk_points=1, progress=fault)


# --- what needs no cluster --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "slurm", "ray:", "ray:10.0.0.1", "ray:host:port", "ray:http://host:1", "ray: auto"]
)
def test_an_address_must_be_one(text, tmp_path):
    with pytest.raises(SpecError, match="`cluster` must be ray, or ray:ADDRESS"):
        execute(SWEEP, tmp_path, cluster=text)


@pytest.mark.ray
def test_nothing_at_the_address_is_told_before_ray_begins_to_try(tmp_path, invoke, alone, monkeypatch):
    import ray

    tried = []
    monkeypatch.setattr(ray, "init", lambda **given: tried.append(given))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    done = invoke("run", alone[0], "--out", tmp_path / "run", "--cluster", f"ray:127.0.0.1:{port}")
    assert done.exit_code == 2
    assert "must name a Ray cluster that can be reached" in done.stderr
    assert tried == []
    assert not (tmp_path / "run").exists()


@pytest.mark.ray
def test_what_does_not_speak_as_ray_leaves_nothing_behind(tmp_path, monkeypatch):
    import ray

    monkeypatch.setattr(ray, "init", lambda **_: time.sleep(5))
    monkeypatch.setattr(ray_cluster, "JOIN_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(SpecError, match=f"joining {address} failed: nothing has spoken as Ray"):
            execute(SWEEP, tmp_path / "run", cluster=f"ray:{address}")
    assert not (tmp_path / "run").exists()


def test_without_ray_it_says_what_to_install_and_leaves_nothing_behind(monkeypatch, invoke, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "spec.toml").write_text(SWEEP.to_toml())
    done = invoke("run", tmp_path / "spec.toml", "--out", tmp_path / "run", "--cluster", "ray")
    assert done.exit_code == 2
    assert "`cluster` needs Ray, but it is not installed; try `pip install 'jepa_sweep[ray]'`." in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("more", "match"), [({"device": "gpu:0"}, "`device` must be"), ({"shard": "2/2"}, "`shard`")])
def test_arguments_are_refused_before_anything_starts(more, match, tmp_path):
    with pytest.raises(SpecError, match=match):
        execute(SWEEP, tmp_path / "run", cluster="ray", **more)
    assert not (tmp_path / "run").exists()


def test_without_a_cluster_it_runs_here(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert execute(SWEEP, tmp_path, cluster=None, chunk_points=6, shard="0/2").computed == POINTS // 2


def test_a_worker_that_sees_another_folder_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(ray_workers, "SHARED_FS_TIMEOUT_S", 0.0)
    opening.open_for(SWEEP, tmp_path)
    told = ray_workers.Instructions(
        SWEEP.to_toml(), str(tmp_path), "cpu", None, Mark("host-1-0123456789ab", "01234567", 0, 0), []
    )
    with pytest.raises(SpecError, match="must lie where every machine of the cluster sees it"):
        ray_workers.Worker().begin(told, 0)


def test_a_chunk_that_kills_its_workers_is_given_up_and_no_other_is_blamed(tmp_path):
    bad, good = Chunk(0, 5), Chunk(5, 10)
    queue = Queue(Grid(SWEEP), [bad, good], opening.open_for(SWEEP, tmp_path), "01234567")
    tasks = ray_driver.Tasks(queue)
    assert [tasks.take(alone=True), tasks.take(alone=False)] == [bad, good]
    for chunk in (bad, good):  # both were with the worker
        tasks.back(chunk, "killed")
    assert tasks.take(alone=False) is None
    for _ in range(2):
        while tasks.take(alone=True) != bad:
            pass
        tasks.back(bad, "killed")
    assert not tasks
    assert "the points 0 to 4 were given up after 3 workers died of them: killed" in tasks.given_up


def test_recovery_that_kills_its_workers_is_given_up(tmp_path):
    tasks = ray_driver.Tasks(Queue(Grid(SWEEP), [], opening.open_for(SWEEP, tmp_path), "01234567"))
    tasks.recovery = True
    for _ in range(3):
        assert (len(tasks), tasks.take(alone=False), tasks.take(alone=True)) == (1, None, Recover())
        tasks.back(Recover(), "killed")
    assert not tasks
    assert "what dead workers left were given up after 3 workers died of them: killed" in tasks.given_up


def test_what_a_worker_has_stored_and_not_told_yet_is_both_computed_and_done(tmp_path):
    js.run(SWEEP, tmp_path, chunk_points=12)
    store = js.Store(tmp_path)
    commits = store.reader.log.commits()
    queue = Queue(Grid(SWEEP), [Chunk(start, start + 12) for start in range(0, POINTS, 12)], store.reader.log, "")
    tally = ray_driver.Tally(store.reader.log, {commit.claim.writer for commit in commits})
    for claim in tally.look():
        queue.stored(claim)
        queue.stored(claim)  # the worker itself, a moment later
    assert (queue.done, tally.computed) == (POINTS, POINTS)
    assert tally.look() == []


NODES = [
    {"NodeID": "a", "Alive": True, "Resources": {"CPU": 8.0, "GPU": 4.0}},
    {"NodeID": "b", "Alive": True, "Resources": {"CPU": 6.0}},
    {"NodeID": "c", "Alive": False, "Resources": {"CPU": 64.0, "TPU": 8.0}},
    {"NodeID": "d", "Alive": True, "Resources": {}},
]


def ray_of(nodes):
    """Ray, as it would be on these machines."""
    return mock.MagicMock(nodes=mock.Mock(return_value=nodes))


def test_where_there_is_room_for_workers():
    def rooms(device, cores=0):
        cluster = ray_cluster.Cluster(ray_of(NODES), device, cores)
        return {machine: room.workers for machine, room in cluster.rooms().items()}

    assert rooms("auto") == rooms("gpu") == {"a": 4}
    assert rooms("cpu") == {"a": 1, "b": 1}
    assert rooms("cpu", 4) == {"a": 2, "b": 1}
    assert rooms("tpu") == {}


@pytest.mark.ray
def test_a_device_that_no_machine_offers_is_refused_before_anything_is_left(on, tmp_path):
    with pytest.raises(SpecError, match="`device` 'tpu' was asked for, but no machine of the cluster offers one"):
        on(SWEEP, tmp_path / "run", device="tpu")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def workers():
    """Of four cores each: machine `a` has room for two, `b` for one."""
    told = ray_workers.Instructions(SWEEP.to_toml(), "", "cpu", None, Mark("", "", 0, 0), [])
    return ray_workers.Workers(ray_cluster.Cluster(ray_of(NODES), "cpu", 4), told)


def test_a_machine_on_which_workers_keep_dying_is_left_alone(workers):
    started = 0
    while not (why := workers.recruit(10)):
        for handle in list(workers._handles):
            workers._lost(handle, "It ended. The actor is dead because its process was killed.")
            started += 1
    assert why == "workers died wherever they were started: its process was killed."
    assert started == 3 * (2 + 1)


@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "hangs"])
def test_a_head_that_is_silent_ends_the_run(workers, monkeypatch, hangs):
    answered = threading.Event()  # by nobody before the run has ended
    monkeypatch.setattr(ray_cluster, "HEAD_TIMEOUT_S", 0.1)
    workers._cluster.ray.nodes.side_effect = answered.wait if hangs else ConnectionError
    while not (why := workers.recruit(10)):
        time.sleep(0.01)
    answered.set()
    assert "the head of the cluster has not answered" in why
    assert workers._handles == []


def test_a_cluster_without_room_ends_the_run(workers, monkeypatch):
    monkeypatch.setattr(ray_workers, "NO_WORKER_TIMEOUT_S", 0.0)
    assert workers.recruit(10) == "the cluster had no room for a worker for 0 s"
