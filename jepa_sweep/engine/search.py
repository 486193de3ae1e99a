"""The goal of one solve and what is found of it so far, however it is integrated."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jepa_sweep.engine import dense
from jepa_sweep.engine.dense import KNOTS, Knots
from jepa_sweep.engine.pool import Index, Trip
from jepa_sweep.engine.solver import Control, Goal, Outcome
from jepa_sweep.physics.dynamics import Code, Flag, Scalar
from jepa_sweep.physics.host import Status


class Search(NamedTuple):
    """The goal of one solve, the times of thresholds and the samples found so far; times are in units of `unit`."""

    goal: Goal
    unit: Scalar  # in the field's time
    until: Scalar  # time of the last sample
    hits: Float[Array, " p"]  # times of the thresholds; NaN until they are met
    error: Scalar  # of the time, of all steps so far
    errors: Float[Array, " p"]  # of `hits`
    samples: Float[Array, "s o"]  # NaN until they are read
    since: Trip  # of the first step that no sample was read from
    noted: Code  # steps since then

    def is_over(self, control: Control, all_met: Flag, time: Scalar) -> Flag:
        """True where nothing is left to find at this time, or the solver gave up."""
        return (control.ended != Status.LEARNED) | (all_met & (time >= self.until))

    def is_full(self) -> Flag | bool:
        """True where samples must be read before there is room for another step."""
        return self.noted >= KNOTS if self.goal.times.shape[0] else False

    def read(
        self,
        knots: Knots | None,
        number: Index,
        trip: Trip,
        time: Scalar,
        observe: Callable[[Any], Float[Array, " o"]],
    ) -> "Search":
        """Read the samples up to `time` off the steps of lane `number`, which then may be forgotten."""
        if knots is None:
            return self

        def sample(at: Scalar) -> tuple[Float[Array, " o"], Flag]:
            found, begun = dense.read(knots, number, self.since, self.noted, at, observe)
            return found, begun & (time >= at)

        found, here = jax.vmap(sample)(self.goal.times)
        samples = jnp.where(here[:, None], found, self.samples)
        return self._replace(samples=samples, since=trip, noted=jnp.zeros((), int))

    def outcome(self, control: Control) -> Outcome:
        """The results so far, in the field's time."""
        return Outcome(self.hits * self.unit, self.errors * self.unit, self.samples, control.ended, control.steps)


def begin(goal: Goal, unit: Scalar, width: int, trip: Trip) -> Search:
    """The search before its first step; `width` quantities are sampled at each time."""
    times = goal.times / unit  # scaled once: what is waited for is what is read
    return Search(
        goal=goal._replace(times=times),
        unit=unit,
        until=jnp.max(times, initial=0.0, where=~jnp.isnan(times)),
        hits=jnp.full_like(goal.p, jnp.nan),
        error=jnp.zeros_like(unit),
        errors=jnp.full_like(goal.p, jnp.nan),
        samples=jnp.full((goal.times.shape[0], width), jnp.nan, times.dtype),
        since=trip,
        noted=jnp.zeros((), int),
    )
