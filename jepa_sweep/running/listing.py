"""The runs below a folder, and how far each is. No table is read, and no file of a user's own system is run."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from jepa_sweep.checks import check_path
from jepa_sweep.errors import JepaSweepError, SpecError, StorageError
from jepa_sweep.running.standing import Records, counted
from jepa_sweep.store import locate
from jepa_sweep.store.location import MARK
from jepa_sweep.store.reader import Reader
from jepa_sweep.systems.registry import BUILT_IN


def below(folder: str) -> Iterator[str]:
    """Every run below a folder or a place in a bucket, or that itself if it is one, in the order of their names.

    Raises:
        SpecError: there is no such folder.
        StorageError: it cannot be listed; folders in it that cannot be are passed over.
    """
    check_path(folder)
    if "://" in folder:
        root = folder.rstrip("/")
        found = (name for name in locate.at(root).walk() if name.rpartition("/")[2] == MARK)
        yield from (f"{root}/{name}".removesuffix(f"/{MARK}") for name in found)
        return
    if not os.path.isdir(folder):
        raise SpecError(f"Runs are listed below a folder, but there is no folder {folder}; check the path.")
    places = [folder]
    while places:  # `os.walk` calls itself, and gives up on folders that lie too deep in each other
        place = places.pop()
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            if place == folder:
                reason = f"{error.strerror}; see that you may read it"
                raise StorageError(f"Runs are listed below a folder, but {folder} cannot be read: {reason}.") from None
            continue
        with contextlib.suppress(OSError):
            if any(entry.name == MARK and not entry.is_dir(follow_symlinks=False) for entry in entries):
                yield place  # no run lies in another
            else:
                places += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]


def listed(path: str) -> dict[str, Any]:
    """What one run holds, in a few numbers; `error` says why they are not known, None elsewhere.

    How many points a user's own system was asked for is known to its file alone, so `asked` and `complete` are None.
    """
    found: dict[str, Any] = dict.fromkeys(("system", "done", "asked", "complete", "failed", "bytes", "last_commit"))
    found = {"run": path, **found, "working": 0, "error": None}
    try:
        store = Reader(path)
        found["system"] = store.frozen["system"]
        if store.frozen["system"] in BUILT_IN:
            now = Records(store).look()
            facts = now.facts() | {"working": len(now.working)}
        else:
            commits = store.log.commits()
            done, failed = counted(commits)
            facts = {"done": done, "failed": failed, "bytes": sum(commit.bytes for commit in commits)}
            facts |= {"last_commit": commits[-1].created if commits else None}
    except (JepaSweepError, KeyError, TypeError) as error:  # the last two of a store.json of another program
        return found | {"error": str(error) or f"its {MARK} says too little"}
    return found | {name: facts[name] for name in found.keys() & facts.keys()}
