"""The machines of a Ray cluster: joining it, and the room it has for workers."""

import contextlib
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

import jax

from jepa_sweep.checks import extra
from jepa_sweep.errors import SpecError

Ray = Any  # the module, an extra
ACCELERATORS = {"gpu": ("GPU",), "tpu": ("TPU",), "cpu": (), "auto": ("GPU", "TPU")}  # device -> resources of Ray
CONNECT_TIMEOUT_S = 5.0  # for a machine to answer at all
JOIN_TIMEOUT_S = 40.0  # for joining a cluster; Ray itself would go on trying for many minutes
LEAVE_TIMEOUT_S = 10.0  # for leaving it; where its head is silent, Ray would wait for ever
HEAD_TIMEOUT_S = 20.0  # for the head of a cluster to answer; after 60, Ray ends this process


class Room(NamedTuple):
    """What one machine has room for."""

    workers: int
    options: dict[str, Any]  # what each of them asks of Ray
    cores: int  # that each computes on; 0 where an accelerator computes


class Cluster:
    """The machines of a cluster, as its head last described them."""

    def __init__(self, ray: Ray, device: str, cores: int) -> None:
        """`cores` is how many a worker computes on where it has no accelerator; 0 for all of a machine."""
        self.ray, self._device, self._cores = ray, device, cores
        self._nodes, self._heard = ray.nodes(), time.monotonic()

    def look(self) -> bool:
        """Ask the head for its machines; False if it does not answer. Once it is silent, it is asked no more."""
        if self.silent:
            return False
        try:
            self._nodes, self._heard = _within(HEAD_TIMEOUT_S, self.ray.nodes), time.monotonic()
        except Exception:  # whatever it is: it may answer the next time
            return False
        return True

    @property
    def silent(self) -> bool:
        """True if the head no longer answers, so that news of dead workers may never come."""
        return time.monotonic() - self._heard > HEAD_TIMEOUT_S

    def rooms(self) -> dict[str, Room]:
        """Machine -> what it has room for, if anything."""
        machines = {node["NodeID"]: node["Resources"] for node in self._nodes if node["Alive"]}
        for kind in ACCELERATORS[self._device]:
            options = {"num_cpus": 0, **({"num_gpus": 1} if kind == "GPU" else {"resources": {kind: 1}})}
            counts = {name: int(has.get(kind, 0)) for name, has in machines.items()}
            if any(counts.values()):
                return {name: Room(count, options, 0) for name, count in counts.items() if count}
        if self._device in ("gpu", "tpu"):
            return {}
        cores = {name: self._cores or int(has.get("CPU", 0)) for name, has in machines.items()}
        return {
            name: Room(int(has["CPU"]) // cores[name], {"num_cpus": cores[name]}, cores[name])
            for name, has in machines.items()
            if 0 < cores[name] <= has.get("CPU", 0)
        }


@contextlib.contextmanager
def joined(cluster: str, device: str) -> Iterator[Cluster]:
    """The cluster named by "ray:ADDRESS"; "ray" is the one that runs here, or else a new one on this machine alone.

    Raises:
        SpecError: Ray is not installed, there is no such cluster, or it has no such device.
    """
    address = _address(cluster)
    if device not in ACCELERATORS:
        raise SpecError(
            f"`device` must be one of {', '.join(ACCELERATORS)} on a cluster, where each worker has one of its own, "
            f"but it is {device!r}."
        )
    with extra("`cluster` needs Ray", "ray"):
        import ray
    ours = not ray.is_initialized()  # else it is the host program's
    with contextlib.redirect_stdout(sys.stderr):  # a thread of Ray's tells what died, in the midst of results
        if ours:
            _join(ray, address or os.environ.get("RAY_ADDRESS") or "")
        try:
            machines = Cluster(ray, device, max(0, jax.config.values["jax_num_cpu_devices"]))
            if device in ("gpu", "tpu") and not machines.rooms():
                raise SpecError(
                    f"`device` {device!r} was asked for, but no machine of the cluster offers one to Ray; try `auto`."
                )
            yield machines
        finally:
            if ours:
                with contextlib.suppress(TimeoutError):
                    _within(LEAVE_TIMEOUT_S, ray.shutdown)


def _address(cluster: str) -> str:
    """The address in "ray:ADDRESS"; empty where none is named."""
    host = r"([^\s/:\[\]]+|\[[0-9A-Fa-f:.]+\])"
    match = re.fullmatch(rf"ray(:(?P<address>auto|(ray://)?{host}:\d{{1,5}}))?", cluster)
    if not match:
        raise SpecError(
            "`cluster` must be ray, or ray:ADDRESS with an address like auto, 10.0.0.1:6379 or ray://host:10001, "
            f"but it is {cluster!r}."
        )
    return match["address"] or ""


def _join(ray: Ray, address: str) -> None:
    """Join the cluster at an address; without one, that which runs here, or else a new one."""
    options = {"log_to_driver": False, "logging_level": "ERROR"}
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if host:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()
        _within(JOIN_TIMEOUT_S, lambda: ray.init(address=address or "auto", **options))
    except (Exception, SystemExit) as error:
        if not address and isinstance(error, ConnectionError):  # none runs here
            _start(ray, options)
            return
        why = " ".join(str(error).split())[:300] or f"nothing has spoken as Ray for {JOIN_TIMEOUT_S:g} seconds"
        raise SpecError(
            f"`cluster` must name a Ray cluster that can be reached, but joining {address or 'auto'} failed: {why}; "
            f"see whether `ray status --address {address or 'auto'}` answers."
        ) from error


def _start(ray: Ray, options: dict[str, Any]) -> None:
    """A cluster of this machine alone. In this thread, as its processes would die with another one."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    ray.init(address="local", include_dashboard=False, **options)
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():  # Ray has put its own there
            signal.signal(number, handler)


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    """The result of a call that may hang; after so many seconds a `TimeoutError`, and its thread is left behind."""
    result: Future[Any] = Future()

    def run() -> None:
        try:
            result.set_result(call())
        except BaseException as error:  # it is raised below
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return result.result(seconds)
