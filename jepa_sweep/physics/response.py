"""w(T) of one feature: the critical time inverted by Newton's method in the logistic coordinate.

In chi = ln(z^m / |1 - z^m|) time is smooth and monotone on either side of the rest point, so a few steps reach the
last digit. (Above it the chi in which `reduced` integrates is another, ln(1 / (z^m - 1)).) Symbols and units as in
`exact`; here, too, a function takes one point or arrays of points.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jepa_sweep.physics import elementary
from jepa_sweep.physics.dynamics import Flags, Numbers
from jepa_sweep.physics.integral import Scaled, integral
from jepa_sweep.physics.law import Point, growth_rate, log_fixed_point, log_power, log_rate
from jepa_sweep.physics.loops import each_while
from jepa_sweep.physics.slopes import along, number

NODES, WEIGHTS = np.polynomial.legendre.leggauss(6)  # of Gauss's rule on (-1, 1)


def _bend(a: Numbers, m: Numbers) -> Numbers:
    """chi where growth turns from a power law in time (before) to an exponential approach (after)."""
    return elementary.log(jnp.maximum((a - 1) / m, 1.0))


class _Clock(NamedTuple):
    """A time tau = (k/L) T, in factors of which neither is out of range where tau is."""

    log_k: Numbers
    flow: Numbers  # T / L

    def over(self, exponent: Numbers | float) -> Numbers:
        """Tau in units of exp(exponent)."""
        return jnp.minimum(number((self.log_k - exponent, self.flow)), 1e-8 * jnp.finfo(self.flow.dtype).max)


def _from_bend(log_z: Numbers, a: Numbers, m: Numbers) -> tuple[Numbers, Scaled]:
    """Time between the bend and z, below the rest point: its sign and its size."""
    log_bend = log_power(_bend(a, m), 1.0) / m
    return jnp.sign(log_z - log_bend), integral(jnp.abs(log_z - log_bend), jnp.maximum(log_z, log_bend), a, m)


def _log_sum(x: Numbers, y: Numbers) -> Numbers:
    """ln(e^x + e^y)."""
    return jnp.maximum(x, y) + elementary.log1p(elementary.exp(-jnp.abs(x - y)))


def _solve_growth(clock: _Clock, log_r: Numbers, a: Numbers, m: Numbers) -> Numbers:
    """chi at some time after a start at ln z = log_r < 0. From the bend, that is at tau.

    Newton on ln(-tau) well before the bend, on tau itself afterwards. Time is concave in chi, so both starting values
    lie to the left of the root.
    """
    s, bend = (a - 1) / m, _bend(a, m)
    side, (begun_scale, begun) = _from_bend(log_r, a, m)
    log_begun = begun_scale + elementary.log(begun)
    share = clock.over(log_begun)  # of the time from the start to the bend
    finite = clock.over(0.0) + side * begun * elementary.exp(begun_scale)
    in_range = log_begun < 0.9 * math.log(float(jnp.finfo(finite.dtype).max))
    tau = jnp.where(in_range, finite, number((log_begun, share - 1)))
    tau = jnp.minimum(tau, 1e-8 * jnp.finfo(tau.dtype).max)
    early = (tau < -1) & (s > 0)
    left = jnp.where(in_range, number((-begun_scale, -finite)), begun * (1 - share))  # -tau over exp(begun_scale)
    left = jnp.where(early, left, begun)

    def newton(carry: tuple[Numbers, Numbers, Numbers]) -> tuple[Numbers, Numbers, Numbers]:
        count, chi, _ = carry
        near = jnp.minimum(chi, 40.0)  # beyond, the integrand is 1/m to the last digit
        log_power_now = log_power(near, 1.0)
        side, (scale, value) = _from_bend(log_power_now / m, a, m)
        log_pace = s * log_power_now  # ln of dchi/dtau over m
        passed, pace = m * value * elementary.exp(scale + log_pace), elementary.exp(log_pace)
        sooner = -passed * elementary.log(elementary.exp(begun_scale - scale) * left / value)
        step = jnp.where(early, sooner, (m * tau - (chi - near)) * pace - side * passed)
        return count + 1, jnp.where(early, jnp.minimum(chi + step, (chi + bend) / 2), chi + step), step

    def moving(carry: tuple[Numbers, Numbers, Numbers]) -> Flags:
        count, chi, step = carry
        tiny = 4 * jnp.finfo(chi.dtype).eps * jnp.maximum(1.0, jnp.abs(chi))
        return (count < 60) & (jnp.abs(step) > tiny)

    tangent = bend + m * tau * elementary.exp(s * log_power(bend, 1.0))
    safe_s = jnp.where(s > 0, s, 1.0)
    power_law = -_log_sum(elementary.log(safe_s * m * left) + begun_scale, -s * bend) / safe_s
    zero = jnp.zeros_like(tau)
    first = jnp.where(early, jnp.maximum(power_law, tangent), tangent)
    return each_while(moving, newton, (zero, first, zero + jnp.inf))[1]


def _solve_decay(clock: _Clock, start: Numbers, log_r: Numbers, a: Numbers, m: Numbers) -> Numbers:
    """chi at some time after it is `start` at ln z = log_r > 0. Convex in chi, so Newton from the right is monotone."""
    s = (a - 1) / m

    def newton(carry: tuple[Numbers, Numbers, Numbers]) -> tuple[Numbers, Numbers, Numbers]:
        count, chi, _ = carry
        near = jnp.minimum(chi, jnp.maximum(start, 40.0))  # beyond, the integrand is 1/m to the last digit
        log_q = log_power(near, -1.0) / m
        scale, value = integral(log_q - log_r, log_q, a, m)
        passed = value * elementary.exp(scale + (a - 1) * log_q)
        step = m * (clock.over((1 - a) * log_q) - passed) - (chi - near)
        return count + 1, jnp.maximum(chi + step, start), step

    def moving(carry: tuple[Numbers, Numbers, Numbers]) -> Flags:
        count, chi, step = carry
        return (count < 60) & (jnp.abs(step) > 4 * jnp.finfo(chi.dtype).eps * chi)

    # Two upper bounds: from 1/(1-y) >= 1 in the integrand, y = z^-m, and from where (1 - e^-chi)^s >= 1/2.
    passed = elementary.log((s + 1) * m) + clock.log_k + elementary.log(clock.flow)
    log_y = _log_sum(passed, -(s + 1) * m * log_r) / (s + 1)
    slow = -elementary.log1p(-elementary.exp(jnp.minimum(log_y, 0.0)))
    fast = jnp.maximum(start, _bend(a, m) + math.log(2)) + 2 * m * clock.over(0.0)
    zero = jnp.zeros_like(log_r)
    return each_while(moving, newton, (zero, jnp.minimum(slow, fast), zero + jnp.inf))[1]


def _chi_start(log_r: Numbers, m: Numbers) -> Numbers:
    """chi of z = r; a large number at the rest point."""
    # With y = z^m above it, y = 1 / (1 - e^-chi) and chi = ln(y / (y - 1)) are the same function of each other.
    return jnp.minimum(m * log_r, 0.0) + log_power(m * jnp.abs(log_r), -1.0)


def _chi(log_r: Numbers, clock: _Clock, a: Numbers, m: Numbers) -> Numbers:
    """chi at some time after a start at z = r."""
    grows, decays = log_r < 0, (log_r > 0) & (clock.flow > 0)
    growth = _solve_growth(clock, jnp.where(grows, log_r, -1.0), a, m)
    waits = _Clock(clock.log_k, jnp.where(decays, clock.flow, 0.0))
    start = jnp.where(decays, _chi_start(log_r, m), math.log(2))
    return jnp.where(grows, growth, _solve_decay(waits, start, jnp.where(decays, log_r, math.log(2) / m), a, m))


def _between(log_r: Numbers, delta: Numbers, a: Numbers, m: Numbers, decay: float) -> Numbers:
    """int_0^delta (z/r)^(1-a) e^(decay (x - delta)) dx with z at chi = chi(r) + x, over a short way."""
    start, side = _chi_start(log_r, m), -jnp.sign(log_r)

    def at(node: Numbers, weight: Numbers) -> Numbers:
        x = delta * (1 + node) / 2
        log_ratio = log_power(start + x, side) / m - log_r
        return weight * elementary.exp((1 - a) * log_ratio + decay * (x - delta))

    # Not by `lax.scan`: where reverse mode is differentiated again, JAX 0.10 loses `custom_jvp` inside of it.
    every = jax.vmap(at)(jnp.asarray(NODES, delta.dtype), jnp.asarray(WEIGHTS, delta.dtype))
    return delta / 2 * every.sum(axis=0)


def _is_near(log_r: Numbers, log_q: Numbers, delta: Numbers, a: Numbers, m: Numbers) -> Flags:
    """Whether the way from r to q is so short that `_between` has all its digits."""
    return jnp.maximum(jnp.abs(delta), (a - 1 + m) * jnp.abs(log_q - log_r)) < 0.25


class _Way(NamedTuple):
    """Where a start at z = r is after some time."""

    chi: Numbers  # of which only the value counts
    log_q: Numbers  # ln z
    delta: Numbers  # chi less that of the start, to its last digit; at the rest point m tau, the limit next to it


@jax.custom_jvp
def _way(log_r: Numbers, clock: _Clock, a: Numbers, m: Numbers) -> _Way:
    chi = _chi(log_r, clock, a, m)
    start, side, rests = _chi_start(log_r, m), -jnp.sign(log_r), log_r == 0
    first = m * clock.over((1 - a) * log_r)  # as if it went on as it starts
    rough = jnp.where(rests, first, chi - start)
    near = _is_near(log_r, log_power(start + rough, side) / m, rough, a, m)
    bend = jnp.maximum(1.0, ((a - 1) / m + 1) * jnp.abs(elementary.expm1(m * log_r)))
    guess = jnp.where(first * bend < 1e-7, first, rough)
    slope = elementary.exp((1 - a) * (log_power(start + guess, side) / m - log_r))
    polished = guess + (first - _between(log_r, guess, a, m, 0.0)) / slope
    delta = jnp.where(near, polished, rough)
    return _Way(chi, log_power(start + delta, side) / m, delta)


@_way.defjvp
def _way_jvp(primals: tuple, tangents: tuple) -> tuple[_Way, _Way]:
    (log_r, clock, a, m), (d_log_r, d_clock, _, _) = primals, tangents
    way = _way(log_r, clock, a, m)
    d, rests = way.log_q - log_r, log_r == 0
    d_tau = number((clock.log_k + (a - 1) * way.log_q, clock.flow * d_clock.log_k + d_clock.flow))  # times q^(a-1)
    gap = -jnp.sign(log_r) * _gap(log_r, way, m)
    kept = elementary.expm1((a - 1) * d) / -elementary.expm1(m * jnp.where(rests, 1.0, log_r))
    kept = jnp.where(rests, (a - 1) / m * -elementary.expm1(-way.delta), kept)
    d_log_q = elementary.exp((a - 1 + m) * d - way.delta) * d_log_r + gap * d_tau
    return way, _Way(jnp.zeros_like(d), d_log_q, m * (d_tau + kept * d_log_r))


def _gap(log_r: Numbers, way: _Way, m: Numbers) -> Numbers:
    """|1 - q^m|, of which little is left at rest: there as exp(-chi) q^m, or from its value at a start next to rest."""
    _, log_q, delta = way
    close = m * jnp.abs(log_r) < 0.7
    start = jnp.where(close, log_r, 0.0)
    from_start = jnp.abs(elementary.expm1(m * start)) * elementary.exp(m * (log_q - start) - delta)
    at_rest = elementary.exp(m * log_q - _chi_start(jnp.where(close, -1.0, log_r), m) - delta)
    resting = jnp.where(close, from_start, at_rest)
    return jnp.where(m * jnp.abs(log_q) < 0.7, resting, jnp.abs(elementary.expm1(m * log_q)))


def _per_log_rho(log_r: Numbers, way: _Way, gap: Numbers, clock: _Clock, point: Point) -> Numbers:
    """d ln w / d ln rho: with M = int_r^q z^(m-a) / (1 - z^m)^2 dz it is L q^(a-1) (1 - q^m) M, which is positive.

    Next to the start M is an integral over a short way in chi. Elsewhere it is integrated by parts, so that of
    what is subtracted a share of 1 / (2L) is left at least.
    """
    a, m, grows = point.a, point.m, log_r < 0
    _, log_q, delta = way
    d = log_q - log_r
    near = (a - 1) * d + m * log_q, _between(log_r, delta, a, m, 1.0)
    below = jnp.minimum(log_q, -jnp.finfo(log_q.dtype).tiny)  # at rest the integral is infinite, but not times the gap
    scale, value = integral(jnp.where(grows, d, 0.0), below, a - m, m)
    rest = jnp.where(grows, m * log_q, 0.0)
    start = (a - 1) * d - delta + jnp.where(grows, m * log_q, m * d)
    between = jnp.where(grows, (a - 1) * log_q + scale, 0.0)
    unit = lax.stop_gradient(jnp.maximum(jnp.maximum(rest, start), between))
    ends = elementary.exp(rest - unit) - elementary.exp(start - unit)
    passed = jnp.where(grows, value, -clock.over((1 - a) * log_q)) * elementary.exp(between - unit)
    far = unit, ends + (a - 1) * gap * passed
    is_near = _is_near(log_r, log_q, delta, a, m)
    return point.L / m * number((jnp.where(is_near, near[0], far[0]), jnp.where(is_near, near[1], far[1])))


def _start(point: Point) -> Numbers:
    """ln r = ln(eps/w*) / L."""
    return (elementary.log(point.eps) - log_fixed_point(point)) / point.L


def _response(point: Point, log_r: Numbers, time: Numbers, chi: Numbers) -> Numbers:
    """w where it is at chi after this time."""
    w = elementary.exp(log_fixed_point(point) + point.L / point.m * log_power(chi, -jnp.sign(log_r)))
    w = jnp.where((time == 0) | (log_r == 0), point.eps, w)
    known = (time >= 0) & (point.lam > 0) & (point.rho > 0) & ~jnp.isnan(chi)
    return jnp.where(known, w, jnp.nan)


@jax.custom_jvp
def trajectory(point: Point, time: Numbers) -> Numbers:
    """w(T) from w(0) = eps, for paper times T >= 0; the inverse of `critical_time`.

    NaN for T < 0 and for lam <= 0. Differentiable in lam, rho, eps and T.
    """
    log_r, clock = _start(point), _Clock(log_rate(point), time / point.L)
    return _response(point, log_r, time, _chi(log_r, clock, point.a, point.m))


def _trajectory_jvp(primals: tuple[Point, Numbers], tangents: tuple) -> tuple[Numbers, Numbers]:
    (point, time), (d_point, d_time) = primals, tangents
    a, m, log_r = point.a, point.m, _start(point)
    clock = _Clock(log_rate(point), time / point.L)
    way = _way(log_r, clock, a, m)
    log_w, gap = log_fixed_point(point) + point.L * way.log_q, _gap(log_r, way, m)
    w = lax.stop_gradient(_response(point, log_r, time, way.chi))
    w = w * elementary.exp(log_w - lax.stop_gradient(log_w))  # once more differentiable, but the same number

    moving = log_rate(point) + (a - 1) * way.log_q, -jnp.sign(log_r) * w * gap  # dw/dT

    def per_lam() -> Numbers:
        """dw/dT T / lam."""
        (exponent, value), starts = moving, time == 0
        exponent = exponent + elementary.log(jnp.where(starts, 1.0, time)) - elementary.log(point.lam)
        return number((exponent, value * jnp.where(starts, time, 1.0)))

    slopes = {
        "lam": per_lam,
        "rho": lambda: w / point.rho * _per_log_rho(log_r, way, gap, clock, point),
        "eps": lambda: w / point.eps * elementary.exp((a - 1 + m) * (way.log_q - log_r) - way.delta),
        "time": lambda: number(moving),
    }
    return w, along(slopes, {**d_point._asdict(), "time": d_time}, w)


trajectory.defjvp(_trajectory_jvp, symbolic_zeros=True)


def conditioned(point: Point, time: Numbers) -> tuple[Numbers, Numbers]:
    """w(T), and its condition |d ln w / d ln T|: how many relative errors in w one relative error in T makes."""
    w = trajectory(point, time)
    return w, jnp.abs(time * growth_rate(point, elementary.log(w) - log_fixed_point(point)))
