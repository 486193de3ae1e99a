"""The column table: name, type, unit, meaning, equation. The only place where a column is spelled.

A store's schemas are frozen when it is created; the parameters of its system stand among the columns.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

FORMAT = 1  # of the store; a reader refuses a newer one


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

FAILURES = (P, STATUS, Column("message", "text", "", "what the status means and what to try"), STEPS)

BODIES = {"points": POINTS, "trajectories": TRAJECTORIES, "failures": FAILURES}
TABLES = tuple(BODIES)


def columns(table: str, parameters: Sequence[Column]) -> tuple[Column, ...]:
    """All columns of a table: objective, the system's parameters, then what was measured."""
    return (OBJECTIVE, *parameters, *BODIES[table])


def arrow(table: str, parameters: Sequence[Column], precision: str, time: str) -> pa.Schema:
    """The Arrow schema of a table; meaning and unit stand in each field, the time convention in the file."""
    types = {"text": pa.string(), "integer": pa.int64(), "exact": pa.float64(), "numeric": pa.type_for_alias(precision)}
    fields = []
    for column in columns(table, parameters):
        notes = {"unit": column.unit.replace("time", f"{time} time"), "meaning": column.meaning}
        if column.equation:
            notes["equation"] = column.equation
        fields.append(pa.field(column.name, types[column.dtype], metadata=notes))
    conventions = {"paper": "paper time T = L t", "flow": "flow time t of plain gradient flow, t = T / L"}
    return pa.schema(fields, metadata={"time": conventions[time], "precision": precision})


def markdown(parameters: Sequence[Column]) -> str:
    """The tables of columns as they stand in the README."""
    lines = []
    for table in TABLES:
        lines += [f"`{table}`", "", "| column | type | unit | meaning | equation |", "|---|---|---|---|---|"]
        for c in columns(table, parameters):
            equation = f"`{c.equation}`" if c.equation else ""
            lines.append(f"| `{c.name}` | {c.dtype} | {c.unit} | {c.meaning} | {equation} |")
        lines.append("")
    return "\n".join(lines)
