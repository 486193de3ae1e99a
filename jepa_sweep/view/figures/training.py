"""Figures 1 and 5 and the nonlinear encoders: responses of trained networks, feature by feature."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from jepa_sweep.physics.host import LAYOUTS
from jepa_sweep.store.reader import Reader
from jepa_sweep.view import style
from jepa_sweep.view.choosing import having, where_largest
from jepa_sweep.view.claims import FigureClaim, listed
from jepa_sweep.view.style import Axes, Figure

_DISTRIBUTIONS = {
    "same": "$\\rho$ grows with $\\lambda$",
    "opposite": "$\\rho$ falls as $\\lambda$ grows",
    "equal_lam": "all $\\lambda$ equal",
    "equal_rho": "all $\\rho$ equal",
    "crossed": "ranks unrelated",
}


class _Panel(NamedTuple):
    """One column of panels: what it shows of which objective."""

    objective: str
    quantity: str
    title: str
    symbol: str


_RELATIVE = [_Panel(name, "relative", f"{style.NAMES[name]} encoder", "response $w/w^*$") for name in ("jepa", "mae")]
_STANDARD = [
    _Panel("jepa", "w", "JEPA encoder", "response $w$"),
    _Panel("mae", "w", "MAE encoder", "response $w$"),
    _Panel("mae", "fit", "MAE prediction", "fit $v\\,w/\\rho$"),
]


def fig1(store: Reader) -> Figure:
    """Encoder responses of aligned networks, in units of their rest points, over feature and iteration.

    Rows: distributions, with their lam and rho at the left. Dashed: where the scalar flow says a feature is half
    learned.
    """
    [p] = store.read("features", columns=["p"])["p"].unique()
    title = f"Deep linear networks from small aligned weights; dashed: $w = {p:g}\\,w^*$ by the scalar law"
    return _figure(store, title, ("layout",), _RELATIVE)


def fig5(store: Reader) -> Figure:
    """Responses from standard Gaussian weights, and what MAE's prediction holds of the regression."""
    return _figure(store, "Deep linear networks from standard Gaussian weights", ("layout",), _STANDARD)


def mlp(store: Reader) -> Figure:
    """The same for encoders with nonlinear units, trained on samples."""
    return _figure(store, "Encoders with nonlinear units, trained on samples", ("activation", "layout"), _STANDARD)


def fig1_misfits(store: Reader) -> list[str]:
    """What keeps networks from having a full order, in words: layouts in which none trained long enough for it."""
    points = store.read("points", columns=["objective", "layout", "learned", "features"])
    whole = (points["learned"] == points["features"]).groupby([points["objective"], points["layout"]]).any()
    return [
        f"`t_end` must let a network of {objective} learn every feature of the layout {layout}, but none has"
        for objective, layout in whole.index[~whole]
    ]


def unfitted(store: Reader) -> list[str]:
    """What keeps MAE's predictions from having an order, in words: layouts where they fit none, or all at the start."""
    points = store.read("points", filters=[("objective", "==", "mae"), ("layout", "!=", "equal_lam")])
    points = where_largest(points, "t_end")
    none = points.loc[points["fit_order_lam"].isna(), "layout"].unique()
    return [
        f"`t_end` must let MAE fit some features of the layout {layout} to the fraction p, but it fits none or all "
        "at the start"
        for layout in none
    ]


def fig1_claims(store: Reader) -> list[FigureClaim]:
    """Claims of the order in which features are learned, and of how late gradient descent is after the scalar flow."""
    points, features = store.read("points"), store.read("features")
    whole = points[points["learned"] == points["features"]]
    order = {key: one["order_lam"].tolist() for key, one in whole.groupby(["layout", "objective"])}
    same = order["same", "jepa"] + order["same", "mae"]
    behind = {name: _delay(one, store.time) for name, one in features.dropna(subset="t_learned").groupby("objective")}
    return [
        FigureClaim(
            "where rho grows with lam, JEPA and MAE learn in one order",
            f"rank correlation of learning time with lam: jepa {listed(order['same', 'jepa'])}, "
            f"mae {listed(order['same', 'mae'])}",
            max(same) < -0.999,
        ),
        FigureClaim(
            "where rho falls as lam grows, in opposite orders",
            f"jepa {listed(order['opposite', 'jepa'])}, mae {listed(order['opposite', 'mae'])}",
            min(order["opposite", "jepa"]) > 0.999 and max(order["opposite", "mae"]) < -0.999,
        ),
        FigureClaim(
            "times are those of the scalar flow, but for the finite step",
            "delay over (eta/2) ln(f_end / f_0): "
            + ", ".join(f"{name} {one.min():.2f} to {one.max():.2f}" for name, one in behind.items()),
            all(((one - 1).abs() < 0.2).all() for one in behind.values()),
        ),
    ]


