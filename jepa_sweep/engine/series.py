"""Moments of many long time series, simulated block by block, so that memory does not grow with their length.

`estimate` gives the moments of each whole series, `beginning` the first values of the same series.

Every run has keys of its own, from its seed and the number of the block, and is computed by the same program whatever
else is asked for beside it: its numbers depend on its own (gamma, noise, length, seed) and nothing else.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

from jepa_sweep.engine import devices, dispatch, programs
from jepa_sweep.physics import data
from jepa_sweep.physics.data import Values
from jepa_sweep.physics.dynamics import Code

BLOCK_VALUES = 1 << 15  # in one block of one run: its arrays stay in the cache of a core
GROUP = 8  # runs a device takes at a time

PerFeature = Float[np.ndarray, "n d"]
Whole = Shaped[np.ndarray, " n"]  # whole numbers, of any type
Signals = Float[np.ndarray, "n samples d"]


class Estimates(NamedTuple):
    """Estimates from each series, with the known mean 0 and in the basis v.

    lam, rho: estimates of E[x^t x^(t+1)] and of its ratio to E[x^2], shape (n, d).
    off_diagonal: mean square of the off-diagonal entries of U^T yx U, U the eigenbasis of xx, shape (n,); 0 for d = 1.
    xx, yx: the empirical moments, mean x^t x^t^T and mean x^(t+1) x^t^T, shape (n, d, d).
    """

    lam: np.ndarray
    rho: np.ndarray
    off_diagonal: np.ndarray
    xx: np.ndarray
    yx: np.ndarray


def estimate(gamma: PerFeature, noise: PerFeature, length: Whole, seed: Whole, *, device: str = "auto") -> Estimates:
    """Simulate n stationary series and estimate their moments, in float64.

    Args:
        gamma: correlation of each feature from one time to the next, shape (n, d), below 1 in absolute value.
        noise: standard deviation sigma of the noise along each feature, shape (n, d).
        length: pairs (x^t, x^(t+1)) of each run, shape (n,); they may differ and share one program.
        seed: one whole number for each run, shape (n,).
        device: where to compute, see `devices.pick`.
    """
    where, shape = devices.pick(device), programs.Shape(GROUP, GROUP)
    args = [np.asarray(values, float) for values in (gamma, noise, length, seed)]
    with devices.scope("float64", where[0]):
        return Estimates(*dispatch.results(_part, (), args, "float64", shape, where))


def beginning(gamma: PerFeature, noise: PerFeature, seed: Whole, samples: int) -> tuple[Signals, Signals]:
    """The first `samples` times of the series that `estimate` makes of these arguments, on the processor, in float64.

    Returns:
        u: the signals, shape (n, samples, d).
        x: the signals with their noise, in the basis v, the same shape.
    """
    with devices.scope("float64", devices.pick("cpu")[0]):
        given = (np.asarray(gamma, float), np.asarray(noise, float), np.asarray(seed, int))
        u, x = _beginnings(*given, samples)
        return np.asarray(u), np.asarray(x)


@functools.partial(jax.jit, static_argnums=3)
def _beginnings(
    gamma: Float[Array, "n d"], noise: Float[Array, "n d"], seed: Int[Array, " n"], samples: int
) -> tuple[Float[Array, "n s d"], Float[Array, "n s d"]]:
    def one(run: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        gamma, noise, seed = run
        key, size = jax.random.key(seed), _block_size(gamma.shape[0])
        u, x = _first(key, gamma, noise)

        def block(u: Array, number: Array) -> tuple[Array, tuple[Array, Array]]:
            us, y = _next(key, number, u, gamma, noise, size)
            return us[-1], (us, y)

        _, (us, y) = lax.scan(block, u, jnp.arange(-(-(samples - 1) // size)))
        flat = (jnp.concatenate([first[None], rest.reshape(-1, *first.shape)]) for first, rest in ((u, us), (x, y)))
        u, x = (values[:samples] for values in flat)
        return u, x

    return lax.map(one, (gamma, noise, seed))


def _part(shape: programs.Shape) -> Callable:
    # One run after the other, not side by side, and always as many: a vectorised sum may round differently with the
    # number of its mates, and so may a loop that is compiled for another number of turns.
    def part(count: Array, gamma: Array, noise: Array, length: Array, seed: Array) -> tuple:
        real = jnp.arange(shape.rows, dtype=count.dtype) < count[0]
        length = jnp.where(real, length, 0)  # rows that only fill the part cost nothing
        return lax.map(_one, (gamma, noise, length.astype(int), seed.astype(int)))

    return part


def _block_size(d: int) -> int:
    return max(64, BLOCK_VALUES // d)


def _first(key: Array, gamma: Values, noise: Values) -> tuple[Values, Values]:
    """Signals and observations at t = 0, of the stationary process."""
    u, xi = jax.random.normal(jax.random.fold_in(key, 0), (2, gamma.shape[0]))
    return u, u + noise * xi


def _next(
    key: Array, number: Code, u: Values, gamma: Values, noise: Values, size: int
) -> tuple[Float[Array, "b d"], Float[Array, "b d"]]:
    """The next block of signals and observations, after the signals `u`."""
    shocks, xi = jax.random.normal(jax.random.fold_in(key, number + 1), (2, size, gamma.shape[0]))
    us = data.ar1(u, jnp.sqrt(1 - gamma**2)[None] * shocks, gamma)
    return us, us + noise[None] * xi


def _one(run: tuple[Array, Array, Array, Array]) -> tuple:
    """The fields of `Estimates` for one run."""
    gamma, noise, length, seed = run
    d = gamma.shape[0]
    key, size = jax.random.key(seed), _block_size(d)

    def block(number: Code, carry: tuple) -> tuple:
        u, x, sums = carry
        us, y = _next(key, number, u, gamma, noise, size)
        before = jnp.concatenate([x[None], y[:-1]])
        # Beyond the end of the series a pair counts for nothing.
        counted = jnp.where((number * size + jnp.arange(size) < length)[:, None], before, 0)
        # Both moments in one product: of two, the compiler may sum one in another order on another number of devices.
        return us[-1], y[-1], sums + jnp.concatenate([counted, y], axis=1).T @ counted

    start = _first(key, gamma, noise)
    *_, sums = lax.fori_loop(0, -(-length // size), block, (*start, jnp.zeros((2 * d, d))))
    xx, yx = jnp.split(sums / length.astype(sums.dtype), 2)
    lam, s2 = jnp.diag(yx), jnp.diag(xx)
    return lam, lam / s2, off_diagonal(xx, yx), xx, yx


def off_diagonal(xx: Float[Array, "d d"], yx: Float[Array, "d d"]) -> Float[Array, ""]:
    """Mean square of the off-diagonal entries of yx in the eigenbasis of xx: 0 where one basis diagonalises both."""
    d = len(xx)
    _, basis = jnp.linalg.eigh(xx)
    turned = basis.T @ yx @ basis
    return jnp.sum(jnp.where(jnp.eye(d, dtype=bool), 0, turned) ** 2) / max(1, d * (d - 1))
