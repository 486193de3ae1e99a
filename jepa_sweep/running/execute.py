"""Running a spec: from its file to a finished store, in this process or on the machines of a Ray cluster."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from jepa_sweep.engine import devices
from jepa_sweep.progress import Progress
from jepa_sweep.running import limits, local, ray_cluster, ray_driver
from jepa_sweep.running.job import Job
from jepa_sweep.running.opening import load, open_for
from jepa_sweep.running.report import Monitor, Report
from jepa_sweep.spec.models import Sweep
from jepa_sweep.store.store import Store


def run(
    spec: str | Path | Sweep,
    out: str | Path | None = None,
    *,
    device: str = "auto",
    chunk_points: int | None = None,
    shard: str | None = None,
    max_failures: str | int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Store:
    """Compute every point of a spec that is not in the store yet, and return the store.

    Args:
        spec: a spec file, or a `Sweep`.
        out: the run directory, or a place in a bucket like `s3://bucket/run`; `runs/<name>` by default. Running
            again continues or extends what is there.
        device: "auto", "cpu", "gpu" or "tpu".
        chunk_points: points that share one file; chosen from the size of the sweep by default.
        shard: "i/n" for every n-th chunk from the i-th on, counted from 0; all of them by default.
        max_failures: stop when more points than this have failed: a number, or a share of those computed like "5%".
        progress: called after each chunk.

    Returns:
        The open `Store`; read it with `.points()`, `.trajectories()`, `.failures()`.

    Raises:
        SpecError: the spec cannot be run, or its numbers do not belong into this store.
        StorageError: the file system refused something; what was committed before stays, and running again goes on.

    Warns:
        SpecWarning: several points give the same numbers, as seeds do that cannot matter.

    Example:
        >>> import tempfile, jepa_sweep as js
        >>> sweep = js.Sweep(name="tiny", axes={"lam": 1.0, "rho": [0.5, 1.0], "L": [1, 2], "eps": 1e-3})
        >>> store = js.run(sweep, out=tempfile.mkdtemp())
        >>> len(store.points())
        8
    """
    options = {"chunk_points": chunk_points, "shard": shard, "max_failures": max_failures}
    return execute(spec, out, device=device, progress=progress, **options).store


def execute(
    spec: str | Path | Sweep,
    out: str | Path | None = None,
    *,
    cluster: str | None = None,
    device: str = "auto",
    chunk_points: int | None = None,
    shard: str | None = None,
    max_failures: str | int | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Report:
    """`run` with a report, and on a Ray cluster where one is named.

    A worker of a cluster has one accelerator, where there is any for `device`; else all cores of a machine, or as many
    as JAX is set to use here (JAX_NUM_CPU_DEVICES=4). `compile_seconds` are those of the worker that compiled longest.

    Args:
        spec: as `run` takes it, as are `device`, `chunk_points`, `shard`, `max_failures` and `progress`.
        out: as `run` takes it; on a cluster a place that all its machines see.
        cluster: "ray" for the cluster that runs on this machine, or else a new one on this machine alone;
            "ray:ADDRESS" for another; None for this process, without Ray.
        device: see there.
        chunk_points: see there.
        shard: see there.
        max_failures: see there.
        progress: see there.
        stop: asked before each chunk, on a cluster every second; no chunk is begun after it has returned True.

    Raises:
        SpecError: the spec cannot be run, or there is no such cluster, or its machines do not see `out`.
        StorageError: the file system refused something.
    """
    began = time.perf_counter()
    sweep, text = load(spec)
    size, mine = limits.chunk_points(chunk_points), limits.shard(shard)
    monitor = Monitor(began, limits.failures(max_failures), stop, progress)
    if cluster is None:
        devices.pick(device)  # what is not there, devices or a cluster, is refused before a directory is made
    with ray_cluster.joined(cluster, device) if cluster is not None else contextlib.nullcontext() as machines:
        store = open_for(sweep, out)
        with Job(sweep, text, store, device, size) as job:
            queue = job.queue(mine)
            if machines is None:
                counts, stopped = job, local.compute(job, queue, device, monitor)
            else:
                told = {"text": text, "device": device, "chunk_points": size}
                stopped, counts = ray_driver.compute(machines, job, queue, monitor, **told)
    return monitor.report(store, queue, counts, stopped)
