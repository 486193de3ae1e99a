"""Devices, precision, how many lanes fit into memory, and where compiled programs are kept between runs."""

import contextlib
import functools
import importlib.metadata
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from jepa_sweep.engine import cores
from jepa_sweep.engine.settings import usual_programs_folder
from jepa_sweep.errors import SpecError

Device = Any  # a `jax.Device`, which type checkers do not see as a class
KINDS = ("auto", "cpu", "gpu", "tpu")
MAKERS = ("jepa_sweep", "jax", "jaxlib", "diffrax", "equinox", "lineax", "optimistix")  # of compiled programs


def pick(wanted: str = "auto") -> tuple[Device, ...]:
    """All devices of a kind, or some of them: "cpu", "gpu", "gpu:0,2"; `auto` is JAX's own choice of a kind.

    Raises:
        SpecError: the kind is unknown, or this machine (or this JAX) has no such device.
    """
    match = re.fullmatch(rf"({'|'.join(KINDS)})(?::(\d+(?:,\d+)*))?", wanted)
    if not match:
        raise SpecError(
            f"`device` must be one of {', '.join(KINDS)}, or name some of a kind like gpu:0,1, but it is {wanted!r}."
        )
    kind, numbers = match[1], match[2]
    try:
        present = jax.local_devices(backend=None if kind == "auto" else kind)
    except (RuntimeError, AssertionError) as error:
        raise SpecError(
            f"`device` {wanted!r} was asked for, but JAX sees none here; try `auto`, or install the extra for it "
            "(jepa-sweep[cuda12], [cuda13] or [tpu])."
        ) from error
    if numbers is None:
        return tuple(present)
    chosen = sorted({int(n) for n in numbers.split(",")})
    if chosen[-1] >= len(present):
        raise SpecError(
            f"`device` {wanted!r} must name devices that are here, but JAX sees {len(present)} of this kind, "
            f"numbered from 0; try {kind!r}."
        )
    return tuple(present[n] for n in chosen)


@contextlib.contextmanager
def scope(precision: str, device: Device | None = None) -> Iterator[None]:
    """Compute in `precision` on `device`; the host program's own settings are left as they were.

    JAX keeps this setting per thread, so every worker thread needs a scope of its own.
    """
    on_device = jax.default_device(device) if device else contextlib.nullcontext()
    with jax.enable_x64(precision == "float64"), on_device:
        yield


def compiler_options(device: Device) -> dict[str, Any]:
    """How XLA should compile for a device.

    Processors get vectors of 512 bits, which XLA takes by default on a few of them only. Our loops are long chains of
    operations that wait for each other, and the wider a vector, the more numbers wait at once; that holds where the
    processor takes it in two halves, too.
    """
    return {"xla_cpu_prefer_vector_width": 512} if device.platform == "cpu" else {}


def lanes_that_fit(device: Device, lane_bytes: int) -> int:
    """How many lanes of this size a device should advance together: a power of two, at least 8.

    On a processor a step should stay in the cache of a core. An accelerator should be full, and its memory is the
    limit: a fifth of it for the lanes, because a step needs its stages beside them.
    """
    if device.platform == "cpu":
        most, room = 4096, 2 << 20
    else:
        most, room = 1 << 17, int((device.memory_stats() or {}).get("bytes_limit", 8 << 30)) // 5
    return max(8, min(most, 1 << (room // max(1, lane_bytes)).bit_length() - 1)) if room > lane_bytes else 8


def programs_folder() -> Path | None:
    """Where JAX keeps compiled programs, if it does so in a folder."""
    folder = jax.config.values["jax_compilation_cache_dir"]
    return None if folder is None or "://" in folder else Path(folder)


@functools.cache
def circumstances(device: Device) -> dict[str, object]:
    """What compiled programs, and what they compute, may depend on: versions, flags, device and processor."""
    info, processor = Path("/proc/cpuinfo"), [platform.machine(), platform.processor()]
    if info.exists():  # the model and what it can do, as it is said of the first core
        said = dict(line.split(":", 1) for line in info.read_text().split("\n\n")[0].splitlines() if ":" in line)
        processor += [
            v.strip() for k, v in said.items() if k.strip() in ("model name", "flags", "CPU part", "Features")
        ]
    return {
        "versions": versions(),
        "flags": os.environ.get("XLA_FLAGS", ""),
        "device": [device.platform, device.device_kind, device.client.platform_version],
        "processor": processor,
    }


def versions() -> dict[str, str]:
    """Versions of the packages that make programs."""
    return {name: importlib.metadata.version(name) for name in MAKERS}


# --- for the command line only: a library must not change the settings of the program that imports it -----------------


def use_all_cores() -> None:
    """Let JAX see every processor core as a device, unless the user has said otherwise; before JAX starts."""
    flags = os.environ.get("XLA_FLAGS", "")
    if jax.config.values["jax_num_cpu_devices"] < 0 and "xla_force_host_platform_device_count" not in flags:
        jax.config.update("jax_num_cpu_devices", cores.number())


def keep_compiled_programs() -> None:
    """Let JAX keep compiled programs in the user's cache directory, unless the user has said where already."""
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(usual_programs_folder()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
