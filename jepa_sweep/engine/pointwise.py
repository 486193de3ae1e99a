"""A function of one point, called with arrays that broadcast together, or inside the host program's own `jit`."""

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jepa_sweep.engine import devices, many
from jepa_sweep.engine.tracing import is_traced

MANY = 1 << 15  # points, more of which go in blocks that fit a cache, and twice as many on all cores of a processor


def call(build: Callable[..., Callable], key: tuple, values: Sequence[Any]) -> Any:
    """The function's values in float64.

    Args:
        build: makes the function, which takes numbers and returns one.
        key: what `build` is given; calls with the same share their programs.
        values: its arguments, which broadcast together: arrays, or what JAX can make one of.

    Returns:
        In the broadcast shape: a NumPy array or number, or a traced array where JAX traces one of the values.
    """
    traced = any(is_traced(v) for v in values)
    if not traced and devices.pick()[0].platform == "cpu":
        shape = np.broadcast_shapes(*(np.shape(v) for v in values))
        if math.prod(shape) > MANY:
            columns = [np.broadcast_to(np.asarray(v, float), shape).ravel() for v in values]
            return many.evaluate(_in_tuple, (build, key), columns)[0].reshape(shape)
    at_once = contextlib.nullcontext() if traced else jax.ensure_compile_time_eval()
    with at_once, jax.enable_x64(True):
        arrays = [jnp.asarray(v).astype(float) for v in values]
        rank = max(a.ndim for a in arrays)
        arrays = [lax.expand_dims(a, range(rank - a.ndim)) for a in arrays]  # hosts may forbid unequal ranks
        result = _compiled(build, key)(*arrays)
    # NumPy keeps all 64 bits, where a host program in float32 would round a JAX array.
    return result if traced else np.asarray(result)[()]


@functools.lru_cache(maxsize=64)
def _compiled(build: Callable[..., Callable], key: tuple) -> Callable:
    return jax.jit(jnp.vectorize(build(*key)))


def _in_tuple(build: Callable[..., Callable], key: tuple) -> Callable:
    function = build(*key)
    return lambda *values: (function(*values),)
