"""Who claimed and committed what in a store, and who is at work on it.

A writer claims a chunk by creating `claims/<c>.json` under the next free number `c`. The numbers are a total
order: a writer that finds a number taken reads what the other one claimed, leaves those points out, and tries the next
number. So every point is stored at most once, without locks, whoever else writes.

Writers also leave marks of what they are computing, so that others take something else. Nothing is wrong if a mark is
missing, late, or left behind.
"""

import contextlib
import functools
import re
import threading
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple, TypeVar

from jepa_sweep.errors import JepaSweepError
from jepa_sweep.store import records
from jepa_sweep.store.location import WORKING, Location
from jepa_sweep.store.records import Claim, Commit
from jepa_sweep.store.table import side_by_side
from jepa_sweep.store.writer_names import gone

T = TypeVar("T")


class Mark(NamedTuple):
    """What a writer is computing: indices [start, stop) of a spec."""

    writer: str
    spec: str  # the first characters of its SHA-256
    start: int
    stop: int

    @classmethod
    def of(cls, claim: Claim) -> "Mark":
        """The mark of a writer that is computing the points of a claim."""
        return cls(claim.writer, claim.spec[:8], claim.start, claim.stop)


class Log:
    """The claims, commit records and marks of a store. Records never change, so each is read once.

    Several threads may use it at once.
    """

    def __init__(self, location: Location, tables: Collection[str]) -> None:
        """`tables` are the names of those of the store."""
        self._location = location
        self._commit_of = functools.partial(records.commit_of, tables=tables)
        self._commits: dict[str, Commit] = {}
        self._claims: dict[str, Claim] = {}
        self._looking = threading.RLock()

    def commits(self) -> list[Commit]:
        """All commit records, oldest first, each checked against its own hash."""
        with self._looking:
            return [self._commits[number] for number in self._look("commits", self._commit_of, self._commits)]

    def claims(self) -> dict[str, Claim]:
        """Number -> claim of every chunk that is here, committed or not."""
        with self._looking:
            self._claims.update({commit.number: commit.claim for commit in self.commits()})
            self._look("claims", records.claim_of, self._claims)
            return dict(self._claims)

    def _look(self, folder: str, read: Callable[[Location, str], T], known: dict[str, T]) -> list[str]:
        """The numbers of the records in a folder, of which those not known yet are read."""
        numbers = records.numbers(self._location, folder)
        new = [number for number in numbers if number not in known]
        known.update(zip(new, side_by_side(lambda number: read(self._location, number), new), strict=True))
        return numbers

    def claim_of(self, number: str) -> Claim | None:
        """The claim of one chunk, from its commit record or its own file; None if neither can be read."""
        with contextlib.suppress(JepaSweepError):
            return self._commit_of(self._location, number).claim
        with contextlib.suppress(JepaSweepError):
            return records.claim_of(self._location, number)
        return None

    def pending(self) -> dict[str, Claim]:
        """Claims without a commit record: their writer is still at it, or has died."""
        claims, committed = self.claims(), {commit.number for commit in self.commits()}
        return {number: claim for number, claim in claims.items() if number not in committed}

    def hold(self, number: str, claim: Claim) -> bool:
        """Make a claim durable; False, and nothing done, if another writer has claimed that number.

        No file of the chunk may be published before: a power failure could take the claim away, and leave the file to
        whoever claims that number next, for other points.
        """
        made = self._location.publish(f"claims/{number}.json", records.sealed({"number": number, **claim._asdict()}))
        if made:
            with self._looking:
                self._claims[number] = claim
        return made

    def drop(self, number: str) -> None:
        """Forget what was read of a chunk whose files are set aside."""
        with self._looking:
            self._commits.pop(number, None)
            self._claims.pop(number, None)

    # --- writers at work ----------------------------------------------------------------------------------------------

    def announce(self, mark: Mark) -> None:
        """Tell other writers what this one is computing."""
        self._location.mark(_name_of(mark))

    def withdraw(self, mark: Mark) -> None:
        """Tell them that it is done."""
        self._location.unmark(_name_of(mark))

    def forget(self, writers: Collection[str]) -> None:
        """Withdraw the marks of some writers, which have ended."""
        for mark in self._marks():
            if mark.writer in writers:
                self.withdraw(mark)

    def announced(self) -> list[Mark]:
        """What all writers are computing, but for those known to be gone."""
        return [mark for mark in self._marks() if not gone(mark.writer)]

    def _marks(self) -> Iterator[Mark]:
        for name in self._location.names(WORKING):
            if match := re.fullmatch(r"([^.]+)\.([^.]+)\.(\d+)-(\d+)", name):
                yield Mark(match[1], match[2], int(match[3]), int(match[4]))


def _name_of(mark: Mark) -> str:
    return f"{WORKING}/{mark.writer}.{mark.spec}.{mark.start}-{mark.stop}"
