"""The figures by name: how each is drawn from a store, what it claims, and from which runs it can be drawn.

A figure, its spec file `sweeps/<name>.toml` and the run of that file share the name.
"""

from collections.abc import Callable
from typing import NamedTuple

from jepa_sweep.store.reader import Reader
from jepa_sweep.view.claims import FigureClaim
from jepa_sweep.view.figures import estimates, flows, losses, times, training
from jepa_sweep.view.needs import Needs
from jepa_sweep.view.style import Figure


class Picture(NamedTuple):
    """One figure: what it shows, how to draw it, what it claims, and what both need of a run."""

    shows: str
    draw: Callable[[Reader], Figure]
    claims: Callable[[Reader], list[FigureClaim]]
    needs: Needs


_BOTH = {"objective": ("jepa", "mae")}
_LAM_AND_RHO = {"data": ("gaussian", "temporal")}  # models whose features have the lam and rho of a layout
_STANDARD = {"start": ("gaussian",), "scale": (1.0,), "predictor_scale": (1.0,)}
_NETWORKS, _FLOWS = ("points", "features", "trajectories"), ("points", "trajectories")

PICTURES: dict[str, Picture] = {
    "fig1": Picture(
        "two distributions, two orders of learning",
        training.fig1,
        training.fig1_claims,
        Needs(
            "training",
            _NETWORKS,
            varies=("t_end", "seed"),
            only=_BOTH
            | _LAM_AND_RHO
            | {"start": ("aligned",), "activation": ("linear",), "batch": (0,), "method": ("sgd",)},
            has=_BOTH | {"layout": ("same", "opposite")},
            equal=(("predictor_scale", "scale"),),
            full=True,
            also=training.fig1_misfits,
        ),
    ),
    "fig2": Picture(
        "who is greedy in lam and in rho",
        flows.fig2,
        flows.fig2_claims,
        Needs("reduced", _FLOWS, varies=("lam", "rho", "L"), has=_BOTH, measured="t_numeric", also=flows.fig2_misfits),
    ),
    "fig3": Picture(
        "lam and rho estimated from temporal data",
        estimates.fig3,
        estimates.fig3_claims,
        Needs(
            "temporal",
            ("points", "features", "covariances", "trajectories"),
            varies=("log10_T", "seed"),
            only={"features": (2,)},
            also=estimates.fig3_misfits,
        ),
    ),
    "fig4": Picture(
        "depth makes JEPA prefer large rho",
        flows.fig4,
        flows.fig4_claims,
        Needs("reduced", _FLOWS, varies=("rho", "L"), has=_BOTH, measured="t_numeric", also=flows.fig4_misfits),
    ),
    "fig5": Picture(
        "standard Gaussian weights",
        training.fig5,
        training.fig5_claims,
        Needs(
            "training",
            _NETWORKS,
            varies=("t_end", "seed"),
            only=_BOTH | _LAM_AND_RHO | _STANDARD | {"activation": ("linear",)},
            has=_BOTH | {"layout": ("opposite", "crossed")},
            full=True,
            also=training.unfitted,
        ),
    ),
    "mlp": Picture(
        "encoders with nonlinear units",
        training.mlp,
        training.mlp_claims,
        Needs(
            "training",
            _NETWORKS,
            varies=("activation", "seed"),
            only=_BOTH | _LAM_AND_RHO | _STANDARD | {"activation": ("relu", "gelu", "tanh")},
            has=_BOTH | {"layout": ("opposite",)},
            full=True,
            also=training.unfitted,
        ),
    ),
    "loss": Picture(
        "JEPA's loss rises, MAE's falls",
        losses.loss,
        losses.loss_claims,
        Needs(
            "network",
            ("losses", "trajectories"),
            varies=("L", "target_noise", "t_end"),
            only=_BOTH | {"start": ("aligned",), "data": ("gaussian",)},
            has=_BOTH,
            equal=(("lam_low", "lam_high"), ("rho_low", "rho_high"), ("predictor_scale", "scale")),
            full=True,
        ),
    ),
    "inversion": Picture(
        "where the two orders differ",
        times.inversion,
        times.inversion_claims,
        Needs(
            "reduced",
            ("points",),
            varies=("lam", "rho", "L", "eps"),
            has=_BOTH | {"L": (1,)},
            measured="t_numeric",
            also=times.inversion_misfits,
        ),
    ),
    "critical_times": Picture(
        "critical times against predictions",
        times.critical_times,
        times.critical_times_claims,
        Needs(
            "reduced",
            ("points",),
            varies=("objective", "lam", "rho", "L", "eps", "p"),
            measured="t_numeric",
            also=times.critical_times_misfits,
        ),
    ),
}
