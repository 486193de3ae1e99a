"""A disk that records its calls, can refuse any of them, and tells what a power failure would leave."""

import contextlib
import copy
import errno
import itertools
import os
import threading
from collections.abc import Collection, Iterator
from pathlib import Path

from jepa_sweep.store.location import STAGING, WORKING

CALLS = ("open", "write", "fsync", "close", "link", "unlink", "mkdir", "rename")


class Disk:
    """Calls of `os` below a root, and what of them would survive a power failure.

    What a call has done to files is durable once the file itself is synced; what it has done to names, once their
    folder is.
    """

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.calls = 0
        self.last = ""  # of them
        self.names: dict[str, list] = {}  # path -> [content, how much of it is synced]; None for a folder
        self.durable: dict[str, list] = {}  # the same, as far as folders were synced
        self._open: dict[int, str] = {}
        self._one_by_one = threading.RLock()

    @contextlib.contextmanager
    def watching(self, patch, fail_at=None, fault=None, seen=None):
        """Watch `os` for a while; from call number `fail_at` on, `fault` decides what becomes of it.

        A list `seen` is given what is there before each call: what a process would leave that is killed there.
        """
        real = {name: getattr(os, name) for name in CALLS}

        def watched(name):
            def call(*args, **options):
                if not self._ours(name, args):
                    return real[name](*args, **options)
                with self._one_by_one:  # a chunk is written while the next is computed, by two threads
                    self.calls += 1
                    if seen is not None:
                        seen.append(self.left())
                    if fail_at is not None and self.calls >= fail_at:
                        fault(name, args, real)
                    # What is durable is decided here, so the real disk need not be waited for.
                    result = None if name == "fsync" else real[name](*args, **options)
                    self._note(name, args, result)
                    return result

            return call

        with patch.context() as context:
            for name in CALLS:
                context.setattr(os, name, watched(name))
            yield self

    def _ours(self, name, args):
        if name in ("write", "fsync", "close"):
            return args[0] in self._open
        if (
            name == "open" and not args[1] & os.O_CREAT and not os.path.isdir(args[0])
        ):  # to be read, which changes nothing
            return False
        return str(args[0]).startswith(self.root)

    def _note(self, name, args, result):
        self.last = name
        path = self._open.get(args[0], "") if isinstance(args[0], int) else str(args[0])
        if name == "open":
            self._open[result] = path
            if args[1] & os.O_CREAT and path not in self.names:
                self.names[path] = [b"", 0]
        elif name == "write":
            self.names[path][0] += bytes(args[1][:result])
        elif name == "fsync" and os.path.isdir(path):
            below = {p for p in (*self.names, *self.durable) if os.path.dirname(p) == path}
            for p in below:
                if p in self.names:
                    self.durable[p] = self.names[p]
                else:
                    self.durable.pop(p, None)
        elif name == "fsync":
            self.names[path][1] = len(self.names[path][0])
        elif name == "close":
            del self._open[args[0]]
        elif name == "link":
            self.names[str(args[1])] = self.names[path]
        elif name == "rename":
            self.names[str(args[1])] = self.names.pop(path)
        elif name == "unlink":
            self.names.pop(path, None)
        elif name == "mkdir":
            self.names[path] = None

    # --- what is left after a death, or a power failure ---------------------------------------------------------------

    def left(self) -> "Disk":
        """A copy of this disk, with nothing open."""
        other = Disk(Path(self.root))
        other.last = self.last
        other.names, other.durable = copy.deepcopy((self.names, self.durable))
        return other

    def after_power_failure(self) -> Iterator[dict[str, bytes | None]]:
        """Each state that a power failure may leave: any of the folders loses the names it was not synced with."""
        folders = sorted({os.path.dirname(path) for path in {*self.names, *self.durable}} - self._hints())
        unsynced = [f for f in folders if self._within(self.names, f) != self._within(self.durable, f)]
        for count in range(len(unsynced) + 1):
            for taken in itertools.combinations(unsynced, count):
                yield self.after("names", {*taken, *self._hints()})

    def _hints(self) -> set[str]:
        """Folders that are never synced, as nothing depends on them."""
        return {os.path.join(self.root, name) for name in (STAGING, WORKING)}

    def _within(self, names, folder):
        return {path: id(file) for path, file in names.items() if os.path.dirname(path) == folder}

    def after(self, loss: str, folders: Collection[str] | None = None) -> dict[str, bytes | None]:
        """Relative path -> content, None for a folder. `loss` is what the power failure takes:

        nothing: only the process died. names: every name whose folder was not synced, or only those in `folders`, and
        all unsynced data. data: names are there, but files that were not synced are empty.
        """
        kept = self.durable if loss == "names" else self.names
        if folders is not None:
            kept = {path: file for path, file in self.names.items() if os.path.dirname(path) not in folders}
            kept |= {path: file for path, file in self.durable.items() if os.path.dirname(path) in folders}
        found = {}
        for path, file in sorted(kept.items()):
            if path != self.root and not self._reachable(path, kept):
                continue
            content = None if file is None else file[0] if loss == "nothing" else file[0][: file[1]]
            found[os.path.relpath(path, self.root)] = content
        return found

    def _reachable(self, path, kept):
        parent = os.path.dirname(path)
        return parent == self.root or (parent in kept and self._reachable(parent, kept))


def lay_out(found: dict[str, bytes | None], root: Path) -> Path:
    """A directory with these files."""
    root.mkdir()
    for path, content in found.items():
        if content is None:
            (root / path).mkdir(exist_ok=True)
        else:
            (root / path).write_bytes(content)
    return root


def refuses(*names):
    """A disk that is full, for calls of these names."""

    def fault(name, args, real):
        if name not in names or (name == "open" and not args[1] & os.O_CREAT):
            return
        if name == "close":
            real["close"](*args)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return fault
