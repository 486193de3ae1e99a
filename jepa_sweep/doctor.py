"""Checks of this machine: versions, devices, critical times against SciPy, whether files can be kept durably.

Each looks for itself, so that what is wrong with one does not hide what the others find.
"""

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jepa_sweep.checks import said, size_of
from jepa_sweep.errors import JepaSweepError
from jepa_sweep.running import provenance
from jepa_sweep.store import locate
from jepa_sweep.store.folder import probe

REINSTALL = "try `pip install --force-reinstall jepa_sweep`"


def examine(out: str | Path, device: str = "auto") -> dict[str, Any]:
    """Facts about this machine, and what is wrong with it.

    Returns:
        One entry a fact. `problems` says for each check that failed what is wrong and what to do; `ok` is true if
        there is none, and `code` is the exit code of the first, else 0.
    """
    facts: dict[str, Any] = {"ok": True, "code": 0, "problems": {}}
    _look(facts, "python", lambda: {"python": platform.python_version()})
    for name in provenance.PACKAGES:
        _look(facts, name, lambda name=name: {name: importlib.metadata.version(name)})
    _look(facts, "platform", lambda: {"platform": platform.platform(), "cores": os.cpu_count()})
    _look(facts, "devices", _devices)
    _look(facts, "device", lambda: _chosen(device))
    # Where the device that was asked for is not there, JAX may be right or wrong all the same.
    here, found = device if "device" not in facts["problems"] else "auto", []
    _look(facts, "checked", lambda: _computing(here, found))
    _look(facts, "advice", lambda: _judged(here, found))
    _look(facts, "files", lambda: _files(out))
    return facts


def _look(facts: dict[str, Any], name: str, check: Callable[[], dict[str, Any]]) -> None:
    """Add what a check finds, or in its place what is wrong."""
    try:
        facts |= check()
        return
    except JepaSweepError as error:
        problem, code = str(error), error.exit_code
    except importlib.metadata.PackageNotFoundError:
        problem, code = f"{name} must be installed, but it is missing; {REINSTALL}.", 1
    except Exception as error:  # of any kind: a broken installation may fail anywhere
        problem, code = f"this check must end, but it raised {said(error)}; {REINSTALL}.", 1
    facts["problems"][name] = problem
    facts |= {"ok": False, "code": facts["code"] or code, name: f"FAILED: {problem}"}


def _devices() -> dict[str, str]:
    import jax

    return {"devices": ", ".join(f"{d.platform}:{d.id} {d.device_kind}" for d in jax.devices())}


def _chosen(device: str) -> dict[str, str]:
    from jepa_sweep.engine import devices

    first, *others = devices.pick(device)
    return {"device": f"{1 + len(others)} x {first.platform} ({first.device_kind})"}


def _computing(device: str, found: list[Any]) -> dict[str, str]:
    """How far critical times by every method are from SciPy's, which is added to what was found."""
    from jepa_sweep.engine import selfcheck

    found += [*_answers_of_python(), *selfcheck.answers(device)]
    return {
        "checked": f"critical times of {selfcheck.POINTS:,} points an objective; worst relative errors against SciPy:",
        **{a.method: ", ".join(str(b) for b in found if b.method == a.method) for a in found},
    }


def _judged(device: str, found: list[Any]) -> dict[str, str]:
    """Nothing where JAX was found right, which is noted for the runs to come; raises what to install elsewhere."""
    if found:
        from jepa_sweep.engine import selfcheck

        selfcheck.refuse_wrong(found, device)
        selfcheck.remember(device)
    return {}


def _answers_of_python() -> list[Any]:
    """The closed form as it is called from Python, all points in one vector."""
    from jepa_sweep import api
    from jepa_sweep.engine import selfcheck
    from jepa_sweep.physics.reduced import DYNAMICS

    found = []
    for objective in DYNAMICS:
        columns, p = selfcheck.points(objective)
        truth, uncertain = selfcheck.reference(objective, columns, p)
        lam, rho, L, eps = (columns[name] for name in ("lam", "rho", "L", "eps"))
        times = api.critical_time(objective, lam=lam, rho=rho, L=L, eps=eps, p=p)
        found.append(selfcheck.judge(objective, "critical_time", times, truth, uncertain + selfcheck.ROUNDINGS))
    return found


def _files(out: str | Path) -> dict[str, str]:
    """Whether files can be published where runs would be written, by a test that leaves nothing; and the free space."""
    where = locate.at(out)
    if not isinstance(where.path, Path):
        where.prepare(())
        return {"files": f"can be published durably in {out}"}
    free = shutil.disk_usage(probe(where.path)).free
    return {"files": f"can be published durably in {out}", "free disk": size_of(free)}
