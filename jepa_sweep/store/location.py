"""What a store asks of the folder or bucket it lies in.

Files are named from the store's own root, with forward slashes. A file appears under its name whole and durable or
not at all, and is never overwritten.
"""

from pathlib import Path
from typing import Protocol

from jepa_sweep.errors import StorageError

MARK = "store.json"  # what makes a folder a run
STAGING = ".staging"  # half-written files
WORKING = ".working"  # marks of what is being computed: hints to other writers, on which nothing depends
DAMAGED = ".damaged"  # what was set aside


class Missing(StorageError):
    """There is no file of this name."""


class Location(Protocol):
    """A folder or a bucket. A method that the file system or the service refuses raises a `StorageError`."""

    @property
    def path(self) -> Path | str:
        """As the user gave it; text for a bucket."""
        ...

    def where(self, name: str) -> str:
        """A file's full name, for messages."""
        ...

    def read(self, name: str) -> bytes:
        """All bytes of a file; raises `Missing` if there is none."""
        ...

    def read_end(self, name: str, count: int) -> bytes:
        """The last `count` bytes of a file, or all if it has fewer; raises `Missing` if there is none."""
        ...

    def exists(self, name: str) -> bool:
        """True if there is such a file."""
        ...

    def names(self, folder: str, suffix: str = "") -> list[str]:
        """Sorted names of the files in a folder that end in `suffix`; empty if there is no such folder."""
        ...

    def walk(self) -> list[str]:
        """Sorted names of all files, at any depth."""
        ...

    def prepare(self, folders: tuple[str, ...]) -> None:
        """Create the root and its folders where they are missing, durably."""
        ...

    def publish(self, name: str, data: bytes) -> bool:
        """Create a file, whole and durable; False, and nothing done, if the name is taken. Durable in both cases."""
        ...

    def set_aside(self, name: str) -> None:
        """Move a file, if it is there, to the folder of damaged files."""
        ...

    def mark(self, name: str) -> None:
        """Create an empty file; it need not be durable."""
        ...

    def unmark(self, name: str) -> None:
        """Remove a file; best effort, as nothing depends on files that are removed."""
        ...
