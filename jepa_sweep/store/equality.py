"""What a value stands for that somebody typed: numbers to the digits given, words without regard to case.

A number stands for the values of its column that equal it within a relative tolerance; where there are none, for those
that are printed like it, in six significant digits; where there are none, for those that read the same in as many
digits as were given. A number of one digit, such as 10 or 1e-3, is a round one, which has no last digit to be rounded.
"""

import functools
import math
import numbers
import operator
import re
import warnings
from collections.abc import Callable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jepa_sweep.checks import did_you_mean, shown
from jepa_sweep.errors import SpecError, SpecWarning
from jepa_sweep.store import table
from jepa_sweep.store.location import Location
from jepa_sweep.store.overview import DIGITS, listed, written
from jepa_sweep.store.table import Part, Question

RTOL = 1e-9  # of numbers that are equal
COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}

_CALLER = 5  # frames above `term`: `Reader.equal`, `Reader.select`, `Store.select`, and the line that called it
_AT_ONCE = 8  # files that are looked into before it is asked whether more must be
_NUMBER = re.compile(r"[+-]?(?:inf|(?P<mantissa>\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,4})?)", re.IGNORECASE)

Range = tuple[Any, Any]  # lowest and highest value, both included


class Held(NamedTuple):
    """One column of a table, as its committed files hold it."""

    location: Location
    table: str
    parts: Sequence[Part]
    schema: pa.Schema
    name: str

    @property
    def type(self) -> pa.DataType:
        """The type of its values."""
        return self.schema.field(self.name).type

    def distinct(self, expression: pc.Expression | None, enough: Callable[[pa.Array], bool]) -> pa.Array:
        """Its values in rows that meet the expression, without null; no more files are read once they are enough."""
        found = pa.array([], self.type)
        for start in range(0, len(self.parts), _AT_ONCE):
            some = table.side_by_side(lambda part: self._of(part, expression), self.parts[start : start + _AT_ONCE])
            found = pa.concat_arrays([found, *some]).unique()
            if enough(found):
                break
        return found

    def around(self, value: float) -> list[Any]:
        """The nearest value below and the nearest above, where there are any."""
        found = table.side_by_side(lambda part: self._around(part, value), self.parts)
        below = max((low for low, _ in found if low is not None), default=None)
        above = min((high for _, high in found if high is not None), default=None)
        return [one for one in (below, above) if one is not None]

    def _of(self, part: Part, expression: pc.Expression | None) -> pa.Array:
        asked, found = Question.of(self.schema, [self.name], expression), pa.array([], self.type)
        for piece in table.pieces(self.location, part, self.schema, asked):
            found = pa.concat_arrays([found, piece[self.name].drop_null().unique()]).unique()
        return found

    def _around(self, part: Part, value: float) -> Range:
        ends = {} if part.stands is not None else table.ends(self.location, part, self.schema, [self.name])
        known = ends.get(self.name)
        if known and known[1] < value:
            return known[1], None
        if known and known[0] > value:
            return None, known[0]
        values = _numpy(self._of(part, None))
        below, above = values[values < value], values[values > value]
        return below.max().item() if len(below) else None, above.min().item() if len(above) else None


class _Found(NamedTuple):
    """What of several values a column has."""

    terms: list[pc.Expression]  # filters for the values that are there
    missing: list[str]  # what is not there
    notes: list[str]  # which values were taken for others


