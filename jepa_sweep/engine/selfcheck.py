r"""Does JAX compute right on this machine? Critical times of 4,096 points an objective against SciPy's quadrature.

Releases of JAX have had faults that show on some processors only, in long vectors only, and without a word: `arctan`
was wrong by any amount in vectors of 512 bits (JAX issue 39352). So the machine is asked, and nothing is computed by a
method that answers wrongly there.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import re
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jepa_sweep.engine import devices, lanes
from jepa_sweep.engine.settings import METHODS, Settings
from jepa_sweep.errors import JepaSweepError
from jepa_sweep.physics.host import Columns
from jepa_sweep.physics.reduced import DYNAMICS

POINTS = 4096
EXACT = "exact"  # the closed form
RTOL, MOST_STEPS = 1e-8, 100  # of the solves; each step may err by RTOL of what it changes
# A forward step errs by RTOL in chi, which moves T by up to 11.2 RTOL T at these points: the largest dT/dchi / T.
FORWARD = 12
ROUNDINGS = 2 * 8 * 2 * 17 * 2.0**-53  # of exponents up to 2 |ln eps| <= 2 * 17, eight each, here and in the reference


class Answer(NamedTuple):
    """How far the times of one method are from SciPy's at the points of one objective."""

    objective: str
    method: str
    error: float  # the worst, relative; inf where a time is missing
    allowed: float
    wrong: int  # points that are farther off than allowed

    def __str__(self) -> str:
        return f"{self.objective} {self.error:.1e} (must be <= {self.allowed:.1e})"


def points(objective: str) -> tuple[Columns, np.ndarray]:
    """Parameters and p, each (4096,): L from 1 to 8; of four points three grow from below and one decays from above."""
    rng = np.random.default_rng(0)
    lam, rho, L = 10 ** rng.uniform(-1, 1, POINTS), rng.uniform(0.5, 1.2, POINTS), rng.integers(1, 9, POINTS) * 1.0
    grows = np.arange(POINTS) % 4 > 0
    p = np.where(grows, rng.uniform(0.05, 0.95, POINTS), rng.uniform(1.05, 3.0, POINTS))
    away = 10 ** np.where(grows, -rng.uniform(0.1, 4.0, POINTS), rng.uniform(0.1, 1.0, POINTS))
    m = 1 if objective == "jepa" else L + 1
    return {"lam": lam, "rho": rho, "L": L, "eps": p * rho ** (L / m) * away}, p


def reference(objective: str, columns: Columns, p: np.ndarray) -> tuple[np.ndarray, float]:
    r"""Critical times by SciPy's quadrature, and their largest relative error by its own estimate.

    $T = \frac{L}{k} \int \frac{dz}{z^a (1 - z^m)} = \frac{L}{k m} \int (1 \pm e^{-\chi})^{(a-1)/m} d\chi$ with
    $\chi = \ln(z^m / |1 - z^m|)$, plus below the rest point, minus above it; $k = lam\, rho^{(a-1)/m}$, and (a, m) is
    (2L, 1) for JEPA, (L, L+1) for MAE.

    Args:
        objective: "jepa" or "mae".
        columns: lam, rho, L and eps, each (n,).
        p: fractions of the rest point, (n,).
    """
    from scipy import integrate  # not at the top: a second of every run, for the first on a machine

    lam, rho, L, eps = (columns[name] for name in ("lam", "rho", "L", "eps"))
    a, m = (2 * L, np.ones_like(L)) if objective == "jepa" else (L, L + 1)
    power, sign = (a - 1) / m, np.where(p < 1, 1.0, -1.0)
    log_powers = m / L * np.log(eps / rho ** (L / m)), m / L * np.log(p)  # ln z^m at the start and at the threshold
    low, high = (np.minimum(x, 0) - np.log(-np.expm1(-np.abs(x))) for x in log_powers)

    def log_integrand(chi: np.ndarray) -> np.ndarray:
        return power * np.log1p(sign * np.exp(-chi))

    top = np.maximum(log_integrand(low), log_integrand(high))  # so that all integrals are of one size

    def integrand(share: float) -> np.ndarray:
        return (high - low) * np.exp(log_integrand(low + share * (high - low)) - top)

    values, error = integrate.quad_vec(integrand, 0, 1, epsabs=0, epsrel=1e-13, norm="max")[:2]
    return L / (lam * rho**power * m) * np.exp(top) * values, float(error / values.min())


