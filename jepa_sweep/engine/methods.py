"""The methods of integration by name: those of diffrax, and Clenshaw-Curtis quadrature as one of their kind.

The points of one half of that rule are every second point of the whole, so that the difference of the two estimates the
error, as for any embedded method.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import diffrax as dfx
import numpy as np

from jepa_sweep.engine import quadrature
from jepa_sweep.engine.settings import METHODS, Settings

HALF = 16  # intervals of the rule that estimates the error; the other has twice as many


def _tableau() -> dfx.ButcherTableau:
    fine, coarse = quadrature.weights(2 * HALF), np.zeros(2 * HALF + 1)
    coarse[::2] = quadrature.weights(HALF)
    c = quadrature.nodes(2 * HALF)[1:]
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


SOLVERS = {
    "clenshaw_curtis": ClenshawCurtis,
    "tsit5": dfx.Tsit5,
    "dopri5": dfx.Dopri5,
    "dopri8": dfx.Dopri8,
    "kvaerno5": dfx.Kvaerno5,
}
assert tuple(SOLVERS) == METHODS, "what specs may name is what there is"
assert all(issubclass(kind, dfx.AbstractERK) == Settings(name).explicit for name, kind in SOLVERS.items())


class Rule(NamedTuple):
    """Points of a rule on [0, 1] in increasing order, 0 and 1 among them, its weights, and those of its error."""

    nodes: np.ndarray
    weights: np.ndarray
    error_weights: np.ndarray


def rule_of(tableau: dfx.ButcherTableau) -> Rule:
    """What a Runge-Kutta method is for fields that depend on x alone: stages at the same point count together."""
    c, both = np.concatenate([[0.0], tableau.c]), np.stack([tableau.b_sol, tableau.b_error])
    nodes, of_stage = np.unique(c, return_inverse=True)
    weights = np.stack([np.bincount(of_stage, row) for row in both])
    used = (weights != 0).any(axis=0) | np.isin(nodes, (0, 1))
    return Rule(nodes[used], *weights[:, used])
