"""Theorem 4.2: under an aligned, balanced, small start each feature follows one scalar flow.

`w` is the encoder's response to the feature; JEPA and MAE differ in one exponent. Paper time throughout:
plain gradient flow runs L times faster.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jepa_sweep.physics import exact, response
from jepa_sweep.physics.dynamics import Coordinate, Dynamics, Numbers, Prediction, Scalar
from jepa_sweep.physics.elementary import exp, expm1, log, log1p
from jepa_sweep.physics.exact import Point
from jepa_sweep.physics.host import Columns
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
    return log_w_pace(y, p) * -expm1(p.m / p.L * (y - exact.log_fixed_point(p)))


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


LOG_W = Coordinate("log_w", start=log_w_start, field=log_w_field, response=log_w_response, pace=log_w_pace)


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


# --- chi = ln(z^m / |1 - z^m|), with z = (w/w*)^(1/L): grows without bound, and never stiffly ---------------------


def chi_start(p: Point) -> Scalar:
    """chi of w = eps."""
    log_power = p.m / p.L * (log(p.eps) - exact.log_fixed_point(p))
    # Above the rest point, y = 1 / (1 - e^-chi) and chi = ln(y / (y - 1)) are the same function of each other.
    return jnp.minimum(log_power, 0.0) + exact.log_power(jnp.abs(log_power), -1.0)


def _log_power(chi: Scalar, p: Point) -> Scalar:
    """ln z^m: -ln(1 + e^-chi) below the rest point, -ln(1 - e^-chi) above it, in two elementary functions."""
    rest, grows = -expm1(-jnp.abs(chi)), log(p.eps) < exact.log_fixed_point(p)
    return jnp.minimum(chi, 0.0) - log(jnp.where(grows, 2 - rest, rest))


def chi_field(t: Scalar | float, chi: Scalar, p: Point) -> Scalar:
    """dchi/dT = (m k / L) z^(a-1); one law for both objectives, below the rest point and above it."""
    del t
    return p.m / p.L * exp(exact.log_rate(p) + (p.a - 1) / p.m * _log_power(chi, p))


def chi_response(chi: Scalar, p: Point) -> Scalar:
    """w = w* z^L."""
    return exp(exact.log_fixed_point(p) + p.L / p.m * _log_power(chi, p))


def chi_span(fraction: Scalar, p: Point) -> Scalar:
    """Distance in chi from w = eps to w = fraction w*, without cancellation where the two are close."""
    d = p.m * exact.start_to_threshold(p, fraction)  # ln of the ratio of z^m
    log_power = p.m / p.L * log(fraction)
    return d + log1p(exp(log_power) * expm1(-d) / expm1(log_power))


def chi_pace(chi: Scalar, p: Point) -> Scalar:
    """ds/dT = dchi/dT, for those who must go forward: chi is its own clock."""
    return chi_field(jnp.zeros_like(chi), chi, p)


CHI = Coordinate("chi", start=chi_start, field=chi_field, response=chi_response, span=chi_span, pace=chi_pace)


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
        rest=exact.fixed_point,
        status=exact.prospect,
        coordinates=(Coordinate("w", start=w_start, field=field, response=w_response), LOG_W, CHI),
        flow_time=flow_time,
        cost=_cost,
        predictions=PREDICTIONS,
        predict=exact.predictions,
        trajectory=response.conditioned,
        elementwise=True,
    )


JEPA = _dynamics(jepa_point, jepa_field)
MAE = _dynamics(mae_point, mae_field)
DYNAMICS = {"jepa": JEPA, "mae": MAE}
