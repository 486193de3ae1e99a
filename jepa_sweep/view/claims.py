"""What a figure claims, measured on the tables it is drawn from."""

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd


class Claim(NamedTuple):
    """A sentence, what was measured, and whether that bears it out."""

    says: str
    measured: str
    holds: bool


def rank_correlation(frame: pd.DataFrame, first: str, second: str) -> float:
    """Spearman's, of two columns."""
    return float(frame[first].corr(frame[second], method="spearman"))


def listed(values: Iterable[float], form: str = ".2f") -> str:
    """Numbers in a sentence; one that all share is said once."""
    texts = list(dict.fromkeys(format(value, form) for value in values))
    return ", ".join(texts)
