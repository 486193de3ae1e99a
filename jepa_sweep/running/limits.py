"""What bounds a run: the size of its chunks, which of them are its own, and how many points may fail."""

import math
import operator
import re
from typing import NamedTuple

import numpy as np

from jepa_sweep.checks import shown
from jepa_sweep.errors import SpecError
from jepa_sweep.running.plan import Chunk
from jepa_sweep.store.records import MOST_POINTS


def chunk_points(given: int | None) -> int | None:
    """The points that share one file, as given; raises `SpecError` if it cannot be a number of points."""
    if given is None:
        return None
    try:
        count = 0 if isinstance(given, bool | np.bool_) else operator.index(given)
    except TypeError:
        count = 0
    if not 1 <= count <= MOST_POINTS:
        raise SpecError(
            f"`chunk_points` must be a whole number, 1 or more and at most {MOST_POINTS:,}, but it is {shown(given)}."
        )
    return count


class Shard(NamedTuple):
    """Every `of`-th chunk, from `number` on, counted from 0."""

    number: int = 0
    of: int = 1

    def holds(self, chunk: Chunk) -> bool:
        """True for the chunks of this share."""
        return chunk.slot % self.of == self.number


def shard(text: str | None) -> Shard:
    """The third of eight shares is "2/8"; None is all there is.

    Raises:
        SpecError: it does not read like that.
    """
    if text is None:
        return Shard()
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", str(text), re.ASCII)
    if not match or not int(match[1]) < int(match[2]):
        raise SpecError(
            "`shard` must be i/n with i from 0 to n - 1, like 0/8 for the first of eight shares, but it is "
            f"{shown(text)}."
        )
    return Shard(int(match[1]), int(match[2]))


class Failures(NamedTuple):
    """How many points of a run may fail before it stops: a number, and a share of those computed."""

    text: str = ""  # as it was given
    points: float = math.inf
    percent: float = 0.0

    def exceeded(self, failed: int, computed: int) -> str:
        """Why a run with these counts should stop; empty where it may go on."""
        if failed <= self.points + computed * self.percent / 100:
            return ""
        return f"{failed:,} of {computed:,} points failed, more than the {self.text} that may"


def failures(given: str | int | None) -> Failures:
    """The limit of a number like 100 or a share like "5%"; None is no limit.

    Raises:
        SpecError: it does not read like that.
    """
    if given is None:
        return Failures()
    match = re.fullmatch(r"(\d{1,18})|(\d{1,3}(?:\.\d+)?)%", str(given), re.ASCII)
    if not match or float(match[2] or 0) > 100:
        raise SpecError(f"`max_failures` must be a number of points like 100 or a share like 5%, but it is {given!r}.")
    return Failures(str(given), points=int(match[1])) if match[1] else Failures(str(given), 0, float(match[2]))
