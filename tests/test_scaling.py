"""The simulation of many workers obeys what must hold whatever the costs, and the script runs."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT
from flags import chosen

sys.path.insert(0, str(ROOT))

from benchmarks import scaling, scaling_model
from benchmarks.scaling import NFS, S3
from benchmarks.scaling_model import Costs, Setting, Shared, Simulation

FREE = Shared("free")
COSTS = Costs("dopri8", each=2e-6, chunk=5e-3, write=2.4e-7, bytes=35, start=3.0, look=3e-6, record=1e-4, publish=1e-3)
BARE = Costs("dopri8", each=2e-6, **dict.fromkeys(Costs._fields[2:], 0.0))
WAYS = [{}, {"hand_out": "shard"}, {"hand_out": "driver"}, {"together": True}]


def simulated(workers, chunks, points=100_000, costs=COSTS, shared=FREE, seed=0, **more):
    return Simulation(costs, shared, Setting(workers, chunks, points, **more), seed).simulate()


def ended(run):
    return run.commits[-1][0]


@pytest.mark.parametrize("more", WAYS, ids=str)
@pytest.mark.parametrize("shared", [FREE, NFS, S3], ids=lambda s: s.name)
@pytest.mark.parametrize("workers", [1, 3, 20])
def test_every_chunk_is_committed_exactly_once(workers, shared, more):
    out = simulated(workers, 30, shared=shared, **more)
    assert sorted(chunk for _, chunk in out.commits) == list(range(30))
    if "hand_out" in more:
        assert not out.duplicates


def test_workers_without_a_chunk_of_their_own_store_nothing_twice():
    out = simulated(50, 5, shared=NFS)
    assert len(out.commits) == 5
    assert len(out.duplicates) > 5
    assert not simulated(50, 5, shared=NFS, hand_out="driver").duplicates


@pytest.mark.parametrize("shared", [FREE, NFS], ids=lambda s: s.name)
def test_one_worker_takes_the_sum_of_its_costs(shared):
    """No less than computing all and writing the last chunk, and no more than if nothing went side by side."""
    chunks, points, wait = 40, 100_000, shared.latency
    out = simulated(1, chunks, points, shared=shared, jitter=0.0)
    computing = COSTS.start + 30 * wait + chunks * (COSTS.chunk + points * COSTS.each) / 2  # on two cores
    files = 3 * (COSTS.publish + shared.publish * wait)  # claim, points, record
    writing = files + points * (COSTS.write + COSTS.bytes / shared.stream)
    looking = 3 * COSTS.look * sum(range(chunks)) + 4 * chunks * COSTS.record  # two threads read two records a chunk
    waiting = 17 * chunks * wait  # six lists of looks, one of marks, two marks, six reads two by two and two more
    assert computing + writing <= ended(out) <= computing + chunks * writing + looking + waiting


@pytest.mark.parametrize("workers", [2, 8])
def test_without_other_costs_efficiency_is_one_up_to_the_last_round(workers):
    chunks, alone = 40, 100_000 * BARE.each / 2  # on two cores
    one = simulated(1, chunks, costs=BARE, jitter=0.0)
    assert ended(one) == pytest.approx(chunks * alone)
    out = simulated(workers, chunks, costs=BARE, jitter=0.0, hand_out="driver")
    assert ended(out) == pytest.approx(chunks / workers * alone)
    free = simulated(workers, chunks, costs=BARE, jitter=0.01)
    assert ended(free) <= (chunks / workers + 2) * alone


@pytest.mark.parametrize("shared", [FREE, NFS, S3], ids=lambda s: s.name)
@pytest.mark.parametrize("workers", [2, 8, 32])
def test_no_more_than_the_workers_and_the_numbers_allow(shared, workers):
    chunks = 60
    one, out = (simulated(crew, chunks, shared=shared, jitter=0.0) for crew in (1, workers))
    assert ended(one) <= workers * ended(out) * 1.01
    window = COSTS.publish + (2 + shared.publish) * shared.latency  # from a look to the claim that it allows
    assert ended(out) - out.commits[0][0] >= (chunks - 1) * window * 0.99


def test_local_workers_share_their_cores():
    points = 16384
    work = COSTS.start + 20 * (COSTS.chunk + points * (COSTS.each + COSTS.write))  # of a worker
    four, apart = (simulated(4, 80, points, together=together, jitter=0.0) for together in (True, False))
    assert ended(four) >= 0.99 * 4 * work / 2
    assert ended(four) > 1.9 * ended(apart)
    assert ended(simulated(4, 80, points, together=True, jitter=0.0, cores=1)) > 1.9 * ended(four)


@pytest.mark.parametrize("workers", [1, 16])
def test_a_slower_place_makes_no_run_faster(workers):
    took = []
    for latency in (0.0, 1e-3, 1e-2, 0.1):
        outs = [simulated(workers, 60, shared=NFS._replace(latency=latency), seed=seed) for seed in range(2)]
        took.append(sum(ended(out) for out in outs))
    assert took == sorted(took)


def test_the_same_seed_gives_the_same_run():
    first, again, other = (simulated(8, 50, shared=S3, seed=seed) for seed in (0, 0, 1))
    assert (first.commits, first.spent, first.duplicates) == (again.commits, again.spent, again.duplicates)
    assert first.commits != other.commits


@pytest.mark.parametrize("workers", [1, 4])
def test_stretches_stand_for_the_whole(workers):
    """A run of 1,000 chunks, put together from stretches, takes about what it takes from end to end."""
    chunks, points = scaling_model.cut("dopri8", 10**9)
    whole = simulated(workers, chunks, points, shared=NFS)
    rate, *_ = scaling_model.predict(COSTS, NFS, 10**9, workers)
    assert len(whole.commits) == chunks
    assert rate == pytest.approx(10**9 / ended(whole), rel=0.1)


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
    monkeypatch.setenv("XLA_FLAGS", chosen())
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    text, _ = scaling.main(small=True)
    assert "| exact | 1 | 120 |" in text
    assert text.count("(assumed, not measured:") == 2
    assert "nan" not in text
