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
from jaxtyping import Array, Float

from jepa_sweep.engine import dispatch, quadrature
from jepa_sweep.physics.dynamics import Coordinate, Point, Scalar
from jepa_sweep.physics.elementary import exp, log

# Intervals of each rule, in the order in which they are tried, and blocks of one part: fewer for the second, because
# the first leaves few points, and parts are computed in full.
BLOCKS = {16: 16, 32: 2}
INTERVALS = tuple(BLOCKS)
STRETCH = 0.12  # theta: with this the 17 points are enough most often

PerThreshold = Float[Array, "n p"]


class Interval(NamedTuple):
    """Where the coordinate starts, how far it goes, and what the rule needs to know of the slopes at both ends."""

    start: Scalar
    span: Scalar
    unit: Scalar  # dT/dx at the start
    fall: Scalar  # dT/dx at the end, in this unit


def _extent(coordinate: Coordinate, p: Scalar, point: Point) -> tuple[Scalar, Scalar]:
    """Start and span of the coordinate from the start of the flow to where the response is p times the rest point."""
    assert coordinate.span is not None, "only a coordinate that knows its span has such an interval"
    return coordinate.start(point), coordinate.span(p, point)


def _interval(coordinate: Coordinate, extent: tuple[Scalar, Scalar], point: Point) -> Interval:
    start, span = extent
    first, last = (coordinate.field(jnp.zeros_like(start), x, point) for x in (start, start + span))
    return Interval(start, span, 1 / first, first / last)


def _slope(y: Scalar, coordinate: Coordinate, at: tuple[Interval, Scalar], point: Point) -> Scalar:
    """dT/dy in units of dT/dx at the start, from an interval and its 1 + kappa."""
    (start, span, unit, _), stretch = at
    shrunk = 1 / (1 + (stretch - 1) * (1 - y))
    x = start + span * (y * shrunk)
    return span * stretch * (shrunk * shrunk) / (unit * coordinate.field(jnp.zeros_like(x), x, point))


def part(
    coordinate: Coordinate, intervals: int, treedef: Any, shape: dispatch.Shape
) -> Callable[..., tuple[PerThreshold, PerThreshold]]:
    """The function of `dispatch` for points with leaves of one structure.

    It returns the critical times of all thresholds, and estimates of their relative errors: infinite where there is
    nothing to integrate.
    """

    def over_block(function: Callable, values: Any, leaves: list[Array]) -> Any:
        """The function of a coordinate, values for each threshold and point, and a point."""

        def one(value: Any, *leaves: Scalar) -> Any:
            return function(coordinate, value, jax.tree.unflatten(treedef, leaves))

        return jax.vmap(jax.vmap(one), (0, *[None] * len(leaves)))(values, *leaves)

    def integrate(at: Interval, leaves: list[Array]) -> tuple[Array, Array]:
        stretch = exp(-STRETCH / 2 * log(at.fall))
        # Node by node, so that what is the same for all of them is computed once.
        inner = jnp.asarray(quadrature.nodes(intervals)[1:-1], stretch.dtype)
        between = lax.map(lambda y: over_block(functools.partial(_slope, y), (at, stretch), leaves), inner)
        total, error = quadrature.integral([at.span / stretch, *between, at.span * stretch * at.fall])
        return at.unit * total, jnp.where(jnp.isfinite(error), error, jnp.inf)

    def run(count: Any, p: Array, *leaves: Array) -> tuple[PerThreshold, PerThreshold]:
        del count
        blocks = [leaf.reshape(-1, shape.width) for leaf in leaves]
        thresholds = p.reshape(-1, shape.width, p.shape[1]).swapaxes(1, 2)
        # In loops of their own: within one, XLA computes anew what is cheap wherever it is used, logarithms included.
        extents = lax.map(lambda block: over_block(_extent, *block), (thresholds, blocks))
        at = lax.map(lambda block: over_block(_interval, *block), (extents, blocks))
        found = lax.map(lambda block: integrate(*block), (at, blocks))
        return jax.tree.map(lambda a: a.swapaxes(1, 2).reshape(p.shape), found)

    return run
