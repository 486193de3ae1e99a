r"""Critical times by one rule over their whole interval: no steps and no lanes, and most points need nothing else.

Over a coordinate x that only grows, T is the integral of dT/dx from 0 to the span of x. That integrand f mostly falls,
and by many powers of ten, so it is integrated over a variable y in which it falls more gently,

$x(y) = \frac{y}{1 + \kappa (1 - y)}$ of the span, $\kappa = (f(0) / f(1))^{\theta / 2} - 1$,

by a rule of as many points as mostly keep the tolerance and, where that may not be enough, by one of twice as many. The
few intervals for which neither will do are cut in two, as often as it takes.
"""

import functools
import math
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

BLOCKS = 16  # of one part by the first rule; those that need another are few
BYTES = 512  # of one point and threshold in a rule, about
CUTS = 40  # in two, of one interval, at most
CUTS_TO_A_NUMBER = 5  # the same, where the integral of no part may be a number
STRETCH = 0.14  # theta: with this the first rule is enough most often

PerThreshold = Float[Array, "n p"]


def intervals(rtol: float) -> int:
    """Intervals of the rule that is tried first: two for each digit that is asked for, and two more.

    Of the benchmarks' mixed grid, fewer than one point in ten needs another rule, from 5 digits to 12.
    """
    return max(8, 2 + 2 * round(-math.log10(rtol)))


class Interval(NamedTuple):
    """Where the coordinate starts, how far it goes, and what the rules need to know of the slopes at both ends."""

    start: Numbers
    span: Numbers
    unit: Numbers  # dT/dx at the start
    stretch: Numbers  # 1 + kappa
    fall: Numbers  # dT/dx at the end, in this unit


def _start(coordinate: Coordinate, asked: tuple[Scalar, ...], point: Point) -> Scalar:
    del asked
    return coordinate.start(point)


def _span(coordinate: Coordinate, asked: tuple[Scalar, ...], point: Point) -> Scalar:
    """How far the coordinate goes until the response is p times the rest point."""
    assert coordinate.span is not None, "only a coordinate that knows its span has such an interval"
    return coordinate.span(asked[0], point)


def _field(coordinate: Coordinate, x: Scalar, point: Point) -> Scalar:
    return coordinate.field(jnp.zeros_like(x), x, point)


def _slope(y: Scalar, coordinate: Coordinate, at: Interval, point: Point) -> Scalar:
    """dT/dy in units of dT/dx at the start."""
    shrunk = 1 / (1 + (at.stretch - 1) * (1 - y))
    x = at.start + at.span * (y * shrunk)
    return at.span * at.stretch * (shrunk * shrunk) / (at.unit * _field(coordinate, x, point))


