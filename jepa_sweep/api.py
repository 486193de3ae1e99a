"""The functions a researcher calls from Python: exact predictions and solves, broadcasting over their arguments.

Each takes the objective (`"jepa"` or `"mae"`) and parameters as numbers or arrays that broadcast together, and
computes in float64 whatever the host program's own setting (under that program's own `jax.jit` its arguments arrive as
float32, unless it has enabled 64 bits). `jax.jit`, `jax.vmap` and `jax.grad` work on the exact functions. Values that
JAX does not trace are checked before anything compiles. Where it traces none the result is NumPy, inside such a
transformation too; otherwise the result is traced.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from jepa_sweep.checks import check_one_of, check_times, real_numbers
from jepa_sweep.engine import lanes, pointwise
from jepa_sweep.engine.settings import AUTO, METHODS, Settings
from jepa_sweep.engine.tracing import ArrayLike, is_traced, refuse_traced
from jepa_sweep.physics import asymptotics, exact, law, response
from jepa_sweep.physics.dynamics import Dynamics
from jepa_sweep.physics.host import labels
from jepa_sweep.physics.reduced import DYNAMICS
from jepa_sweep.spec.rules import check_arguments
from jepa_sweep.spec.settings import check_measurement
from jepa_sweep.systems.reduced import REDUCED
from jepa_sweep.systems.system import Measurement

Floats = Any  # float64: a NumPy number or array, or inside a transformation a traced JAX array


class Solution(NamedTuple):
    """Results of `solve`, in the shape its arguments broadcast to.

    Attributes:
        time: critical times, in the time convention asked for; NaN unless `status` is "learned".
        status: how each point ended, in words; `jepa_sweep.SENTENCES` explains each.
        steps: solver steps taken, accepted and rejected.
        w: the response at the requested times, with these as a last axis; empty where none were requested.
    """

    time: np.ndarray
    status: np.ndarray
    steps: np.ndarray
    w: np.ndarray


def _dynamics(objective: str, time: str = "paper") -> Dynamics:
    check_one_of("objective", objective, tuple(DYNAMICS))
    check_one_of("time", time, REDUCED.times)
    return DYNAMICS[objective]


def _one(function: Callable, objective: str, names: tuple[str, ...], time: str, power: int) -> Callable:
    """A prediction as a function of numbers by these names, times scaled by (flow factor)^power."""
    dynamics = DYNAMICS[objective]

    def one(*values):
        given = dict(zip(names, values, strict=True))
        parameters = {name: given.pop(name, jnp.ones_like(values[0])) for name in dynamics.parameters}
        parameters["L"] = lax.stop_gradient(parameters["L"])  # whole numbers
        point = dynamics.point(**parameters)
        if "t" in given and time == "flow":
            given["t"] = given["t"] / dynamics.flow_time(point)
        result = function(point, *given.values())
        return result * dynamics.flow_time(point) ** power if time == "flow" else result

    return one


def _call(function: Callable, objective: str, time: str, power: int, **values: ArrayLike) -> Floats:
    _dynamics(objective, time)
    known = {k: real_numbers(k, v) for k, v in values.items() if not is_traced(v)}
    check_arguments(REDUCED, objective, known)
    return pointwise.call(_one, (function, objective, tuple(values), time, power), list((values | known).values()))


def critical_time(
    objective: str,
    *,
    lam: ArrayLike,
    rho: ArrayLike,
    L: ArrayLike,
    eps: ArrayLike,
    p: ArrayLike = 0.5,
    time: str = "paper",
) -> Floats:
    r"""Exact time at which the encoder's response reaches the fraction `p` of its rest point.

    $T(p) = \frac{L}{k} \int_r^q \frac{dz}{z^a (1 - z^m)}$ with $q = p^{1/L}$, $r = (eps/w^*)^{1/L}$,
    $k = lam\, rho^{(a-1)/m}$ and $(a, m) = (2L, 1)$ for JEPA, $(L, L+1)$ for MAE; evaluated in closed form without
    cancellation. Littwin et al. 2024, Theorems 4.3 and 4.5.

    Args:
        objective: "jepa" or "mae".
        lam: covariance E[xy] of the feature, broadcastable.
        rho: regression coefficient E[xy] / E[x^2], broadcastable; may exceed 1.
        L: encoder layers, whole numbers, broadcastable.
        eps: initial response w(0), broadcastable.
        p: fraction of the rest point: 0 < p < 1 for growth, 1 < p < eps/w* for decay from above.
        time: "paper" (T) or "flow" (t = T/L, plain gradient flow).

    Returns:
        Times in the broadcast shape, float64. NaN where there is nothing to time (`status` says why), inf beyond
        the largest float, 0 below the smallest normal one. Differentiable in lam, rho, eps and p, in closed form to
        1e-12 times what the roundings of the arguments make; L takes whole numbers, and its derivative reads 0.

    Raises:
        SpecError: a value is not finite, L is not a whole number, eps is not positive, or lam and rho have different
            signs. A point that cannot reach its threshold is no error.

    Example:
        >>> import jepa_sweep as js
        >>> round(float(js.critical_time("jepa", lam=1.0, rho=1.0, L=1, eps=1e-3, p=0.5)), 9)
        1004.906754779
    """
    return _call(exact.critical_time, objective, time, 1, lam=lam, rho=rho, L=L, eps=eps, p=p)


def leading_critical_time(
    objective: str, *, lam: ArrayLike, rho: ArrayLike, L: ArrayLike, eps: ArrayLike, time: str = "paper"
) -> Floats:
    r"""The paper's leading order of the critical time as eps -> 0, the same for every p.

    JEPA: $\frac{L}{lam} \sum_{n=1}^{2L-1} \frac{eps^{-n/L}}{n\, rho^{2L-1-n}}$.
    MAE: $\frac{L}{(L-1)\, lam\, eps^{(L-1)/L}}$, and $|\ln eps| / lam$ at L = 1. Theorems 4.4 and 4.6.
    It is positive even for a start above the threshold, where there is no critical time. NaN without a signal
    (lam <= 0), and for MAE at L = 1 where eps >= 1: there the logarithm is no time.

    Args:
        objective: "jepa" or "mae".
        lam: covariance, broadcastable.
        rho: regression coefficient, broadcastable.
        L: encoder layers, broadcastable.
        eps: initial response, broadcastable.
        time: "paper" or "flow".

    Returns:
        Times in the broadcast shape, float64, NaN where the formula gives none. Differentiable in lam, rho and eps, as
        `critical_time`.

    Raises:
        SpecError: as `critical_time`.

    Example:
        >>> import jepa_sweep as js
        >>> round(float(js.leading_critical_time("mae", lam=1.0, rho=1.0, L=2, eps=1e-4)), 6)
        200.0
    """
    return _call(asymptotics.leading_critical_time, objective, time, 1, lam=lam, rho=rho, L=L, eps=eps)


def asymptotic_critical_time(
    objective: str,
    *,
    lam: ArrayLike,
    rho: ArrayLike,
    L: ArrayLike,
    eps: ArrayLike,
    p: ArrayLike = 0.5,
    time: str = "paper",
) -> Floats:
    r"""The leading order with the logarithm and the constant that follow it.

    JEPA adds $\frac{|\ln eps|}{k} + \frac{L}{k} (\ln rho + F(q))$, MAE adds $\frac{L}{k} c_L(p)$; the relative error
    that is left vanishes with eps (Littwin et al. 2024 give the leading terms; the constants follow from the same
    integral as `critical_time`). Growth only.

    Args:
        objective: "jepa" or "mae".
        lam: covariance, broadcastable.
        rho: regression coefficient, broadcastable.
        L: encoder layers, broadcastable.
        eps: initial response, broadcastable.
        p: fraction of the rest point, below 1.
        time: "paper" or "flow".

    Returns:
        Times in the broadcast shape, float64; NaN without a growth to p. Differentiable as `critical_time`.

    Raises:
        SpecError: as `critical_time`.

    Example:
        >>> import jepa_sweep as js
        >>> round(float(js.asymptotic_critical_time("jepa", lam=1.0, rho=1.0, L=1, eps=1e-3)), 9)
        1004.907755279
    """
    return _call(asymptotics.asymptotic_critical_time, objective, time, 1, lam=lam, rho=rho, L=L, eps=eps, p=p)


def inflection_time(
    objective: str, *, lam: ArrayLike, rho: ArrayLike, L: ArrayLike, eps: ArrayLike, time: str = "paper"
) -> Floats:
    r"""Time of fastest growth of w, where $z^m = (a+L-1)/(a+L-1+m)$.

    For JEPA that is $w = rho^L (1 - 1/(3L))^L$, for MAE $w = w^* ((2L-1)/(3L))^{L/(L+1)}$; from the derivative of the
    flow of Theorem 4.2.

    Args:
        objective: "jepa" or "mae".
        lam: covariance, broadcastable.
        rho: regression coefficient, broadcastable.
        L: encoder layers, broadcastable.
        eps: initial response, broadcastable.
        time: "paper" or "flow".

    Returns:
        Times in the broadcast shape, float64; NaN for a start beyond the inflection. Differentiable in lam, rho and
        eps, as `critical_time`.

    Raises:
        SpecError: as `critical_time`.

    Example:
        >>> import jepa_sweep as js
        >>> round(float(js.inflection_time("jepa", lam=1.0, rho=1.0, L=1, eps=1e-3)), 9)
        1006.099901959
    """
    return _call(exact.inflection_time, objective, time, 1, lam=lam, rho=rho, L=L, eps=eps)


def trajectory(
    objective: str,
    *,
    lam: ArrayLike,
    rho: ArrayLike,
    L: ArrayLike,
    eps: ArrayLike,
    t: ArrayLike,
    time: str = "paper",
) -> Floats:
    r"""Exact response w(t) of one feature, the solution of the flow of Theorem 4.2 with w(0) = eps.

    $\dot w = lam (w^{3-1/L} - w^3/rho)$ for JEPA and $\dot w = lam (w^{2-1/L} - w^3/rho)$ for MAE, in paper time.

    Args:
        objective: "jepa" or "mae".
        lam: covariance, broadcastable.
        rho: regression coefficient, broadcastable.
        L: encoder layers, broadcastable.
        eps: initial response, broadcastable.
        t: times from 0 on, broadcastable against the parameters.
        time: the unit of `t`, "paper" or "flow".

    Returns:
        Responses in the broadcast shape, float64; NaN for t < 0 or lam <= 0. Differentiable in lam, rho, eps and t, as
        `critical_time`.

    Raises:
        SpecError: as `critical_time`.

    Example:
        >>> import jepa_sweep as js
        >>> js.trajectory("mae", lam=1.0, rho=0.5, L=1, eps=0.001, t=[0.0, 6.5, 13.0]).round(4).tolist()
        [0.001, 0.4845, 0.7071]
    """
    return _call(response.trajectory, objective, time, 0, lam=lam, rho=rho, L=L, eps=eps, t=t)


def fixed_point(objective: str, *, rho: ArrayLike, L: ArrayLike) -> Floats:
    """Rest point w* of the response: rho^L for JEPA, rho^(L/(L+1)) for MAE; Theorem 4.2.

    Args:
        objective: "jepa" or "mae".
        rho: regression coefficient, broadcastable.
        L: encoder layers, broadcastable.

    Returns:
        Rest points in the broadcast shape, float64; where rho < 0 there is none, but JEPA's power, or NaN for MAE.

    Raises:
        SpecError: a value is not finite, or L is not a whole number.

    Example:
        >>> import jepa_sweep as js
        >>> float(js.fixed_point("jepa", rho=0.5, L=3))
        0.125
    """
    return _call(law.fixed_point, objective, "paper", 0, rho=rho, L=L)


def status(
    objective: str, *, lam: ArrayLike, rho: ArrayLike, L: ArrayLike, eps: ArrayLike, p: ArrayLike = 0.5
) -> np.ndarray:
    """Whether a critical time exists, and if not, why, in one word per point.

    Args:
        objective: "jepa" or "mae".
        lam: covariance, broadcastable.
        rho: regression coefficient, broadcastable.
        L: encoder layers, broadcastable.
        eps: initial response, broadcastable.
        p: fraction of the rest point, broadcastable.

    Returns:
        Words in the broadcast shape: "learned", "above_threshold", "at_fixed_point", "not_reached", "no_signal",
        "collapses", "overflow" or "underflow". The last two speak of paper time.

    Raises:
        SpecError: as `critical_time`, or JAX traces a value, for which there is no word yet.

    Example:
        >>> import jepa_sweep as js
        >>> js.status("jepa", lam=1.0, rho=[0.1, 0.55, 1.0], L=8, eps=5e-3).tolist()
        ['not_reached', 'above_threshold', 'learned']
    """
    codes = _call(exact.status, objective, "paper", 0, lam=lam, rho=rho, L=L, eps=eps, p=p)
    refuse_traced("status", codes, "ask where `critical_time` is NaN")
    return labels(np.asarray(codes))[()]


def solve(
    objective: str,
    *,
    lam: ArrayLike,
    rho: ArrayLike,
    L: ArrayLike,
    eps: ArrayLike,
    p: ArrayLike = 0.5,
    t: ArrayLike | None = None,
    method: str = AUTO,
    rtol: float = 1e-8,
    coordinate: str | None = None,
    precision: str = "float64",
    max_steps: int = 10_000,
    time: str = "paper",
    device: str = "auto",
) -> Solution:
    r"""Integrate many points with diffrax: critical times, statuses, steps, and the response at requested times.

    In the coordinate "w" this is the flow as the paper writes it, with an event at `w = p w*`. In "chi", the logit
    $\chi = \ln(u / (1 - u))$ of $u = (w/w^*)^{\pm m/L}$ below and above the rest point, the critical time is an
    integral and nothing is stiff. A time more than 100 rtol off is "inaccurate"; w at times `t` has no status, as the
    samples of `run` have. Littwin et al. 2024, Theorem 4.2.

    Args:
        objective: "jepa" or "mae".
        lam: covariance, broadcastable.
        rho: regression coefficient, broadcastable.
        L: encoder layers, broadcastable.
        eps: initial response, broadcastable.
        p: fraction of the rest point, broadcastable.
        t: increasing times, shape (s,), at which to return the response of every point.
        method: "dopri8", "tsit5", "dopri5" or "kvaerno5" of diffrax; "clenshaw_curtis", a rule for integrals that is
            the fastest for critical times in "chi"; or "auto", that rule where it can be used, and dopri8 elsewhere.
        rtol: relative tolerance of one step.
        coordinate: "chi" (the default), "w", or "log_w" on a clock of its own.
        precision: "float64" or "float32".
        max_steps: steps after which a point is given up as "max_steps".
        time: unit of the times given and returned, "paper" or "flow".
        device: "auto", "cpu", "gpu" or "tpu"; "gpu:0,1" names some of a kind.

    Returns:
        A `Solution`; its arrays have the broadcast shape of the parameters.

    Raises:
        SpecError: an argument cannot be used, or the call is inside `jax.jit`; never for a point that does not finish.

    Example:
        >>> import jepa_sweep as js
        >>> sol = js.solve("mae", lam=1.0, rho=0.7, L=[1, 2, 3], eps=1e-4, p=0.5, rtol=1e-8)
        >>> sol.time.round(3).tolist(), sol.status.tolist()
        ([8.483, 197.481, 694.717], ['learned', 'learned', 'learned'])
    """
    given = {"lam": lam, "rho": rho, "L": L, "eps": eps, "p": p}
    here = jnp.zeros(())  # traced under jit, whatever the arguments
    refuse_traced("solve", (*given.values(), t, here), "use the exact functions (critical_time, trajectory)")
    dynamics = _dynamics(objective, time)
    check_one_of("method", method, (AUTO, *METHODS))  # "exact" is for tables
    wanted = Settings(method, rtol, max_steps, precision, coordinate)
    measurement = REDUCED.chosen(Measurement(wanted, samples=0 if t is None else 1))
    check_measurement(REDUCED, measurement)
    arrays = {name: real_numbers(name, value) for name, value in given.items()}
    check_arguments(REDUCED, objective, arrays)
    shape = np.broadcast_shapes(*(a.shape for a in arrays.values()))
    size = math.prod(shape)
    columns = {name: np.broadcast_to(a, shape).ravel().astype(float, copy=False) for name, a in arrays.items()}
    times = np.zeros(0) if t is None else real_numbers("t", t).astype(float)
    check_times(times)
    if size == 0:
        empty, w = np.zeros(shape, precision), np.zeros((*shape, times.size), precision)
        return Solution(empty, np.zeros(shape, "<U16"), np.zeros(shape, int), w)
    fractions = columns.pop("p")[:, None]  # one threshold a point
    predicted, factor = None, np.ones((1, 1))
    by_rule = measurement.solver.integrates and precision == "float64"  # which keeps the tolerance by its own estimate
    if time == "flow" or not by_rule:  # elsewhere the solve finds what it needs
        only = ("w_star", "flow_time", *(() if by_rule else (dynamics.exact, "log_t_exact")))
        predicted = lanes.predict(dynamics, columns, fractions, only=only, device=device)
        factor = predicted.flow_time if time == "flow" else factor
    keep = {"times": np.broadcast_to(times / factor, (size, times.size)), "device": device}
    solved = lanes.solve(dynamics, columns, fractions, predicted, measurement.solver, **keep).in_unit(factor)
    return Solution(
        (solved.time * factor.astype(precision)).reshape(shape),
        labels(solved.status[:, 0]).reshape(shape),
        solved.steps.reshape(shape),
        solved.samples[..., 0].reshape(*shape, times.size),
    )
