"""A store in a folder: create-only, durable file operations; the only module that touches the file system of a store.

A file is written and synced in `.staging/`, read back, linked to its name if that name is free, and its folder is
synced. Every change to the disk is one call of `os`, so that tests can replay each prefix of them.

A store may come from a stranger, so no link in it is followed, and nothing is read that is not a plain file.
"""

import contextlib
import errno
import hashlib
import io
import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from jepa_sweep.errors import IntegrityError, StorageError
from jepa_sweep.store.location import DAMAGED, MOST_BYTES, REPAIR, STAGING, Missing, TooLarge, check_name
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
KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
AT_ONCE = 1 << 20  # bytes that are read at a time where a file is not held in memory
GUARDED = os.O_NOFOLLOW | os.O_NONBLOCK  # no link is followed, and nobody waited for at the other end of a pipe


@contextlib.contextmanager
def explained(path: Path | str, action: str, remedies: Mapping[int, str] = REMEDIES) -> Iterator[None]:
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
        self._before = os.path.join(path, "")  # what names are put after: of thousands, `Path` would take its time

    def where(self, name: str) -> str:
        return self._before + name

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        with self._opened(name, most) as source:
            return source.read()

    def read_end(self, name: str, count: int) -> bytes:
        with self._opened(name) as source:
            source.seek(max(0, source.seek(0, os.SEEK_END) - count))
            return source.read()

    def digest(self, name: str, most: int) -> str:
        digest = hashlib.sha256()
        with self._opened(name, most) as source:
            while piece := source.read(AT_ONCE):
                digest.update(piece)
        return digest.hexdigest()

    def exists(self, name: str) -> bool:
        with explained(self.where(name), "look at"):
            return _mode(self._place(name)) is not None

    def names(self, folder: str, suffix: str = "") -> list[str]:
        with explained(self.where(folder), "list"):
            path = self._place(folder)
            _check("folder", path)
            try:
                return sorted(entry.name for entry in os.scandir(path) if entry.name.endswith(suffix))
            except FileNotFoundError:
                return []

    def walk(self) -> list[str]:
        found, folders = list[str](), [""]
        with explained(self.path, "list"):
            while folders:
                within = folders.pop()
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    for entry in os.scandir(self.path / within):
                        name = f"{within}{entry.name}"
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(f"{name}/")
                        else:
                            found.append(name)
        return sorted(found)

    def misplaced(self, folders: Sequence[str]) -> dict[str, str]:
        found = {}
        for name in folders:
            with explained(self.where(name), "look at"):
                try:
                    _check("folder", self.where(name))
                except IntegrityError as error:
                    found[name] = str(error)
        return found

    @contextlib.contextmanager
    def _opened(self, name: str, most: int | None = None) -> Iterator[io.FileIO]:
        """A plain file of at most so many bytes."""
        path = self.where(name)
        with explained(path, "read"):
            self._place(name)
            try:
                descriptor = os.open(path, os.O_RDONLY | GUARDED)
            except FileNotFoundError:
                raise Missing(f"There must be a file {path}, but it is missing.") from None
            except OSError:
                _check("file", path)  # what a link or a socket is refused with differs between systems
                raise
            try:
                facts = os.fstat(descriptor)
                _check("file", path, facts.st_mode)
                if most is not None and facts.st_size > most:
                    raise TooLarge(
                        f"{path} is damaged: it must have at most {most:,} bytes, but it has {facts.st_size:,}; "
                        f"{REPAIR}."
                    )
                yield io.FileIO(descriptor, closefd=False)
            finally:
                os.close(descriptor)

    def _place(self, name: str) -> str:
        """The path of a file or folder of the store; raises `IntegrityError` if it would lead out of it."""
        check_name(name, self.path)
        folder, _, _ = name.rpartition("/")
        if folder:
            _check("folder", self.where(folder))
        return self.where(name)

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
                    os.mkdir(self.where(name))
                _check("folder", self.where(name))
            # Whoever made a folder may have died before syncing its parent.
            _sync(self.path)
            with contextlib.suppress(PermissionError):  # of a parent that may be entered but not read
                _sync(self.path.parent)

    def publish(self, name: str, data: bytes) -> bool:
        with explained(self.where(name), "write"):
            target = self._place(name)
            # The process stands in the name so that a later run can tell which leftovers nobody is writing any more.
            staged = self._place(f"{STAGING}/{process(os.getpid())}-{uuid.uuid4().hex}.part")
            try:
                _write(staged, data)
                if Path(staged).read_bytes() != data:
                    raise StorageError(f"Could not write {target}: it did not read back as written; check the disk.")
                try:
                    os.link(staged, target)
                    return True
                except FileExistsError:
                    return False
                finally:
                    # Also where another writer has linked the name: it may have died before syncing the folder.
                    _sync(os.path.dirname(target))
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(staged)

    def set_aside(self, name: str) -> None:
        aside = f"{name.replace('/', '-')}.{uuid.uuid4().hex[:8]}.damaged"
        with explained(self.where(name), "set aside"):
            source = self._place(name)
            if _mode(source) is None:
                return
            if name != DAMAGED:  # else it is what is in place of that folder, and stays beside it
                self.prepare((DAMAGED,))
                aside = f"{DAMAGED}/{aside}"
            os.rename(source, self.where(aside))
            _sync(os.path.dirname(source))

    def mark(self, name: str) -> None:
        with explained(self.where(name), "write"):
            os.close(os.open(self._place(name), os.O_WRONLY | os.O_CREAT | GUARDED, 0o666))

    def unmark(self, name: str) -> None:
        with contextlib.suppress(OSError, IntegrityError):  # a file that stays only wastes space, or work of others
            os.unlink(self._place(name))


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


def _mode(path: str) -> int | None:
    """What something is, links not followed; None if there is nothing."""
    try:
        return os.lstat(path).st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    except ValueError:  # a null character in the path of the run
        return None


def _check(wanted: str, path: str, mode: int | None = None) -> None:
    """Raise an `IntegrityError` if something else than "a file" or "a folder" is there; `mode` says what, if known."""
    mode = _mode(path) if mode is None else mode
    if mode is not None and (kind := KINDS.get(stat.S_IFMT(mode), "something else")) != f"a {wanted}":
        raise IntegrityError(f"{path} is damaged: it must be a {wanted} of the run itself, but it is {kind}; {REPAIR}.")


def _write(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(folder: Path | str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
