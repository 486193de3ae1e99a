"""Critical times: measured against predicted, and where JEPA and MAE learn two features in opposite orders."""

import numpy as np
import pandas as pd

from jepa_sweep.store.reader import Reader
from jepa_sweep.view import style
from jepa_sweep.view.choosing import having, where_largest
from jepa_sweep.view.claims import FigureClaim, partial_rank_correlation
from jepa_sweep.view.style import Figure

_MOST_PAIRS = 4  # side by side
_PREDICTIONS = {"t_leading": ("leading order", "#E69F00"), "t_exact": ("closed form", "#000000")}


def critical_times(store: Reader) -> Figure:
    """Measured critical times over their predictions, exact and to leading order; below, how far the two differ."""
    points = _measured(store, ["objective", *_PREDICTIONS])
    objectives = [name for name in style.NAMES if (points["objective"] == name).any()]
    figure, axes = style.panels(2, len(objectives), 4.4, sharex="col", sharey="row", height_ratios=[1.3, 1])
    for (above, below), objective in zip(axes.T, objectives, strict=True):
        here = having(points, objective=objective)
        for name, (label, color) in _PREDICTIONS.items():
            off = (here["t_numeric"] / here[name] - 1).abs()
            dots = {"marker": ".", "ms": 1.5, "mew": 0, "ls": "", "color": color, "rasterized": True}
            above.plot(here[name], here["t_numeric"], label=f"{label}, off by at most {off.max():.1e}", **dots)
            below.plot(here[name], off, **dots)
        above.set(xscale="log", yscale="log", title=style.NAMES[objective])
        below.set(yscale="log", xlabel=f"predicted critical time ({store.time} time)")
        above.legend(loc="upper left", markerscale=6)
    axes[0, 0].set_ylabel(f"measured critical time ({store.time} time)")
    axes[1, 0].set_ylabel("|measured / predicted $-$ 1|")
    return figure


def critical_times_misfits(store: Reader) -> list[str]:
    """What keeps the times from showing what happens as eps falls, in words."""
    if _series_in_eps(_measured(store, ["objective", "L", "eps"])):
        return []
    return [
        "`eps` must have 3 learned values or more, over 2 decades or more, at the same objective, `L` and `p` below 1"
    ]


def critical_times_claims(store: Reader) -> list[FigureClaim]:
    """Claims of measured times against both predictions."""
    points = _measured(store, ["objective", "L", "rho", "eps", "relative_difference", *_PREDICTIONS])
    worst, rtol = points["relative_difference"].max(), store.frozen["solver"]["rtol"]
    series = _series_in_eps(points.assign(off=(points["t_leading"] / points["t_exact"] - 1).abs()))
    # At given objective, L and p this error is a function of eps and rho: lam stretches both times alike.
    orders = [partial_rank_correlation(one, "eps", "off", "rho") for one in series]
    order = np.average(orders, weights=[len(one) for one in series])
    return [
        FigureClaim(
            "measured critical times are those of the closed form",
            f"{len(points):,} times, off by at most {worst:.1e} (solver tolerance {rtol:g})",
            worst < 10 * rtol,
        ),
        FigureClaim(
            "the leading order becomes exact as eps falls",
            f"rank correlation of its error with eps, at given objective, L, p and rho: {order:.2f} in the mean, "
            f"{min(orders):.2f} at least",
            order > 0.5,
        ),
    ]


def _measured(store: Reader, columns: list[str]) -> pd.DataFrame:
    """The points whose critical time was integrated."""
    points = store.read("points", columns=["t_numeric", "p", *columns], filters=[("status", "==", "learned")])
    points = points.dropna(subset="t_numeric")
    if "t_leading" in points:  # it holds for growth, not for decay from above
        points["t_leading"] = points["t_leading"].where(points["p"] < 1)
    return points


def _series_in_eps(points: pd.DataFrame) -> list[pd.DataFrame]:
    """The points of each objective, depth and threshold that grow, where they show what happens as eps falls."""
    groups = [one for _, one in points[points["p"] < 1].groupby(["objective", "L", "p"])]
    return [one for one in groups if one["eps"].nunique() > 2 and one["eps"].max() > 99 * one["eps"].min()]


def inversion_misfits(store: Reader) -> list[str]:
    """What keeps the features from forming pairs whose two orders can be compared, in words."""
    points = store.read("points", columns=["objective", "lam", "rho", "L", "eps"])
    features = points[["lam", "rho"]].drop_duplicates()
    other = where_largest(features, "rho")
    rest = features.drop(other.index)
    if len(other) > 1:
        return [f"one feature must have the largest `rho`, but {len(other)} have {other['rho'].iloc[0]:g}"]
    if not 1 <= len(rest) <= _MOST_PAIRS:
        return [f"1 to {_MOST_PAIRS} features must stand beside the one of largest `rho`, but there are {len(rest)}"]
    if not (rest["lam"] > other["lam"].iloc[0]).all():
        return ["features of smaller `rho` must have a larger `lam` than the one of largest `rho`, but some have not"]
    cells = points["objective"].nunique() * points["L"].nunique() * points["eps"].nunique()
    if len(points.drop_duplicates()) < cells * len(features):
        return ["each feature must be there at every `eps` and `L` of both objectives, but some are not"]
    if len(windows(_closest(pairs_of(store)), "jepa_exact")) < 2:
        return [
            "`eps` must reach beyond both edges of the window of inverted orders at two `L` or more, of the pair whose "
            "lam differ least"
        ]
    return []


