"""A store in a folder: create-only, durable file operations; the only module that touches the file system of a store.

A file is written and synced in `.staging/`, read back, linked to its name if that name is free, and its folder is
synced. Every change to the disk is one call of `os`, so that tests can replay each prefix of them.
"""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from jepa_sweep.errors import StorageError
from jepa_sweep.store.location import DAMAGED, STAGING, Missing
from jepa_sweep.store.writer_names import process

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


class Folder:
    """A folder of a file system that has hard links; a `Location`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def where(self, name: str) -> str:
        return str(self.path / name)

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, name: str) -> bytes:
        return self.read_end(name, -1)

    def read_end(self, name: str, count: int) -> bytes:
        path = self.path / name
        with explained(path, "read"):
            try:
                with path.open("rb") as source:
                    if count >= 0:
                        source.seek(max(0, source.seek(0, os.SEEK_END) - count))
                    return source.read()
            except FileNotFoundError:
                raise Missing(f"There must be a file {path}, but it is missing.") from None

    def exists(self, name: str) -> bool:
        path = self.path / name
        with explained(path, "look at"):
            return path.exists()

    def names(self, folder: str, suffix: str = "") -> list[str]:
        path = self.path / folder
        with explained(path, "list"):
            try:
                return sorted(entry.name for entry in os.scandir(path) if entry.name.endswith(suffix))
            except FileNotFoundError:
                return []

    def walk(self) -> list[str]:
        with explained(self.path, "list"):
            found = (Path(folder, name) for folder, _, names in os.walk(self.path) for name in names)
            return sorted(path.relative_to(self.path).as_posix() for path in found)

    # --- writing ------------------------------------------------------------------------------------------------------

    def prepare(self, folders: tuple[str, ...]) -> None:
        with explained(self.path, "create"):
            for path in reversed((self.path, *self.path.parents)):
                if not path.exists():
                    with contextlib.suppress(FileExistsError):  # another writer was faster
                        os.mkdir(path)
                    _sync(path.parent)
            for name in folders:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(self.path / name)
            # Whoever made a folder may have died before syncing its parent.
            _sync(self.path)
            with contextlib.suppress(PermissionError):  # of a parent that may be entered but not read
                _sync(self.path.parent)

    def publish(self, name: str, data: bytes) -> bool:
        target = self.path / name
        # The process stands in the name so that a later run can tell which leftovers nobody is writing any more.
        staged = self.path / STAGING / f"{process(os.getpid())}-{uuid.uuid4().hex}.part"
        with explained(target, "write"):
            try:
                _write(staged, data)
                if staged.read_bytes() != data:
                    raise StorageError(f"Could not write {target}: it did not read back as written; check the disk.")
                try:
                    os.link(staged, target)
                    return True
                except FileExistsError:
                    return False
                finally:
                    # Also where another writer has linked the name: it may have died before syncing the folder.
                    _sync(target.parent)
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(staged)

    def set_aside(self, name: str) -> None:
        source = self.path / name
        target = self.path / DAMAGED / f"{name.replace('/', '-')}.{uuid.uuid4().hex[:8]}.damaged"
        with explained(source, "set aside"):
            if source.exists():
                self.prepare((DAMAGED,))
                os.rename(source, target)
                _sync(source.parent)

    def mark(self, name: str) -> None:
        path = self.path / name
        with explained(path, "write"):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666))

    def unmark(self, name: str) -> None:
        with contextlib.suppress(OSError):  # a file that stays only wastes space, or work of others
            os.unlink(self.path / name)


def probe(folder: Path) -> Path:
    """Raise a `StorageError` unless files can be published below a folder, or where it is to be made.

    Returns the folder that was tried: this one, or the nearest above it that exists. Leaves nothing behind.
    """
    with explained(folder, "look at"):
        there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    scratch = Folder(there / f".probe-{uuid.uuid4().hex}")
    try:
        scratch.prepare((STAGING,))
        scratch.publish("probe", b"probe")
    finally:
        shutil.rmtree(scratch.path, ignore_errors=True)
    return there


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
