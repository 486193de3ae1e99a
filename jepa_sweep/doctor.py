"""Is this machine fit to run sweeps? Versions, devices, precision, a known answer, durable files."""

import contextlib
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jepa_sweep import api
from jepa_sweep.engine import devices
from jepa_sweep.store import files, place
from jepa_sweep.sweep import provenance

_KNOWN = 8848567742.605930  # JEPA, lam = 0.7, rho = 0.4, L = 3, eps = 1e-6, p = 0.9; paper time, to 16 digits


def examine(out: str | Path, device: str = "auto") -> dict[str, Any]:
    """Facts about this machine; `ok` is false if a known answer is missed.

    Raises:
        SpecError: there is no such device.
        StorageError: files cannot be published under `out`.
    """
    chosen, *others = devices.pick(device)
    point = {"lam": 0.7, "rho": 0.4, "L": 3, "eps": 1e-6, "p": 0.9}
    exact = abs(float(api.critical_time("jepa", **point)) / _KNOWN - 1)
    solved = api.solve("jepa", **point, rtol=1e-10, device=device)
    numeric = abs(float(solved.time) / _KNOWN - 1)
    free = _probed(out)
    return {
        "ok": bool(exact <= 5e-14 and numeric <= 1e-8 and solved.time.dtype == np.float64),
        "python": platform.python_version(),
        **provenance.versions(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "devices": ", ".join(f"{d.platform}:{d.id} {d.device_kind}" for d in jax.devices()),
        "device": f"{1 + len(others)} x {chosen.platform} ({chosen.device_kind})",
        "closed form": f"relative error {exact:.1e} (must be <= 5e-14)",
        "integration": f"relative error {numeric:.1e} at rtol 1e-10 (must be <= 1e-8)",
        "files": f"can be published durably in {out}",
        **free,
    }


def _probed(out: str | Path) -> dict[str, str]:
    """Free space where runs would be written, if files can be published there; what was made for that is gone."""
    where = place.at(out)
    if not isinstance(where.path, Path):
        where.prepare(())
        return {}
    existed = where.path.exists()
    files.probe(where.path)
    free = shutil.disk_usage(where.path).free
    if not existed:
        with contextlib.suppress(OSError):  # another run has begun there meanwhile
            where.path.rmdir()
    return {"free disk": f"{free / 1e9:.1f} GB"}