def term(
    held: Held, elsewhere: Callable[[], Sequence[Held]] | None, given: Sequence[object], rtol: float = RTOL
) -> pc.Expression:
    """A filter for rows whose column has one of the values.

    Args:
        held: the column.
        elsewhere: the same column in other tables of the run; None for one that is measured, and not swept.
        given: the values: numbers, or texts, which may hold numbers.
        rtol: the relative tolerance of numbers that are equal.

    Raises:
        SpecError: a value is none that the column could hold, or the column is swept and the run has none of them.

    Warns:
        SpecWarning: other values were taken for one that is not there, or there are none.
    """
    texts = [_typed(held.name, value) for value in given]
    found = _find(held, texts, rtol)
    for note in found.notes:
        warnings.warn(note, SpecWarning, stacklevel=_CALLER)
    if found.missing and elsewhere is not None and not found.terms:
        others = elsewhere()
        hint = _hint([held, *others], found.missing[0])
        if hint and not any(_find(other, found.missing, rtol).terms for other in others):
            said = shown(found.missing[0]) if _is_text(held) else found.missing[0]
            raise SpecError(f"`{held.name}` must be a value that the run has, but it is {said}{hint}")
    for text in found.missing:
        if hint := _hint([held], text):
            said = shown(text) if _is_text(held) else text
            warnings.warn(f"No row of {held.table} has `{held.name}` = {said}{hint}", SpecWarning, stacklevel=_CALLER)
    return functools.reduce(operator.or_, found.terms) if found.terms else pc.scalar(False)


def compared(name: str, kind: pa.DataType, sign: str, text: str) -> pc.Expression:
    """A filter for rows whose column is below or above a number; `<=` and `>=` take in what is printed like it."""
    number, field = _checked(name, text), pc.field(name)
    if not pa.types.is_integer(kind):
        low, high = ranges(number, kind)[:2][-1]
        return COMPARE[sign](field, {"<=": high, ">=": low}.get(sign, float(number)))
    # Arrow compares whole numbers as floats with a float, and refuses those that are too large.
    exact = Decimal(number)
    if exact.is_infinite() or not _fits(exact):
        return field.is_valid() & pc.scalar((exact > 0) == (sign in ("<", "<=")))
    whole = int(exact.to_integral_value(ROUND_CEILING if sign in ("<", ">=") else ROUND_FLOOR))
    return COMPARE[sign](field, whole)


def ranges(text: str, kind: pa.DataType, rtol: float = RTOL) -> list[Range]:
    """The ranges of values that a number may stand for, from the narrowest, each within the next."""
    value = float(text)
    if pa.types.is_integer(kind):
        return _whole(text, rtol)
    if value == 0 or math.isinf(value):
        return [(value, value)]
    rounding = float(np.finfo(np.float32).eps) / 2 if pa.types.is_float32(kind) else 0.0
    slack = max(rtol, rounding) * abs(value)
    digits = _digits(text)
    counts = [max(digits, DIGITS), *([digits] if 1 < digits < DIGITS else [])]
    found = [(value - slack, value + slack)]
    for low, high in (_reading(Decimal(text), count) for count in counts):
        found.append((min(low, found[-1][0]), max(high, found[-1][1])))
    return found


def _whole(text: str, rtol: float) -> list[Range]:
    if math.isinf(float(text)) or not _fits(exact := Decimal(text)):
        return []
    whole = int(exact.to_integral_value())
    return [(whole, whole)] if abs(exact - whole) <= Decimal(rtol) * abs(exact) else []


def _fits(exact: Decimal) -> bool:
    return abs(exact) < 2**63


def _digits(text: str) -> int:
    """How many significant digits a number is written in; zeros at the end of a whole number are not significant."""
    match = _NUMBER.fullmatch(text)
    assert match is not None, "what is no number has no digits"
    assert match["mantissa"], "only finite numbers have digits"
    mantissa = match["mantissa"]
    mantissa = mantissa.replace(".", "") if "." in mantissa else mantissa.rstrip("0")
    return len(mantissa.lstrip("0"))


def _reading(exact: Decimal, digits: int) -> Range:
    """The numbers that read like this one when rounded to so many significant digits, however halves are rounded."""
    size, one = abs(exact), Decimal(1).scaleb(exact.adjusted())
    half = one.scaleb(1 - digits) / 2
    low, high = float(size - (half / 10 if size == one else half)), float(size + half)  # below 1.00 comes 0.999
    return (low, high) if exact > 0 else (-high, -low)


