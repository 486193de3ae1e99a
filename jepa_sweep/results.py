"""From a spec to its results: running it, reading its tables, trying failed points again, repairing damage.

What runs, draws and compares is imported when it is called: reading needs neither JAX nor matplotlib, and saying what
a store holds needs no pandas.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jepa_sweep.progress import Progress, showing
from jepa_sweep.store import overview
from jepa_sweep.store.overview import Overview
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.table import Filters

if TYPE_CHECKING:
    import pandas as pd

    from jepa_sweep.running.report import Report
    from jepa_sweep.spec.models import Sweep
    from jepa_sweep.systems.system import System
    from jepa_sweep.view.plots import Plots


class Store:
    """The results of a run: its tables as pandas, pictures of them, and what made them.

    Attributes that are not defined here are those of its `Reader`, where they are documented: `read`, `batches`,
    `select`, `rows`, `counts`, `overview`, `schema`, `specs`, `environments`, `damage`, `path`, `frozen`, and others.
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
        self.reader = path if isinstance(path, Reader) else Reader(path)
        self.report, self._given = report, system

    @functools.cached_property
    def system(self) -> "System":
        """The system of this run; where it is the user's own, the file that the store keeps is run."""
        from jepa_sweep.systems import registry

        return self._given or registry.of_store(self.reader)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # Python looks these up itself, perhaps before there is a reader
            raise AttributeError(name)
        return getattr(self.reader, name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for name in dir(self.reader) if not name.startswith("_"))]

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

    def compare(self, other: "Store | str | Path | None" = None) -> "pd.DataFrame":
        """What was measured beside what theory predicts, in rows that suit the system; or beside another run.

        Args:
            other: a run with the same points, of another tolerance, coordinate, device or version; or its path.
        """
        from jepa_sweep.analysis.compare import difference

        return self.system.compare(self.reader) if other is None else difference(self.reader, _opened(other).reader)

    @property
    def plot(self) -> "Plots":
        """Pictures of this store: `.critical_times()`, `.trajectories()`, `.order()`; they need matplotlib."""
        from jepa_sweep.view.plots import Plots

        return Plots(self.reader, self.system.curves)

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
            return overview.blank(self.reader.manifest), str(error)


def run(
    spec: "str | Path | Sweep | Mapping[str, Any]",
    out: str | Path | None = None,
    *,
    cluster: str | None = None,
    device: str = "auto",
    chunk_points: int | None = None,
    shard: str | None = None,
    max_failures: str | int | None = None,
    progress: Callable[[Progress], None] | bool | None = None,
) -> Store:
    """Compute every point of a spec that is not in the store yet, and return the store.

    Args:
        spec: a spec file, a `Sweep`, or the keys of one as a dict: `js.run({"name": "x", "axes": {...}})` is
            `js.run(js.Sweep(name="x", axes={...}))`; `help(js.Sweep)` documents them all.
        out: the run directory, or a place in a bucket like `s3://bucket/run`; `runs/<name>` by default. Running
            again continues or extends what is there.
        cluster: "ray" or "ray:ADDRESS" to compute on the machines of a Ray cluster, all of which must see `out`.
        device: "auto", "cpu", "gpu" or "tpu"; "gpu:0,1" names some of a kind.
        chunk_points: points that share one file; chosen from the size of the sweep by default.
        shard: "i/n" for every n-th chunk from the i-th on, counted from 0; all of them by default.
        max_failures: stop when more points than this have failed: a number, or a share of those computed like "5%".
        progress: a function that is called after each chunk; False for none; by default a live bar on a terminal and in
            a notebook, and nothing elsewhere.

    Returns:
        The open `Store`; read it with `.points()`, `.trajectories()`, `.failures()`. Its `.report` says what the run
        came to: points computed and failed, seconds, rates.

    Raises:
        SpecError: the spec cannot be run, or its numbers do not belong into this store.
        StorageError: the file system refused something; what was committed before stays, and running again goes on.

    Warns:
        SpecWarning: it asks for what is hardly wanted: seeds that cannot matter, a threshold that no point meets,
            samples long after all is learned, and the like.

    Example:
        >>> import tempfile, jepa_sweep as js
        >>> spec = {"name": "tiny", "axes": {"lam": 1.0, "rho": [0.5, 1.0], "L": [1, 2], "eps": 1e-3}}
        >>> store = js.run(spec, out=tempfile.mkdtemp())
        >>> len(store.points())
        8
    """
    from jepa_sweep.running.execute import execute

    bounds = {"chunk_points": chunk_points, "shard": shard, "max_failures": max_failures}
    with showing(progress) as show:
        report = execute(spec, out, cluster=cluster, device=device, progress=show, **bounds)
    return Store(report.store, system=report.system, report=report)