def fig5_claims(store: Reader) -> list[FigureClaim]:
    """Claims of how responses of JEPA's encoder at the end, and times of MAE's prediction, rank with lam and rho."""
    jepa, mae = _means(store, "layout")
    holds, against = jepa["strength_rho"].dropna(), jepa["strength_lam"].loc[["opposite", "crossed"]]
    first = mae["fit_order_lam"].dropna()
    return [
        FigureClaim(
            "JEPA's encoder ends up with large rho, whatever lam",
            f"rank correlation of response with rho {_by_layout(holds)}; with lam {_by_layout(against)}",
            holds.min() > 0.8 and against["opposite"] < -0.8 and abs(against["crossed"]) < 0.35,
        ),
        FigureClaim(
            "MAE fits large lam first, whatever rho",
            f"rank correlation of time with lam {_by_layout(first)}; "
            f"with rho {_by_layout(mae['fit_order_rho'].reindex(['crossed', 'equal_lam']).dropna())}",
            first.max() < -0.5 and abs(mae["fit_order_rho"]["crossed"]) < abs(first["crossed"]),
        ),
    ]


def mlp_claims(store: Reader) -> list[FigureClaim]:
    """The same two statements, of encoders with nonlinear units."""
    jepa, mae = _means(store, "layout", "activation")
    holds, against = jepa["strength_rho"].dropna(), jepa["strength_lam"].loc["opposite"]
    first = mae["fit_order_lam"].dropna()
    return [
        FigureClaim(
            "JEPA's encoder ends up with large rho, whatever lam",
            f"rank correlation of response with rho {listed(holds)}; with lam where rho falls {listed(against)}",
            holds.min() > 0.75 and against.max() < -0.75,
        ),
        FigureClaim(
            "MAE fits large lam first, whatever rho",
            f"rank correlation of time with lam {listed(first)}",
            first.max() < -0.6,
        ),
    ]


