"""Derivatives of critical times, in closed form and without cancellation.

A time is `(L/lam) rho^(-(a-1)/m) I(r, q)`. As a function of w the flow near `w = 0` does not know rho, so of all that
moves with rho the power `z^-a` of the integrand contributes nothing. Where w grows from a small start that power is
nearly all of T. So it is left out before anything is subtracted: what remains of I is the same integral with `a - m` in
place of `a`. In a decay all terms have one sign.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from jepa_sweep.physics import elementary
from jepa_sweep.physics.dynamics import Numbers
from jepa_sweep.physics.integral import Scaled, integral, until_rest
from jepa_sweep.physics.law import Point, has_crossing, start_to_threshold

Slopes = Mapping[str, Callable[[], Numbers]]  # name of a parameter -> the derivative with respect to it


def along(slopes: Slopes, tangents: Mapping[str, Any], like: Numbers) -> Numbers:
    """Sum of slope times tangent, an array like `like`; slopes of what does not move are not computed."""
    total = jnp.zeros_like(like)
    for name, slope in slopes.items():
        if not isinstance(tangents[name], SymbolicZero):
            total = total + slope() * tangents[name]
    return total


def differentiable(slopes: Callable[..., Slopes]) -> Callable[[Callable], Callable]:
    """A decorator that gives a function of (point, p...) the derivatives `slopes(value, point, p...)`.

    L, a and m take whole numbers, and have none.
    """

    def decorate(function: Callable[..., Numbers]) -> Callable[..., Numbers]:
        wrapped = jax.custom_jvp(function)

        def rule(primals: tuple, tangents: tuple) -> tuple[Numbers, Numbers]:
            value, (d_point, *d_p) = wrapped(*primals), tangents
            moved = {**d_point._asdict(), **dict(zip(("p",), d_p, strict=False))}
            return value, along(slopes(value, *primals), moved, value)

        wrapped.defjvp(rule, symbolic_zeros=True)
        return wrapped

    return decorate


def number(scaled: Scaled) -> Numbers:
    """exp(exponent) value, in two steps, so that one may be out of range if the product is not."""
    exponent, value = scaled
    half = elementary.exp(exponent / 2)
    return half * value * half


def per_log_p(point: Point, p: Numbers) -> Scaled:
    """dT / d ln p in units of L / lam: `rho^(-(a-1)/m) z^(1-a) / (L (1 - z^m))` at the end."""
    a, m, log_q = point.a, point.m, elementary.log(p) / point.L
    exponent = (1 - a) * (log_q + elementary.log(point.rho) / m) - m * jnp.maximum(log_q, 0.0)
    slope = jnp.sign(log_q) / (point.L * elementary.expm1(-m * jnp.abs(log_q)))
    return exponent, jnp.where(has_crossing(point, p), slope, jnp.nan)


def per_log_eps(point: Point, p: Numbers, singular: Numbers | None = None) -> Scaled:
    """dT / d ln eps in the same units: less the same at the start, where `rho^(-(a-1)/m) z^(1-a) = eps^((1-a)/L)`.

    Of an asymptotic time, only the first `singular` terms of the series in r^m count, here and in `per_log_rho`.
    """
    log_r = elementary.log(p) / point.L - start_to_threshold(point, p)
    exponent = (1 - point.a) / point.L * elementary.log(point.eps) - point.m * jnp.maximum(log_r, 0.0)
    slope = -jnp.sign(log_r) / (point.L * elementary.expm1(-point.m * jnp.abs(log_r)))
    if singular is not None:
        slope = slope * _first(singular, log_r, point.m)
    return exponent, jnp.where(has_crossing(point, p), slope, jnp.nan)


def per_log_rho(point: Point, p: Numbers, singular: Numbers | None = None) -> Scaled:
    """dT / d ln rho in the same units.

    Growth: `rho^(-(a-1)/m) (q^(1-a) + r^(1-a) r^m/(1 - r^m) - (a-1) int_r^q z^(m-a) / (1 - z^m) dz) / m`. Decay:
    `rho^(-(a-1)/m) (r^(1-a) / (1 - r^m) - (a-1) I) / m`.
    """
    a, m, log_rho = point.a, point.m, elementary.log(point.rho)
    grows, crosses = p < 1, has_crossing(point, p)
    log_q, d = elementary.log(p) / point.L, jnp.where(crosses, start_to_threshold(point, p), 0.0)
    log_r, less = log_q - d, jnp.where(grows, a - m, a)
    if singular is None:
        scale, value = integral(d, log_q, less, m)
    else:
        scale, value = -jnp.maximum(less - 1, 0.0) * log_r, until_rest(d, d + jnp.inf, log_q, less, m)
    rate = (a - 1) / m * log_rho
    at_end = jnp.where(grows, (1 - a) * (log_q + log_rho / m), -jnp.inf)
    at_start = (1 - a) / point.L * elementary.log(point.eps) - m * jnp.abs(log_r)
    between = jnp.where(grows & (less >= 1), at_start, scale - rate)  # the powers of rho cancel
    unit = lax.stop_gradient(jnp.maximum(jnp.maximum(at_end, at_start), between))
    of_start = jnp.sign(log_r) / elementary.expm1(-m * jnp.abs(log_r))
    if singular is not None:
        of_start = of_start * _first(singular - 1, log_r, m)
    ends = elementary.exp(at_end - unit) + elementary.exp(at_start - unit) * of_start
    return unit, jnp.where(crosses, (ends - (a - 1) * value * elementary.exp(between - unit)) / m, jnp.nan)


def _first(terms: Numbers, log_z: Numbers, m: Numbers) -> Numbers:
    """1 - z^(m terms): the share of its first terms in 1 + z^m + z^2m + ..."""
    return -elementary.expm1(m * terms * log_z)


def time_slopes(point: Point, p: Numbers, unit: Scaled, singular: Numbers | None = None) -> Slopes:
    """The derivatives of T with respect to rho, eps and p, over a unit for which T itself is taken in L / lam."""

    def per(x: Numbers, slope: Callable[[], Scaled]) -> Callable[[], Numbers]:
        def over_unit() -> Numbers:
            (exponent, value), (unit_exponent, unit_value) = slope(), unit
            return number((exponent - unit_exponent - elementary.log(x), value / unit_value))

        return over_unit

    return {
        "rho": per(point.rho, lambda: per_log_rho(point, p, singular)),
        "eps": per(point.eps, lambda: per_log_eps(point, p, singular)),
        "p": per(p, lambda: per_log_p(point, p)),
    }
