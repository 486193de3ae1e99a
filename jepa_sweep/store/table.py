"""Committed files of a store, read as pandas; no number is used before its file matches its hash."""

import contextlib
import functools
import operator
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from typing_extensions import TypeAliasType

from jepa_sweep.checks import did_you_mean
from jepa_sweep.errors import IntegrityError, SpecError
from jepa_sweep.store import parquet
from jepa_sweep.store.location import REPAIR, Location, Missing
from jepa_sweep.store.parquet import PIECE
from jepa_sweep.store.records import File, sha256

if TYPE_CHECKING:
    import pandas as pd

Filters = TypeAliasType("Filters", pc.Expression | Sequence[Any] | None)  # as `pandas.read_parquet` takes them
A = TypeVar("A")
B = TypeVar("B")

LARGE_BATCH = 1 << 20  # rows that are summed up at a time: as many as a file usually has

_READERS = max(2, min(8, os.cpu_count() or 2))  # files read at a time


class Part(NamedTuple):
    """A committed file, and which of its rows stand."""

    file: File
    stands: np.ndarray | None = None  # True for rows that do; None if all do

    @property
    def rows(self) -> int:
        """How many rows stand."""
        return self.file.rows if self.stands is None else int(self.stands.sum())


def listed(path: str, data: bytes, rows: int) -> File:
    """The file as its commit record is to list it."""
    footer = int.from_bytes(data[-8:-4], "little") + 8
    return File(path, len(data), rows, sha256(data), footer, sha256(data[-footer:]))


# --- checking ---------------------------------------------------------------------------------------------------------


def load(location: Location, file: File) -> bytes:
    """The bytes of a committed file, as they were committed.

    Raises:
        IntegrityError: the file is missing or damaged.
    """
    with _there(location, file):
        data = location.read(file.path, file.bytes)
    _compare(location, file, sha256(data), file.sha256)
    return data


def footer(location: Location, file: File, schema: pa.Schema) -> tuple[bytes, pq.FileMetaData]:
    """The footer of a committed file with these columns, and what it says.

    Raises:
        IntegrityError: the file is missing or damaged.
    """
    with _there(location, file):
        data = location.read_end(file.path, file.footer)
    _compare(location, file, sha256(data), file.footer_sha256)
    told = parquet.metadata(data, location.where(file.path))
    _check_told(location, file, schema, told)
    return data, told


def check(location: Location, file: File, schema: pa.Schema) -> None:
    """Raise an `IntegrityError` unless a committed file is as it was committed, with these columns. No row is read."""
    with _there(location, file):
        _compare(location, file, location.digest(file.path, file.bytes), file.sha256)
    footer(location, file, schema)


@contextlib.contextmanager
def _there(location: Location, file: File) -> Iterator[None]:
    try:
        yield
    except Missing:
        raise IntegrityError(f"{location.where(file.path)} is missing; {REPAIR}.") from None


def _compare(location: Location, file: File, found: str, committed: str) -> None:
    if found != committed:
        where = location.where(file.path)
        raise IntegrityError(f"{where} is damaged: its bytes are not those committed; {REPAIR}.")


def _check_told(location: Location, file: File, schema: pa.Schema, told: pq.FileMetaData) -> None:
    """Raise an `IntegrityError` unless a file says that it has these columns, and as many rows as its record says."""
    where = location.where(file.path)
    _check_rows(where, told.num_rows, file)
    with parquet.decoding(where):
        same = told.schema.to_arrow_schema().equals(schema)
    if not same:
        raise IntegrityError(f"{where} is damaged: its columns are not those of the store; {REPAIR}.")


def _check_rows(where: str, count: int, file: File) -> None:
    if count != file.rows:
        raise IntegrityError(f"{where} is damaged: it has {count:,} rows, but its record says {file.rows:,}; {REPAIR}.")


# --- reading ----------------------------------------------------------------------------------------------------------


def side_by_side(function: Callable[[A], B], items: Iterable[A]) -> list[B]:
    """The function of each item, in several threads where there are many, as buckets answer slowly."""
    items = list(items)
    if len(items) < 3:
        return [function(item) for item in items]
    with ThreadPoolExecutor(_READERS, "reader") as readers:
        return list(readers.map(function, items))


def check_columns(table: str, asked: Iterable[str], schema: pa.Schema) -> None:
    """Raise a `SpecError` unless the table has all of the columns."""
    for name in asked:
        if name not in schema.names:
            raise SpecError(f"`{name}` is not a column of {table}.{did_you_mean(name, schema.names)}")


class Question(NamedTuple):
    """What is asked of the rows of a table."""

    names: list[str]  # of columns
    expression: pc.Expression | None = None  # which rows
    looked_at: tuple[str, ...] = ()  # the columns that it speaks of

    @classmethod
    def of(cls, schema: pa.Schema, names: Sequence[str], expression: pc.Expression | None) -> "Question":
        """These columns of the rows that fit an expression."""
        if expression is None:
            return cls([*names])
        empty = schema.empty_table()
        return cls([*names], expression, tuple(n for n in schema.names if not _speaks(expression, empty.drop([n]))))


def _speaks(expression: pc.Expression, rows: pa.Table) -> bool:
    """True if the expression can be asked of these rows: they have all its columns."""
    try:
        rows.filter(expression)
    except (pa.ArrowException, ValueError, TypeError, KeyError):
        return False
    return True


