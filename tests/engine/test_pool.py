"""The pool alone, with a toy in place of a solver: every task once, in order, no lane waiting long."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jepa_sweep.engine import pool
from jepa_sweep.engine.pool import Course


class Counter(NamedTuple):
    """Counts down from n and adds up; now and then it rests and goes on."""

    n: jax.Array
    left: jax.Array
    since: jax.Array  # trip of the first step that is not added yet
    noted: jax.Array  # steps since then
    summed: jax.Array


HALT, ROOM = 5, 8  # no more than ROOM steps are noted before they are read


def start(task, trip):
    zero = jnp.zeros((), int)
    return Counter(task["n"], task["n"], trip, zero, zero)


def advance(lane, notes, trip, wanted):
    """Notes down how many are left, in the place of this trip."""
    here = trip % ROOM
    notes = notes.at[here].set(jnp.where(wanted, lane.left, notes[here]))
    return lane._replace(left=lane.left - 1, noted=lane.noted + 1), notes


def settle(lane, notes, number, trip):
    """Adds up what was noted since the last time."""
    fresh = (jnp.arange(ROOM) - lane.since) % ROOM < lane.noted
    lane = lane._replace(since=trip, noted=jnp.zeros((), int), summed=lane.summed + jnp.sum(notes[number], where=fresh))
    return lane, {"n": lane.n, "sum": lane.summed, "row": jnp.stack([lane.n, -lane.n])}, lane.left <= 0


COUNTDOWN = Course(
    start=start,
    blank=lambda task: jnp.full(ROOM, -1000),
    advance=advance,
    rests=lambda lane: (lane.left <= 0) | (lane.noted >= HALT),
    settle=settle,
)
STRAIGHT = COUNTDOWN._replace(rests=lambda lane: lane.left <= 0)

SIZES = np.random.default_rng(0).integers(0, 40, 64)


def harvest(sizes, count, width, course=COUNTDOWN):
    run = jax.jit(pool.run, static_argnums=(0, 3))
    return jax.tree.map(np.asarray, run(course, {"n": jnp.asarray(sizes)}, jnp.asarray(count), width))


@pytest.mark.parametrize(
    ("width", "share"), [(1, 0.25), (2, 0.5), (7, 0.5), (16, 0.01), (16, 0.25), (16, 1), (64, 0.25)]
)
def test_every_task_is_done_once_and_in_its_place(width, share):
    results, trips = harvest(SIZES, 64, width, COUNTDOWN._replace(share=share))
    np.testing.assert_array_equal(results["n"], SIZES)
    np.testing.assert_array_equal(results["sum"], SIZES * (SIZES + 1) // 2)  # each step once, none of another task
    np.testing.assert_array_equal(results["row"], np.stack([SIZES, -SIZES], axis=1))
    assert trips * width >= SIZES.sum()


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 63])
def test_only_the_first_tasks_are_done(count):
    results, trips = harvest(SIZES, count, 16)
    np.testing.assert_array_equal(results["sum"][:count], (SIZES * (SIZES + 1) // 2)[:count])
    assert not results["n"][count:].any()
    assert (trips == 0) == (SIZES[:count].sum() == 0)


@pytest.mark.parametrize(("width", "share"), [(1, 0.25), (2, 0.5), (7, 0.01), (16, 0.25)])
def test_lanes_hardly_wait(width, share):
    """While tasks are left, fewer lanes wait than are settled together; the last task may begin last."""
    _, trips = harvest(SIZES, 64, width, STRAIGHT._replace(share=share))
    group = max(1, int(share * width))
    assert SIZES.sum() / width <= trips <= SIZES.sum() / (width - group + 1) + SIZES.max()


def test_equal_tasks_waste_nothing():
    _, trips = harvest(np.full(64, 10), 64, 16, STRAIGHT)
    assert trips == 4 * 10


def test_the_order_of_tasks_does_not_matter_for_their_results():
    places = np.random.default_rng(1).permutation(64)
    results, _ = harvest(SIZES[places], 64, 7)
    np.testing.assert_array_equal(results["sum"], (SIZES * (SIZES + 1) // 2)[places])
