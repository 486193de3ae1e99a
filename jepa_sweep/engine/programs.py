"""Compiled programs: one for each function, shape and device, kept from one process to the next where JAX keeps any.

JAX keeps what XLA has compiled, but a process must trace a program anew to ask for it, which takes longer than to load
it. So programs are kept beside JAX's own, under a name that says all they were made of. Functions of this package have
such a name. Those of a user, which may change between two processes, are traced in each.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pickle
import re
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import serialize_executable

from jepa_sweep.engine import devices

PACKAGE = Path(__file__).parent.parent
MIN_LANES = 8


class Compiled:
    """Seconds that this process has compiled, one program at a time."""

    seconds = 0.0
    lock = threading.Lock()


class Shape(NamedTuple):
    """What one call of a compiled program takes, on each device."""

    rows: int
    width: int  # lanes, at most `rows`
    least: int = MIN_LANES  # that a device may advance together

    def halved(self) -> "Shape":
        """The same in half the memory, or itself if it is as small as may be."""
        if self.width <= self.least:
            return self
        return Shape(max(self.least, self.rows // 2), max(self.least, self.width // 2), self.least)


class Program(NamedTuple):
    """What a program is made of."""

    build: Callable[..., Callable]  # makes the function, from `key` and `shape`
    key: tuple
    shape: Shape
    inner: tuple[tuple[int, ...], ...]  # shapes of one row's arguments
    precision: str
    where: tuple[devices.Device, ...]

    @property
    def _split(self) -> jax.sharding.NamedSharding:
        """Rows split over the devices."""
        mesh = jax.sharding.Mesh(np.array(self.where), ("devices",))
        return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("devices"))

    @property
    def arguments(self) -> list[jax.ShapeDtypeStruct]:
        """Shapes and types of what it takes: how many rows each device has to do, and rows of each argument."""
        placed, rows = self._split, len(self.where) * self.shape.rows
        counts = jax.ShapeDtypeStruct((len(self.where),), np.dtype("int32"), sharding=placed)
        return [
            counts,
            *(jax.ShapeDtypeStruct((rows, *s), np.dtype(self.precision), sharding=placed) for s in self.inner),
        ]

    def function(self) -> Any:
        """The function for one part on each of the devices, for JAX to trace."""
        function = self.build(*self.key, self.shape)
        if len(self.where) > 1:
            mesh, spec = self._split.mesh, self._split.spec
            function = jax.shard_map(function, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
        return jax.jit(function)


@functools.lru_cache(maxsize=256)
def compiled(program: Program) -> jax.stages.Compiled:
    """The compiled program, which takes `Program.arguments`."""
    began = time.perf_counter()
    path = _path(program)
    done = _read(path, program) if path else None
    if done is None:
        lowered = program.function().trace(*program.arguments).lower()
        with _hits_of_jax() as hits:
            done = lowered.compile(devices.compiler_options(program.where[0]))
        if path and not hits:
            _write(path, done, _calls(lowered))
    Compiled.seconds += time.perf_counter() - began
    return done


# --- in files ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _hits_of_jax() -> Iterator[list[str]]:
    """What JAX takes from its own cache meanwhile, which cannot be kept: written once more, it lacks its functions."""
    hits: list[str] = []

    def listen(event: str, **_: Any) -> None:
        if event.endswith("/cache_hits"):
            hits.append(event)

    jax.monitoring.register_event_listener(listen)
    try:
        yield hits
    finally:
        jax.monitoring.unregister_event_listener(listen)


def _path(program: Program) -> Path | None:
    """Where a program is kept, if it is."""
    folder = devices.programs_folder()
    if folder is None:
        return None
    try:
        made_of = _name(program._replace(where=tuple(device.id for device in program.where)))
    except LookupError:
        return None
    settings = {name: repr(value) for name, value in jax.config.values.items()}
    circumstances = [made_of, _sources(), devices.circumstances(program.where[0]), settings]
    key = hashlib.sha256(json.dumps(circumstances).encode()).hexdigest()
    return folder / f"jepa_sweep-{program.build.__name__.strip('_')}-{key}.compiled"


def _name(value: Any) -> str:
    """A text that is the same in every process for equal values, and another for others.

    Raises:
        LookupError: the value is a function without a name in this package, or holds one.
    """
    if value is None or isinstance(value, (bool, int, float, str, jax.tree_util.PyTreeDef)):
        return repr(value)
    if isinstance(value, tuple):
        return f"{_name(type(value))}({', '.join(map(_name, value))})"
    if isinstance(value, functools.partial):
        return f"partial{_name((value.func, value.args, *value.keywords.items()))}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return f"{_name(type(value))}({', '.join(_name(getattr(value, f.name)) for f in dataclasses.fields(value))})"
    if value is tuple:
        return "tuple"
    module, name = getattr(value, "__module__", ""), getattr(value, "__qualname__", "")
    if module.startswith("jepa_sweep.") and getattr(sys.modules.get(module), name, None) is value:
        return f"{module}.{name}"
    raise LookupError(value)


@functools.cache
def _sources() -> str:
    """A digest of the text of this package."""
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _calls(lowered: jax.stages.Lowered) -> set[str]:
    """Names of the functions outside XLA that a program calls."""
    return set(re.findall(r'custom_call @"?([^\s"(]+)', lowered.as_text()))


class Kept(NamedTuple):
    """A program in a file."""

    written: bytes  # by JAX
    takes: Any  # structures of arguments and results
    returns: Any
    foreign: bool  # whether it calls functions outside XLA, which on processors are those of LAPACK

    def loaded(self, where: tuple[devices.Device, ...]) -> jax.stages.Compiled:
        """The program, on these devices."""
        if self.foreign:
            _find_lapack()
        return serialize_executable.deserialize_and_load(
            self.written, self.takes, self.returns, backend=where[0].client, execution_devices=where
        )


@functools.cache
def _find_lapack() -> None:
    """Let JAX look for LAPACK, as it does when it lowers a call: without that a call of a loaded program crashes."""
    cholesky = jax.jit(jnp.linalg.cholesky).trace(jax.ShapeDtypeStruct((1, 1), np.dtype("float32")))
    cholesky.lower(lowering_platforms=("cpu",))


def kept(path: Path) -> Kept:
    """The program in a file.

    Raises:
        OSError: the file cannot be read.
        LookupError: it is not whole.
    """
    digest, _, packed = path.read_bytes().partition(b"\n")
    if digest != hashlib.sha256(packed).hexdigest().encode():
        raise LookupError(path)
    # Whoever can write this file can run code here, be it by pickle or, as in JAX's own cache, by what it holds.
    return Kept(*pickle.loads(zlib.decompress(packed)))


def _read(path: Path, program: Program) -> jax.stages.Compiled | None:
    """The program that was kept in a file; None if there is none, or it is not whole, or not for this machine."""
    with contextlib.suppress(OSError, LookupError, jax.errors.JaxRuntimeError):
        return kept(path).loaded(program.where)
    return None


def _write(path: Path, done: jax.stages.Compiled, calls: set[str]) -> None:
    """Keep a program for other processes, if it means the same there, JAX can write it, and so can we the file."""
    if any("callback" in name for name in calls):  # of a Python function of this process
        return
    try:
        made = Kept(*serialize_executable.serialize(done), foreign=bool(calls))
        packed = zlib.compress(pickle.dumps(tuple(made)), level=1)
    except (ValueError, NotImplementedError, jax.errors.JaxRuntimeError):  # JAX cannot write every program
        return
    own = path.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):  # where no file can be written, every process compiles
        path.parent.mkdir(parents=True, exist_ok=True)
        own.write_bytes(hashlib.sha256(packed).hexdigest().encode() + b"\n" + packed)
        own.replace(path)
