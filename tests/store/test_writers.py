"""Several writers, full disks, dead processes: every point stands once, and nothing half-written is seen."""

import errno
import os
import threading

import pytest
from conftest import KEYS, TINY, TRACKED
from tables import assert_same, assert_same_tables, table_of

import jepa_sweep as js
from jepa_sweep.computing import run
from jepa_sweep.errors import StorageError
from jepa_sweep.results import Store
from jepa_sweep.running import job
from jepa_sweep.store import location
from jepa_sweep.store.folder import Folder
from jepa_sweep.store.writer import Writer


def test_writers_at_the_same_time_store_every_point_once(tmp_path, stored):
    """Threads through the same code as processes: no state is shared but the directory."""
    specs = [TRACKED, TRACKED, {**TRACKED, "axes": {**TINY["axes"], "L": [3, 2, 5]}}]
    errors = []

    def write(spec, size):
        try:
            run(js.Sweep(**spec), tmp_path / "many", chunk_points=size)
        except BaseException as error:  # any error must fail the test, not only its thread
            errors.append(error)

    writers = [threading.Thread(target=write, args=job) for job in zip(specs, (3, 4, 5), strict=True)]
    [w.start() for w in writers]
    [w.join() for w in writers]
    assert not errors
    frame = table_of(tmp_path / "many")
    assert not frame.duplicated(KEYS).any()
    assert len(frame) == 72 + 24
    samples = table_of(tmp_path / "many", "trajectories")
    assert len(samples) == 4 * (frame.status == "learned").sum()
    assert not samples.duplicated([*KEYS[:-1], "t"]).any()
    assert_same(frame[frame.L != 5].reset_index(drop=True), table_of(stored.path))


def test_a_claim_lost_to_another_writer_is_tried_again_with_what_is_left(tmp_path, tiny, monkeypatch):
    """The other writer commits overlapping points between our look at the store and our claim."""
    other = js.Sweep(**{**TINY, "axes": {**TINY["axes"], "lam": [2.0, 8.0]}})
    claim, raced = Writer.claim, []

    def racing(self, wanted, known):
        if not raced:
            raced.append(True)
            run(other, tmp_path)
            self.reader.log.claims()  # as the thread that computes the next chunk may just then
        return claim(self, wanted, known)

    monkeypatch.setattr(Writer, "claim", racing)
    run(tiny, tmp_path)
    frame = table_of(tmp_path)
    assert len(frame) == 108
    assert not frame.duplicated(KEYS).any()
    assert Store(tmp_path).damage() == {}


def test_a_full_disk_stops_the_run_and_the_next_run_goes_on(tmp_path, stored, monkeypatch):
    calls, real = [], os.write

    def fill_up(descriptor, data):
        calls.append(1)
        if len(calls) > 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", fill_up)
    with pytest.raises(StorageError, match="the disk is full"):
        run(js.Sweep(**TRACKED), tmp_path / "full", chunk_points=4)
    monkeypatch.undo()
    assert list((tmp_path / "full" / location.STAGING).iterdir()) == []
    assert 0 < len(table_of(tmp_path / "full")) < 72
    run(js.Sweep(**TRACKED), tmp_path / "full", chunk_points=4)
    assert_same_tables(tmp_path / "full", stored.path)


@pytest.mark.parametrize("before", ["points", "trajectories", "commits"])
def test_a_writer_that_died_between_claim_and_commit_is_finished(tmp_path, stored, monkeypatch, before):
    class Died(BaseException):
        pass

    publish = Folder.publish

    def die(self, name, data):
        if name.startswith(f"{before}/000003"):
            raise Died
        return publish(self, name, data)

    monkeypatch.setattr(Folder, "publish", die)
    with pytest.raises(Died):
        run(js.Sweep(**TRACKED), tmp_path / "dead", chunk_points=4)
    monkeypatch.undo()
    assert list(Store(tmp_path / "dead").reader.log.pending()) == ["000003"]
    run(js.Sweep(**TRACKED), tmp_path / "dead", chunk_points=4)
    assert Store(tmp_path / "dead").reader.log.pending() == {}
    assert_same_tables(tmp_path / "dead", stored.path)


def test_encoding_is_checked_on_the_way_in(tmp_path, tiny, monkeypatch):
    """A table whose types differ from the store's is our own bug, and is refused before it reaches a file."""
    made = job.tables

    def narrow(*args):
        out = made(*args)
        points = out["points"]
        place = points.schema.get_field_index("t_numeric")
        return {**out, "points": points.set_column(place, "t_numeric", points["t_numeric"].cast("float32"))}

    monkeypatch.setattr(job, "tables", narrow)
    with pytest.raises(AssertionError, match="must have the store's columns and types"):
        run(tiny, tmp_path)
    assert list((tmp_path / "points").iterdir()) == []
