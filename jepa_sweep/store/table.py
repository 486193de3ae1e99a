"""Parquet files of a store, written and read back as pandas; no number is used before its file matches its hash."""

import functools
import operator
import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from typing_extensions import TypeAliasType

from jepa_sweep.checks import did_you_mean
from jepa_sweep.errors import IntegrityError, SpecError
from jepa_sweep.store.location import Location, Missing
from jepa_sweep.store.records import REPAIR, File, sha256

if TYPE_CHECKING:
    import pandas as pd

Filters = TypeAliasType("Filters", pc.Expression | Sequence[Any] | None)  # as `pandas.read_parquet` takes them
A = TypeVar("A")
B = TypeVar("B")

_READERS = max(2, min(8, os.cpu_count() or 2))  # files read at a time


class Part(NamedTuple):
    """A committed file, and which of its rows stand."""

    file: File
    stands: np.ndarray | None = None  # True for rows that do; None if all do

    @property
    def rows(self) -> int:
        """How many rows stand."""
        return self.file.rows if self.stands is None else int(self.stands.sum())


# --- writing ----------------------------------------------------------------------------------------------------------


def encode(rows: pa.Table, repeating: Sequence[str]) -> bytes:
    """A Parquet file with page checksums, each column as it is written fastest and smallest.

    Text, whole numbers and the `repeating` columns go through a dictionary, other floats as byte streams. The same
    rows always give the same bytes.
    """
    coded = [f.name for f in rows.schema if not pa.types.is_floating(f.type) or f.name in repeating]
    streams = [name for name in rows.schema.names if name not in coded]
    sink = pa.BufferOutputStream()
    options: dict[str, Any] = {"use_dictionary": coded, "use_byte_stream_split": streams, "compression": "lz4"}
    pq.write_table(rows, sink, write_page_checksum=True, **options)
    return sink.getvalue().to_pybytes()


def listed(path: str, data: bytes, rows: int) -> File:
    """The file as its commit record is to list it."""
    footer = int.from_bytes(data[-8:-4], "little") + 8
    return File(path, len(data), rows, sha256(data), footer, sha256(data[-footer:]))


# --- checking ---------------------------------------------------------------------------------------------------------


def load(location: Location, file: File, *, footer: bool = False) -> bytes:
    """The bytes of a committed file, or of its footer alone, as they were committed.

    Raises:
        IntegrityError: the file is missing or damaged.
    """
    where = location.where(file.path)
    try:
        data = location.read_end(file.path, file.footer) if footer else location.read(file.path)
    except Missing:
        raise IntegrityError(f"{where} is missing; {REPAIR}.") from None
    if sha256(data) != (file.footer_sha256 if footer else file.sha256):
        raise IntegrityError(f"{where} is damaged: its bytes are not those committed; {REPAIR}.")
    return data


def decoded(data: bytes, where: str) -> pa.Table:
    """The rows of a file that no commit record lists; raises `IntegrityError` if they cannot be read."""
    try:
        return pq.read_table(pa.BufferReader(_arrow(data)), page_checksum_verification=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise IntegrityError(f"{where} is damaged: {error}; {REPAIR}.") from None


def by_another_release(data: bytes) -> bool:
    """True if a readable file says that another release of pyarrow wrote it."""
    wrote = pq.read_metadata(pa.BufferReader(_arrow(data))).created_by
    writer = re.fullmatch(r"parquet-cpp-arrow version (\d+\.\d+\.\d+)", wrote)
    return writer is not None and writer[1] != pa.cpp_version


def _arrow(data: bytes) -> pa.Buffer:
    """The same bytes in Arrow's own memory.

    Arrow's threads may be the last to release them, which aborts the process if the memory is Python's and Python is
    shutting down.
    """
    sink = pa.BufferOutputStream()
    sink.write(data)
    return sink.getvalue()


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


def question(
    table: str, schema: pa.Schema, columns: str | Sequence[str] | None, filters: Filters
) -> tuple[list[str], pc.Expression | None]:
    """Columns and filters of a table as `read` takes them.

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
    return names, expression


def read(
    location: Location,
    parts: Sequence[Part],
    schema: pa.Schema,
    names: list[str] | None = None,
    expression: pc.Expression | None = None,
) -> "pd.DataFrame":
    """The rows of several files that pass the filter, as pandas; raises `IntegrityError` if a file is damaged."""
    names = schema.names if names is None else names
    found = side_by_side(lambda part: rows(location, part, schema, names, expression), parts)
    return pa.concat_tables([schema.empty_table().select(names), *found]).to_pandas()


def rows(
    location: Location, part: Part, schema: pa.Schema, names: list[str], expression: pc.Expression | None = None
) -> pa.Table:
    """Some columns of one file, of the rows that stand and fit the expression."""
    if expression is None:
        found = pq.ParquetFile(pa.BufferReader(_arrow(load(location, part.file)))).read(columns=names).select(names)
        return found if part.stands is None else found.filter(pa.array(part.stands))
    import pyarrow.dataset as ds  # not at the top: it brings pandas, which only filters need

    form = ds.ParquetFileFormat()
    fragment = form.make_fragment(_arrow(load(location, part.file, footer=True)))
    if not fragment.split_by_row_group(expression, schema=schema):  # the ranges in the footer leave no row
        return schema.empty_table().select(names)
    fragment = form.make_fragment(_arrow(load(location, part.file)))
    if part.stands is None:
        return fragment.to_table(schema=schema, columns=names, filter=expression)
    return fragment.to_table(schema=schema).filter(pa.array(part.stands)).filter(expression).select(names)


def ends(location: Location, part: Part, schema: pa.Schema, columns: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """The lowest and highest value of columns of one file, rows that do not stand included, if its footer has them."""
    footer, found = pq.read_metadata(pa.BufferReader(_arrow(load(location, part.file, footer=True)))), {}
    for column in columns:
        place = schema.names.index(column)
        known = [footer.row_group(number).column(place).statistics for number in range(footer.num_row_groups)]
        if known and all(one and one.has_min_max for one in known):
            found[column] = min(one.min for one in known), max(one.max for one in known)
    return found


def rows_with(location: Location, part: Part, schema: pa.Schema, column: str, words: Sequence[str]) -> int:
    """How many rows of one file have one of the words in a text column; its footer alone is read where that says 0."""
    known = ends(location, part, schema, [column]).get(column)
    if known and not any(known[0] <= word <= known[1] for word in words):
        return 0
    found = counted(rows(location, part, schema, [column])[column])
    return sum(count for word, count in found.items() if word in words)


def counts(location: Location, part: Part, schema: pa.Schema, column: str) -> dict[str, int]:
    """How often each text stands in a column of one file; its footer alone is read where that says there is but one."""
    low, high = ends(location, part, schema, [column]).get(column, (None, None))
    if low is not None and low == high:
        return {low: part.rows} if part.rows else {}
    return counted(rows(location, part, schema, [column])[column])


def counted(column: pa.ChunkedArray) -> dict[str, int]:
    """How often each text stands in a column."""
    return {row["values"]: row["counts"] for row in column.value_counts().to_pylist()}


def all_of(terms: Sequence[pc.Expression]) -> pc.Expression | None:
    """A filter for rows that meet all terms; None without any."""
    return functools.reduce(operator.and_, terms) if terms else None
