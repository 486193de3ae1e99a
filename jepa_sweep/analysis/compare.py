"""What was computed against what theory says, in one table a store."""

import numpy as np
import pandas as pd

from jepa_sweep.store.reader import Reader


def compare(store: Reader) -> pd.DataFrame:
    """Numbers against predictions, in the rows that suit what the store holds.

    Critical times: one row an objective and depth. Networks: one row an objective and setting, over all seeds.
    Estimates: one row a length of the series, over all seeds and features.
    """
    if "features" not in store.tables:
        return _critical_times(store)
    return _networks(store) if "losses" in store.tables else _estimates(store)


def _networks(store: Reader) -> pd.DataFrame:
    """Rank correlations of learning with lam and rho, means over seeds, and the worst time against the scalar flow."""
    points, features = store.read("points"), store.read("features")
    keys = [c.name for c in store.parameters if c.name != "seed" and len(set(points[c.name])) > 1]
    keys = ["objective", *keys, "p"]
    measured = ["order_lam", "order_rho", "fit_order_lam", "fit_order_rho", "strength_lam", "strength_rho"]
    means = {name: (name, "mean") for name in ("learned", *measured, "loss_start", "loss_end")}
    table = points.groupby(keys).agg(networks=("p", "size"), **means)
    worst = features.groupby(keys).agg(worst_difference=("relative_difference", "max"))
    return table.join(worst).reset_index()


def _estimates(store: Reader) -> pd.DataFrame:
    """Estimates in units of their predicted standard deviation: mean, spread and share within 2; off-diagonals."""
    features, wanted = store.read("features"), {}
    for name in ("lam", "rho"):
        features[name] = (features[f"{name}_hat"] - features[name]) / features[f"{name}_std"]
        features[f"{name}_within"] = features[name].abs() < 2
        wanted |= {f"{name}_mean": (name, "mean"), f"{name}_spread": (name, "std")}
        wanted[f"{name}_within_2"] = (f"{name}_within", "mean")
    scores = features.groupby("log10_T").agg(**wanted)
    off = {name: (name, "mean") for name in ("off_diagonal", "off_diagonal_exact")}
    runs = store.read("points").groupby("log10_T").agg(runs=("log10_T", "size"), **off)
    return runs.join(scores).reset_index()


def _critical_times(store: Reader) -> pd.DataFrame:
    """One row an objective and depth.

    Columns: points, learned, worst and mean relative difference from the closed form, and the worst relative error
    of the paper's leading order and of the asymptotics against the closed form. File by file: memory stays small.
    """
    keys = ["objective", *(c.name for c in store.parameters if c.dtype == "integer")]
    measured = ["status", "relative_difference", "t_exact", "t_leading", "t_asymptotic"]
    parts = []
    for frame in store.batches("points", [*keys, *measured]):
        if frame.empty:
            continue
        frame["learned"] = frame["status"] == "learned"
        frame["compared"] = frame["relative_difference"].notna()
        for name in ("t_leading", "t_asymptotic"):
            frame[name] = (frame[name] / frame["t_exact"] - 1).abs()
        grouped = frame.groupby(keys, sort=False)
        parts.append(
            grouped.agg(
                points=("learned", "size"),
                learned=("learned", "sum"),
                compared=("compared", "sum"),
                worst_difference=("relative_difference", "max"),
                total=("relative_difference", "sum"),
                worst_leading_error=("t_leading", "max"),
                worst_asymptotic_error=("t_asymptotic", "max"),
            )
        )
    names = [
        "points",
        "learned",
        "worst_difference",
        "mean_difference",
        "worst_leading_error",
        "worst_asymptotic_error",
    ]
    if not parts:
        return pd.DataFrame(columns=[*keys, *names])
    sums, worst = ["points", "learned", "compared", "total"], [n for n in names if n.startswith("worst")]
    together = pd.concat(parts).groupby(level=keys).agg({**dict.fromkeys(sums, "sum"), **dict.fromkeys(worst, "max")})
    together["mean_difference"] = together["total"] / together["compared"].replace(0, np.nan)
    return together.reset_index().loc[:, [*keys, *names]]
