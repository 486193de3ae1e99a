"""Figures 2 and 4: the scalar flows, w(T) of many features in one panel."""

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from jepa_sweep.store.reader import Reader
from jepa_sweep.view import style
from jepa_sweep.view.choosing import having, where_largest
from jepa_sweep.view.claims import FigureClaim, listed, rank_correlation
from jepa_sweep.view.style import Axes, Figure

_OBJECTIVES = ("jepa", "mae")
_FEWEST = 3  # features that have an order
_SYMBOLS = {"lam": "$\\lambda$", "rho": "$\\rho$"}


def fig2(store: Reader) -> Figure:
    """Greedy learning: lam varies, rho varies, and both in opposite directions, for the deepest encoder that has all.

    Dotted: the closed form.
    """
    parts = greedy(store.read("trajectories"))
    depth = parts["both"]["L"].max()
    columns = [
        ("lam", "$\\lambda$ varies", parts["lam"]),
        ("rho", "$\\rho$ varies", parts["rho"]),
        ("rho", "$\\rho$ falls as $\\lambda$ grows", parts["both"]),
    ]
    figure, axes = style.panels(2, 3, 4.2, sharey=True)
    for column, (name, title, samples) in zip(axes.T, columns, strict=True):
        samples = having(samples, L=depth)
        _column(column, title, samples, name, store)
        _bar(figure, list(column), samples[name], _SYMBOLS[name])
    _label_rows(axes)
    figure.suptitle(f"Encoders of {depth} layers; dotted: closed form", fontsize=9)
    return figure


def fig4(store: Reader) -> Figure:
    """Depth: at equal lam, JEPA learns larger rho first, the more so the deeper the encoder; MAE hardly cares.

    Dotted: the closed form.
    """
    samples = store.read("trajectories")
    depths = sorted(samples["L"].unique())
    figure, axes = style.panels(2, len(depths), 4.2, sharey=True)
    for column, depth in zip(axes.T, depths, strict=True):
        _column(column, f"$L = {depth}$", having(samples, L=depth), "rho", store)
    _label_rows(axes)
    _bar(figure, list(axes[-1]), samples["rho"], _SYMBOLS["rho"])
    figure.suptitle(f"All features have $\\lambda = {samples['lam'].iloc[0]:g}$; dotted: closed form", fontsize=9)
    return figure


def fig2_misfits(store: Reader) -> list[str]:
    """What keeps the learned features from being the three experiments of Fig. 2, in words."""
    parts = greedy(_learned(store))
    deepest = parts["both"]["L"].max()
    if np.isnan(deepest):
        return ["`lam` and `rho` must also vary together, but no learned feature differs from most in both"]
    found = []
    for name, other in (("lam", "rho"), ("rho", "lam")):
        depths = {int(L) for L in (deepest, *parts[name]["L"])}
        settings = [{"objective": objective, "L": L} for objective in _OBJECTIVES for L in depths]
        if min(having(parts[name], **setting)[name].nunique() for setting in settings) < _FEWEST:
            found.append(
                f"`{name}` must have {_FEWEST} learned values or more where `{other}` has its most frequent one, at "
                f"L = {deepest} and every other depth there"
            )
    for objective in _OBJECTIVES:
        one = having(parts["both"], objective=objective, L=deepest).sort_values("lam")
        falls = (np.diff(one["lam"]) > 0).all() and (np.diff(one["rho"]) < 0).all()
        if len(one) < _FEWEST or not falls:
            found.append(
                f"where both differ from most, `rho` must fall as `lam` grows, in {_FEWEST} features or more that "
                f"{objective} learns"
            )
    return found


def fig2_claims(store: Reader) -> list[FigureClaim]:
    """Claims of which lam and rho are learned first, at every depth, and of the two orders at the depth drawn."""
    parts = greedy(_learned(store))
    deepest = parts["both"]["L"].max()
    order = {
        (name, objective): [rank_correlation(one, name, "t_numeric") for _, one in part.groupby("L")]
        for name in ("lam", "rho")
        for objective, part in parts[name].groupby("objective")
    }
    jepa, mae = (_spread(having(parts["rho"], objective=name, L=deepest)) - 1 for name in _OBJECTIVES)
    both = where_largest(parts["both"], "L")
    inverted = [
        rank_correlation(having(both, objective=objective), name, "t_numeric")
        for objective, name in (("jepa", "rho"), ("mae", "lam"))
    ]
    return [
        FigureClaim(
            "both objectives learn larger lam first",
            f"rank correlation of time with lam at every depth: jepa {listed(order['lam', 'jepa'])}, "
            f"mae {listed(order['lam', 'mae'])}",
            max(order["lam", "jepa"] + order["lam", "mae"]) < -0.999,
        ),
        FigureClaim(
            "only JEPA prefers larger rho",
            f"jepa {listed(order['rho', 'jepa'])} with rho at every depth; slowest over fastest at the depth drawn: "
            f"jepa {jepa:+.1%}, mae {mae:+.1%}",
            max(order["rho", "jepa"]) < -0.999 and mae < jepa / 20,
        ),
        FigureClaim(
            "where rho falls as lam grows, the orders are inverted",
            f"time with rho: jepa {inverted[0]:.2f}; time with lam: mae {inverted[1]:.2f}",
            max(inverted) < -0.999,
        ),
    ]


