"""Many networks: parameters in, results out, in parts that are split over the devices.

On each device the networks of a part are taken a group at a time. On a processor a group is small, so that its
matrices stay in the cache of a core, and a large network is one of its own; an accelerator takes as many as its memory
holds.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jepa_sweep.engine import devices, dispatch, programs
from jepa_sweep.engine.networks import common
from jepa_sweep.engine.networks.common import Given, Learned, Recipe
from jepa_sweep.engine.settings import COPIES, GROUP, OPTIMIZERS
from jepa_sweep.physics.host import Columns, Status

CACHE = 2 << 20  # bytes, of a core: what the matrices of a group should take on a processor


def _part(recipe: Recipe, shape: programs.Shape) -> Callable:
    from jepa_sweep.engine.networks import gradient_flow, training  # not at the top: a program that is kept needs none

    way = training if recipe.method in OPTIMIZERS else gradient_flow
    group = common.group(recipe, way.method(recipe))

    def part(count, *args):
        given = Given(*(a.reshape(-1, shape.width, *a.shape[1:]) for a in args))
        none = jax.eval_shape(group, jax.tree.map(lambda a: a[0], given))

        def one(numbered):
            number, given = numbered
            empty = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), none)
            return lax.cond(number * shape.width < count[0], group, lambda _: empty, given)

        found = lax.map(one, (jnp.arange(shape.rows // shape.width, dtype=count.dtype), given))
        return tuple(a.reshape(shape.rows, *a.shape[2:]) for a in found)

    return part


def shape_for(recipe: Recipe, count: int, where: tuple, itemsize: int) -> programs.Shape:
    """The shape of the parts for `count` networks on these devices."""
    share = -(-count // len(where))
    weights = (recipe.L + 1) * max(recipe.width, recipe.features) ** 2
    taken = 4 * (recipe.samples + 1) * recipe.features
    if where[0].platform == "cpu":
        width = min(GROUP, 1 << max(1, CACHE // (COPIES * weights * itemsize)).bit_length() - 1)
    else:
        width = devices.lanes_that_fit(where[0], (COPIES * weights + 2 * taken) * itemsize)
    width = min(width, 1 << (share - 1).bit_length())
    return programs.Shape(width * -(-share // width), width, 1)


def learn(
    recipe: Recipe,
    columns: Columns,
    p: Float[np.ndarray, "n p"],
    *,
    precision: str,
    batch: int | None = None,
    device: str = "auto",
) -> Learned:
    """Train, or integrate, n networks.

    Args:
        recipe: what they have in common.
        columns: the fields of `Given` but for `p`, shape (n,); those that are missing are taken as 0.
        p: thresholds, shape (n, thresholds).
        precision: "float64" or "float32".
        batch: networks of a typical call; calls that name the same number share one program. n by default.
        device: where to compute, see `devices.pick`.

    Returns:
        A `Learned`, in the order of the networks. Those that fit into no memory end as OOM.
    """
    where = devices.pick(device)
    given = _given(columns, p)
    # Networks with as many steps to take go together.
    order = np.argsort(given["t_end"] / np.where(given["eta"] > 0, given["eta"], 1), kind="stable")
    args = [a[order] for a in given.values()]
    learned = _blank(recipe, p, precision)
    with devices.scope(precision, where[0]):
        shape = shape_for(recipe, batch or len(p), where, np.dtype(precision).itemsize)
        for rows, found in dispatch.parts(_part, (recipe,), args, precision, shape, where):
            if found is not None:
                for whole, part in zip(learned, found, strict=True):
                    whole[order[rows]] = part
    return learned


def _given(columns: Columns, p: np.ndarray) -> Columns:
    """The fields of `Given`, in their order."""
    blank = np.zeros(len(p))
    return {"p": p, **{name: np.asarray(columns.get(name, blank), float) for name in Given._fields[1:]}}


def _blank(recipe: Recipe, p: np.ndarray, precision: str) -> Learned:
    """The results before anything is computed, which are those of networks that fit into no memory."""
    (n, thresholds), d, samples = p.shape, recipe.features, recipe.samples + 1

    def lost(*shape: int) -> np.ndarray:
        return np.full((n, *shape), np.nan, precision)

    ended, steps = np.full(n, Status.OOM, np.int64), np.zeros(n, np.int64)
    crossed, errors = lost(2, thresholds, d), lost(thresholds, d)
    return Learned(crossed, errors, lost(samples, 4, d), lost(samples), lost(samples), ended, steps)


def features_of(recipe: Recipe, columns: Columns) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]:
    """lam and rho of each network's data, float64 arrays of shape (n, features)."""
    with devices.scope("float64", devices.pick("cpu")[0]):
        given = Given(*map(jnp.asarray, _given(columns, np.zeros((len(columns["seed"]), 1))).values()))
        lam, rho = _lam_rho(recipe, given)
        return np.asarray(lam), np.asarray(rho)


@functools.partial(jax.jit, static_argnums=0)
def _lam_rho(recipe: Recipe, given: Given) -> tuple[Float[Array, "n d"], Float[Array, "n d"]]:
    found = jax.vmap(lambda g: common.features_of(recipe, g))(given)
    return found.lam, found.rho
