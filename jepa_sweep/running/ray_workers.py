"""Workers on the machines of a Ray cluster: reaching it, starting them, giving them chunks, noticing that they died."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax

from jepa_sweep.engine import devices
from jepa_sweep.errors import JepaSweepError, SpecError
from jepa_sweep.running import recovery
from jepa_sweep.running.execute import open_for
from jepa_sweep.running.job import Job
from jepa_sweep.running.plan import Chunk
from jepa_sweep.spec.models import Sweep
from jepa_sweep.store.log import Mark
from jepa_sweep.store.reader import Reader

Ray = Any  # the module, an extra
MEND = Chunk(0, 0)  # in place of a chunk: see to claims whose writer has died
AT_ONCE = 2  # chunks a worker has: one is computed while the other is written
ACCELERATORS = {"gpu": ("GPU",), "tpu": ("TPU",), "cpu": (), "auto": ("GPU", "TPU")}
ANSWER = 5.0  # seconds a machine has to answer at all
JOIN = 40.0  # seconds for joining a cluster; Ray itself would go on trying for many minutes
LOOK = 1.0  # seconds between looks at the machines
PATIENCE = 600.0  # seconds without any worker, as machines may still be on their way
SEE = 20.0  # seconds until a network file system shows a new file everywhere
SILENT = 20.0  # seconds without an answer of the cluster's head; after 60, Ray ends this process
LEAVE = 3.0  # seconds a worker has to take its marks away


# --- in an actor ------------------------------------------------------------------------------------------------------


class Order(NamedTuple):
    """What every worker of a run is told."""

    spec: str  # the text
    path: str  # of the store, absolute
    device: str
    chunk_points: int | None
    mark: Mark  # left by the driver, to be seen by whoever looks into the same store
    argv: list[str]


class Worker:
    """A job in an actor. Its methods run in threads: one chunk is computed while another is written."""

    def __init__(self) -> None:
        self._computing, self._writing = threading.Lock(), threading.Lock()
        self._quitting = False

    def begin(self, order: Order, cores: int) -> str:
        """Get ready; returns the name under which it writes. `cores` is 0 where an accelerator computes."""
        sys.argv = order.argv
        devices.keep_compiled_programs()
        if cores:
            jax.config.update("jax_num_cpu_devices", cores)
        _look_for(order)
        sweep = Sweep.parse(order.spec, "the spec of this run")
        self._job = Job(sweep, order.spec, open_for(sweep, order.path), order.device, order.chunk_points)
        self._device = order.device
        return self._job.writer

    def work(self, chunk: Chunk) -> int | None:
        """Compute and commit a chunk; returns how many of its points were computed in vain, as others were faster.

        None, and nothing done, if it was asked to quit before.
        """
        with self._computing:
            if self._quitting:
                return None
            if chunk == MEND:
                recovery.finish(self._job.store, self._device)
                return 0
            found = self._job.compute(chunk)
        with self._writing:
            before = self._job.repeated
            self._job.commit(found)
            return self._job.repeated - before

    def quit(self) -> None:
        """Begin no other chunk."""
        self._quitting = True

    def close(self) -> None:
        """Take away the marks of what it was computing."""
        self._job.__exit__()


def _look_for(order: Order) -> None:
    until = time.monotonic() + SEE
    while not (Reader.exists(order.path) and order.mark in Reader(order.path).log.announced()):
        if time.monotonic() > until:
            raise SpecError(
                f"The run must lie where every machine of the cluster sees it, but {socket.gethostname()} does not see "
                f"what is in {order.path}; choose a shared folder or a bucket with --out."
            )
        time.sleep(0.2)


# --- in the driver ----------------------------------------------------------------------------------------------------


@dataclass
class _Member:
    actor: Any
    node: str
    writer: str = ""  # its name, once it has begun
    tasks: dict[Any, Chunk | None] = field(default_factory=dict)  # Ray's reference -> chunk, None for `begin`


class Ended(NamedTuple):
    """What became of a chunk."""

    chunk: Chunk
    repeated: int | None  # points computed in vain; None if it was not committed
    death: str = ""  # of its worker


class Crew:
    """As many workers as the cluster has room for, machine by machine; those that die are replaced."""

    def __init__(self, ray: Ray, order: Order, cores: int) -> None:
        self._ray, self._order, self._cores = ray, order, cores
        self._members: list[_Member] = []
        self._deaths: Counter[str] = Counter()  # node -> since one of its workers last finished a chunk
        self.writers: set[str] = set()
        self._last_death, self._died, self._next_look, self._alive = "", 0.0, 0.0, time.monotonic()
        self._actors = ray.remote(Worker)
        self._nodes, self._heard, self._over = ray.nodes(), time.monotonic(), threading.Event()
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()
        if ACCELERATORS[order.device] and order.device != "auto" and not self._rooms():
            raise SpecError(
                f"`device` {order.device!r} was asked for, but no machine of the cluster offers one to Ray; try `auto`."
            )

    @property
    def busy(self) -> int:
        """How many chunks are with workers."""
        return sum(chunk is not None for m in self._members for chunk in m.tasks.values())

    @property
    def lost(self) -> bool:
        """True if the head of the cluster no longer answers, so that news of dead workers may never come."""
        return time.monotonic() - self._heard > SILENT

    def _watch(self) -> None:
        """Ask the head for its machines, in a thread, as it may never answer."""
        while not self._over.wait(LOOK):
            with contextlib.suppress(Exception):
                self._nodes, self._heard = self._ray.nodes(), time.monotonic()

    def _rooms(self) -> dict[str, tuple[int, dict[str, Any], int]]:
        """Node -> how many workers it has room for, what each asks of Ray, and its cores if they compute."""
        nodes = {n["NodeID"]: n["Resources"] for n in self._nodes if n["Alive"]}
        for kind in ACCELERATORS[self._order.device]:
            found = {name: int(has[kind]) for name, has in nodes.items() if has.get(kind, 0) >= 1}
            if found:
                asks = {"num_gpus": 1} if kind == "GPU" else {"resources": {kind: 1}}
                return {name: (count, {"num_cpus": 0, **asks}, 0) for name, count in found.items()}
        if self._order.device in ("gpu", "tpu"):
            return {}
        cores = {name: self._cores or int(has.get("CPU", 0)) for name, has in nodes.items() if has.get("CPU", 0) >= 1}
        return {name: (int(nodes[name]["CPU"]) // n, {"num_cpus": n}, n) for name, n in cores.items()}

    def recruit(self, most: int) -> str:
        """Start workers wherever there is room, but no more than `most` in all; says why there is no hope of any.

        A machine on which worker after worker dies is left alone.
        """
        now = time.monotonic()
        if self.lost:
            return f"the head of the cluster has not answered for {SILENT:g} s"
        if now < self._next_look or self._heard < self._died:  # starting one without a head would block
            return ""
        self._next_look, usable = now + LOOK, False
        for node, (count, asks, cores) in self._rooms().items():
            if self._deaths[node] >= 3 * count:
                continue
            usable = usable or count > 0
            for _ in range(min(count - sum(m.node == node for m in self._members), most - len(self._members))):
                self._members.append(self._start(node, asks, cores))
        if any(m.writer for m in self._members):
            self._alive = now
        if self._last_death and not self._members and not usable:
            return f"workers died wherever they were started: {self._last_death}"
        return f"the cluster had no room for a worker for {PATIENCE:g} s" if now - self._alive > PATIENCE else ""

    def _start(self, node: str, asks: dict[str, Any], cores: int) -> _Member:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # Read when equinox and jaxlib are imported; why, says `jepa_sweep.cli.main`.
        defaults = {"EQX_ON_ERROR": "nan", "TF_CPP_MIN_LOG_LEVEL": "3"}
        settings = {name: os.environ.get(name, value) for name, value in defaults.items()}
        actor = self._actors.options(
            **asks,
            max_restarts=0,
            max_concurrency=AT_ONCE + 1,  # and one to be told to quit
            runtime_env={"env_vars": settings},
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        member = _Member(actor.remote(), node)
        member.tasks[member.actor.begin.remote(self._order, cores)] = None
        return member

    def idle(self, depth: int) -> list[_Member]:
        """Workers that have begun and have no more than so many chunks."""
        return [m for m in self._members if m.writer and len(m.tasks) <= depth]

    def give(self, member: _Member, chunk: Chunk) -> None:
        """Let it compute this one too."""
        member.tasks[member.actor.work.remote(chunk)] = chunk

    def wait(self, seconds: float) -> list[Ended]:
        """What has become of chunks; returns at the first news.

        Raises:
            JepaSweepError: a worker met one.
        """
        refs, ended = [ref for m in self._members for ref in m.tasks], list[Ended]()
        if not refs:
            time.sleep(seconds)
            return ended
        self._ray.wait(refs, num_returns=1, timeout=seconds)
        for ref in self._ray.wait(refs, num_returns=len(refs), timeout=0)[0]:
            member = next((m for m in self._members if ref in m.tasks), None)
            if not member:  # it has just been found dead
                continue
            try:
                result = self._ray.get(ref)
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, JepaSweepError) else error from None
            except self._ray.exceptions.RayError as error:
                ended += self._lost(member, str(error))
                continue
            chunk = member.tasks.pop(ref)
            if chunk is None:
                member.writer = result
                self.writers.add(result)
            else:
                self._deaths[member.node] = 0
                ended.append(Ended(chunk, result))
        return ended

    def _lost(self, member: _Member, why: str) -> list[Ended]:
        self._members.remove(member)
        self._deaths[member.node] += 1
        self._died = time.monotonic()
        self._last_death = " ".join(why.split()).rpartition("The actor is dead because ")[2][:160]
        with contextlib.suppress(Exception):
            self._ray.kill(member.actor)
        return [Ended(chunk, None, self._last_death) for chunk in member.tasks.values() if chunk is not None]

    def quit(self) -> None:
        """Let workers finish what they have begun, and begin nothing else."""
        for member in self._members:
            member.actor.quit.remote()

    def dismiss(self) -> None:
        """End all workers, at once; without a head they end by themselves."""
        self._over.set()
        if self.lost:
            return
        leaving = [m.actor.close.remote() for m in self._members if m.writer]
        with contextlib.suppress(Exception):
            if leaving:
                self._ray.wait(leaving, num_returns=len(leaving), timeout=LEAVE)
        for member in self._members:
            with contextlib.suppress(Exception):
                self._ray.kill(member.actor)


@contextlib.contextmanager
def connected(address: str) -> Iterator[Ray]:
    """Ray, joined to the cluster at an address; "" is the one that runs here, or a new one on this machine alone.

    Raises:
        SpecError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise SpecError("`cluster` needs Ray, but it is not installed; try `pip install 'jepa_sweep[ray]'`.") from error
    if ray.is_initialized():  # the host program's own
        yield ray
        return
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    with contextlib.redirect_stdout(sys.stderr):  # a thread of Ray's tells what died, in the midst of results
        if not _joined(ray, address, quiet):
            ray.init(address="local", include_dashboard=False, **quiet)
        try:
            if threading.current_thread() is threading.main_thread():
                for number, handler in handlers.items():  # Ray has put its own there
                    signal.signal(number, handler)
            yield ray
        finally:
            ray.shutdown()


