"""Operations of the file system that are refused, and what dead processes leave behind."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from replayed import go

import jepa_sweep as js
from jepa_sweep.computing import run
from jepa_sweep.errors import StorageError
from jepa_sweep.store import location, writer_names
from jepa_sweep.store.folder import Folder, probe


@pytest.mark.parametrize("call", ["write", "fsync", "link", "close", "open"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_a_refused_operation_leaves_nothing_half_written(tmp_path, monkeypatch, call, code):
    root = tmp_path / "s"
    folder = Folder(root)
    folder.prepare((location.STAGING, "points"))
    real = getattr(os, call)

    def refuse(*args, **kwargs):
        if call == "close":
            real(*args, **kwargs)
        if call == "open" and not args[1] & os.O_CREAT:  # of a folder, to sync it
            return real(*args, **kwargs)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(StorageError, match=r"Could not write .*points/1.parquet: .*(run|--out)"):
        folder.publish("points/1.parquet", b"data")
    monkeypatch.undo()
    assert folder.walk() == []
    assert folder.publish("points/1.parquet", b"data")
    assert folder.walk() == ["points/1.parquet"]
    assert folder.read("points/1.parquet") == b"data"


@pytest.mark.parametrize("place", ["runs", "some/where/deep"])
def test_a_probe_leaves_nothing_behind(tmp_path, place):
    assert probe(tmp_path / place) == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_a_probe_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="a part of the path is a file"):
        probe(tmp_path / "file/runs")


def test_a_name_that_could_not_be_made_durable_is_not_reported_as_published(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    folder.prepare((location.STAGING, "points"))
    real = os.fsync

    def refuse(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=r"Could not write .*points/1.parquet: .*run the same command again"):
        folder.publish("points/1.parquet", b"data")
    monkeypatch.undo()
    assert folder.walk() == ["points/1.parquet"]
    assert folder.read("points/1.parquet") == b"data"
    assert not folder.publish("points/1.parquet", b"of another")  # the name is taken


@pytest.mark.process
def test_staging_is_cleared_of_the_dead_but_not_of_the_living(tmp_path, tiny):
    run(tiny, tmp_path)
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    here, token = writer_names.process(os.getpid()).split("-")[0], "0123456789ab"
    dead = [f"{here}-{int(child.stdout)}-{token}", f"{here}-{os.getpid()}-{token}"]  # one had our process number
    living = [writer_names.process(os.getpid()), f"{here}-{os.getppid()}-{token}", f"other_host-1-{token}"]
    for name in dead + living:
        (tmp_path / location.STAGING / f"{name}-0a.part").write_bytes(b"half")
        (tmp_path / location.WORKING / f"{name}.01234567.0-8").touch()
    run(tiny, tmp_path)
    for folder, end in ((location.STAGING, "-0a.part"), (location.WORKING, ".01234567.0-8")):
        assert {p.name for p in (tmp_path / folder).iterdir()} == {f"{name}{end}" for name in living}


def test_no_half_written_file_is_ever_visible_as_parquet(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    folder.prepare((location.STAGING, "points"))
    seen = []
    real = os.link

    def look(source, target):
        seen.append(list(tmp_path.rglob("*.parquet")))
        return real(source, target)

    monkeypatch.setattr(os, "link", look)
    assert folder.publish("points/1.parquet", b"data")
    assert seen == [[]]


def test_the_folder_above_a_run_is_synced_even_where_the_run_is_there(tmp_path, monkeypatch):
    """Whoever made the run may have died before its name was durable."""
    opened, synced = {}, []
    real_open, real_sync = os.open, os.fsync

    def opening(path, *args):
        descriptor = real_open(path, *args)
        opened[descriptor] = os.fspath(path)
        return descriptor

    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(opened[descriptor]), real_sync(descriptor)))
    (tmp_path / "run").mkdir()
    Folder(tmp_path / "run").prepare(("points",))
    assert synced == [str(tmp_path / "run"), str(tmp_path)]


def test_a_run_may_be_the_folder_that_one_stands_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    go(".")
    [damaged, *_] = Path("points").iterdir()
    damaged.write_bytes(b"damaged")
    assert js.repair(".")
    assert js.Store(".").reader.damage() == {}
    assert len(js.Store(tmp_path).points()) == 4
