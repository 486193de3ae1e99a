"""What a figure claims, measured on the tables it is drawn from."""

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd


class FigureClaim(NamedTuple):
    """A sentence about the tables, what was measured, and whether the sentence holds."""

    says: str
    measured: str
    holds: bool


def rank_correlation(frame: pd.DataFrame, first: str, second: str) -> float:
    """Spearman's rank correlation of two columns."""
    return float(frame[first].corr(frame[second], method="spearman"))


def partial_rank_correlation(frame: pd.DataFrame, first: str, second: str, fixed: str) -> float:
    """Spearman's rank correlation of two columns with a third held fixed, for points on a grid, at random or Sobol's.

    r_xy.z = (r_xy - r_xz r_yz) / ((1 - r_xz^2) (1 - r_yz^2))^(1/2); a constant correlates with nothing.
    """
    r = frame[[first, second, fixed]].rank().corr().fillna(0.0)
    xy, xz, yz = r.loc[first, second], r.loc[first, fixed], r.loc[second, fixed]
    return float((xy - xz * yz) / max((1 - xz**2) * (1 - yz**2), 1e-300) ** 0.5)


def listed(values: Iterable[float], form: str = ".2f") -> str:
    """Numbers as text, each distinct one once."""
    texts = list(dict.fromkeys(format(value, form) for value in values))
    return ", ".join(texts)