def part(
    coordinate: Coordinate, treedef: Any, intervals: int, shape: programs.Shape
) -> Callable[..., tuple[PerThreshold, PerThreshold]]:
    """The function of `dispatch` for thresholds, or also two shares of the way to them, and points of one structure.

    It returns times by the rule of so many intervals, between the two shares if they are given, and estimates of their
    relative errors, infinite where there is nothing to integrate.
    """
    width = shape.width

    def over_block(function: Callable, values: Any, leaves: list[Array]) -> Any:
        """The function of a coordinate, values for each threshold and point, and a point."""

        def one(value: Any, *leaves: Scalar) -> Any:
            return function(coordinate, value, jax.tree.unflatten(treedef, leaves))

        return jax.vmap(jax.vmap(one), (0, *[None] * len(leaves)))(values, *leaves)

    def interval(start: Numbers, span: Numbers, leaves: list[Array]) -> Interval:
        first, last = lax.map(lambda x: over_block(_field, x, leaves), jnp.stack([start, start + span]))
        fall = first / last
        return Interval(start, span, 1 / first, exp(-STRETCH / 2 * log(fall)), fall)

    def integrate(at: Interval, leaves: list[Array]) -> tuple[Numbers, Numbers]:
        # Node by node, so that what is the same for all of them is computed once.
        inner = jnp.asarray(quadrature.nodes(intervals)[1:-1], at.span.dtype)
        between = lax.map(lambda y: over_block(functools.partial(_slope, y), at, leaves), inner)
        total, error = quadrature.integral([at.span / at.stretch, *between, at.span * at.stretch * at.fall])
        return at.unit * total, jnp.where(jnp.isfinite(error), error, jnp.inf)

    def each_block(function: Callable, *columns: Any) -> Any:
        # In a loop of its own: within one, XLA computes anew what is cheap wherever it is used, logarithms included.
        return lax.map(lambda block: function(*block), columns)

    def run(count: Any, *args: Array) -> tuple[PerThreshold, PerThreshold]:
        del count
        asked = tuple(a.reshape(-1, width, a.shape[1]).swapaxes(1, 2) for a in args[: -treedef.num_leaves])
        leaves = [leaf.reshape(-1, width) for leaf in args[-treedef.num_leaves :]]
        start, span = (each_block(functools.partial(over_block, f), asked, leaves) for f in (_start, _span))
        if len(asked) > 1:
            _, low, high = asked
            start, span = start + low * span, (high - low) * span
        at = each_block(interval, start, span, leaves)
        time, error = each_block(integrate, at, leaves)
        return time.swapaxes(1, 2).reshape(args[0].shape), error.swapaxes(1, 2).reshape(args[0].shape)

    return run


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
    precision, row_bytes, first = settings.precision, BYTES * p.shape[1], intervals(settings.rtol)

    def rule(n: int, blocks: int, p: np.ndarray, *args: np.ndarray) -> tuple[np.ndarray, ...]:
        """Times by a rule, estimates of their errors, and which rows fit into no memory."""
        shape, done = dispatch.shape_for(batch, where, row_bytes, most=blocks), []
        for rows, found in dispatch.parts(part, (coordinate, treedef, n), [p, *args], precision, shape, where):
            none = [np.full(p[rows].shape, np.nan, precision)] * 2
            done.append([*(found or none), np.full(rows.stop - rows.start, found is None)])
        return tuple(map(dispatch.joined, zip(*done, strict=True)))

    time, error, lost = rule(first, BLOCKS, p, *leaves)
    steps, ended = np.ones(len(p), int), np.where(lost, np.int8(Status.OOM), np.int8(Status.LEARNED))
    missed = wanted & ~(error <= settings.rtol)
    if not missed.any():
        return time, steps, ended
    time = np.where(missed & ~lost[:, None], 0, time)  # a sum over parts to come
    rows, low, high = np.arange(len(p)), np.zeros(p.shape), np.ones(p.shape)
    for cut in range(CUTS + 1):  # none at first
        left = np.flatnonzero(dispatch.any_of(missed & np.isfinite(time[rows])))
        if not len(left):
            break
        rows, sought, low, high = rows[left], missed[left], low[left], high[left]
        if cut:
            middle = (low + high) / 2
            rows, sought = np.repeat(rows, 2), np.repeat(sought, 2, axis=0)
            low, high = (np.stack(ends, axis=1).reshape(sought.shape) for ends in ((low, middle), (middle, high)))
        found, error, lost = rule(2 * first, 1, p[rows], low, high, *(leaf[rows] for leaf in leaves))
        kept = sought & (error <= settings.rtol)
        missed = sought & ~kept
        np.add.at(steps, rows, 1)
        in_vain = missed & ((cut == CUTS) | (~np.isfinite(found) & (cut >= CUTS_TO_A_NUMBER)))
        used_up = missed & (steps[rows] >= settings.max_steps)[:, None]
        how = np.where(lost, np.int8(Status.OOM), np.int8(Status.LEARNED))
        how[dispatch.any_of(in_vain)] = Status.NON_FINITE
        how[dispatch.any_of(used_up)] = Status.MAX_STEPS
        np.maximum.at(ended, rows, how)  # of what its parts say: no memory before no number, before too many steps
        nothing = (missed & lost[:, None]) | in_vain | used_up
        np.add.at(time, rows, np.where(nothing, np.nan, np.where(kept, found, 0)))
    return time, steps, ended