def repair(store: Store | str | Path, *, device: str = "auto") -> dict[str, list[str]]:
    """Set damaged chunks aside and compute exactly their points again; what was set aside is kept in `.damaged/`.

    Args:
        store: the run, or its path.
        device: where to compute, as `jepa_sweep.run` takes it.

    Returns:
        Number of each chunk that was damaged -> what was wrong with it. A chunk whose commit record and claim are both
        unreadable is only set aside: nothing says any more which points it held, and running its spec again finds
        them missing.

    Raises:
        IntegrityError: a spec kept in the store is damaged.
        StorageError: the file system refused something; running it again goes on.

    Example:
        >>> import tempfile, jepa_sweep as js
        >>> sweep = js.Sweep(name="tiny", axes={"lam": 1.0, "rho": [0.5, 1.0], "L": [1, 2], "eps": 1e-3})
        >>> store = js.run(sweep, out=tempfile.mkdtemp(), chunk_points=4)
        >>> (store.path / "points/000001.parquet").write_bytes(b"lost")
        4
        >>> list(js.repair(store)), len(store.points()), store.damage()
        (['000001'], 8, {})
    """
    from jepa_sweep.running import recovery

    store = _opened(store)
    return recovery.repair(store.reader, store.system, device)


def retry(
    store: Store | str | Path,
    statuses: str | Sequence[str] = ("failed",),
    *,
    rtol: float | None = None,
    max_steps: int | None = None,
    device: str = "auto",
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Compute points that failed once more, perhaps with other settings of the solver.

    What was computed before stays in the files of `failures`, and `store.failures()` leaves it out. Settings that
    differ from the spec's stand in the commit record of the new chunk.

    Args:
        store: the run, or its path.
        statuses: which failures: a word of the column `status` or several, or "failed" for all.
        rtol: relative tolerance in place of the spec's.
        max_steps: limit on the steps of a point in place of the spec's.
        device: where to compute, as `jepa_sweep.run` takes it.
        stop: asked before each chunk.

    Returns:
        How many points were tried, and how many of them failed again; `complete` is False if it was asked to stop.

    Raises:
        SpecError: there is no such status, or a setting cannot be used.
        StorageError: the file system refused something; what was committed before stays.

    Example:
        >>> import tempfile, jepa_sweep as js
        >>> axes = {"lam": 1.0, "rho": [0.5, 1.0], "L": [1, 2], "eps": 1e-3}
        >>> sweep = js.Sweep(name="tiny", axes=axes, solver={"method": "dopri8", "max_steps": 4})
        >>> store = js.run(sweep, out=tempfile.mkdtemp())
        >>> before = len(store.failures())
        >>> result = js.retry(store, ["max_steps"], max_steps=1000)
        >>> before == result["tried"] > 0, len(store.failures()), len(store.points())
        (True, 0, 8)
    """
    from jepa_sweep.running import recovery

    solver = {key: value for key, value in (("rtol", rtol), ("max_steps", max_steps)) if value is not None}
    store = _opened(store)
    return recovery.retry(store.reader, store.system, statuses, solver, device, stop)


def _opened(store: Store | str | Path) -> Store:
    return store if isinstance(store, Store) else Store(store)
