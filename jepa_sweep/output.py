"""Writing what is made of a run: a file or folder whole or not at all, with a message where the file system refuses."""

import contextlib
import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from jepa_sweep.checks import check_path
from jepa_sweep.errors import SpecError
from jepa_sweep.store.folder import REMEDIES, explained

_REMEDIES = {code: remedy.removesuffix(" with --out") for code, remedy in REMEDIES.items()} | {  # `init` has no --out
    errno.ENOENT: "there is no such folder; create it, or choose another",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another",
    errno.EISDIR: "it is a folder; add the name of a file",
    errno.EEXIST: "a file stands where the folder should be; choose another",
}
_PAUSES_S = (0.0, 0.1, 0.4)  # before removing what failed: threads of a library may still be writing it


def place(path: str | Path) -> Path:
    """Where to write what a user wants at a path; raises `SpecError` if it cannot be one."""
    check_path(path)
    return Path(path)


def create_folder(path: Path) -> None:
    """Create a folder to write to, if it is not there."""
    with explained(path, "write", _REMEDIES):
        path.mkdir(parents=True, exist_ok=True)


def write(path: Path, data: bytes) -> Path:
    """Write a file beside its place, then move it there; what stood there is replaced.

    Raises:
        StorageError: the file system refuses; what stood there is still there.
    """
    part = _beside(path)
    with explained(path, "write", _REMEDIES):
        try:
            with part.open("xb") as sink:
                sink.write(data)
                sink.flush()
                os.fsync(sink.fileno())
            os.replace(part, path)
        finally:
            with contextlib.suppress(OSError):
                part.unlink()
    return path


@contextlib.contextmanager
def new(path: Path) -> Iterator[Path]:
    """Where to write a new file or folder, which is moved to `path` at the end, or removed if the end is not reached.

    Raises:
        SpecError: something stands at `path`.
        StorageError: the file system refuses.
    """
    part = _beside(path)
    with explained(path, "write", _REMEDIES):
        refuse_taken(path)
        part.mkdir()  # a folder, so that what a library leaves beside its file is removed, too
        try:
            yield part / path.name
            _sync(part)
            refuse_taken(path)
            os.rename(part / path.name, path)
        except BaseException:
            for pause in _PAUSES_S:
                time.sleep(pause)
                shutil.rmtree(part, ignore_errors=True)
            raise
        shutil.rmtree(part, ignore_errors=True)


def refuse_taken(path: Path) -> None:
    """Raise a `SpecError` if something stands at a path."""
    if os.path.lexists(path):
        raise taken(path)


def taken(path: Path | str) -> SpecError:
    """That something stands where a new file or folder should."""
    return SpecError(
        f"{path} must not be there yet, because nothing is overwritten, but it is; move it away, or choose another "
        "place with --out."
    )


def _beside(path: Path) -> Path:
    return path.parent / f".{path.name[:100]}-{uuid.uuid4().hex}.part"


def _sync(folder: Path) -> None:
    """Make all files of a folder durable."""
    for where, _, names in os.walk(folder):
        for name in names:
            with Path(where, name).open("rb") as file:
                os.fsync(file.fileno())
