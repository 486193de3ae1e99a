"""From a spec to its results: running it, trying failed points again, repairing damage.

What computes is imported when it is called.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jepa_sweep.progress import Show, showing
from jepa_sweep.results import Store, opened

if TYPE_CHECKING:
    from jepa_sweep.spec.models import Sweep


def run(
    spec: "str | Path | Sweep | Mapping[str, Any]",
    out: str | Path | None = None,
    *,
    cluster: str | None = None,
    device: str = "auto",
    chunk_points: int | None = None,
    shard: str | None = None,
    max_failures: str | int | None = None,
    progress: Show | bool | None = None,
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
        Number of each chunk that was damaged -> what was wrong with it; and the names of what was only set aside:
        damaged notes, and what was in place of a folder, like a link. A chunk whose commit record and claim are both
        unreadable is only set aside, too: nothing says any more which points it held, and running its spec again
        finds them missing. `Store.damage` and `Store.lost_notes` say what is left.

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

    store = opened(store)
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
    store = opened(store)
    return recovery.retry(store.reader, store.system, statuses, solver, device, stop)
