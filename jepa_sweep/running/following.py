"""Following a run that others compute: where it stands again and again, from its store alone."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from jepa_sweep.running.standing import Records, Standing
from jepa_sweep.store.reader import Reader

RECENT_S = 120.0  # over which the rate is taken
REST = 10  # a look is followed by a rest of so many times its length: others share the file system


class Followed(NamedTuple):
    """What was seen at one look."""

    standing: Standing
    points_per_second: float | None  # None where nothing says how fast it goes

    @property
    def seconds_left(self) -> float | None:
        """At this rate; None where that is unknown."""
        left, rate = self.standing.asked - self.standing.done, self.points_per_second
        return left / rate if rate else None


def follow(
    store: Reader,
    every: float,
    wait: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Followed]:
    """A look every so many seconds, until the run is complete.

    No lock is taken and nothing written. A look lists four folders and reads the records that are new. The rate is that
    of the last two minutes, before any of them that which the records of those who are computing tell.
    """
    records, seen = Records(store), list[tuple[float, int]]()
    while True:
        began = clock()
        now = records.look()
        if not seen or now.done != seen[-1][1]:
            seen.append((began, now.done))
            recent = [entry for entry in seen if entry[0] >= began - RECENT_S]
            seen = recent if len(recent) > 1 else seen[-2:]
        yield Followed(now, _rate(seen, now))
        if now.complete:
            return
        wait(max(every, REST * (clock() - began)))


def _rate(seen: list[tuple[float, int]], now: Standing) -> float | None:
    """Points a second, between the first and the last of the times at which their number had changed."""
    (first, before), (last, after) = seen[0], seen[-1]
    if last > first and after > before:
        return (after - before) / (last - first)
    rates = [w["points"] / w["seconds"] for w in now.working if w["seconds"]]
    return sum(rates) if rates else None
