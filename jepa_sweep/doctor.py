"""Checks of this machine: versions, devices, critical times against SciPy, whether files can be kept durably."""

import os
import platform
import shutil
from pathlib import Path
from typing import Any

import jax

from jepa_sweep import api
from jepa_sweep.engine import devices, selfcheck
from jepa_sweep.errors import JepaSweepError
from jepa_sweep.physics.reduced import DYNAMICS
from jepa_sweep.running import provenance
from jepa_sweep.store import locate
from jepa_sweep.store.folder import probe


def examine(out: str | Path, device: str = "auto") -> dict[str, Any]:
    """Facts about this machine; `ok` is false where JAX computes wrongly, and `advice` then says what to do.

    Raises:
        SpecError: there is no such device.
        StorageError: files cannot be published under `out`.
    """
    chosen, *others = devices.pick(device)
    free = _free_space(out)
    found = [*_answers_of_python(), *selfcheck.answers(device)]
    said: dict[str, Any] = {"ok": not any(answer.wrong for answer in found)}
    try:
        selfcheck.refuse_wrong(found, device)
        selfcheck.remember(device)
    except JepaSweepError as error:
        said["advice"] = str(error)
    methods = {a.method: ", ".join(str(b) for b in found if b.method == a.method) for a in found}
    return {
        **said,
        "python": platform.python_version(),
        **provenance.versions(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "devices": ", ".join(f"{d.platform}:{d.id} {d.device_kind}" for d in jax.devices()),
        "device": f"{1 + len(others)} x {chosen.platform} ({chosen.device_kind})",
        "checked": f"critical times of {selfcheck.POINTS:,} points an objective; worst relative errors against SciPy:",
        **methods,
        "files": f"can be published durably in {out}",
        **free,
    }


def _answers_of_python() -> list[selfcheck.Answer]:
    """The closed form as it is called from Python, all points in one vector."""
    found = []
    for objective in DYNAMICS:
        columns, p = selfcheck.points(objective)
        truth, uncertain = selfcheck.reference(objective, columns, p)
        lam, rho, L, eps = (columns[name] for name in ("lam", "rho", "L", "eps"))
        times = api.critical_time(objective, lam=lam, rho=rho, L=L, eps=eps, p=p)
        found.append(selfcheck.judge(objective, "critical_time", times, truth, uncertain + selfcheck.ROUNDINGS))
    return found


def _free_space(out: str | Path) -> dict[str, str]:
    """Free space where runs would be written, after a test that files can be published there, which leaves nothing."""
    where = locate.at(out)
    if not isinstance(where.path, Path):
        where.prepare(())
        return {}
    free = shutil.disk_usage(probe(where.path)).free
    return {"free disk": f"{free / 1e9:.1f} GB"}
