"""Networks of three features that many tests train at once, in programs for eight of them."""

import numpy as np

from jepa_sweep.engine.networks import batches
from jepa_sweep.engine.networks.common import Recipe

LAM, RHO = np.array([1.0, 1.15, 1.3]), np.array([0.9, 0.65, 0.4])  # layout 1, opposite
P = np.array([0.25, 0.5, 0.8])
BASE = {
    "layout": 1, "lam_low": 1.0, "lam_high": 1.3, "rho_low": 0.4, "rho_high": 0.9, "target_noise": 0.5, "keep": 0.5,
    "scale": 0.15, "predictor_scale": 0.15, "ema": 1.0, "t_end": 200.0, "seed": 0, "eta": 0.1, "momentum": 0.0,
}  # fmt: skip


def flow(objective, L):
    """By gradient flow."""
    return Recipe(objective, "gaussian", 3, L, 4, "aligned", "dopri8", 8, max_steps=20_000)


def descent(objective="jepa", method="sgd", start="aligned", **kwargs):
    """Step by step, with two layers."""
    return Recipe(objective, "gaussian", 3, 2, 4, start, method, 8, **kwargs)


def columns(count, change):
    return {name: np.broadcast_to(np.asarray(v, float), count) for name, v in (BASE | change).items()}


def learn(recipe, count, batch=8, precision="float64", p=P, **change):
    """`count` networks, in a program for eight; a flow takes no notice of `eta` and `momentum`."""
    thresholds = np.broadcast_to(p, (count, len(p)))
    return batches.learn(recipe, columns(count, change), thresholds, precision=precision, batch=batch)
