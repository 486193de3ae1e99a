"""Two runs held against each other, point by point."""

import pandas as pd

from jepa_sweep.errors import SpecError
from jepa_sweep.store.reader import Reader


def difference(first: Reader, second: Reader) -> pd.DataFrame:
    """How far the points that two runs have in common differ: of two tolerances, coordinates, devices or versions.

    Returns:
        One row a column of numbers in `points`: how many points have it in both runs, and the worst and mean relative
        difference.

    Raises:
        SpecError: the runs have no point in common.
    """
    known = first.schema("points").names
    keys = [name for name in ("objective", *(c.name for c in first.parameters), "p") if name in known]
    both = first.read("points").merge(second.read("points"), on=keys, suffixes=("", "_other"))
    if both.empty:
        raise SpecError(
            f"Two runs must have points in common to be compared, but {first.path} and {second.path} have none; "
            "run the same axes with another `rtol` or `coordinate`."
        )
    rows = []
    for name in both.columns:
        if f"{name}_other" in both and both[name].dtype.kind == "f" and name != "relative_difference":
            off = (both[name] / both[f"{name}_other"] - 1).abs().dropna()
            worst, mean = off.max(), off.mean()
            rows.append({"column": name, "points": len(off), "worst_difference": worst, "mean_difference": mean})
    return pd.DataFrame(rows)
