"""The goal and the outcome of one solve, and single steps of a diffrax solver with control of the step size.

Explicit Runge-Kutta methods are written out stage by stage from diffrax's own tableau: the compiler then sees plain
arithmetic, drops what a field does not use, and needs no loop and no buffer of stages. Other methods step through
diffrax itself. The size of steps is controlled as by diffrax's `PIDController` with its defaults, but with a power that
processors compute fast. Nothing here sees a batch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jax import lax
from jaxtyping import Array, Bool, Float

from jepa_sweep.engine import methods
from jepa_sweep.engine.methods import SOLVERS
from jepa_sweep.engine.settings import Settings
from jepa_sweep.physics.dynamics import Code, Point, Scalar, State
from jepa_sweep.physics.elementary import exp, log
from jepa_sweep.physics.host import Status

Field = Callable[[Any, State, Any], State]  # (x, y, args) -> dy/dx
Allowed = Callable[[State, Any], State]  # (|y|, atol) -> how large errors may be, leaf by leaf

SAFETY, SHORTER, LONGER = 0.9, 0.2, 10.0  # the next step is made for so much of what is allowed; how much it may change


class Goal(NamedTuple):
    """What one solve must find, in the field's time: when thresholds are met, and observables at given times."""

    point: Point
    p: Float[Array, " p"]  # thresholds as fractions of the rest point
    target: Float[Array, " p"]  # the same as responses
    wanted: Bool[Array, " p"]
    times: Float[Array, " s"]  # increasing; NaN where nothing is asked for


class Outcome(NamedTuple):
    """The results of one solve, in the field's time."""

    times: Float[Array, " p"]  # NaN where the threshold was not met
    errors: Float[Array, " p"]  # of these times, as the solver estimates them
    samples: Float[Array, "s o"]  # observables, the response first; NaN where the solver did not come
    ended: Code  # LEARNED if nothing went wrong
    steps: Code  # accepted and rejected


class Control(NamedTuple):
    """The step to try next, and the count of steps."""

    h: Scalar
    steps: Code
    ended: Code


class Tried(NamedTuple):
    """A step tried: whether it is kept, its end, what the next step needs, its stages for dense output."""

    keep: Bool[Array, ""]
    y: State
    carry: Any
    stages: State
    error: State  # estimated
    control: Control


