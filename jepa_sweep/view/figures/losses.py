"""The losses while networks learn: JEPA's may rise, MAE's falls."""

import numpy as np
import pandas as pd

from jepa_sweep.store.reader import Reader
from jepa_sweep.view import style
from jepa_sweep.view.choosing import having
from jepa_sweep.view.claims import FigureClaim, listed
from jepa_sweep.view.style import Figure

_LOWEST = 3e-3  # of a loss, relative to its start: what vanishes leaves the picture


def loss(store: Reader) -> Figure:
    """Loss over time, relative to where it began; a line for each variance of y that x cannot explain.

    JEPA's rises all the way where that variance is at least 1/(4L(L+1)) of the rest (solid), otherwise it falls for a
    while (dashed).
    """
    losses = store.read("losses")
    depths, noises = sorted(losses["L"].unique()), sorted(losses["target_noise"].unique())
    colors = dict(zip(noises, style.shades(range(len(noises))), strict=True))
    figure, axes = style.panels(2, len(depths), 4.4)
    for column, depth in zip(axes.T, depths, strict=True):
        limit = rising(depth)
        for ax, objective in zip(column, ("jepa", "mae"), strict=True):
            here = having(losses, L=depth, objective=objective)
            for noise, color in colors.items():
                one = having(here, target_noise=noise).sort_values("t")
                dashes = "-" if objective == "mae" or noise >= limit else (0, (4, 1.5))
                ax.plot(one["t"], one["loss"] / one["loss"].iloc[0], color=color, ls=dashes, label=f"{noise:g}")
            ax.set(yscale="log", ylim=(_LOWEST, None), xlim=(0, 1.25 * _settled(here)))
            ax.set(xlabel=style.time_label(store.time), ylabel=f"{style.NAMES[objective]} loss / loss at start")
        column[0].set_title(f"$L = {depth}$, $1/(4L(L+1)) = {limit:.3g}$")
    title = "unexplained variance of $y$, in units of $\\lambda\\rho$ (dashed: JEPA's loss falls for a while)"
    handles, labels = axes[1, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(noises), title=title, title_fontsize=8)
    return figure


def loss_claims(store: Reader) -> list[FigureClaim]:
    """Claims of which losses rise, and which fall, from one sample to the next all the way."""
    losses, slack = store.read("losses"), 100 * store.frozen["solver"]["rtol"]
    samples = store.read("trajectories", filters=[("feature", "==", 0)])
    rises: dict[int, list[float]] = {depth: [] for depth in sorted(losses["L"].unique())}
    falls, as_predicted = [], []
    for (objective, depth, noise), one in losses.groupby(["objective", "L", "target_noise"]):
        change = np.diff(one.sort_values("t")["loss"]) / one["loss"].max()
        if objective == "mae":
            falls.append(bool((change <= slack).all()))
            continue
        up = bool((change >= -slack).all())
        if up:
            rises[depth].append(noise)
        here = having(samples, objective=objective, L=depth, target_noise=noise).sort_values("t")
        predicted = _balanced((here["w"] ** (1 / depth) / here["rho"]).to_numpy(), depth, noise)
        as_predicted.append(up == bool((np.diff(predicted) / predicted.max() >= -slack).all()))
    found = [f"L = {depth}: {listed(noises, 'g')} (from {rising(depth):.3g} on)" for depth, noises in rises.items()]
    return [
        FigureClaim(
            "JEPA's loss rises all the way while it learns, if y has variance 1/(4L(L+1)) that x cannot explain",
            "rises with unexplained variance " + "; ".join(found),
            all(as_predicted),
        ),
        FigureClaim("MAE's loss falls all the way", f"in {sum(falls)} of {len(falls)} networks", all(falls)),
    ]


def _balanced(z: np.ndarray, L: int, noise: float) -> np.ndarray:
    """JEPA's loss of a balanced feature with z = u / rho, in units of lam rho^(2L+1) / 2: z^(2L) ((1-z)^2 + noise).

    Between z = L/(L+1) and 1 it may fall, so where samples miss that stretch no fall is to be seen.
    """
    return z ** (2 * L) * ((1 - z) ** 2 + noise)


def rising(L: float) -> float:
    """The target noise from which on JEPA's loss rises all the way: kappa - 1 = 1/(4L(L+1))."""
    return 1 / (4 * L * (L + 1))


def _settled(losses: pd.DataFrame) -> float:
    """When every loss that does not vanish has come within 1 % of where it ends; all times if none is seen moving."""
    ends = losses.sort_values("t").groupby("target_noise")["loss"].transform("last")
    moving = ((losses["loss"] / ends - 1).abs() > 0.01) & (losses["target_noise"] > 0)
    settled = losses.loc[moving, "t"].max()
    return settled if settled > 0 else losses["t"].max()
