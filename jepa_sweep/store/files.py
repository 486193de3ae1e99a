"""Create-only, durable file operations; the only module that touches the file system of a store.

A file appears under its name whole and on disk, or not at all: it is written and synced in `.staging/`, read back,
linked to its name if that name is free, and the directory is synced. Nothing is ever overwritten.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from jepa_sweep.errors import StorageError

STAGING = ".staging"
DAMAGED = ".damaged"

REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EFBIG: "the file is larger than this system or shell allows (`ulimit -f`); raise the limit and run again",
    errno.EACCES: "there is no permission; change it, or choose another directory with --out",
    errno.EPERM: "the operation is not permitted here; choose another directory with --out",
    errno.EROFS: "the file system is read-only; choose another directory with --out",
    errno.ENOTDIR: "a part of the path is a file, not a directory; choose another directory with --out",
    errno.EOPNOTSUPP: "this file system has no hard links; choose a directory on another one with --out",
}


@contextlib.contextmanager
def explained(path: Path, action: str, remedies: Mapping[int, str] = REMEDIES) -> Iterator[None]:
    """What the file system refuses inside becomes a `StorageError` with what to do about it."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        remedy = remedies.get(error.errno or 0, f"{error.strerror or error}; mend that and run the same command again")
        raise StorageError(f"Could not {action} {path}: {remedy}.") from error


def sha256(data: bytes) -> str:
    """The hash that commit records carry."""
    return hashlib.sha256(data).hexdigest()


def read(path: Path) -> bytes:
    """All bytes of a file."""
    with explained(path, "read"):
        return path.read_bytes()


def exists(path: Path) -> bool:
    """True if the path is there and may be looked at."""
    with explained(path, "look at"):
        return path.exists()


def names(folder: Path, suffix: str) -> list[str]:
    """Sorted names of the files in a folder that end in `suffix`; empty if there is no such folder."""
    with explained(folder, "list"):
        try:
            return sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(suffix))
        except FileNotFoundError:
            return []


def make_folders(root: Path, folders: tuple[str, ...]) -> None:
    """Create the root and its folders, durably; those that are there already stay as they are."""
    with explained(root, "create"):
        for folder in (root, *(root / name for name in folders)):
            missing = [folder, *folder.parents]
            for path in reversed(missing):
                if not path.exists():
                    path.mkdir(exist_ok=True)
                    _sync_folder(path.parent)


def publish(root: Path, name: str, data: bytes) -> bool:
    """Create `root/name` with this content, whole and durable; False, and nothing done, if the name is taken."""
    target = root / name
    # Host and process stand in the name so that a later run can tell which leftovers nobody is writing any more.
    staged = root / STAGING / f"{_host()}-{os.getpid()}-{uuid.uuid4().hex}.part"
    with explained(target, "write"):
        try:
            _write(staged, data)
            if staged.read_bytes() != data:
                raise StorageError(f"Could not write {target}: it did not read back as written; check the disk.")
            try:
                os.link(staged, target)
            except FileExistsError:
                return False
            _sync_folder(target.parent)
            return True
        finally:
            with contextlib.suppress(OSError):
                staged.unlink()


def set_aside(root: Path, name: str) -> None:
    """Move a damaged file out of the tables, keeping it for inspection under a name no reader picks up."""
    source, target = root / name, root / DAMAGED / f"{name.replace('/', '-')}.{uuid.uuid4().hex[:8]}.damaged"
    with explained(source, "set aside"):
        if source.exists():
            make_folders(root, (DAMAGED,))
            source.rename(target)
            _sync_folder(source.parent)


def clear_leftovers(root: Path) -> None:
    """Remove what writers of this machine that no longer run have left in staging."""
    for name in names(root / STAGING, ".part"):
        match = re.fullmatch(r"(.+)-(\d+)-[0-9a-f]+\.part", name)
        if match and match[1] == _host() and not _alive(int(match[2])):
            with contextlib.suppress(OSError):
                (root / STAGING / name).unlink()


def probe(folder: Path) -> None:
    """Raise a `StorageError` unless files can be published below a folder; leaves nothing behind."""
    scratch = folder / f".probe-{uuid.uuid4().hex}"
    try:
        make_folders(scratch, (STAGING,))
        publish(scratch, "probe", b"probe")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _host() -> str:
    return re.sub(r"\W", "_", socket.gethostname())


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
