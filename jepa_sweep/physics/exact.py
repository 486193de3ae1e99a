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

from jepa_sweep.physics.dynamics import Code, Flag, Scalar, Status

# Loops run in blocks: under `vmap` every turn of a loop reads and writes whole batches, and all rows wait for the last.
BLOCK = 8  # powers of z
PAIRS = 4  # roots of unity


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
    gap = target - point.eps
    # Over the smaller of the two, because for arguments near sqrt(2) - 2 XLA's log1p can be off by 128 ulp.
    near = jnp.sign(gap) * jnp.log1p(jnp.abs(gap) / jnp.minimum(target, point.eps)) / point.L
    return jnp.where(jnp.abs(gap) < 0.5 * point.eps, near, far)


def _lowest_power(a: Scalar, m: Scalar) -> Scalar:
    """The smallest n >= 0 among a-1, a-1-m, a-1-2m, ...; where it is 0, the integral has a logarithm ln(q/r)."""
    return a - 1 - m * jnp.floor((a - 1) / m)


def _powers(log_top: Scalar, log_z: Scalar, d: Scalar, a: Scalar, m: Scalar) -> Scalar:
    """sum_n exp(log_top) z^(a-1-n) (1 - e^(-n d)) / n over n = a-1, a-1-m, a-1-2m, ... > 0.

    Horner's scheme in blocks: products grow a rounding at each term, so every block starts from exponentials anew.
    """
    top = a - 1
    ratio, shrink, step = jnp.exp(m * log_z), jnp.exp(-m * d), -jnp.expm1(-m * d)

    def block(carry: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
        n, total = carry
        part, left = jnp.zeros_like(total), -jnp.expm1(-n * d)  # 1 - e^(-n d), from here on a sum of positive terms
        for _ in range(BLOCK):
            part = jnp.where(n < top, part * ratio + left / jnp.maximum(n, 1.0), part)
            n, left = n + m, left * shrink + step
        return n, total + jnp.exp(log_top + jnp.maximum(top - (n - m), m) * log_z) * part

    first = jnp.exp(log_top) * -jnp.expm1(-top * d) / jnp.maximum(top, 1.0)  # the only one for MAE
    return lax.while_loop(lambda carry: carry[0] < top, block, (_lowest_power(a, m), first))[1]


def _roots(q: Scalar, r: Scalar, gap: Scalar, below_q: Scalar, below_r: Scalar, a: Scalar, m: Scalar) -> Scalar:
    """int_r^q z^(order-1) / (1 - z^m) dz by the m-th roots of unity; gap = q - r, below_x = 1 - x."""
    order = m - _lowest_power(a, m)

    def turn(angle: Scalar) -> Callable[[tuple[Scalar, Scalar]], tuple[Scalar, Scalar]]:
        """Rotation of (cos, sin) by a small increment, so that many of them keep their accuracy."""
        sin_half = jnp.sin(angle / 2)
        versed, sin = 2 * sin_half**2, 2 * sin_half * jnp.sqrt(1 - sin_half**2)  # versed = 1 - cos
        return lambda z: (z[0] - (versed * z[0] + sin * z[1]), z[1] - (versed * z[1] - sin * z[0]))

    next_half, next_turn = turn(jnp.pi / m), turn(2 * jnp.pi * (order / m - jnp.round(order / m)))

    def pairs(carry: tuple) -> tuple:  # of roots exp(+-i theta), theta = 2 pi j / m
        j, total, half, turned = carry
        for _ in range(PAIRS):
            j, half, turned = j + 1, next_half(half), next_turn(turned)
            sin, versed = 2 * half[0] * half[1], 2 * half[1] ** 2  # of theta
            log = jnp.log1p(gap * (q + r - 2 + 2 * versed) / (below_r**2 + 2 * r * versed))
            angle = jnp.arctan(gap * sin / (below_q * below_r + (q + r) * versed))
            once = jnp.clip((m + 1) / 2 - j, 0.0, 1.0)  # the root -1 is half a pair
            total = total + jnp.where(once > 0, once * (2 * turned[1] * angle - turned[0] * log), 0.0)
        return j, total, half, turned

    one, zero = jnp.ones_like(q), jnp.zeros_like(q)
    start = (zero, zero, (one, zero), (one, zero))
    return (jnp.log1p(gap / below_q) + lax.while_loop(lambda carry: 2 * carry[0] + 1 < m, pairs, start)[1]) / m


def _tail(log_q: Scalar, width: Scalar, n: Scalar, m: Scalar) -> Scalar:
    """sum of q^(n_0-n) (1 - e^(-n width)) / n over n = n_0, n_0 + m, ...: the integral beyond 1, in powers of 1/z."""

    def term(carry: tuple[Scalar, Scalar, Scalar]) -> tuple[Scalar, Scalar, Scalar]:
        k, total, _ = carry
        new = jnp.exp(-k * log_q) * -jnp.expm1(-(n + k) * width) / (n + k)
        return k + m, total + new, new

    def unconverged(carry: tuple[Scalar, Scalar, Scalar]) -> Flag:
        _, total, last = carry
        return last > jnp.finfo(total.dtype).eps * 1e-2 * total

    zero = jnp.zeros_like(log_q)
    return lax.while_loop(unconverged, term, (zero, zero, jnp.where(width > 0, jnp.inf, 0.0)))[1]


@jax.jit  # traced once, however often a prediction asks for it
def integral(d: Scalar, log_q: Scalar, a: Scalar, m: Scalar) -> tuple[Scalar, Scalar]:
    """I(r, q) as a pair (scale, value) with I = exp(scale) value, for r = q exp(-d) on the same side of 1 as q.

    `z^-a / (1 - z^m)` splits into powers of z and partial fractions over the roots of unity. Every term is
    written as a function of the difference `d`, so none cancels, and the scale keeps large depths and small
    starts from overflowing. Far above 1 (d < 0) those terms would cancel to nothing: there a series in 1/z.
    """
    top = a + m - 1
    split = 1 / top  # of ln z; where z^-top has fallen to 1/e
    below, far = log_q < 0, log_q > split
    tail_q = jnp.maximum(log_q, split)
    tail = _tail(tail_q, jnp.maximum(log_q - d - tail_q, 0.0), top, m)
    scale = jnp.where(below, (1 - a) * (log_q - d), jnp.where(far, -top * log_q, 0.0))

    d, log_q = jnp.where(far, 0.0, jnp.maximum(d, log_q - split)), jnp.minimum(log_q, split)
    log_r = log_q - d
    q, r = jnp.exp(log_q), jnp.exp(log_r)
    gap = -q * jnp.expm1(-d)  # q - r
    below_q, below_r = -jnp.expm1(log_q), -jnp.expm1(log_r)  # 1 - q, 1 - r
    powers = _powers(jnp.where(below, 0.0, (1 - a) * log_r), log_r, d, a, m)
    logarithms = jnp.where(_lowest_power(a, m) == 0, d, 0.0) + _roots(q, r, gap, below_q, below_r, a, m)
    near = powers + jnp.exp(jnp.where(below, -scale, 0.0)) * logarithms
    return scale, near + jnp.where(far, 1.0, jnp.exp(-1.0)) * tail


def _scaled_time(point: Point, p: Scalar) -> tuple[Scalar, Scalar]:
    """T as (exponent, value), T = (L/lam) exp(exponent) value; NaN where there is no crossing."""
    crosses = has_crossing(point, p)
    d = jnp.where(crosses, start_to_threshold(point, p), 0.0)  # elsewhere an empty interval, without a tail
    scale, value = integral(d, jnp.log(p) / point.L, point.a, point.m)
    # Below the rest point exp(scale) = r^(1-a), in which rho cancels against that of k.
    below = (1 - point.a) / point.L * jnp.log(point.eps)
    exponent = jnp.where(p < 1, below, scale - (point.a - 1) / point.m * jnp.log(point.rho))
    return exponent, jnp.where(crosses, value, jnp.nan)


def has_crossing(point: Point, p: Scalar) -> Flag:
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


def _leading_powers(log_x: Scalar, log_y: Scalar, a: Scalar, m: Scalar) -> Scalar:
    """sum_k x^n y^k / n over n = a-1-mk > 0."""

    def block(carry: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
        k, total = carry
        for _ in range(BLOCK):
            n = a - 1 - m * k
            total = total + jnp.where(n > 0, jnp.exp(n * log_x + k * log_y) / jnp.maximum(n, 1.0), 0.0)
            k = k + 1
        return k, total

    zero = jnp.zeros_like(log_x)
    return lax.while_loop(lambda carry: a - 1 > m * carry[0], block, (zero, zero))[1]


@_differentiable
def leading_critical_time(point: Point) -> Scalar:
    """The paper's leading order for eps -> 0; Theorems 4.4 and 4.6.

    JEPA: (L/lam) sum_{n=1}^{2L-1} eps^(-n/L) / (n rho^(2L-1-n)). MAE: L / ((L-1) lam eps^((L-1)/L)), and
    |ln eps| / lam at L = 1. It is finite and positive even for a start above the threshold, where it is wrong.
    """
    log_eps = jnp.log(point.eps)
    # One term for each positive power of 1/z in the integral: 2L-1 of them for JEPA, one for MAE.
    powers = _leading_powers(-log_eps / point.L, -jnp.log(point.rho), point.a, point.m)
    return jnp.where(point.a == 1, -log_eps / point.lam, point.L / point.lam * powers)


@_differentiable
def asymptotic_critical_time(point: Point, p: Scalar) -> Scalar:
    """The leading order plus its logarithm and constant: relative error O(eps^(a/L)) or smaller.

    JEPA: + |ln eps| / k + (L/k) (ln rho + F(q)), F(q) = ln(q/(1-q)) - sum_n q^-n / n. MAE: + (L/k) c_L(p).
    """
    a, m, log_q = point.a, point.m, jnp.log(p) / point.L
    q, below_q = jnp.exp(log_q), -jnp.expm1(log_q)
    zero = jnp.zeros_like(q)
    # ln(q/r) is a term of the integral only when some power n is 0; it brings |ln eps| and ln rho.
    log_r = jnp.log(point.eps) / point.L - jnp.log(point.rho) / m
    logarithm = jnp.where(_lowest_power(a, m) == 0, log_q - log_r, 0.0)
    constant = _roots(q, zero, q, below_q, zero + 1, a, m) - _leading_powers(-log_q, zero, a, m)
    leading = jnp.where(a == 1, 0.0, leading_critical_time(point))
    time = leading + point.L * jnp.exp(-log_rate(point)) * (logarithm + constant)
    return jnp.where(has_crossing(point, p) & (p < 1), time, jnp.nan)


def inflection_fraction(point: Point) -> Scalar:
    """w/w* where dw/dT is largest: z^m = (a+L-1) / (a+L-1+m)."""
    top = point.a + point.L - 1
    return jnp.exp(point.L / point.m * jnp.log(top / (top + point.m)))


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
