"""Gradient flow of networks: one from given weights with diffrax, or a group with the times of its crossings.

In a group every network steps at its own pace and stops at each sample; where a threshold lies within a step it is
located on the solver's dense output.
"""

import functools
from typing import Any, NamedTuple

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from numpy.polynomial import chebyshev

from jepa_sweep.engine import dense
from jepa_sweep.engine.methods import SOLVERS
from jepa_sweep.engine.networks import common
from jepa_sweep.engine.networks.common import Crossings, Fixed, Method, Recipe, Sample, each
from jepa_sweep.engine.pool import choose
from jepa_sweep.engine.solver import Control, Settings, Stepper, Tried
from jepa_sweep.physics import network
from jepa_sweep.physics.data import Features, Moments
from jepa_sweep.physics.dynamics import Code, Flag, Scalar
from jepa_sweep.physics.host import Status
from jepa_sweep.physics.network import Objective, Seen, Weights

# Chebyshev points at which responses are read within a step that crosses a threshold, and the matrix from values there
# to coefficients of a series.
NODES = chebyshev.chebpts2(12)
TO_SERIES = np.linalg.inv(chebyshev.chebvander(NODES, len(NODES) - 1))
HALVINGS = 52  # of a step to locate a crossing: all digits
# Steps whose errors may still be there next to rest: at the limit of stability of the fastest feature, as many as one
# that is ten times as slow takes to forget.
LINGERING = 30


@functools.partial(jax.jit, static_argnames=("objective", "method", "max_steps"))
def at_times(
    objective: Objective,
    weights: Weights,
    moments: Moments,
    times: Float[Array, " t"],
    *,
    method: str,
    rtol: Scalar | float,
    ema: Scalar | float,
    max_steps: int,
) -> Weights:
    """The weights at increasing flow times from 0 on, with a leading axis; NaN at those the solver did not reach."""
    if not len(times):
        return jax.tree.map(lambda w: w[None][:0], weights)
    flat, whole = ravel_pytree(weights)

    def field(t: Any, y: Array, moments: Moments) -> Array:
        del t
        return ravel_pytree(network.velocity(objective, whole(y), moments, ema))[0]

    # Steps end on the times asked for, so that what is returned has the order of the solver.
    own_pace = dfx.PIDController(rtol=rtol, atol=rtol * jnp.max(jnp.abs(flat)))
    found = dfx.diffeqsolve(
        dfx.ODETerm(field),
        SOLVERS[method](),
        0.0,
        times[-1],
        None,
        flat,
        moments,
        saveat=dfx.SaveAt(ts=times),
        stepsize_controller=dfx.ClipStepSizeController(own_pace, step_ts=times),
        max_steps=max_steps,
        throw=False,
    )
    assert found.ys is not None, "asked for with SaveAt(ts)"
    return jax.vmap(whole)(jnp.where(jnp.isinf(found.ys), jnp.nan, found.ys))  # infinite where not reached


class Progress(NamedTuple):
    """Where one network stands."""

    t: Scalar
    weights: Weights
    carry: Any  # what the solver keeps between steps
    control: Control
    atol: Scalar
    crossings: Crossings

    def is_active(self, stop: Scalar) -> Flag:
        """True where there are steps to take before `stop`."""
        return (self.t < stop) & (self.control.ended == Status.LEARNED)


