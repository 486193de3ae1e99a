r"""Critical times by one rule over their whole interval: no steps and no lanes, and most points need nothing else.

Over a coordinate x that only grows, T is the integral of dT/dx from 0 to the span of x. That integrand f mostly falls,
and by many powers of ten, so it is integrated over a variable y in which it falls more gently,

$x(y) = \frac{y}{1 + \kappa (1 - y)}$ of the span, $\kappa = (f(0) / f(1))^{\theta / 2} - 1$,

by the rule of 17 points and, where that may not be enough, by that of 33. The few intervals for which neither will do
are cut in two, as often as it takes.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from jepa_sweep.engine import dispatch, programs, quadrature
from jepa_sweep.engine.settings import Settings
from jepa_sweep.physics.dynamics import Coordinate, Numbers, Point, Scalar
from jepa_sweep.physics.elementary import exp, log
from jepa_sweep.physics.host import Status

INTERVALS = (16, 32)  # of each rule, in the order in which they are tried
BLOCKS = 16  # of one part
CUTS = 40  # in two, of one interval, at most
CUTS_TO_A_NUMBER = 5  # the same, where the integral of no part may be a number
STRETCH = 0.12  # theta: with this the 17 points are enough most often

PerThreshold = Float[Array, "n p"]


class Interval(NamedTuple):
    """Where the coordinate starts, how far it goes, and what the rules need to know of the slopes at both ends."""

    start: Numbers
    span: Numbers
    unit: Numbers  # dT/dx at the start
    stretch: Numbers  # 1 + kappa
    fall: Numbers  # dT/dx at the end, in this unit


def _extent(coordinate: Coordinate, cut: tuple[Scalar, Scalar, Scalar], point: Point) -> tuple[Scalar, Scalar]:
    """Start and span of the coordinate, between two shares of its way to where the response is p times the rest point.

    `cut` is p and the two shares.
    """
    assert coordinate.span is not None, "only a coordinate that knows its span has such an interval"
    p, low, high = cut
    span = coordinate.span(p, point)
    return coordinate.start(point) + low * span, (high - low) * span


def _field(coordinate: Coordinate, x: Scalar, point: Point) -> Scalar:
    return coordinate.field(jnp.zeros_like(x), x, point)


def _slope(y: Scalar, coordinate: Coordinate, at: Interval, point: Point) -> Scalar:
    """dT/dy in units of dT/dx at the start."""
    shrunk = 1 / (1 + (at.stretch - 1) * (1 - y))
    x = at.start + at.span * (y * shrunk)
    return at.span * at.stretch * (shrunk * shrunk) / (at.unit * _field(coordinate, x, point))


def part(
    coordinate: Coordinate, treedef: Any, shape: programs.Shape
) -> Callable[..., tuple[PerThreshold, PerThreshold, Int[Array, " n"]]]:
    """The function of `dispatch` for thresholds, tolerances, shares of the interval, and points of one structure.

    It returns the times between the two shares of the way to each threshold, estimates of their relative errors,
    infinite where there is nothing to integrate, and how many rules each point took: the second where the first does
    not keep a tolerance.
    """
    width = shape.width

    def over_block(function: Callable, values: Any, leaves: list[Array]) -> Any:
        """The function of a coordinate, values for each threshold and point, and a point."""

        def one(value: Any, *leaves: Scalar) -> Any:
            return function(coordinate, value, jax.tree.unflatten(treedef, leaves))

        return jax.vmap(jax.vmap(one), (0, *[None] * len(leaves)))(values, *leaves)

    def interval(extent: tuple[Numbers, Numbers], leaves: list[Array]) -> Interval:
        start, span = extent
        first, last = lax.map(lambda x: over_block(_field, x, leaves), jnp.stack([start, start + span]))
        fall = first / last
        return Interval(start, span, 1 / first, exp(-STRETCH / 2 * log(fall)), fall)

    def integrate(intervals: int, at: Interval, leaves: list[Array]) -> tuple[Numbers, Numbers]:
        # Node by node, so that what is the same for all of them is computed once.
        inner = jnp.asarray(quadrature.nodes(intervals)[1:-1], at.span.dtype)
        between = lax.map(lambda y: over_block(functools.partial(_slope, y), at, leaves), inner)
        total, error = quadrature.integral([at.span / at.stretch, *between, at.span * at.stretch * at.fall])
        return at.unit * total, jnp.where(jnp.isfinite(error), error, jnp.inf)

    def rows_of(block: Array) -> Array:
        """From blocks, or one, with a row for each threshold to rows with a column for each."""
        return block.swapaxes(-2, -1).reshape(-1, block.shape[-2])

    def blocks_of(rows: Array) -> Array:
        """The opposite."""
        return rows.reshape(-1, width, rows.shape[1]).swapaxes(1, 2)

    def run(
        count: Any, p: Array, tolerance: Array, low: Array, high: Array, *leaves: Array
    ) -> tuple[PerThreshold, PerThreshold, Int[Array, " n"]]:
        blocks = [leaf.reshape(-1, width) for leaf in leaves]
        cuts = tuple(map(blocks_of, (p, low, high)))
        # In loops of their own: within one, XLA computes anew what is cheap wherever it is used, logarithms included.
        extents = lax.map(lambda block: over_block(_extent, *block), (cuts, blocks))
        at = lax.map(lambda block: interval(*block), (extents, blocks))
        first = lax.map(lambda block: integrate(INTERVALS[0], *block), (at, blocks))
        at, found = jax.tree.map(rows_of, (at, first))
        missed = jnp.any(~(found[1] <= tolerance), axis=1) & (jnp.arange(len(p)) < count[0].astype(int))
        (left,) = jnp.nonzero(missed, size=len(p), fill_value=len(p))

        def again(number: Array, found: tuple[Array, Array]) -> tuple[Array, Array]:
            here = lax.dynamic_slice_in_dim(left, number * width, width)
            at_block = jax.tree.map(lambda a: a.at[here].get(mode="clip").T, at)
            second = integrate(INTERVALS[1], at_block, [leaf.at[here].get(mode="clip") for leaf in leaves])
            return jax.tree.map(lambda a, new: a.at[here].set(rows_of(new), mode="drop"), found, second)

        found = lax.fori_loop(0, -(-jnp.sum(missed) // width), again, found)
        return *found, 1 + missed.astype(int)

    return run


class _Rules(NamedTuple):
    """Points with their thresholds, and the program for them."""

    key: tuple
    settings: Settings
    where: tuple
    shape: programs.Shape
    arrays: list[np.ndarray]  # p, and the leaves of the points

    def at(
        self, rows: np.ndarray | slice, sought: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Times between two shares of the way to each threshold, whether they keep the tolerance, rules taken, ends."""
        p, *leaves = (a[rows] for a in self.arrays)
        precision, tolerance = self.settings.precision, np.where(sought, self.settings.rtol, np.inf)
        time, kept = np.full(p.shape, np.nan, precision), np.zeros(p.shape, bool)
        taken, ended = np.zeros(len(p), int), np.full(len(p), int(Status.LEARNED))
        given = [p, tolerance, low, high, *leaves]
        for part_rows, found in dispatch.parts(part, self.key, given, precision, self.shape, self.where):
            if found is None:
                ended[part_rows] = Status.OOM
            else:
                time[part_rows], error, taken[part_rows] = found
                kept[part_rows] = error <= tolerance[part_rows]
        return time, kept, taken, ended


