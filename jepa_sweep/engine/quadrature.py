"""Clenshaw-Curtis quadrature as a diffrax solver, for fields that do not depend on the state.

A critical time over a coordinate that only grows is an integral, and there a rule of high order takes in one step what
a Runge-Kutta method takes in ten. The points of one half of the rule are every second point of the whole, so that the
difference of the two estimates the error, as for any embedded method.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax as dfx
import numpy as np

HALF = 16  # intervals of the rule that estimates the error; the other has twice as many


def _weights(n: int) -> np.ndarray:
    """Weights of the Clenshaw-Curtis rule at (1 - cos(pi k / n)) / 2 on [0, 1], for k = 0..n and even n."""
    j = np.arange(n // 2 + 1)
    each = np.where((j == 0) | (j == n // 2), 1, 2) / (1 - 4 * j**2)  # integrals of the even Chebyshev polynomials
    weights = np.cos(2 * np.pi * np.outer(np.arange(n + 1), j) / n) @ each / n
    weights[[0, -1]] /= 2
    return weights


def _tableau() -> dfx.ButcherTableau:
    fine, coarse = _weights(2 * HALF), np.zeros(2 * HALF + 1)
    coarse[::2] = _weights(HALF)
    c = (1 - np.cos(np.pi * np.arange(1, 2 * HALF + 1) / (2 * HALF))) / 2
    # The states at which a stage looks do not matter: a straight line. The last stage is the next step's first.
    rows = [np.concatenate([[node], np.zeros(i)]) for i, node in enumerate(c)]
    return dfx.ButcherTableau(
        a_lower=(*rows, fine),
        b_sol=np.concatenate([fine, [0.0]]),
        b_error=np.concatenate([fine - coarse, [0.0]]),
        c=np.concatenate([c, [1.0]]),
    )


class ClenshawCurtis(dfx.AbstractERK):
    """The rule of 33 points, its error by that of 17; of first order only where the field depends on the state."""

    tableau: ClassVar[dfx.ButcherTableau] = _tableau()  # pyright: ignore[reportIncompatibleVariableOverride]
    interpolation_cls: ClassVar[Callable[..., Any]] = dfx.LocalLinearInterpolation

    def order(self, terms: Any) -> int:
        """The order of the rule that estimates the error."""
        del terms
        return HALF + 1
