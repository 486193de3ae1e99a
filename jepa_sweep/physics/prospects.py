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
    """Codes of the `Status` of points, each with a threshold; times out of the range of `precision` say so.

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
        log_time, its = _log_time(lam, rho, L, eps, a, m, p), np.finfo(precision)
    answer = np.where(grows & (below > 0), Status.ABOVE_THRESHOLD, Status.NOT_REACHED)
    met = np.where(log_time > np.log(its.max), Status.OVERFLOW, Status.LEARNED)
    met = np.where(log_time < np.log(its.tiny), Status.UNDERFLOW, met)
    answer = np.where(crosses, met, answer)
    answer = np.where(np.abs(below) <= 4 * np.finfo(float).eps, Status.AT_FIXED_POINT, answer)
    answer = np.where(lam < 0, Status.COLLAPSES, answer)
    return np.where(lam == 0, Status.NO_SIGNAL, answer)


def _log_ratio(rho: np.ndarray, L: np.ndarray, eps: np.ndarray, m: np.ndarray, p: np.ndarray) -> np.ndarray:
    """ln(p w* / eps), without cancellation where the start is close to the threshold."""
    far = np.log(p) - np.log(eps) + L / m * np.log(rho)
    return np.where(np.abs(far) < 0.5, np.log1p((p * rho ** (L / m) - eps) / eps), far)


def _log_time(
    lam: np.ndarray, rho: np.ndarray, L: np.ndarray, eps: np.ndarray, a: np.ndarray, m: np.ndarray, p: np.ndarray
) -> np.ndarray:
    """ln T(p) within 3.

    Below the rest point `1 / (z^a (1 - z^m))`, which T integrates, is `z^-a`, and next to it `z^(m-1) / (1 - z^m)`.
    Above it the same holds of 1/z, with `a + m - 2` in place of `-a`.
    """
    n = np.where(p < 1, a, a + m) - 1
    log_r, log_q = np.log(eps) / L - np.log(rho) / m, np.log(p) / L
    apart = np.abs(_log_ratio(rho, L, eps, m, p)) / L
    power = np.where(n > 0, np.maximum(-n * log_r, -n * log_q) + np.log(-np.expm1(-n * apart) / n), np.log(apart))
    rest = np.log(np.log1p(-np.expm1(-m * apart) / np.expm1(m * np.abs(log_q))) / m) - n * np.maximum(log_q, 0)
    return np.log(L) - np.log(lam) - (a - 1) / m * np.log(rho) + np.logaddexp(power, rest)
