"""Columns of tables: name, type, unit, meaning, equation; and how they become Arrow schemas."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import pyarrow as pa

from jepa_sweep.store.fitting import Text


class Column(NamedTuple):
    """One column. `dtype` is "text", "integer", "exact" (float64 always) or "numeric" (the solver's precision)."""

    name: Text
    dtype: Literal["text", "integer", "exact", "numeric"]
    unit: Text
    meaning: Text
    equation: Text = ""


P = Column("p", "exact", "1", "threshold, as a fraction of the rest point", "w(t) = p w_star")
STATUS = Column("status", "text", "", "how the point ended: learned, above_threshold, at_fixed_point, ...")
MESSAGE = Column("message", "text", "", "what the status means and what to try")
TRY = Column("try", "integer", "", "which attempt at the point this was, from 1")

TIMES = {  # conventions of time
    "paper": "paper time T = L t",
    "flow": "flow time t of plain gradient flow, t = T / L",
    "own": "time t of the flow's own equation",
}

SAMPLED = ("trajectories", "losses")  # tables whose rows are samples
REPEATING = ("p", "lam", "rho")  # measured floats that stand in many rows unchanged
WITHIN = ("feature", "row", "column")  # columns that number what one point has several of, from 0


def arrow(columns: Sequence[Column], precision: str, time: str) -> pa.Schema:
    """The Arrow schema of a table; meaning and unit stand in each field, the time convention in the file."""
    types = {"text": pa.string(), "integer": pa.int64(), "exact": pa.float64(), "numeric": pa.type_for_alias(precision)}
    fields = []
    for column in columns:
        # A time that is always flow time says so itself.
        unit = column.unit if "flow" in column.unit else column.unit.replace("time", unit_of_time(time))
        notes = {"unit": unit, "meaning": column.meaning}
        if column.equation:
            notes["equation"] = column.equation
        fields.append(pa.field(column.name, types[column.dtype], metadata=notes))
    return pa.schema(fields, metadata={"time": TIMES[time], "precision": precision})


def unit_of_time(time: str) -> str:
    """What times are in: "paper time", "flow time", or plainly "time"."""
    return "time" if time == "own" else f"{time} time"


def noun_of(table: str) -> str:
    """What the rows of a table are, in the plural."""
    return f"samples of {table}" if table in SAMPLED else table


# --- columns that several systems have ----------------------------------------------------------------------------

T = Column("t", "exact", "time", "time of the sample")
STEPS = Column("steps", "integer", "steps", "solver steps for this point, accepted and rejected")
FEATURE = Column("feature", "integer", "", "number of the feature, from 0")
