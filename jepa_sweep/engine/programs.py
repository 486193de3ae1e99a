"""Compiled programs: one for each function, shape and device, kept from one process to the next where JAX keeps any.

JAX keeps what XLA has compiled, but a process must trace a program anew to ask for it, which takes longer than to load
it. So what was traced is kept beside it, as JAX exports it, under a name that says all it was made of. Functions of
this package have such a name. Those of a user, which may change between two processes, are traced in each.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import export

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
def compiled(program: Program) -> Any:
    """The compiled program, which takes `Program.arguments`."""
    began = time.perf_counter()
    function = _exported(program) or program.function()
    options = devices.compiler_options(program.where[0])
    done = function.trace(*program.arguments).lower().compile(options)
    Compiled.seconds += time.perf_counter() - began
    return done


# --- what was traced, in files ----------------------------------------------------------------------------------------


def _exported(program: Program) -> Any:
    """The function of a program that is kept, from now on at least; None for a program that is not."""
    path = _kept(program)
    if path is None:
        return None
    exported = _read(path)
    if exported is None:
        ask = export.export(program.function(), platforms=[_platform(program.where[0])])
        try:
            exported = ask(*program.arguments)
        except (ValueError, NotImplementedError):
            # JAX does not export every operation of every device. An error of ours is raised again where it is traced.
            return None
        _write(path, exported)
    return jax.jit(exported.call)


def _platform(device: devices.Device) -> str:
    """What JAX calls a kind of device where it exports a program for it."""
    if device.platform != "gpu":
        return device.platform
    return "rocm" if "rocm" in device.client.platform_version.lower() else "cuda"


def _kept(program: Program) -> Path | None:
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
    return folder / f"jepa_sweep-{program.build.__name__.strip('_')}-{key}.traced"


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


def _read(path: Path) -> export.Exported | None:
    """What was kept in a file; None if there is none, or it is not whole."""
    try:
        digest, _, text = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    return export.deserialize(bytearray(text)) if digest == hashlib.sha256(text).hexdigest().encode() else None


def _write(path: Path, exported: export.Exported) -> None:
    """Keep it for other processes, if the file can be written."""
    text = exported.serialize()
    own = path.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        own.write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
        own.replace(path)
