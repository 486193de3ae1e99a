"""How points of the paper's flows will end, by the closed form, in NumPy: for those who plan and do not wait for JAX.

`exact.status` decides the same, for programs.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from jepa_sweep.physics.host import Columns, Status

# L -> the exponents (a, m) of each objective's law dz/dtau = z^a (1 - z^m), see `exact`; the rest point is rho^(L/m).
LAWS: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "jepa": lambda L: (2 * L, L**0),
    "mae": lambda L: (L, L + 1),
}


def prospects(objective: str, columns: Columns, p: np.ndarray, precision: str) -> np.ndarray:
    """Codes of the `Status` of points, each with a threshold; times beyond the largest number of `precision` overflow.

    Args:
        objective: one of `LAWS`.
        columns: lam, rho, L and eps, each (n,).
        p: (n,).
        precision: "float64" or "float32".
    """
    lam, rho, L, eps = (columns[name] for name in ("lam", "rho", "L", "eps"))
    a, m = LAWS[objective](L)
    with np.errstate(all="ignore"):  # of points without a signal
        grows, ahead, below = p < 1, _log_ratio(rho, L, eps, m, p), _log_ratio(rho, L, eps, m, np.ones_like(p))
        crosses = (lam > 0) & (rho > 0) & np.where(grows, ahead > 0, ahead < 0)
        late = _least_log_time(lam, rho, L, eps, a, m, p) > np.log(np.finfo(precision).max)
    answer = np.where(grows & (below > 0), Status.ABOVE_THRESHOLD, Status.NOT_REACHED)
    answer = np.where(crosses, np.where(late, Status.OVERFLOW, Status.LEARNED), answer)
    answer = np.where(np.abs(below) <= 4 * np.finfo(float).eps, Status.AT_FIXED_POINT, answer)
    answer = np.where(lam < 0, Status.COLLAPSES, answer)
    return np.where(lam == 0, Status.NO_SIGNAL, answer)


def _log_ratio(rho: np.ndarray, L: np.ndarray, eps: np.ndarray, m: np.ndarray, p: np.ndarray) -> np.ndarray:
    """ln(p w* / eps), without cancellation where the start is close to the threshold."""
    far = np.log(p) - np.log(eps) + L / m * np.log(rho)
    return np.where(np.abs(far) < 0.5, np.log1p((p * rho ** (L / m) - eps) / eps), far)


def _least_log_time(
    lam: np.ndarray, rho: np.ndarray, L: np.ndarray, eps: np.ndarray, a: np.ndarray, m: np.ndarray, p: np.ndarray
) -> np.ndarray:
    """A number that ln T(p) is not below, and next to where T is large because the start is small.

    Of `1 / (z^a |1 - z^m|)`, which T integrates, it takes `z^-a` below the rest point and `z^-(a+m)` above it.
    """
    n = np.where(p < 1, a, a + m) - 1
    log_r, log_q = np.log(eps) / L - np.log(rho) / m, np.log(p) / L
    power = np.maximum(-n * log_r, -n * log_q) + np.log(-np.expm1(-n * np.abs(log_q - log_r)) / n)
    integral = np.where(n > 0, power, np.log(np.abs(log_q - log_r)))
    return np.log(L / lam) - (a - 1) / m * np.log(rho) + integral
