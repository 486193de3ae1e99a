"""Estimates from samples: second moments in one pass, their common basis, lam and rho with standard errors.

Plain NumPy in float64, block by block, so that data may be larger than memory. Everything is computed of x and y
divided by a power of two each, so that their largest values lie between 1/2 and 1: no square of them leaves the range
of floats, and data of any size have the same digits. `unscaled` multiplies the results back.

The theory asks for an orthogonal basis in which E[x x^T] and E[y x^T] are diagonal, because JEPA reads x and y through
one encoder. Real moments have no such basis exactly; `common_basis` is the one that brings both closest to it. The
eigenbasis of E[x x^T] alone would be arbitrary wherever two variances agree, though lam may still tell the two apart,
and eigenvectors of E[y x^T] against E[x x^T] would give eigenvalues rho but not be orthogonal.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jepa_sweep.physics.data import Moments

Block = Float[np.ndarray, "n d"]
Square = Float[np.ndarray, "d d"]

BATCHES = 64  # of consecutive pairs, whose means give the standard errors


class Sums(NamedTuple):
    """Sums of a first pass, about an origin near the mean so that centring loses no digits."""

    units: tuple[int, int]  # exponents of the powers of two that x and y are divided by
    pairs: int
    origin: tuple[np.ndarray, np.ndarray]
    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    yx: np.ndarray
    yy: np.ndarray


class Scaled(NamedTuple):
    """An estimate of x and y divided by powers of two, and their exponents."""

    units: tuple[int, int]
    estimate: "Estimate"


class Scatter(NamedTuple):
    """Sums of a second pass: for each batch and feature, deviations of x y and of x y - rho x^2."""

    pairs: int
    lam: np.ndarray
    rho: np.ndarray


class Estimate(NamedTuple):
    """Features estimated from pairs of samples, in the order of falling lam.

    Attributes:
        pairs: how many there are.
        mean_x: what was subtracted from x, shape (d,); zero where nothing was.
        mean_y: the same of y.
        moments: xx, yx and yy, each (d, d), in the basis of the data.
        basis: orthogonal, shape (d, d); column i is feature i. `x @ basis` are the features of x.
        lam: E[x_i y_i], shape (d,), like the next five.
        rho: lam / s2.
        s2: E[x_i^2].
        sy2: E[y_i^2].
        lam_error: standard error, from the means of batches of consecutive pairs, so that pairs may depend on their
            neighbours.
        rho_error: the same of rho.
        off_diagonal: mean square of the off-diagonal entries of U^T yx U, U the eigenbasis of xx.
        mixing: root mean square of the correlations between different features, x_a with x_b and y_a with x_b, from 0
            to 1. The theory of single features is exact at 0; chance alone gives independent pairs about pairs^(-1/2).
        asymmetry: |yx - yx^T| / 2 |yx|, from 0 (symmetric) to 1; what no orthogonal basis can make diagonal.
    """

    pairs: int
    mean_x: np.ndarray
    mean_y: np.ndarray
    moments: Moments
    basis: np.ndarray
    lam: np.ndarray
    rho: np.ndarray
    s2: np.ndarray
    sy2: np.ndarray
    lam_error: np.ndarray
    rho_error: np.ndarray
    off_diagonal: float
    mixing: float
    asymmetry: float

    def __repr__(self) -> str:
        return (
            f"Estimate({self.pairs:,} pairs of {len(self.lam)} features, lam {self.lam[-1]:.3g} to {self.lam[0]:.3g}, "
            f"rho {self.rho.min():.3g} to {self.rho.max():.3g}, mixing {self.mixing:.2g})"
        )


def add(sums: Sums | None, x: Block, y: Block) -> Sums:
    """Take one more block of pairs, each (n, d), into the sums; `None` is the empty sum."""
    units = _exponent(x), _exponent(y)
    if sums is not None:
        units = max(units[0], sums.units[0]), max(units[1], sums.units[1])
        sums = _in_units(sums, units)
    x, y = _divided(x, units[0]), _divided(y, units[1])
    if sums is None:
        d, origin = x.shape[1], (_middle(x), _middle(y))
        sums = Sums(units, 0, origin, np.zeros(d), np.zeros(d), np.zeros((d, d)), np.zeros((d, d)), np.zeros((d, d)))
    x, y = x - sums.origin[0], y - sums.origin[1]
    return Sums(
        units,
        sums.pairs + len(x),
        sums.origin,
        sums.x + x.sum(0),
        sums.y + y.sum(0),
        sums.xx + x.T @ x,
        sums.yx + y.T @ x,
        sums.yy + y.T @ y,
    )


def _exponent(values: Block) -> int:
    """Of the power of two just above the largest of the values; that of the smallest float where all are zero."""
    largest = float(np.max(np.abs(values), initial=0))
    return int(np.frexp(largest)[1]) if largest else -1074


def _divided(values: np.ndarray, exponent: int) -> np.ndarray:
    return np.ldexp(values, -exponent)


def _middle(values: Block) -> Float[np.ndarray, " d"]:
    """A value near those of each column: exactly theirs where they are all the same, so that it does not vary."""
    low, high = values.min(0), values.max(0)
    return np.where(low == high, low, values.mean(0))


def _in_units(sums: Sums, units: tuple[int, int]) -> Sums:
    """The same sums of x and y in larger units."""
    x, y = units[0] - sums.units[0], units[1] - sums.units[1]
    return Sums(
        units,
        sums.pairs,
        (_divided(sums.origin[0], x), _divided(sums.origin[1], y)),
        _divided(sums.x, x),
        _divided(sums.y, y),
        _divided(sums.xx, 2 * x),
        _divided(sums.yx, x + y),
        _divided(sums.yy, 2 * y),
    )


def finish(sums: Sums, *, center: bool = True) -> Scaled:
    """Moments and features from all blocks; standard errors are NaN until `with_errors` of a second pass."""
    n, (x0, y0) = sums.pairs, sums.origin
    dx, dy = sums.x / n, sums.y / n  # of the means, from the origin
    central = Moments(sums.xx / n - np.outer(dx, dx), sums.yx / n - np.outer(dy, dx), sums.yy / n - np.outer(dy, dy))
    x_mean, y_mean, found = x0 + dx, y0 + dy, central
    if not center:
        found = Moments(
            central.xx + np.outer(x_mean, x_mean),
            central.yx + np.outer(y_mean, x_mean),
            central.yy + np.outer(y_mean, y_mean),
        )
        x_mean, y_mean = np.zeros_like(x_mean), np.zeros_like(y_mean)
    xx, yx, yy = found
    # Off-diagonal entries of xx scatter in proportion to tr xx, those of yx to sqrt(tr xx tr yy): weigh both alike.
    units = np.trace(xx), np.sqrt(np.trace(xx) * np.trace(yy))
    basis = common_basis(xx / units[0], (yx + yx.T) / (2 * units[1])) if min(units) > 0 else np.eye(len(xx))
    basis = basis[:, np.argsort(-_diagonal(yx, basis), kind="stable")]
    basis *= np.where(basis.sum(0) < 0, -1, 1)  # an eigenvector's sign is arbitrary; choose one
    lam, s2, sy2 = (_diagonal(m, basis) for m in (yx, xx, yy))
    sy2 = np.maximum(sy2, 0)  # which rounding may have made negative
    blank = np.full(len(lam), np.nan)
    size = float(np.linalg.norm(yx))
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = Estimate(
            n, x_mean, y_mean, found, basis, lam, lam / s2, s2, sy2, blank, blank,
            off_diagonal(xx, yx),
            _mixing(basis.T @ xx @ basis, basis.T @ yx @ basis, s2, sy2),
            float(np.linalg.norm(yx - yx.T)) / (2 * size) if size else 0.0,
        )  # fmt: skip
    return Scaled(sums.units, estimate)


def add_scatter(scatter: Scatter | None, scaled: Scaled, x: Block, y: Block) -> Scatter:
    """Take one more block of the same pairs, in the same order, into the batches."""
    (x_unit, y_unit), estimate = scaled
    x, y = _divided(x, x_unit), _divided(y, y_unit)
    batches = min(BATCHES, estimate.pairs)
    if scatter is None:
        empty = np.zeros((batches, len(estimate.lam)))
        scatter = Scatter(0, empty, empty)
    x, y = (x - estimate.mean_x) @ estimate.basis, (y - estimate.mean_y) @ estimate.basis
    batch, first = np.unique((scatter.pairs + np.arange(len(x))) * batches // estimate.pairs, return_index=True)
    lam, rho = scatter.lam.copy(), scatter.rho.copy()
    lam[batch] += np.add.reduceat(x * y - estimate.lam, first)
    rho[batch] += np.add.reduceat(x * y - estimate.rho * x**2, first)
    return Scatter(scatter.pairs + len(x), lam, rho)


def with_errors(scaled: Scaled, scatter: Scatter) -> Scaled:
    """The estimate with its standard errors: Var = (B / (B-1)) sum_b (sum of the deviations in batch b)^2 / n^2.

    The basis is taken as known: its own error moves lam and rho at second order only.
    """
    estimate, batches = scaled.estimate, len(scatter.lam)
    spread = [_length(s) * np.sqrt(batches / (batches - 1)) / estimate.pairs for s in (scatter.lam, scatter.rho)]
    return scaled._replace(estimate=estimate._replace(lam_error=spread[0], rho_error=spread[1] / estimate.s2))


def _length(columns: Float[np.ndarray, "b d"]) -> Float[np.ndarray, " d"]:
    """Root of the sum of squares of each column, whose squares may be smaller than floats."""
    largest = np.max(np.abs(columns), 0)
    return largest * np.sqrt(np.sum((columns / np.where(largest, largest, 1)) ** 2, 0))


def unscaled(scaled: Scaled) -> tuple[Estimate, dict[str, int]]:
    """The estimate of x and y as they were given, and the order of magnitude of what floats cannot hold of it."""
    (x, y), found = scaled
    powers = {
        "lam": x + y, "rho": y - x, "lam_error": x + y, "rho_error": y - x, "mean_x": x, "mean_y": y,
        "s2": 2 * x, "sy2": 2 * y, "off_diagonal": 2 * (x + y),
        "moments.xx": 2 * x, "moments.yx": x + y, "moments.yy": 2 * y,
    }  # fmt: skip
    given: dict[str, Any] = {**found._asdict(), **{f"moments.{n}": m for n, m in found.moments._asdict().items()}}
    values, lost = dict[str, Any](), dict[str, int]()
    for name, power in powers.items():
        size = np.abs(given[name])
        with np.errstate(over="ignore", under="ignore"):
            values[name] = np.ldexp(given[name], power)
        digits = np.abs(values[name]) >= np.finfo(float).tiny
        digits |= size <= np.finfo(float).eps * size.max()  # of nothing but rounding
        if not name.startswith("mean") and not np.all(digits & np.isfinite(values[name])):
            lost[name] = round(np.log10(size.max()) + power * np.log10(2))
    moments = Moments(*(values.pop(f"moments.{name}") for name in Moments._fields))
    return found._replace(**values | {"moments": moments, "off_diagonal": float(values["off_diagonal"])}), lost


def off_diagonal(xx: Square, yx: Square) -> float:
    """Mean square of the off-diagonal entries of U^T yx U, U the eigenbasis of xx; 0 in one dimension."""
    basis = np.linalg.eigh(xx)[1]
    d = len(xx)
    return _off(basis.T @ yx @ basis) / max(1, d * (d - 1))


def _mixing(xx: Square, yx: Square, s2: Float[np.ndarray, " d"], sy2: Float[np.ndarray, " d"]) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        correlations = xx / np.sqrt(np.outer(s2, s2)), yx / np.sqrt(np.outer(sy2, s2))
    d = len(s2)
    correlations = (np.clip(np.nan_to_num(c, posinf=0, neginf=0), -1, 1) for c in correlations)
    return (sum(map(_off, correlations)) / max(1, 2 * d * (d - 1))) ** 0.5


def common_basis(a: Square, b: Square, sweeps: int = 50) -> Square:
    """Orthogonal matrix U with the least squares off the diagonals of U^T a U and U^T b U, both symmetric.

    Jacobi rotations of disjoint pairs of columns at a time, each by the angle that is best for its pair (Cardoso and
    Souloumiac 1996), until what is off the diagonals no longer falls by a thousandth. Where a and b commute this is
    their common eigenbasis, to rounding.
    """
    basis = np.linalg.eigh(a)[1]
    both = np.stack([basis.T @ m @ basis for m in (a, b)])
    nothing = 1e-14 * np.abs(both).max()  # below it an entry is rounding, and an angle made of it means nothing
    before = np.inf
    for _ in range(sweeps):
        for left, right in _rounds(len(a)):
            gap = both[:, left, left] - both[:, right, right]
            off = 2 * both[:, left, right]
            off[np.abs(off) < nothing] = 0
            even, odd = np.sum(gap**2 - off**2, 0), 2 * np.sum(gap * off, 0)
            angle = np.arctan2(odd, even + np.hypot(even, odd)) / 2
            c, s = np.cos(angle), np.sin(angle)
            basis[:, left], basis[:, right] = _turn(basis, left, right, c, s)
            both[:, :, left], both[:, :, right] = _turn(both, left, right, c, s)
            rows = both.swapaxes(1, 2)
            rows[:, :, left], rows[:, :, right] = _turn(rows, left, right, c, s)
        after = sum(_off(m) for m in both)
        if after > 0.999 * before or after < len(a) ** 2 * nothing**2:
            break
        before = after
    return basis


def _turn(m: np.ndarray, left: np.ndarray, right: np.ndarray, c: np.ndarray, s: np.ndarray) -> tuple:
    return c * m[..., left] + s * m[..., right], c * m[..., right] - s * m[..., left]


def _rounds(d: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every pair of d columns once, in rounds of disjoint pairs, by the circle method of round-robin tournaments."""
    seats = np.arange(d + d % 2)
    rounds = []
    for _ in range(len(seats) - 1):
        left, right = seats[: len(seats) // 2], seats[len(seats) // 2 :][::-1]
        real = np.maximum(left, right) < d
        rounds.append((np.minimum(left, right)[real], np.maximum(left, right)[real]))
        seats = np.concatenate([seats[:1], np.roll(seats[1:], 1)])
    return rounds


def _diagonal(m: Square, basis: Square) -> Float[np.ndarray, " d"]:
    return np.einsum("ai,ab,bi->i", basis, m, basis, optimize=True)


def _off(m: Square) -> float:
    return float(np.sum((m - np.diag(np.diag(m))) ** 2))
