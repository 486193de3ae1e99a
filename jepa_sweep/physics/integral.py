"""I(r, q) = int_r^q dz / (z^a (1 - z^m)), from which all times follow, without cancellation."""

import math

import jax
import jax.numpy as jnp

from jepa_sweep.physics import elementary
from jepa_sweep.physics.dynamics import Flags, Numbers
from jepa_sweep.physics.loops import each_while, where_any

Scaled = tuple[Numbers, Numbers]  # (exponent, value): the number exp(exponent) value

# Loops run in blocks: every turn of a loop reads and writes whole batches, and all rows wait for the last.
BLOCK = 7  # powers of z
PAIRS = 4  # roots of unity

SINE = (  # sin(pi x) / x in x^2, to the last digit for |x| <= 1/2; XLA's own is a call for every number on processors
    3.141592653589793, -5.167712780049969, 2.550164039877294, -0.5992645293187382, 0.0821458865698926,
    -0.007370430478762461, 0.0004662996887731736, -2.1903185420805378e-05, 7.69472732830679e-07,
)  # fmt: skip


def _lowest_power(a: Numbers, m: Numbers) -> Numbers:
    """The smallest n >= 0 among a-1, a-1-m, a-1-2m, ...; where it is 0, the integral has a logarithm ln(q/r)."""
    return a - 1 - m * jnp.floor((a - 1) / m)


def _powers(log_r: Numbers, d: Numbers, a: Numbers, m: Numbers) -> Numbers:
    """sum_n r^(a-1-n) (1 - e^(-n d)) / n over n = a-1, a-1-m, a-1-2m, ... > 0; 0 where there is none.

    Horner's scheme in blocks: products grow a rounding at each term, so every block starts from exponentials anew.
    """
    top, lowest = jnp.maximum(a - 1, 0.0), _lowest_power(a, m)
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

    roots = where_any(m > 1, other_roots, log_q - d, jnp.zeros_like(log_q))  # JEPA has none but 1
    return (elementary.log1p(gap / below_q) + roots) / m


def _tail(log_q: Numbers, width: Numbers, n: Numbers, m: Numbers) -> Numbers:
    """sum of q^(n_0-n) (1 - e^(-n width)) / n over n = n_0, n_0 + m, ...: the integral beyond 1, in powers of 1/z.

    With 1/q for q it is the integral before 1, in powers of z, if all of them are positive.
    """

    def term(carry: tuple[Numbers, Numbers, Numbers]) -> tuple[Numbers, Numbers, Numbers]:
        k, total, _ = carry
        new = elementary.exp(-k * log_q) * -elementary.expm1(-(n + k) * width) / (n + k)
        return k + m, total + new, new

    def unconverged(carry: tuple[Numbers, Numbers, Numbers]) -> Flags:
        _, total, last = carry
        return last > jnp.finfo(total.dtype).eps * 1e-2 * total

    zero = jnp.zeros_like(log_q)
    return each_while(unconverged, term, (zero, zero, jnp.where(width > 0, jnp.inf, 0.0)))[1]


def _is_early(log_q: Numbers, a: Numbers, m: Numbers) -> Flags:
    """Whether I is a series of positive powers of z, and better summed as one: partial fractions cancel there."""
    return (a < 1) & (m * log_q < -1)


def _scale(d: Numbers, log_q: Numbers, a: Numbers, m: Numbers) -> Numbers:
    """ln of the unit of `integral`: z^(1-a) where it is largest, or z^(1-a-m) beyond `split`."""
    top, split = a + m - 1, 1 / (a + m - 1)
    below = -jnp.maximum(a - 1, 0.0) * jnp.minimum(log_q - d, split)
    below = jnp.where(_is_early(log_q, a, m), (1 - a) * log_q, below)
    return jnp.where(log_q > split, -top * log_q, below)


def until_rest(d: Numbers, gone: Numbers, log_q: Numbers, a: Numbers, m: Numbers) -> Numbers:
    """The value of `integral` where q is next to the rest point or below it, by powers of z and partial fractions.

    The fractions, which are finite at z = 0, are integrated from q exp(-gone): `gone` is d for the integral itself,
    and infinity for what it tends to when r does to 0.
    """
    log_r = log_q - d
    ratio = jnp.where((_lowest_power(a, m) == 0) & (a >= 1), d, 0.0)  # ln(q/r), the power n = 0
    unscaled = elementary.exp(jnp.maximum(a - 1, 0.0) * log_r)
    return _powers(log_r, d, a, m) + unscaled * (ratio + _logarithms(gone, log_q, a, m))


@jax.custom_jvp
@jax.jit  # traced once, however often a prediction asks for it
def integral(d: Numbers, log_q: Numbers, a: Numbers, m: Numbers) -> Scaled:
    """I(r, q) as a pair (scale, value) with I = exp(scale) value, for r = q exp(-d) on the same side of 1 as q.

    `z^-a / (1 - z^m)` splits into powers of z and partial fractions over the roots of unity. Every term is
    written as a function of the difference `d`, so none cancels, and the scale keeps large depths and small
    starts from overflowing. Far above 1 (d < 0) those terms would cancel to nothing: there a series in 1/z.
    Below 1, a may be any whole number above -m; small q^m is then such a case, too.
    """
    top = a + m - 1
    split = 1 / top  # of ln z; where z^-top has fallen to 1/e
    far, early, scale = log_q > split, _is_early(log_q, a, m), _scale(d, log_q, a, m)

    def beyond(log_q: Numbers) -> Numbers:
        start = jnp.maximum(log_q, split)
        width = jnp.where(early, d, -d - (start - log_q))
        return _tail(jnp.where(early, -log_q, start), width, jnp.where(early, 1 - a, top), m)

    tail = where_any(early | (-d > jnp.maximum(split - log_q, 0.0)), beyond, log_q, jnp.zeros_like(log_q))
    near_d, near_q = jnp.where(far, 0.0, jnp.maximum(d, log_q - split)), jnp.minimum(log_q, split)
    near = until_rest(near_d, near_d, near_q, a, m)
    value = near + jnp.where(far, 1.0, math.exp(-1) * elementary.exp(-scale)) * tail
    return scale, jnp.where(early, tail, value)


@integral.defjvp
def _integral_jvp(primals: tuple[Numbers, ...], tangents: tuple[Numbers, ...]) -> tuple[Scaled, Scaled]:
    (d, log_q, a, m), (d_d, d_log_q, _, _) = primals, tangents
    scale, value = integral(d, log_q, a, m)

    def slope(log_z: Numbers) -> Numbers:
        """dI / d ln z in units of the scale: z^(1-a) / (1 - z^m)."""
        exponent = (1 - a) * log_z - m * jnp.maximum(log_z, 0.0) - scale
        return jnp.sign(log_z) * elementary.exp(exponent) / elementary.expm1(-m * jnp.abs(log_z))

    at_r = slope(log_q - d)
    d_scale = jax.jvp(lambda d, log_q: _scale(d, log_q, a, m), (d, log_q), (d_d, d_log_q))[1]
    return (scale, value), (d_scale, (slope(log_q) - at_r) * d_log_q + at_r * d_d - value * d_scale)
