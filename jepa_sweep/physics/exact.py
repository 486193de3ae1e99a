r"""Theorems 4.3 and 4.5 for one feature: critical times in closed form, and how the search for one will end.

In the notation of `law`, `T(p) = (L/k) I(r, q)`, `I(r, q) = int_r^q dz / (z^a (1 - z^m))`, with `r = (eps/w*)^(1/L)`
and `q = p^(1/L)`. Every function takes one point, or arrays of points of one shape.
"""

import math

import jax
import jax.numpy as jnp

from jepa_sweep.physics import elementary
from jepa_sweep.physics.asymptotics import asymptotic_critical_time, leading_critical_time
from jepa_sweep.physics.dynamics import Codes, Numbers
from jepa_sweep.physics.host import Status
from jepa_sweep.physics.integral import Scaled, integral
from jepa_sweep.physics.law import Point, has_crossing, start_to_threshold
from jepa_sweep.physics.slopes import Slopes, differentiable, number, time_slopes


def _scaled_time(point: Point, p: Numbers) -> Scaled:
    """T in units of L / lam as (exponent, value); NaN where there is no crossing."""
    crosses = has_crossing(point, p)
    d = jnp.where(crosses, start_to_threshold(point, p), 0.0)  # elsewhere an empty interval, without a tail
    scale, value = integral(d, elementary.log(p) / point.L, point.a, point.m)
    # Below the rest point exp(scale) = r^(1-a), in which rho cancels against that of k.
    below = (1 - point.a) / point.L * elementary.log(point.eps)
    exponent = jnp.where(p < 1, below, scale - (point.a - 1) / point.m * elementary.log(point.rho))
    return exponent, jnp.where(crosses, value, jnp.nan)


def _time(point: Point, scaled: Scaled) -> Numbers:
    exponent, value = scaled
    return number((exponent, point.L / point.lam * value))


def _log_time(point: Point, scaled: Scaled) -> Numbers:
    exponent, value = scaled
    return elementary.log(point.L) - elementary.log(point.lam) + exponent + elementary.log(value)


def _slopes(time: Numbers, point: Point, p: Numbers) -> Slopes:
    unit = elementary.log(point.lam) - elementary.log(point.L), jnp.ones_like(p)
    return {"lam": lambda: -time / point.lam, **time_slopes(point, p, unit)}


def _log_slopes(log_time: Numbers, point: Point, p: Numbers) -> Slopes:
    del log_time
    return {"lam": lambda: -1 / point.lam, **time_slopes(point, p, _scaled_time(point, p))}


@differentiable(_slopes)
def critical_time(point: Point, p: Numbers) -> Numbers:
    """T(p) = (L/k) I(r, q): the paper time at which w(T) = p w*; Theorems 4.3 and 4.5.

    NaN without a crossing, inf beyond the largest float, 0 below the smallest. Differentiable in lam, rho, eps and p
    (not in L, which takes integer values).
    """
    return _time(point, _scaled_time(point, p))


@differentiable(_log_slopes)
def log_critical_time(point: Point, p: Numbers) -> Numbers:
    """ln T(p), finite even where T itself is out of range."""
    return _log_time(point, _scaled_time(point, p))


def inflection_fraction(point: Point) -> Numbers:
    """w/w* where dw/dT is largest: z^m = (a+L-1) / (a+L-1+m)."""
    top = point.a + point.L - 1
    return elementary.exp(point.L / point.m * elementary.log(top / (top + point.m)))


def inflection_time(point: Point) -> Numbers:
    """Paper time of fastest growth; NaN for a start beyond that point."""
    return critical_time(point, inflection_fraction(point))


def predictions(point: Point, p: Numbers, names: tuple[str, ...]) -> dict[str, Numbers]:
    """Times of the table `points` by name: `t_exact`, `t_leading`, `t_asymptotic`, `t_inflection`, `log_t_exact`.

    The integral stands in their program once, not for each fraction anew: there is less to compile.
    """
    fractions = [p, inflection_fraction(point)] if "t_inflection" in names else [p]
    each = jax.tree.map(lambda x: jnp.stack([x] * len(fractions)), point)
    exponents, values = _scaled_time(each, jnp.stack(fractions))
    times = _time(each, (exponents, values))
    found = {
        "t_exact": lambda: times[0],
        "t_leading": lambda: leading_critical_time(point),
        "t_asymptotic": lambda: asymptotic_critical_time(point, p),
        "t_inflection": lambda: times[-1],
        "log_t_exact": lambda: _log_time(point, (exponents[0], values[0])),
    }
    return {name: found[name]() for name in names}


def prospect(point: Point, p: Numbers) -> Codes:
    """The `Status` of the search for T(p), decided before any integration, however late T(p) may be."""
    below = point.L * start_to_threshold(point, jnp.ones_like(point.eps))  # ln(w* / eps)
    resting = jnp.abs(below) <= 4 * jnp.finfo(below.dtype).eps
    started_above = (p < 1) & (below > 0)
    missed = jnp.where(started_above, Status.ABOVE_THRESHOLD, Status.NOT_REACHED)
    answer = jnp.where(has_crossing(point, p), Status.LEARNED, missed)
    answer = jnp.where(resting, Status.AT_FIXED_POINT, answer)
    answer = jnp.where(point.lam < 0, Status.COLLAPSES, answer)
    return jnp.where(point.lam == 0, Status.NO_SIGNAL, answer)


def status(point: Point, p: Numbers) -> Codes:
    """The same, and OVERFLOW or UNDERFLOW where T(p) is beyond the largest number or below the smallest normal one."""
    answer, log_time, its = prospect(point, p), log_critical_time(point, p), jnp.finfo(point.eps.dtype)
    beyond = jnp.where(log_time > math.log(float(its.max)), Status.OVERFLOW, answer)
    beyond = jnp.where(log_time < math.log(float(its.tiny)), Status.UNDERFLOW, beyond)
    return jnp.where(answer == Status.LEARNED, beyond, answer)
