"""Every prefix of a run's file operations, and what is left of each after a power failure."""

import functools
import json
import re
import shutil

import pytest
from conftest import KEYS
from disk import Disk, lay_out, refuses
from replayed import another_process, go
from tables import assert_same_tables, table_of

from jepa_sweep.errors import StorageError
from jepa_sweep.results import Store
from jepa_sweep.store import location

pytest_plugins = ["replayed_fixtures"]


@pytest.fixture(scope="module")
def calls(whole, tmp_path_factory):
    path = tmp_path_factory.mktemp("counted") / "run"
    with pytest.MonkeyPatch.context() as patch, Disk(path).watching(patch) as disk:
        go(path)
    return disk.calls


def check(path, whole, chunk_points=2):
    """Check what holds in every state: what is listed is whole, and running again gives the whole table."""
    before = 0
    if (path / "store.json").exists():
        store = Store(path)
        assert store.damage() == {}
        before = sum(claim.stop - claim.start for claim in store.reader.log.claims().values())
        known = set(map(tuple, table_of(whole)[KEYS].to_numpy()))
        assert {tuple(row) for row in store.points()[KEYS].to_numpy()} <= known
        for name in store.tables:
            store.read(name)
    report = go(path, chunk_points)
    assert report.computed == 4 - before
    assert_same_tables(path, whole)
    assert Store(path).damage() == Store(path).reader.log.pending() == {}
    assert list((path / location.STAGING).iterdir()) == list((path / location.WORKING).iterdir()) == []
    return before


def deaths(path, patch, disk=None):
    """What a run leaves that is killed before each of its calls; the last is what a finished run leaves."""
    left = []
    disk = disk or Disk(path)
    with disk.watching(patch, seen=left):
        go(path)
    another_process()
    return [*left, disk.left()]


@functools.cache
def meaning(content):
    """The content of a file, without who wrote it and when."""
    try:
        record = json.loads(content)
    except ValueError:
        return content
    claim = {**record.get("claim", record), "writer": None}
    return json.dumps([claim, record.get("files")], sort_keys=True)


def distinct(states, seen):
    """The states that a later run can tell from all before."""
    for state in states:
        key = frozenset(
            (path, meaning(content) if path.startswith(("claims/", "commits/")) else content)
            for path, content in state.items()
            if not path.startswith((location.STAGING, location.WORKING, "environment/"))
        )
        if key not in seen:
            seen.add(key)
            yield state


def test_every_prefix_of_a_run_can_be_gone_on_with(tmp_path, monkeypatch, whole):
    """Killed at each call; then the machine may lose power, and with it all that was not synced."""
    there, seen = set(), set()
    for number, disk in enumerate(deaths(tmp_path / "run", monkeypatch)):
        for loss in ("nothing", "names", "data"):
            for left in distinct([disk.after(loss)], seen):
                there.add(check(lay_out(left, tmp_path / f"{number}-{loss}"), whole))
    assert there == {0, 2, 4}


@pytest.mark.long
def test_two_deaths_and_a_power_failure_can_be_gone_on_with(tmp_path, monkeypatch, whole, request):
    """A run is killed and then the next, at every pair of calls; then power fails, in any of the folders.

    Whoever comes third, with chunks of the same size or another, gets the table of an uninterrupted run. Without
    `--every-pair` the first dies only where it has just made a name, which is not durable yet.
    """
    every = request.config.getoption("every_pair")
    there, seen, path = set(), set(), tmp_path / "run"
    for first, disk in enumerate(deaths(path, monkeypatch)):
        if not (every or disk.last == "link"):
            continue
        shutil.rmtree(path)
        lay_out(disk.after("nothing"), path)
        *killed, ended = deaths(path, monkeypatch, disk)
        for second, after in enumerate([*killed, ended]):
            for state in distinct(after.after_power_failure(), seen):
                for size in (2, 3):
                    left = lay_out(state, tmp_path / f"{first}-{second}-{len(seen)}-{size}")
                    try:
                        if after is ended:  # what was reported to be complete is complete
                            assert_same_tables(left, whole)
                        there.add(check(left, whole, size))
                    except Exception as error:
                        error.add_note(f"killed at call {first}, then at call {second}, then {size} points a chunk")
                        raise
                    another_process()
                    shutil.rmtree(left)
    assert there == {0, 2, 4}


def told(path):
    """What a run reports of a file system that refuses something."""
    try:
        return go(path).stopped
    except StorageError as error:
        return re.fullmatch(r"Could not \w+ .*?/run\d+\S*: (.*)\.", str(error))[1]


@pytest.mark.long
@pytest.mark.parametrize("call", ["open", "write", "fsync", "close", "link", "mkdir"])
def test_a_disk_that_fills_up_at_any_call_loses_nothing(tmp_path, monkeypatch, whole, calls, call):
    outcomes = set()
    for number in range(1, calls + 1, 8):
        path = tmp_path / f"run{number}"
        with Disk(path).watching(monkeypatch, number, refuses(call)):
            outcomes.add(told(path))
        assert not list(path.glob(f"{location.STAGING}/*"))
        check(path, whole)
    # Where the call only removes something, or no such call was left, the run ends well.
    assert "the disk is full; free some space and run the same command again" in outcomes
    assert len(outcomes) <= 2
