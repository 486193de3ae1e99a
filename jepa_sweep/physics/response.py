"""w(T) of one feature: the critical time inverted by Newton's method in the logistic coordinate.

In chi = ln(z^m / |1 - z^m|) time is smooth and monotone on either side of the rest point, so a few steps reach the
last digit. Symbols and units as in `exact`; here, too, a function takes one point or arrays of points.
"""

import math

import jax
import jax.numpy as jnp

from jepa_sweep.physics import elementary
from jepa_sweep.physics.dynamics import Flags, Numbers
from jepa_sweep.physics.exact import (
    Point,
    each_while,
    growth_rate,
    integral,
    log_fixed_point,
    log_power,
    log_rate,
)


def _bend(a: Numbers, m: Numbers) -> Numbers:
    """chi where growth turns from a power law in time (before) to an exponential approach (after)."""
    return elementary.log(jnp.maximum((a - 1) / m, 1.0))


def _time_from_bend(chi: Numbers, a: Numbers, m: Numbers) -> Numbers:
    """tau(chi) - tau(bend) = (1/m) int (1 + e^-chi)^((a-1)/m) dchi, below the rest point."""
    near = jnp.minimum(chi, 40.0)  # beyond, the integrand is 1/m to the last digit
    log_z, log_bend = log_power(near, 1.0) / m, log_power(_bend(a, m), 1.0) / m
    scale, value = integral(jnp.abs(log_z - log_bend), jnp.maximum(log_z, log_bend), a, m)
    return jnp.sign(log_z - log_bend) * value * elementary.exp(scale) + (chi - near) / m


def _solve_growth(tau: Numbers, a: Numbers, m: Numbers) -> Numbers:
    """chi at time tau after the bend: Newton on ln(-tau) well before it, on tau itself afterwards.

    Time is concave in chi, so both starting values lie to the left of the root.
    """
    s, bend = (a - 1) / m, _bend(a, m)
    early = (tau < -1) & (s > 0)

    def newton(carry: tuple[Numbers, Numbers, Numbers]) -> tuple[Numbers, Numbers, Numbers]:
        count, chi, _ = carry
        now = _time_from_bend(chi, a, m)
        slope = elementary.exp(-s * log_power(chi, 1.0)) / m
        step = jnp.where(early, now * elementary.log(tau / now), tau - now) / slope
        return count + 1, jnp.where(early, jnp.minimum(chi + step, (chi + bend) / 2), chi + step), step

    def moving(carry: tuple[Numbers, Numbers, Numbers]) -> Flags:
        count, chi, step = carry
        tiny = 4 * jnp.finfo(chi.dtype).eps * jnp.maximum(1.0, jnp.abs(chi))
        return (count < 60) & (jnp.abs(step) > tiny)

    tangent = bend + m * tau * elementary.exp(s * log_power(bend, 1.0))
    safe_s, safe_tau = jnp.where(s > 0, s, 1.0), jnp.where(early, tau, -1.0)
    power_law = -elementary.log(elementary.exp(-s * bend) - s * m * safe_tau) / safe_s
    zero = jnp.zeros_like(tau)
    first = jnp.where(early, jnp.maximum(power_law, tangent), tangent)
    return each_while(moving, newton, (zero, first, zero + jnp.inf))[1]


