"""Dense output: every step leaves a polynomial, and samples are read off these polynomials.

For a flow it is diffrax's own dense output. Where the field is a function of x alone, the stages are exact values of
the integrand, and the integral of the polynomial through all of them is better: it loses nothing against the step.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float
from numpy.polynomial import chebyshev

from jepa_sweep.physics.dynamics import Code, Flag, Scalar
from jepa_sweep.physics.elementary import exp, log

KNOTS = 32  # steps remembered before samples are read off


class Knots(NamedTuple):
    """Polynomials of the latest steps of one solve, trip by trip; u is -1 at the start of a step and 1 at its end."""

    begin: Float[Array, " knots"]  # T at the start of each step
    took: Float[Array, " knots"]  # T at its end, less that
    bend: Float[Array, " knots"]  # ln of the ratio of dT/du at its two ends
    time: Float[Array, "knots terms"]  # coefficients of T
    state: Any  # coefficients of the state, a pytree with leading axes (knots, terms)


def empty(time: Float[Array, " terms"], state: Any) -> Knots:
    """Room for the steps of a solve with such series."""
    none = jnp.zeros(KNOTS, time.dtype)
    return Knots(none, none, none, *jax.tree.map(lambda c: jnp.zeros((KNOTS, *c.shape), c.dtype), (time, state)))


def remember(knots: Knots, trip: Code, wanted: Flag, begin: Scalar, end: Scalar, *series: Any) -> Knots:
    """Write down the step of this trip, kept or not: `series` are its bend and coefficients.

    A step that is tried again begins where the first try did, so that the last of them counts.
    """
    place = trip % KNOTS  # the same for all lanes: a strip is written, and nothing is looked up

    def put(row: Array, value: Array) -> Array:
        return row.at[place].set(jnp.where(wanted, value, row[place]))

    return Knots(*jax.tree.map(put, tuple(knots), (begin, end - begin, *series)))


def read(
    knots: Knots, number: Code, since: Code, noted: Code, T: Scalar, observe: Callable[[Any], Array]
) -> tuple[Float[Array, " o"], Flag]:
    """What is observed at time T, and whether the `noted` steps from trip `since` on begin before T.

    `knots` are those of all lanes, of which lane `number` is asked: to take its own first would be to copy them.
    """
    age = (jnp.arange(KNOTS) - since) % KNOTS  # trips since the first
    before = jnp.sum((knots.begin[number] <= T) & (age < noted))
    place = (since + jnp.maximum(before - 1, 0)) % KNOTS

    def series(coefficients: Array) -> list[Array]:
        return [coefficients[number, place, n] for n in range(coefficients.shape[2])]

    share = (T - knots.begin[number, place]) / knots.took[number, place]
    u = root(series(knots.time), jnp.minimum(share, 1.0), T, knots.bend[number, place])
    state = jax.tree.map(lambda c: value(series(c), u), knots.state)
    return observe(state), before > 0


def polynomial(matrix: Float[np.ndarray, "terms stages"], y: Any, stages: Any) -> Any:
    """Coefficients of y(u) within a step, from its start and its stages times h; leaf by leaf, terms first."""

    def leaf(y: Array, stages: Array) -> Array:
        rows = [sum(float(m) * k for m, k in zip(row, stages, strict=True) if m != 0) for row in matrix]
        return jnp.stack([y + rows[0], *rows[1:]])

    return jax.tree.map(leaf, y, stages)


def at(coefficients: Any, u: Scalar) -> Any:
    """The state at u, from such coefficients."""
    return jax.tree.map(lambda c: value(list(c), u), coefficients)


def value(coefficients: list[Float[Array, "..."]], u: Float[Array, "..."]) -> Float[Array, "..."]:
    """Clenshaw's rule for a series of Chebyshev polynomials."""
    b1 = b2 = jnp.zeros_like(coefficients[0])
    for c in coefficients[:0:-1]:
        b1, b2 = c + 2 * u * b1 - b2, b1
    return coefficients[0] + u * b1 - b2


def bisect(beyond: Callable[[Array], Array], one: Array, halvings: int) -> Array:
    """u in [-1, 1] at which `beyond` becomes true; `one` has the shape of u."""

    def halve(_: Code, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        far = beyond(middle)
        return jnp.where(far, low, middle), jnp.where(far, middle, high)

    low, high = lax.fori_loop(0, halvings, halve, (-one, one))
    return (low + high) / 2


def root(coefficients: list[Scalar], share: Scalar, level: Scalar, bend: Scalar) -> Scalar:
    """u in [-1, 1] at which an increasing series equals `level`.

    `share` says how far `level` lies between the two ends, `bend` is the log ratio of the slopes there.
    """
    # Exact for an exponential, which T(x) resembles within a step; Newton's method then converges at once.
    curved = jnp.abs(bend) > 1e-3
    safe = jnp.where(curved, bend, 1.0)
    u = 2 * jnp.where(curved, log(1 + share * (exp(safe) - 1)) / safe, share) - 1
    for _ in range(3):
        b1 = b2 = d1 = d2 = jnp.zeros_like(level)
        for c in coefficients[:0:-1]:
            d1, d2 = 2 * (b1 + u * d1) - d2, d1
            b1, b2 = c + 2 * u * b1 - b2, b1
        rise, slope = coefficients[0] + u * b1 - b2, b1 + u * d1 - d2
        u = jnp.clip(u + (level - rise) / slope, -1.0, 1.0)
    return jnp.where(share <= 0, -1.0, u)


@functools.lru_cache
def of_flow(solver: Any) -> Float[np.ndarray, "terms stages"]:
    """Matrix (terms, stages) such that y(u) = y0 + matrix @ (h k) is the solver's dense output."""
    stages, terms = solver.tableau.num_stages, 8  # no diffrax method has a dense output of degree above 7
    u = chebyshev.chebpts1(terms)

    def value(x: Scalar, weight: Scalar, k: Array) -> Array:
        curve = solver.interpolation_cls(t0=jnp.zeros(()), t1=jnp.ones(()), y0=jnp.zeros(()), y1=weight, k=k)
        return curve.evaluate(x)

    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        each_stage = jax.vmap(jax.vmap(value, (None, 0, 0)), (0, None, None))
        values = jax.jit(each_stage)((1 + u) / 2, np.asarray(solver.tableau.b_sol), np.eye(stages))
        return np.linalg.solve(chebyshev.chebvander(u, terms - 1), np.asarray(values))


def of_rule(nodes: Float[np.ndarray, " stages"]) -> Float[np.ndarray, "terms stages"]:
    """Matrix (terms, stages) such that y(u) = y0 + matrix @ (h k) integrates the polynomial through all stages."""
    through_nodes = np.linalg.inv(chebyshev.chebvander(2 * nodes - 1, len(nodes) - 1))
    return chebyshev.chebint(through_nodes, lbnd=-1, scl=0.5, axis=0)  # dx = h/2 du
