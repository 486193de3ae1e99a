"""Rows of a table under conditions as a user types them, which the Parquet reader applies."""

from collections.abc import Sequence

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
    rising: dict[str, bool] = {}
    for key in sort:
        rising.setdefault(key.removeprefix("-"), not key.startswith("-"))
    table.check_columns(name, [*columns, *rising, *(one.column for one in asked)], known)
    expression = table.all_of([expressed(store, name, one) for one in asked])
    shown = list(dict.fromkeys(columns or known.names))
    needed = list(dict.fromkeys([*shown, *rising]))
    if limit:
        frame, count = _first(store, name, needed, expression, rising, limit)
    else:
        frame = _sorted(store.read(name, needed, expression), rising)
        count = len(frame)
    return frame.loc[:, shown], count


def _first(
    store: Reader, name: str, columns: list[str], expression: pc.Expression | None, rising: dict[str, bool], limit: int
) -> tuple[pd.DataFrame, int]:
    """The first rows and the number of all, in the memory of one file, a batch and twice the limit."""
    batches = store.batches(name, columns, expression, table.PIECE)
    empty, kept, held, count = next(batches), [], 0, 0
    for batch in batches:
        count += len(batch)
        if len(batch) and (rising or held < limit):
            kept.append(batch)
            held += len(batch)
        if rising and held > 2 * limit:
            kept = [_sorted(pd.concat(kept), rising).head(limit)]
            held = limit
        if expression is None and not rising and held >= limit:
            count = store.rows(name)
            break
    frame = pd.concat(kept, ignore_index=True) if kept else empty
    return _sorted(frame, rising).head(limit), count


def _sorted(frame: pd.DataFrame, rising: dict[str, bool]) -> pd.DataFrame:
    """Rows by these columns, the first counting most; those that are equal in them stay in their order."""
    if not rising:
        return frame
    return frame.sort_values(list(rising), ascending=list(rising.values()), kind="stable", ignore_index=True)


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
    equal = store.equal(name, asked.column, asked.values, known=asked.sign == "=")  # all rows differ from what none has
    return ~equal | field.is_null() if asked.sign == "!=" else equal
