"""Theorem 4.2: under an aligned, balanced, small start each feature follows one scalar flow.

`w` is the encoder's response to the feature; JEPA and MAE differ in one exponent. Paper time throughout:
plain gradient flow runs L times faster.
"""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jepa_sweep.physics import exact, law, response
from jepa_sweep.physics.dynamics import Coordinate, Dynamics, Flags, Numbers, Prediction, Scalar
from jepa_sweep.physics.elementary import exp, expm1, log, log1p
from jepa_sweep.physics.host import Columns
from jepa_sweep.physics.law import Point
from jepa_sweep.physics.prospects import LAWS

Number = Any  # a scalar, or on the host a column of them


def jepa_field(t: Scalar | float, w: Scalar, p: Point) -> Scalar:
    """dw/dT = lam (w^(3 - 1/L) - w^3 / rho)."""
    del t  # autonomous
    return p.lam * (w ** (3 - 1 / p.L) - w**3 / p.rho)


def mae_field(t: Scalar | float, w: Scalar, p: Point) -> Scalar:
    """dw/dT = lam (w^(2 - 1/L) - w^3 / rho)."""
    del t
    return p.lam * (w ** (2 - 1 / p.L) - w**3 / p.rho)


def log_w_field(t: Scalar | float, y: Scalar, p: Point) -> Scalar:
    """dy/dT for y = ln w: lam w^((a-1)/L) (1 - (w/w*)^(m/L)), the same flow for both objectives."""
    return log_w_pace(y, p) * -expm1(p.m / p.L * (y - law.log_fixed_point(p)))


def log_w_pace(y: Scalar, p: Point) -> Scalar:
    """ds/dT = lam w^((a-1)/L): on this clock ln w grows at rate 1 until it saturates."""
    return p.lam * exp((p.a - 1) / p.L * y)


def log_w_start(p: Point) -> Scalar:
    """ln eps."""
    return log(p.eps)


def log_w_response(y: Scalar, p: Point) -> Scalar:
    """w = e^y."""
    del p
    return exp(y)


LOG_W = Coordinate(
    "log_w", start=log_w_start, field=log_w_field, response=log_w_response, pace=log_w_pace, logarithmic=True
)


def w_start(p: Point) -> Scalar:
    """The response at the start, eps."""
    return p.eps


def w_response(w: Scalar, p: Point) -> Scalar:
    """The response itself."""
    del p
    return w


def flow_time(p: Point) -> Numbers:
    """t = T / L: plain gradient flow on the layers carries a factor L."""
    return 1 / p.L


def jepa_point(lam: Number, rho: Number, L: Number, eps: Number) -> Point:
    """A JEPA feature: (a, m) = (2L, 1)."""
    return Point(lam, rho, L, eps, *LAWS["jepa"](L))


def mae_point(lam: Number, rho: Number, L: Number, eps: Number) -> Point:
    """An MAE feature: (a, m) = (L, L + 1)."""
    return Point(lam, rho, L, eps, *LAWS["mae"](L))


# --- chi = ln(u / (1 - u)), with u = z^m below the rest point and z^-m above it, z = (w/w*)^(1/L) ------------------
# u is the share of the way to the rest point: chi grows without bound, and no number of it is a small difference.


def chi_start(p: Point) -> Scalar:
    """chi of w = eps."""
    distance = jnp.abs(p.m / p.L * (log(p.eps) - law.log_fixed_point(p)))  # |ln z^m|
    return -distance + law.log_power(distance, -1.0)


def _log_share(chi: Scalar) -> Scalar:
    """ln u = -ln(1 + e^-chi), in two elementary functions."""
    return jnp.minimum(chi, 0.0) - log(2 + expm1(-jnp.abs(chi)))


def _grows(p: Point) -> Flags:
    return log(p.eps) < law.log_fixed_point(p)


def chi_field(t: Scalar | float, chi: Scalar, p: Point) -> Scalar:
    """dchi/dT = (m k / L) z^(a-1) below the rest point, (m k / L) z^(a+m-1) above it; one law for both objectives.

    So far above it that this is no number, next to no time passes: it stays one whose inverse is a number.
    """
    del t
    power = jnp.where(_grows(p), p.a - 1, 1 - p.a - p.m) / p.m
    return p.m / p.L * exp(jnp.minimum(law.log_rate(p) + power * _log_share(chi), _log_fastest(chi)))


def _log_fastest(chi: Scalar) -> float:
    return -math.log(float(jnp.finfo(chi.dtype).tiny))


def chi_response(chi: Scalar, p: Point) -> Scalar:
    """w = w* z^L."""
    side = jnp.where(_grows(p), 1.0, -1.0)
    return exp(law.log_fixed_point(p) + side * p.L / p.m * _log_share(chi))


def chi_span(fraction: Scalar, p: Point) -> Scalar:
    """Distance in chi from w = eps to w = fraction w*, without cancellation where the two are close."""
    ahead = jnp.abs(p.m * law.start_to_threshold(p, fraction))  # ln of the ratio of z^m
    left = jnp.abs(p.m / p.L * log(fraction))
    return ahead + log1p(-expm1(-ahead) / expm1(left))


def chi_pace(chi: Scalar, p: Point) -> Scalar:
    """ds/dT = dchi/dT, for those who must go forward: chi is its own clock."""
    return chi_field(jnp.zeros_like(chi), chi, p)


CHI = Coordinate(
    "chi",
    start=chi_start,
    field=chi_field,
    response=chi_response,
    span=chi_span,
    pace=chi_pace,
    logarithmic=True,
)


def _cost(columns: Columns) -> np.ndarray:
    """Decades of growth between start and rest point, more of them the smaller the start."""
    return np.log(np.abs(columns["rho"]) + np.finfo(float).tiny) * columns["L"] - np.log(columns["eps"])


PREDICTIONS = (
    Prediction("t_exact"),
    Prediction("t_leading", where="growth"),
    Prediction("t_asymptotic", where="growth"),
    Prediction("t_inflection", where="always"),
    Prediction("log_t_exact", logarithm=True),
)


def _dynamics(point: Callable[..., Point], field: Callable) -> Dynamics:
    return Dynamics(
        parameters=("lam", "rho", "L", "eps"),
        point=point,
        rest=law.fixed_point,
        status=exact.prospect,
        coordinates=(Coordinate("w", start=w_start, field=field, response=w_response), LOG_W, CHI),
        flow_time=flow_time,
        cost=_cost,
        predictions=PREDICTIONS,
        exact="t_exact",
        predict=exact.predictions,
        trajectory=response.conditioned,
        elementwise=True,
    )


JEPA = _dynamics(jepa_point, jepa_field)
MAE = _dynamics(mae_point, mae_field)
DYNAMICS = {"jepa": JEPA, "mae": MAE}
