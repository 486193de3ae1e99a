"""Which device computes, in which precision, and where compiled programs are kept between runs."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from jepa_sweep.errors import SpecError

Device = Any  # a `jax.Device`, which type checkers do not see as a class
KINDS = ("auto", "cpu", "gpu", "tpu")


def pick(kind: str = "auto") -> Device:
    """The first device of a kind; `auto` takes JAX's own choice, an accelerator where there is one.

    Raises:
        SpecError: the kind is unknown, or this machine (or this JAX) has no such device.
    """
    if kind not in KINDS:
        raise SpecError(f"`device` must be one of {', '.join(KINDS)}, but it is {kind!r}.")
    try:
        return jax.devices(None if kind == "auto" else kind)[0]
    except (RuntimeError, AssertionError) as error:
        raise SpecError(
            f"`device` {kind!r} was asked for, but JAX sees none here; try `auto`, or install the extra for it "
            "(jepa-sweep[cuda12], [cuda13] or [tpu])."
        ) from error


@contextlib.contextmanager
def scope(precision: str, device: Device | None = None) -> Iterator[None]:
    """Compute in `precision` on `device`; the host program's own settings are left as they were.

    JAX keeps this setting per thread, so every worker thread needs a scope of its own.
    """
    on_device = jax.default_device(device) if device else contextlib.nullcontext()
    with jax.enable_x64(precision == "float64"), on_device:
        yield


def keep_compiled_programs() -> None:
    """Let JAX keep compiled programs in the user's cache directory, unless the user has said where already.

    For the command line only: a library must not change the settings of the program that imports it.
    """
    if jax.config.values["jax_compilation_cache_dir"] is None:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(base / "jepa_sweep" / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
