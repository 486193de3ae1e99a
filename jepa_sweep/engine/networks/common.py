"""What training and flow of networks share: what one network is given, how it begins, what is noted about it.

Nothing here sees a batch.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jepa_sweep.physics import data, network
from jepa_sweep.physics.data import Features, Pairs
from jepa_sweep.physics.dynamics import Code, Scalar
from jepa_sweep.physics.network import Objective, Seen, Signals, Weights

PROBE = 4096  # samples on which a network with an activation is looked at


class Recipe(NamedTuple):
    """What decides the program: every field is a compile key."""

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
    """One network's own parameters, all scalars but for the thresholds p."""

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


class Found(NamedTuple):
    """What came of one network."""

    crossed: Float[Array, "2 p d"]  # flow times at which response and fit met the thresholds; NaN where not
    seen: Float[Array, "s 4 d"]  # w, projection, v and fit at each sample
    losses: Float[Array, " s"]
    times: Float[Array, " s"]  # flow times of the samples
    ended: Code
    steps: Code


class Looks(NamedTuple):
    """The last look at a network, and the thresholds it had met until then."""

    time: Scalar
    last: Float[Array, "2 d"]  # encoder response and fit
    crossed: Float[Array, "2 p d"]


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


def samples_of(recipe: Recipe, given: Given, features: Features, key: Array, count: int) -> Pairs:
    """Pairs (x, y) of the data model, in the basis of the features."""
    if recipe.data == "gaussian":
        return data.sample_gaussian(key, count, features)
    if recipe.data == "temporal":
        return data.sample_temporal(key, count, *data.temporal_from(features.lam, features.rho))
    sample = data.sample_masked if recipe.data == "masked" else data.sample_complementary
    return sample(key, count, _power(recipe, given), given.keep)


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


def levels(recipe: Recipe, given: Given, features: Features) -> Float[Array, "2 p d"]:
    """Thresholds of the encoder response, p w*, and of the fit, p."""
    p, w_star = jnp.broadcast_arrays(given.p[:, None], network.rest(recipe.rule, features.rho, recipe.L)[None])
    return jnp.stack([p * w_star, p])


def both(recipe: Recipe, seen: Seen, features: Features) -> Float[Array, "2 d"]:
    """What thresholds are compared with: encoder response and fit."""
    return jnp.stack([seen.w, network.fit(recipe.rule, seen, features.rho)])


def unseen(recipe: Recipe, given: Given, features: Features) -> Looks:
    """Before the first look."""
    wanted = levels(recipe, given, features)
    return Looks(jnp.zeros_like(given.eta), jnp.full_like(wanted[:, 0], jnp.inf), jnp.full_like(wanted, jnp.nan))


def meets(looks: Looks, now: Float[Array, "2 d"], wanted: Float[Array, "2 p d"]) -> Bool[Array, "2 p d"]:
    """Which thresholds lie between the last look and this one, for the first time."""
    return (looks.last[:, None] < wanted) & (now[:, None] >= wanted) & jnp.isnan(looks.crossed)


def look(looks: Looks, now: Float[Array, "2 d"], time: Scalar, wanted: Float[Array, "2 p d"]) -> Looks:
    """The next look: crossings since the last are placed evenly in ln of the response, where it is positive."""
    low, high = looks.last[:, None], now[:, None]
    grown = low > 0
    safe = jnp.where(grown, low, 1.0)
    share = jnp.where(grown, jnp.log(wanted / safe) / jnp.log(high / safe), (wanted - low) / (high - low))
    at = looks.time + share * (time - looks.time)
    return Looks(time, now, jnp.where(meets(looks, now, wanted), at, looks.crossed))


def describe(recipe: Recipe, seen: Seen, features: Features) -> Float[Array, "4 d"]:
    """A sample as it is kept: w, projection, v and fit."""
    return jnp.stack([*seen, network.fit(recipe.rule, seen, features.rho)])


def signals_on_probe(recipe: Recipe, given: Given, features: Features, weights: Weights) -> tuple[Signals, Scalar]:
    """The closest linear maps of a network with an activation, and its loss, on samples kept for that."""
    key = jax.random.fold_in(keys_of(given)[1], 2**31 - 1)  # no step draws with this one
    x, y = samples_of(recipe, given, features, key, PROBE)
    activation = network.ACTIVATIONS[recipe.activation]
    return network.linear_response(weights, x, activation), network.sample_loss(recipe.rule, weights, x, y, activation)


def masked(flag: Bool[Array, ""], new: Any, old: Any) -> Any:
    """`new` where the flag says so, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(flag, a, b), new, old)