def inversion_claims(store: Reader) -> list[FigureClaim]:
    """Claims of the windows of eps in which orders are opposite, for the pair whose lam differ least."""
    pairs = pairs_of(store)
    pair = _closest(pairs)
    found, exact = windows(pair), windows(pair, "jepa_exact")
    some = found[found["L"].isin([2, 3, 5, 8])]
    width = np.log10(found["high"] / found["low"])
    said = "; ".join(f"L = {r.L}: {r.low:.1e} to {r.high:.1e}" for r in (found if some.empty else some).itertuples())
    off = (found.set_index("L") / exact.set_index("L") - 1).abs().to_numpy().max(initial=0)
    # Near an edge the ratio of two times changes by some hundredth of what eps does, and each is off by 10 rtol.
    most = 1000 * store.frozen["solver"]["rtol"]
    return [
        FigureClaim(
            "a shallow encoder never inverts the order; the window of eps in which a deep one does widens with depth",
            f"none at L = 1; {said}",
            1 not in set(found["L"]) and len(found) > 1 and bool(width.is_monotonic_increasing),
        ),
        FigureClaim("the windows are those of the closed form", f"edges differ by at most {off:.1e}", off < most),
        FigureClaim(
            "MAE always learns the larger lam first",
            f"in {(pairs['mae'] < 1).sum():,} of {pairs['mae'].notna().sum():,} pairs",
            bool((pairs["mae"].dropna() < 1).all()),
        ),
    ]


def _closest(pairs: pd.DataFrame) -> pd.DataFrame:
    """The rows of one pair of features, that whose lam differ least."""
    first = pairs.sort_values(["lam", "rho"]).iloc[0]
    return having(pairs, lam=first["lam"], rho=first["rho"])


def inversion(store: Reader) -> Figure:
    """Over eps and depth, when JEPA learns a feature of larger lam, in units of the time of one of larger rho.

    Outlined: JEPA learns the second first, and MAE the first. Dots: the same edges from the closed form.
    """
    pairs = pairs_of(store)
    kinds = list(pairs.groupby(["lam", "rho", "lam_other", "rho_other"]))
    figure, axes = style.panels(1, len(kinds), 3.1, sharey=True)
    for ax, (values, pair) in zip(axes[0], kinds, strict=True):
        ratio = pair.pivot(index="L", columns="eps", values="jepa")
        colors = {"vmin": -1, "vmax": 1, "cmap": style.RESPONSE}
        ax.pcolormesh(ratio.columns, ratio.index, np.log2(ratio), shading="nearest", rasterized=True, **colors)
        for depth, one in pair[pair["inverted"]].groupby("L"):
            low, high = one["eps"].min(), one["eps"].max()
            ax.plot([low, high, high, low, low], depth + np.array([-0.5, -0.5, 0.5, 0.5, -0.5]), color="black", lw=0.9)
        edges = windows(pair, "jepa_exact")
        ax.plot(np.concatenate([edges["low"], edges["high"]]), [*edges["L"]] * 2, "k.", ms=4)
        ax.set(xscale="log", xlabel="initial response $\\epsilon$", facecolor="white")
        ax.patch.set(hatch="////", edgecolor="0.7", lw=0)
        first, second = (f"$\\lambda = {lam:g},\\ \\rho = {rho:g}$" for lam, rho in (values[:2], values[2:]))
        ax.set_title(f"{first} against {second}")
    axes[0, 0].set_ylabel("encoder layers $L$")
    axes[0, 0].set_yticks(sorted(pairs["L"].unique()))
    label = "JEPA: $\\log_2$ of the ratio of critical times"
    figure.colorbar(axes[0, 0].collections[0], ax=list(axes[0]), extend="both", aspect=25, label=label)
    title = "Outlined: JEPA and MAE learn the two in opposite orders (dots: closed form); hatched: not learned"
    figure.suptitle(title, fontsize=9)
    return figure


def pairs_of(store: Reader) -> pd.DataFrame:
    """Each feature beside the one of largest rho, at the same depth and eps.

    Columns: lam, rho, lam_other, rho_other, L, eps; `jepa` and `mae`, the ratio of the two critical times;
    `jepa_exact` and `mae_exact`, the same of the closed forms; `inverted`, whether the orders differ.
    """
    columns = ["objective", "lam", "rho", "L", "eps", "t_numeric", "t_exact"]
    points = store.read("points", columns=columns)
    other = where_largest(points, "rho")
    both = points.drop(other.index).merge(other, on=["objective", "L", "eps"], suffixes=("", "_other"))
    both["ratio"] = both["t_numeric"] / both["t_numeric_other"]
    both["exact"] = both["t_exact"] / both["t_exact_other"]
    keys = ["lam", "rho", "lam_other", "rho_other", "L", "eps"]
    table = both.pivot(index=keys, columns="objective", values=["ratio", "exact"])
    table.columns = [name if kind == "ratio" else f"{name}_exact" for kind, name in table.columns]
    table["inverted"] = (table["jepa"] > 1) & (table["mae"] < 1)
    return table.reset_index()


def windows(pair: pd.DataFrame, ratio: str = "jepa") -> pd.DataFrame:
    """For each depth, between which eps one pair of features is inverted: columns L, low and high.

    The edges are where the ratio of JEPA's times, in the column `jepa` or `jepa_exact`, passes 1, interpolated between
    the two grid points around it.
    """
    rows = []
    for depth, one in pair.sort_values("eps").groupby("L"):
        log_eps, log_ratio = np.log(one["eps"].to_numpy()), np.log(one[ratio].to_numpy())
        [left] = np.nonzero(log_ratio[:-1] * log_ratio[1:] < 0)
        share = log_ratio[left] / (log_ratio[left] - log_ratio[left + 1])
        edges = np.exp(log_eps[left] + share * (log_eps[left + 1] - log_eps[left]))
        if len(edges) == 2:
            rows.append((depth, *edges))
    return pd.DataFrame(rows, columns=["L", "low", "high"])
