"""The errors a user can meet, each with the exit code the command line gives it.

A message says what must hold, what was given, where, and what to try. Points that do not finish are not
errors: they are a `Status` in their row (`jepa_sweep.physics.dynamics`).
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

_UNUSUAL = re.compile(r"[^ -~\n\t]")  # what may not be printable


def escaped(text: str) -> str:
    """A text with an escape for all that is not printable but tabs and ends of lines.

    It is as JSON writes it up to U+FFFF, and above as Python does, of eight digits.

    Names and words may come from a store of a stranger: control characters would steer the terminal they are shown on,
    marks of direction would show them in another order, and halves of a character, as of paths that are not UTF-8,
    cannot be printed at all.
    """
    return _UNUSUAL.sub(lambda found: found[0] if found[0].isprintable() else _code(found[0]), text)


def on_one_line(text: str) -> str:
    """The same with escapes for tabs and ends of lines, too."""
    return escaped(text).replace("\n", "\\n").replace("\t", "\\t")


def _code(character: str) -> str:
    return character.encode("unicode_escape").decode().replace("\\x", "\\u00")


class Problem(NamedTuple):
    """One thing that is wrong with a spec."""

    message: str  # a sentence, its place included
    key: str = ""  # what it speaks of, like "axes.lam"; the first where there are several
    line: int | None = None  # of the file; None where the file does not hold it


class JepaSweepError(Exception):
    """Base of every error that speaks to the user; `exit_code` is what the command line returns for it."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(escaped(message))


class SpecError(JepaSweepError, ValueError):
    """A spec, an argument or a filter asks for something that cannot be run.

    `problems` are all that was found wrong with a spec, one by one; empty where it is about anything else.
    """

    exit_code = 2

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class SpecWarning(UserWarning):
    """A spec or a question asks for something that can be done, but is hardly what is wanted."""


class IntegrityError(JepaSweepError):
    """A stored file is not what its commit record says it is."""

    exit_code = 5


class StorageError(JepaSweepError, OSError):
    """A file system or a bucket refused an operation: disk full, no permission, no such directory."""

    exit_code = 6
