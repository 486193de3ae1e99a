"""Where in the text of a spec each key stands; the parser of the standard library does not say."""

import bisect
import contextlib
import re
import tomllib
from collections.abc import Iterator

MOST_DEEP = 20  # parts of a key that has a line of its own; no spec has more than six
Key = tuple[str | int, ...]  # the path of a key: names of tables, and places in lists

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_TEXT = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})'  # up to two quotes may stand before the three that end it
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_PLAIN = re.compile(r"[^,\]}#\n]+")  # a number, a date or a truth value


def lines_of(text: str) -> dict[Key, int]:
    """The line, from 1, on which each key and each value of a list first stands, in text that is valid TOML."""
    scanner, lines = _Scanner(text), dict[Key, int]()
    ends = [match.start() for match in re.finditer("\n", text)]
    with contextlib.suppress(RecursionError):  # lists that stand too deep in each other; what follows has no lines
        for key, position in scanner.places():
            lines.setdefault(key, 1 + bisect.bisect_left(ends, position))
    return lines


def line_of(key: Key, lines: dict[Key, int]) -> int | None:
    """The line of a key, or of the closest table around it that stands in the text; None where there is none."""
    moved = (*key[:-1], "axes", *key[-1:])  # what belongs to a block may stand among its axes
    while key:
        if key in lines or moved in lines:
            return lines.get(key) or lines[moved]
        key, moved = key[:-1], ()
    return None


class _Scanner:
    """Goes through valid TOML once; what a token means does not matter, only where it begins and ends."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._entries: dict[Key, int] = {}  # of arrays of tables: how many there are so far

    def places(self) -> Iterator[tuple[Key, int]]:
        """Every key with its place in the text, in order."""
        table: Key = ()
        while self._skip(_SPACE):
            if self._text.startswith("[", self._at):
                table = yield from self._header()
            else:
                yield from self._pair(table)

    def _header(self) -> Iterator[tuple[Key, int]]:
        start, many = self._at, self._text.startswith("[[", self._at)
        self._at += 2 if many else 1
        names = self._names()
        self._at += 2 if many else 1
        table: Key = ()
        for place, name in enumerate(names):
            table = (*table, name)
            last = place == len(names) - 1
            if many and last:
                self._entries[table] = self._entries.get(table, -1) + 1
            yield table, start
            if table in self._entries:  # what follows belongs to the latest of them
                table = (*table, self._entries[table])
                yield table, start
        return table

    def _pair(self, table: Key) -> Iterator[tuple[Key, int]]:
        start, names = self._at, self._names()[: max(MOST_DEEP - len(table), 0)]
        for place in range(len(names)):
            yield (*table, *names[: place + 1]), start
        self._at += 1  # the equals sign
        self._skip(_BLANK)
        yield from self._value((*table, *names))

    def _value(self, key: Key) -> Iterator[tuple[Key, int]]:
        first = self._text[self._at]
        if first in "[{":
            self._at += 1
            place = 0
            while self._skip(_SPACE) and self._text[self._at] not in "]}":
                if first == "[" and len(key) < MOST_DEEP:
                    yield (*key, place), self._at
                    yield from self._value((*key, place))
                elif first == "[":
                    yield from self._value(key)
                else:
                    yield from self._pair(key)
                place += 1
                if self._skip(_SPACE) and self._text[self._at] == ",":
                    self._at += 1
            self._at += 1
        else:
            self._skip(_TEXT if first in "\"'" else _PLAIN)

    def _names(self) -> list[str]:
        """The parts of a dotted key, and the place after it."""
        names = []
        while True:
            self._skip(_BLANK)
            start = self._at
            quoted = self._text[start] in "\"'"
            self._skip(_TEXT if quoted else _BARE)
            name = self._text[start : self._at]
            names.append(tomllib.loads(f"key = {name}")["key"] if quoted else name)
            self._skip(_BLANK)
            if self._text[self._at] != ".":
                return names
            self._at += 1

    def _skip(self, what: re.Pattern[str]) -> bool:
        """Go to the end of what stands here; True if that is not the end of the text."""
        match = what.match(self._text, self._at)
        assert match, "valid TOML has this here"
        self._at = match.end()
        return self._at < len(self._text)
