"""Tables as labelled arrays: each column over the axes of the grid, as xarray takes them.

The axes come from the specs that the store keeps, and every row is put to its place among them. Memory: one
array a column over the grid, and one file at a time.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from jepa_sweep.analysis import provenance
from jepa_sweep.checks import extra
from jepa_sweep.errors import IntegrityError, SpecError
from jepa_sweep.physics.host import Columns
from jepa_sweep.spec import lattice
from jepa_sweep.spec.grid import places
from jepa_sweep.spec.lattice import Lattice
from jepa_sweep.spec.models import Sweep
from jepa_sweep.store import table
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.schema import WITHIN
from jepa_sweep.systems.system import System

if TYPE_CHECKING:
    import xarray as xr

SAMPLE = "sample"  # the axis of what is sampled at times, which differ from point to point
SAMPLES = {"long_name": "number of the sample, from 0"}
ABSENT = "absent"  # the status of a cell without a row
MOST_EMPTY = 10  # cells for each row, beyond which most of them would be empty ...
FEW = 1_000_000  # ... where there are more than these


def dataset(store: Reader, system: System, name: str = "points") -> "xr.Dataset":
    """A table as a `Dataset` over the axes of its grid.

    Args:
        store: the run.
        system: its system.
        name: the table.

    Raises:
        SpecError: its points are not a grid, it has no rows, or xarray is not installed.
        IntegrityError: a file is damaged, or a spec is missing.
    """
    with extra("Labelled arrays need xarray", "xarray"):
        import xarray
    described, notes = store.schema(name), {field.name: _notes(field) for field in store.schema(name)}
    grid = _grid(store, system, name)
    inside = _inside(store, name)
    axes = grid.axes | inside
    _check_size(store, name, axes)
    dims = {axis: len(values) for axis, values in axes.items() if len(values) > 1 or axis in inside}
    filled = {column: v.reshape(tuple(dims.values())) for column, v in _filled(store, name, described, axes).items()}
    coordinates: dict[str, Any] = {
        axis: ((axis,), values, notes.get(axis, SAMPLES)) if axis in dims else ((), values[0], notes[axis])
        for axis, values in axes.items()
    }
    coordinates |= {axis: (*coordinates[other][:2], notes[axis]) for axis, other in grid.same.items()}
    if "t" in filled:  # samples of several features are taken at the same times
        shared = tuple(axis for axis in dims if axis == SAMPLE or axis not in inside)
        times = filled.pop("t")[tuple(slice(None) if axis in shared else 0 for axis in dims)]
        coordinates["t"] = (shared, times, notes["t"])
    measured = {column: (tuple(dims), values, notes[column]) for column, values in filled.items()}
    return xarray.Dataset(measured, coordinates, {"table": name, **provenance.facts(store)})


def _grid(store: Reader, system: System, name: str) -> Lattice:
    """The axes that the rows of a table have in common; raises a `SpecError` where there are none."""
    described = store.schema(name)
    if name == "failures":
        raise SpecError(
            "Failed points must be read as rows, because they are few: with store.failures(); in the arrays of points, "
            "`status` says which they are."
        )
    if not _rows(store, name):
        raise SpecError(f"{store.path} must hold rows to make arrays of, but it has none of {name}.")
    if SAMPLE in described.names and "t" in described.names:
        raise SpecError(f"No column must be called `{SAMPLE}`, as the axis of samples is, but {name} has one.")
    try:
        return lattice.of_sweeps(_sweeps(store, system), described.names)
    except SpecError as error:
        raise SpecError(
            f'{error} Rows need no grid: try store.read("{name}"), or store.read("{name}").to_xarray(), whose one '
            f"dimension is the row, or `export --to csv` ({store.path})."
        ) from None


def _sweeps(store: Reader, system: System) -> list[Sweep]:
    """The sweeps whose points are in the store, or were begun."""
    asked = store.specs_of(dict.fromkeys(claim.spec for claim in store.log.claims().values()))
    return [Sweep.parse(text, f"a spec kept in {store.path}", system=system) for text in asked.values()]


def _inside(store: Reader, name: str) -> Columns:
    """Axes inside one point: features, entries of matrices, samples."""
    described = store.schema(name)
    numbering = [c for c in WITHIN if c in described.names and c not in store.manifest.parameters]
    most = dict.fromkeys(numbering, 0)
    for part in store.parts(name) if numbering else ():
        rows = table.rows(store.location, part, described, numbering)
        most = {c: max(most[c], int(np.max(rows[c].to_numpy(), initial=0))) for c in numbering}
    if most and max(most.values()) > store.rows(name):
        raise SpecError(f"Features and the like must be numbered from 0 without gaps, but {name} has larger numbers.")
    axes = {c: np.arange(last + 1) for c, last in most.items()}
    return axes | ({SAMPLE: np.arange(store.frozen["trajectories"]["samples"])} if "t" in described.names else {})


def _check_size(store: Reader, name: str, axes: Columns) -> None:
    """Raise a `SpecError` if arrays over these axes would be almost empty."""
    cells, rows = math.prod(map(len, axes.values())), _rows(store, name)
    if cells > max(FEW, MOST_EMPTY * rows):
        raise SpecError(
            f"Arrays must not be almost empty, but {name} has {rows:,} rows for {cells:,} combinations of "
            f"{', '.join(axis for axis, values in axes.items() if len(values) > 1)}; finish the run, or read the rows "
            f'with store.read("{name}") ({store.path}).'
        )


def _filled(store: Reader, name: str, described: pa.Schema, axes: Columns) -> dict[str, np.ndarray]:
    """The measured columns over all cells, one after the other."""
    size = math.prod(map(len, axes.values()))
    columns = [f for f in described if f.name not in axes and f.name not in store.manifest.parameters]
    words = {f.name: [ABSENT] for f in columns if pa.types.is_string(f.type)}  # what numbers stand for until the end
    # Whole numbers are floats as long as one may be missing, as in pandas.
    arrays: Columns = {f.name: np.full(size, np.nan, np.float32 if f.type == pa.float32() else float) for f in columns}
    arrays |= {column: np.zeros(size, dtype=np.int16) for column in words}
    filled = np.zeros(size, dtype=bool)
    for source in _sources(name):
        here = store.schema(source)
        for part in store.parts(source):
            rows = table.rows(store.location, part, here, here.names)
            cells = _cells(store, axes, rows)
            filled[cells] = True
            for column in arrays.keys() & set(here.names):
                found = rows[column]
                arrays[column][cells] = _coded(found, words[column]) if column in words else found.to_numpy()
    if filled.sum() != _rows(store, name):
        raise SpecError(
            f"Rows of {name} must differ in objective, parameters, p or {', '.join(WITHIN)} to become cells of arrays, "
            f"but some do not ({store.path})."
        )
    whole = [f.name for f in columns if pa.types.is_integer(f.type) and not np.isnan(arrays[f.name]).any()]
    arrays |= {column: arrays[column].astype(np.int64) for column in whole}
    return arrays | {column: np.array(known)[arrays[column]] for column, known in words.items()}


def _sources(name: str) -> tuple[str, ...]:
    """The tables whose rows become cells: a point that failed has its status and steps."""
    return (name, "failures") if name == "points" else (name,)


def _rows(store: Reader, name: str) -> int:
    return sum(store.rows(source) for source in _sources(name))


def _cells(store: Reader, axes: Columns, rows: pa.Table) -> np.ndarray:
    """The number of the cell of each row."""
    cells = np.zeros(rows.num_rows, dtype=np.int64)
    for axis, values in axes.items():
        if axis != SAMPLE:
            coded = rows[axis].combine_chunks().dictionary_encode()  # many rows have few values
            place = places(values, coded.dictionary.to_numpy(zero_copy_only=False))[coded.indices.to_numpy()]
            if (place < 0).any():
                raise IntegrityError(
                    f"{store.path} must keep the specs of all its rows, but there is a row whose `{axis}` is in none."
                )
            cells = cells * len(values) + place
    return cells * len(axes[SAMPLE]) + _occurrence(cells) if SAMPLE in axes else cells


def _occurrence(cells: np.ndarray) -> np.ndarray:
    """How often each number has stood before: samples of a point follow each other in time."""
    order = np.argsort(cells, kind="stable")
    first = np.flatnonzero(np.diff(cells[order], prepend=-1))
    out = np.empty_like(cells)
    out[order] = np.arange(len(cells)) - np.repeat(first, np.diff(first, append=len(cells)))
    return out


def _coded(column: pa.ChunkedArray, known: list[str]) -> np.ndarray:
    """The place of each word of a column among the known ones, to which new ones are added."""
    coded = column.combine_chunks().dictionary_encode()
    words = coded.dictionary.to_pylist()
    known += [word for word in words if word not in known]
    return np.array([known.index(word) for word in words], dtype=np.int16)[coded.indices.to_numpy()]


def _notes(field: pa.Field) -> Mapping[str, str]:
    """Unit, meaning and equation under the names that xarray and netCDF have for them."""
    told: Sequence[tuple[str, str]] = (("unit", "units"), ("meaning", "long_name"), ("equation", "equation"))
    found = field.metadata or {}
    return {name: found[key.encode()].decode() for key, name in told if found.get(key.encode())}