def _means(store: Reader, *keys: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rank correlations of the longest runs of JEPA and of MAE, by these keys; their mean over seeds."""
    ranks = ["strength_lam", "strength_rho", "fit_order_lam", "fit_order_rho"]
    means = where_largest(store.read("points"), "t_end").groupby(["objective", *keys])[ranks].mean()
    return means.loc["jepa"], means.loc["mae"]


def _delay(features: pd.DataFrame, time: str) -> pd.Series:
    """How much later than the scalar flow each feature is learned, over what descent of step eta adds to first order.

    That is (eta/2) ln(f_end / f_0) of flow time, f = du/dt at the threshold and at the start.
    """
    L, lam, rho = (features[name] for name in ("L", "lam", "rho"))
    power, saturates = (2 * L, 1.0) if features["objective"].iloc[0] == "jepa" else (L, L + 1.0)
    u_0, u_end = features["w_start"] ** (1 / L), (features["p"] * features["w_star"]) ** (1 / L)
    f_0, f_end = (lam * u**power * (1 - u**saturates / rho) for u in (u_0, u_end))
    delay = (features["t_learned"] - features["t_exact"]) / (L if time == "paper" else 1)
    with np.errstate(invalid="ignore"):  # a threshold above the rest point has no prediction
        return delay / (features["eta"] / 2 * np.log(f_end / f_0))


def _by_layout(values: pd.Series) -> str:
    return ", ".join(f"{value:.2f} ({layout})" for layout, value in values.items())


def _figure(store: Reader, title: str, keys: Sequence[str], columns: Sequence[_Panel]) -> Figure:
    """A row of panels for each value of the keys: the spectrum, then one panel for each of the columns.

    Of several seeds and thresholds the first are shown.
    """
    features, samples = store.read("features"), store.read("trajectories")
    features = having(features, seed=features["seed"].min(), p=features["p"].min())
    samples = having(samples, seed=features["seed"].min())
    settings = features[list(keys)].drop_duplicates()
    settings = settings.sort_values("layout", key=lambda names: names.map(LAYOUTS.index), kind="stable")
    height, widths = 1.1 + 1.3 * len(settings), [0.55] + [1] * len(columns)
    figure, axes = style.panels(len(settings), 1 + len(columns), height, sharey=True, width_ratios=widths)
    for row, setting in zip(axes, settings.to_dict("records"), strict=True):
        words = [_DISTRIBUTIONS.get(word, word) for word in setting.values()]
        _spectrum(row[0], where_largest(having(features, **setting), "t_end"), words)
        for ax, panel in zip(row[1:], columns, strict=True):
            wanted = setting | {"objective": panel.objective}
            _response(ax, panel, having(features, **wanted), having(samples, **wanted), store.time)
    bars = {"aspect": 25, "pad": 0.1 / len(settings), "fraction": 0.1 / len(settings)}
    for column, panel in zip(axes.T[1:], columns, strict=True):
        column[0].set_title(panel.title)
        column[-1].set_xlabel("iteration")
        _level(column)
        maps = [ax.collections[0] for ax in column]
        top = max(one.get_clim()[1] for one in maps) if panel.quantity == "w" else 1
        for one in maps:
            one.set_clim(0, top)
        figure.colorbar(maps[0], ax=column, location="bottom", label=panel.symbol, **bars)
    _level(axes[:, 0])
    axes[-1, 0].set_xlabel("$\\lambda$, $\\rho$")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="lower left", ncols=2, markerscale=6 / _size(features))
    figure.suptitle(title, fontsize=9)
    return figure


def _spectrum(ax: Axes, features: pd.DataFrame, title: list[str]) -> None:
    """The lam and rho of every feature."""
    one = having(features, objective=features["objective"].iloc[0]).sort_values("feature")
    size = _size(one)
    ax.plot(one["lam"], one["feature"] + 1, "o", ms=size, mew=0, color="#222222", label="$\\lambda$")
    ax.plot(one["rho"], one["feature"] + 1, "d", ms=size, mew=0, color="#009E73", label="$\\rho$")
    ax.set(xlim=(0, None), ylabel="\n".join([*title, "feature"]))


def _size(features: pd.DataFrame) -> float:
    """The size of a dot in points with which the dots of all features just touch."""
    return 16 / features["feature"].nunique() ** 0.5


def _response(ax: Axes, panel: _Panel, features: pd.DataFrame, samples: pd.DataFrame, time: str) -> None:
    """One quantity of one objective over iterations (across) and features (up)."""
    if panel.quantity == "relative":
        # Of the runs that have learned everything, the shortest resolves the beginning best.
        learned = features.groupby("t_end")["t_learned"].agg(lambda t: t.notna().all())
        best = min(learned.index[learned], default=features["t_end"].max())
        ends = having(features, t_end=best)
        stars = samples["feature"].map(ends.set_index("feature")["w_star"])
        _map(ax, samples.assign(relative=samples["w"] / stars)[samples["t_end"] == best], "relative")
        unit = ends["eta"] * (ends["L"] if time == "paper" else 1)
        ax.plot(ends["t_exact"] / unit, ends["feature"] + 1, color="white", ls=(0, (4, 2)), lw=0.8)
    else:
        ax.set_xscale("log")
        _map(ax, samples[samples["step"] > 0], panel.quantity)


def _map(ax: Axes, samples: pd.DataFrame, quantity: str) -> None:
    once = samples.drop_duplicates(["step", "feature"])  # runs of several lengths begin alike
    grid = once.pivot(index="feature", columns="step", values=quantity)
    steps, numbers = grid.columns.to_numpy(), grid.index.to_numpy() + 1
    ax.pcolormesh(steps, numbers, grid.to_numpy(), shading="nearest", cmap=style.RESPONSE, rasterized=True)


def _level(axes: np.ndarray) -> None:
    """Give a column of axes one range of iterations, so that rows can be compared."""
    limits = np.array([ax.get_xlim() for ax in axes])
    for ax in axes:
        ax.set_xlim(limits[:, 0].min(), limits[:, 1].max())
        if ax is not axes[-1]:
            ax.tick_params(which="both", labelbottom=False)
