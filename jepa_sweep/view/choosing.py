"""Choosing rows of a table that has been read."""

from typing import Any

import pandas as pd


def having(frame: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """The rows in which each of these columns has the given value."""
    for name, value in values.items():
        frame = frame.loc[frame[name] == value]
    return frame


def where_largest(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows in which a column has its largest value."""
    return having(frame, **{name: frame[name].max()})
