"""Reading a user's own pairs (x, y) from arrays, or from files as `jepa_sweep.moments` takes them, block by block."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jepa_sweep.checks import check_path, plain, real_numbers
from jepa_sweep.errors import SpecError

BLOCK_VALUES = 1 << 20  # numbers of x in one block
MOST_FEATURES = 1000


class Half(NamedTuple):
    """One side of the pairs, x or y, and how to read it."""

    name: str  # for messages
    shape: tuple[int, int]
    read: Callable[[], Iterator[np.ndarray]]  # each call yields blocks of rows, from the first row on


def blocks(x: Half, y: Half) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs, in blocks; the halves may break theirs at different rows.

    Raises:
        SpecError: a value is not a finite number, or a row is not like the others.
    """
    seen = 0
    halves = [x.read(), y.read()]
    waiting = [next(rows) for rows in halves]
    while True:
        size = min(map(len, waiting))
        block = waiting[0][:size], waiting[1][:size]
        for half, values in zip((x, y), block, strict=True):
            bad = np.argwhere(~np.isfinite(values))
            if len(bad):
                raise SpecError(
                    f"`{half.name}` must be finite numbers, but row {seen + bad[0, 0]} has {values[tuple(bad[0])]:g} "
                    f"in column {bad[0, 1]}; try leaving such rows out of both x and y."
                )
        yield block
        seen += size
        if seen == x.shape[0]:
            return
        waiting = [v[size:] if len(v) > size else next(rows) for v, rows in zip(waiting, halves, strict=True)]


def halves(x: Any, y: Any = None) -> tuple[Half, Half]:
    """Find x and y in whichever form they were given; raises `SpecError` as `moments` says."""
    paths = [isinstance(v, str | os.PathLike) for v in (x, y)]
    if paths[0] and y is None:
        both = _of_file(x, "xy")
    elif all(paths):
        both = _of_file(x, "x") + _of_file(y, "y")
    elif any(paths) or y is None:
        raise SpecError(
            "`x` and `y` must be two arrays, two files, or one file that holds both, but `x` is "
            f"{type(x).__name__} and `y` is {type(y).__name__}; for one array of pairs try `moments(a[:, 0], a[:, 1])`."
        )
    else:
        both = [_of_array("x", real_numbers("x", x)), _of_array("y", real_numbers("y", y))]
    first, second = both
    _check_shapes(first, second)
    return first, second


def _check_shapes(x: Half, y: Half) -> None:
    if x.shape != y.shape:
        raise SpecError(f"`{x.name}` and `{y.name}` must have the same shape, but they have {x.shape} and {y.shape}.")
    n, d = x.shape
    if not 1 <= d <= MOST_FEATURES:
        raise SpecError(
            f"`{x.name}` must have 1 to {MOST_FEATURES} columns, but it has {d}; try its leading principal components."
        )
    if n < max(10, 2 * d):
        raise SpecError(
            f"`{x.name}` must have at least {max(10, 2 * d)} samples for {d} columns, but it has {n}; try fewer "
            "columns, such as the leading principal components."
        )


