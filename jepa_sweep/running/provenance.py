"""Where numbers come from: versions, device, precision, git revision, command line."""

import functools
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jepa_sweep.engine import devices

PACKAGES = ("jepa_sweep", "jax", "jaxlib", "diffrax", "optax", "numpy", "scipy", "pandas", "pyarrow")


def peak_memory() -> int:
    """The most memory this process has held, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # what the system call says on Linux may be the memory of the program that started this one
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):  # some containers leave it out
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def facts(where: "tuple[devices.Device, ...]", precision: str) -> dict[str, Any]:
    """The environment of a run, as it is kept beside the rows it made."""
    return {
        "versions": versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "device": where[0].device_kind,
        "devices": len(where),
        "backend": where[0].platform,
        "precision": precision,
        "git": _git(),
        "argv": sys.argv,
    }


@functools.cache
def versions() -> dict[str, str]:
    """Installed versions of this package and those its numbers depend on."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


@functools.cache
def _git() -> dict[str, Any] | None:
    """Revision of the source this package runs from, and whether it was changed since; None outside a checkout."""
    here = Path(__file__).resolve().parents[2]

    def ask(*words: str) -> str:
        # Without the locks that `status` would take to refresh the index: killed then, it leaves the checkout locked.
        line = ["git", "--no-optional-locks", "-C", str(here), *words]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout

    try:
        if ask("ls-files", "--", str(Path(__file__).resolve())).strip() == "":
            return None  # installed inside some other checkout
        return {"revision": ask("rev-parse", "HEAD").strip(), "dirty": bool(ask("status", "--porcelain").strip())}
    except (OSError, subprocess.CalledProcessError):
        return None