class Stepper:
    """Steps of one diffrax method on one field, with control of their size."""

    def __init__(self, settings: Settings, field: Field, allowed: Allowed | None = None) -> None:
        """A step may make an error of `allowed(size, atol)`, by default atol + rtol times the size."""
        self.settings, self.field, self._term = settings, field, dfx.ODETerm(field)
        self.allowed = allowed or (lambda size, atol: jax.tree.map(lambda y: atol + settings.rtol * y, size))
        self.solver = SOLVERS[settings.method]()
        self._order = self.solver.error_order(self._term)
        self._explicit = settings.explicit

    def _solver_for(self, atol: Scalar) -> Any:
        if self._explicit:
            return self.solver
        # A traced number, where optimistix declares a float and takes either.
        # Not diffrax's VeryChord: where a field is constant its first guess is right, and it calls rounding divergence.
        roots = optx.Chord(rtol=self.settings.rtol, atol=atol)  # type: ignore[arg-type]
        return type(self.solver)(root_finder=roots)

    def carry(self, x: Scalar, y: State, args: Any, atol: Scalar) -> Any:
        """What the first step needs to know beside x and y."""
        if self._explicit:
            return self.field(x, y, args)
        return self._solver_for(atol).init(self._term, x, x, y, args)

    def control(self, h: Scalar) -> Control:
        """Before the first step, which tries `h`."""
        return Control(h, jnp.zeros((), int), jnp.full((), Status.LEARNED))

    def first(self, y: State, args: Any, atol: Scalar, norm: Callable[[State], Scalar] = optx.rms_norm) -> Scalar:
        """diffrax's own choice of a first step from x = 0."""
        zero = jnp.zeros_like(atol)
        end, _ = dfx.PIDController(rtol=self.settings.rtol, atol=atol, norm=norm).init(
            self._term, zero, jnp.inf + zero, y, None, args, self.solver.func, self._order
        )
        return jnp.asarray(end)

    def attempt(
        self, x0: Scalar, y0: State, carry: Any, args: Any, control: Control, atol: Scalar | float, stop: Scalar
    ) -> tuple[Scalar, Tried]:
        """Try the next step, at most up to `stop`; the x at its end, kept or not, and what came of it."""
        x1 = jnp.minimum(x0 + control.h, stop)
        y1, error, after, stages = self.step(x0, x1, y0, carry, args, jnp.asarray(atol))
        # A step out of the field's domain is an infinite error, or the controller would compute inf / inf.
        error = jax.tree.map(lambda e: jnp.where(jnp.isfinite(e), e, jnp.inf), error)
        size = self._size(error, y0, y1, atol)
        keep = size < 1
        start, factor = jnp.where(keep, x1, x0), SAFETY * exp(-log(size) / self._order)
        h = (x1 - x0) * jnp.where(keep, jnp.clip(factor, 1, LONGER), jnp.clip(factor, SHORTER, SAFETY))
        # A step cut short at a stop says nothing of the length it was cut from: its error may be all rounding.
        h = jnp.where(keep & (x1 < x0 + control.h), control.h, h)
        steps = control.steps + 1
        ended = jnp.where(start + h > start, control.ended, Status.NON_FINITE)
        ended = jnp.where(steps >= self.settings.max_steps, Status.MAX_STEPS, ended)
        return x1, Tried(keep, y1, after, stages, error, Control(h, steps, ended))

    def _size(self, error: State, y0: State, y1: State, atol: Scalar | float) -> Scalar:
        """The root mean square of an error relative to what is allowed."""
        larger = jax.tree.map(
            lambda y0, y1: jnp.maximum(jnp.abs(y0), jnp.abs(jnp.where(jnp.isfinite(y1), y1, y0))), y0, y1
        )
        leaves = jax.tree.leaves(jax.tree.map(jnp.divide, error, self.allowed(larger, atol)))
        if sum(x.size for x in leaves) == 1:
            return jnp.abs(leaves[0]).reshape(())
        return jnp.sqrt(sum(jnp.sum(x * x) for x in leaves) / sum(x.size for x in leaves))

    def step(
        self, x0: Scalar, x1: Scalar, y0: State, carry: Any, args: Any, atol: Scalar
    ) -> tuple[State, State, Any, State]:
        """A step from x0 to x1 without error control: its end, error estimate, carry, and stages times h."""
        if not self._explicit:
            y1, error, dense, carry, _ = self._solver_for(atol).step(self._term, x0, x1, y0, args, carry, False)
            return y1, error, carry, dense["k"]  # a stage that did not converge has made the error infinite
        tableau, h, ks = self.solver.tableau, x1 - x0, [carry]
        for weights, c in zip(tableau.a_lower, tableau.c, strict=True):
            x = x1 if c == 1 else x0 + float(c) * h
            ks.append(self.field(x, _combine(weights, ks, h, y0), args))
        assert tableau.fsal, "the last stage must be the next step's first"
        stages = jax.tree.map(lambda *k: h * jnp.stack(k), *ks)
        return _combine(tableau.b_sol, ks, h, y0), _combine(tableau.b_error, ks, h, None), ks[-1], stages


class IntegralStepper(Stepper):
    """Steps on a field that depends on x alone: a method is then a rule for integrals, and has fewer points."""

    def __init__(self, settings: Settings, field: Field) -> None:
        super().__init__(settings, field)
        self.rule = methods.rule_of(self.solver.tableau)

    def step(
        self, x0: Scalar, x1: Scalar, y0: State, carry: Any, args: Any, atol: Scalar
    ) -> tuple[State, State, Any, State]:
        """A step as of any `Stepper`; the stages are those at the points of `rule`."""
        del atol
        nodes, weights, error_weights = self.rule
        h = x1 - x0

        @jax.jit  # traced once
        def at(node: Scalar) -> State:
            return self.field(jnp.where(node == 1, x1, x0 + node * h), y0, args)

        def written_out(nodes: Float[Array, " n"]) -> State:
            return jnp.stack([at(node) for node in nodes])

        # A processor goes round a loop, whose code is compiled once; an accelerator would start a kernel for each turn.
        inner = jnp.asarray(nodes[1:], h.dtype)
        ks = [carry, *lax.platform_dependent(inner, cpu=lambda nodes: lax.map(at, nodes), default=written_out)]
        stages = h * jnp.stack(ks)
        return _combine(weights, ks, h, y0), _combine(error_weights, ks, h, None), ks[-1], stages


def _combine(weights: np.ndarray, ks: list[State], h: Scalar, y: State | None) -> State:
    """y + h sum_i weights_i k_i, leaf by leaf, without the terms that are zero."""
    used = [(float(b), k) for b, k in zip(weights, ks, strict=False) if b != 0]

    def leaf(*leaves: Array) -> Array:
        total = used[0][0] * leaves[0]
        for (b, _), k in zip(used[1:], leaves[1:], strict=False):
            total = total + b * k
        return h * total if y is None else leaves[-1] + h * total

    return jax.tree.map(leaf, *[k for _, k in used], *([] if y is None else [y]))
