"""Models of data: Gaussian, temporal and masked pairs, their population moments, samplers and standard errors.

JEPA and MAE see the data through E[x x^T] and E[y x^T] alone. In a basis that makes both diagonal, feature i has
lam_i = E[x_i y_i] and rho_i = lam_i / E[x_i^2]. Three models of pairs (x, y), `gaussian`, `temporal` and `masked`, each
with its population moments and a sampler that returns pairs in that basis.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jepa_sweep.physics.host import LAYOUTS

Values = Float[Array, " d"]  # one number per feature
Number = Float[Array, ""] | float
Matrix = Any  # (d, d): a JAX array, or on the host a NumPy one
Pairs = tuple[Float[Array, "n d"], Float[Array, "n d"]]


class Moments(NamedTuple):
    """Second moments of pairs: E[x x^T], E[y x^T] and E[y y^T]."""

    xx: Matrix
    yx: Matrix
    yy: Matrix


class Features(NamedTuple):
    """Second moments of each feature: lam = E[xy], rho = lam / s2, s2 = E[x^2] and sy2 = E[y^2]."""

    lam: Values
    rho: Values
    s2: Values
    sy2: Values

    @property
    def diagonals(self) -> Moments:
        """The moments in the basis of the features, each by its diagonal."""
        return Moments(self.s2, self.lam, self.sy2)


def spectrum(
    features: int,
    layout: Int[Array, ""] | int,
    lam_low: Number,
    lam_high: Number,
    rho_low: Number,
    rho_high: Number,
) -> tuple[Values, Values]:
    """(lam, rho) of as many features, evenly spaced, in the order of growing lam; `layout` indexes `LAYOUTS`.

    same: rho grows with lam. opposite: rho falls as lam grows. equal_lam: every lam is the middle of its range, rho
    grows. equal_rho: every rho is the middle of its range, lam grows. crossed: rho in an order that has nothing to do
    with that of lam (multiples of the golden ratio). The first two are the paper's.
    """
    rise = jnp.linspace(0.0, 1.0, features)
    flat = jnp.full_like(rise, 0.5)
    lam_place = jnp.where(layout == LAYOUTS.index("equal_lam"), flat, rise)
    golden = np.argsort(np.argsort(np.arange(1, features + 1) * (5**0.5 - 1) / 2 % 1))
    rho_place = jnp.stack([rise, rise[::-1], rise, flat, rise[golden]])[layout]
    # A weighted sum of both ends meets each of them exactly, as a start plus a step would not.
    return (1 - lam_place) * lam_low + lam_place * lam_high, (1 - rho_place) * rho_low + rho_place * rho_high


def gaussian(lam: Values, rho: Values, target_noise: Values | Number = 0.0) -> Features:
    """Features with these lam and rho: s2 = lam / rho and sy2 = lam rho (1 + target_noise).

    x explains lam rho of the variance of y; without target noise y is rho x exactly.
    """
    return Features(lam, rho, lam / rho, lam * rho * (1 + target_noise))


def temporal(gamma: Values, noise: Values) -> Features:
    """The temporal model with |v| = 1: lam = gamma, rho = gamma / (1 + sigma^2), with `noise` sigma.

    x^t = sum_a v_a (u_a^t + sigma_a xi_a^t), y = x^(t+1), u_a AR(1) with unit variance and correlation gamma_a, xi_a
    white with unit variance, v_a orthogonal.
    """
    variance = 1 + noise**2
    return Features(gamma, gamma / variance, variance, variance)


def temporal_from(lam: Values, rho: Values) -> tuple[Values, Values]:
    """(gamma, noise) of the temporal model that has these lam < 1 and rho <= lam."""
    return lam, jnp.sqrt(lam / rho - 1)


def masked(s: Values, keep: Number) -> Features:
    """Two independent masks that keep each pixel with probability p: lam = p^2 s, s2 = p (p s + (1-p) c).

    The unmasked signal is Gaussian with a circulant covariance: s are its eigenvalues in the order of
    `fourier_basis`, with s_k = s_(d-k), and c is their mean, the variance of a pixel.
    """
    lam, s2 = keep**2 * s, _masked_variance(s, keep)
    return Features(lam, lam / s2, s2, s2)


def complementary(s: Values, keep: Number) -> Features:
    """As `masked`, but y holds the pixels that x lacks: lam = p (1-p) (s - c), negative wherever s < c."""
    lam, s2 = keep * (1 - keep) * (s - jnp.mean(s)), _masked_variance(s, keep)
    return Features(lam, lam / s2, s2, _masked_variance(s, 1 - keep))


def _masked_variance(s: Values, keep: Number) -> Values:
    return keep * (keep * s + (1 - keep) * jnp.mean(s))


def fourier_basis(d: int) -> Float[Array, "d d"]:
    """Orthogonal eigenvectors of every symmetric circulant matrix, as columns: (cos + sin)(2 pi j k / d) / sqrt(d).

    Column k mixes the frequencies k and d - k, which share one eigenvalue.
    """
    k = jnp.arange(d)
    angle = 2 * jnp.pi * (jnp.outer(k, k) % d).astype(float) / d
    return (jnp.cos(angle) + jnp.sin(angle)) / d**0.5


def sample_gaussian(key: Array, count: int, features: Features) -> Pairs:
    """Pairs (x, y), each (count, d), jointly Gaussian with exactly these moments: y = rho x + what x cannot explain."""
    a, b = jax.random.normal(key, (2, count, *jnp.shape(features.lam)), jnp.result_type(features.lam))
    x = jnp.sqrt(features.s2)[None] * a
    # At sy2 = lam rho nothing is left to explain, and rounding must not make that a negative variance.
    rest = jnp.maximum(features.sy2 - features.lam * features.rho, 0)
    return x, features.rho[None] * x + jnp.sqrt(rest)[None] * b


def sample_temporal(key: Array, count: int, gamma: Values, noise: Values) -> Pairs:
    """Pairs (x^t, x^(t+1)), each (count, d), along one stretch of the stationary temporal process with |v| = 1."""
    shape = (count + 1, *jnp.shape(gamma))
    shocks, xi = jax.random.normal(key, (2, *shape), jnp.result_type(gamma))
    u = ar1(shocks[0], jnp.sqrt(1 - gamma**2)[None] * shocks[1:], gamma)
    x = jnp.concatenate([shocks[:1], u]) + noise[None] * xi
    return x[:-1], x[1:]


def ar1(start: Values, shocks: Float[Array, "n d"], gamma: Values) -> Float[Array, "n d"]:
    """u^1 ... u^n of u^t = gamma u^(t-1) + shock^t from u^0 = `start`.

    Each pass doubles how many of the shocks before it a value holds, so log2(n) passes do without a loop over time.
    """
    u = jnp.asarray(shocks).at[0].add(gamma * start)
    reach, decay = 1, gamma
    while reach < len(shocks):
        u = u.at[reach:].add(decay[None] * u[:-reach])
        reach, decay = 2 * reach, decay * decay
    return u


def sample_masked(key: Array, count: int, s: Values, keep: Number, *, complementary: bool = False) -> Pairs:
    """Pairs (x, y), each (count, d), in `fourier_basis`: two independent maskings of one signal.

    In `complementary` ones y holds all the pixels that x lacks.
    """
    d, dtype = len(s), jnp.result_type(s)
    basis = fourier_basis(d).astype(dtype)
    signal_key, x_key, y_key = jax.random.split(key, 3)
    z = (jax.random.normal(signal_key, (count, d), dtype) * jnp.sqrt(s)[None]) @ basis.T
    x_mask = jax.random.bernoulli(x_key, keep, (count, d))
    y_mask = ~x_mask if complementary else jax.random.bernoulli(y_key, keep, (count, d))
    return jnp.where(x_mask, z, 0) @ basis, jnp.where(y_mask, z, 0) @ basis


def lam_std(gamma: Values, noise: Values, length: Number) -> Values:
    """Standard deviation of the estimate of lam = E[x^t x^(t+1)] from `length` pairs, known mean, |v| = 1.

    Bartlett's formula, to leading order in 1/length: length Var = sum_k C(k)^2 + C(k+1) C(k-1), with the
    autocovariance C(k) = gamma^|k| + sigma^2 [k = 0].
    """
    g2, c0 = gamma**2, 1 + noise**2
    squares = c0**2 + 2 * g2 / (1 - g2)
    return jnp.sqrt((squares + g2 + 2 * g2 * c0 + 2 * g2**2 / (1 - g2)) / length)


def rho_std(gamma: Values, noise: Values, length: Number) -> Values:
    """Standard deviation of the estimate of rho, an autocorrelation at lag 1, under the conditions of `lam_std`.

    length Var = sum_(k>=1) (r_(k+1) + r_(k-1) - 2 r_1 r_k)^2 with r_k = C(k) / C(0).
    """
    g2, r0 = gamma**2, 1 / (1 + noise**2)
    first = r0 * g2 + 1 - 2 * (r0 * gamma) ** 2
    later = (r0 * (1 + g2 - 2 * r0 * g2)) ** 2 * g2 / (1 - g2)
    return jnp.sqrt((first**2 + later) / length)


def expected_off_diagonal(gamma: Values, noise: Values, length: Number) -> Float[Array, ""]:
    """Expected mean square of the off-diagonal entries of U^T E[y x^T] U, U the eigenbasis of E[x x^T], |v| = 1.

    Both moments are estimated from `length` pairs, whose population shares one eigenbasis: to leading order
    (1/length) mean_(a != b) (1 + m^2) S0 - 2 m S1, with m = (lam_a - lam_b) / (s2_a - s2_b), S0 = sum_k C_a(k) C_b(k)
    and S1 = sum_k C_a(k) C_b(k+1). It holds where the s2 differ by much more than length^(-1/2), and is inf or NaN
    where two are equal.
    """
    c0 = 1 + noise**2
    a, b = (gamma[:, None], c0[:, None]), (gamma[None, :], c0[None, :])
    tail = a[0] * b[0] / (1 - a[0] * b[0])
    s0 = a[1] * b[1] + 2 * tail
    s1 = a[1] * b[0] + a[0] * b[1] + (a[0] + b[0]) * tail
    others = ~jnp.eye(len(gamma), dtype=bool)
    m = (a[0] - b[0]) / jnp.where(others, a[1] - b[1], 1)
    return jnp.mean((1 + m**2) * s0 - 2 * m * s1, where=others) / length
