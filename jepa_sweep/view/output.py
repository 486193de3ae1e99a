"""Writing pictures and pages: each file whole or not at all, with a message where the file system refuses."""

import contextlib
import errno
import os
import uuid
from pathlib import Path

from jepa_sweep.store.folder import REMEDIES, explained

_REMEDIES = REMEDIES | {
    errno.ENOENT: "there is no such folder; create it, or choose another with --out",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another with --out",
    errno.EISDIR: "it is a folder; add the name of a file",
    errno.EEXIST: "a file stands where the folder should be; choose another with --out",
}


def create_folder(path: Path) -> None:
    """Create a folder to write to, if it is not there."""
    with explained(path, "write", _REMEDIES):
        path.mkdir(parents=True, exist_ok=True)


def write(path: Path, data: bytes) -> Path:
    """Write a file beside its place, then move it there; what stood there is replaced.

    Raises:
        StorageError: the file system refuses; what stood there is still there.
    """
    part = path.parent / f".{path.name[:100]}-{uuid.uuid4().hex}.part"
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
