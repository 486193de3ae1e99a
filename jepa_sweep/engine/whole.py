r"""Critical times by one rule over their whole interval: no steps and no lanes, and most points need nothing else.

Over a coordinate x that only grows, T is the integral of dT/dx from 0 to the span of x. That integrand f mostly falls,
and by many powers of ten, so it is integrated over a variable y in which it falls more gently,

$x(y) = \frac{y}{1 + \kappa (1 - y)}$ of the span, $\kappa = (f(0) / f(1))^{\theta / 2} - 1$,

by the rule of 17 points and, where that may not be enough, by that of 33. What is left needs steps (`clock`).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jepa_sweep.engine import dispatch, quadrature
from jepa_sweep.physics.dynamics import Coordinate, Point, Scalar
from jepa_sweep.physics.elementary import exp, log

INTERVALS = (16, 32)  # of each rule, in the order in which they are tried
BLOCKS = 16  # of one part
STRETCH = 0.12  # theta: with this the 17 points are enough most often

Number = Float[Array, "..."]
PerThreshold = Float[Array, "n p"]


class Interval(NamedTuple):
    """Where the coordinate starts, how far it goes, and what the rules need to know of the slopes at both ends."""

    start: Number
    span: Number
    unit: Number  # dT/dx at the start
    stretch: Number  # 1 + kappa
    fall: Number  # dT/dx at the end, in this unit


def _extent(coordinate: Coordinate, p: Scalar, point: Point) -> tuple[Scalar, Scalar]:
    """Start and span of the coordinate from the start of the flow to where the response is p times the rest point."""
    assert coordinate.span is not None, "only a coordinate that knows its span has such an interval"
    return coordinate.start(point), coordinate.span(p, point)


def _field(coordinate: Coordinate, x: Scalar, point: Point) -> Scalar:
    return coordinate.field(jnp.zeros_like(x), x, point)


def _slope(y: Scalar, coordinate: Coordinate, at: Interval, point: Point) -> Scalar:
    """dT/dy in units of dT/dx at the start."""
    shrunk = 1 / (1 + (at.stretch - 1) * (1 - y))
    x = at.start + at.span * (y * shrunk)
    return at.span * at.stretch * (shrunk * shrunk) / (at.unit * _field(coordinate, x, point))


def part(
    coordinate: Coordinate, treedef: Any, shape: dispatch.Shape
) -> Callable[..., tuple[PerThreshold, PerThreshold, Int[Array, " n"]]]:
    """The function of `dispatch` for thresholds, their tolerances, and points with leaves of one structure.

    It returns the critical times of all thresholds, estimates of their relative errors, infinite where there is
    nothing to integrate, and how many rules each point took: the second where the first does not keep a tolerance.
    """
    width = shape.width

    def over_block(function: Callable, values: Any, leaves: list[Array]) -> Any:
        """The function of a coordinate, values for each threshold and point, and a point."""

        def one(value: Any, *leaves: Scalar) -> Any:
            return function(coordinate, value, jax.tree.unflatten(treedef, leaves))

        return jax.vmap(jax.vmap(one), (0, *[None] * len(leaves)))(values, *leaves)

    def interval(extent: tuple[Number, Number], leaves: list[Array]) -> Interval:
        start, span = extent
        first, last = lax.map(lambda x: over_block(_field, x, leaves), jnp.stack([start, start + span]))
        fall = first / last
        return Interval(start, span, 1 / first, exp(-STRETCH / 2 * log(fall)), fall)

    def integrate(intervals: int, at: Interval, leaves: list[Array]) -> tuple[Number, Number]:
        # Node by node, so that what is the same for all of them is computed once.
        inner = jnp.asarray(quadrature.nodes(intervals)[1:-1], at.span.dtype)
        between = lax.map(lambda y: over_block(functools.partial(_slope, y), at, leaves), inner)
        total, error = quadrature.integral([at.span / at.stretch, *between, at.span * at.stretch * at.fall])
        return at.unit * total, jnp.where(jnp.isfinite(error), error, jnp.inf)

    def rows_of(block: Array) -> Array:
        """From blocks, or one, with a row for each threshold to rows with a column for each."""
        return block.swapaxes(-2, -1).reshape(-1, block.shape[-2])

    def run(count: Any, p: Array, tolerance: Array, *leaves: Array) -> tuple[PerThreshold, PerThreshold, Array]:
        blocks = [leaf.reshape(-1, width) for leaf in leaves]
        thresholds = p.reshape(-1, width, p.shape[1]).swapaxes(1, 2)
        # In loops of their own: within one, XLA computes anew what is cheap wherever it is used, logarithms included.
        extents = lax.map(lambda block: over_block(_extent, *block), (thresholds, blocks))
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
