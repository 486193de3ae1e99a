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

Lane = Any  # a pytree: where one solve stands
Task = Any  # a pytree of arrays: what one solve is given
Result = Any  # a pytree of arrays: what one solve comes to


class Course(NamedTuple):
    """How one solve goes; nothing here sees a batch."""

    start: Callable[[Task], Lane]
    advance: Callable[[Lane], Lane]  # one step of the solver; not called to any effect once the lane rests
    rests: Callable[[Lane], Bool[Array, ""]]  # True where the lane waits to be settled
    settle: Callable[[Lane], tuple[Lane, Result, Bool[Array, ""]]]  # lane to go on with, result, whether it is over


class Harvest(NamedTuple):
    """What a pool came to: one result per task, and the number of trips all lanes made."""

    results: Result
    trips: Int[Array, ""]


def _take(tree: Any, places: Array) -> Any:
    return jax.tree.map(lambda x: x[places], tree)


def _put(tree: Any, places: Array, values: Any) -> Any:
    return jax.tree.map(lambda x, v: x.at[places].set(v, mode="drop"), tree, values)


def _choose(condition: Array, yes: Any, no: Any) -> Any:
    def pick(a: Array, b: Array) -> Array:
        return jnp.where(condition.reshape(condition.shape + (1,) * (a.ndim - condition.ndim)), a, b)

    return jax.tree.map(pick, yes, no)


def run(course: Course, tasks: Task, count: Int[Array, ""], width: int, group: int) -> Harvest:
    """Solve the first `count` of the tasks in `width` lanes, settled `group` at a time.

    Args:
        course: how one solve goes.
        tasks: a pytree of arrays with one leading axis, at least `width` long.
        count: number of tasks that are real; results of the others are zero.
        width: lanes that advance together.
        group: resting lanes that are settled together, at most `width`.

    Returns:
        Results in the order of the tasks; trips times width lane steps were paid for.
    """
    total = len(jax.tree.leaves(tasks)[0])
    nobody = total  # the task of an idle lane
    first = jnp.arange(width)
    lanes = jax.vmap(course.start)(_take(tasks, first))
    shapes = jax.eval_shape(jax.vmap(course.settle), lanes)[1]
    results = jax.tree.map(lambda s: jnp.zeros((total, *s.shape[1:]), s.dtype), shapes)

    def resting(lanes: Lane, task: Array) -> Array:
        return jax.vmap(course.rests)(lanes) | (task == nobody)

    def advance(carry: tuple) -> tuple:
        lanes, task, rest, trips = carry
        lanes = _choose(rest, lanes, jax.vmap(course.advance)(lanes))
        return lanes, task, resting(lanes, task), trips + 1

    def keeps_going(carry: tuple) -> Array:
        _, task, rest, _ = carry
        return (jnp.sum(rest & (task != nobody)) < group) & ~jnp.all(rest)

    def settle(carry: tuple) -> tuple:
        lanes, task, trips, ahead, results = carry
        lanes, task, rest, trips = lax.while_loop(keeps_going, advance, (lanes, task, resting(lanes, task), trips))
        (here,) = jnp.nonzero(rest & (task != nobody), size=group, fill_value=width)
        gone_on, found, over = jax.vmap(course.settle)(_take(lanes, here))
        results = _put(results, jnp.where(over, task[here], total), found)
        following = ahead + jnp.cumsum(over) - 1
        fresh = jax.vmap(course.start)(_take(tasks, following))
        lanes = _put(lanes, here, _choose(over, fresh, gone_on))
        task = task.at[here].set(
            jnp.where(over, jnp.where(following < count, following, nobody), task[here]), mode="drop"
        )
        served = jnp.sum(over & (here < width))
        return lanes, task, trips, ahead + served, results

    def unfinished(carry: tuple) -> Array:
        return jnp.any(carry[1] != nobody)

    task = jnp.where(first < count, first, nobody)
    ahead = jnp.asarray(width, task.dtype)
    carry = (lanes, task, jnp.zeros_like(ahead), ahead, results)
    *_, trips, _, results = lax.while_loop(unfinished, settle, carry)
    return Harvest(results, trips)
