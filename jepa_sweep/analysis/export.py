"""Tables of a run in the formats of other programs: CSV, DuckDB, netCDF, Zarr; and a card that describes them.

Rows are read and written file by file. Only arrays, netCDF and Zarr, hold a whole table in memory.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from jepa_sweep import output
from jepa_sweep.analysis import arrays, card, provenance
from jepa_sweep.analysis.arrays import ABSENT
from jepa_sweep.checks import check_one_of, extra, is_unicode, plain
from jepa_sweep.errors import SpecError, StorageError
from jepa_sweep.physics.host import Status
from jepa_sweep.store import table
from jepa_sweep.store.location import STAGING
from jepa_sweep.store.reader import Reader
from jepa_sweep.systems.system import System

if TYPE_CHECKING:
    import xarray as xr


class Exported(NamedTuple):
    """What was written."""

    path: Path | str  # text for a card in a bucket
    rows: dict[str, int]  # of each table

    @property
    def bytes(self) -> int:
        """Size of all files; 0 of a card in a bucket."""
        if not isinstance(self.path, Path):
            return 0
        files = [self.path] if self.path.is_file() else [file for file in self.path.rglob("*") if file.is_file()]
        return sum(file.stat().st_size for file in files)


def export(
    store: Reader, system: Callable[[], System], to: str, out: str | Path | None = None, only: str | None = None
) -> Exported:
    """Write the tables of a run as another format; nothing that is there already is overwritten.

    Args:
        store: the run.
        system: gives its system, which arrays need and rows do not.
        to: csv, duckdb, netcdf, zarr or card.
        out: the new file or folder; by default named like the run and beside it, the card README.md in it.
        only: the one table to write; all by default.

    Raises:
        SpecError: there is no such format or table, something stands at `out`, a package is not installed, or arrays
            are asked for of points that are not a grid.
        IntegrityError: a file of the run is damaged.
        StorageError: the file system refuses.
    """
    check_one_of("to", to, (*ROWS, *ARRAYS, "card"))
    names = [only] if only else list(store.tables)
    check_one_of("table", names[0], store.tables)
    if not store.log.commits():
        raise SpecError(f"{store.path} must hold rows to be exported, but nothing is computed yet; run its spec.")
    given = None if out is None else output.place(out)
    if given and isinstance(store.path, Path) and given.resolve().is_relative_to(store.path.resolve()):
        raise SpecError(f"An export must lie outside the run directory {store.path}, but {out} was given.")
    if to == "card":
        if only:
            raise SpecError("A card must describe all tables, but `table` was given; leave it out.")
        return Exported(_card(store, given), {name: store.rows(name) for name in names})
    if to in ARRAYS and not only:  # failures stand in the status of points
        names = [name for name in names if name == "points" or (name != "failures" and store.rows(name))]
    path = given or _folder_of(store) / f"{store.title}.{SUFFIXES[to]}"
    with output.new(path) as place, _in_unicode(place) as part:
        if to in ROWS:
            ROWS[to](store, names, part)
        else:
            ARRAYS[to](((name, _flagged(arrays.dataset(store, system(), name))) for name in names), part)
    return Exported(path, {name: store.rows(name) for name in names})


@contextlib.contextmanager
def _in_unicode(path: Path) -> Iterator[Path]:
    """The same place by a path in Unicode, as the libraries that write want it."""
    if is_unicode(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="jepa_sweep-") as folder:
        there = Path(folder, "there")
        there.symlink_to(path.parent.absolute())
        yield there / "made"
        os.rename(there / "made", path)


def _folder_of(store: Reader) -> Path:
    return store.path.resolve().parent if isinstance(store.path, Path) else Path()


def _chunks(store: Reader, name: str) -> Iterator[pa.Table]:
    """The rows of a table, file by file, of large ones piece by piece."""
    described, parts = store.schema(name), store.parts(name)
    asked = table.Question(described.names)
    return (piece for part in parts for piece in table.pieces(store.location, part, described, asked))


# --- rows -------------------------------------------------------------------------------------------------------------


def _csv(store: Reader, names: Sequence[str], folder: Path) -> None:
    """A folder with one file a table; numbers have all digits, and what does not exist is empty."""
    from pyarrow import csv

    folder.mkdir()
    for name in names:
        described = store.schema(name)
        # A file of Python's, so that what the file system refuses is an error that says which.
        with (folder / f"{name}.csv").open("wb") as sink, csv.CSVWriter(sink, described) as writer:
            for rows in _chunks(store, name):
                writer.write_table(rows)


def _duckdb(store: Reader, names: Sequence[str], path: Path) -> None:
    """A database with all tables, meaning and unit as comments of their columns, and a table of provenance."""
    with extra("A DuckDB database needs duckdb", "sql"):
        import duckdb
    with _refused(path, duckdb.Error), contextlib.closing(duckdb.connect(path)) as base:
        for name in names:
            described = store.schema(name)
            base.register("chunk", described.empty_table())
            base.execute(f"create table {_quoted(name)} as select * from chunk")
            for rows in _chunks(store, name):
                base.register("chunk", rows)
                base.execute(f"insert into {_quoted(name)} select * from chunk")
            base.unregister("chunk")
            base.execute(f"comment on table {_quoted(name)} is {_text(described.metadata[b'time'].decode())}")
            for field in described:
                column = f"{_quoted(name)}.{_quoted(field.name)}"
                base.execute(f"comment on column {column} is {_text(_comment(field))}")
        base.execute("create table provenance (fact varchar, value varchar)")
        base.executemany("insert into provenance values (?, ?)", list(provenance.facts(store).items()))


def _comment(field: pa.Field) -> str:
    """Meaning, equation and unit of a column in one line."""
    notes = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    unit = f"[{notes['unit']}]" if notes.get("unit") else ""
    return " ".join(filter(None, (notes.get("meaning"), notes.get("equation") and f"({notes['equation']})", unit)))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# --- arrays -----------------------------------------------------------------------------------------------------------


def _netcdf(tables: "Iterable[tuple[str, xr.Dataset]]", path: Path) -> None:
    """A netCDF-4 file with one group a table."""
    with extra("This format needs netCDF4", "xarray"):
        import netCDF4  # noqa: F401, xarray calls it
    with _refused(path, RuntimeError):
        for name, made in tables:
            packed = {column: {"zlib": True, "complevel": 1} for column in made.data_vars if made[column].ndim}
            made.to_netcdf(path, "a", group=name, engine="netcdf4", encoding=packed)


def _zarr(tables: "Iterable[tuple[str, xr.Dataset]]", path: Path) -> None:
    """A Zarr store with one group a table."""
    with extra("This format needs zarr", "xarray"):
        import zarr  # noqa: F401, xarray calls it
    for name, made in tables:
        # Of texts only those of any length have a place in the specification.
        words = {axis: values.astype(object) for axis, values in made.coords.items() if values.dtype.kind == "U"}
        made.assign_coords(words).to_zarr(path, group=name, mode="a", zarr_format=3, consolidated=False)


def _flagged(made: "xr.Dataset") -> "xr.Dataset":
    """The same with each status as a number, whose meaning stands in flag_values and flag_meanings as in CF."""
    if "status" not in made:
        return made
    words = made["status"]
    codes, meanings = np.full(words.shape, -1, dtype=np.int8), {-1: ABSENT}
    for status in Status:
        here = words.to_numpy() == status.label
        if here.any():
            codes[here], meanings[int(status)] = status, status.label
    flags = {"flag_values": np.array(list(meanings), dtype=np.int8), "flag_meanings": " ".join(meanings.values())}
    return made.assign(status=(words.dims, codes, words.attrs | flags))


@contextlib.contextmanager
def _refused(path: Path, kind: type[Exception]) -> Iterator[None]:
    """What a library says of files in errors of its own becomes a `StorageError`."""
    try:
        yield
    except kind as error:
        raise StorageError(
            f"Could not write {path.name}: {plain(error, 300).rstrip('.')}; see that there is space and permission, "
            "and run the same command again."
        ) from error


# --- description ------------------------------------------------------------------------------------------------------


def _card(store: Reader, out: Path | None) -> Path | str:
    """README.md, beside the tables unless another place is given."""
    data = card.text(store).encode()
    if out:
        with output.new(out) as part:
            part.write_bytes(data)
        return out
    where = store.location.where("README.md")
    store.location.prepare((STAGING,))  # which a copy of the run may lack
    if store.location.exists("README.md") or not store.location.publish("README.md", data):
        raise output.taken(where)
    return Path(where) if isinstance(store.path, Path) else where


ROWS = {"csv": _csv, "duckdb": _duckdb}
ARRAYS = {"netcdf": _netcdf, "zarr": _zarr}
SUFFIXES = {"csv": "csv", "duckdb": "duckdb", "netcdf": "nc", "zarr": "zarr"}
