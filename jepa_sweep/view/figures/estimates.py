"""Figure 3: a temporal model of data, and lam and rho estimated from it."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from jepa_sweep.physics.data import fourier_basis
from jepa_sweep.store.reader import Reader
from jepa_sweep.view import style
from jepa_sweep.view.choosing import having
from jepa_sweep.view.claims import FigureClaim
from jepa_sweep.view.style import Axes, Figure

MOST_CHANCE = 0.5  # by which chance may move a power that is to be told from 0
COORDINATES = 32  # in which the features are drawn: any orthonormal v gives the same estimates
SHORT, LONG = 3.0, 4.0  # log10 of lengths below which terms of higher order in 1/T show: of off_diagonal, of estimates
_FEATURES = ("#0072B2", "#D55E00")


def fig3(store: Reader) -> Figure:
    """The directions v, the signals u, both empirical second moments, and the estimates against their predictions.

    Bands are two predicted standard deviations; a dot is a run.
    """
    features, points = store.read("features"), store.read("points")
    longest = points.loc[points["log10_T"].idxmax(), ["log10_T", "seed"]].to_dict()
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
    for letter, ax in zip("abcdefg", [*model, *measured], strict=True):
        ax.set_title(f"({letter})", loc="left", fontweight="bold", fontsize=8)
    return figure


class _Decay(NamedTuple):
    """How the off-diagonal error depends on the length T, and the standard deviations of that by chance."""

    power: float  # of T
    power_error: float
    ratio: float  # of what is measured to what is expected
    log_error: float  # of ln ratio


def _decay(points: pd.DataFrame) -> _Decay:
    """A fit to lengths ten times apart, whose errors are nearly independent though series of one seed begin alike.

    Of two features an off-diagonal error is the square of a normal number, so the mean of n of them over its
    expectation is chi^2_n / n, whose logarithm has the mean digamma(n/2) - ln(n/2) and the variance trigamma(n/2).
    """
    from scipy.special import digamma, polygamma  # not at the top: slow to import

    apart: list[float] = []
    for length in sorted(points["log10_T"].unique()):
        if length >= (apart[-1] + 1 - 1e-9 if apart else SHORT):
            apart.append(length)
    measured = points[points["log10_T"].isin(apart)]
    groups = measured.groupby("log10_T")["off_diagonal"]
    half = groups.size().to_numpy() / 2
    logs = np.log(groups.mean().to_numpy()) - digamma(half) + np.log(half)
    x = (np.array(apart) - np.mean(apart)) * np.log(10)
    power, error = (x * logs).sum() / (x**2).sum(), (x**2 * polygamma(1, half)).sum() ** 0.5 / (x**2).sum()
    ratio = float((measured["off_diagonal"] / measured["off_diagonal_exact"]).mean())
    return _Decay(power, error, ratio, float(polygamma(1, half.sum())) ** 0.5)


def fig3_misfits(store: Reader) -> list[str]:
    """What keeps the series from showing how estimates become exact, in words."""
    points = store.read("points")
    lengths = points["log10_T"]
    if lengths.max() < max(LONG, lengths[lengths >= SHORT].min() + 1):
        return [f"`log10_T` must have values from {SHORT:g} on that are 1 apart, one of them {LONG:g} or more"]
    if not np.isfinite(points["off_diagonal_exact"]).all():
        return ["the features must differ in their variance, or no basis can be estimated"]
    error = 4 * _decay(points).power_error
    if error > MOST_CHANCE:
        return [
            f"`seed` must have more values: chance alone moves the power of T by up to {error:.2f}, more than "
            f"{MOST_CHANCE:g}"
        ]
    return []


def fig3_claims(store: Reader) -> list[FigureClaim]:
    """Claims of the errors of estimates in predicted standard deviations, and of how the off-diagonal error falls."""
    features, points = store.read("features"), store.read("points")
    long = features[features["log10_T"] >= LONG]
    within = {n: ((long[f"{n}_hat"] - long[n]) / long[f"{n}_std"]).abs().lt(2).mean() for n in ("lam", "rho")}
    # Of independent normal scores 95.4 % are expected within 2. Series of one seed begin alike, whatever their length,
    # so only seeds and features count; four standard deviations of that share below it is no accident.
    alone = long[["seed", "feature"]].drop_duplicates()
    least = 0.954 - 4 * (0.954 * 0.046 / len(alone)) ** 0.5
    found = _decay(points)
    return [
        FigureClaim(
            "estimates of lam and rho lie within two predicted standard deviations",
            f"of series of {10**LONG:,.0f} pairs and more: lam {within['lam']:.1%}, rho {within['rho']:.1%}",
            min(within.values()) > least,
        ),
        FigureClaim(
            "the off-diagonal error falls as 1/T",
            f"power of T {found.power:.2f}, within {4 * found.power_error:.2f} by chance; measured over expected "
            f"{found.ratio:.2f}, within a factor of {np.exp(4 * found.log_error):.2f}",
            abs(found.power + 1) < 4 * found.power_error and abs(np.log(found.ratio)) < 4 * found.log_error,
        ),
    ]


def _directions(ax: Axes, v: np.ndarray) -> None:
    for a, color in enumerate(_FEATURES):
        ax.plot(np.arange(1, len(v) + 1), v[:, a], color=color, label=f"$v_{a + 1}$", marker=".", ms=3)
    ax.set(xlabel="coordinate of $x$", title="directions")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, -0.02), ncols=2)
    ax.margins(y=0.25)


def _signals(ax: Axes, samples: pd.DataFrame) -> None:
    for a, color in enumerate(_FEATURES):
        one = having(samples, feature=a).sort_values("t")
        ax.plot(one["t"], one["u"] - 5 * a, color=color, lw=0.7)
    ax.set_yticks([0, -5], ["$u_1$", "$u_2$"])
    ax.set(xlabel="time step", title="signals")


def _moments(axes: list[Axes], v: np.ndarray, covariances: pd.DataFrame) -> None:
    """The second moments of x, from those in the basis v."""
    in_basis = [covariances.pivot(index="row", columns="column", values=name).to_numpy() for name in ("xx", "yx")]
    moments = [v @ entries @ v.T for entries in in_basis]
    most = np.abs(moments).max()
    for ax, moment, title in zip(axes, moments, ("$E[x\\,x^T]$", "$E[y\\,x^T]$"), strict=True):
        ax.imshow(moment, cmap=style.RESPONSE, vmin=-most, vmax=most)
        ax.set_title(title)
        ax.set_xticks([0, COORDINATES - 1], [1, COORDINATES])
        ax.set_yticks([0, COORDINATES - 1], [1, COORDINATES])


def _estimates(ax: Axes, features: pd.DataFrame, name: str, symbol: str) -> None:
    for a, color in enumerate(_FEATURES):
        one = having(features, feature=a).sort_values("log10_T")
        pairs = 10 ** one["log10_T"]
        ax.plot(pairs, one[f"{name}_hat"], ".", ms=3, color=color, label=f"$\\hat{{{symbol}}}_{a + 1}$")
        ax.plot(pairs, one[name], color=color, lw=0.8)
        low, high = (one[name] + sign * 2 * one[f"{name}_std"] for sign in (-1, 1))
        ax.fill_between(pairs, low, high, color=color, alpha=0.2, lw=0)
    ax.set(xscale="log", xlabel="pairs $T$", title=f"estimates of ${symbol}$")
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
