"""Rows of a table under conditions as a user types them, which the Parquet reader applies."""

import math
import operator
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jepa_sweep.checks import check_one_of, did_you_mean
from jepa_sweep.errors import SpecError
from jepa_sweep.store import table
from jepa_sweep.store.reader import Reader

_RTOL = 1e-9  # of `=` between numbers
_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|==|!=|=|<|>)\s*(.+?)\s*")
_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def matching(
    path: str | Path, name: str, where: list[str], columns: list[str], sort: list[str], limit: int
) -> tuple[pd.DataFrame, int]:
    """Rows of a table that meet all conditions, and how many there are before `limit` cuts them (0: no limit).

    `sort` names columns, the first counting most, each with a minus before it for its largest value first.

    Raises:
        SpecError: a table, column or condition that does not exist or does not read.
    """
    store = Reader(path)
    check_one_of("table", name, store.tables)
    known = store.schema(name)
    terms = [condition(text, known) for text in where]
    expression = table.all_of(terms)
    rising = {key.removeprefix("-"): not key.startswith("-") for key in reversed(sort)}
    for key in rising:
        if key not in known.names:
            raise SpecError(f"`--sort` must name columns, but there is no `{key}`.{did_you_mean(key, known.names)}")
    shown = list(dict.fromkeys(columns or known.names))
    frame = store.read(name, list(dict.fromkeys([*shown, *rising])), expression)
    for key, up in rising.items():  # the first counts most, so it comes last
        frame = frame.sort_values(key, ascending=up, kind="stable")
    frame = frame.loc[:, shown]
    return (frame.head(limit) if limit else frame), len(frame)


def for_json(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON takes them: all digits, and None for what does not exist or is no finite number."""
    values = frame.astype(object)
    return values.where(frame.notna() & ~values.isin([math.inf, -math.inf]), None).to_dict("records")


def condition(text: str, known: pa.Schema) -> pc.Expression:
    """One condition, `column operator value`; `=` between numbers allows a relative rounding of 1e-9."""
    match = _CONDITION.fullmatch(text)
    if not match:
        raise SpecError(f"A condition must read like 'lam > 1' or 'objective = jepa', but it is {text!r}.")
    name, sign, given = match.groups()
    if name not in known.names:
        raise SpecError(f"A condition must name a column, but there is no `{name}`.{did_you_mean(name, known.names)}")
    if pa.types.is_string(known.field(name).type):
        if sign not in ("=", "==", "!="):
            raise SpecError(f"`{name}` is text: a condition on it must use = or !=, but it is {text!r}.")
        equal = pc.field(name) == given.strip("'\"")
        return ~equal if sign == "!=" else equal
    try:
        number = float(given)
    except ValueError:
        number = math.nan
    if math.isnan(number):  # which nothing is equal to, and nothing is above or below
        raise SpecError(f"`{name}` is a number: a condition must compare it with one, but it is {text!r}.")
    if sign in _COMPARE:
        return _COMPARE[sign](pc.field(name), pc.scalar(number))
    equal = table.near({name: number}, _RTOL)
    assert equal is not None, "one value makes one term"
    return ~equal if sign == "!=" else equal
