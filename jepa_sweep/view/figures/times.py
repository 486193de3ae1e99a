"""Critical times: measured against predicted, and where JEPA and MAE learn two features in opposite orders."""

import numpy as np
import pandas as pd

from jepa_sweep.errors import SpecError
from jepa_sweep.store.store import Store
from jepa_sweep.view import style
from jepa_sweep.view.claims import Claim
from jepa_sweep.view.style import Axes, Figure

_MOST_PAIRS = 4  # side by side
_PREDICTIONS = {"t_leading": ("leading order", "#E69F00"), "t_exact": ("closed form", "#000000")}


def critical_times(store: Store) -> Figure:
    """Measured critical times over their predictions, exact and to leading order; below, how far the two differ."""
    points = _measured(store, ["objective", *_PREDICTIONS])
    objectives = [name for name in style.NAMES if (points["objective"] == name).any()]
    figure, axes = style.panels(2, len(objectives), 4.4, sharex="col", sharey="row", height_ratios=[1.3, 1])
    for (above, below), objective in zip(axes.T, objectives, strict=True):
        here = points[points["objective"] == objective]
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


def critical_times_claims(store: Store) -> list[Claim]:
    """Measured times against both predictions."""
    points = _measured(store, ["eps", "relative_difference", *_PREDICTIONS])
    worst, rtol = points["relative_difference"].max(), store.frozen["solver"]["rtol"]
    off = (points["t_leading"] / points["t_exact"] - 1).abs().groupby(points["eps"]).median()
    return [
        Claim(
            "measured critical times are those of the closed form",
            f"{len(points):,} times, off by at most {worst:.1e} (solver tolerance {rtol:g})",
            worst < 10 * rtol,
        ),
        Claim(
            "the leading order becomes exact as eps falls",
            f"median error {off.iloc[-1]:.1e} at eps = {off.index[-1]:g}, {off.iloc[0]:.1e} at {off.index[0]:g}",
            bool(off.is_monotonic_increasing),
        ),
    ]


def _measured(store: Store, columns: list[str]) -> pd.DataFrame:
    """The points whose critical time was integrated."""
    points = store.points(columns=["t_numeric", *columns], filters=[("status", "==", "learned")])
    if points["t_numeric"].isna().all():
        raise SpecError("a measured critical time: nothing was integrated, or nothing learned")
    return points


def inversion_claims(store: Store) -> list[Claim]:
    """The windows of eps in which orders are opposite, for the pair whose lam differ least."""
    pairs = pairs_of(store)
    pair = pairs[pairs["lam"] == pairs["lam"].min()]
    found, exact = windows(pair), windows(pair, "exact")
    shown = found[found["L"].isin([2, 3, 5, 8])]
    width = np.log10(found["high"] / found["low"])
    said = "; ".join(f"L = {r.L}: {r.low:.1e} to {r.high:.1e}" for r in shown.itertuples())
    off = (found / exact - 1).abs().to_numpy().max(initial=0)
    return [
        Claim(
            "a shallow encoder never inverts the order; the window of eps in which a deep one does widens with depth",
            f"none at L = 1; {said}",
            1 not in set(found["L"]) and len(found) > 1 and bool(width.is_monotonic_increasing),
        ),
        Claim("the windows are those of the closed form", f"edges differ by at most {off:.1e}", off < 1e-6),
        Claim(
            "MAE always learns the larger lam first",
            f"in {(pairs['mae'] < 1).sum():,} of {pairs['mae'].notna().sum():,} pairs",
            bool((pairs["mae"].dropna() < 1).all()),
        ),
    ]