def _solve_decay(tau: Numbers, log_r: Numbers, a: Numbers, m: Numbers) -> Numbers:
    """chi at time tau after a start at ln z = log_r > 0. Time is convex in chi: Newton from the right is monotone."""
    s = (a - 1) / m
    log_y = -m * log_r
    start = -elementary.log(-elementary.expm1(log_y))

    def newton(carry: tuple[Numbers, Numbers, Numbers]) -> tuple[Numbers, Numbers, Numbers]:
        count, chi, _ = carry
        near = jnp.minimum(chi, jnp.maximum(start, 40.0))  # beyond, the integrand is 1/m to the last digit
        log_q = log_power(near, -1.0) / m
        scale, value = integral(log_q - log_r, log_q, a, m)
        step = (tau - value * elementary.exp(scale) - (chi - near) / m) * m * elementary.exp(s * m * log_q)
        return count + 1, jnp.maximum(chi + step, start), step

    def moving(carry: tuple[Numbers, Numbers, Numbers]) -> Flags:
        count, chi, step = carry
        return (count < 60) & (jnp.abs(step) > 4 * jnp.finfo(chi.dtype).eps * chi)

    # Two upper bounds: from 1/(1-y) >= 1 in the integrand, and from its value at chi = ln 2.
    y = (elementary.exp((s + 1) * log_y) + (s + 1) * m * tau) ** (1 / (s + 1))
    slow = -elementary.log1p(-jnp.minimum(y, 1.0))
    fast = jnp.maximum(start, math.log(2)) + m * tau * jnp.exp2(s)
    zero = jnp.zeros_like(tau)
    return each_while(moving, newton, (zero, jnp.minimum(slow, fast), zero + jnp.inf))[1]


@jax.custom_jvp
def trajectory(point: Point, time: Numbers) -> Numbers:
    """w(T) from w(0) = eps, for paper times T >= 0; the inverse of `critical_time`.

    NaN for T < 0, for lam <= 0, and where the critical time overflows. Differentiable in lam, rho, eps and T.
    """
    a, m = point.a, point.m
    log_start = elementary.log(point.eps) - log_fixed_point(point)
    log_r, grows = log_start / point.L, log_start < 0
    tau = elementary.exp(log_rate(point)) / point.L * time
    log_power_start = jnp.where(grows, m * log_r, -1.0)
    chi_start = log_power_start - elementary.log(-elementary.expm1(log_power_start))
    begun = _time_from_bend(chi_start, a, m)
    growth = _solve_growth(tau + begun, a, m)
    decays = (log_start > 0) & (time > 0)
    decay = _solve_decay(jnp.where(decays, tau, 0.0), jnp.where(decays, log_r, 1.0), a, m)
    side = jnp.where(grows, 1.0, -1.0)
    log_z = log_power(jnp.where(grows, growth, decay), side) / m
    w = elementary.exp(log_fixed_point(point) + point.L * log_z)
    w = jnp.where((time == 0) | (log_start == 0), point.eps, w)
    known = (time >= 0) & (point.lam > 0) & (point.rho > 0) & jnp.isfinite(begun)
    return jnp.where(known, w, jnp.nan)


@trajectory.defjvp
def _trajectory_jvp(primals: tuple[Point, Numbers], tangents: tuple[Point, Numbers]) -> tuple[Numbers, Numbers]:
    (point, time), (d_point, d_time) = primals, tangents
    w = trajectory(point, time)
    log_start = elementary.log(point.eps) - log_fixed_point(point)
    at_start = growth_rate(point, log_start)
    rate = growth_rate(point, elementary.log(w) - log_fixed_point(point))
    # How much of a difference at the start is left; at the rest point, where both rates vanish, its linear decay.
    resting = jnp.abs(log_start) < 1e-8
    decay = -point.m * elementary.exp(log_rate(point)) * time / point.L
    left = jnp.where(resting, elementary.exp(decay), rate / jnp.where(resting, 1.0, at_start))
    lost = jnp.where(resting, -elementary.expm1(decay), 1 - left)
    # At fixed p = w/w*, time answers to rho as in `critical_time`; w* itself moves by (L/m) d ln rho.
    per_log_rho = point.L / point.m * lost + rate * (point.a - 1) / point.m * time
    d_log_w = (
        rate * (d_time + time * d_point.lam / point.lam)
        + left * d_point.eps / point.eps
        + per_log_rho * d_point.rho / point.rho
    )
    return w, w * d_log_w


def conditioned(point: Point, time: Numbers) -> tuple[Numbers, Numbers]:
    """w(T), and its condition |d ln w / d ln T|: how many relative errors in w one relative error in T makes."""
    w = trajectory(point, time)
    return w, jnp.abs(time * growth_rate(point, elementary.log(w) - log_fixed_point(point)))
