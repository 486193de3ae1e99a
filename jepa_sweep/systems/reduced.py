"""The system `reduced`: JEPA and MAE as one scalar flow a feature; Littwin et al. 2024, Theorem 4.2."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from jepa_sweep.physics.host import Columns
from jepa_sweep.physics.prospects import LAWS, prospects
from jepa_sweep.store.schema import Column
from jepa_sweep.systems import flows
from jepa_sweep.systems.shared import FRACTION_OF_REST
from jepa_sweep.systems.system import Mask, Measurement, Pair, Parameter, Points, Rule

if TYPE_CHECKING:
    from jepa_sweep.physics.dynamics import Dynamics


def _normal(x: np.ndarray) -> Mask:
    return np.abs(x) >= np.finfo(float).tiny


NORMAL = "be at least 2.3e-308 in size, because compiled programs take smaller numbers for 0"
PARAMETERS = (
    Parameter(
        "lam", "covariance of input and target along the feature, E[xy]", example={"geom": [0.1, 10.0], "num": 8}
    ),
    Parameter(
        "rho", "regression coefficient of the feature, E[xy] / E[x^2]", example={"linear": [0.125, 1.0], "num": 8}
    ),
    Parameter("L", "encoder layers", unit="layers", integer=True, partitions_files=True, example=[1, 2, 3, 5]),
    Parameter("eps", "encoder response at the start, w(0)", example=1e-3),
)

RULES = (
    Rule(("lam",), lambda c: np.isfinite(c["lam"]), "be a finite number"),
    Rule(("rho",), lambda c: np.isfinite(c["rho"]), "be a finite number"),
    Rule(("lam",), lambda c: _normal(c["lam"]) | (c["lam"] == 0), NORMAL),
    Rule(("rho",), lambda c: _normal(c["rho"]) | (c["rho"] == 0), NORMAL),
    Rule(
        ("L",),
        lambda c: (c["L"] >= 1) & (c["L"] == np.floor(c["L"])) & np.isfinite(c["L"]),
        "be a whole number of layers, 1 or more",
    ),
    Rule(("L",), lambda c: c["L"] <= 100_000, "be at most 100,000 layers; deep MAE is JEPA at L = 1"),
    Rule(("eps",), lambda c: np.isfinite(c["eps"]) & (c["eps"] > 0), "be finite and positive"),
    Rule(("eps",), lambda c: _normal(c["eps"]), NORMAL),
    FRACTION_OF_REST,
    Rule(
        ("lam", "rho"),
        lambda c: ((c["lam"] > 0) == (c["rho"] > 0)) & ((c["lam"] < 0) == (c["rho"] < 0)),
        "have the same sign (or both be 0), because rho = lam / E[x^2] and E[x^2] > 0",
    ),
)


def _reachable(objective: str) -> Rule:
    """Some point must be able to cross its threshold."""

    def holds(c: Columns) -> Mask:
        _, m = LAWS[objective](c["L"])
        w_star = np.abs(c["rho"]) ** (c["L"] / m)
        slack = 1 + 1e-12  # a start meant to be the rest point may be a rounding off
        can = np.where(c["p"] < 1, c["eps"] <= w_star * slack, c["eps"] > c["p"] * w_star)
        return can | (c["lam"] <= 0)

    must = "let some point cross its threshold: p < 1 needs eps <= w*, p > 1 needs eps > p w*"
    return Rule(("lam", "rho", "L", "eps", "p"), holds, must, scope="any", objective=objective)


def _forecast(points: Points, measurement: Measurement) -> np.ndarray:
    solver = measurement.solver
    precision = "float64" if solver.method == "exact" else solver.precision
    return prospects(points.objective, points.columns, points.p, precision)


def _dynamics() -> "Mapping[str, Dynamics]":
    from jepa_sweep.physics.reduced import DYNAMICS  # not at the top: planning needs no JAX

    return DYNAMICS


REDUCED = flows.system(
    "reduced",
    6,
    ("jepa", "mae"),
    _dynamics,
    coordinates=("w", "log_w", "chi"),
    by_clock=("chi",),
    meaning="JEPA and MAE as one scalar flow a feature",
    parameters=PARAMETERS,
    rules=(*RULES, *map(_reachable, LAWS)),
    forecast=_forecast,
    predicted=(
        Column("t_exact", "exact", "time", "critical time in closed form", "(L/k) int_r^q dz / (z^a (1 - z^m))"),
        Column("t_leading", "exact", "time", "the paper's leading order for eps -> 0", "Theorems 4.4 and 4.6"),
        Column("t_asymptotic", "exact", "time", "leading order with its logarithm and constant; growth only"),
        Column("t_inflection", "exact", "time", "time of fastest growth", "w'' = 0"),
        Column("log_t_exact", "exact", "ln(time)", "natural logarithm of t_exact, finite even on overflow"),
    ),
    pairs=(
        Pair("Critical time, closed form", "t_numeric", "t_exact"),
        Pair("Critical time, leading order", "t_numeric", "t_leading"),
        Pair("Critical time, asymptotics", "t_numeric", "t_asymptotic"),
    ),
)
