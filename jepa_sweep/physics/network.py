"""Deep linear networks: losses of JEPA and MAE on the matrices W^1..W^L and V, their gradients, responses to features.

x passes through the encoder Wbar = W^L ... W^1 and the predictor V. MAE predicts the target y itself, JEPA its
representation Wbar y, which it treats as a constant: it stops the gradient. Two more objectives take that apart:
`nosg` lets the gradient through, `ema` encodes the target by a slowly following average of the encoder.

In the limit of many samples a linear network sees the data through three matrices, E[x x^T], E[y x^T] and E[y y^T];
each may be given whole, or as its diagonal where it is diagonal. Times are plain gradient-flow times t, dW/dt = -dl/dW.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jepa_sweep.physics.data import Moments, Values
from jepa_sweep.physics.dynamics import Code, Flag, Scalar

Matrix = Float[Array, "_ _"]  # of any shape: those in one signature need not agree
Moment = Matrix | Values  # where it is diagonal, its diagonal
Activation = Callable[[Array], Array]

ACTIVATIONS: dict[str, Activation] = {
    "linear": lambda x: x,
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "tanh": jnp.tanh,
}


class Weights(NamedTuple):
    """A network: encoder layers W^1..W^L, predictor V, and the layers of the averaged encoder if there is one."""

    layers: tuple[Matrix, ...]
    predictor: Matrix
    average: tuple[Matrix, ...] = ()


class Objective(NamedTuple):
    """A loss: the target of the predictor, and whether a gradient flows into it."""

    name: str
    decodes: bool = False  # y itself is the target, as in MAE
    stops: bool = True  # no gradient flows into the target
    averages: bool = False  # the target is encoded by a moving average of the encoder


OBJECTIVES = {
    o.name: o
    for o in (
        Objective("jepa"),
        Objective("mae", decodes=True),
        Objective("nosg", stops=False),
        Objective("ema", averages=True),
    )
}


class Signals(NamedTuple):
    """The linear maps of a network: x to representation, x to prediction."""

    encoder: Matrix  # Wbar
    output: Matrix  # V Wbar


class Seen(NamedTuple):
    """Responses of a network to each feature.

    w: encoder response |Wbar e_i|. projection: of Wbar e_i on the direction in which an aligned start puts feature i.
    v: predictor response, JEPA <a_i, V a_i> with a_i = Wbar e_i / |Wbar e_i|, MAE <e_i, V a_i>; 0 without a response.
    """

    w: Values
    projection: Values
    v: Values


def _times(a: Matrix, s: Moment) -> Matrix:
    """A S, where S may be given as its diagonal."""
    return a * s[None] if s.ndim == 1 else a @ s


def _columns(a: Matrix) -> Values:
    """The sum of each column.

    On a processor a few rows at a time: XLA computes what is summed over 32 rows or more as an array of its own.
    """

    def in_parts(a: Matrix) -> Values:
        return functools.reduce(jnp.add, (jnp.sum(a[i : i + 25], axis=0) for i in range(0, len(a), 25)))

    return jax.lax.platform_dependent(a, cpu=in_parts, default=functools.partial(jnp.sum, axis=0))


def _whole(s: Moment) -> Matrix:
    return jnp.diag(s) if s.ndim == 1 else s


def _back(a: Matrix, b: Matrix) -> Matrix:
    """A^T B. On a processor A is transposed beforehand, because XLA's fast products read a first factor along its rows.

    The barrier keeps XLA from putting the two together again.
    """

    def turned(a: Matrix, b: Matrix) -> Matrix:
        return jax.lax.optimization_barrier(a.T) @ b

    return jax.lax.platform_dependent(a, b, cpu=turned, default=lambda a, b: a.T @ b)


def _transposed(s: Moment) -> Moment:
    return s if s.ndim == 1 else s.T


def encoder(layers: tuple[Matrix, ...]) -> Matrix:
    """Wbar = W^L ... W^1."""
    return functools.reduce(lambda product, layer: layer @ product, layers)


def signals(weights: Weights) -> Signals:
    """Wbar and V Wbar."""
    wbar = encoder(weights.layers)
    return Signals(wbar, weights.predictor @ wbar)


def _target(objective: Objective, weights: Weights, wbar: Matrix) -> Matrix:
    return encoder(weights.average) if objective.averages else wbar


def loss(objective: Objective, weights: Weights, moments: Moments) -> Scalar:
    """Half the mean squared error: tr(V Wbar Sxx Wbar^T V^T)/2 - tr(V Wbar Syx^T Wbar^T) + tr(Wbar Syy Wbar^T)/2.

    For MAE the last two Wbar are the identity; for `ema` they are the averaged encoder.
    """
    wbar, output = signals(weights)
    own = jnp.sum(_columns(_times(output, moments.xx) * output))
    if objective.decodes:
        return own / 2 - jnp.sum(_whole(moments.yx) * output) + jnp.trace(_whole(moments.yy)) / 2
    target = _target(objective, weights, wbar)
    crossed = jnp.sum(_columns(_times(output, _transposed(moments.yx)) * target))
    return own / 2 - crossed + jnp.sum(_columns(_times(target, moments.yy) * target)) / 2


def gradient(objective: Objective, weights: Weights, moments: Moments) -> tuple[Weights, Signals]:
    """dl/dV = R Wbar^T and dl/dW^a = (W^L..W^(a+1))^T V^T R (W^(a-1)..W^1)^T, and the maps computed on the way.

    R = V Wbar Sxx - Wbar Syx for JEPA, V Wbar Sxx - Syx for MAE. Without the stopped gradient V^T R becomes
    V^T R - (V Wbar Syx^T - Wbar Syy).
    """
    products = [weights.layers[0]]
    for layer in weights.layers[1:]:
        products.append(layer @ products[-1])
    wbar = products[-1]
    output = weights.predictor @ wbar
    target = _whole(moments.yx) if objective.decodes else _times(_target(objective, weights, wbar), moments.yx)
    residual = _times(output, moments.xx) - target
    back = _back(weights.predictor, residual)
    if not objective.stops:
        back = back - _times(output, _transposed(moments.yx)) + _times(wbar, moments.yy)
    layers = []
    for layer, below in zip(weights.layers[:0:-1], products[-2::-1], strict=True):
        layers.append(back @ below.T)
        back = _back(layer, back)
    still = tuple(jnp.zeros_like(a) for a in weights.average)
    return Weights((back, *layers[::-1]), residual @ wbar.T, still), Signals(wbar, output)


def velocity(objective: Objective, weights: Weights, moments: Moments, rate: Scalar | float = 0.0) -> Weights:
    """d weights / dt = -gradient; the averaged encoder follows by dA^a/dt = rate (W^a - A^a)."""
    slope, _ = gradient(objective, weights, moments)
    average = tuple(rate * (w - a) for w, a in zip(weights.layers, weights.average, strict=False))
    return Weights(tuple(-g for g in slope.layers), -slope.predictor, average)


def encode(layers: tuple[Matrix, ...], x: Float[Array, "b d"], activation: Activation) -> Float[Array, "b n"]:
    """The representation of samples; the activation stands between layers, not after the last."""
    for layer in layers[:-1]:
        x = activation(x @ layer.T)
    return x @ layers[-1].T


def loss_on_pairs(
    objective: Objective,
    weights: Weights,
    x: Float[Array, "b d"],
    y: Float[Array, "b d"],
    activation: Activation = ACTIVATIONS["linear"],
) -> Scalar:
    """Half the mean squared error over samples, for networks with or without an activation."""
    predicted = encode(weights.layers, x, activation) @ weights.predictor.T
    if objective.decodes:
        target = y
    else:
        target = encode(weights.average if objective.averages else weights.layers, y, activation)
        target = jax.lax.stop_gradient(target) if objective.stops else target
    return jnp.sum((predicted - target) ** 2) / (2 * len(x))


def linear_response(weights: Weights, x: Float[Array, "b d"], activation: Activation) -> Signals:
    """The linear maps closest to a network on samples of uncorrelated features: E[h x_i] / E[x_i^2]."""
    h = encode(weights.layers, x, activation)
    wbar = h.T @ (x / jnp.sum(x**2, axis=0, keepdims=True))
    return Signals(wbar, weights.predictor @ wbar)


def observe(objective: Objective, found: Signals, frame: Matrix) -> Seen:
    """The responses to each feature, e_i being the unit vectors of the input."""
    wbar, output = found
    square = _columns(wbar**2)
    w = jnp.sqrt(square)
    projection = _columns(frame * wbar)
    if objective.decodes:
        return Seen(w, projection, jnp.where(w == 0, 0, jnp.diag(output) / jnp.where(w == 0, 1, w)))
    return Seen(w, projection, jnp.where(w == 0, 0, _columns(wbar * output) / jnp.where(w == 0, 1, square)))


def fit(objective: Objective, seen: Seen, rho: Values) -> Values:
    """The learned fraction of each feature's regression: v / rho for JEPA, v w / rho for MAE; 1 at rest."""
    return seen.v * (seen.w if objective.decodes else 1.0) / rho


