"""Computing all chunks of a run in this process."""

from concurrent.futures import Future, ThreadPoolExecutor

from jepa_sweep.running import recovery
from jepa_sweep.running.job import Job
from jepa_sweep.running.plan import Chunk
from jepa_sweep.running.queue import Queue
from jepa_sweep.running.report import Monitor


def compute(job: Job, queue: Queue, device: str, monitor: Monitor) -> str:
    """Compute the chunks of a queue, and what dead writers left unfinished; returns why it ended early, if it did.

    One chunk is written while the next is computed, and no more than these two are held in memory.
    """
    recovery.finish(job.store, job.sweep.system, device, timeout_s=0)
    stopped, writing = "", None
    with ThreadPoolExecutor(1, "writer") as writer:
        for chunk in queue:
            stopped = monitor.stopped(job)
            if stopped:
                break
            computed = job.compute(chunk)
            if writing:
                _wait_for(*writing, job, queue, monitor)
            writing = chunk, writer.submit(job.commit, computed)
        if writing:
            _wait_for(*writing, job, queue, monitor)
    if not stopped:
        recovery.finish(job.store, job.sweep.system, device)
    return stopped


def _wait_for(chunk: Chunk, written: Future[None], job: Job, queue: Queue, monitor: Monitor) -> None:
    """Wait until a chunk is stored, and tell the user; raises what its writer met."""
    written.result()
    queue.stored(chunk)
    monitor.tell(queue, job)
