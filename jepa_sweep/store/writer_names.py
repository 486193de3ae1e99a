"""The names of those who write to stores, by which others can tell what the dead have left behind."""

import functools
import os
import re
import socket
import uuid

from jepa_sweep.store.location import STAGING, WORKING, Location

_enlisted: set[str] = set()  # the writers of this process


def enlist() -> str:
    """The unique name of a new writer in this process: host, process id and a random token."""
    host = re.sub(r"[^A-Za-z0-9_]", "_", socket.gethostname())
    name = f"{host}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
    _enlisted.add(name)
    return name


def dismiss(name: str) -> None:
    """Count a writer of this process as gone: it will not write again."""
    _enlisted.discard(name)


@functools.lru_cache(maxsize=8)
def process(pid: int) -> str:
    """The name of this process for its temporary files; its id only keys the cache, which a fork inherits."""
    assert pid == os.getpid(), "the id must be that of this process"
    return enlist()


def gone(name: str) -> bool:
    """True if the writer of this name has ended; False for those of other machines, of which nothing is known."""
    match = re.match(r"((\w+)-([0-9]{1,10})-[0-9a-f]{12})", name)
    if not match or match[2] != process(os.getpid()).split("-")[0]:
        return False
    if int(match[3]) == os.getpid():  # of this process, or of an earlier one with the same id
        return match[1] not in _enlisted
    try:
        os.kill(int(match[3]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def clear_leftovers(location: Location) -> None:
    """Remove what writers that are gone have left half-written, and their marks."""
    for folder in (STAGING, WORKING):
        for name in location.names(folder):
            if gone(name):
                location.unmark(f"{folder}/{name}")