def _joined(ray: Ray, address: str, quiet: dict[str, Any]) -> bool:
    """True once this process belongs to a cluster; False if none was named and none runs here."""
    where = address or os.environ.get("RAY_ADDRESS") or ""
    host, _, port = where.removeprefix("ray://").rpartition(":")
    if host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), ANSWER).close()
        except (OSError, ValueError) as error:
            raise _unreachable(where, str(error)) from error
    failed: list[BaseException] = []

    def join() -> None:
        try:
            ray.init(address=where or "auto", **quiet)
        except BaseException as error:  # whatever it is, it is told below
            failed.append(error)

    # In a thread, because Ray would try for many minutes; it starts no process, which would die with the thread.
    thread = threading.Thread(target=join, daemon=True)
    thread.start()
    thread.join(JOIN)
    if thread.is_alive():
        raise _unreachable(where or "auto", f"nothing there has spoken as Ray for {JOIN:g} seconds")
    if failed and isinstance(failed[0], ConnectionError) and not where:
        return False
    if failed:
        raise _unreachable(where or "auto", str(failed[0])) from failed[0]
    return True


def _unreachable(where: str, why: str) -> SpecError:
    return SpecError(
        f"`cluster` must name a Ray cluster that can be reached, but joining {where} failed: "
        f"{' '.join(why.split())[:300]}; see whether `ray status --address {where}` answers."
    )
