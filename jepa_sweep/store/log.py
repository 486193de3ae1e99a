"""Who claimed and committed what in a store, and who is at work on it.

A writer claims a chunk by creating `claims/<c>.json` under the next free number `c`. The numbers are a total
order: whoever finds a number taken reads what the other writer claimed, leaves those points out, and tries the next
one. So every point stands in `points` at most once, without locks, whoever else writes.

Writers also leave marks of what they are computing. They are hints that keep writers out of each other's way: nothing
is wrong if one is missing, late, or left behind.
"""

import contextlib
import functools
from collections.abc import Collection, Iterable
from typing import NamedTuple

from jepa_sweep.errors import JepaSweepError
from jepa_sweep.store import records
from jepa_sweep.store.location import WORKING, Location
from jepa_sweep.store.records import Claim, Commit, Stretches
from jepa_sweep.store.table import Part, side_by_side
from jepa_sweep.store.writers import gone


class Mark(NamedTuple):
    """What a writer is computing: indices [start, stop) of a spec."""

    writer: str
    spec: str  # the first characters of its digest
    start: int
    stop: int


class Log:
    """The claims, commit records and marks of one store."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._commits: dict[str, Commit] = {}
        self._claims: dict[str, Claim] = {}

    def commits(self) -> list[Commit]:
        """All commit records, oldest first, each checked against its own hash."""
        names = records.numbered(self._location.names("commits", ".json"))
        new = [name for name in names if name not in self._commits]
        self._commits.update(zip(new, side_by_side(lambda n: records.commit_of(self._location, n), new), strict=True))
        return [self._commits[name] for name in names]

    def claims(self) -> dict[str, Claim]:
        """Number -> claim of every chunk that is here, committed or not."""
        self._claims.update({commit.number: commit.claim for commit in self.commits()})
        names = records.numbered(self._location.names("claims", ".json"))
        new = [number for number in (n.removesuffix(".json") for n in names) if number not in self._claims]
        found = side_by_side(functools.partial(records.claim_at, self._location), new)
        self._claims.update(zip(new, found, strict=True))
        return dict(self._claims)

    def claim_of(self, number: str) -> Claim | None:
        """The claim of one chunk, from its commit record or its own; None if neither can be read."""
        with contextlib.suppress(JepaSweepError):
            return records.commit_of(self._location, f"{number}.json").claim
        with contextlib.suppress(JepaSweepError):
            return records.claim_at(self._location, number)
        return None

    def pending(self) -> dict[str, Claim]:
        """Claims without a commit record: their writer is still at it, or has died."""
        claims, committed = self.claims(), {commit.number for commit in self.commits()}
        return {number: claim for number, claim in claims.items() if number not in committed}

    def parts(self, name: str) -> list[Part]:
        """The committed files of one table, without rows of failures that were computed again since."""
        commits = self.commits()
        without = _retried(commit.claim for commit in commits) if name == "failures" else {}
        files = (file for commit in commits for file in commit.files if file.table == name)
        return [Part(file, without.get(file.path, ())) for file in files]

    def failed(self, number: str, claims: Iterable[Claim]) -> Part | None:
        """The failures of one chunk, without those that are computed again according to these claims."""
        without, path = _retried(claims), f"failures/{number}.parquet"
        found = [f for commit in self.commits() for f in commit.files if f.path == path]
        return Part(found[0], without.get(path, ())) if found else None

    # --- writers at work ------------------------------------------------------------------------------------------

    def announce(self, mark: Mark) -> None:
        """Tell other writers what this one is computing."""
        self._location.mark(_file_of(mark))

    def withdraw(self, mark: Mark) -> None:
        """Tell them that it is done."""
        self._location.unmark(_file_of(mark))

    def forget(self, writers: Collection[str]) -> None:
        """Withdraw whatever these writers, which have ended, said that they were computing."""
        for mark in _marks(self._location.names(WORKING)):
            if mark.writer in writers:
                self.withdraw(mark)

    def announced(self) -> list[Mark]:
        """What all writers say they are computing, but for those known to be gone."""
        return [mark for mark in _marks(self._location.names(WORKING)) if not gone(mark.writer)]


def _retried(claims: Iterable[Claim]) -> dict[str, Stretches]:
    """Path of a file of failures -> its rows that were computed again."""
    found: dict[str, list[tuple[int, int]]] = {}
    for claim in claims:
        for number, rows in claim.retried:
            found.setdefault(f"failures/{number}.parquet", []).extend(rows)
    return {path: tuple(sorted(rows)) for path, rows in found.items()}


def _file_of(mark: Mark) -> str:
    return f"{WORKING}/{mark.writer}.{mark.spec}.{mark.start}-{mark.stop}"


def _marks(names: list[str]) -> Iterable[Mark]:
    for name in names:
        parts = name.split(".")
        if len(parts) == 3 and all(n.isdigit() for n in parts[2].split("-")) and parts[2].count("-") == 1:
            start, stop = parts[2].split("-")
            yield Mark(parts[0], parts[1], int(start), int(stop))
