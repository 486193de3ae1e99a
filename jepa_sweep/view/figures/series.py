"""Figure 3: a temporal model of data, and lam and rho estimated from it."""

import numpy as np
import pandas as pd

from jepa_sweep.physics.data import fourier_basis
from jepa_sweep.store.store import Store
from jepa_sweep.view import style
from jepa_sweep.view.claims import Claim
from jepa_sweep.view.style import Axes, Figure

COORDINATES = 32  # in which the features are drawn: any orthonormal v gives the same estimates
_FEATURES = ("#0072B2", "#D55E00")


def fig3(store: Store) -> Figure:
    """The directions v, the signals u, both empirical second moments, and the estimates against their predictions.

    Bands are two predicted standard deviations; a dot is a run.
    """
    features, points = store.features(), store.points()
    longest = {name: points.loc[points["log10_T"].idxmax(), name] for name in ("log10_T", "seed")}
    figure = Figure(figsize=(style.WIDTH, 4.3))
    above, below = figure.subfigures(2, 1)
    model, measured = above.subplots(1, 4), below.subplots(1, 3)
    v = np.asarray(fourier_basis(COORDINATES))[:, 1 : 1 + points["features"].iloc[0]]
    _directions(model[0], v)
    _signals(model[1], store.select("trajectories", **longest))
    _moments(list(model[2:]), v, store.select("covariances", **longest))
    above.colorbar(model[3].images[0], ax=list(model[2:]), shrink=0.7, aspect=15, label="empirical moment")
    _estimates(measured[0], features, "lam", "\\lambda")
    _estimates(measured[1], features, "rho", "\\rho")
    _off_diagonal(measured[2], points)
    style.letter([*model, *measured])
    return figure


def fig3_claims(store: Store) -> list[Claim]:
    """Estimates in units of their predicted standard deviation, and how the off-diagonal error falls."""
    features, points = store.features(), store.points()
    long = features[features["log10_T"] >= 4]  # below, terms of higher order in 1/T show
    within = {n: ((long[f"{n}_hat"] - long[n]) / long[f"{n}_std"]).abs().lt(2).mean() for n in ("lam", "rho")}
    # Of n normal scores 95.4 % are expected within 2; four standard deviations of that share below it is no accident.
    least = 0.954 - 4 * (0.954 * 0.046 / len(long)) ** 0.5
    means = points.groupby("log10_T")[["off_diagonal", "off_diagonal_exact"]].mean()
    slope = np.polyfit(means.index.to_numpy(), np.log10(means["off_diagonal"].to_numpy()), 1)[0]
    ratio = np.mean(means["off_diagonal"].to_numpy() / means["off_diagonal_exact"].to_numpy())
    return [
        Claim(
            "estimates of lam and rho lie within two predicted standard deviations",
            f"of series of 10,000 pairs and more: lam {within['lam']:.1%}, rho {within['rho']:.1%}",
            min(within.values()) > least,
        ),
        Claim(
            "the off-diagonal error falls as 1/T",
            f"power of T {slope:.2f}, measured over expected {ratio:.2f}",
            abs(slope + 1) < 0.2 and 0.4 < ratio < 1.8,
        ),
    ]


def _directions(ax: Axes, v: np.ndarray) -> None:
    for a, color in enumerate(_FEATURES):
        ax.plot(np.arange(1, len(v) + 1), v[:, a], color=color, label=f"$v_{a + 1}$", marker=".", ms=3)
    ax.set_xlabel("coordinate of $x$")
    ax.set_title("directions")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, -0.02), ncols=2)
    ax.margins(y=0.25)


def _signals(ax: Axes, samples: pd.DataFrame) -> None:
    for a, color in enumerate(_FEATURES):
        one = samples[samples["feature"] == a].sort_values("t")
        ax.plot(one["t"], one["u"] - 5 * a, color=color, lw=0.7)
    ax.set_yticks([0, -5], ["$u_1$", "$u_2$"])
    ax.set_xlabel("time step")
    ax.set_title("signals")


def _moments(axes: list[Axes], v: np.ndarray, covariances: pd.DataFrame) -> None:
    """The second moments of x, from those in the basis v."""
    turned = {}
    for name in ("xx", "yx"):
        entries = covariances.pivot(index="row", columns="column", values=name).to_numpy()
        turned[name] = v @ entries @ v.T
    most = max(np.abs(m).max() for m in turned.values())
    for ax, moment, title in zip(axes, turned.values(), ("$E[x\\,x^T]$", "$E[y\\,x^T]$"), strict=True):
        ax.imshow(moment, cmap=style.RESPONSE, vmin=-most, vmax=most)
        ax.set_title(title)
        ax.set_xticks([0, COORDINATES - 1], [1, COORDINATES])
        ax.set_yticks([0, COORDINATES - 1], [1, COORDINATES])


def _estimates(ax: Axes, features: pd.DataFrame, name: str, symbol: str) -> None:
    for a, color in enumerate(_FEATURES):
        one = features[features["feature"] == a].sort_values("log10_T")
        pairs = 10 ** one["log10_T"]
        ax.plot(pairs, one[f"{name}_hat"], ".", ms=3, color=color, label=f"$\\hat{{{symbol}}}_{a + 1}$")
        ax.plot(pairs, one[name], color=color, lw=0.8)
        low, high = (one[name] + sign * 2 * one[f"{name}_std"] for sign in (-1, 1))
        ax.fill_between(pairs, low, high, color=color, alpha=0.2, lw=0)
    ax.set_xscale("log")
    ax.set_xlabel("pairs $T$")
    ax.set_title(f"estimates of ${symbol}$")
    ax.legend(loc="best", markerscale=2)


def _off_diagonal(ax: Axes, points: pd.DataFrame) -> None:
    points = points.sort_values("log10_T")
    pairs = 10 ** points["log10_T"]
    ax.plot(pairs, points["off_diagonal"], ".", ms=3, color="0.4", label="one run")
    mean = points.groupby("log10_T")["off_diagonal"].mean()
    ax.plot(10 ** mean.index.to_numpy(), mean, "ks", ms=3, label="mean of runs")
    ax.plot(pairs, points["off_diagonal_exact"], "k-", lw=0.8, label="expected, $\\propto 1/T$")
    ax.set(xscale="log", yscale="log", xlabel="pairs $T$", title="off-diagonal error")
    ax.legend(loc="best")