def _typed(name: str, value: Any) -> str:
    """A value as somebody would type it; raises `SpecError` for what is neither a number nor a text."""
    text = None
    if hasattr(value, "item") and np.ndim(value) == 0:  # of NumPy or JAX: as short as its own precision allows
        text, value = str(value), value.item()
    if isinstance(value, bool) or not isinstance(value, str | numbers.Real):
        raise SpecError(
            f"`{name}` must be one number or one text, but it is {shown(value)}; for several values try "
            f'filters=[("{name}", "in", [...])].'
        )
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int):
        return shown(value)
    return (text or repr(float(value))).removesuffix(".0")


def _checked(name: str, text: str) -> str:
    """The text; raises `SpecError` unless it is a number."""
    if text.lower() in ("nan", "null", "none"):  # which nothing is equal to, and nothing is above or below
        raise SpecError(
            f"`{name}` is a number: a condition must compare it with one, but not with {text}; try `is null`."
        )
    if not _NUMBER.fullmatch(text):
        raise SpecError(f"`{name}` is a number: a condition must compare it with one, but it is {shown(text)}.")
    return text


def _is_text(held: Held) -> bool:
    return pa.types.is_string(held.type)


def _find(held: Held, given: Sequence[str], rtol: float) -> _Found:
    if _is_text(held):
        return _words(held, given)
    return _numbers(held, [_checked(held.name, text) for text in given], rtol)


def _words(held: Held, given: Sequence[str]) -> _Found:
    there = held.distinct(None, lambda values: {*given} <= {*values.to_pylist()}).to_pylist()
    alike = {text: [text] if text in there else _same(text, there) for text in given}
    taken = sorted({word for words in alike.values() for word in words})
    terms = [pc.field(held.name).isin(taken)] if taken else []
    return _Found(terms, [text for text, words in alike.items() if not words], [])


def _same(text: str, words: Sequence[str]) -> list[str]:
    return [word for word in words if word.casefold() == text.casefold()]


def _numbers(held: Held, given: Sequence[str], rtol: float) -> _Found:
    meant = {text: ranges(text, held.type, rtol) for text in given}
    widest = [_between(held.name, *stages[-1]) for stages in meant.values() if stages]
    narrowest = [stages[0] if stages else None for stages in meant.values()]
    if not widest:
        return _Found([], list(meant), [])
    there = held.distinct(
        functools.reduce(operator.or_, widest),
        lambda values: all(one and len(_within(_numpy(values), *one)) for one in narrowest),
    )
    found = _Found([], [], [])
    for text, stages in meant.items():
        for stage, (low, high) in enumerate(stages):
            taken = _within(_numpy(there), low, high)
            if len(taken):
                found.terms.append(_between(held.name, low, high))
                if stage > 1 or (stage and len(taken) > 1):
                    found.notes.append(f"`{held.name}` = {text} is taken as {listed(np.sort(taken).tolist())}.")
                break
        else:
            found.missing.append(text)
    return found


def _numpy(values: pa.Array) -> np.ndarray:
    """In double precision, in which Arrow compares them, as NumPy would not."""
    return (values.cast(pa.float64()) if pa.types.is_floating(values.type) else values).to_numpy(zero_copy_only=False)


def _within(values: np.ndarray, low: Any, high: Any) -> np.ndarray:
    return values[(values >= low) & (values <= high)]


def _between(name: str, low: Any, high: Any) -> pc.Expression:
    field = pc.field(name)
    return (field >= low) & (field <= high)


def _hint(columns: Sequence[Held], text: str) -> str:
    """Which values of the columns are nearest; nothing where they have none."""
    if _is_text(columns[0]):
        words = sorted({word for held in columns for word in held.distinct(None, lambda _: False).to_pylist()})
        return f".{did_you_mean(text.lower(), words)}" if words else ""
    value = float(text)
    near = sorted({one for held in columns for one in held.around(value)})
    ends = [*[one for one in near if one < value][-1:], *[one for one in near if one > value][:1]]
    return f"; the nearest {'are' if len(ends) > 1 else 'is'} {' and '.join(map(written, ends))}." if ends else ""
