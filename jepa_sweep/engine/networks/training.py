"""Gradient descent by optax: a group of networks takes its steps together, with what is learned noted on the way.

A look at the weights locates the crossing of thresholds between two looks. A linear network is looked at on every step,
whose gradient has computed its maps anyway; one with an activation only where a sample is due.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool

from jepa_sweep.engine.networks import common
from jepa_sweep.engine.networks.common import Found, Given, Looks, Recipe
from jepa_sweep.physics import network
from jepa_sweep.physics.data import Features
from jepa_sweep.physics.dynamics import Code, Scalar, Status
from jepa_sweep.physics.network import Signals, Weights


class Fixed(NamedTuple):
    """What one network keeps throughout its training."""

    given: Given
    features: Features
    frame: Array
    levels: Array
    steps: Code


class Learner(NamedTuple):
    """Where one network stands."""

    weights: Weights
    optimizer: Any
    looks: Looks
    finite: Bool[Array, ""]


def group(recipe: Recipe) -> Callable[[Given], Found]:
    """Training of several networks at once, with one more axis in front of everything."""
    rule, samples = recipe.rule, recipe.samples

    def optimizer(given: Given) -> optax.GradientTransformation:
        if recipe.method == "adam":
            return optax.scale_by_adam(b1=given.momentum)
        return optax.trace(decay=given.momentum) if recipe.method == "momentum" else optax.identity()

    def start(given: Given) -> tuple[Fixed, Learner]:
        features = common.features_of(recipe, given)
        weights, frame = common.begin(recipe, given)
        steps = jnp.round(given.t_end / given.eta).astype(int)
        fixed = Fixed(given, features, frame, common.levels(recipe, given, features), steps)
        state = optimizer(given).init(weights._replace(average=()))
        looks = common.unseen(recipe, given, features)
        return fixed, Learner(weights, state, looks, jnp.ones((), bool))

    def step_of(fixed: Fixed, j: Code) -> Code:
        """The step at which sample j is due: j steps / samples, rounded up, without a large product."""
        whole, rest = fixed.steps // samples, fixed.steps % samples
        return j * whole + -(-j * rest // samples)

    def time_of(fixed: Fixed, step: Code) -> Scalar:
        return step.astype(fixed.given.eta.dtype) * fixed.given.eta

    def slope(fixed: Fixed, weights: Weights, step: Code) -> tuple[Weights, Signals | None]:
        if recipe.batch == 0:
            return network.gradient(rule, weights, fixed.features.diagonals)
        key = jax.random.fold_in(common.keys_of(fixed.given)[1], step)
        x, y = common.samples_of(recipe, fixed.given, fixed.features, key, recipe.batch)
        activation = network.ACTIVATIONS[recipe.activation]
        down = jax.grad(lambda w: network.sample_loss(rule, w, x, y, activation))(weights)
        return down, network.signals(weights) if recipe.linear else None

    def noted(fixed: Fixed, learner: Learner, found: Signals, step: Code) -> tuple[Learner, network.Seen]:
        seen = network.observe(rule, found, fixed.frame)
        now = common.both(recipe, seen, fixed.features)
        looks = common.look(learner.looks, now, time_of(fixed, step), fixed.levels)
        return learner._replace(looks=looks, finite=learner.finite & jnp.isfinite(jnp.sum(now))), seen

    def sample(fixed: Fixed, learner: Learner, j: Code) -> tuple[Learner, tuple]:
        if recipe.linear:
            found = network.signals(learner.weights)
            loss = network.loss(rule, learner.weights, fixed.features.diagonals)
        else:
            found, loss = common.signals_on_probe(recipe, fixed.given, fixed.features, learner.weights)
        step = step_of(fixed, j)
        learner, seen = noted(fixed, learner, found, step)
        return learner, (common.describe(recipe, seen, fixed.features), loss, time_of(fixed, step))

    def advance(fixed: Fixed, learner: Learner, step: Code, active: Bool[Array, ""]) -> Learner:
        down, found = slope(fixed, learner.weights, step)
        new = learner
        if found is not None:
            new, _ = noted(fixed, learner, found, step)
        own = learner.weights._replace(average=())
        with jax.numpy_dtype_promotion("standard"):  # Adam raises numbers to its count of steps
            updates, state = optimizer(fixed.given).update(down._replace(average=()), learner.optimizer)
        eta = fixed.given.eta
        moved = jax.tree.map(lambda w, u: w - eta * u, own, updates)
        follow = fixed.given.ema * eta
        average = tuple(a + follow * (w - a) for w, a in zip(moved.layers, learner.weights.average, strict=False))
        new = new._replace(weights=moved._replace(average=average), optimizer=state)
        return common.masked(active, new, learner)

    def until_next(fixed: Fixed, learner: Learner, j: Code) -> Learner:
        """All steps from sample j to the next; those that have fewer to take than others wait."""
        begin = jax.vmap(step_of, (0, None))(fixed, j)
        count = jax.vmap(step_of, (0, None))(fixed, jnp.minimum(j + 1, samples)) - begin

        def going(carry: tuple[Code, Learner]) -> Bool[Array, ""]:
            return jnp.any((carry[0] < count) & carry[1].finite)

        def one(carry: tuple[Code, Learner]) -> tuple[Code, Learner]:
            i, learner = carry
            return i + 1, jax.vmap(advance)(fixed, learner, begin + i, i < count)

        return lax.while_loop(going, one, (jnp.zeros((), begin.dtype), learner))[1]

    def train(given: Given) -> Found:
        fixed, learner = jax.vmap(start)(given)

        def segment(learner: Learner, j: Code) -> tuple[Learner, tuple]:
            learner, taken = jax.vmap(sample, (0, 0, None))(fixed, learner, j)
            return until_next(fixed, learner, j), taken

        learner, taken = lax.scan(segment, learner, jnp.arange(samples + 1))
        seen, losses, times = (jnp.moveaxis(a, 0, 1) for a in taken)
        finite = learner.finite & jnp.all(jnp.isfinite(losses), axis=1)
        ended = jnp.where(finite, Status.TRAINED, Status.DIVERGED)
        return Found(learner.looks.crossed, seen, losses, times, ended, fixed.steps)

    return train
