"""Rows of series: one a series, one a feature, one an entry of its covariances, and the beginning of the series."""

import jax
import numpy as np
from jaxtyping import Array

from jepa_sweep.engine import devices, series
from jepa_sweep.physics import data
from jepa_sweep.physics.host import Columns, Status
from jepa_sweep.systems.rows import pick
from jepa_sweep.systems.system import Effort, Measurement, Place, Points, Rows


def compute(points: Points, measurement: Measurement, place: Place) -> tuple[dict[str, Rows], Effort]:
    """All tables of some series."""
    c, count = points.columns, len(points.number)
    [d] = np.unique(c["features"]).astype(int)
    length = np.rint(10 ** c["log10_T"]).astype(np.int64)
    gamma, noise = (_between(c[f"{name}_first"], c[f"{name}_last"], d) for name in ("gamma", "noise"))
    seed = c["seed"].astype(np.int64)
    found = series.estimate(gamma, noise, length, seed, device=place.device)
    with devices.scope("float64", devices.pick("cpu")[0]):
        known, expected = _theory(gamma, noise, length.astype(float))
    every, estimated = np.arange(count), np.full(count, Status.ESTIMATED)
    runs = {
        "status": estimated,
        "pairs": length,
        "off_diagonal": found.off_diagonal,
        "off_diagonal_exact": np.asarray(expected),
    }
    measured = {"gamma": gamma, "noise": noise, "lam_hat": found.lam, "rho_hat": found.rho, **known}
    features: Columns = {name: np.asarray(values, float).ravel() for name, values in measured.items()}
    features["feature"] = np.tile(np.arange(d), count)
    covariances: Columns = {"xx": found.xx.ravel(), "yx": found.yx.ravel()}
    covariances["row"] = np.tile(np.repeat(np.arange(d), d), count)
    covariances["column"] = np.tile(np.arange(d), d * count)
    out = {
        "points": Rows(runs, every),
        "features": Rows(features, np.repeat(every, d)),
        "covariances": Rows(covariances, np.repeat(every, d * d)),
        "failures": Rows({"status": estimated[:0], "message": estimated[:0]}, every[:0]),
    }
    if measurement.samples:
        u, x = series.beginning(gamma, noise, seed, measurement.samples)
        out["trajectories"] = _signals(u, x, length)
    return out, Effort()


def _signals(u: np.ndarray, x: np.ndarray, length: np.ndarray) -> Rows:
    """The beginning of every series, as far as it goes: `length` pairs have one time more."""
    count, samples, d = u.shape
    owner = np.repeat(np.arange(count), samples * d)
    t = np.tile(np.repeat(np.arange(samples), d), count)
    columns = {"t": t, "feature": np.tile(np.arange(d), samples * count), "u": u.ravel(), "x": x.ravel()}
    return pick(Rows(columns, owner), t <= length[owner])


@jax.jit  # as one program: each of its operations alone would be compiled for every number of series
def _theory(gamma: Array, noise: Array, length: Array) -> tuple[dict[str, Array], Array]:
    """What the estimates should be and how far they scatter; and the mean square off-diagonal entry, to be expected."""

    def one(gamma: Array, noise: Array, length: Array) -> tuple[dict[str, Array], Array]:
        population = data.temporal(gamma, noise)
        known = {
            "lam": population.lam,
            "rho": population.rho,
            "lam_std": data.lam_std(gamma, noise, length),
            "rho_std": data.rho_std(gamma, noise, length),
        }
        return known, data.expected_off_diagonal(gamma, noise, length)

    return jax.vmap(one)(gamma, noise, length)


def _between(first: np.ndarray, last: np.ndarray, d: int) -> np.ndarray:
    """d evenly spaced values a row."""
    place = np.arange(d) / (d - 1)
    return (1 - place) * first[:, None] + place * last[:, None]
