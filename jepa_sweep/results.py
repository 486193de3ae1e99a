"""The results of a run: reading its tables, comparing and drawing them.

What compares and draws is imported when it is called: reading needs neither JAX nor matplotlib, and saying what a
store holds needs no pandas.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import pyarrow as pa

from jepa_sweep.store import overview
from jepa_sweep.store.overview import Overview
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.schema import Column
from jepa_sweep.store.table import Filters

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from jepa_sweep.analysis.compare import Comparison
    from jepa_sweep.running.report import Report
    from jepa_sweep.systems.system import System
    from jepa_sweep.view.plots import Plots


class Store:
    """The results of a run: its tables as pandas, pictures of them, and what made them.

    Nothing here adds to the tables: `jepa_sweep.run` computes what is missing, `repair` and `retry` mend.

    - The rows: `points`, `trajectories`, `failures`, and where the system has them `features`, `losses`,
      `covariances`; `select` those with given values; `read` and `batches` any table of `tables`.
    - What is there: `overview` (which a notebook shows), `rows`, `counts`, `schema`, `parameters`, `time`.
    - What it says: `compare` with theory, or with another run; `plot`.
    - For others: `to_xarray`, arrays over the axes of the grid; `export`, files of other formats, or a card.
    - Where it comes from: `path`, `system`, `frozen`, `specs`, `source`, `environments`, `report`.
    - Whether it is whole: `damage`, `lost_notes`, `strays`.

    Example:
        >>> import tempfile, jepa_sweep as js
        >>> axes = {"lam": [0.5, 1.0], "rho": 0.8, "L": [1, 2], "eps": 1e-3}
        >>> path = js.run({"name": "tiny", "axes": axes}, out=tempfile.mkdtemp()).path
        >>> store = js.Store(path)
        >>> store.select(objective="jepa", lam=0.5)[["L", "t_numeric"]].round(2).values.tolist()
        [[1.0, 2011.71], [2.0, 44866.93]]
        >>> len(store.points(filters=[("L", "==", 2), ("lam", ">", 0.5)])), store.counts("points", "status")
        (2, {'learned': 8})
        >>> store.compare()[["objective", "L", "points"]].values.tolist()
        [['jepa', 1, 2], ['jepa', 2, 2], ['mae', 1, 2], ['mae', 2, 2]]
        >>> store.compare(path).worst, store.damage()
        (0.0, {})
    """

    def __init__(
        self, path: str | Path | Reader, *, system: "System | None" = None, report: "Report | None" = None
    ) -> None:
        """Open a run directory.

        Args:
            path: the directory, or a place in a bucket.
            system: the system of the run, where that is a flow of the user's own that is in no file.
            report: what the run that has just ended came to, as `jepa_sweep.run` hands it over; None otherwise.

        Raises:
            SpecError: there is no run.
            IntegrityError: its store.json is damaged.
        """
        self.reader = path if isinstance(path, Reader) else Reader(path)  # what the rest of the package works with
        self.report, self._given = report, system

    # --- rows ---------------------------------------------------------------------------------------------------------

    def points(self, columns: str | Sequence[str] | None = None, filters: Filters = None) -> "pd.DataFrame":
        """One row a finished point: parameters, numeric and predicted times, their difference, status, steps.

        Args:
            columns: which column or columns to read; all by default.
            filters: rows to keep, as `pandas.read_parquet` takes them: [("lam", ">", 1.0), ("L", "==", 5)].

        Raises:
            SpecError: a column or filter names what is not there.
            IntegrityError: a file is damaged.
        """
        return self.reader.read("points", columns, filters)

    def trajectories(self, columns: str | Sequence[str] | None = None, filters: Filters = None) -> "pd.DataFrame":
        """One row a sample: the point's parameters, t, w, w_exact. Arguments as `points`."""
        return self.reader.read("trajectories", columns, filters)

    def failures(self, columns: str | Sequence[str] | None = None, filters: Filters = None) -> "pd.DataFrame":
        """One row a point that failed: its parameters, status, and what to try. Arguments as `points`."""
        return self.reader.read("failures", columns, filters)

    def features(self, columns: str | Sequence[str] | None = None, filters: Filters = None) -> "pd.DataFrame":
        """One row a feature of a network or series, in stores that have them. Arguments as `points`."""
        return self.reader.read("features", columns, filters)

    def losses(self, columns: str | Sequence[str] | None = None, filters: Filters = None) -> "pd.DataFrame":
        """One row a sample of the loss of a network, in stores that have them. Arguments as `points`."""
        return self.reader.read("losses", columns, filters)

    def covariances(self, columns: str | Sequence[str] | None = None, filters: Filters = None) -> "pd.DataFrame":
        """One row an entry of the covariance matrices of a series, in stores that have them. Arguments as `points`."""
        return self.reader.read("covariances", columns, filters)

    def select(self, table_name: str = "points", /, rtol: float = 1e-9, **values: Any) -> "pd.DataFrame":
        """Rows whose columns equal the given values.

        A number equals what is within a relative tolerance of it; where nothing is, what reads the same in six
        significant digits, as tables are printed; where nothing does, what reads the same in as many digits as were
        given, at least two. Words match without regard to case.

        Args:
            table_name: the table.
            rtol: the relative tolerance.
            values: a number or text for each column that must have it.

        Raises:
            SpecError: there is no such column, or no such value of a swept one in the run; the nearest are named.

        Warns:
            SpecWarning: other values than those given were taken, or a measured column has no such value.

        Example: `store.select(lam=0.1, L=5, objective="jepa")`, `store.select("trajectories", rho=0.7)`.
        """
        return self.reader.select(table_name, rtol, **values)

    def read(self, name: str, columns: str | Sequence[str] | None = None, filters: Filters = None) -> "pd.DataFrame":
        """Rows of any table of `tables`. Further arguments as `points`."""
        return self.reader.read(name, columns, filters)

    def batches(
        self, name: str, columns: str | Sequence[str] | None = None, filters: Filters = None
    ) -> "Iterator[pd.DataFrame]":
        """The same file by file, large ones in several batches, for tables beyond memory; the first has no rows."""
        return self.reader.batches(name, columns, filters)

    # --- what is there ------------------------------------------------------------------------------------------------

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of its tables."""
        return self.reader.tables

    @property
    def parameters(self) -> tuple[Column, ...]:
        """The swept parameters, as columns: name, type, unit, meaning."""
        return self.reader.parameters

    @property
    def time(self) -> str:
        """The convention of every time here: "paper", "flow", or "own" of a flow of the user's own."""
        return self.reader.time

    def schema(self, name: str) -> pa.Schema:
        """The Arrow schema of a table; each field's metadata says its unit, meaning and equation."""
        return self.reader.schema(name)

    def overview(self) -> Overview:
        """What is here in a few numbers: rows, bytes, values of each parameter, statuses, the worst difference."""
        return self.reader.overview()

    def rows(self, name: str) -> int:
        """The number of rows of a table."""
        return self.reader.rows(name)

    def counts(self, name: str, column: str) -> dict[str, int]:
        """How often each text stands in a column of a table, the most frequent first."""
        return self.reader.counts(name, column)

    # --- what it says -------------------------------------------------------------------------------------------------

    @overload
    def compare(self, other: None = None) -> "pd.DataFrame": ...

    @overload
    def compare(self, other: "Store | str | Path") -> "Comparison": ...

    def compare(self, other: "Store | str | Path | None" = None) -> "pd.DataFrame | Comparison":
        """What was measured beside what theory predicts, in rows that suit the system; or beside another run.

        Args:
            other: a run of the same parameters, of another tolerance, coordinate, device or version; or its path.

        Returns:
            Without `other` a table. With it a comparison that prints itself: which `settings` differ, the points
            `only_here` and `only_there`, `statuses`, `differences` of numbers, the `worst` of all; `rows()` has all
            rows side by side.

        Raises:
            SpecError: the runs are of different systems, conventions of time or parameters, or have no point in common.
        """
        from jepa_sweep.analysis.compare import comparison

        return self.system.compare(self.reader) if other is None else comparison(self.reader, opened(other).reader)

    def to_xarray(self, table: str = "points") -> "xr.Dataset":
        """A table as labelled arrays over the axes of its grid.

        Dimensions are the axes with several values; those with one are scalar coordinates. Samples and features of a
        point have axes of their own. Cells without a row are NaN, and their `status` is "absent", or says how the point
        failed. Coordinates and variables carry unit, meaning and equation; the dataset carries what made it.

        Args:
            table: any but `failures`.

        Raises:
            SpecError: the points are not a grid, there are no rows, or xarray is not installed.

        Example:
            >>> import tempfile, jepa_sweep as js
            >>> axes = {"lam": 1.0, "rho": [0.5, 1.0], "L": [1, 2], "eps": 1e-3}
            >>> sweep = js.Sweep(name="tiny", axes=axes, solver={"method": "exact"})
            >>> arrays = js.run(sweep, out=tempfile.mkdtemp()).to_xarray()
            >>> dict(arrays.sizes)
            {'objective': 2, 'rho': 2, 'L': 2}
            >>> float(arrays.t_exact.sel(objective="jepa", rho=1.0, L=1)) > 0
            True
        """
        from jepa_sweep.analysis import arrays

        return arrays.dataset(self.reader, self.system, table)

    def export(self, to: str, out: "str | Path | None" = None, table: str | None = None) -> "Path | str":
        """Write the tables in the format of other programs, or a card that describes them; returns where.

        Args:
            to: "csv" (a folder with one file a table), "duckdb" (a database), "netcdf" or "zarr" (a group a table, as
                `to_xarray` has it, with numbers for the words of `status`), or "card" (README.md, a card of a data
                set).
            out: the new file or folder; by default `<run>.csv` and so on beside the run, the card in it.
            table: the one table to write; all by default.

        Raises:
            SpecError: something stands there already, the points are not a grid, or a package is not installed.
            StorageError: the file system refuses; nothing half-written stays.

        Example:
            >>> import tempfile, jepa_sweep as js
            >>> axes = {"lam": 1.0, "rho": [0.5, 1.0], "L": [1, 2], "eps": 1e-3}
            >>> sweep = js.Sweep(name="tiny", axes=axes, solver={"method": "exact"})
            >>> store = js.run(sweep, out=f"{tempfile.mkdtemp()}/tiny")
            >>> sorted(file.name for file in store.export("csv").iterdir())
            ['failures.csv', 'points.csv', 'trajectories.csv']
        """
        from jepa_sweep.analysis.export import export

        return export(self.reader, lambda: self.system, to, out, table).path

    @property
    def plot(self) -> "Plots":
        """Pictures of this store: `.critical_times()`, `.trajectories()`, `.order()`; they need matplotlib."""
        from jepa_sweep.view.plots import Plots

        return Plots(self.reader, self.system.curves)

    # --- where it comes from ------------------------------------------------------------------------------------------

    @property
    def path(self) -> Path | str:
        """The run directory; text if it lies in a bucket."""
        return self.reader.path

    @functools.cached_property
    def system(self) -> "System":
        """The system of this run; where it is the user's own, the file that the store keeps is run."""
        from jepa_sweep.systems import registry

        return self._given or registry.of_store(self.reader)

    @property
    def frozen(self) -> dict[str, Any]:
        """What decides the numbers: system, version, solver, trajectories."""
        return self.reader.frozen

    def specs(self) -> dict[str, str]:
        """SHA-256 -> text of every spec that was applied here."""
        return self.reader.specs()

    def source(self) -> str | None:
        """The text of the file of a user's own system; None where the system is in no file of the user's."""
        return self.reader.source()

    def environments(self) -> dict[str, Any]:
        """Name -> where rows were made: versions, device, git revision, command line; None for a damaged note."""
        return self.reader.environments()

    # --- whether it is whole ------------------------------------------------------------------------------------------

    def damage(self) -> dict[str, list[str]]:
        """Number of each damaged chunk -> what is wrong with it, file by file; empty if all is well."""
        return self.reader.damage()

    def lost_notes(self) -> list[str]:
        """What is wrong with specs, sources and environments, which cannot be computed again."""
        return self.reader.lost_notes()

    def strays(self) -> list[str]:
        """Files in the run directory that are none of the store's."""
        return self.reader.strays()

    # --- printed ------------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return overview.text(self.path, *self._told())

    def _repr_html_(self) -> str:
        """The same in a notebook."""
        return overview.html(self.path, *self._told())

    def _told(self) -> tuple[Overview, str]:
        """An overview, or a blank one and the error that prevented it."""
        try:
            return self.reader.overview(), ""
        except Exception as error:  # of any kind: a notebook or a debugger prints a store in every state
            return overview.blank(self.reader.manifest), str(error) or type(error).__name__


def opened(store: Store | str | Path) -> Store:
    """The store at a path."""
    return store if isinstance(store, Store) else Store(store)
