"""What was computed against what theory says, or against another run, in one table."""

import pandas as pd

from jepa_sweep.errors import SpecError
from jepa_sweep.store.store import Store
from jepa_sweep.systems import registry


def compare(store: Store, other: Store | None = None) -> pd.DataFrame:
    """Numbers against predictions, in the rows that suit the system; or two runs with the same points.

    Of two runs: one row a measured column of `points`, with the number of points that have it in both, and the worst
    and mean relative difference. So two tolerances or two coordinates are held against each other where there is no
    closed form.

    Raises:
        SpecError: the two runs have no point in common.
    """
    if other is None:
        return registry.of_store(store).compare(store)
    keys = ["objective", *(c.name for c in store.parameters), "p"]
    keys = [name for name in keys if name in store.schema("points").names]
    both = store.points().merge(other.points(), on=keys, suffixes=("", "_other"))
    if both.empty:
        raise SpecError(
            f"Two runs must have points in common to be compared, but {store.path} and {other.path} have none; "
            "run the same axes with another `rtol` or `coordinate`."
        )
    rows = []
    for name in both.columns:
        if f"{name}_other" in both.columns and both[name].dtype.kind == "f" and name != "relative_difference":
            off = (both[name] / both[f"{name}_other"] - 1).abs().dropna()
            rows.append(
                {"column": name, "points": len(off), "worst_difference": off.max(), "mean_difference": off.mean()}
            )
    return pd.DataFrame(rows)
