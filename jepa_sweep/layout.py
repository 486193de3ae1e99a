"""Tables in print: text that fits a width, CSV, Markdown, LaTeX, JSON."""

import itertools
import json
import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from jepa_sweep.errors import escaped, on_one_line

if TYPE_CHECKING:
    import pandas as pd

FORMS = ("text", "csv", "markdown", "latex", "json")
GAP = 2  # blanks between columns
LEADING = ("table", "column", "objective", "L", "feature")  # lead the parts of a report's table that must be folded
LEAST = 12  # width of a column that is folded, however narrow the terminal


def laid_out(frame: "pd.DataFrame", form: str, width: int | None = None, keys: Sequence[str] = ()) -> str:
    """A table in one of the `FORMS`, without the last line's end; what is not printable is escaped.

    Args:
        frame: the table.
        form: text, markdown and latex have six significant digits; csv and json have all.
        width: of the lines of text; as wide as the table is by default.
        keys: the columns that tell rows apart; where text must be folded to fit, each part repeats them.
    """
    if form == "json":
        return json.dumps(for_json(frame), default=_plain)
    if form == "csv":
        return escaped(frame.to_csv(index=False).removesuffix("\n"))
    columns = _columns(frame)
    if form == "text":
        return _fitted(columns, width, keys)
    from tabulate import tabulate  # not at the top: few tables are printed in these forms

    if form == "markdown":
        columns = [column.escaped() for column in columns]
    kind = "pipe" if form == "markdown" else "latex_booktabs"
    sides = ["right" if column.number else "left" for column in columns]
    headers = [column.name for column in columns]
    rows = zip(*(column.cells for column in columns), strict=True)
    return tabulate(rows, headers, kind, colalign=sides, disable_numparse=True)


def told(parts: "Iterable[str | pd.DataFrame]", width: int | None = None) -> str:
    """Sentences and tables as text, one below the other."""
    lines = (part if isinstance(part, str) else f"{laid_out(part, 'text', width, LEADING)}\n" for part in parts)
    return escaped("\n".join(lines).rstrip("\n"))


def for_json(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Rows as JSON takes them: all digits, and None for what does not exist or is no finite number."""
    values = frame.astype(object)
    return values.where(frame.notna() & ~values.isin([math.inf, -math.inf]), None).to_dict("records")


def _plain(value: Any) -> Any:
    """What JSON does not know, as it does: arrays as lists, numbers as floats, all else as text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return float(value) if hasattr(value, "__float__") else str(value)


class _Column(NamedTuple):
    name: str
    cells: list[str]
    number: bool
    same: bool  # one value in all rows

    @property
    def width(self) -> int:
        """Of its widest line."""
        return max(len(line) for cell in (self.name, *self.cells) for line in cell.split("\n"))

    def wrapped(self, width: int) -> "_Column":
        """The same in lines of this width."""
        name, *cells = ("\n".join(textwrap.wrap(cell, width)) for cell in (self.name, *self.cells))
        return self._replace(name=name, cells=cells)

    def escaped(self) -> "_Column":
        """The same as Markdown takes it: a bar is one of a cell."""
        name, *cells = (cell.replace("|", "\\|") for cell in (self.name, *self.cells))
        return self._replace(name=name, cells=cells)


def _columns(frame: "pd.DataFrame") -> list[_Column]:
    from jepa_sweep.store.overview import written as digits

    found = []
    for name, values in frame.items():
        absent = values.isna()  # of a column, so that a list in a cell is one value
        cells = ["NaN" if gone else on_one_line(digits(value)) for value, gone in zip(values, absent, strict=True)]
        found.append(_Column(on_one_line(str(name)), cells, values.dtype.kind in "iuf", len({*map(repr, values)}) == 1))
    return found


def _fitted(columns: Sequence[_Column], width: int | None, keys: Sequence[str]) -> str:
    """Text no wider than asked: what is the same in all rows is said once, and the rest is folded where it must be."""
    if width is None or _width(columns) <= width:
        return _laid(columns)
    many = max(len(column.cells) for column in columns) > 1
    same = [column for column in columns if column.same and many]
    told = textwrap.fill(", ".join(f"{c.name} = {c.cells[0]}" for c in same), width, break_on_hyphens=False)
    rest = [column for column in columns if column not in same]
    parts = [rest] if _width(rest) <= width else _folded(rest, width, keys)
    return "\n\n".join(filter(None, [told, *map(_laid, parts)]))


def _folded(columns: Sequence[_Column], width: int, keys: Sequence[str]) -> list[list[_Column]]:
    """Parts of a table that fit, each led by the keys; by numbers of the rows where those leave too little room."""
    lead = [column for column in columns if column.name in keys]
    if not lead or width - _width(lead) - GAP < max(width // 3, LEAST):
        lead = [_Column("row", [str(row + 1) for row in range(len(columns[0].cells))], True, False)]
    room = max(width - _width(lead) - GAP, LEAST)
    parts = [lead]
    for column in (column for column in columns if column not in lead):
        fitting = column if column.width <= room else column.wrapped(room)
        if len(parts[-1]) > len(lead) and _width([*parts[-1], fitting]) > width:
            parts.append(lead)
        parts[-1] = [*parts[-1], fitting]
    return parts


def _width(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + GAP * (len(columns) - 1)


def _laid(columns: Sequence[_Column]) -> str:
    """Columns beside each other, numbers to the right and words to the left."""
    widths = [column.width for column in columns]
    lines = []
    for row in zip(*([column.name, *column.cells] for column in columns), strict=True):
        for line in itertools.zip_longest(*(cell.split("\n") for cell in row), fillvalue=""):
            sides = zip(line, widths, columns, strict=True)
            padded = (text.rjust(size) if column.number else text.ljust(size) for text, size, column in sides)
            lines.append((" " * GAP).join(padded).rstrip())
    return "\n".join(lines)
