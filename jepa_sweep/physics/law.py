"""The law of one feature: `dz/dtau = z^a (1 - z^m)` for both objectives, where it rests, and how fast it moves.

With `z = (w/w*)^(1/L)` and `tau = (k/L) T`, `k = lam rho^((a-1)/m)`, the rest point is `w* = rho^(L/m)`:

| objective | a  | m     |
|-----------|----|-------|
| JEPA      | 2L | 1     |
| MAE       | L  | L + 1 |

Times are paper times `T = L t`, from Littwin et al. 2024, arXiv 2407.03475. `L`, `a` and `m` are traced numbers with
integer values: one compile serves every depth. Every function takes one point, or arrays of points of one shape, which
are traced faster than by `vmap`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jepa_sweep.physics import elementary
from jepa_sweep.physics.dynamics import Flags, Numbers
from jepa_sweep.physics.loops import where_any


class Point(NamedTuple):
    """One feature under one objective: its parameters and the exponents (a, m) of its law."""

    lam: Numbers  # covariance E[xy]
    rho: Numbers  # regression coefficient E[xy] / E[x^2]
    L: Numbers  # encoder layers
    eps: Numbers  # initial response w(0)
    a: Numbers
    m: Numbers


def log_fixed_point(point: Point) -> Numbers:
    """ln w* = (L/m) ln rho."""
    return point.L / point.m * elementary.log(point.rho)


def fixed_point(point: Point) -> Numbers:
    """w* = rho^(L/m): rho^L for JEPA, rho^(L/(L+1)) for MAE."""
    return point.rho ** (point.L / point.m)


def log_rate(point: Point) -> Numbers:
    """ln k, with k = lam rho^((a-1)/m) the rate of approach to the rest point in units of T/L."""
    return elementary.log(point.lam) + (point.a - 1) / point.m * elementary.log(point.rho)


def growth_rate(point: Point, log_fraction: Numbers) -> Numbers:
    """d ln w / dT = k z^(a-1) (1 - z^m) where w = exp(log_fraction) w*; keeps its accuracy at the rest point."""
    log_z = log_fraction / point.L
    return elementary.exp(log_rate(point) + (point.a - 1) * log_z) * -elementary.expm1(point.m * log_z)


def log_power(chi: Numbers, side: Numbers | float) -> Numbers:
    """ln z^m for chi = ln(z^m / |1 - z^m|); side is +1 below the rest point, -1 above it."""
    below = jnp.minimum(chi, 0.0) - elementary.log1p(elementary.exp(-jnp.abs(chi)))
    # Each where the others have no derivatives.
    high = jnp.maximum(jnp.where(side > 0, 0.7, chi), jnp.finfo(chi.dtype).tiny)
    low, far = jnp.minimum(high, 0.7), jnp.maximum(high, 0.7)
    above = jnp.where(high < 0.7, -elementary.log(-elementary.expm1(-low)), -elementary.log1p(-elementary.exp(-far)))
    return jnp.where(side > 0, below, above)


@jax.custom_jvp
def start_to_threshold(point: Point, p: Numbers) -> Numbers:
    """d = ln(q/r) = (1/L) ln(p w*/eps), without cancellation where the start is close to the threshold."""
    far = (elementary.log(p) - elementary.log(point.eps)) / point.L + elementary.log(point.rho) / point.m

    def near(rho: Numbers) -> Numbers:
        target = p * fixed_point(point._replace(rho=rho))
        return elementary.log1p((target - point.eps) / point.eps) / point.L

    return where_any(jnp.abs(far) * point.L < 0.5, near, point.rho, far)


@start_to_threshold.defjvp
def _start_to_threshold_jvp(primals: tuple[Point, Numbers], tangents: tuple[Point, Numbers]) -> tuple[Numbers, Numbers]:
    (point, p), (d_point, d_p) = primals, tangents
    tangent = (d_p / p - d_point.eps / point.eps) / point.L + d_point.rho / point.rho / point.m
    return start_to_threshold(point, p), tangent


def has_crossing(point: Point, p: Numbers) -> Flags:
    """True for growth to 0 < p < 1 from below the threshold, and for decay to p > 1 from above it."""
    d = start_to_threshold(point, p)
    return (point.lam > 0) & (point.rho > 0) & (((p > 0) & (p < 1) & (d > 0)) | ((p > 1) & (d < 0)))
