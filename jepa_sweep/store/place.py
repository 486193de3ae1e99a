"""Where a store lies, and what it asks of that place: a folder of a file system, or a bucket.

Files are named from the store's own root, with forward slashes. A file appears under its name whole and durable or
not at all, and is never overwritten.
"""

import functools
import hashlib
import os
import re
import socket
import uuid
from pathlib import Path
from typing import Protocol

from jepa_sweep.errors import StorageError

STAGING = ".staging"  # half-written files
WORKING = ".working"  # what is being computed: hints to other writers, on which nothing depends
DAMAGED = ".damaged"  # what was set aside


class Missing(StorageError):
    """There is no file of this name."""


class Place(Protocol):
    """A folder or a bucket. Every method raises a `StorageError` that says what to do if the place refuses."""

    @property
    def path(self) -> Path | str:
        """As the user gave it."""
        ...

    @property
    def title(self) -> str:
        """The last part of the path."""
        ...

    def where(self, name: str) -> str:
        """A file's full name, for messages."""
        ...

    def read(self, name: str) -> bytes:
        """All bytes of a file; raises `Missing` if there is none."""
        ...

    def read_end(self, name: str, count: int) -> bytes:
        """Its last `count` bytes, or all if it has fewer."""
        ...

    def exists(self, name: str) -> bool:
        """True if there is such a file."""
        ...

    def names(self, folder: str, suffix: str = "") -> list[str]:
        """Sorted names of the files in a folder that end in `suffix`; empty if there is no such folder."""
        ...

    def walk(self) -> list[str]:
        """Sorted names of all files there are, at any depth."""
        ...

    def prepare(self, folders: tuple[str, ...]) -> None:
        """Create the root and its folders where they are missing, durably."""
        ...

    def publish(self, name: str, data: bytes) -> bool:
        """Create a file, whole and durable; False, and nothing done, if the name is taken. Durable in both cases."""
        ...

    def set_aside(self, name: str) -> None:
        """Move a file, if it is there, out of the tables, under a name that no reader picks up."""
        ...

    def mark(self, name: str) -> None:
        """Leave an empty file that others may look at; it need not be durable."""
        ...

    def unmark(self, name: str) -> None:
        """Take it away again."""
        ...

    def clear_leftovers(self) -> None:
        """Remove what writers that no longer run have left in staging, and their marks."""
        ...


def at(path: str | Path) -> Place:
    """The place of this path: `s3://...`, `gs://...` and `memory://...` are buckets, all else is a folder.

    Raises:
        SpecError: the kind of bucket is unknown, or the extra for buckets is not installed.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", str(path)):
        from jepa_sweep.store.objects import Bucket  # not at the top: it needs an extra

        return Bucket(str(path))
    from jepa_sweep.store.files import Folder

    return Folder(Path(path))


# --- writers ----------------------------------------------------------------------------------------------------------


_enlisted: set[str] = set()  # the writers of this process


def enlist() -> str:
    """A new writer of this process, in a name that no other has: host, process, and a token of its own."""
    host = re.sub(r"[^A-Za-z0-9_]", "_", socket.gethostname())
    name = f"{host}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
    _enlisted.add(name)
    return name


def dismiss(name: str) -> None:
    """This writer will not write again."""
    _enlisted.discard(name)


@functools.lru_cache(maxsize=8)
def process(pid: int) -> str:
    """The name of what this process writes on its way to a name of its own."""
    assert pid == os.getpid(), "a process speaks for itself"
    return enlist()


def gone(name: str) -> bool:
    """True if the writer of this name ran on this machine and does no longer; of other machines nothing is known."""
    match = re.match(r"((\w+)-(\d+)-[0-9a-f]{12})", name)
    if not match or match[2] != process(os.getpid()).split("-")[0]:
        return False
    if int(match[3]) == os.getpid():  # of this process, or of one before it that had its number
        return match[1] not in _enlisted
    try:
        os.kill(int(match[3]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def sha256(data: bytes) -> str:
    """The hash that commit records carry."""
    return hashlib.sha256(data).hexdigest()
