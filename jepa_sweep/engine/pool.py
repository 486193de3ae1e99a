"""A fixed number of solves advance together, each at its own pace: the loop that no solve waits in.

A lane that comes to rest is settled: it hands out its result and takes the next task, or goes on. Lanes are settled
a group at a time, so that what happens once a solve is not paid on every step.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from jepa_sweep.physics.dynamics import Flag

Lane = Any  # a pytree: where one solve stands
Notes = Any  # a pytree of arrays: what a lane writes down on its way, read when it is settled
Task = Any  # a pytree of arrays: what one solve is given
Result = Any  # a pytree of arrays: what one solve comes to
Trip = Int[Array, ""]  # number of a step, the same for all lanes
Index = Int[Array, ""]
Places = Int[Array, " w"]


class Course(NamedTuple):
    """How one solve goes; nothing here sees a batch.

    Notes are kept apart from the lane because they are large: nothing but `advance` writes them, one place a trip.
    """

    start: Callable[[Task, Trip], Lane]
    blank: Callable[[Task], Notes]  # room for notes
    advance: Callable[[Lane, Notes, Trip, Flag], tuple[Lane, Notes]]  # one step; notes only where the flag says so
    rests: Callable[[Lane], Flag]  # True where the lane waits to be settled
    # A lane, the notes of all lanes, its number among them, the trip: what to go on with, the result, and
    # whether it is over.
    settle: Callable[[Lane, Notes, Index, Trip], tuple[Lane, Result, Flag]]
    share: float = 0.25  # of the lanes that are settled together; more where a solve takes few steps


class Harvest(NamedTuple):
    """What a pool came to: one result per task, and the number of trips all lanes made."""

    results: Result
    trips: Trip


def _take(tree: Any, places: Places) -> Any:
    return jax.tree.map(lambda x: x[places], tree)


def _put(tree: Any, places: Places, values: Any) -> Any:
    return jax.tree.map(lambda x, v: x.at[places].set(v, mode="drop"), tree, values)


def _choose(condition: Bool[Array, " w"], yes: Any, no: Any) -> Any:
    def pick(a: Array, b: Array) -> Array:
        return jnp.where(condition.reshape(condition.shape + (1,) * (a.ndim - condition.ndim)), a, b)

    return jax.tree.map(pick, yes, no)


def run(course: Course, tasks: Task, count: Int[Array, ""], width: int) -> Harvest:
    """Solve the first `count` of the tasks in `width` lanes.

    Args:
        course: how one solve goes.
        tasks: a pytree of arrays with one leading axis, at least `width` long.
        count: number of tasks that are real; results of the others are zero.
        width: lanes that advance together.

    Returns:
        Results in the order of the tasks; trips times width lane steps were paid for.
    """
    group, count = max(1, int(course.share * width)), count.astype(int)
    total = len(jax.tree.leaves(tasks)[0])
    nobody = total  # the task of an idle lane
    begin = jax.vmap(course.start, (0, None))
    settle_all = jax.vmap(course.settle, (0, None, 0, None))
    places, trip = jnp.arange(width), jnp.zeros((), int)
    some = _take(tasks, places)
    lanes, notes = begin(some, trip), jax.vmap(course.blank)(some)
    shapes = jax.eval_shape(settle_all, lanes, notes, places, trip)[1]
    results = jax.tree.map(lambda s: jnp.zeros((total, *s.shape[1:]), s.dtype), shapes)

    def resting(lanes: Lane, task: Places) -> Bool[Array, " w"]:
        return jax.vmap(course.rests)(lanes) | (task == nobody)

    def advance(carry: tuple) -> tuple:
        lanes, notes, task, rest, trip = carry
        ahead, notes = jax.vmap(course.advance, (0, 0, None, 0))(lanes, notes, trip, ~rest)
        lanes = _choose(rest, lanes, ahead)
        return lanes, notes, task, resting(lanes, task), trip + 1

    def keeps_going(carry: tuple) -> Flag:
        _, _, task, rest, _ = carry
        return (jnp.sum(rest & (task != nobody)) < group) & ~jnp.all(rest)

    def settle(carry: tuple) -> tuple:
        lanes, notes, task, trip, following, results = carry
        rest = resting(lanes, task)
        lanes, notes, task, rest, trip = lax.while_loop(keeps_going, advance, (lanes, notes, task, rest, trip))
        (here,) = jnp.nonzero(rest & (task != nobody), size=group, fill_value=width)
        gone_on, found, over = settle_all(_take(lanes, here), notes, here, trip)
        over &= here < width
        results = _put(results, jnp.where(over, task[here], total), found)
        new = following + jnp.cumsum(over) - 1
        fresh = begin(_take(tasks, new), trip)
        lanes = _put(lanes, here, _choose(over, fresh, gone_on))
        task = _put(task, here, jnp.where(over, jnp.where(new < count, new, nobody), task[here]))
        return lanes, notes, task, trip, following + jnp.sum(over), results

    def unfinished(carry: tuple) -> Flag:
        return jnp.any(carry[2] != nobody)

    task = jnp.where(places < count, places, nobody)
    carry = (lanes, notes, task, trip, jnp.asarray(width, trip.dtype), results)
    *_, trip, _, results = lax.while_loop(unfinished, settle, carry)
    return Harvest(results, trip)