def answers(
    device: str = "auto", methods: tuple[str, ...] = (EXACT, *METHODS), batch: int | None = None
) -> list[Answer]:
    """How these methods do on a device, in float64, in programs for a typical call of `batch` points."""
    found = []
    for objective, dynamics in DYNAMICS.items():
        columns, p = points(objective)
        truth, uncertain = reference(objective, columns, p)
        predicted = lanes.predict(dynamics, columns, p, batch=batch, device=device)
        for method in methods:
            if method == EXACT:
                found.append(judge(objective, method, predicted.values["t_exact"], truth, uncertain + ROUNDINGS))
                continue
            settings = Settings(method, RTOL)
            theirs = predicted.map(lambda a: a[:, None])
            solved = lanes.solve(dynamics, columns, p[:, None], theirs, settings, batch=batch, device=device)
            allowed = MOST_STEPS * RTOL * (1 if settings.explicit else FORWARD)
            found.append(judge(objective, method, solved.time[:, 0], truth, allowed))
    return found


def judge(objective: str, method: str, times: np.ndarray, truth: np.ndarray, allowed: float) -> Answer:
    """How far `times` are from the truth."""
    errors = np.where(np.isfinite(times), np.abs(times / truth - 1), np.inf)
    return Answer(objective, method, float(errors.max()), allowed, int((errors > allowed).sum()))


def refuse_wrong(found: list[Answer], device: str = "auto") -> None:
    """Refuse to go on if an answer is wrong.

    Raises:
        JepaSweepError: says which method is wrong, by how much, and what to install.
    """
    wrong = [answer for answer in found if answer.wrong]
    if not wrong:
        return
    versions, flags = devices.versions(), os.environ.get("XLA_FLAGS")
    says = "; ".join(f"`{a.method}` is wrong at {a.wrong:,} of {POINTS:,} points, {a}" for a in wrong)
    [needed] = [r for r in importlib.metadata.requires("jepa_sweep") or [] if re.match("jax[<>=!]", r)]
    excluded = f"!={versions['jax']}"
    raise JepaSweepError(
        f"JAX must compute critical times as SciPy does, but jax {versions['jax']} with jaxlib {versions['jaxlib']} on "
        f"{devices.pick(device)[0].device_kind} does not ({says}); "
        f"try another release: pip install '{needed if excluded in needed else f'{needed},{excluded}'}'"
        + (f", or unset XLA_FLAGS, which is {flags!r}." if flags else ".")
    )


@functools.cache
def require(device: str, method: str, batch: int | None = None) -> None:
    """Check the closed form and a method before a machine first uses them, if JAX keeps compiled programs.

    What was found right is noted beside the programs, for these versions, flags, processor and device. Where JAX keeps
    no programs nothing is checked, since a library may not write to its user's disk unasked; where the note cannot be
    written, every process checks for itself.

    Args:
        device: where to compute, see `devices.pick`.
        method: one of `METHODS`; for any other word only the closed form is checked.
        batch: points of a typical call to come, so that the programs which are checked are those that it will use.

    Raises:
        JepaSweepError: JAX computes wrongly here.
    """
    if jax.config.values["jax_compilation_cache_dir"] is None:
        return
    methods = (EXACT, *(m for m in METHODS if m == method))
    notes = _notes(device, methods)
    if notes and all(os.path.exists(note) for note in notes):
        return
    refuse_wrong(answers(device, methods, batch), device)
    remember(device, methods)


def remember(device: str, methods: tuple[str, ...] = (EXACT, *METHODS)) -> None:
    """Note beside the compiled programs, where JAX keeps any, that these methods were found right."""
    for note in _notes(device, methods):
        with contextlib.suppress(OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(json.dumps(devices.circumstances(devices.pick(device)[0]), indent=2))


def _notes(device: str, methods: tuple[str, ...]) -> list[Path]:
    """Where it is noted that a method was found right here, if anywhere."""
    folder = devices.programs_folder()
    if folder is None:
        return []
    circumstances = devices.circumstances(devices.pick(device)[0])
    key = hashlib.sha256(json.dumps(circumstances).encode()).hexdigest()[:16]
    return [folder / f"jepa_sweep-{method}-is-right-{key}.json" for method in methods]
