"""Theorems 4.4 and 4.6: critical times for eps -> 0, the leading order and the whole of what does not vanish."""

import jax.numpy as jnp
from jax import lax

from jepa_sweep.physics import elementary
from jepa_sweep.physics.dynamics import Numbers
from jepa_sweep.physics.integral import BLOCK, Scaled, until_rest
from jepa_sweep.physics.law import Point, has_crossing, start_to_threshold
from jepa_sweep.physics.loops import each_while
from jepa_sweep.physics.slopes import Slopes, differentiable, number, time_slopes


def _leading(point: Point) -> tuple[Numbers, tuple[Numbers, Numbers, Numbers]]:
    """The leading order in units of L / lam, and what it loses with ln rho and with ln eps, all over exp(exponent).

    `sum_n eps^(-n/L) rho^(-j) / n` over n = a-1-mj > 0, 2L-1 powers for JEPA and one for MAE; `-ln(eps) / L` where
    there is none. That is no time where it is not positive, nor is there any without a signal: NaN.
    """
    a, m, L = point.a, point.m, point.L
    log_eps, log_rho = elementary.log(point.eps), elementary.log(point.rho)
    last = jnp.ceil((a - 1) / m) - 1  # j
    of_first, of_last = (-(a - 1 - m * j) / L * log_eps - j * log_rho for j in (0, last))
    exponent = lax.stop_gradient(jnp.where(last >= 0, jnp.maximum(of_first, of_last), 0.0))

    def block(carry: tuple[Numbers, ...]) -> tuple[Numbers, ...]:
        j, total, of_rho, of_eps = carry
        for _ in range(BLOCK):
            n = a - 1 - m * j
            power = jnp.where(n > 0, elementary.exp(-n / L * log_eps - j * log_rho - exponent), 0.0)
            term = power / jnp.maximum(n, 1.0)
            j, total, of_rho, of_eps = j + 1, total + term, of_rho + j * term, of_eps + power / L
        return j, total, of_rho, of_eps

    zero = jnp.zeros_like(log_eps)
    _, *sums = each_while(lambda carry: carry[0] <= last, block, (zero, zero, zero, zero))
    sums = (jnp.where(last >= 0, s, other) for s, other in zip(sums, (-log_eps / L, zero, 1 / L), strict=True))
    known = (point.lam > 0) & (point.rho > 0) & ((last >= 0) | (log_eps < 0))
    total, of_rho, of_eps = (jnp.where(known, s, jnp.nan) for s in sums)
    return exponent, (total, of_rho, of_eps)


def _leading_slopes(time: Numbers, point: Point) -> Slopes:
    def per(x: Numbers, which: int) -> Numbers:
        exponent, sums = _leading(point)
        exponent = exponent + elementary.log(point.L) - elementary.log(point.lam) - elementary.log(x)
        return number((exponent, -sums[which]))

    return {
        "lam": lambda: -time / point.lam,
        "rho": lambda: per(point.rho, 1),
        "eps": lambda: per(point.eps, 2),
    }


@differentiable(_leading_slopes)
def leading_critical_time(point: Point) -> Numbers:
    """The paper's leading order for eps -> 0; Theorems 4.4 and 4.6.

    JEPA: (L/lam) sum_{n=1}^{2L-1} eps^(-n/L) / (n rho^(2L-1-n)). MAE: L / ((L-1) lam eps^((L-1)/L)), and
    |ln eps| / lam at L = 1, for eps < 1. It is positive even for a start above the threshold, where it is wrong.
    """
    exponent, (total, _, _) = _leading(point)
    return number((exponent, point.L / point.lam * total))


def _singular(point: Point) -> Numbers:
    """How many powers of 1/z there are in the integral, its logarithm included."""
    return jnp.floor((point.a - 1) / point.m) + 1


def _asymptotic(point: Point, p: Numbers) -> Scaled:
    """The integral with 0 for r in all that is finite there, in units of L / lam, for growth."""
    known = has_crossing(point, p) & (p < 1)
    log_q, d = elementary.log(p) / point.L, jnp.where(known, start_to_threshold(point, p), 0.0)
    value = until_rest(d, d + jnp.inf, log_q, point.a, point.m)
    return (1 - point.a) / point.L * elementary.log(point.eps), jnp.where(known, value, jnp.nan)


def _asymptotic_slopes(time: Numbers, point: Point, p: Numbers) -> Slopes:
    unit = elementary.log(point.lam) - elementary.log(point.L), jnp.where(p < 1, 1.0, jnp.nan)
    return {"lam": lambda: -time / point.lam, **time_slopes(point, p, unit, _singular(point))}


@differentiable(_asymptotic_slopes)
def asymptotic_critical_time(point: Point, p: Numbers) -> Numbers:
    """The leading order plus its logarithm and constant: relative error O(eps^(a/L)) or smaller.

    JEPA: + |ln eps| / k + (L/k) (ln rho + F(q)), F(q) = ln(q/(1-q)) - sum_n q^-n / n. MAE: + (L/k) c_L(p). Summed as
    differences between threshold and start, of which none is negative.
    """
    exponent, value = _asymptotic(point, p)
    return number((exponent, point.L / point.lam * value))
