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
from jaxtyping import Array, Bool, Float, Int

from jepa_sweep.engine import dispatch, programs, quadrature
from jepa_sweep.engine.settings import Settings
from jepa_sweep.physics.dynamics import Code, Coordinate, Numbers, Point, Scalar
from jepa_sweep.physics.elementary import exp, log
from jepa_sweep.physics.host import Status

BLOCKS = 16  # of one part by the first rule; those that need another are few
ROW_BYTES = 512  # of one point in a rule, about
CUTS = 40  # in two, of one interval, at most
CUTS_TO_A_NUMBER = 5  # the same, where the integral of no part may be a number
STRETCH = 0.14  # theta: with this the first rule is enough most often


def intervals(rtol: float) -> int:
    """Intervals of the rule that is tried first: two for each digit that is asked for, and two more.

    Of the benchmarks' mixed grid, fewer than one point in ten needs another rule, from 5 digits to 10.
    """
    return max(8, 2 + 2 * round(-math.log10(rtol)))


class Interval(NamedTuple):
    """Where the coordinate starts, how far it goes, and what the rules need to know of the slopes at both ends."""

    start: Numbers
    span: Numbers
    unit: Numbers  # dT/dx at the start
    stretch: Numbers  # 1 + kappa
    fall: Numbers  # dT/dx at the end, in this unit


def _start(coordinate: Coordinate, p: Scalar, point: Point) -> Scalar:
    del p
    return coordinate.start(point)


def _span(coordinate: Coordinate, p: Scalar, point: Point) -> Scalar:
    """How far the coordinate goes until the response is p times the rest point."""
    assert coordinate.span is not None, "only a coordinate that knows its span has such an interval"
    return coordinate.span(p, point)


def _foreseen(prospect: Callable, coordinate: Coordinate, p: Scalar, point: Point) -> Code:
    del coordinate
    return prospect(point, p).astype(jnp.int8)


def _field(coordinate: Coordinate, x: Scalar, point: Point) -> Scalar:
    return coordinate.field(jnp.zeros_like(x), x, point)


def _slope(y: Scalar, coordinate: Coordinate, at: Interval, point: Point) -> Scalar:
    """dT/dy in units of dT/dx at the start."""
    shrunk = 1 / (1 + (at.stretch - 1) * (1 - y))
    x = at.start + at.span * (y * shrunk)
    return at.span * at.stretch * (shrunk * shrunk) / (at.unit * _field(coordinate, x, point))


