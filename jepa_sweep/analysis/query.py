"""Rows of a table under conditions as a user types them, which the Parquet reader applies."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jepa_sweep.analysis import conditions
from jepa_sweep.analysis.conditions import Condition
from jepa_sweep.checks import check_one_of
from jepa_sweep.errors import SpecError
from jepa_sweep.store import equality, table
from jepa_sweep.store.reader import Reader


def matching(
    store: Reader, name: str, where: Sequence[str], columns: Sequence[str], sort: Sequence[str], limit: int
) -> tuple[pd.DataFrame, int]:
    """Rows of a table that meet all conditions, and how many there are before `limit` cuts them (0: no limit).

    `sort` names columns, the first counting most, each with a minus before it for its largest value first.

    Raises:
        SpecError: a table, column or condition that does not exist or does not read, or a value that the run lacks.

    Warns:
        SpecWarning: other values than those given were taken, or no row has them.
    """
    check_one_of("table", name, store.tables)
    known = store.schema(name)
    asked = [one for text in where for one in conditions.parse(text)]
    rising = {key.removeprefix("-"): not key.startswith("-") for key in reversed(sort)}
    table.check_columns(name, [*columns, *reversed(rising), *(one.column for one in asked)], known)
    expression = table.all_of([expressed(store, name, one) for one in asked])
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


def expressed(store: Reader, name: str, asked: Condition) -> pc.Expression:
    """A condition on a table as the Parquet reader takes it; a row meets it or its opposite, null values included."""
    field, kind = pc.field(asked.column), store.schema(name).field(asked.column).type
    if asked.sign in equality.COMPARE:
        [value] = asked.values
        if pa.types.is_string(kind):
            raise SpecError(
                f"`{asked.column}` is text: a condition on it must use =, !=, in or is, but it uses {asked.sign}."
            )
        return equality.compared(asked.column, kind, asked.sign, value)
    if asked.sign in ("null", "not null"):
        return field.is_null() if asked.sign == "null" else field.is_valid()
    equal = store.equal(name, asked.column, asked.values)
    return ~equal | field.is_null() if asked.sign == "!=" else equal
