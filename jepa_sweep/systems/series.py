"""Estimates of lam and rho from temporal series, beside what theory says of their spread."""

import time

import jax
import numpy as np
from jaxtyping import Array

from jepa_sweep.engine import devices, series
from jepa_sweep.physics import data
from jepa_sweep.physics.systems import Columns, Status
from jepa_sweep.running.provenance import peak_memory
from jepa_sweep.spec.grid import Grid
from jepa_sweep.spec.models import Sweep
from jepa_sweep.systems.rows import Place, Rows, Work, keys_of, pick


def compute(sweep: Sweep, grid: Grid, index: np.ndarray, place: Place) -> tuple[dict[str, Rows], Work]:
    """All tables for the points at `index`, which lie in one segment of the grid."""
    began = time.perf_counter()
    points = grid.take(index)
    c, record = points.columns, sweep.systems[points.objective]
    [d] = np.unique(c["features"]).astype(int)
    length = np.rint(10 ** c["log10_T"]).astype(np.int64)
    gamma, noise = (_between(c[f"{name}_first"], c[f"{name}_last"], d) for name in ("gamma", "noise"))
    found = series.estimate(gamma, noise, length, c["seed"].astype(np.int64), device=place.device)
    keys, every = keys_of(record, c), np.arange(len(index))
    estimated = np.full(len(index), Status.ESTIMATED)
    with devices.scope("float64", devices.pick("cpu")[0]):
        known, expected = _theory(gamma, noise, length.astype(float))
    points_table = {
        **keys,
        "status": estimated,
        "pairs": length,
        "off_diagonal": found.off_diagonal,
        "off_diagonal_exact": np.asarray(expected),
    }
    measured = {
        "gamma": gamma,
        "noise": noise,
        "lam_hat": found.lam,
        "rho_hat": found.rho,
        **known,
    }
    features: Columns = {name: np.repeat(values, d) for name, values in keys.items()}
    features["feature"] = np.tile(np.arange(d), len(index))
    features |= {name: np.asarray(values, float).ravel() for name, values in measured.items()}
    covariances: Columns = {name: np.repeat(values, d * d) for name, values in keys.items()}
    covariances["row"] = np.tile(np.repeat(np.arange(d), d), len(index))
    covariances["column"] = np.tile(np.arange(d), d * len(index))
    covariances |= {"xx": found.xx.ravel(), "yx": found.yx.ravel()}
    out = {
        "points": Rows(points_table, every),
        "features": Rows(features, np.repeat(every, d)),
        "covariances": Rows(covariances, np.repeat(every, d * d)),
    }
    if sweep.measure.trajectories:
        out["trajectories"] = _signals(keys, gamma, noise, length, sweep.measure.trajectories.samples)
    lost = {**{n: v[:0] for n, v in keys.items()}, "status": estimated[:0], "message": estimated[:0]}
    out["failures"] = Rows(lost, every[:0])
    return out, Work(time.perf_counter() - began, peak_memory_bytes=peak_memory())


def _signals(keys: Columns, gamma: np.ndarray, noise: np.ndarray, length: np.ndarray, samples: int) -> Rows:
    """The beginning of every series, as far as it goes: `length` pairs have one time more."""
    d = gamma.shape[1]
    u, x = series.beginning(gamma, noise, keys["seed"], samples)
    owner = np.repeat(np.arange(len(gamma)), samples * d)
    columns = {name: values[owner] for name, values in keys.items()}
    columns["t"] = np.tile(np.repeat(np.arange(samples), d), len(gamma))
    columns["feature"] = np.tile(np.arange(d), samples * len(gamma))
    columns |= {"u": u.ravel(), "x": x.ravel()}
    return pick(Rows(columns, owner), columns["t"] <= length[owner])


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
        return known, data.off_diagonal(gamma, noise, length)

    return jax.vmap(one)(gamma, noise, length)


def _between(first: np.ndarray, last: np.ndarray, d: int) -> np.ndarray:
    """d evenly spaced values a row."""
    place = np.arange(d) / (d - 1)
    return (1 - place) * first[:, None] + place * last[:, None]
