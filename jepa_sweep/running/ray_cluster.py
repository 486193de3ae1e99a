"""The machines of a Ray cluster: reaching it, the room it has for workers, and noticing that its head is silent."""

import contextlib
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from jepa_sweep.errors import SpecError

Ray = Any  # the module, an extra
ACCELERATORS = {"gpu": ("GPU",), "tpu": ("TPU",), "cpu": (), "auto": ("GPU", "TPU")}  # device -> resources of Ray
CONNECT_TIMEOUT_S = 5.0  # for a machine to answer at all
JOIN_TIMEOUT_S = 40.0  # for joining a cluster; Ray itself would go on trying for many minutes
HEAD_TIMEOUT_S = 20.0  # without an answer of the head; after 60, Ray ends this process
POLL_S = 1.0  # between two looks at the machines


class Room(NamedTuple):
    """What one machine has room for."""

    workers: int
    options: dict[str, Any]  # what each of them asks of Ray
    cores: int  # that each computes on; 0 where an accelerator computes


class Cluster:
    """The machines of a cluster, as its head last described them; asked in a thread, as it may never answer."""

    def __init__(self, ray: Ray, device: str, cores: int) -> None:
        """`cores` is how many a worker computes on where it has no accelerator; 0 for all of a machine.

        Raises:
            SpecError: no machine has such a device.
        """
        self.ray, self._device, self._cores = ray, device, cores
        self._nodes, self.heard = ray.nodes(), time.monotonic()
        if device in ("gpu", "tpu") and not self.rooms():
            raise SpecError(
                f"`device` {device!r} was asked for, but no machine of the cluster offers one to Ray; try `auto`."
            )
        self._closed = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def close(self) -> None:
        """Ask no more."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(POLL_S):
            with contextlib.suppress(Exception):
                self._nodes, self.heard = self.ray.nodes(), time.monotonic()

    @property
    def silent(self) -> bool:
        """True if the head no longer answers, so that news of dead workers may never come."""
        return time.monotonic() - self.heard > HEAD_TIMEOUT_S

    def rooms(self) -> dict[str, Room]:
        """Machine -> room; those without any are left out."""
        nodes = {node["NodeID"]: node["Resources"] for node in self._nodes if node["Alive"]}
        for kind in ACCELERATORS[self._device]:
            asked = {"num_cpus": 0, **({"num_gpus": 1} if kind == "GPU" else {"resources": {kind: 1}})}
            found = {
                name: Room(int(has.get(kind, 0)), asked, 0) for name, has in nodes.items() if has.get(kind, 0) >= 1
            }
            if found:
                return found
        if self._device in ("gpu", "tpu"):
            return {}
        rooms = {}
        for name, has in nodes.items():
            present = int(has.get("CPU", 0))
            cores = self._cores or present
            if 0 < cores <= present:
                rooms[name] = Room(present // cores, {"num_cpus": cores}, cores)
        return rooms


@contextlib.contextmanager
def connected(cluster: str, device: str) -> Iterator[Cluster]:
    """The machines of the cluster named by "ray" or "ray:ADDRESS".

    "ray" is the one that runs here, or else a new one on this machine alone.

    Raises:
        SpecError: Ray is not installed, there is no cluster at the address, or it has no such device.
    """
    address = _address(cluster)
    if device not in ACCELERATORS:
        raise SpecError(
            f"`device` must be one of {', '.join(ACCELERATORS)} on a cluster, where each worker has one of its own, "
            f"but it is {device!r}."
        )
    with _joined(address) as ray:
        machines = Cluster(ray, device, max(0, jax.config.values["jax_num_cpu_devices"]))
        try:
            yield machines
        finally:
            machines.close()


def _address(cluster: str) -> str:
    """The address in "ray:ADDRESS"; empty where none is named."""
    match = re.fullmatch(
        r"ray(?::(auto|(?:ray://)?[^\s/:\[\]]+:\d{1,5}|(?:ray://)?\[[0-9A-Fa-f:.]+\]:\d{1,5}))?", cluster
    )
    if not match:
        raise SpecError(
            "`cluster` must be ray, or ray:ADDRESS with an address like auto, 10.0.0.1:6379 or ray://host:10001, "
            f"but it is {cluster!r}."
        )
    return match[1] or ""


@contextlib.contextmanager
def _joined(address: str) -> Iterator[Ray]:
    """Ray as part of a cluster, which is left at the end."""
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
        if not _join(ray, address or os.environ.get("RAY_ADDRESS") or "", quiet):
            ray.init(address="local", include_dashboard=False, **quiet)
        try:
            if threading.current_thread() is threading.main_thread():
                for number, handler in handlers.items():  # Ray has put its own there
                    signal.signal(number, handler)
            yield ray
        finally:
            ray.shutdown()


def _join(ray: Ray, address: str, quiet: dict[str, Any]) -> bool:
    """True once this process belongs to a cluster; False if none was named and none runs here."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()
        except (OSError, ValueError) as error:
            raise _unreachable(address, str(error)) from error
    failed: list[BaseException] = []

    def join() -> None:
        try:
            ray.init(address=address or "auto", **quiet)
        except BaseException as error:  # whatever it is, it is told below
            failed.append(error)

    # In a thread, because Ray would try for many minutes; it starts no process, which would die with the thread.
    thread = threading.Thread(target=join, daemon=True)
    thread.start()
    thread.join(JOIN_TIMEOUT_S)
    if thread.is_alive():
        raise _unreachable(address or "auto", f"nothing there has spoken as Ray for {JOIN_TIMEOUT_S:g} seconds")
    if failed and not address and isinstance(failed[0], ConnectionError):
        return False
    if failed:
        raise _unreachable(address or "auto", str(failed[0])) from failed[0]
    return True


def _unreachable(address: str, why: str) -> SpecError:
    return SpecError(
        f"`cluster` must name a Ray cluster that can be reached, but joining {address} failed: "
        f"{' '.join(why.split())[:300]}; see whether `ray status --address {address}` answers."
    )
