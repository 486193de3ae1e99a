"""Rounding to 15 significant digits, as writing a number and reading it back does, a million of them at a time."""

import numpy as np

_TENS = np.array([float(10**k) for k in range(23)])  # larger powers of ten are no floats
_UNSURE = 1e-3  # from half a unit of the last digit; what is left out below is 1e-16 of a unit


def rounded(values: np.ndarray) -> np.ndarray:
    """Each value as `float(f"{value:.15g}")` has it, bit for bit.

    A value is `digits / 10**k`, both of them exact floats, so that their quotient is the float closest to it. `digits`
    is the whole number closest to the exact product of value and 10**k; where rounding could fall either way, or k is
    not among 0 to 22, the value is written and read.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        k = 14 - np.floor(np.log10(np.abs(values)))
    small = np.flatnonzero((k >= 0) & (k < len(_TENS)))
    tens = _TENS[k[small].astype(int)]
    product, missing = _exactly(values[small], tens)
    digits = np.rint(product)
    off = (product - digits) + missing
    digits, off = digits + np.rint(off), off - np.rint(off)
    sure = (np.abs(off) < 0.5 - _UNSURE) & (np.abs(digits) > 1e14) & (np.abs(digits) < 1e15)
    found, known = np.empty(len(values)), np.zeros(len(values), dtype=bool)
    found[small], known[small] = digits / tens, sure
    found[~known] = [float(f"{value:.15g}") for value in values[~known].tolist()]
    return found


def _exactly(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The product of two floats as a sum of two, without error (Dekker 1971)."""
    (a1, a2), (b1, b2), product = _halves(a), _halves(b), a * b
    return product, a2 * b2 - (((product - a1 * b1) - a2 * b1) - a1 * b2)


def _halves(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A float as a sum of two of half as many bits."""
    large = (2.0**27 + 1) * a
    high = large - (large - a)
    return high, a - high