def inversion(store: Store) -> Figure:
    """Over eps and depth, when JEPA learns a feature of larger lam, in units of the time of one of larger rho.

    Outlined: JEPA learns the second first, and MAE the first. Dots: the same edges from the closed form.
    """
    pairs = pairs_of(store)
    kinds = list(pairs.groupby(["lam", "rho", "lam_other", "rho_other"]))
    if not 1 <= len(kinds) <= _MOST_PAIRS:
        raise SpecError(f"1 to {_MOST_PAIRS} features beside the one of largest rho, but has {len(kinds)}")
    figure, axes = style.panels(1, len(kinds), 3.1, sharey=True)
    for ax, (values, pair) in zip(axes[0], kinds, strict=True):
        ratio = pair.pivot(index="L", columns="eps", values="jepa")
        inverted = pair.pivot(index="L", columns="eps", values="inverted")
        eps, depths = ratio.columns.to_numpy(), ratio.index.to_numpy()
        ax.pcolormesh(
            eps, depths, np.log2(ratio), vmin=-1, vmax=1, cmap=style.RESPONSE, shading="nearest", rasterized=True
        )
        for depth in depths:
            _outline(ax, eps[inverted.loc[depth].to_numpy(bool)], depth)
        edges = windows(pair, "exact")
        ax.plot(np.concatenate([edges["low"], edges["high"]]), [*edges["L"]] * 2, "k.", ms=4)
        ax.set(xscale="log", xlabel="initial response $\\epsilon$", facecolor="white")
        ax.patch.set(hatch="////", edgecolor="0.7", lw=0)
        first, second = (f"$\\lambda = {lam:g},\\ \\rho = {rho:g}$" for lam, rho in (values[:2], values[2:]))
        ax.set_title(f"{first} against {second}")
    axes[0, 0].set_ylabel("encoder layers $L$")
    axes[0, 0].set_yticks(sorted(pairs["L"].unique()))
    bar = figure.colorbar(axes[0, 0].collections[0], ax=list(axes[0]), extend="both", aspect=25)
    bar.set_label("JEPA: $\\log_2$ of the ratio of critical times")
    title = "Outlined: JEPA and MAE learn the two in opposite orders (dots: closed form); hatched: not learned"
    figure.suptitle(title, fontsize=9)
    return figure


def pairs_of(store: Store) -> pd.DataFrame:
    """Each feature beside the one of largest rho, at the same depth and eps.

    Columns: lam, rho, lam_other, rho_other, L, eps; `jepa` and `mae`, the ratio of the two critical times;
    `jepa_exact` and `mae_exact`, the same of the closed forms; `inverted`, whether the orders differ.
    """
    columns = ["objective", "lam", "rho", "L", "eps", "t_numeric", "t_exact"]
    points = store.points(columns=columns)
    other = points[points["rho"] == points["rho"].max()]
    rest = points[points["rho"] < points["rho"].max()]
    both = rest.merge(other, on=["objective", "L", "eps"], suffixes=("", "_other"))
    both["ratio"] = both["t_numeric"] / both["t_numeric_other"]
    both["exact"] = both["t_exact"] / both["t_exact_other"]
    keys = ["lam", "rho", "lam_other", "rho_other", "L", "eps"]
    table = both.pivot(index=keys, columns="objective", values=["ratio", "exact"])
    table.columns = [name if kind == "ratio" else f"{name}_exact" for kind, name in table.columns]
    table["inverted"] = (table["jepa"] > 1) & (table["mae"] < 1)
    return table.reset_index()


def windows(pair: pd.DataFrame, how: str = "numeric") -> pd.DataFrame:
    """For each depth, between which eps one pair of features is inverted; from "numeric" or "exact" times.

    The edges are where the ratio of JEPA's times passes 1, interpolated between the two grid points around it.
    """
    column, rows = "jepa" if how == "numeric" else "jepa_exact", []
    for depth, one in pair.sort_values("eps").groupby("L"):
        log_eps, log_ratio = np.log(one["eps"].to_numpy()), np.log(one[column].to_numpy())
        [left] = np.nonzero(log_ratio[:-1] * log_ratio[1:] < 0)
        share = log_ratio[left] / (log_ratio[left] - log_ratio[left + 1])
        edges = np.exp(log_eps[left] + share * (log_eps[left + 1] - log_eps[left]))
        if len(edges) == 2:
            rows.append((depth, *edges))
    return pd.DataFrame(rows, columns=["L", "low", "high"])


def _outline(ax: Axes, eps: np.ndarray, depth: int) -> None:
    """A frame around the inverted cells of one row."""
    if len(eps):
        ax.plot(eps[[0, -1, -1, 0, 0]], depth + np.array([-0.5, -0.5, 0.5, 0.5, -0.5]), color="black", lw=0.9)