def fig4_misfits(store: Reader) -> list[str]:
    """What keeps the learned features from being compared at several depths, in words."""
    learned = _learned(store)
    depths, every = learned["L"].nunique(), learned["rho"].nunique()
    if depths < 2 or every < _FEWEST:
        return [f"it must have learned 2 `L` and {_FEWEST} `rho` or more, but has learned {depths} and {every}"]
    if len(learned) < len(_OBJECTIVES) * depths * every:
        return ["both objectives must have learned every `rho` at every `L`, but some are missing"]
    return []


def fig4_claims(store: Reader) -> list[FigureClaim]:
    """Claims of how much later the smallest rho is learned than the largest, at every depth."""
    learned = _learned(store)
    jepa, mae = ([one for _, one in having(learned, objective=name).groupby("L")] for name in _OBJECTIVES)
    prefers, cares = [_spread(one) for one in jepa], [_spread(one) for one in mae]
    orders = [rank_correlation(one, "rho", "t_numeric") for one in jepa]
    depths = listed(sorted(learned["L"].unique()), "d")
    return [
        FigureClaim(
            "the deeper the encoder, the more JEPA prefers larger rho",
            f"slowest over fastest at L = {depths}: {listed(prefers, '.3g')}",
            max(orders) < -0.999 and prefers == sorted(prefers),
        ),
        FigureClaim(
            "MAE hardly cares for rho",
            f"slowest over fastest at L = {depths}: {listed(cares, '.4f')}",
            max(cares) < 1.02,
        ),
    ]


def greedy(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The three experiments of Fig. 2: "lam" varies, "rho" varies, or "both" do; the first two meet in one feature."""
    lam, rho = (rows[name].mode().iloc[0] for name in ("lam", "rho"))
    apart = (rows["lam"] != lam) & (rows["rho"] != rho)
    corner = (rows["lam"] == lam) & (rows["rho"] == rho) & rows["L"].isin(rows.loc[apart, "L"])
    return {"lam": rows[rows["rho"] == rho], "rho": rows[rows["lam"] == lam], "both": rows[apart | corner]}


def _learned(store: Reader) -> pd.DataFrame:
    """The points whose critical time was integrated."""
    return store.read("points").dropna(subset="t_numeric")


def _spread(points: pd.DataFrame) -> float:
    """The slowest critical time over the fastest."""
    return points["t_numeric"].max() / points["t_numeric"].min()


def _column(axes: np.ndarray, title: str, samples: pd.DataFrame, name: str, store: Reader) -> None:
    """The curves of both objectives, one above the other."""
    for ax, objective in zip(axes, _OBJECTIVES, strict=True):
        _curves(ax, having(samples, objective=objective), name, store)
    axes[0].set_title(title)
    axes[-1].set_xlabel(style.time_label(store.time))


def _curves(ax: Axes, samples: pd.DataFrame, name: str, store: Reader) -> None:
    """One curve a feature, as a fraction of where it ends; darker for larger values of `name`."""
    values = sorted(samples[name].unique())
    for value, color in zip(values, style.shades(values), strict=True):
        one = having(samples, **{name: value}).sort_values("t")
        star = one["w_exact"].max()
        ax.plot(one["t"], one["w"] / star, color=color)
        ax.plot(one["t"], one["w_exact"] / star, color="black", ls=":", lw=0.6)
    # All samples end at `until` critical times of their feature; by 1.35 of the slowest all have risen.
    ax.set_xlim(0, samples["t"].max() * min(1.0, 1.35 / store.frozen["trajectories"]["until"]))
    ax.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3), useMathText=True)


def _label_rows(axes: np.ndarray) -> None:
    for row, objective in zip(axes, _OBJECTIVES, strict=True):
        row[0].set_ylabel(f"{style.NAMES[objective]} response $w/w^*$")


def _bar(figure: Figure, axes: list[Axes], values: pd.Series, label: str) -> None:
    """A colour bar for the shades of `_curves`."""
    low, high = values.min(), values.max()
    lowest = low - style.LIGHTEST * (high - low) / (1 - style.LIGHTEST)
    mappable = ScalarMappable(Normalize(lowest, high), style.SHADES)
    bar = figure.colorbar(mappable, ax=axes, location="bottom", aspect=30, fraction=0.06, label=label)
    bar.ax.set_xlim(low, high)
