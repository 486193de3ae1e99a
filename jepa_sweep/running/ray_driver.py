"""Computing all chunks of a run on the machines of a Ray cluster, whose workers commit to the store themselves.

The driver holds no device and no results: it plans, and reads what was done from the store. Whatever dies, the store
is right at every moment, and the same command goes on from there.
"""

import functools
import sys
import time
from collections import Counter
from pathlib import Path

from jepa_sweep.running import plan
from jepa_sweep.running.job import Job
from jepa_sweep.running.queue import Queue
from jepa_sweep.running.ray_cluster import Cluster
from jepa_sweep.running.ray_workers import Instructions, Recover, Task, Workers
from jepa_sweep.running.report import Monitor
from jepa_sweep.store.log import Log, Mark
from jepa_sweep.store.records import Claim, Work
from jepa_sweep.systems import registry

DEATHS_PER_TASK = 3  # of workers that had it, before it is given up
POLL_S = 1.0  # between looks at machines and other writers, and at whether to stop


class Tasks:
    """What is still to be handed out: chunks, and recovery where it was added."""

    def __init__(self, queue: Queue) -> None:
        self.queue, self.recovery = queue, False
        self.given_up = ""  # why a task was
        self._deaths: Counter[Task] = Counter()

    def __len__(self) -> int:
        return len(self.queue.left) + self.recovery

    def take(self, alone: bool) -> Task | None:
        """The next task for a worker, which is `alone` with it or has another one.

        What was with a worker that died is only given to one that has nothing else, so that no other task is blamed.
        """
        if self.recovery and alone:
            self.recovery = False
            return Recover()
        return self.queue.take(lambda chunk: alone or not self._deaths[chunk])

    def back(self, task: Task, death: str) -> None:
        """A task that was not done is handed out again; if too many workers died of it, it is given up."""
        self._deaths[task] += bool(death)
        if self._deaths[task] >= DEATHS_PER_TASK:
            named = (
                "what dead workers left"
                if isinstance(task, Recover)
                else f"the points {task.start:,} to {task.stop - 1:,}"
            )
            self.given_up = f"{named} were given up after {DEATHS_PER_TASK} workers died of them: {death}"
        elif isinstance(task, Recover):
            self.recovery = True
        else:
            self.queue.put_back(task)

    def done(self, task: Task) -> None:
        """A task was done."""
        if not isinstance(task, Recover):
            self.queue.stored(task)


class Tally:
    """What some writers have committed, by the records: a worker may die before it can tell."""

    def __init__(self, log: Log, writers: set[str]) -> None:
        self.computed = self.failed = self.repeated = 0
        self._log, self._writers, self._seen = log, writers, set[str]()
        self._work: dict[str, Work] = {}  # writer -> of its chunks

    def look(self) -> list[Claim]:
        """Count what is new, and say which it is."""
        new = [c for c in self._log.commits() if c.claim.writer in self._writers and c.number not in self._seen]
        for commit in new:
            writer = commit.claim.writer
            self._seen.add(commit.number)
            self.computed += commit.rows("points") + commit.rows("failures")
            self.failed += commit.rows("failures")
            self._work[writer] = self._work.get(writer, Work()).plus(commit.work)
        return [commit.claim for commit in new]

    @property
    def work(self) -> Work:
        """Of all, but for the compiling, which workers do at the same time: of the one that took longest."""
        longest = max((work.compile_seconds for work in self._work.values()), default=0.0)
        return functools.reduce(Work.plus, self._work.values(), Work())._replace(compile_seconds=longest)


class Driver:
    """Hands tasks to workers, and follows what becomes of them."""

    def __init__(self, workers: Workers, queue: Queue, log: Log, monitor: Monitor) -> None:
        self.tasks, self.tally = Tasks(queue), Tally(log, workers.names)
        self._workers, self._queue, self._log, self._monitor = workers, queue, log, monitor

    def run(self) -> str:
        """Have all chunks computed, then completed what dead writers left; returns why it ended early, if it did."""
        stopped = self._hand_out()
        if not stopped and self._log.pending():
            self.tasks.recovery = True
            stopped = self._hand_out()
        if stopped:
            self._workers.stop()
            while self._workers.busy and not self._workers.recruit(0):  # which says if the head is silent
                self._settle()
        return stopped or self.tasks.given_up

    def _hand_out(self) -> str:
        next_look = 0.0
        while self.tasks or self._workers.busy:
            stopped = self._monitor.stopped(self.tally)
            if not stopped and time.monotonic() >= next_look:
                next_look = time.monotonic() + POLL_S
                self._queue.look()
                stopped = self._workers.recruit(len(self.tasks) + self._workers.busy)
            if stopped:
                return stopped
            while (worker := self._workers.least_busy()) and (task := self.tasks.take(alone=not worker.tasks)):
                self._workers.give(worker, task)
            self._settle()
        return ""

    def _settle(self) -> None:
        """Wait for news of tasks, and take note of it."""
        for task, repeated, death in self._workers.wait(POLL_S):
            if repeated is None:
                self.tasks.back(task, death)
            else:
                self.tasks.done(task)
                self.tally.repeated += repeated
                self.tell()

    def tell(self) -> None:
        """Count what is stored by now, and tell the user."""
        for claim in self.tally.look():
            self._queue.stored(claim)  # its worker may be about to tell
        if self._workers.names:  # else nothing has been done
            self._monitor.tell(self._queue, self.tally)


def compute(
    cluster: Cluster, job: Job, queue: Queue, monitor: Monitor, *, text: str, device: str, chunk_points: int | None
) -> tuple[str, Tally]:
    """Have the chunks of a queue computed, the most expensive first, and completed what dead writers left unfinished.

    Returns why it ended early, if it did, and what was computed.
    """
    log, path, mark = job.log, job.store.reader.path, Mark(job.writer, job.digest[:8], 0, 0)
    path = path.absolute() if isinstance(path, Path) else path  # workers have folders of their own
    system = None if registry.is_kept(job.sweep.system) else job.sweep.system
    workers = Workers(cluster, Instructions(text, str(path), device, chunk_points, mark, sys.argv, system))
    driver = Driver(workers, queue, log, monitor)
    queue.sort(lambda chunk: plan.cost(job.sweep, job.grid, chunk.indices).seconds)
    log.announce(mark)
    try:
        stopped = driver.run()
    finally:
        workers.close()
        log.forget(workers.names)  # those that died could not
        log.withdraw(mark)
    driver.tell()  # with what they stored at last
    return stopped, driver.tally
