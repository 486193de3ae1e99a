"""The difference of two runs, point by point."""

import pandas as pd

from jepa_sweep.errors import SpecError
from jepa_sweep.store.reader import Reader


def difference(first: Reader, second: Reader) -> pd.DataFrame:
    """How far two runs of one system differ at the points they share: of two tolerances, devices or versions, say.

    Returns:
        One row a column of numbers in `points`: how many points have it in both runs, and the worst and mean relative
        difference.

    Raises:
        SpecError: the runs are of different systems, conventions of time or parameters, or have no point in common.
    """
    systems = first.frozen["system"], second.frozen["system"]
    if systems[0] != systems[1]:
        raise SpecError(
            f"Two runs must be of one system to be compared, but {first.path} is of {systems[0]} and {second.path} of "
            f"{systems[1]}."
        )
    if first.time != second.time:
        raise SpecError(
            f"Two runs must have one convention of time to be compared, but {first.path} is in {first.time} time and "
            f"{second.path} in {second.time} time; run one of them with the other's `time`."
        )
    keys, others = first.manifest.keys, second.manifest.keys
    if set(keys) != set(others):
        raise SpecError(
            f"Two runs must have the same parameters to be compared, but {first.path} has {', '.join(keys)} and "
            f"{second.path} has {', '.join(others)}."
        )
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
            rows.append((name, len(off), off.max(), off.mean()))
    return pd.DataFrame(rows, columns=["column", "points", "worst_difference", "mean_difference"])
