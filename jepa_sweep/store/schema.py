"""Columns of tables: name, type, unit, meaning, equation; and how they become Arrow schemas and Markdown."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa


class Column(NamedTuple):
    """One column. `dtype` is "text", "integer", "exact" (float64 always) or "numeric" (the solver's precision)."""

    name: str
    dtype: str
    unit: str
    meaning: str
    equation: str = ""


OBJECTIVE = Column("objective", "text", "", "learning objective", "jepa or mae")
P = Column("p", "exact", "1", "threshold, as a fraction of the rest point", "w(t) = p w_star")
STATUS = Column("status", "text", "", "how the point ended: learned, above_threshold, at_fixed_point, ...")
MESSAGE = Column("message", "text", "", "what the status means and what to try")
TRY = Column("try", "integer", "", "which attempt at the point this was, from 1")

REPEATING = ("p", "lam", "rho")  # measured floats that stand in many rows unchanged


def complete(tables: Mapping[str, Sequence[Column]], parameters: Sequence[Column]) -> dict[str, tuple[Column, ...]]:
    """All columns of some tables: objective, the system's parameters, then what was measured."""
    return {name: (OBJECTIVE, *parameters, *columns) for name, columns in tables.items()}


def arrow(columns: Sequence[Column], precision: str, time: str) -> pa.Schema:
    """The Arrow schema of a table; meaning and unit stand in each field, the time convention in the file."""
    types = {"text": pa.string(), "integer": pa.int64(), "exact": pa.float64(), "numeric": pa.type_for_alias(precision)}
    fields = []
    for column in columns:
        # A time that is always flow time says so itself.
        unit = column.unit if "flow" in column.unit else column.unit.replace("time", f"{time} time")
        notes = {"unit": unit, "meaning": column.meaning}
        if column.equation:
            notes["equation"] = column.equation
        fields.append(pa.field(column.name, types[column.dtype], metadata=notes))
    conventions = {"paper": "paper time T = L t", "flow": "flow time t of plain gradient flow, t = T / L"}
    return pa.schema(fields, metadata={"time": conventions[time], "precision": precision})


def markdown(tables: Mapping[str, Sequence[Column]]) -> str:
    """Tables of columns as they stand in the README."""
    lines = []
    for name, columns in tables.items():
        lines += [f"`{name}`", "", "| column | type | unit | meaning | equation |", "|---|---|---|---|---|"]
        for c in columns:
            equation = f"`{c.equation}`" if c.equation else ""
            lines.append(f"| `{c.name}` | {c.dtype} | {c.unit} | {c.meaning} | {equation} |")
        lines.append("")
    return "\n".join(lines)


def noun_of(table: str) -> str:
    """What the rows of a table are, in the plural."""
    return f"samples of {table}" if table in ("trajectories", "losses") else table


# --- what systems measure: a layout is the set of tables that one kind of system fills ----------------------------

STEPS = Column("steps", "integer", "steps", "solver steps for this point, accepted and rejected")

POINTS = (
    P,
    STATUS,
    Column("w_star", "exact", "1", "rest point of the response", "rho^L (jepa), rho^(L/(L+1)) (mae)"),
    Column("t_numeric", "numeric", "time", "critical time by integration", "w(t_numeric) = p w_star"),
    Column("t_exact", "exact", "time", "critical time in closed form", "(L/k) int_r^q dz / (z^a (1 - z^m))"),
    Column("relative_difference", "exact", "1", "disagreement of the two", "abs(t_numeric - t_exact) / t_exact"),
    Column("t_leading", "exact", "time", "the paper's leading order for eps -> 0", "Theorems 4.4 and 4.6"),
    Column("t_asymptotic", "exact", "time", "leading order with its logarithm and constant; growth only"),
    Column("t_inflection", "exact", "time", "time of fastest growth", "w'' = 0"),
    Column("log_t_exact", "exact", "ln(time)", "natural logarithm of t_exact, finite even on overflow"),
    STEPS,
)

TRAJECTORIES = (
    Column("t", "exact", "time", "time of the sample"),
    Column("w", "numeric", "1", "encoder response by integration", "w(0) = eps"),
    Column("w_exact", "exact", "1", "encoder response in closed form"),
    Column("condition", "exact", "1", "relative change of w per relative change of t", "abs(d ln w / d ln t)"),
    Column("status", "text", "", "resolved, unresolved (w(t) has no correct digits here), or why the solver stopped"),
)

FAILURES = (P, STATUS, MESSAGE, STEPS, TRY)

# --- networks: a point is one network ---------------------------------------------------------------------------

FEATURE = Column("feature", "integer", "", "number of the feature, from 0")
LAM = Column("lam", "exact", "1", "covariance of input and target along the feature, E[xy]")
RHO = Column("rho", "exact", "1", "regression coefficient of the feature, E[xy] / E[x^2]")
TRAIN_STEPS = Column("steps", "integer", "steps", "of the optimiser, or of the solver, accepted and rejected")

NETWORKS = (
    P,
    Column("status", "text", "", "trained, or unstable where the step was too long to stay at rest"),
    Column("learned", "integer", "", "features whose encoder response has met p w_star"),
    Column("order_lam", "exact", "1", "Spearman rank correlation of t_learned with lam; those not met come last"),
    Column("order_rho", "exact", "1", "the same with rho"),
    Column("fit_order_lam", "exact", "1", "Spearman rank correlation of t_fitted with lam"),
    Column("fit_order_rho", "exact", "1", "the same with rho"),
    Column("strength_lam", "exact", "1", "Spearman rank correlation of the last encoder response with lam"),
    Column("strength_rho", "exact", "1", "the same with rho"),
    Column("w_mean", "numeric", "1", "mean encoder response at the end"),
    Column("w_most", "numeric", "1", "largest encoder response at the end"),
    Column("loss_start", "numeric", "1", "loss at the start", "half the mean squared error"),
    Column("loss_end", "numeric", "1", "loss at the end"),
    TRAIN_STEPS,
)

FEATURES = (
    P,
    FEATURE,
    LAM,
    RHO,
    Column("status", "text", "", "whether t_learned exists: learned, above_threshold or not_yet"),
    Column("t_learned", "numeric", "time", "when the encoder response met its threshold", "w(t) = p w_star"),
    Column("t_fitted", "numeric", "time", "when the prediction held the fraction p of the regression", "fit(t) = p"),
    Column("t_exact", "exact", "time", "critical time of the scalar flow from w_start, in closed form"),
    Column("relative_difference", "exact", "1", "disagreement with it", "abs(t_learned - t_exact) / t_exact"),
    Column("w_star", "exact", "1", "rest point of a balanced, aligned network", "rho^L, for mae rho^(L/(L+1))"),
    Column("w_start", "numeric", "1", "encoder response at the start", "norm(Wbar e_i)"),
    Column("w_end", "numeric", "1", "encoder response at the end"),
    Column("v_end", "numeric", "1", "predictor response at the end"),
)

RESPONSES = (
    Column("t", "exact", "time", "time of the sample"),
    Column("step", "integer", "steps", "steps taken until then"),
    FEATURE,
    LAM,
    RHO,
    Column("w", "numeric", "1", "encoder response", "norm(Wbar e_i)"),
    Column("projection", "numeric", "1", "response along the direction an aligned start gives the feature"),
    Column("v", "numeric", "1", "predictor response", "jepa <a, V a>, mae <e_i, V a>, a = Wbar e_i / w"),
    Column("fit", "numeric", "1", "regression held by the prediction, as a fraction", "jepa v / rho, mae v w / rho"),
)

LOSSES = (
    Column("t", "exact", "time", "time of the sample"),
    Column("step", "integer", "steps", "steps taken until then"),
    Column("loss", "numeric", "1", "the objective", "half the mean squared error"),
)

LOST_NETWORKS = (P, STATUS, MESSAGE, TRAIN_STEPS, TRY)

# --- estimates of lam and rho: a point is one series ------------------------------------------------------------

SERIES = (
    Column("status", "text", "", "estimated, or why not"),
    Column("pairs", "integer", "", "length of the series, in pairs (x^t, x^(t+1))", "round(10^log10_T)"),
    Column("off_diagonal", "exact", "1", "mean square off-diagonal entry of E[y x^T] in the eigenbasis of E[x x^T]"),
    Column("off_diagonal_exact", "exact", "1", "its expectation, to leading order in 1/pairs"),
)

ESTIMATES = (
    FEATURE,
    Column("gamma", "exact", "1", "correlation of the signal from step to step"),
    Column("noise", "exact", "1", "standard deviation of the noise"),
    Column("lam", "exact", "1", "population value", "gamma"),
    Column("rho", "exact", "1", "population value", "gamma / (1 + noise^2)"),
    Column("lam_hat", "exact", "1", "estimate"),
    Column("rho_hat", "exact", "1", "estimate"),
    Column("lam_std", "exact", "1", "standard deviation of lam_hat, predicted (Bartlett)"),
    Column("rho_std", "exact", "1", "standard deviation of rho_hat, predicted (Bartlett)"),
)

COVARIANCES = (
    Column("row", "integer", "", "feature a of the entry (a, b), from 0"),
    Column("column", "integer", "", "feature b of the entry (a, b)"),
    Column("xx", "exact", "1", "empirical second moment in the basis v", "mean x_a^t x_b^t"),
    Column("yx", "exact", "1", "the same of successive times", "mean x_a^(t+1) x_b^t"),
)

SIGNALS = (
    Column("t", "integer", "pairs", "place in the series, from 0"),
    FEATURE,
    Column("u", "exact", "1", "signal of the feature"),
    Column("x", "exact", "1", "what is observed along the feature", "u + noise xi"),
)

LOST_SERIES = (STATUS, MESSAGE, TRY)

LAYOUTS: dict[str, dict[str, tuple[Column, ...]]] = {
    "critical_times": {"points": POINTS, "trajectories": TRAJECTORIES, "failures": FAILURES},
    "networks": {
        "points": NETWORKS,
        "features": FEATURES,
        "trajectories": RESPONSES,
        "losses": LOSSES,
        "failures": LOST_NETWORKS,
    },
    "estimates": {
        "points": SERIES,
        "features": ESTIMATES,
        "covariances": COVARIANCES,
        "trajectories": SIGNALS,
        "failures": LOST_SERIES,
    },
}
