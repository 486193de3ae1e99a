"""Many networks: parameters in, what was learned out, in blocks that are dealt over the devices.

On each device the networks of a block are taken a group at a time. On a processor a group is small, so that its
matrices stay in the cache of a core; an accelerator takes as many as its memory holds.
"""

from collections.abc import Callable

import jax
import numpy as np
from jax import lax

from jepa_sweep.engine import blocks, devices, flow, train
from jepa_sweep.engine.networks import Found, Given, Recipe
from jepa_sweep.physics.experiments import OPTIMIZERS
from jepa_sweep.physics.systems import Columns, Status

GROUP = 4  # networks that advance together on a core
COPIES = 12  # of its weights that a network may need at once: gradients, products, the optimiser, stages


def _block(recipe: Recipe, shape: blocks.Shape) -> Callable:
    group = (train if recipe.method in OPTIMIZERS else flow).group(recipe)

    def block(count, *args):
        given = Given(*(a.reshape(-1, shape.width, *a.shape[1:]) for a in args))
        none = jax.eval_shape(group, jax.tree.map(lambda a: a[0], given))

        def one(numbered):
            number, given = numbered
            empty = jax.tree.map(lambda s: jax.numpy.zeros(s.shape, s.dtype), none)
            return lax.cond(number * shape.width < count[0], group, lambda _: empty, given)

        found = lax.map(one, (jax.numpy.arange(shape.rows // shape.width), given))
        return tuple(a.reshape(shape.rows, *a.shape[2:]) for a in found)

    return block


def shape_for(recipe: Recipe, count: int, where: tuple, itemsize: int) -> blocks.Shape:
    """The shape of the blocks for `count` networks on these devices."""
    share = -(-count // len(where))
    weights = (recipe.L + 1) * max(recipe.width, recipe.features) ** 2
    taken = 4 * (recipe.samples + 1) * recipe.features
    width = GROUP
    if where[0].platform != "cpu":
        width = devices.lanes_that_fit(where[0], (COPIES * weights + 2 * taken) * itemsize)
    width = min(width, 1 << (share - 1).bit_length())
    return blocks.Shape(width * -(-share // width), width, 1)


def learn(
    recipe: Recipe, columns: Columns, p: np.ndarray, *, precision: str, batch: int | None = None, device: str = "auto"
) -> Found:
    """Train, or integrate, n networks.

    Args:
        recipe: what they have in common.
        columns: the fields of `Given` but for `p`, shape (n,); those that are missing are taken as 0.
        p: thresholds, shape (n, thresholds).
        precision: "float64" or "float32".
        batch: networks of a typical call; calls that name the same number share one program. n by default.
        device: where to compute, see `devices.pick`.

    Returns:
        A `Found` of arrays with a first axis of n, in the order of the networks. Those that fit into no memory
        end as OOM.
    """
    where = devices.pick(device)
    blank = np.zeros(len(p))
    args = [p, *(columns.get(name, blank) for name in Given._fields[1:])]
    order = np.argsort(
        args[Given._fields.index("t_end")] / np.maximum(columns.get("eta", blank), 1e-300), kind="stable"
    )
    args = [np.asarray(a, float)[order] for a in args]
    out: list[np.ndarray] | None = None
    with devices.scope(precision, where[0]):
        shape = shape_for(recipe, batch or len(p), where, np.dtype(precision).itemsize)
        for rows, found in blocks.blocks(_block, (recipe,), args, precision, shape, where):
            if found is None:
                continue
            found = [blocks.checked(a, precision) for a in found]
            if out is None:
                out = [np.full((len(p), *a.shape[1:]), np.nan if a.dtype.kind == "f" else 0, a.dtype) for a in found]
                out[Found._fields.index("ended")][:] = Status.OOM
            for whole, part in zip(out, found, strict=True):
                whole[order[rows]] = part
    return Found(*out) if out else _none(recipe, *p.shape, precision)


def _none(recipe: Recipe, n: int, thresholds: int, precision: str) -> Found:
    """Where not one network fits into memory."""
    d, samples = recipe.features, recipe.samples + 1

    def lost(*shape: int) -> np.ndarray:
        return np.full((n, *shape), np.nan, precision)

    ended = np.full(n, Status.OOM)
    return Found(lost(2, thresholds, d), lost(samples, 4, d), lost(samples), lost(samples), ended, np.zeros(n, int))
