"""A function of one point for many: no lanes, one program for all calls of a size, a thread for each core."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jepa_sweep.engine import cores, devices, dispatch, programs

EVALUATIONS = 1 << 15  # points of one thread at least


def evaluate(
    build: Callable[..., Callable],
    key: tuple,
    columns: list[np.ndarray],
    *,
    batch: int | None = None,
    row_bytes: int = 1 << 10,
    elementwise: bool = False,
    device: str = "auto",
) -> list[np.ndarray]:
    """The values of a function of one point at many, always in float64.

    Args:
        build: makes the function, which takes numbers and returns a tuple of arrays.
        key: what `build` is given; calls with the same share one program.
        columns: the numbers of n points, each of shape (n, ...).
        batch: points of a typical call; calls that name the same number share one program. n by default.
        row_bytes: about what one point takes in memory.
        elementwise: whether the function takes arrays of points as well.
        device: where to compute, see `devices.pick`.

    Returns:
        Arrays with a first axis of n.
    """
    where, count = devices.pick(device), len(columns[0])
    shape = dispatch.shape_for(cores.longest(batch or count, where, EVALUATIONS), where, row_bytes)

    def some(rows: slice) -> list[np.ndarray]:
        with devices.scope("float64", where[0]):
            return dispatch.results(
                _map, (build, key, elementwise), [c[rows] for c in columns], "float64", shape, where
            )

    return cores.together(some, cores.stretches(count, where, EVALUATIONS))


def _map(build: Callable[..., Callable], key: tuple, elementwise: bool, shape: programs.Shape) -> Callable:
    def part(count: Any, *args: Any) -> Any:
        del count
        function = build(*key)
        each = function if elementwise else jax.vmap(function)
        blocks = [arg.reshape(-1, shape.width, *arg.shape[1:]) for arg in args]
        found = jax.lax.map(lambda block: each(*block), blocks)
        return [out.reshape(-1, *out.shape[2:]) for out in found]

    return part
