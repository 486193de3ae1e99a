"""Workers on the machines of a Ray cluster: starting them, giving them tasks, noticing that they died."""

import contextlib
import os
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax

from jepa_sweep.engine import devices
from jepa_sweep.errors import JepaSweepError, SpecError
from jepa_sweep.running import recovery
from jepa_sweep.running.job import Job
from jepa_sweep.running.opening import open_for
from jepa_sweep.running.plan import Chunk
from jepa_sweep.running.ray_cluster import HEAD_TIMEOUT_S, Cluster, Room
from jepa_sweep.spec.models import Sweep
from jepa_sweep.store.log import Mark
from jepa_sweep.store.reader import Reader
from jepa_sweep.systems import registry
from jepa_sweep.systems.system import System

TASKS_AT_ONCE = 2  # that a worker has: one chunk is computed while the other is written
DEATHS_PER_WORKER = 3  # on one machine without a task done, for each worker it has room for; then it is left alone
NO_WORKER_TIMEOUT_S = 600.0  # without any worker, as machines may still be on their way
SHARED_FS_TIMEOUT_S = 20.0  # until a network file system shows a new file everywhere
SHUTDOWN_TIMEOUT_S = 3.0  # for workers to take their marks away


@dataclass(frozen=True)
class Recover:
    """A task: complete what dead writers have claimed and not committed."""


Task = Chunk | Recover


class Instructions(NamedTuple):
    """What every worker of a run is told."""

    spec: str  # the text
    path: str  # of the store, absolute
    device: str
    chunk_points: int | None
    mark: Mark  # left by the driver, to be seen by whoever looks into the same store
    argv: list[str]
    system: System | None = None  # where it stands in no file that the store keeps


# --- in an actor ------------------------------------------------------------------------------------------------------


class Worker:
    """A job in an actor. Its methods run in threads: one chunk is computed while another is written."""

    def __init__(self) -> None:
        self._computing, self._writing = threading.Lock(), threading.Lock()
        self._stopped = False

    def begin(self, told: Instructions, cores: int) -> str:
        """Get ready; returns the name under which it writes. `cores` is 0 where an accelerator computes."""
        sys.argv = told.argv
        devices.keep_compiled_programs()
        if cores:
            jax.config.update("jax_num_cpu_devices", cores)
        _wait_for_mark(told)
        system = told.system or registry.of_store(Reader(told.path))
        sweep = Sweep.parse(told.spec, "the spec of this run", system=system)
        self._job = Job(sweep, told.spec, open_for(sweep, told.path), told.device, told.chunk_points)
        self._device = told.device
        return self._job.writer

    def work(self, task: Task) -> int | None:
        """Do a task; returns how many of its points were computed in vain, as another writer had stored them first.

        None, and nothing done, if it was told to stop before.
        """
        with self._computing:
            if self._stopped:
                return None
            if isinstance(task, Recover):
                recovery.finish(self._job.store, self._job.sweep.system, self._device)
                return 0
            found = self._job.compute(task)
        with self._writing:
            before = self._job.repeated
            self._job.commit(found)
            return self._job.repeated - before

    def stop(self) -> None:
        """Begin no other task."""
        self._stopped = True

    def close(self) -> None:
        """Take away the marks of what it was computing."""
        self._job.__exit__()


def _wait_for_mark(told: Instructions) -> None:
    until = time.monotonic() + SHARED_FS_TIMEOUT_S
    while not (Reader.exists(told.path) and told.mark in Reader(told.path).log.announced()):
        if time.monotonic() > until:
            raise SpecError(
                f"The run must lie where every machine of the cluster sees it, but {socket.gethostname()} does not see "
                f"what is in {told.path}; choose a shared folder or a bucket with --out."
            )
        time.sleep(0.2)


# --- in the driver ----------------------------------------------------------------------------------------------------


@dataclass
class Handle:
    """A worker as the driver sees it."""

    actor: Any
    machine: str
    name: str = ""  # under which it writes, once it has begun
    tasks: dict[Any, Task | None] = field(default_factory=dict)  # Ray's reference -> task, None for `begin`


class Ended(NamedTuple):
    """What became of a task."""

    task: Task
    repeated: int | None  # points computed in vain; None if it was not done
    death: str = ""  # of its worker