def part(
    coordinate: Coordinate, treedef: Any, intervals: int, prospect: Callable | None, shape: programs.Shape
) -> Callable[..., list[Array]]:
    """The function of `dispatch` for thresholds, or also two shares of the way to them, and points of one structure.

    It returns times by the rule of so many intervals, between the two shares if they are given, and estimates of their
    relative errors, infinite where there is nothing to integrate; then what `prospect(point, p)` says, if it is given.
    """

    def over(function: Callable, values: Any, leaves: list[Array]) -> Any:
        """The function of a coordinate, a value and a point, for many."""

        def one(value: Any, *leaves: Scalar) -> Any:
            return function(coordinate, value, jax.tree.unflatten(treedef, leaves))

        return jax.vmap(one)(values, *leaves)

    def interval(start: Numbers, span: Numbers, leaves: list[Array]) -> Interval:
        first, last = lax.map(lambda x: over(_field, x, leaves), jnp.stack([start, start + span]))
        fall = first / last
        return Interval(start, span, 1 / first, exp(-STRETCH / 2 * log(fall)), fall)

    def integrate(at: Interval, leaves: list[Array]) -> tuple[Numbers, Numbers]:
        # Node by node, so that what is the same for all of them is computed once.
        inner = jnp.asarray(quadrature.nodes(intervals)[1:-1], at.span.dtype)
        between = lax.map(lambda y: over(functools.partial(_slope, y), at, leaves), inner)
        total, error = quadrature.integral([at.span / at.stretch, *between, at.span * at.stretch * at.fall])
        return at.unit * total, jnp.where(jnp.isfinite(error), error, jnp.inf)

    def each_half(function: Callable, *columns: Any) -> Any:
        # A loop for each stage: within one, XLA computes anew what is cheap wherever it is used, logarithms included.
        # It has two turns, because XLA writes out a loop of one.
        return lax.map(lambda half: function(*half), columns)

    def block(args: list[Array]) -> list[Any]:
        (p, *shares), leaves = args[: -treedef.num_leaves], args[-treedef.num_leaves :]
        start, span = (each_half(functools.partial(over, f), p, leaves) for f in (_start, _span))
        if shares:
            low, high = shares
            start, span = start + low * span, (high - low) * span
        found = [*each_half(integrate, each_half(interval, start, span, leaves), leaves)]
        if prospect is not None:
            foreseen = functools.partial(_foreseen, prospect)
            found.append(each_half(functools.partial(over, foreseen), p, leaves))
        return found

    def run(count: Any, *args: Array) -> list[Array]:
        del count
        found = lax.map(block, [a.reshape(-1, 2, shape.width // 2) for a in args])
        return [a.reshape(-1) for a in found]

    return run


def solve(
    coordinate: Coordinate,
    settings: Settings,
    treedef: Any,
    where: tuple,
    batch: int,
    prospect: Callable | None,
    p: Float[np.ndarray, " n"],
    *leaves: Float[np.ndarray, " n"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Critical times of n points by rules over their whole intervals, and by parts of them where that is not enough.

    Args:
        coordinate: one with `span`.
        settings: rtol, the most rules for one point, and the precision.
        treedef: structure of a point.
        where: devices, as `devices.pick` finds them.
        batch: points of a typical call; calls that name the same number share one program.
        prospect: (point, p) -> the status that is foreseen; None if all thresholds are known to be met.
        p: thresholds as fractions of the rest point, one a point.
        *leaves: of the points.

    Returns:
        times, NaN where there is none; rules taken; how each point ended; what is foreseen; all of shape (n,).
    """
    precision, first = settings.precision, intervals(settings.rtol)

    def rule(n: int, blocks: int, prospect: Callable | None, *args: np.ndarray) -> tuple[np.ndarray, ...]:
        """Times by a rule, estimates of their errors, which rows fit into no memory, and what is foreseen."""
        shape, done = dispatch.shape_for(batch, where, ROW_BYTES, most=blocks), []
        for rows, found in dispatch.parts(part, (coordinate, treedef, n, prospect), [*args], precision, shape, where):
            count = rows.stop - rows.start
            time, error, *status = found or [np.full(count, np.nan, precision)] * 2
            status = status or [np.full(count, Status.LEARNED, np.int8)]
            done.append((time, error, np.full(count, found is None), *status))
        return tuple(map(dispatch.joined, zip(*done, strict=True)))

    time, error, lost, status = rule(first, BLOCKS, prospect, p, *leaves)
    asked = status == Status.LEARNED
    steps, ended = asked.astype(int), _ended(lost)
    missed = asked & ~(error <= settings.rtol)
    if not missed.any():
        return time, steps, ended, status
    time = np.where(missed & ~lost, 0, time)  # a sum over parts to come
    rows, low, high = np.arange(len(p)), np.zeros(len(p)), np.ones(len(p))
    for cut in range(CUTS + 1):  # none at first
        left = missed & np.isfinite(time[rows])
        if not left.any():
            break
        rows, low, high = rows[left], low[left], high[left]
        if cut:
            middle, rows = (low + high) / 2, np.repeat(rows, 2)
            low, high = (np.stack(ends, axis=1).ravel() for ends in ((low, middle), (middle, high)))
        found, error, lost, _ = rule(2 * first, 1, None, p[rows], low, high, *(leaf[rows] for leaf in leaves))
        missed = ~(error <= settings.rtol)
        np.add.at(steps, rows, 1)
        in_vain = missed & ((cut == CUTS) | (~np.isfinite(found) & (cut >= CUTS_TO_A_NUMBER)))
        used_up = missed & (steps[rows] >= settings.max_steps)
        how = _ended(lost)
        how[in_vain], how[used_up] = Status.NON_FINITE, Status.MAX_STEPS
        np.maximum.at(ended, rows, how)  # of what its parts say: no memory before no number, before too many steps
        np.add.at(time, rows, np.where(how != Status.LEARNED, np.nan, np.where(missed, 0, found)))
    return time, steps, ended, status


def _ended(lost: Bool[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """How points ended of which all that can be said yet is which fit into no memory."""
    ended = np.full(len(lost), Status.LEARNED, np.int8)
    ended[lost] = Status.OOM
    return ended
