"""Every prefix of a run's file operations, and what is left of each after a power failure."""

import re

import pytest
from conftest import KEYS
from disk import Died, Disk, dies, lay_out, refuses
from tables import assert_same_tables, table_of

import jepa_sweep as js
from jepa_sweep.errors import StorageError
from jepa_sweep.store import place
from jepa_sweep.store.store import Store
from jepa_sweep.sweep.run import execute

# Two chunks, each with a file of points, one of trajectories and a record; what is written matters here, not what
# is integrated.
SPEC = {
    "name": "replayed",
    "objective": "jepa",
    "axes": {"lam": [0.5, 2.0], "rho": [0.5, 1.0], "L": 2, "eps": 1e-3},
    "measure": {"trajectories": {"samples": 2}},
    "solver": {"method": "exact"},
}


def go(path, **options):
    return execute(js.Sweep(**SPEC), path, chunk_points=2, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing happened to, and how many calls it made."""
    path = tmp_path_factory.mktemp("whole") / "run"
    go(path)
    return path


@pytest.fixture(scope="module")
def calls(whole, tmp_path_factory):
    path = tmp_path_factory.mktemp("counted") / "run"
    with pytest.MonkeyPatch.context() as patch, Disk(path).watching(patch) as disk:
        go(path)
    return disk.calls


def check(path, whole):
    """What a store promises in every state: what it says is there is whole, and running again gives all of it."""
    before = 0
    if (path / "store.json").exists():
        store = Store(path)
        assert store.damage() == {}
        before = sum(claim.stop - claim.start for claim in store.claims().values())
        known = set(map(tuple, table_of(whole)[KEYS].to_numpy()))
        assert {tuple(row) for row in store.points()[KEYS].to_numpy()} <= known
        for name in store.tables:
            store.read(name)
    report = go(path)
    assert report.computed == 4 - before
    assert_same_tables(path, whole)
    assert Store(path).damage() == {}
    assert list((path / place.STAGING).iterdir()) == list((path / place.WORKING).iterdir()) == []
    return before


def another_process():
    """What this process has enlisted is dead from here on."""
    place._enlisted.clear()
    place.process.cache_clear()


def distinct(states):
    """Each state once, whatever the names of half-written files."""
    found = {}
    for left in states:
        key = {re.sub("[^/]*[.]part", "part", path): content for path, content in left.items()}
        found.setdefault(frozenset(key.items()), left)
    return list(found.values())


def killed_at(number, path, monkeypatch):
    """A run that dies before its call of this number."""
    with Disk(path).watching(monkeypatch, number, dies) as disk, pytest.raises(Died):
        go(path)
    another_process()
    return disk


def test_every_prefix_of_a_run_can_be_gone_on_with(tmp_path, monkeypatch, whole, calls):
    """Killed at each call; then the machine may lose power, and with it all that was not synced."""
    states = []
    for number in range(1, calls + 1):
        disk = killed_at(number, tmp_path / f"dead{number}", monkeypatch)
        states += [disk.after(loss) for loss in ("nothing", "names", "data")]
    there = [check(lay_out(left, tmp_path / f"left{n}"), whole) for n, left in enumerate(distinct(states))]
    assert {0, 2, 4} == set(there)
    assert len(there) > calls


@pytest.mark.parametrize("step", range(2))
def test_what_a_second_run_builds_on_the_first_is_durable(tmp_path, monkeypatch, whole, calls, step):
    """The first dies without having synced a name that the second finds taken; then the power fails."""
    for number in range(1 + step, calls + 1, 2):
        path = tmp_path / f"run{number}"
        disk = killed_at(number, path, monkeypatch)
        with disk.watching(monkeypatch):
            go(path)
        left = lay_out(disk.after("names"), tmp_path / f"left{number}")
        assert Store(left).damage() == {}
        assert_same_tables(left, whole)


def told(path):
    """What a run says of a file system that refuses something."""
    try:
        return go(path).stopped
    except StorageError as error:
        return re.fullmatch(r"Could not \w+ .*?/run\d+\S*: (.*)\.", str(error))[1]


@pytest.mark.parametrize("call", ["open", "write", "fsync", "close", "link", "mkdir"])
def test_a_disk_that_fills_up_at_any_call_loses_nothing(tmp_path, monkeypatch, whole, calls, call):
    outcomes = set()
    for number in range(1, calls + 1, 8):
        path = tmp_path / f"run{number}"
        with Disk(path).watching(monkeypatch, number, refuses(call)):
            outcomes.add(told(path))
        assert not list(path.glob(f"{place.STAGING}/*"))
        check(path, whole)
    # Where the call was one that only clears up, or none of its kind was left, the run ends well.
    assert "the disk is full; free some space and run the same command again" in outcomes
    assert len(outcomes) <= 2
