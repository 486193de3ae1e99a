r"""Theorems 4.3 to 4.6 for one feature: implicit solutions and critical times.

With `z = (w/w*)^(1/L)`, both objectives obey one law, `dz/dtau = z^a (1 - z^m)` in units
`tau = (k/L) T`, `k = lam rho^((a-1)/m)`, with rest point `w* = rho^(L/m)`:

| objective | a  | m     |
|-----------|----|-------|
| JEPA      | 2L | 1     |
| MAE       | L  | L + 1 |

so everything here follows from the one integral `I(r, q) = int_r^q dz / (z^a (1 - z^m))`. Times are paper
times `T = L t`, from Littwin et al. 2024, arXiv 2407.03475. `L`, `a` and `m` are traced numbers with integer
values: one compile serves every depth.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import softplus

from jepa_sweep.physics.systems import Code, Scalar, Status


class Point(NamedTuple):
    """One feature under one objective: its parameters and the exponents (a, m) of its law."""

    lam: Scalar  # covariance E[xy]
    rho: Scalar  # regression coefficient E[xy] / E[x^2]
    L: Scalar  # encoder layers
    eps: Scalar  # initial response w(0)
    a: Scalar
    m: Scalar


def log_fixed_point(point: Point) -> Scalar:
    """ln w* = (L/m) ln rho."""
    return point.L / point.m * jnp.log(point.rho)


def fixed_point(point: Point) -> Scalar:
    """w* = rho^(L/m): rho^L for JEPA, rho^(L/(L+1)) for MAE."""
    return point.rho ** (point.L / point.m)


def log_rate(point: Point) -> Scalar:
    """ln k, with k = lam rho^((a-1)/m) the rate of approach to the rest point in units of T/L."""
    return jnp.log(point.lam) + (point.a - 1) / point.m * jnp.log(point.rho)


def growth_rate(point: Point, log_fraction: Scalar) -> Scalar:
    """d ln w / dT = k z^(a-1) (1 - z^m) where w = exp(log_fraction) w*; keeps its accuracy at the rest point."""
    log_z = log_fraction / point.L
    return jnp.exp(log_rate(point) + (point.a - 1) * log_z) * -jnp.expm1(point.m * log_z)


def log_power(chi: Scalar, side: Scalar | float) -> Scalar:
    """ln z^m for chi = ln(z^m / |1 - z^m|); side is +1 below the rest point, -1 above it."""
    below = -softplus(-chi)
    high = jnp.maximum(chi, jnp.finfo(chi.dtype).tiny)
    above = jnp.where(high < 0.7, -jnp.log(-jnp.expm1(-high)), -jnp.log1p(-jnp.exp(-high)))
    return jnp.where(side > 0, below, above)


def start_to_threshold(point: Point, p: Scalar) -> Scalar:
    """d = ln(q/r) = (1/L) ln(p w*/eps), without cancellation where the start is close to the threshold."""
    target = p * fixed_point(point)
    far = (jnp.log(p) - jnp.log(point.eps)) / point.L + jnp.log(point.rho) / point.m
    near = jnp.log1p((target - point.eps) / point.eps) / point.L
    return jnp.where(jnp.abs(target - point.eps) < 0.5 * point.eps, near, far)


def _roots(q: Scalar, r: Scalar, gap: Scalar, below_q: Scalar, below_r: Scalar, order: Scalar, m: Scalar) -> Scalar:
    """int_r^q z^(order-1) / (1 - z^m) dz by the m-th roots of unity; gap = q - r, below_x = 1 - x."""

    def pair(j: Code, total: Scalar) -> Scalar:  # the roots exp(+-i theta), theta = 2 pi j / m
        half = jnp.pi * j / m
        cos, sin, versed = jnp.cos(2 * half), jnp.sin(2 * half), 2 * jnp.sin(half) ** 2
        log = jnp.log1p(gap * (q + r - 2 * cos) / (below_r**2 + 2 * r * versed))
        angle = jnp.arctan2(gap * sin, below_q * below_r + (q + r) * versed)
        turn = 2 * order * half
        return total - jnp.cos(turn) * log + 2 * jnp.sin(turn) * angle

    pairs = lax.fori_loop(1, ((m - 1) // 2).astype(int) + 1, pair, jnp.zeros_like(q))
    minus_one = jnp.where(order % 2 == 0, 1.0, -1.0) * jnp.log1p(gap / (1 + r))
    return (jnp.log1p(gap / below_q) + pairs - jnp.where(m % 2 == 0, minus_one, 0.0)) / m


def integral(d: Scalar, log_q: Scalar, a: Scalar, m: Scalar) -> tuple[Scalar, Scalar]:
    """I(r, q) as a pair (scale, value) with I = exp(scale) value, for r = q exp(-d) on the same side of 1 as q.

    `z^-a / (1 - z^m)` splits into powers of z and partial fractions over the roots of unity. Every term is
    written as a function of the difference `d`, so none cancels, and the scale `(a-1) d` keeps large depths
    and small starts from overflowing.
    """
    scale = jnp.maximum((a - 1) * d, 0.0)
    q, r = jnp.exp(log_q), jnp.exp(log_q - d)
    gap = -q * jnp.expm1(-d)  # q - r
    below_q, below_r = -jnp.expm1(log_q), -jnp.expm1(log_q - d)  # 1 - q, 1 - r
    powers_count = jnp.ceil(a / m).astype(int)

    def power(k: Code, total: Scalar) -> Scalar:
        n = a - 1 - m * k  # the integral of z^(-n-1), or ln z at n = 0
        safe = jnp.where(n == 0, 1.0, n)
        term = jnp.exp(n * d - scale - n * log_q) * -jnp.expm1(-safe * d) / safe
        return total + jnp.where(n == 0, jnp.exp(-scale) * d, term)

    powers = lax.fori_loop(0, powers_count, power, jnp.zeros_like(d))
    order = m * powers_count - a + 1  # c + 1, for the remaining z^c / (1 - z^m)

    return scale, powers + jnp.exp(-scale) * _roots(q, r, gap, below_q, below_r, order, m)


def integral_above(d: Scalar, log_q: Scalar, a: Scalar, m: Scalar) -> tuple[Scalar, Scalar]:
    """I(r, q) for a decay r > q > 1 (so d < 0), as (scale, value): the closed form near 1, a tail series beyond.

    With v = 1/z the integrand is v^(a+m-2) / (1 - v^m); far from 1 the closed form would cancel to nothing.
    """
    top = a + m - 2
    log_split = -jnp.log1p(-1 / (top + 1))  # of z; where v^(top+1) has fallen to about 1/e
    log_r = log_q - d
    _, near = integral(log_q - jnp.minimum(log_r, log_split), jnp.minimum(log_q, log_split), a, m)
    near = jnp.where(log_q < log_split, near, 0.0)
    log_v = -jnp.maximum(log_q, log_split)
    width = jnp.maximum(log_r + log_v, 0.0)  # ln of the ratio of the two ends of the tail
    scale = jnp.where(log_q < log_split, 0.0, (top + 1) * log_v)

    def term(carry: tuple[Scalar, Scalar, Scalar]) -> tuple[Scalar, Scalar, Scalar]:
        n, total, _ = carry
        new = jnp.exp(n * log_v - scale) * -jnp.expm1(-n * width) / n
        return n + m, total + new, new

    def unconverged(carry: tuple[Scalar, Scalar, Scalar]) -> Scalar:
        _, total, last = carry
        return last > jnp.finfo(total.dtype).eps * 1e-2 * total

    zero = jnp.zeros_like(d)
    _, tail, _ = lax.while_loop(unconverged, term, term((top + 1 + zero, zero, zero)))
    return scale, near + jnp.where(width > 0, tail, 0.0)


def _scaled_time(point: Point, p: Scalar) -> tuple[Scalar, Scalar]:
    """T as (exponent, value), T = (L/lam) exp(exponent) value; NaN where there is no crossing."""
    d = start_to_threshold(point, p)
    log_q = jnp.log(p) / point.L
    scale, grows = integral(jnp.maximum(d, 0.0), jnp.minimum(log_q, 0.0), point.a, point.m)
    above = (p > 1) & (d < 0)
    # Elsewhere an empty interval, so that the tail series, which ends by itself, ends at once.
    scale_above, decays = integral_above(jnp.where(above, d, 0.0), jnp.where(above, log_q, 1.0), point.a, point.m)
    exponent = jnp.where(above, scale_above, scale) - (point.a - 1) / point.m * jnp.log(point.rho)
    return exponent, jnp.where(has_crossing(point, p), jnp.where(above, decays, grows), jnp.nan)


def has_crossing(point: Point, p: Scalar) -> Scalar:
    """True for growth to 0 < p < 1 from below the threshold, and for decay to p > 1 from above it."""
    d = start_to_threshold(point, p)
    return (point.lam > 0) & (point.rho > 0) & (((p > 0) & (p < 1) & (d > 0)) | ((p > 1) & (d < 0)))


@jax.custom_jvp
def critical_time(point: Point, p: Scalar) -> Scalar:
    """T(p) = (L/k) I(r, q): the paper time at which w(T) = p w*; Theorems 4.3 and 4.5.

    NaN without a crossing, inf beyond the largest float. Differentiable in lam, rho, eps and p (not in L,
    which takes integer values): the derivatives are closed forms, from dT = dw / (dw/dT) at both ends.
    """
    exponent, value = _scaled_time(point, p)
    half = jnp.exp(exponent / 2)  # twice, so that a large lam can bring a large power back into range
    return point.L / point.lam * half * value * half


@critical_time.defjvp
def _critical_time_jvp(primals: tuple[Point, Scalar], tangents: tuple[Point, Scalar]) -> tuple[Scalar, Scalar]:
    (point, p), (d_point, d_p) = primals, tangents
    time = critical_time(point, p)
    at_start = 1 / growth_rate(point, jnp.log(point.eps) - log_fixed_point(point))  # dT / d ln w
    at_end = 1 / growth_rate(point, jnp.log(p))
    per_log_rho = point.L * at_start / point.m - (point.a - 1) / point.m * time
    tangent = (
        at_end * d_p / p
        - at_start * d_point.eps / point.eps
        - time * d_point.lam / point.lam
        + per_log_rho * d_point.rho / point.rho
    )
    return time, tangent


def log_critical_time(point: Point, p: Scalar) -> Scalar:
    """ln T(p), finite even where T itself overflows."""
    exponent, value = _scaled_time(point, p)
    return jnp.log(point.L / point.lam) + exponent + jnp.log(value)


def _differentiable(function: Callable[..., Scalar]) -> Callable[..., Scalar]:
    """Reverse mode for a function of (point, p...) with loops: its few partial derivatives, each by forward mode."""
    wrapped = jax.custom_jvp(function)

    @wrapped.defjvp
    def rule(primals: tuple, tangents: tuple) -> tuple[Scalar, Scalar]:
        (point, *rest), (d_point, *d_rest) = primals, tangents

        def partial(part: Callable[..., Scalar], value: Scalar) -> Scalar:
            return jax.jvp(part, (value,), (jnp.ones_like(value),))[1]

        total = jnp.zeros_like(point.eps)
        for name in ("lam", "rho", "eps"):  # L, a and m take whole numbers

            def moved(value: Scalar, name: str = name) -> Scalar:
                return function(point._replace(**{name: value}), *rest)

            total = total + partial(moved, getattr(point, name)) * getattr(d_point, name)
        for p, d_p in zip(rest, d_rest, strict=True):
            total = total + partial(lambda value: function(point, value), p) * d_p
        return function(point, *rest), total

    return functools.wraps(function)(wrapped)


@_differentiable
def leading_critical_time(point: Point) -> Scalar:
    """The paper's leading order for eps -> 0; Theorems 4.4 and 4.6.

    JEPA: (L/lam) sum_{n=1}^{2L-1} eps^(-n/L) / (n rho^(2L-1-n)). MAE: L / ((L-1) lam eps^((L-1)/L)), and
    |ln eps| / lam at L = 1. It is finite and positive even for a start above the threshold, where it is wrong.
    """
    log_eps, log_rho = jnp.log(point.eps), jnp.log(point.rho)

    def term(k: Code, total: Scalar) -> Scalar:
        n = point.a - 1 - point.m * k
        return total + jnp.exp(-n * log_eps / point.L - k * log_rho) / jnp.where(n == 0, 1.0, n)

    # One term for each positive power of 1/z in the integral: 2L-1 of them for JEPA, one for MAE.
    count = jnp.ceil((point.a - 1) / point.m).astype(int)
    powers = point.L / point.lam * lax.fori_loop(0, count, term, jnp.zeros_like(point.eps))
    return jnp.where(point.a == 1, -log_eps / point.lam, powers)


@_differentiable
def asymptotic_critical_time(point: Point, p: Scalar) -> Scalar:
    """The leading order plus its logarithm and constant: relative error O(eps^(a/L)) or smaller.

    JEPA: + |ln eps| / k + (L/k) (ln rho + F(q)), F(q) = ln(q/(1-q)) - sum_n q^-n / n. MAE: + (L/k) c_L(p).
    """
    a, m, log_q = point.a, point.m, jnp.log(p) / point.L
    q, below_q = jnp.exp(log_q), -jnp.expm1(log_q)
    count = jnp.ceil(a / m).astype(int)
    order = m * count - a + 1

    def power(k: Code, total: Scalar) -> Scalar:
        n = a - 1 - m * k
        return total + jnp.where(n == 0, log_q, -jnp.exp(-n * log_q) / jnp.where(n == 0, 1.0, n))

    zero = jnp.zeros_like(q)
    constant = lax.fori_loop(0, count, power, zero)
    constant = constant + _roots(q, zero, q, below_q, zero + 1, order, m)
    # ln(q/r) is a term of the integral only when some power n is 0; it brings |ln eps| and ln rho.
    has_log = (a - 1) % m == 0
    logarithm = jnp.where(has_log, jnp.log(point.rho) / m - jnp.log(point.eps) / point.L, 0.0)
    leading = jnp.where(a == 1, 0.0, leading_critical_time(point))
    time = leading + point.L * jnp.exp(-log_rate(point)) * (logarithm + constant)
    return jnp.where(has_crossing(point, p) & (p < 1), time, jnp.nan)


def inflection_fraction(point: Point) -> Scalar:
    """w/w* where dw/dT is largest: z^m = (a+L-1) / (a+L-1+m)."""
    top = point.a + point.L - 1
    return (top / (top + point.m)) ** (point.L / point.m)


def inflection_time(point: Point) -> Scalar:
    """Paper time of fastest growth; NaN for a start beyond that point."""
    return critical_time(point, inflection_fraction(point))


def status(point: Point, p: Scalar) -> Code:
    """The `Status` of the search for T(p), decided before any integration."""
    w_star = fixed_point(point)
    rounding = 4 * jnp.finfo(w_star.dtype).eps * w_star
    resting = (jnp.abs(point.eps - w_star) <= rounding) & jnp.isfinite(w_star)
    started_above = (p < 1) & (point.eps < w_star)
    too_late = log_critical_time(point, p) > jnp.log(jnp.finfo(w_star.dtype).max)
    answer = jnp.where(too_late, Status.OVERFLOW, Status.LEARNED)
    answer = jnp.where(
        has_crossing(point, p), answer, jnp.where(started_above, Status.ABOVE_THRESHOLD, Status.NOT_REACHED)
    )
    answer = jnp.where(resting, Status.AT_FIXED_POINT, answer)
    answer = jnp.where(point.lam < 0, Status.COLLAPSES, answer)
    return jnp.where(point.lam == 0, Status.NO_SIGNAL, answer)
