"""Running a spec: from its file to a finished store, in this process or on the machines of a Ray cluster."""

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jepa_sweep.engine import devices
from jepa_sweep.progress import Progress
from jepa_sweep.running import limits, local, ray_cluster, ray_driver
from jepa_sweep.running.job import Job
from jepa_sweep.running.opening import load, open_for
from jepa_sweep.running.report import Monitor, Report
from jepa_sweep.spec.models import Sweep


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
    stop: Callable[[], bool] = lambda: False,
) -> Report:
    """Compute every point of a spec that is not in its store yet, here or on a Ray cluster.

    It takes and raises what `jepa_sweep.run` does. `progress` is called after each chunk. `stop` is asked before each
    chunk, on a cluster every second; no chunk is begun after it has returned True.

    A worker of a cluster has one accelerator, where there is any for `device`; else all cores of a machine, or as many
    as JAX is set to use here (JAX_NUM_CPU_DEVICES=4). `compile_seconds` are those of the worker that compiled longest.
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
                stopped, counts = local.compute(job, queue, device, monitor), job
            else:
                told = {"text": text, "device": device, "chunk_points": size}
                stopped, counts = ray_driver.compute(machines, job, queue, monitor, **told)
    return monitor.report(store.reader, sweep.system, queue, counts, stopped)
