"""Stored files to pandas: columns and filters go down into the Parquet reader, checksums are verified on the way."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from jepa_sweep.errors import IntegrityError, SpecError, StorageError

Filters = pc.Expression | Sequence[Any] | None  # as `pandas.read_parquet` takes them

_FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)


def encode(table: pa.Table, repeating: Sequence[str]) -> bytes:
    """A Parquet file with page checksums, each column as it is written fastest and smallest.

    Text, whole numbers and the `repeating` columns go through a dictionary, other floats as byte streams.
    """
    coded = [f.name for f in table.schema if not pa.types.is_floating(f.type) or f.name in repeating]
    streams = [name for name in table.schema.names if name not in coded]
    sink = pa.BufferOutputStream()
    options: dict[str, Any] = {"use_dictionary": coded, "use_byte_stream_split": streams, "compression": "lz4"}
    pq.write_table(table, sink, write_page_checksum=True, **options)
    return sink.getvalue().to_pybytes()


def metadata(path: Path) -> dict[bytes, bytes]:
    """The notes in a file's footer."""
    try:
        return dict(pq.read_schema(path).metadata or {})
    except (OSError, pa.ArrowException) as error:
        raise IntegrityError(
            f"{path} must be a readable Parquet file, but {error}; run `jepa-sweep repair`."
        ) from error


def check(path: Path) -> int:
    """Read a file whole with its checksums; the number of rows."""
    try:
        return pq.read_table(path, page_checksum_verification=True).num_rows
    except PermissionError as error:
        raise StorageError(f"Could not read {path}: there is no permission; change it and try again.") from error
    except (OSError, pa.ArrowException) as error:
        raise IntegrityError(f"{path} is damaged: {error}") from error


@contextlib.contextmanager
def opened(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetFile]:
    """A committed file for a look at its footer and some of its columns; texts come dictionary coded."""
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    try:
        with pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=texts) as file:
            yield file
    except FileNotFoundError as error:
        raise IntegrityError(f"A committed file is missing: {error}; run `jepa-sweep repair`.") from error
    except PermissionError as error:
        raise StorageError(f"Could not read {path}: there is no permission; change it and try again.") from error
    except (OSError, pa.ArrowException) as error:
        raise IntegrityError(f"{path} is damaged: {error}; run `jepa-sweep repair`.") from error


def read(paths: Sequence[Path], schema: pa.Schema, columns: Sequence[str] | None, filters: Filters) -> pd.DataFrame:
    """The rows of several files that pass the filters, as pandas.

    Raises:
        SpecError: a column or filter names what is not in the table.
        IntegrityError: a file is damaged.
    """
    unknown = [c for c in columns or () if c not in schema.names]
    if unknown:
        raise SpecError(f"Columns must be among {', '.join(schema.names)}, but `{unknown[0]}` was asked for.")
    try:
        expression = None if filters is None else _expression(filters)
        dataset = ds.dataset([str(p) for p in paths], schema=schema, format=_FORMAT)
        scanner = dataset.scanner(columns=None if columns is None else list(columns), filter=expression)
    except FileNotFoundError as error:
        raise IntegrityError(f"A committed file is missing: {error}; run `jepa-sweep repair`.") from error
    except (pa.ArrowException, ValueError, TypeError, KeyError) as error:
        raise SpecError(f'Filters must be like [("lam", ">", 1.0)] on columns of the table, but: {error}') from error
    try:
        return scanner.to_table().to_pandas()
    except (OSError, pa.ArrowException) as error:
        for path in paths:
            check(path)  # names the damaged one
        raise IntegrityError(f"A file of the table could not be read: {error}") from error


def batches(paths: Sequence[Path], schema: pa.Schema, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """The same columns file by file, for summaries of tables that do not fit into memory."""
    for path in paths:
        yield read([path], schema, columns, None)


def near(values: dict[str, Any], rtol: float) -> pc.Expression | None:
    """A filter for rows whose columns equal the values, numbers within a relative tolerance."""
    expression = None
    for name, value in values.items():
        field = pc.field(name)
        if isinstance(value, str):
            term = field == value
        else:
            slack = rtol * abs(float(value))
            term = (field >= float(value) - slack) & (field <= float(value) + slack)
        expression = term if expression is None else expression & term
    return expression


def _expression(filters: Filters) -> pc.Expression:
    return filters if isinstance(filters, pc.Expression) else pq.filters_to_expression(filters)
