"""Running a spec: from its file to a finished store, in this process or on the machines of a Ray cluster."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jepa_sweep.progress import Progress
from jepa_sweep.running import compiled, limits, local, plan
from jepa_sweep.running.job import Job
from jepa_sweep.running.opening import default_path, load, open_for
from jepa_sweep.running.report import Monitor, Report
from jepa_sweep.spec.models import Sweep
from jepa_sweep.store.reader import Reader


def execute(
    spec: str | Path | Sweep | Mapping[str, Any],
    out: str | Path | None = None,
    *,
    cluster: str | None = None,
    device: str = "auto",
    chunk_points: int | None = None,
    shard: str | None = None,
    max_failures: str | int | None = None,
    progress: Callable[[Progress], None] | None = None,
    changes: Sequence[str] = (),
    stop: Callable[[], bool] = lambda: False,
    ready: Callable[[], None] = lambda: None,
) -> Report:
    """Compute every point of a spec that is not in its store yet, here or on a Ray cluster.

    It takes and raises what `jepa_sweep.run` does. `progress` is called after each chunk. `changes` to a spec file are
    made first, like "solver.rtol=1e-10". `stop` is asked before each chunk, on a cluster every second; no chunk is
    begun after it has returned True. `ready` is called before JAX starts, perhaps twice, and not at all where nothing
    is left to do: saying so needs no JAX.

    A worker of a cluster has one accelerator, where there is any for `device`; else all cores of a machine, or as many
    as JAX is set to use here (JAX_NUM_CPU_DEVICES=4). `compile_seconds` are those of the worker that compiled longest.
    """
    began = time.perf_counter()
    sweep, text, grid, _ = load(spec, changes)
    size, mine = limits.chunk_points(chunk_points), limits.shard(shard)
    monitor = Monitor(began, limits.failures(max_failures), stop, progress)
    if cluster is not None:
        from jepa_sweep.running import ray_cluster, ray_driver  # not at the top: they bring JAX

        ready()
        with (
            ray_cluster.joined(cluster, device) as machines,
            Job(sweep, text, open_for(sweep, out), device, size, grid) as job,
        ):
            queue = job.queue(mine)
            told = {"text": text, "device": device, "chunk_points": size}
            stopped, counts = ray_driver.compute(machines, job, queue, monitor, **told)
        return monitor.report(job.store.reader, sweep.system, queue, counts, stopped)._replace(whole=mine.of == 1)
    if device != "auto" or not Reader.exists(default_path(sweep) if out is None else out):
        _start(device, ready)  # a device that is not there is refused before a directory is made
    with Job(sweep, text, open_for(sweep, out), device, size, grid) as job:
        queue = job.queue(mine)
        if queue.left or job.log.pending():
            _start(device, ready)
        stopped = local.compute(job, queue, device, monitor)
    if job.computed:
        compiled.remember(sweep, size or plan.points_per_chunk(sweep, job.grid), job.work.compile_seconds)
    return monitor.report(job.store.reader, sweep.system, queue, job, stopped)._replace(whole=mine.of == 1)


def _start(device: str, ready: Callable[[], None]) -> None:
    """Start JAX; raises `SpecError` if there is no such device."""
    from jepa_sweep.engine import devices

    ready()
    devices.pick(device)