class Workers:
    """As many workers as the cluster has room for, machine by machine; those that die are replaced."""

    def __init__(self, cluster: Cluster, told: Instructions) -> None:
        self.names: set[str] = set()  # under which they write, or wrote
        self._cluster, self._ray, self._told = cluster, cluster.ray, told
        self._actor_class = cluster.ray.remote(Worker)
        self._handles: list[Handle] = []
        self._deaths: Counter[str] = Counter()  # machine -> since one of its workers last did a task
        self._last_death = ""
        self._had_worker = time.monotonic()

    @property
    def busy(self) -> int:
        """How many tasks are with workers."""
        return sum(task is not None for handle in self._handles for task in handle.tasks.values())

    def recruit(self, most: int) -> str:
        """Start workers wherever there is room, but no more than `most` in all; returns why there can be none, if so.

        A machine on which worker after worker died is left alone.
        """
        if not self._cluster.look():  # without a head, starting one would block
            return f"the head of the cluster has not answered for {HEAD_TIMEOUT_S:g} s" if self._cluster.silent else ""
        rooms = self._cluster.rooms().items()
        rooms = {name: room for name, room in rooms if self._deaths[name] < DEATHS_PER_WORKER * room.workers}
        if self._last_death and not self._handles and not rooms:
            return f"workers died wherever they were started: {self._last_death}"
        for machine, room in rooms.items():
            free = room.workers - sum(handle.machine == machine for handle in self._handles)
            for _ in range(min(free, most - len(self._handles))):
                self._handles.append(self._start(machine, room))
        if any(handle.name for handle in self._handles):
            self._had_worker = time.monotonic()
        none = time.monotonic() - self._had_worker > NO_WORKER_TIMEOUT_S
        return f"the cluster had no room for a worker for {NO_WORKER_TIMEOUT_S:g} s" if none else ""

    def _start(self, machine: str, room: Room) -> Handle:
        # Read when equinox and jaxlib are imported; why, says `jepa_sweep.cli.main`.
        defaults = {"EQX_ON_ERROR": "nan", "TF_CPP_MIN_LOG_LEVEL": "3"}
        settings = {name: os.environ.get(name, value) for name, value in defaults.items()}
        there = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(machine, soft=False)
        actor = self._actor_class.options(
            **room.options,
            max_restarts=0,  # of two tasks, Ray would count the death against both
            max_concurrency=TASKS_AT_ONCE + 1,  # and one to be told to stop
            runtime_env={"env_vars": settings},
            scheduling_strategy=there,
        ).remote()
        return Handle(actor, machine, tasks={actor.begin.remote(self._told, room.cores): None})

    def least_busy(self) -> Handle | None:
        """The worker that has begun and has the fewest tasks; None if all have as many as they may."""
        free = [handle for handle in self._handles if handle.name and len(handle.tasks) < TASKS_AT_ONCE]
        return min(free, key=lambda handle: len(handle.tasks), default=None)

    def give(self, handle: Handle, task: Task) -> None:
        """Let a worker do this task too."""
        handle.tasks[handle.actor.work.remote(task)] = task

    def wait(self, seconds: float) -> list[Ended]:
        """What has become of tasks; returns at the first news, or after so many seconds.

        Raises:
            JepaSweepError: a worker met one.
        """
        owners = {ref: handle for handle in self._handles for ref in handle.tasks}
        if not owners:
            time.sleep(seconds)
            return []
        ready, _ = self._ray.wait(list(owners), timeout=seconds)
        if not ready:
            return []
        [ref] = ready
        handle = owners[ref]
        try:
            result = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, JepaSweepError) else error from None
        except self._ray.exceptions.RayError as error:
            return self._lost(handle, str(error))
        task = handle.tasks.pop(ref)
        if task is None:
            handle.name = result
            self.names.add(result)
            return []
        self._deaths[handle.machine] = 0
        return [Ended(task, result)]

    def _lost(self, handle: Handle, why: str) -> list[Ended]:
        self._handles.remove(handle)
        self._deaths[handle.machine] += 1
        self._last_death = " ".join(why.split()).rpartition("The actor is dead because ")[2][:160]
        with contextlib.suppress(Exception):
            self._ray.kill(handle.actor)
        return [Ended(task, None, self._last_death) for task in handle.tasks.values() if task is not None]

    def stop(self) -> None:
        """Let workers finish what they have begun, and begin nothing else."""
        for handle in self._handles:
            handle.actor.stop.remote()

    def close(self) -> None:
        """End all workers, at once; without a head they end by themselves."""
        if self._cluster.silent:
            return
        with contextlib.suppress(Exception):
            closing = [handle.actor.close.remote() for handle in self._handles if handle.name]
            if closing:
                self._ray.wait(closing, num_returns=len(closing), timeout=SHUTDOWN_TIMEOUT_S)
        for handle in self._handles:
            with contextlib.suppress(Exception):
                self._ray.kill(handle.actor)
