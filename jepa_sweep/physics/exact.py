r"""Theorems 4.3 to 4.6 for one feature: implicit solutions and critical times.

With `z = (w/w*)^(1/L)`, both objectives obey one law, `dz/dtau = z^a (1 - z^m)` in units
`tau = (k/L) T`, `k = lam rho^((a-1)/m)`, with rest point `w* = rho^(L/m)`:

| objective | a  | m     |
|-----------|----|-------|
| JEPA      | 2L | 1     |
| MAE       | L  | L + 1 |

so everything here follows from the one integral `I(r, q) = int_r^q dz / (z^a (1 - z^m))`. Times are paper
times `T = L t`, from Littwin et al. 2024, arXiv 2407.03475. `L`, `a` and `m` are traced numbers with integer
values: one compile serves every depth. Every function takes one point, or arrays of points of one shape, which are
traced faster than by `vmap`.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jepa_sweep.physics import elementary
from jepa_sweep.physics.dynamics import Codes, Flags, Numbers
from jepa_sweep.physics.host import Status

# Loops run in blocks: every turn of a loop reads and writes whole batches, and all rows wait for the last.
BLOCK = 7  # powers of z
PAIRS = 4  # roots of unity

SINE = (  # sin(pi x) / x in x^2, to the last digit for |x| <= 1/2; XLA's own is a call for every number on processors
    3.141592653589793, -5.167712780049969, 2.550164039877294, -0.5992645293187382, 0.0821458865698926,
    -0.007370430478762461, 0.0004662996887731736, -2.1903185420805378e-05, 7.69472732830679e-07,
)  # fmt: skip


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
    high = jnp.maximum(chi, jnp.finfo(chi.dtype).tiny)
    above = jnp.where(high < 0.7, -elementary.log(-elementary.expm1(-high)), -elementary.log1p(-elementary.exp(-high)))
    return jnp.where(side > 0, below, above)


def each_while(going: Callable[[Any], Flags], turn: Callable[[Any], Any], start: Any) -> Any:
    """`lax.while_loop` for each element of arrays: those that are done wait as they are for the others."""

    def turn_or_wait(carry: Any) -> Any:
        goes = going(carry)
        return jax.tree.map(lambda new, old: jnp.where(goes, new, old), turn(carry), carry)

    return lax.while_loop(lambda carry: jnp.any(going(carry)), turn_or_wait, start)


def _where_any(needed: Flags, function: Callable[[Numbers], Numbers], x: Numbers, otherwise: Numbers) -> Numbers:
    """function(x) where needed, else otherwise; unlike with `jnp.where`, a batch without such rows pays nothing for it.

    A loop of one turn, and x is what it carries, because XLA computes all that does not depend on that before the loop.
    """

    def once(carry: tuple[Flags, Numbers]) -> tuple[Flags, Numbers]:
        return jnp.zeros_like(needed), function(carry[1])

    return jnp.where(needed, each_while(lambda carry: carry[0], once, (needed, x))[1], otherwise)


def start_to_threshold(point: Point, p: Numbers) -> Numbers:
    """d = ln(q/r) = (1/L) ln(p w*/eps), without cancellation where the start is close to the threshold."""
    far = (elementary.log(p) - elementary.log(point.eps)) / point.L + elementary.log(point.rho) / point.m

    def near(rho: Numbers) -> Numbers:
        target = p * fixed_point(point._replace(rho=rho))
        return elementary.log1p((target - point.eps) / point.eps) / point.L

    return _where_any(jnp.abs(far) * point.L < 0.5, near, point.rho, far)


def _lowest_power(a: Numbers, m: Numbers) -> Numbers:
    """The smallest n >= 0 among a-1, a-1-m, a-1-2m, ...; where it is 0, the integral has a logarithm ln(q/r)."""
    return a - 1 - m * jnp.floor((a - 1) / m)


def _powers(log_r: Numbers, d: Numbers, a: Numbers, m: Numbers) -> Numbers:
    """sum_n r^(a-1-n) (1 - e^(-n d)) / n over n = a-1, a-1-m, a-1-2m, ... > 0.

    Horner's scheme in blocks: products grow a rounding at each term, so every block starts from exponentials anew.
    """
    top, lowest = a - 1, _lowest_power(a, m)
    ratio, step = elementary.exp(m * log_r), -elementary.expm1(-m * d)

    def block(carry: tuple[Numbers, Numbers]) -> tuple[Numbers, Numbers]:
        n, total = carry
        part, left = jnp.zeros_like(total), -elementary.expm1(-n * d)  # 1 - e^(-n d), then a sum of positive terms
        for _ in range(BLOCK):
            part = jnp.where(n < top, part * ratio + left / n, part)
            n, left = n + m, left + step * (1 - left)
        return n, total + elementary.exp(jnp.maximum(top - (n - m), m) * log_r) * part

    first = -elementary.expm1(-top * d) / jnp.maximum(top, 1.0)  # the only one for MAE
    start = jnp.where(lowest > 0, lowest, m)
    return first + each_while(lambda carry: carry[0] < top, block, (start, jnp.zeros_like(d)))[1]


def _circle(turns: Numbers) -> tuple[Numbers, Numbers]:
    """1 - cos and sin of 2 pi turns, for |turns| <= 1/2, where a polynomial of sin(pi x) is all they need."""

    def sine(x: Numbers) -> Numbers:
        total = jnp.full_like(x, SINE[-1])
        for c in SINE[-2::-1]:
            total = total * (x * x) + c
        return total * x

    sin_half, cos_half = sine(turns), sine(0.5 - jnp.abs(turns))
    return 2 * sin_half * sin_half, 2 * sin_half * cos_half


def _logarithms(d: Numbers, log_q: Numbers, a: Numbers, m: Numbers) -> Numbers:
    """int_r^q z^(m-1-lowest) / (1 - z^m) dz by the m-th roots of unity, with the lowest power, for r = q exp(-d)."""
    q, below_q = elementary.exp(log_q), -elementary.expm1(log_q)  # below_x = 1 - x
    gap = -q * elementary.expm1(-d)  # q - r

    def other_roots(log_r: Numbers) -> Numbers:
        lowest, inverse = _lowest_power(a, m), 1 / m
        r, below_r = elementary.exp(log_r), -elementary.expm1(log_r)

        def pairs(carry: tuple[Numbers, Numbers]) -> tuple[Numbers, Numbers]:  # exp(+-i theta), theta = 2 pi j / m
            j, total = carry
            for _ in range(PAIRS):
                j = j + 1
                versed, sin = _circle(j * inverse)
                log = elementary.log1p(gap * (2 * versed - below_q - below_r) / (below_r * below_r + 2 * r * versed))
                angle = elementary.arctan(gap * sin / (below_q * below_r + (q + r) * versed))
                turned = lowest * j
                turned_versed, turned_sin = _circle((turned - m * jnp.round(turned * inverse)) * inverse)
                once = jnp.clip((m + 1) / 2 - j, 0.0, 1.0)  # the root -1 is half a pair
                term = -2 * turned_sin * angle - (1 - turned_versed) * log
                total = total + jnp.where(once > 0, once * term, 0.0)
            return j, total

        zero = jnp.zeros_like(log_r)
        return each_while(lambda carry: 2 * carry[0] + 1 < m, pairs, (zero, zero))[1]

    roots = _where_any(m > 1, other_roots, log_q - d, jnp.zeros_like(log_q))  # JEPA has none but 1
    return (elementary.log1p(gap / below_q) + roots) / m


def _tail(log_q: Numbers, width: Numbers, n: Numbers, m: Numbers) -> Numbers:
    """sum of q^(n_0-n) (1 - e^(-n width)) / n over n = n_0, n_0 + m, ...: the integral beyond 1, in powers of 1/z."""

    def term(carry: tuple[Numbers, Numbers, Numbers]) -> tuple[Numbers, Numbers, Numbers]:
        k, total, _ = carry
        new = elementary.exp(-k * log_q) * -elementary.expm1(-(n + k) * width) / (n + k)
        return k + m, total + new, new

    def unconverged(carry: tuple[Numbers, Numbers, Numbers]) -> Flags:
        _, total, last = carry
        return last > jnp.finfo(total.dtype).eps * 1e-2 * total

    zero = jnp.zeros_like(log_q)
    return each_while(unconverged, term, (zero, zero, jnp.where(width > 0, jnp.inf, 0.0)))[1]


@jax.jit  # traced once, however often a prediction asks for it
def integral(d: Numbers, log_q: Numbers, a: Numbers, m: Numbers) -> tuple[Numbers, Numbers]:
    """I(r, q) as a pair (scale, value) with I = exp(scale) value, for r = q exp(-d) on the same side of 1 as q.

    `z^-a / (1 - z^m)` splits into powers of z and partial fractions over the roots of unity. Every term is
    written as a function of the difference `d`, so none cancels, and the scale keeps large depths and small
    starts from overflowing. Far above 1 (d < 0) those terms would cancel to nothing: there a series in 1/z.
    """
    top = a + m - 1
    split = 1 / top  # of ln z; where z^-top has fallen to 1/e
    far = log_q > split

    def beyond(log_q: Numbers) -> Numbers:
        start = jnp.maximum(log_q, split)
        return _tail(start, log_q - d - start, top, m)

    tail = _where_any(log_q - d > jnp.maximum(log_q, split), beyond, log_q, jnp.zeros_like(log_q))
    near_d, near_q = jnp.where(far, 0.0, jnp.maximum(d, log_q - split)), jnp.minimum(log_q, split)
    log_r = near_q - near_d
    scale, unscaled = (1 - a) * log_r, elementary.exp((a - 1) * log_r)
    ratio = jnp.where(_lowest_power(a, m) == 0, near_d, 0.0)  # ln(q/r), the power n = 0
    near = _powers(log_r, near_d, a, m) + unscaled * (ratio + _logarithms(near_d, near_q, a, m))
    return (
        jnp.where(far, -top * log_q, scale),
        near + jnp.where(far, 1.0, math.exp(-1) * unscaled) * tail,
    )


def _scaled_time(point: Point, p: Numbers) -> tuple[Numbers, Numbers]:
    """T as (exponent, value), T = (L/lam) exp(exponent) value; NaN where there is no crossing."""
    crosses = has_crossing(point, p)
    d = jnp.where(crosses, start_to_threshold(point, p), 0.0)  # elsewhere an empty interval, without a tail
    scale, value = integral(d, elementary.log(p) / point.L, point.a, point.m)
    # Below the rest point exp(scale) = r^(1-a), in which rho cancels against that of k.
    below = (1 - point.a) / point.L * elementary.log(point.eps)
    exponent = jnp.where(p < 1, below, scale - (point.a - 1) / point.m * elementary.log(point.rho))
    return exponent, jnp.where(crosses, value, jnp.nan)


def _time(point: Point, exponent: Numbers, value: Numbers) -> Numbers:
    half = elementary.exp(exponent / 2)  # twice, so that a large lam can bring a large power back into range
    return point.L / point.lam * half * value * half


def _log_time(point: Point, exponent: Numbers, value: Numbers) -> Numbers:
    return elementary.log(point.L / point.lam) + exponent + elementary.log(value)


def has_crossing(point: Point, p: Numbers) -> Flags:
    """True for growth to 0 < p < 1 from below the threshold, and for decay to p > 1 from above it."""
    d = start_to_threshold(point, p)
    return (point.lam > 0) & (point.rho > 0) & (((p > 0) & (p < 1) & (d > 0)) | ((p > 1) & (d < 0)))


@jax.custom_jvp
def critical_time(point: Point, p: Numbers) -> Numbers:
    """T(p) = (L/k) I(r, q): the paper time at which w(T) = p w*; Theorems 4.3 and 4.5.

    NaN without a crossing, inf beyond the largest float. Differentiable in lam, rho, eps and p (not in L,
    which takes integer values): the derivatives are closed forms, from dT = dw / (dw/dT) at both ends.
    """
    return _time(point, *_scaled_time(point, p))


@critical_time.defjvp
def _critical_time_jvp(primals: tuple[Point, Numbers], tangents: tuple[Point, Numbers]) -> tuple[Numbers, Numbers]:
    (point, p), (d_point, d_p) = primals, tangents
    time = critical_time(point, p)
    at_start = 1 / growth_rate(point, elementary.log(point.eps) - log_fixed_point(point))  # dT / d ln w
    at_end = 1 / growth_rate(point, elementary.log(p))
    per_log_rho = point.L * at_start / point.m - (point.a - 1) / point.m * time
    tangent = (
        at_end * d_p / p
        - at_start * d_point.eps / point.eps
        - time * d_point.lam / point.lam
        + per_log_rho * d_point.rho / point.rho
    )
    return time, tangent


def log_critical_time(point: Point, p: Numbers) -> Numbers:
    """ln T(p), finite even where T itself overflows."""
    return _log_time(point, *_scaled_time(point, p))


def _differentiable(function: Callable[..., Numbers]) -> Callable[..., Numbers]:
    """Reverse mode for a function of (point, p...) with loops: its few partial derivatives, each by forward mode."""
    wrapped = jax.custom_jvp(function)

    @wrapped.defjvp
    def rule(primals: tuple, tangents: tuple) -> tuple[Numbers, Numbers]:
        (point, *rest), (d_point, *d_rest) = primals, tangents

        def partial(part: Callable[..., Numbers], value: Numbers) -> Numbers:
            return jax.jvp(part, (value,), (jnp.ones_like(value),))[1]

        total = jnp.zeros_like(point.eps)
        for name in ("lam", "rho", "eps"):  # L, a and m take whole numbers

            def moved(value: Numbers, name: str = name) -> Numbers:
                return function(point._replace(**{name: value}), *rest)

            total = total + partial(moved, getattr(point, name)) * getattr(d_point, name)
        for p, d_p in zip(rest, d_rest, strict=True):
            total = total + partial(lambda value: function(point, value), p) * d_p
        return function(point, *rest), total

    return functools.wraps(function)(wrapped)


def _leading_powers(log_x: Numbers, log_y: Numbers, a: Numbers, m: Numbers) -> Numbers:
    """sum_k x^n y^k / n over n = a-1-mk > 0."""

    def block(carry: tuple[Numbers, Numbers]) -> tuple[Numbers, Numbers]:
        k, total = carry
        for _ in range(BLOCK):
            n = a - 1 - m * k
            total = total + jnp.where(n > 0, elementary.exp(n * log_x + k * log_y) / jnp.maximum(n, 1.0), 0.0)
            k = k + 1
        return k, total

    zero = jnp.zeros_like(log_x)
    return each_while(lambda carry: a - 1 > m * carry[0], block, (zero, zero))[1]


@_differentiable
def leading_critical_time(point: Point) -> Numbers:
    """The paper's leading order for eps -> 0; Theorems 4.4 and 4.6.

    JEPA: (L/lam) sum_{n=1}^{2L-1} eps^(-n/L) / (n rho^(2L-1-n)). MAE: L / ((L-1) lam eps^((L-1)/L)), and
    |ln eps| / lam at L = 1. It is finite and positive even for a start above the threshold, where it is wrong.
    """
    log_eps = elementary.log(point.eps)
    # One term for each positive power of 1/z in the integral: 2L-1 of them for JEPA, one for MAE.
    powers = _leading_powers(-log_eps / point.L, -elementary.log(point.rho), point.a, point.m)
    return jnp.where(point.a == 1, -log_eps / point.lam, point.L / point.lam * powers)


@_differentiable
def asymptotic_critical_time(point: Point, p: Numbers) -> Numbers:
    """The leading order plus its logarithm and constant: relative error O(eps^(a/L)) or smaller.

    JEPA: + |ln eps| / k + (L/k) (ln rho + F(q)), F(q) = ln(q/(1-q)) - sum_n q^-n / n. MAE: + (L/k) c_L(p).
    """
    a, m, log_q = point.a, point.m, elementary.log(p) / point.L
    zero = jnp.zeros_like(log_q)
    # ln(q/r) is a term of the integral only when some power n is 0; it brings |ln eps| and ln rho.
    log_r = elementary.log(point.eps) / point.L - elementary.log(point.rho) / m
    logarithm = jnp.where(_lowest_power(a, m) == 0, log_q - log_r, 0.0)
    constant = _logarithms(zero + jnp.inf, log_q, a, m) - _leading_powers(-log_q, zero, a, m)
    leading = jnp.where(a == 1, 0.0, leading_critical_time(point))
    time = leading + point.L * elementary.exp(-log_rate(point)) * (logarithm + constant)
    return jnp.where(has_crossing(point, p) & (p < 1), time, jnp.nan)


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
    times = _time(each, exponents, values)
    found = {
        "t_exact": lambda: times[0],
        "t_leading": lambda: leading_critical_time(point),
        "t_asymptotic": lambda: asymptotic_critical_time(point, p),
        "t_inflection": lambda: times[-1],
        "log_t_exact": lambda: _log_time(point, exponents[0], values[0]),
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
    """The same, and OVERFLOW where T(p) is beyond the largest number."""
    answer = prospect(point, p)
    too_late = log_critical_time(point, p) > math.log(float(jnp.finfo(point.eps.dtype).max))
    return jnp.where((answer == Status.LEARNED) & too_late, Status.OVERFLOW, answer)
