"""Gradient descent by optax: a group of networks takes its steps together, and crossings are noted on the way.

An observation of the weights locates the crossing of thresholds since the last one. A linear network is observed on
every step, whose gradient has computed its maps anyway; one with an activation only where a sample is due.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float

from jepa_sweep.engine.networks import common
from jepa_sweep.engine.networks.common import Crossings, Fixed, Method, Recipe, Sample, each
from jepa_sweep.engine.pool import choose
from jepa_sweep.physics import network
from jepa_sweep.physics.dynamics import Code, Flag, Scalar
from jepa_sweep.physics.host import Status
from jepa_sweep.physics.network import Seen, Signals, Weights


class Progress(NamedTuple):
    """Where one network stands."""

    weights: Weights
    optimizer: Any
    crossings: Crossings
    finite: Flag


class _Training(NamedTuple):
    """The functions of a `Method` for optax."""

    recipe: Recipe

    def start(self, fixed: Fixed, weights: Weights) -> Progress:
        optimizer = _optimizer(self.recipe, fixed).init(weights._replace(average=()))
        return Progress(weights, optimizer, common.no_crossings(fixed.levels), jnp.ones((), bool))

    def step_of(self, fixed: Fixed, j: Code) -> Code:
        """The step at which sample j is due: j steps / samples, rounded up, without a large product."""
        samples = self.recipe.samples
        whole, rest = _steps(fixed) // samples, _steps(fixed) % samples
        return j * whole + -(-j * rest // samples)

    def slope(self, fixed: Fixed, weights: Weights, step: Code) -> tuple[Weights, Signals | None]:
        """The gradient at one step, and the linear maps where it computed them."""
        recipe = self.recipe
        if recipe.batch == 0:
            return network.gradient(recipe.rule, weights, fixed.features.diagonals)
        key = jax.random.fold_in(common.keys_of(fixed.given)[1], step)
        x, y = common.pairs_of(recipe, fixed.given, fixed.features, key, recipe.batch)
        activation = network.ACTIVATIONS[recipe.activation]
        down = jax.grad(lambda w: network.loss_on_pairs(recipe.rule, w, x, y, activation))(weights)
        return down, network.signals(weights) if recipe.linear else None

    def observed(self, fixed: Fixed, progress: Progress, signals: Signals, step: Code) -> tuple[Progress, Seen]:
        """Note which thresholds were crossed, and whether numbers are still finite."""
        seen = network.observe(self.recipe.rule, signals, fixed.frame)
        now = common.w_and_fit(self.recipe, seen, fixed.features)
        crossings = progress.crossings.observed(now, _time(fixed, step), fixed.levels)
        return progress._replace(crossings=crossings, finite=progress.finite & jnp.isfinite(jnp.sum(now))), seen

    def sample(self, fixed: Fixed, progress: Progress, signals: Signals | None, j: Code) -> tuple[Progress, Sample]:
        """Sample j; of a network with an activation on samples of its own."""
        recipe, weights = self.recipe, progress.weights
        if signals is None:
            signals, loss = common.signals_on_probe(recipe, fixed.given, fixed.features, weights)
        else:
            loss = network.loss(recipe.rule, weights, fixed.features.diagonals)
        step = self.step_of(fixed, j)
        progress, seen = self.observed(fixed, progress, signals, step)
        return progress, Sample(seen, loss, _time(fixed, step))

    def moved(self, fixed: Fixed, progress: Progress, down: Weights, active: Flag) -> Progress:
        """One network after a step along this gradient, if it is active."""
        own = progress.weights._replace(average=())
        with jax.numpy_dtype_promotion("standard"):  # Adam raises numbers to its count of steps
            optimizer = _optimizer(self.recipe, fixed)
            updates, state = optimizer.update(down._replace(average=()), progress.optimizer)
        eta = fixed.given.eta
        moved = jax.tree.map(lambda w, u: w - eta * u, own, updates)
        follow = fixed.given.ema * eta
        average = tuple(a + follow * (w - a) for w, a in zip(moved.layers, progress.weights.average, strict=False))
        new = progress._replace(weights=moved._replace(average=average), optimizer=state)
        return choose(active, new, progress)

    def step(self, fixed: Fixed, progress: Progress, number: Code, active: Flag) -> Progress:
        """One step of one network, if it is active, and what there is to see before it."""
        down, signals = self.slope(fixed, progress.weights, number)
        if signals is not None:
            progress = choose(active, self.observed(fixed, progress, signals, number)[0], progress)
        return self.moved(fixed, progress, down, active)

    def segment(self, fixed: Fixed, progress: Progress, j: Code) -> tuple[Progress, Sample]:
        """Sample j, and all steps to the next; networks that have fewer to take than others wait.

        The first step is taken here, because its gradient computes the maps that the sample needs.
        """
        begin = each(self.step_of, 1)(fixed, j)
        count = each(self.step_of, 1)(fixed, jnp.minimum(j + 1, self.recipe.samples)) - begin
        down, signals = each(self.slope)(fixed, progress.weights, begin)
        progress, sample = each(self.sample, 1)(fixed, progress, signals, j)
        progress = each(self.moved)(fixed, progress, down, count > 0)

        def going(carry: tuple[Code, Progress]) -> Flag:
            return jnp.any((carry[0] < count) & carry[1].finite)

        def one(carry: tuple[Code, Progress]) -> tuple[Code, Progress]:
            i, progress = carry
            return i + 1, each(self.step)(fixed, progress, begin + i, i < count)

        return lax.while_loop(going, one, (jnp.ones((), begin.dtype), progress))[1], sample

    def end(self, fixed: Fixed, progress: Progress, losses: Float[Array, "n s"]) -> tuple[Crossings, Array, Array]:
        finite = progress.finite & jnp.all(jnp.isfinite(losses), axis=1)
        return progress.crossings, jnp.where(finite, Status.TRAINED, Status.DIVERGED), each(_steps)(fixed)


def _optimizer(recipe: Recipe, fixed: Fixed) -> optax.GradientTransformation:
    momentum = fixed.given.momentum
    if recipe.method == "adam":
        return optax.scale_by_adam(b1=momentum)
    return optax.trace(decay=momentum) if recipe.method == "momentum" else optax.identity()


def _steps(fixed: Fixed) -> Code:
    """Steps of the whole training."""
    return jnp.round(fixed.given.t_end / fixed.given.eta).astype(int)


def _time(fixed: Fixed, step: Code) -> Scalar:
    """Flow time after so many steps."""
    return step.astype(fixed.given.eta.dtype) * fixed.given.eta


def method(recipe: Recipe) -> Method:
    """Training by one of `OPTIMIZERS`."""
    training = _Training(recipe)
    return Method(training.start, training.segment, training.end)