def solve(
    coordinate: Coordinate,
    settings: Settings,
    treedef: Any,
    where: tuple,
    batch: int,
    p: np.ndarray,
    wanted: np.ndarray,
    *leaves: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Critical times of n points by rules over their whole intervals, and by parts of them where that is not enough.

    Args:
        coordinate: one with `span`.
        settings: rtol, the most rules for one point, and the precision.
        treedef: structure of a point.
        where: devices, as `devices.pick` finds them.
        batch: points of a typical call; calls that name the same number share one program.
        p: thresholds as fractions of the rest point, shape (n, thresholds).
        wanted: those that are met, the same shape.
        *leaves: of the points, each of shape (n,).

    Returns:
        times, NaN where there is none, shape (n, thresholds); rules taken, shape (n,); how each point ended, (n,).
    """
    row_bytes = 128 * p.shape[1] * np.dtype(settings.precision).itemsize
    shape = dispatch.shape_for(batch, where, row_bytes, most=BLOCKS)
    rules, rows = _Rules((coordinate, treedef), settings, where, shape, [p, *leaves]), np.arange(len(p))
    low, high = np.zeros(p.shape), np.ones(p.shape)
    time, kept, steps, ended = rules.at(slice(None), wanted, low, high)
    missed = wanted & ~kept
    time[missed & (ended == Status.LEARNED)[:, None]] = 0  # a sum over parts to come
    for cut in range(1, CUTS + 1):
        left = np.flatnonzero(dispatch.any_of(missed & np.isfinite(time[rows])))
        if not len(left):
            break
        low, high = low[left], high[left]
        middle = (low + high) / 2
        rows, sought = np.repeat(rows[left], 2), np.repeat(missed[left], 2, axis=0)
        low, high = (np.stack(ends, axis=1).reshape(sought.shape) for ends in ((low, middle), (middle, high)))
        found, kept, taken, how = rules.at(rows, sought, low, high)
        missed = sought & ~kept
        np.add.at(steps, rows, taken)
        lost = missed & (how != Status.LEARNED)[:, None]
        in_vain = missed & ((cut == CUTS) | (~np.isfinite(found) & (cut >= CUTS_TO_A_NUMBER)))
        used_up = missed & (steps[rows] >= settings.max_steps)[:, None]
        how = np.where(dispatch.any_of(in_vain), int(Status.NON_FINITE), how)
        how = np.where(dispatch.any_of(used_up), int(Status.MAX_STEPS), how)
        np.maximum.at(ended, rows, how)  # of what its parts say: no memory before no number, before too many steps
        np.add.at(time, rows, np.where(lost | in_vain | used_up, np.nan, np.where(sought & kept, found, 0)))
    return time, steps, ended
