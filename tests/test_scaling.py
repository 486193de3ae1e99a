"""The simulation of many workers obeys what must hold whatever the costs, and the script runs."""

import os
import subprocess
import sys

import pytest
from conftest import QUICKLY_COMPILED, ROOT

sys.path.insert(0, str(ROOT))

from benchmarks import scaling, scaling_measure, scaling_model
from benchmarks.scaling import NFS, S3
from benchmarks.scaling_model import Costs, Method, Setting, Shared, Simulation

FREE = Shared("free")
METHOD = Method("dopri8", each=2e-6, chunk=5e-3, write=2.4e-7, bytes=35, threads=2)
COSTS = Costs(start=3.0, look=3e-6, near=2e-7, record=1e-4, publish=1e-3, byte=1e-9, footer=3e-3)
NOTHING = Costs(*[0.0] * len(Costs._fields))
BARE = METHOD._replace(write=0.0, bytes=0.0, chunk=0.0)
WAYS = [
    {},
    {"hand_out": "shard"},
    {"hand_out": "driver"},
    {"whole": True},
    {"together": True, "others": 3.0},
]


def simulated(workers, chunks, points=100_000, method=METHOD, costs=COSTS, shared=FREE, seed=0, **more):
    return Simulation(method, costs, shared, Setting(workers, chunks, points, **more), seed).run()


@pytest.mark.parametrize("more", WAYS, ids=str)
@pytest.mark.parametrize("shared", [FREE, NFS, S3], ids=lambda s: s.name)
@pytest.mark.parametrize("workers", [1, 3, 20])
def test_every_chunk_is_committed_exactly_once(workers, shared, more):
    out = simulated(workers, 30, shared=shared, **more)
    assert out.complete
    assert sorted(chunk for _, _, chunk in out.commits) == list(range(30))
    if "hand_out" in more:
        assert not out.duplicates


def test_workers_without_a_chunk_of_their_own_store_nothing_twice():
    out = simulated(50, 5, shared=NFS)
    assert out.complete
    assert len(out.commits) == 5
    assert len(out.duplicates) > 5
    assert not simulated(50, 5, shared=NFS, hand_out="driver").duplicates


@pytest.mark.parametrize("shared", [FREE, NFS], ids=lambda s: s.name)
def test_one_worker_takes_the_sum_of_its_costs(shared):
    chunks, points = 40, 100_000
    method = METHOD._replace(threads=1)
    out = simulated(1, chunks, points, method=method, shared=shared, jitter=0.0, cores=8)
    looks = sum(n * (2 * COSTS.look + COSTS.near) for n in range(chunks))  # before computing
    computing = chunks * (method.chunk + points * method.each) + looks + COSTS.start
    size = points * method.bytes
    files = 2 * (COSTS.publish + shared.publish * shared.latency) + size / shared.stream  # points, record
    encoding = points * method.write + size * COSTS.byte
    last = scaling_model.window(COSTS, shared, chunks - 1) + encoding + files
    reading = chunks * (COSTS.record + 15 * shared.latency) + 60 * shared.latency  # at most one record a chunk
    assert computing + last <= out.seconds <= computing + last + reading


@pytest.mark.parametrize("workers", [2, 8])
def test_without_other_costs_efficiency_is_one_up_to_the_last_round(workers):
    chunks, alone = 40, 100_000 * BARE.each / 2  # on two cores
    one = simulated(1, chunks, method=BARE, costs=NOTHING, jitter=0.0)
    assert one.seconds == pytest.approx(chunks * alone)
    out = simulated(workers, chunks, method=BARE, costs=NOTHING, jitter=0.0, hand_out="driver")
    assert out.seconds == pytest.approx(-(-chunks // workers) * alone)
    free = simulated(workers, chunks, method=BARE, costs=NOTHING, jitter=0.01)
    assert free.seconds <= (-(-chunks // workers) + 2) * alone


@pytest.mark.parametrize("shared", [FREE, NFS, S3], ids=lambda s: s.name)
@pytest.mark.parametrize("workers", [2, 8, 32])
def test_no_more_than_the_workers_and_the_numbers_allow(shared, workers):
    chunks, points = 60, 100_000
    one = simulated(1, chunks, points, shared=shared, jitter=0.0)
    out = simulated(workers, chunks, points, shared=shared, jitter=0.0)
    assert one.seconds <= workers * out.seconds * 1.01
    window = scaling_model.window(COSTS, shared)
    assert out.commits[-1][0] - out.commits[0][0] >= (chunks - 1) * window * 0.99
    small, whole = (simulated(workers, chunks, points, shared=shared, whole=whole) for whole in (False, True))
    assert small.seconds <= 1.05 * whole.seconds


def test_local_workers_share_their_cores():
    alone, four = (simulated(w, 80, 16384, together=True, jitter=0.0, hand_out="driver") for w in (1, 4))
    rates = [
        scaling_measure.steady([(when, who, 16384) for when, who, _ in out.commits], w)
        for out, w in ((alone, 1), (four, 4))
    ]
    bound = 2 / (METHOD.each + METHOD.chunk / 16384)
    assert rates[1] < 1.05 * bound
    busy = simulated(1, 80, 16384, together=True, jitter=0.0, others=6.0)
    assert busy.seconds > 2.5 * alone.seconds


@pytest.mark.parametrize("workers", [1, 16])
def test_a_slower_place_makes_no_run_faster(workers):
    took = []
    for latency in (0.0, 1e-3, 1e-2, 0.1):
        outs = [simulated(workers, 60, shared=NFS._replace(latency=latency), seed=seed) for seed in range(2)]
        took.append(sum(out.seconds for out in outs))
    assert took == sorted(took)


def test_the_same_seed_gives_the_same_run():
    first, again, other = (simulated(8, 50, shared=S3, seed=seed) for seed in (0, 0, 1))
    assert (first.commits, first.spent, first.duplicates) == (again.commits, again.spent, again.duplicates)
    assert first.commits != other.commits


@pytest.mark.parametrize("workers", [1, 4])
def test_stretches_stand_for_the_whole(workers):
    """A run of 1,000 chunks, put together from stretches, takes about what it takes from end to end."""
    chunks, points = scaling_model.cut(METHOD, 10**9)
    whole = simulated(workers, chunks, points, shared=NFS)
    found = scaling_model.predict(METHOD, COSTS, NFS, 10**9, workers)
    assert whole.complete
    assert found.rate == pytest.approx(10**9 / whole.seconds, rel=0.1)


def test_rates_are_taken_while_all_are_at_work():
    commits = [(0.0, 0, 7), *((10.0 + n, n % 2, 5) for n in range(20)), (100.0, 0, 5)]
    assert scaling_measure.steady(commits, 2) == pytest.approx(5)


@pytest.mark.process
def test_what_the_script_starts_ends_with_it():
    child = (
        "import os, time; from benchmarks.common import end_with; end_with(os.getppid()); "
        "print(os.getpid(), flush=True); time.sleep(600); print('I am left over')"
    )
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    with parent:
        assert parent.stdout is not None
        number = int(parent.stdout.readline())
        os.kill(number, 0)
        parent.kill()
        assert parent.stdout.read() == ""  # ends when nobody holds the other end any more


@pytest.mark.process
def test_the_script_runs(monkeypatch):
    # The worker that it starts finds the programs that this process has compiled.
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", QUICKLY_COMPILED))
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    text, _ = scaling.main(small=True)
    assert "| exact | 1 | 40 |" in text
    assert text.count("(assumed, not measured:") == 2
    assert "nan" not in text