def rest(objective: Objective, rho: Any, L: int) -> Any:
    """Encoder response at which a balanced aligned network comes to rest, |rho|^L or |rho|^(L/(L+1))."""
    return abs(rho) ** (L / (L + 1) if objective.decodes else L)


def orthonormal(a: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """The matrix of orthonormal columns nearest to one with as many rows or more; of a Gaussian one, uniform (Haar).

    The polar factor, by Newton and Schulz: X <- X (3 - X^T X) / 2 takes every singular value to 1.
    """
    near = 100 * a.shape[1] ** 0.5 * jnp.finfo(a.dtype).eps

    def off(x: Matrix) -> Matrix:
        return jnp.eye(a.shape[1], dtype=a.dtype) - x.T @ x

    def going(carry: tuple[Matrix, Code]) -> Flag:
        x, tries = carry
        return (jnp.linalg.norm(off(x)) > near) & (tries < 200)

    def better(carry: tuple[Matrix, Code]) -> tuple[Matrix, Code]:
        x, tries = carry
        return x + x @ off(x) / 2, tries + 1

    # Only products of matrices: a factorisation would leave the compiled program, and wait for one matrix at a time.
    return better(jax.lax.while_loop(going, better, (a / jnp.linalg.norm(a), jnp.zeros((), int))))[0]


def step_limit(objective: Objective, lam: Float[np.ndarray, " d"], rho: Float[np.ndarray, " d"], L: int) -> float:
    """The step above which gradient descent cannot stay at the balanced, aligned rest point of JEPA or MAE.

    2 / max over features i, j of s2_j (rho_i^(2L+1) + rho_j^(2L+1)) / (rho_i + rho_j) for JEPA and of
    s2_j (rho_i^2 - rho_j^2) / (rho_i^(2/(L+1)) - rho_j^(2/(L+1))) for MAE: the rate at which what leaks from feature j
    into i decays. At i = j that is s2 rho^(2L), and (L+1) s2 rho^(2L/(L+1)).
    """
    i, j, s2 = rho[:, None], rho[None, :], (lam / rho)[None, :]
    if not objective.decodes:
        return float(2 / np.max(s2 * (i ** (2 * L + 1) + j ** (2 * L + 1)) / (i + j)))
    x, y = i ** (2 / (L + 1)), j ** (2 / (L + 1))  # divided out: (x^(L+1) - y^(L+1)) / (x - y)
    return float(2 / np.max(s2 * sum(x ** (L - k) * y**k for k in range(L + 1))))


def start(
    objective: Objective,
    kind: str,
    key: Array,
    *,
    features: int,
    width: int,
    L: int,
    scale: Scalar | float,
    predictor_scale: Scalar | float,
) -> tuple[Weights, Matrix]:
    """Initial weights, and the frame F of the representation, of shape (width, features).

    aligned: W^a = scale F^a F^(a-1)^T with random F^a of orthonormal columns, F^0 = I; V = predictor_scale F F^T for
    JEPA, predictor_scale F^T for MAE. So every feature begins with w = scale^L. Needs width >= features.
    gaussian: independent normal weights of standard deviation scale / sqrt(inputs of the layer); the frame is I.
    """
    dtype = jnp.result_type(scale)
    keys = jax.random.split(key, L + 1)
    outputs = features if objective.decodes else width
    if kind == "aligned":
        frames = [jnp.eye(features, dtype=dtype)]
        for k in keys[:L]:
            frames.append(orthonormal(jax.random.normal(k, (width, features), dtype)))
        layers = tuple(scale * above @ below.T for below, above in itertools.pairwise(frames))
        frame = frames[-1]
        predictor = predictor_scale * (frame.T if objective.decodes else frame @ frame.T)
    else:
        sizes = [features, *[width] * L]
        layers = tuple(
            scale / m**0.5 * jax.random.normal(k, (n, m), dtype)
            for k, m, n in zip(keys[:L], sizes, sizes[1:], strict=False)
        )
        predictor = predictor_scale / width**0.5 * jax.random.normal(keys[L], (outputs, width), dtype)
        frame = jnp.eye(width, features, dtype=dtype)
    return Weights(layers, predictor, layers if objective.averages else ()), frame
