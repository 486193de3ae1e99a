"""What a store asks of the folder or bucket it lies in.

Files are named from the store's own root, with forward slashes. A file appears under its name whole and durable or
not at all, and is never overwritten.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from jepa_sweep.errors import IntegrityError, StorageError

MARK = "store.json"  # what makes a folder a run
STAGING = ".staging"  # half-written files
WORKING = ".working"  # marks of what is being computed: hints to other writers, on which nothing depends
DAMAGED = ".damaged"  # what was set aside
FOLDERS = ("specs", "claims", "commits", "environment", STAGING, WORKING)  # of a store, beside one for each table

REPAIR = "run `jepa-sweep repair`"  # what damage is mended by, in messages
MOST_BYTES = 1 << 28  # of a record or a note


class Missing(StorageError):
    """There is no file of this name."""


class TooLarge(IntegrityError):
    """A file has more bytes than it may have."""


def check_name(name: str, where: Path | str) -> None:
    """Raise an `IntegrityError` unless a name stays within a store: a file, a folder, or a file in a folder."""
    parts = name.split("/")
    if len(parts) > 2 or "\0" in name or not {"", ".", ".."}.isdisjoint(parts):
        raise IntegrityError(
            f"A file of {where} must be named like points/000001.parquet, but {name[:100]!r} was asked for; do not use "
            "this run."
        )


class Location(Protocol):
    """A folder or a bucket. A method that the file system or the service refuses raises a `StorageError`.

    Nothing outside of it is read, written or moved, whatever lies in it: names cannot lead out of it (`check_name`),
    and what is no plain file in a real folder, like a link, is an `IntegrityError`. Only its root may be a link.
    """

    @property
    def path(self) -> Path | str:
        """As the user gave it; text for a bucket."""
        ...

    def where(self, name: str) -> str:
        """A file's full name, for messages."""
        ...

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        """All bytes of a file; raises `Missing` if there is none, and `TooLarge` if it has more than `most`."""
        ...

    def read_end(self, name: str, count: int) -> bytes:
        """The last `count` bytes of a file, or all if it has fewer; raises `Missing` if there is none."""
        ...

    def digest(self, name: str, most: int) -> str:
        """The SHA-256 of a file, which is not held in memory; raises as `read` does."""
        ...

    def exists(self, name: str) -> bool:
        """True if there is something of this name, be it a link that leads nowhere."""
        ...

    def names(self, folder: str, suffix: str = "") -> list[str]:
        """Sorted names of the files in a folder that end in `suffix`; empty if there is no such folder."""
        ...

    def walk(self) -> list[str]:
        """Sorted names of all there is but folders, at any depth."""
        ...

    def misplaced(self, folders: Sequence[str]) -> dict[str, str]:
        """Those of some folders in whose place something else is, like a link to another folder: what is wrong."""
        ...

    def prepare(self, folders: tuple[str, ...]) -> None:
        """Create the root and its folders where they are missing, durably."""
        ...

    def publish(self, name: str, data: bytes) -> bool:
        """Create a file, whole and durable; False, and nothing done, if the name is taken. Durable in both cases."""
        ...

    def set_aside(self, name: str) -> None:
        """Move what has this name, whatever it is, to the folder of damaged files; nothing is done if nothing has."""
        ...

    def mark(self, name: str) -> None:
        """Create an empty file; it need not be durable."""
        ...

    def unmark(self, name: str) -> None:
        """Remove a file; best effort, as nothing depends on files that are removed."""
        ...
