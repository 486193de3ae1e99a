"""Parquet files as bytes: writing them, and reading them piece by piece.

A file of a few megabytes may hold gigabytes of rows, so no more of them are decoded at a time than a piece has.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jepa_sweep.checks import plain
from jepa_sweep.errors import IntegrityError
from jepa_sweep.store.location import REPAIR

PIECE = 1 << 16  # rows that are decoded at a time
MOST_TEXT = 1 << 28  # bytes of a text column of a piece
PROVABLE = 1 << 28  # bytes of a file without a record, and of its rows, up to which they are compared


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


def metadata(data: bytes, where: str) -> pq.FileMetaData:
    """What the footer says, which may be given alone; raises `IntegrityError` if it cannot be read."""
    with decoding(where):
        return pq.read_metadata(pa.BufferReader(buffer(data)))


def source(data: bytes, schema: pa.Schema, where: str, **options: Any) -> pq.ParquetFile:
    """A file to be read in pieces, its texts as numbers of a list of words: a long word may stand in many rows."""
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    with decoding(where):
        return pq.ParquetFile(pa.BufferReader(buffer(data)), read_dictionary=texts, pre_buffer=False, **options)


def pieces(
    file: pq.ParquetFile, schema: pa.Schema, where: str, rows: int = PIECE, groups: list[int] | None = None
) -> Iterator[pa.Table]:
    """The columns of this schema, in tables of so many rows each, the last with fewer; all row groups by default.

    Raises:
        IntegrityError: they cannot be read.
    """
    held, count = list[pa.Table](), 0
    for piece in _small_pieces(file, schema, where, groups):
        while count + piece.num_rows >= rows:
            cut = rows - count
            yield pa.concat_tables([*held, piece.slice(0, cut)])
            held, count, piece = [], 0, piece.slice(cut)
        held.append(piece)
        count += piece.num_rows
    if count:
        yield pa.concat_tables(held)


def _small_pieces(file: pq.ParquetFile, schema: pa.Schema, where: str, groups: list[int] | None) -> Iterator[pa.Table]:
    with decoding(where):
        # Not in threads of Arrow: files are read side by side.
        for batch in file.iter_batches(PIECE, groups, schema.names, use_threads=False):
            columns = [_spelt(batch[f.name], where) if pa.types.is_string(f.type) else batch[f.name] for f in schema]
            yield pa.Table.from_arrays(columns, schema=schema)


def _spelt(words: pa.DictionaryArray, where: str) -> pa.Array:
    """Text that is given by numbers of words; raises `IntegrityError` where there is too much of it."""
    words.validate(full=True)  # that it is UTF-8 text, which no reader looks at
    if words.dictionary.nbytes * len(words) > MOST_TEXT:
        lengths = pc.call_function("binary_length", [words.dictionary]).to_numpy()
        size = int(lengths[words.indices.drop_null().to_numpy()].sum(dtype=np.int64))
        if size > MOST_TEXT:
            raise IntegrityError(
                f"{where} is damaged: {len(words):,} of its rows hold {size:,} bytes of text in one column; {REPAIR}."
            )
    return words.dictionary_decode()


def decoded(data: bytes, where: str) -> pa.Table | None:
    """The rows of a file that no commit record lists, without notes; None if they are too many to be looked at.

    Raises:
        IntegrityError: they cannot be read.
    """
    with decoding(where):
        schema = pq.read_schema(pa.BufferReader(buffer(data))).remove_metadata()
    found, size = [schema.empty_table()], 0
    for piece in pieces(source(data, schema, where, page_checksum_verification=True), schema, where):
        found.append(piece)
        size += piece.nbytes
        if size > PROVABLE:
            return None
    return pa.concat_tables(found)


def by_another_release(data: bytes) -> bool:
    """True if a readable file says that another release of pyarrow wrote it."""
    wrote = pq.read_metadata(pa.BufferReader(buffer(data))).created_by
    writer = re.fullmatch(r"parquet-cpp-arrow version (\d+\.\d+\.\d+)", wrote)
    return writer is not None and writer[1] != pa.cpp_version


@contextlib.contextmanager
def decoding(where: str) -> Iterator[None]:
    """What Arrow refuses inside is an `IntegrityError`: a file is not what it must be."""
    try:
        yield
    except MemoryError:  # of a machine, not of the file
        raise
    except (OSError, ValueError, LookupError, TypeError, NotImplementedError, pa.ArrowException) as error:
        raise IntegrityError(f"{where} is damaged: {plain(error, 200).rstrip('.')}; {REPAIR}.") from None


def buffer(data: bytes) -> pa.Buffer:
    """The same bytes in Arrow's own memory.

    Arrow's threads may be the last to release them, which aborts the process if the memory is Python's and Python is
    shutting down.
    """
    held = pa.allocate_buffer(len(data))
    pa.FixedSizeBufferWriter(held).write(data)
    return held
