"""What bounds a run: the size of its chunks, its share of them, and how many points may fail."""

import re
from typing import NamedTuple

from jepa_sweep.errors import SpecError
from jepa_sweep.running.plan import Chunk


def chunk_points(given: int | None) -> int | None:
    """The points that share one file, as given; raises `SpecError` if it cannot be a number of points."""
    if given is not None and (not isinstance(given, int) or given < 1):
        raise SpecError(f"`chunk_points` must be a whole number, 1 or more, but it is {given!r}.")
    return given


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
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    if not match or not int(match[1]) < int(match[2]):
        raise SpecError(
            f"`shard` must be i/n with i from 0 to n - 1, like 0/8 for the first of eight shares, but it is {text!r}."
        )
    return Shard(int(match[1]), int(match[2]))


class Failures:
    """How many points of a run may fail before it stops: a number, or a share of those computed like "5%"."""

    def __init__(self, text: str | int | None) -> None:
        """Raises `SpecError` if the limit does not read like that."""
        self._text = None if text is None else str(text)
        match = re.fullmatch(r"(\d{1,18}|\d{1,3}(?:\.\d+)?%)", self._text or "", re.ASCII)
        if self._text is not None and (not match or (float(self._text.rstrip("%")) > 100 and "%" in self._text)):
            raise SpecError(
                f"`max_failures` must be a number of points like 100 or a share like 5%, but it is {text!r}."
            )

    def exceeded(self, failed: int, computed: int) -> str:
        """Why a run with these counts should stop; nothing where it may go on."""
        if self._text is None:
            return ""
        share = self._text.endswith("%")
        most = computed * float(self._text[:-1]) / 100 if share else int(self._text)
        if failed <= most:
            return ""
        return f"{failed:,} of {computed:,} points failed, more than the {self._text} that may"
