"""What gradient flow and training of networks share: parameters, start, data, observation, the loop over samples."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jepa_sweep.physics import data, network
from jepa_sweep.physics.data import Features, Pairs
from jepa_sweep.physics.dynamics import Code, Scalar
from jepa_sweep.physics.network import Objective, Seen, Signals, Weights

Progress = Any  # where a network stands, a pytree of the method's own

PROBE_PAIRS = 4096  # on which a network with an activation is observed


class Recipe(NamedTuple):
    """What the networks of one program have in common; every field is a compile key."""

    objective: str
    data: str
    features: int
    L: int
    width: int
    start: str
    method: str
    samples: int  # after the one at the start
    activation: str = "linear"
    batch: int = 0
    rtol: float = 1e-8
    max_steps: int = 100_000

    @property
    def rule(self) -> Objective:
        """The objective itself."""
        return network.OBJECTIVES[self.objective]

    @property
    def linear(self) -> bool:
        """True where Wbar and V Wbar say everything about the network."""
        return self.activation == "linear"


class Given(NamedTuple):
    """The parameters of one network that vary within a program: scalars, but for the thresholds p."""

    p: Float[Array, " p"]
    layout: Scalar
    lam_low: Scalar
    lam_high: Scalar
    rho_low: Scalar
    rho_high: Scalar
    target_noise: Scalar
    keep: Scalar
    scale: Scalar
    predictor_scale: Scalar
    ema: Scalar
    t_end: Scalar
    seed: Scalar
    eta: Scalar
    momentum: Scalar


class Learned(NamedTuple):
    """The results of one network; of several with one more axis in front of everything."""

    crossed: Any  # (2, p, d): flow times at which response and fit met the thresholds; NaN where not
    errors: Any  # (p, d): of the times of the response, as the solver of a flow estimates them
    seen: Any  # (s, 4, d): w, projection, v and fit at each sample
    losses: Any  # (s,)
    times: Any  # (s,): flow times of the samples
    ended: Any  # (): status code
    steps: Any  # ()


class Crossings(NamedTuple):
    """Times at which thresholds were crossed, up to the last observation of a network."""

    time: Scalar  # of that observation
    last: Float[Array, "2 d"]  # encoder response and fit then
    crossed: Float[Array, "2 p d"]  # NaN where not yet
    errors: Float[Array, "p d"]  # of the times of the response, where they are estimated

    def meets(self, now: Float[Array, "2 d"], levels: Float[Array, "2 p d"]) -> Bool[Array, "2 p d"]:
        """Which thresholds lie between the last observation and this one, for the first time."""
        return (self.last[:, None] < levels) & (now[:, None] >= levels) & jnp.isnan(self.crossed)

    def observed(self, now: Float[Array, "2 d"], time: Scalar, levels: Float[Array, "2 p d"]) -> "Crossings":
        """The crossings after one observation more, each placed evenly in ln of the response where that is positive."""
        low, high = self.last[:, None], now[:, None]
        grown = low > 0
        safe = jnp.where(grown, low, 1.0)
        share = jnp.where(grown, jnp.log(levels / safe) / jnp.log(high / safe), (levels - low) / (high - low))
        at = self.time + share * (time - self.time)
        return Crossings(time, now, jnp.where(self.meets(now, levels), at, self.crossed), self.errors)


def no_crossings(levels: Float[Array, "2 p d"]) -> Crossings:
    """The crossings before the first observation."""
    none = jnp.full_like(levels, jnp.nan)
    return Crossings(jnp.zeros((), levels.dtype), jnp.full_like(levels[:, 0], jnp.inf), none, jnp.zeros_like(none[0]))


class Fixed(NamedTuple):
    """What one network keeps throughout."""

    given: Given
    features: Features
    frame: Array
    levels: Float[Array, "2 p d"]  # thresholds of the encoder response, p w*, and of the fit, p


class Sample(NamedTuple):
    """What is kept of one network at one time."""

    seen: Seen
    loss: Scalar
    time: Scalar


class Method(NamedTuple):
    """The functions that make up a way to learn; `start` sees one network, `segment` and `end` a group."""

    start: Callable[[Fixed, Weights], Progress]
    segment: Callable[[Fixed, Progress, Code], tuple[Progress, Sample]]  # sample j, and all steps to the next
    # The crossings, and the fields `ended` and `steps` of `Learned`; the losses are those of all samples.
    end: Callable[[Fixed, Progress, Float[Array, "n s"]], tuple[Crossings, Array, Array]]


def each(function: Callable, shared: int = 0) -> Callable:
    """`vmap` of a function over the networks of a group; the last `shared` arguments are the same for all.

    A network alone in its group has no axis for it: with an axis of length one XLA would copy every second factor that
    is to be multiplied as its transpose.
    """

    def of_group(*args: Any) -> Any:
        own = len(args) - shared
        if len(jax.tree.leaves(args[0])[0]) > 1:
            return jax.vmap(function, (0,) * own + (None,) * shared)(*args)
        alone = jax.tree.map(lambda a: jnp.squeeze(a, 0), args[:own])
        return jax.tree.map(lambda a: jnp.expand_dims(a, 0), function(*alone, *args[own:]))

    return of_group


def features_of(recipe: Recipe, given: Given) -> Features:
    """The features of the data, in the basis that makes their moments diagonal."""
    if recipe.data in ("masked", "complementary"):
        model = data.masked if recipe.data == "masked" else data.complementary
        return model(_power(recipe, given), given.keep)
    ends = (given.lam_low, given.lam_high, given.rho_low, given.rho_high)
    lam, rho = data.spectrum(recipe.features, given.layout.astype(int), *ends)
    if recipe.data == "temporal":
        return data.temporal(*data.temporal_from(lam, rho))
    return data.gaussian(lam, rho, given.target_noise)


def _power(recipe: Recipe, given: Given) -> Float[Array, " d"]:
    """Power of the unmasked signal, falling evenly from the lowest frequency to the highest."""
    k = jnp.arange(recipe.features)
    frequency = jnp.minimum(k, recipe.features - k) / (recipe.features // 2)
    return (1 - frequency) * given.lam_high + frequency * given.lam_low


def pairs_of(recipe: Recipe, given: Given, features: Features, key: Array, count: int) -> Pairs:
    """Pairs (x, y) of the data model, in the basis of the features."""
    if recipe.data == "gaussian":
        return data.sample_gaussian(key, count, features)
    if recipe.data == "temporal":
        return data.sample_temporal(key, count, *data.temporal_from(features.lam, features.rho))
    complementary = recipe.data == "complementary"
    return data.sample_masked(key, count, _power(recipe, given), given.keep, complementary=complementary)


def keys_of(given: Given) -> tuple[Array, Array]:
    """Keys of the weights and of the samples."""
    weights, samples = jax.random.split(jax.random.key(given.seed.astype(int)))
    return weights, samples


def begin(recipe: Recipe, given: Given) -> tuple[Weights, Float[Array, "n d"]]:
    """The network at the start, and the frame of its representation."""
    return network.start(
        recipe.rule,
        recipe.start,
        keys_of(given)[0],
        features=recipe.features,
        width=recipe.width,
        L=recipe.L,
        scale=given.scale,
        predictor_scale=given.predictor_scale,
    )


def w_and_fit(recipe: Recipe, seen: Seen, features: Features) -> Float[Array, "2 d"]:
    """What thresholds are compared with: encoder response and fit."""
    return jnp.stack([seen.w, network.fit(recipe.rule, seen, features.rho)])


def signals_on_probe(recipe: Recipe, given: Given, features: Features, weights: Weights) -> tuple[Signals, Scalar]:
    """The closest linear maps of a network with an activation, and its loss, on samples kept for that."""
    key = jax.random.fold_in(keys_of(given)[1], 2**31 - 1)  # no step draws with this one
    x, y = pairs_of(recipe, given, features, key, PROBE_PAIRS)
    activation = network.ACTIVATIONS[recipe.activation]
    signals = network.linear_response(weights, x, activation)
    return signals, network.loss_on_pairs(recipe.rule, weights, x, y, activation)


def group(recipe: Recipe, method: Method) -> Callable[[Given], Learned]:
    """A function of several networks, with one more axis in front of everything."""

    def start(given: Given) -> tuple[Fixed, Progress]:
        features = features_of(recipe, given)
        weights, frame = begin(recipe, given)
        p, w_star = jnp.broadcast_arrays(given.p[:, None], network.rest(recipe.rule, features.rho, recipe.L)[None])
        fixed = Fixed(given, features, frame, jnp.stack([p * w_star, p]))
        return fixed, method.start(fixed, weights)

    def learn(given: Given) -> Learned:
        fixed, progress = each(start)(given)

        def segment(progress: Progress, j: Code) -> tuple[Progress, tuple]:
            progress, (seen, loss, time) = method.segment(fixed, progress, j)
            fit = each(functools.partial(network.fit, recipe.rule))(seen, fixed.features.rho)
            return progress, (jnp.stack([*seen, fit], axis=1), loss, time)

        progress, samples = lax.scan(segment, progress, jnp.arange(recipe.samples + 1))
        seen, losses, times = (jnp.moveaxis(a, 0, 1) for a in samples)
        crossings, ended, steps = method.end(fixed, progress, losses)
        return Learned(crossings.crossed, crossings.errors, seen, losses, times, ended, steps)

    return learn