def _rows_of_block(width: int) -> int:
    return max(1, BLOCK_VALUES // max(1, width))


def _of_array(name: str, values: np.ndarray) -> Half:
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2:
        raise SpecError(
            f"`{name}` must have one row per sample, shape (n, d), but its shape is {values.shape}; "
            "try `.reshape(n, -1)`."
        )
    size = _rows_of_block(values.shape[1])
    cuts = range(0, len(values), size)
    return Half(name, values.shape, lambda: (np.asarray(values[at : at + size], float) for at in cuts))


def _of_file(given: str | os.PathLike[str], letters: str) -> list[Half]:
    """The half of each letter in a file."""
    check_path(given)
    path = Path(given)
    if not path.is_file():
        raise SpecError(f"{path} must be a file of pairs, but there is no such file.")
    if path.suffix == ".npy":
        return _of_npy(path, letters)
    if path.suffix == ".parquet":
        return [_of_parquet(path, letter) for letter in letters]
    raise SpecError(
        f"{path} must be a .npy or .parquet file, but it ends in {path.suffix or 'nothing'!r}; try `numpy.save`, or "
        "`to_parquet` of a pandas table."
    )


def _of_npy(path: Path, letters: str) -> list[Half]:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise SpecError(f"{path} must be an array of numbers as `numpy.save` writes it, but: {error}") from None
    if not isinstance(values, np.ndarray):
        raise SpecError(
            f"{path} must be an array of numbers as `numpy.save` writes it, but it is an archive of several."
        )
    if values.dtype.kind not in "fiu":
        raise SpecError(f"{path} must hold real numbers, but its type is {values.dtype}.")
    if len(letters) == 1:
        return [_of_array(f"{letters} ({path})", values)]
    if values.ndim != 3 or values.shape[1] != 2:
        raise SpecError(
            f"{path} must hold pairs with shape (n, 2, d), but its shape is {values.shape}; try "
            "`numpy.stack([x, y], axis=1)`, or give x and y in two files."
        )
    return [_of_array(f"{letter} ({path})", values[:, i]) for i, letter in enumerate(letters)]


def _of_parquet(path: Path, letter: str) -> Half:
    """One half of a Parquet file: columns x0, x1, ..., or one column of lists."""
    name = f"{letter} ({path})"
    with _opened(path) as file:
        schema, count = file.schema_arrow, file.metadata.num_rows
        lists = letter in schema.names and hasattr(schema.field(letter).type, "value_field")
        width = _length_of_lists(file, letter, name) if lists else 0
    width = width or sum(n[:1] == letter and n[1:].isdigit() for n in schema.names)
    names = [letter] if lists else [f"{letter}{i}" for i in range(width)]
    if width == 0 or not set(names) <= set(schema.names):
        there = [f"{field.name} ({field.type})" for field in schema]
        raise SpecError(
            f"{path} must have columns {letter}0, {letter}1, ... without gaps, or one column {letter} of lists, but it "
            f"has {', '.join(there[:8])}{', ...' if len(there) > 8 else ''}."
        )

    def read() -> Iterator[np.ndarray]:
        seen = 0
        with _opened(path) as file:
            for batch in file.iter_batches(_rows_of_block(width), columns=names):
                floats = [_floats(column, name) for column in batch] if not lists else None
                yield np.column_stack(floats) if floats else _of_lists(batch[0], width, name, seen)
                seen += len(batch)

    return Half(name, (count, width), read)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A Parquet file; raises `SpecError` where it is none, or is found damaged when it is read."""
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise SpecError(f"{path} must be a Parquet file, but: {plain(str(error).strip(), 300)}") from None


def _length_of_lists(file: pq.ParquetFile, column: str, name: str) -> int:
    """The length that all lists of a column must have: that of the first. A missing one is no list: it is refused."""
    for batch in file.iter_batches(1, columns=[column]):
        first = batch[0][0].as_py()
        if not first:
            raise SpecError(f"`{name}` must be a list of numbers in every row, but row 0 has {_no_list(first)}.")
        return len(first)
    return 1  # without rows, of which there are too few in any case


def _of_lists(column: Any, width: int, name: str, seen: int) -> np.ndarray:
    lengths = pc.fill_null(pc.call_function("list_value_length", [column]), -1).to_numpy(zero_copy_only=False)
    other = np.flatnonzero(lengths != width)
    if len(other):
        length = lengths[other[0]]
        raise SpecError(
            f"`{name}` must be lists of one length, but row 0 has {width} numbers and row {seen + other[0]} has "
            f"{length if length > 0 else _no_list(None if length < 0 else [])}."
        )
    return _floats(column.flatten(), name).reshape(-1, width)


def _no_list(value: list | None) -> str:
    return "none (null)" if value is None else "an empty one"


def _floats(column: Any, name: str) -> np.ndarray:
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise SpecError(f"`{name}` must be real numbers, but the type is {column.type}.")
    return column.to_numpy(zero_copy_only=False).astype(float)
