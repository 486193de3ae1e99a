"""Batched solver: a fixed number of lanes advance together, and a finished lane takes the next task.

A lane that rests is settled: it hands out its result and takes the next task, or goes on. Lanes are settled a group at
a time, so that what happens once a solve is not paid on every step.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
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
    """The functions that make up one solve; none of them sees a batch.

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


class PoolResult(NamedTuple):
    """One result per task, and the number of trips all lanes made."""

    results: Result
    trips: Trip


class _Pool(NamedTuple):
    """All lanes, with their tasks and what came of those that are over."""

    lanes: Lane
    notes: Notes
    task: Places  # of each lane; the number of tasks where it is idle, and one more where it has had none yet
    trip: Trip
    following: Index  # the next task
    results: Result


class _Advancing(NamedTuple):
    """The part of a pool that a trip changes."""

    lanes: Lane
    notes: Notes
    rest: Bool[Array, " w"]  # lanes that wait to be settled, or are idle
    trip: Trip


def _take(tree: Any, places: Places) -> Any:
    return jax.tree.map(lambda x: x[places], tree)


def _put(tree: Any, places: Places, values: Any) -> Any:
    return jax.tree.map(lambda x, v: x.at[places].set(v, mode="drop"), tree, values)


def choose(condition: Bool[Array, "*w"], yes: Any, no: Any) -> Any:
    """`yes` or `no`, leaf by leaf; leaves may have more axes than the condition."""

    def pick(a: ArrayLike, b: ArrayLike) -> Array:
        return jnp.where(condition.reshape(condition.shape + (1,) * (jnp.ndim(a) - condition.ndim)), a, b)

    return jax.tree.map(pick, yes, no)


def _advance(course: Course, pool: _Pool, total: int, group: int) -> _Advancing:
    """Trips until a group of lanes waits to be settled, or every lane rests."""
    without, idle = pool.task >= total, pool.task == total

    def resting(lanes: Lane) -> Bool[Array, " w"]:
        return jax.vmap(course.rests)(lanes) | without

    def trip(at: _Advancing) -> _Advancing:
        ahead, notes = jax.vmap(course.advance, (0, 0, None, 0))(at.lanes, at.notes, at.trip, ~at.rest)
        lanes = choose(at.rest, at.lanes, ahead)
        return _Advancing(lanes, notes, resting(lanes), at.trip + 1)

    def keeps_going(at: _Advancing) -> Flag:
        return (jnp.sum(at.rest & ~idle) < group) & ~jnp.all(at.rest)

    return lax.while_loop(keeps_going, trip, _Advancing(pool.lanes, pool.notes, resting(pool.lanes), pool.trip))


def run(course: Course, tasks: Task, count: Int[Array, ""], width: int) -> PoolResult:
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
    start_all = jax.vmap(course.start, (0, None))
    settle_all = jax.vmap(course.settle, (0, None, 0, None))

    def zeros(shapes: Any) -> Any:
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def first() -> _Pool:
        """Lanes without a task, which take one when they are settled: all start by the same code, and to the bit."""
        places, trip = jnp.arange(width), jnp.zeros((), int)
        some = _take(tasks, places)
        lanes, notes = zeros(jax.eval_shape(start_all, some, trip)), jax.vmap(course.blank)(some)
        shapes = jax.eval_shape(settle_all, lanes, notes, places, trip)[1]
        results = jax.tree.map(lambda s: jnp.zeros((total, *s.shape[1:]), s.dtype), shapes)
        return _Pool(lanes, notes, jnp.full(width, total + 1), trip, jnp.zeros_like(trip), results)

    def settle(pool: _Pool) -> _Pool:
        """Advance, and settle the lanes that wait."""
        task = pool.task
        lanes, notes, rest, trip = _advance(course, pool, total, group)
        (here,) = jnp.nonzero(rest & (task != total), size=group, fill_value=width)
        gone_on, found, over = settle_all(_take(lanes, here), notes, here, trip)
        over = (over | (task[here] > total)) & (here < width)
        results = _put(pool.results, jnp.where(over, task[here], total), found)
        new = pool.following + jnp.cumsum(over) - 1
        fresh = start_all(_take(tasks, new), trip)
        lanes = _put(lanes, here, choose(over, fresh, gone_on))
        task = _put(task, here, jnp.where(over, jnp.where(new < count, new, total), task[here]))
        return _Pool(lanes, notes, task, trip, pool.following + jnp.sum(over), results)

    done = lax.while_loop(lambda pool: jnp.any(pool.task != total), settle, first())
    return PoolResult(done.results, done.trip)
