"""The figures by name: how each is drawn from a store, and what it claims.

A figure, its spec file `sweeps/<name>.toml` and the run of that file share the name.
"""

from collections.abc import Callable
from typing import NamedTuple

from jepa_sweep.store.store import Store
from jepa_sweep.view.claims import Claim
from jepa_sweep.view.figures import flows, losses, networks, series, times
from jepa_sweep.view.style import Figure


class Picture(NamedTuple):
    """One figure: what it shows, how to draw it, what it claims, and the tables both read."""

    shows: str
    draw: Callable[[Store], Figure]
    claims: Callable[[Store], list[Claim]]
    tables: tuple[str, ...]


_NETWORKS, _FLOWS = ("points", "features", "trajectories"), ("points", "trajectories")

PICTURES: dict[str, Picture] = {
    "fig1": Picture("two distributions, two orders of learning", networks.fig1, networks.fig1_claims, _NETWORKS),
    "fig2": Picture("who is greedy in lam and in rho", flows.fig2, flows.fig2_claims, _FLOWS),
    "fig3": Picture(
        "lam and rho estimated from temporal data",
        series.fig3,
        series.fig3_claims,
        ("points", "features", "covariances", "trajectories"),
    ),
    "fig4": Picture("depth makes JEPA prefer large rho", flows.fig4, flows.fig4_claims, _FLOWS),
    "fig5": Picture("standard Gaussian weights", networks.fig5, networks.fig5_claims, _NETWORKS),
    "mlp": Picture("encoders with nonlinear units", networks.mlp, networks.mlp_claims, _NETWORKS),
    "loss": Picture("JEPA's loss rises, MAE's falls", losses.loss, losses.loss_claims, ("losses",)),
    "inversion": Picture("where the two orders differ", times.inversion, times.inversion_claims, ("points",)),
    "critical_times": Picture(
        "critical times against predictions", times.critical_times, times.critical_times_claims, ("points",)
    ),
}
