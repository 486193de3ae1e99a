"""Operations of the file system that are refused, and what dead processes leave behind."""

import errno
import os
import subprocess
import sys

import pytest

from jepa_sweep.errors import StorageError
from jepa_sweep.store import files
from jepa_sweep.sweep.run import run


@pytest.mark.parametrize("call", ["write", "fsync", "link", "close", "open"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_a_refused_operation_leaves_nothing_half_written(tmp_path, monkeypatch, call, code):
    root = tmp_path / "s"
    files.make_folders(root, (files.STAGING, "points"))
    real = getattr(os, call)

    def refuse(*args, **kwargs):
        result = real(*args, **kwargs) if call == "close" else None
        if call == "open" and not args[1] & os.O_CREAT:
            return real(*args, **kwargs)
        raise OSError(code, os.strerror(code)) if result is None else AssertionError

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(StorageError, match=r"Could not write .*points/1.parquet: .*(run|--out)"):
        files.publish(root, "points/1.parquet", b"data")
    monkeypatch.undo()
    assert list((root / "points").iterdir()) == [] or call == "fsync"
    assert list((root / files.STAGING).iterdir()) == []
    assert files.publish(root, "points/1.parquet", b"data") in (True, False)
    assert (root / "points/1.parquet").read_bytes() == b"data"


def test_staging_is_cleared_of_the_dead_but_not_of_the_living(tmp_path, tiny):
    run(tiny, tmp_path)
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead = tmp_path / files.STAGING / f"{files._host()}-{int(child.stdout)}-0a.part"
    living = tmp_path / files.STAGING / f"{files._host()}-{os.getpid()}-0b.part"
    elsewhere = tmp_path / files.STAGING / "other_host-1-0c.part"
    for path in (dead, living, elsewhere):
        path.write_bytes(b"half")
    run(tiny, tmp_path)
    assert not dead.exists()
    assert living.exists()
    assert elsewhere.exists()


def test_no_half_written_file_is_ever_visible_as_parquet(tmp_path):
    files.make_folders(tmp_path, (files.STAGING, "points"))
    seen = []
    real = os.link

    def look(source, target):
        seen.extend(tmp_path.rglob("*.parquet"))
        return real(source, target)

    os.link = look
    try:
        files.publish(tmp_path, "points/1.parquet", b"data")
    finally:
        os.link = real
    assert seen == []
