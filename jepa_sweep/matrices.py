"""Whole networks from Python: the gradient flow of given weights on given moments."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jepa_sweep.checks import check_max_steps, check_one_of, check_times, check_tolerance, real_numbers
from jepa_sweep.engine import devices
from jepa_sweep.engine.networks import gradient_flow
from jepa_sweep.engine.settings import NETWORK_SOLVERS
from jepa_sweep.engine.tracing import ArrayLike, refuse_traced
from jepa_sweep.errors import SpecError
from jepa_sweep.physics.data import Moments
from jepa_sweep.physics.network import OBJECTIVES, Weights


class NetworkPath(NamedTuple):
    """Weights along a flow: `layers[a]` holds W^(a+1) and `predictor` V, each with a first axis of times."""

    layers: tuple[np.ndarray, ...]
    predictor: np.ndarray


def network_flow(
    objective: str,
    layers: Sequence[ArrayLike],
    predictor: ArrayLike,
    sigma_xx: ArrayLike,
    sigma_yx: ArrayLike,
    sigma_yy: ArrayLike | None = None,
    *,
    ts: ArrayLike,
    rtol: float = 1e-8,
    method: str = "dopri8",
    ema: float = 1.0,
    max_steps: int = 100_000,
    device: str = "auto",
) -> NetworkPath:
    r"""Gradient flow of a deep linear network on population moments, integrated with diffrax in float64.

    $\dot W^a = -(W^L \cdots W^{a+1})^T V^T R\, (W^{a-1} \cdots W^1)^T$ and $\dot V = -R \bar W^T$, where
    $R = V \bar W \Sigma_{xx} - \bar W \Sigma_{yx}$ for JEPA and $R = V \bar W \Sigma_{xx} - \Sigma_{yx}$ for MAE.
    Without the stopped gradient ("nosg") $V^T R$ becomes $V^T R - (V \bar W \Sigma_{yx}^T - \bar W \Sigma_{yy})$.
    These are the gradients of the losses of Littwin et al. 2024; plain gradient-flow time, t = T / L in paper time T.

    Args:
        objective: "jepa", "mae", "nosg" (JEPA without stop-gradient) or "ema" (JEPA with an averaged target encoder,
            which starts as a copy of the encoder).
        layers: W^1 to W^L, the first to see x first; shapes (n_1, d), (n_2, n_1), ...
        predictor: V, of shape (n_L, n_L), or (d_y, n_L) for MAE.
        sigma_xx: E[x x^T], shape (d, d).
        sigma_yx: E[y x^T], shape (d_y, d); d_y must be d but for MAE.
        sigma_yy: E[y y^T]; needed only by "nosg".
        ts: flow times at which to return the weights, strictly increasing, from 0 on.
        rtol: relative tolerance of one step; the absolute one is rtol times the largest weight at the start.
        method: "dopri8", "dopri5" or "tsit5".
        ema: rate at which the averaged encoder follows, $\dot A^a = ema\,(W^a - A^a)$.
        max_steps: steps after which to give up.
        device: "auto", "cpu", "gpu" or "tpu".

    Returns:
        A `NetworkPath`; every array begins with the axis of `ts`. NaN at times not reached within `max_steps`.

    Raises:
        SpecError: shapes do not fit, a number is not finite, sigma_yy is missing, a setting is unknown, or the
            call is inside `jax.jit`.

    Example:
        >>> import numpy as np, jepa_sweep as js
        >>> eye = 0.1 * np.eye(2)
        >>> path = js.network_flow("mae", [eye, eye], eye, np.eye(2), np.diag([0.9, 0.5]), ts=[0.0, 1000.0])
        >>> (path.predictor[-1] @ path.layers[1][-1] @ path.layers[0][-1]).round(6).tolist()
        [[0.9, 0.0], [0.0, 0.5]]
    """
    here = jnp.zeros(())  # traced under jit, whatever the arguments
    refuse_traced("network_flow", (layers, predictor, sigma_xx, sigma_yx, sigma_yy, ts, here))
    check_one_of("objective", objective, tuple(OBJECTIVES))
    check_one_of("method", method, NETWORK_SOLVERS)
    check_tolerance(rtol, "float64")
    check_max_steps(max_steps)
    rule = OBJECTIVES[objective]
    if not hasattr(layers, "__len__"):
        raise SpecError(f"`layers` must be a list of matrices, the first to see x first, but it is {layers!r}.")
    stack = [_matrix(f"layers[{a}]", layer) for a, layer in enumerate(layers)]
    if not stack:
        raise SpecError("`layers` must hold at least one matrix, but it is empty.")
    V, xx, yx = _matrix("predictor", predictor), _matrix("sigma_xx", sigma_xx), _matrix("sigma_yx", sigma_yx)
    if sigma_yy is None and not rule.stops:
        raise SpecError(f"`sigma_yy` must be given for {objective}, whose gradient depends on it.")
    d, targets = stack[0].shape[1], len(yx)
    yy = np.zeros((targets, targets)) if sigma_yy is None else _matrix("sigma_yy", sigma_yy)
    for a, (below, layer) in enumerate(itertools.pairwise(stack)):
        _fits(f"layers[{a + 1}]", layer, (len(layer), len(below)))
    _fits("sigma_xx", xx, (d, d))
    _fits("sigma_yx", yx, (targets if rule.decodes else d, d))
    _fits("sigma_yy", yy, (targets, targets))
    _fits("predictor", V, (targets if rule.decodes else len(stack[-1]), len(stack[-1])))
    times = np.atleast_1d(real_numbers("ts", ts).astype(float))
    check_times(times, "ts")
    rate = real_numbers("ema", ema)
    if rate.ndim or not (np.isfinite(rate) and rate >= 0):
        raise SpecError(f"`ema` must be a rate of at least 0, but it is {ema!r}.")
    with devices.scope("float64", devices.pick(device)[0]):
        encoder = tuple(map(jnp.asarray, stack))
        weights = Weights(encoder, jnp.asarray(V), encoder if rule.averages else ())
        moments = Moments(*map(jnp.asarray, (xx, yx, yy)))
        found = gradient_flow.at_times(
            rule, weights, moments, times, method=method, rtol=rtol, ema=ema, max_steps=max_steps
        )
        return NetworkPath(*jax.tree.map(np.asarray, (found.layers, found.predictor)))


def _matrix(name: str, value: ArrayLike) -> np.ndarray:
    array = real_numbers(name, value).astype(float)
    if array.ndim != 2 or not np.all(np.isfinite(array)):
        raise SpecError(f"`{name}` must be a matrix of finite numbers, but its shape is {array.shape}.")
    return array


def _fits(name: str, matrix: np.ndarray, shape: tuple[int, int]) -> None:
    if matrix.shape != shape:
        raise SpecError(f"`{name}` must have the shape {shape} to fit the others, but it has {matrix.shape}.")