class _GradientFlow(NamedTuple):
    """The functions of a `Method` for gradient flow."""

    recipe: Recipe
    stepper: Stepper
    matrix: Float[np.ndarray, "terms stages"]  # of `dense.polynomial`

    def start(self, fixed: Fixed, weights: Weights) -> Progress:
        atol, zero = self.recipe.rtol * _size(weights), jnp.zeros_like(fixed.given.t_end)
        carry = self.stepper.carry(zero, weights, _args(fixed), atol)
        control = self.stepper.control(self.stepper.first(weights, _args(fixed), atol))
        return Progress(zero, weights, carry, control, atol, common.no_crossings(fixed.levels))

    def seen(self, fixed: Fixed, weights: Weights) -> Seen:
        return network.observe(self.recipe.rule, network.signals(weights), fixed.frame)

    def responses(self, fixed: Fixed, weights: Weights) -> Float[Array, "2 d"]:
        return common.w_and_fit(self.recipe, self.seen(fixed, weights), fixed.features)

    def sample(self, fixed: Fixed, progress: Progress, j: Code) -> tuple[Progress, Sample]:
        weights, crossings = progress.weights, progress.crossings
        # Steps compare with the end of the step before, the first of them with the start.
        last = jnp.where(j == 0, self.responses(fixed, weights), crossings.last)
        loss = network.loss(self.recipe.rule, weights, fixed.features.diagonals)
        sample = Sample(self.seen(fixed, weights), loss, progress.t)
        return progress._replace(crossings=crossings._replace(last=last)), sample

    def attempt(self, fixed: Fixed, progress: Progress, stop: Scalar) -> tuple[Scalar, Tried]:
        t, weights, carry, control, atol, _ = progress
        return self.stepper.attempt(t, weights, carry, _args(fixed), control, atol, stop)

    def locate(
        self, fixed: Fixed, progress: Progress, t1: Scalar, tried: Tried
    ) -> tuple[Float[Array, "2 p d"], Float[Array, "p d"]]:
        """When a step meets each threshold, by halving on a series of the responses; and errors of the first of them.

        They are what errors of this step and of those before come to in time, at the pace at which the response of the
        encoder goes there.
        """
        coefficients = dense.polynomial(self.matrix, progress.weights, tried.stages)

        def at(u: Scalar) -> Float[Array, "2 d"]:
            return self.responses(fixed, dense.at(coefficients, u))

        values = lax.map(at, jnp.asarray(NODES, t1.dtype))
        series = list(jnp.tensordot(jnp.asarray(TO_SERIES, t1.dtype), values, axes=1)[:, :, None])
        u = dense.bisect(lambda u: dense.value(series, u) >= fixed.levels, jnp.ones_like(fixed.levels), HALVINGS)

        def change(by: Weights) -> Float[Array, " d"]:
            return jax.jvp(lambda weights: self.responses(fixed, weights)[0], (tried.y,), (by,))[1]

        late = LINGERING * jnp.abs(change(tried.error) / change(tried.carry))
        return progress.t + (t1 - progress.t) * (u + 1) / 2, jnp.broadcast_to(late, u.shape[1:])

    def step(self, fixed: Fixed, progress: Progress, stop: Array) -> Progress:
        """One step of a group; crossings are located only where a network has one."""
        t1, tried = each(self.attempt)(fixed, progress, stop)
        now, active = each(self.responses)(fixed, tried.y), each(Progress.is_active)(progress, stop)
        meets = each(Crossings.meets)(progress.crossings, now, fixed.levels)
        meets &= (active & tried.keep)[:, None, None, None]
        before = progress.crossings.crossed, progress.crossings.errors
        located = lax.cond(jnp.any(meets), each(self.locate), lambda *_: before, fixed, progress, t1, tried)
        crossed, errors = choose(meets, located[0], before[0]), choose(meets[:, 0], located[1], before[1])
        crossings = Crossings(t1, now, crossed, errors)
        waited = progress._replace(control=tried.control)
        stepped = waited._replace(t=t1, weights=tried.y, carry=tried.carry, crossings=crossings)
        return choose(active, choose(tried.keep, stepped, waited), progress)

    def segment(self, fixed: Fixed, progress: Progress, j: Code) -> tuple[Progress, Sample]:
        """Sample j, and all steps to the next, each network at its own pace."""
        progress, sample = each(self.sample, 1)(fixed, progress, j)
        t_end, samples = fixed.given.t_end, self.recipe.samples
        stop = t_end * jnp.minimum(j + 1, samples).astype(t_end.dtype) / samples
        ahead = lax.while_loop(
            lambda progress: jnp.any(each(Progress.is_active)(progress, stop)),
            lambda progress: self.step(fixed, progress, stop),
            progress,
        )
        return ahead, sample

    def end(self, fixed: Fixed, progress: Progress, losses: Float[Array, "n s"]) -> tuple[Crossings, Array, Array]:
        del fixed, losses
        ended, steps = progress.control.ended, progress.control.steps
        return progress.crossings, jnp.where(ended == Status.LEARNED, Status.TRAINED, ended), steps


def _field(rule: Objective, t: Any, weights: Weights, args: tuple[Features, Scalar]) -> Weights:
    del t
    features, rate = args
    return network.velocity(rule, weights, features.diagonals, rate)


def _args(fixed: Fixed) -> tuple[Features, Scalar]:
    """Arguments of the field."""
    return fixed.features, fixed.given.ema


def _size(weights: Weights) -> Scalar:
    """The largest entry, against which errors must be small."""
    return jnp.max(jnp.stack([jnp.max(jnp.abs(w)) for w in jax.tree.leaves(weights)]))


def method(recipe: Recipe) -> Method:
    """Gradient flow by a method of diffrax."""
    settings = Settings(recipe.method, recipe.rtol, recipe.max_steps)
    stepper = Stepper(settings, functools.partial(_field, recipe.rule))
    way = _GradientFlow(recipe, stepper, dense.of_flow(stepper.solver))
    return Method(way.start, way.segment, way.end)