def question(table: str, schema: pa.Schema, columns: str | Sequence[str] | None, filters: Filters) -> Question:
    """Columns and filters of a table as a user gives them.

    Raises:
        SpecError: a column or filter names what is not in the table.
    """
    names = schema.names if columns is None else [columns] if isinstance(columns, str) else list(columns)
    check_columns(table, names, schema)
    try:
        given = filters is None or isinstance(filters, pc.Expression)
        expression = filters if given else pq.filters_to_expression(filters)
        if expression is not None:
            schema.empty_table().filter(expression)
    except (pa.ArrowException, ValueError, TypeError, KeyError) as error:
        said = str(error).partition("\n")[0]  # after it Arrow lists the whole schema
        if unknown := re.match(r"No match for FieldRef\.Name\((.*?)\)", said):
            check_columns(table, [unknown[1]], schema)
        raise SpecError(f'Filters must be like [("lam", ">", 1.0)] on columns of the table, but: {said}') from error
    return Question.of(schema, names, expression)


def read(location: Location, parts: Sequence[Part], schema: pa.Schema, asked: Question) -> "pd.DataFrame":
    """The rows of several files that are asked for, as pandas; raises `IntegrityError` if a file is damaged."""
    found = side_by_side(lambda part: [*pieces(location, part, schema, asked)], parts)
    empty = schema.empty_table().select(asked.names)
    return pa.concat_tables([empty, *(piece for some in found for piece in some)]).to_pandas()


def pieces(location: Location, part: Part, schema: pa.Schema, asked: Question, rows: int = PIECE) -> Iterator[pa.Table]:
    """What is asked of one file, of those of its rows that stand, in pieces: each of so many rows of the file.

    Raises:
        IntegrityError: it is damaged.
    """
    file, where, groups = part.file, location.where(part.file.path), None
    if asked.expression is not None:
        groups = _groups(location, file, schema, asked.expression)
        if not groups:  # the ranges in the footer leave no row
            return
    source = parquet.source(load(location, file), schema, where)
    _check_told(location, file, schema, source.metadata)
    every = groups is None or part.stands is not None or len(groups) == source.num_row_groups
    columns = list(dict.fromkeys([*asked.names, *asked.looked_at])) or schema.names[:1]
    read = pa.schema([schema.field(name) for name in columns], schema.metadata)
    start = 0
    for piece in parquet.pieces(source, read, where, rows, None if every else groups):
        start, first = start + piece.num_rows, start
        if part.stands is not None:
            piece = piece.filter(pa.array(part.stands[first:start]))
        if asked.expression is not None:
            piece = piece.filter(asked.expression)
        yield piece.select(asked.names)
    if every:
        _check_rows(where, start, file)


def rows(location: Location, part: Part, schema: pa.Schema, names: Sequence[str]) -> pa.Table:
    """Some columns of one file, of all its rows that stand."""
    empty = schema.empty_table().select(list(names))
    return pa.concat_tables([empty, *pieces(location, part, schema, Question([*names]))])


def _groups(location: Location, file: File, schema: pa.Schema, expression: pc.Expression) -> list[int]:
    """The row groups of a file that may hold rows which fit, by the ranges of columns in its footer."""
    import pyarrow.dataset as ds  # not at the top: it brings pandas, which only filters need

    data, _ = footer(location, file, schema)
    with parquet.decoding(location.where(file.path)):
        fragment = ds.ParquetFileFormat().make_fragment(parquet.buffer(data))
        fitting = fragment.split_by_row_group(expression, schema=schema)
        return [group.id for one in fitting for group in one.row_groups]


def ends(location: Location, part: Part, schema: pa.Schema, columns: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """The lowest and highest value of columns of one file, rows that do not stand included, if its footer has them."""
    (_, told), found = footer(location, part.file, schema), {}
    with parquet.decoding(location.where(part.file.path)):
        for column in columns:
            place = schema.names.index(column)
            known = [told.row_group(number).column(place).statistics for number in range(told.num_row_groups)]
            if known and all(one and one.has_min_max for one in known):
                found[column] = min(one.min for one in known), max(one.max for one in known)
    return found


def rows_with(location: Location, part: Part, schema: pa.Schema, column: str, words: Sequence[str]) -> int:
    """How many rows of one file have one of the words in a text column; its footer alone is read where that says 0."""
    known = ends(location, part, schema, [column]).get(column)
    if known and not any(known[0] <= word <= known[1] for word in words):
        return 0
    found = _counted(location, part, schema, column)
    return sum(count for word, count in found.items() if word in words)


def counts(location: Location, part: Part, schema: pa.Schema, column: str) -> dict[str, int]:
    """How often each text stands in a column of one file; its footer alone is read where that says there is but one."""
    low, high = ends(location, part, schema, [column]).get(column, (None, None))
    if low is not None and low == high:
        return {low: part.rows} if part.rows else {}
    return _counted(location, part, schema, column)


def _counted(location: Location, part: Part, schema: pa.Schema, column: str) -> Counter[str]:
    found = Counter[str]()
    for piece in pieces(location, part, schema, Question([column])):
        found.update(counted(piece[column]))
    return found


def counted(column: pa.ChunkedArray) -> dict[str, int]:
    """How often each text stands in a column."""
    return {row["values"]: row["counts"] for row in column.value_counts().to_pylist()}


def all_of(terms: Sequence[pc.Expression]) -> pc.Expression | None:
    """A filter for rows that meet all terms; None without any."""
    return functools.reduce(operator.and_, terms) if terms else None
