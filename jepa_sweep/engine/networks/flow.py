"""Gradient flow of whole networks: one with diffrax from given weights, or a group whose learning is noted on the way.

In a group every network steps at its own pace and stops at each sample; where a threshold lies within a step it is
located on the solver's dense output.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float
from numpy.polynomial import chebyshev

from jepa_sweep.engine import dense
from jepa_sweep.engine.networks import common
from jepa_sweep.engine.networks.common import Found, Given, Looks, Recipe
from jepa_sweep.engine.solver import SOLVERS, Control, Settings, Stepper, Tried
from jepa_sweep.physics import network
from jepa_sweep.physics.data import Features, Moments
from jepa_sweep.physics.dynamics import Code, Scalar, Status
from jepa_sweep.physics.network import Objective, Weights

NODES = 12  # at which responses are read within a step that crosses a threshold


@functools.partial(jax.jit, static_argnames=("objective", "method", "max_steps"))
def through(
    objective: Objective,
    weights: Weights,
    moments: Moments,
    times: Float[Array, " t"],
    *,
    method: str = "dopri8",
    rtol: Scalar | float = 1e-8,
    ema: Scalar | float = 1.0,
    max_steps: int = 100_000,
) -> Weights:
    """The weights at increasing flow times, with a leading axis; NaN at those the solver did not reach."""
    flat, whole = ravel_pytree(weights)

    def field(t: Any, y: Array, moments: Moments) -> Array:
        del t
        return ravel_pytree(network.flow(objective, whole(y), moments, ema))[0]

    # Steps end on the times asked for, so that what is returned has the order of the solver.
    own_pace = dfx.PIDController(rtol=rtol, atol=rtol * jnp.max(jnp.abs(flat)))
    found = dfx.diffeqsolve(
        dfx.ODETerm(field),
        SOLVERS[method](),
        0.0,
        times[-1],
        None,
        flat,
        moments,
        saveat=dfx.SaveAt(ts=times),
        stepsize_controller=dfx.ClipStepSizeController(own_pace, step_ts=times),
        max_steps=max_steps,
        throw=False,
    )
    assert found.ys is not None, "asked for with SaveAt(ts)"
    return jax.vmap(whole)(jnp.where(jnp.isinf(found.ys), jnp.nan, found.ys))  # infinite where not reached


def _size(weights: Weights) -> Scalar:
    """The largest entry: what is absolutely small is so against this."""
    return jnp.max(jnp.stack([jnp.max(jnp.abs(w)) for w in jax.tree.leaves(weights)]))


class Fixed(NamedTuple):
    """What one network keeps throughout."""

    given: Given
    features: Features
    frame: Array
    levels: Array
    atol: Scalar


class Mover(NamedTuple):
    """Where one network stands."""

    t: Scalar
    weights: Weights
    carry: Any  # what the solver keeps between steps
    control: Control
    looks: Looks


def group(recipe: Recipe) -> Callable[[Given], Found]:
    """The flow of several networks at once, with one more axis in front of everything."""
    rule, samples = recipe.rule, recipe.samples

    def field(t: Any, weights: Weights, args: tuple[Features, Scalar]) -> Weights:
        del t
        features, rate = args
        return network.flow(rule, weights, features.diagonals, rate)

    stepper = Stepper(Settings(recipe.method, recipe.rtol, recipe.max_steps), field)
    matrix = dense.of_flow(stepper.solver)
    nodes = chebyshev.chebpts2(NODES)
    to_series = np.linalg.inv(chebyshev.chebvander(nodes, NODES - 1))

    def args_of(fixed: Fixed) -> tuple[Features, Scalar]:
        return fixed.features, fixed.given.ema

    def start(given: Given) -> tuple[Fixed, Mover]:
        features = common.features_of(recipe, given)
        weights, frame = common.begin(recipe, given)
        atol = recipe.rtol * _size(weights)
        fixed = Fixed(given, features, frame, common.levels(recipe, given, features), atol)
        zero = jnp.zeros_like(given.t_end)
        carry = stepper.carry(zero, weights, args_of(fixed), atol)
        control = stepper.control(stepper.first(weights, args_of(fixed), atol))
        return fixed, Mover(zero, weights, carry, control, common.unseen(recipe, given, features))

    def responses(fixed: Fixed, weights: Weights) -> Float[Array, "2 d"]:
        seen = network.observe(rule, network.signals(weights), fixed.frame)
        return common.both(recipe, seen, fixed.features)

    def sample(fixed: Fixed, mover: Mover, j: Code) -> tuple[Mover, tuple]:
        seen = network.observe(rule, network.signals(mover.weights), fixed.frame)
        now = common.both(recipe, seen, fixed.features)
        looks = mover.looks._replace(last=jnp.where(j == 0, now, mover.looks.last))
        loss = network.loss(rule, mover.weights, fixed.features.diagonals)
        return mover._replace(looks=looks), (common.describe(recipe, seen, fixed.features), loss, mover.t)

    def located(fixed: Fixed, mover: Mover, tried: Tried, t1: Scalar, meets: Array) -> Array:
        """Times at which thresholds are met within a step, by halving on a series of the responses."""
        coefficients = jax.tree.map(lambda y, k: dense.polynomial(matrix, y, k), mover.weights, tried.stages)

        def at(u: Scalar) -> Float[Array, "2 d"]:
            return responses(fixed, jax.tree.map(lambda c: dense.value(list(c), u), coefficients))

        values = lax.map(at, jnp.asarray(nodes, t1.dtype))
        series = list(jnp.tensordot(jnp.asarray(to_series, t1.dtype), values, axes=1)[:, :, None])

        def halve(_: Code, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = ends
            middle = (low + high) / 2
            far = dense.value(series, middle) >= fixed.levels
            return jnp.where(far, low, middle), jnp.where(far, middle, high)

        one = jnp.ones_like(fixed.levels)
        low, high = lax.fori_loop(0, 52, halve, (-one, one))
        at_time = mover.t + (t1 - mover.t) * ((low + high) / 2 + 1) / 2
        return jnp.where(meets, at_time, mover.looks.crossed)

    def attempt(fixed: Fixed, mover: Mover, stop: Scalar) -> tuple[Scalar, Tried, Bool[Array, ""], Array, Array]:
        active = (mover.t < stop) & (mover.control.ended == Status.LEARNED)
        given = (mover.t, mover.weights, mover.carry, args_of(fixed), mover.control, fixed.atol, stop)
        t1, tried = stepper.attempt(*given)
        now = responses(fixed, tried.y)
        return t1, tried, active, now, common.meets(mover.looks, now, fixed.levels) & active & tried.keep

    def settle(mover: Mover, crossed: Array, t1: Scalar, tried: Tried, active: Bool[Array, ""], now: Array) -> Mover:
        looks = Looks(t1, now, crossed)
        stepped = Mover(t1, tried.y, tried.carry, tried.control, looks)
        waited = mover._replace(control=tried.control)
        return common.masked(active, common.masked(tried.keep, stepped, waited), mover)

    def until(fixed: Fixed, mover: Mover, stop: Array) -> Mover:
        def going(mover: Mover) -> Bool[Array, ""]:
            return jnp.any((mover.t < stop) & (mover.control.ended == Status.LEARNED))

        def one(mover: Mover) -> Mover:
            t1, tried, active, now, meets = jax.vmap(attempt)(fixed, mover, stop)
            crossed = lax.cond(
                jnp.any(meets), jax.vmap(located), lambda *given: given[1].looks.crossed, fixed, mover, tried, t1, meets
            )
            return jax.vmap(settle)(mover, crossed, t1, tried, active, now)

        return lax.while_loop(going, one, mover)

    def integrate(given: Given) -> Found:
        fixed, mover = jax.vmap(start)(given)

        def segment(mover: Mover, j: Code) -> tuple[Mover, tuple]:
            mover, taken = jax.vmap(sample, (0, 0, None))(fixed, mover, j)
            stop = given.t_end * jnp.minimum(j + 1, samples).astype(given.t_end.dtype) / samples
            return until(fixed, mover, stop), taken

        mover, taken = lax.scan(segment, mover, jnp.arange(samples + 1))
        seen, losses, times = (jnp.moveaxis(a, 0, 1) for a in taken)
        ended = jnp.where(mover.control.ended == Status.LEARNED, Status.TRAINED, mover.control.ended)
        return Found(mover.looks.crossed, seen, losses, times, ended, mover.control.steps)

    return integrate


def at_times(objective: Objective, weights: Weights, moments: Moments, times: np.ndarray, **options: Any) -> Weights:
    """`through`, where the weights at time 0 are those given."""
    later = jnp.asarray(times[times > 0])
    start = jax.tree.map(lambda w: w[None][: len(times) - len(later)], weights)
    if not len(later):
        return start
    found = through(objective, weights, moments, later, **options)
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), start, found)
