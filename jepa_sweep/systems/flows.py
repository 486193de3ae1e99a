"""Scalar flows: when a response meets its thresholds, beside what theory predicts, and the response over time.

`system` makes a `System` of them. Whatever theory predicts becomes a column; without predictions there are none of
these columns.
"""

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jepa_sweep.checks import shown
from jepa_sweep.engine.settings import METHODS
from jepa_sweep.errors import SpecError
from jepa_sweep.physics.host import Columns
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.schema import MESSAGE, STATUS, STEPS, Column, P, T
from jepa_sweep.systems.shared import ROWS_PER_FILE
from jepa_sweep.systems.system import Cost, Curves, Effort, Measurement, Pair, Place, Points, Rows, System

if TYPE_CHECKING:
    import pandas as pd

    from jepa_sweep.physics.dynamics import Dynamics

# Nominal rates of two cores of a 2024 server processor at rtol 1e-8, good to a factor of a few.
SECONDS_PER_POINT, SECONDS_PER_SAMPLE = 2e-6, 2e-7
SECONDS_TO_COMPILE = {"exact": 3.0, "clenshaw_curtis": 5.0}  # of one objective, the check of a first use included
SECONDS_TO_COMPILE_STEPS = 12.0  # by the other methods
BYTES_PER_POINT, BYTES_PER_SAMPLE = 75.0, 27.0
FEWEST_POINTS, USUAL_POINTS, MOST_POINTS = 1 << 12, 1 << 17, 1 << 20  # of a chunk

W_STAR = Column("w_star", "exact", "1", "rest point of the response", "rho^L (jepa), rho^(L/(L+1)) (mae)")
T_NUMERIC = Column("t_numeric", "numeric", "time", "critical time by integration", "w(t_numeric) = p w_star")
DIFFERENCE = Column(
    "relative_difference", "exact", "1", "disagreement of the two", "abs(t_numeric - t_exact) / t_exact"
)
W = Column("w", "numeric", "1", "encoder response by integration", "w(0) = eps")
CURVE = (
    Column("w_exact", "exact", "1", "encoder response in closed form"),
    Column("condition", "exact", "1", "relative change of w per relative change of t", "abs(d ln w / d ln t)"),
)
SAMPLE_STATUS = Column(
    "status",
    "text",
    "",
    "resolved, unresolved (w(t) has no correct digits here), inaccurate, or why the solver stopped",
)


def system(
    name: str,
    version: int,
    objectives: tuple[str, ...],
    dynamics: Callable[[], "Mapping[str, Dynamics]"],
    *,
    coordinates: tuple[str, ...],
    by_clock: tuple[str, ...],
    predicted: tuple[Column, ...] = (),
    pairs: tuple[Pair, ...],
    curve: bool = True,
    w_star: Column = W_STAR,
    response: Column = W,
    observed: tuple[Column, ...] = (),
    conserved: tuple[str, ...] = (),
    **more: Any,
) -> System:
    """The `System` of one or several flows with the same parameters.

    Args:
        name: of the system.
        version: changes whenever its results would.
        objectives: one for each flow.
        dynamics: called to compute, gives objective -> flow; what it says must agree with the rest of these arguments.
        coordinates: the names of the flow's coordinates, in their order.
        by_clock: those of them in which time is an integral.
        predicted: columns for the flow's predictions, in the order in which they stand in `points`.
        pairs: what the explorer shows beside each other; the closed form first.
        curve: whether theory gives the response over time, too.
        w_star: the column that says what thresholds are fractions of.
        response: the column of the response along trajectories.
        observed: columns of trajectories for the observables of the flow's coordinates, in their order.
        conserved: which of these should not change along a flow.
        **more: further fields of the `System`; parameters and rules at least.
    """
    exact = any(column.name == "t_exact" for column in predicted)
    columns = tuple(
        c for column in predicted for c in ((column, DIFFERENCE) if column.name == "t_exact" else (column,))
    )
    return System(
        name=name,
        version=version,
        objectives=objectives,
        tables={
            "points": (P, STATUS, w_star, T_NUMERIC, *columns, STEPS),
            "trajectories": (T, response, *(CURVE if curve else ()), *observed, SAMPLE_STATUS),
            "failures": (P, STATUS, MESSAGE, STEPS),
        },
        methods=(*METHODS, *(["exact"] if exact else [])),
        compute=functools.partial(compute, dynamics, tuple(column.name for column in observed)),
        cost=cost,
        memory=memory,
        compiling=compiling,
        chunk=chunk,
        compare=functools.partial(compare, conserved),
        curves=Curves(
            table="points",
            noun="points",
            pairs=pairs,
            also=("w_star",),
            lines=("w", "w_exact") if curve else ("w",),
            crossing="t_numeric",
        ),
        coordinates=coordinates,
        across_groups=True,
        without_rtol=("exact",),
        automatic=functools.partial(automatic, by_clock, coordinates[-1]),
        check=functools.partial(check, by_clock, coordinates[-1]),
        **more,
    )


def compute(
    dynamics: Callable[[], "Mapping[str, Dynamics]"],
    observed: tuple[str, ...],
    points: Points,
    measurement: Measurement,
    place: Place,
) -> tuple[dict[str, Rows], Effort]:
    """All tables of some points, of one of the flows, whose observables are named in `observed`."""
    from jepa_sweep.systems import flow_rows  # not at the top: planning needs no engine

    return flow_rows.compute(dynamics()[points.objective], observed, points, measurement, place)


# --- settings and costs -----------------------------------------------------------------------------------------------


def automatic(by_clock: tuple[str, ...], default: str, measurement: Measurement) -> str:
    """The rule for integrals where that is all there is to do, and nothing else is as fast; dopri8 for the rest.

    `by_clock` are the coordinates in which time is an integral, `default` the one that is taken if none is named.
    """
    integral = (measurement.solver.coordinate or default) in by_clock and not measurement.samples
    return "clenshaw_curtis" if integral else "dopri8"


def check(by_clock: tuple[str, ...], default: str, measurement: Measurement) -> None:
    """Raise a `SpecError` where method, coordinate and samples do not go together; for the rest see `automatic`."""
    settings = measurement.solver
    if settings.method != "clenshaw_curtis":
        return
    if (settings.coordinate or default) not in by_clock:
        raise SpecError(
            f"`coordinate` must be one in which time is an integral ({', '.join(by_clock) or 'there is none'}) for the "
            f"method clenshaw_curtis, but it is {shown(settings.coordinate)}; try `method` dopri8."
        )
    if measurement.samples:
        raise SpecError(
            "`method` clenshaw_curtis steps too far to sample w(t) on the way; for trajectories try dopri8."
        )


def cost(count: int, columns: object, measurement: Measurement) -> Cost:
    """Seconds and bytes of `count` points; trajectories belong to the first threshold."""
    del columns  # all points cost about the same
    each = measurement.samples / measurement.thresholds
    seconds = SECONDS_PER_POINT + each * SECONDS_PER_SAMPLE
    return Cost(count * seconds, count * (BYTES_PER_POINT + each * BYTES_PER_SAMPLE))


def memory(chunk: int, heads: Columns, measurement: Measurement) -> float:
    """Bytes at the peak, for chunks of so many points, of which two are held."""
    del heads
    return 5e8 + chunk * (600 + 400 * measurement.samples / measurement.thresholds)


def compiling(objectives: int, groups: int, measurement: Measurement) -> float:
    """Seconds until all is compiled; one program serves every depth."""
    del groups
    return objectives * SECONDS_TO_COMPILE.get(measurement.solver.method, SECONDS_TO_COMPILE_STEPS)


def chunk(total: int, first: object, measurement: Measurement) -> int:
    """Few, large files for large sweeps; small enough to be read at once, and for a crash to cost little."""
    del first
    wanted = max(min(total // 8, USUAL_POINTS), total // 256)
    fitting = max(1, ROWS_PER_FILE // max(1, measurement.samples))
    return int(np.clip(wanted, FEWEST_POINTS if measurement.samples else 16 * FEWEST_POINTS, min(fitting, MOST_POINTS)))


# --- comparing --------------------------------------------------------------------------------------------------------


def compare(conserved: tuple[str, ...], store: Reader) -> "pd.DataFrame":
    """One row an objective and depth: how many points, how many learned, and how far they are from what theory says.

    `worst_difference` and `mean_difference` are relative differences from the closed form, `worst_leading_error` and
    `worst_asymptotic_error` those of the approximations from it, `drift_...` the largest relative change of a
    conserved quantity along a trajectory. What there is nothing to say of has no column. File by file: memory stays
    small.
    """
    keys = ["objective", *(c.name for c in store.parameters if c.dtype == "integer")]
    known = store.schema("points").names
    measured = [n for n in ("status", "relative_difference", "t_exact", "t_leading", "t_asymptotic") if n in known]
    found = _together([_counted(frame, keys) for frame in store.batches("points", [*keys, *measured])], keys)
    if "_compared" in found:
        total, compared = found.pop("_total"), found.pop("_compared")
        found.insert(3, "mean_difference", total / compared.replace(0, np.nan))
    drifts = [name for name in conserved if name in store.schema("trajectories").names]
    if drifts:
        names = ["objective", *(c.name for c in store.parameters), "t", *drifts]
        frames = [_drifted(frame, keys, drifts) for frame in store.batches("trajectories", names)]
        found = found.join(_together(frames, keys))
    return found.reset_index()


def _counted(frame: "pd.DataFrame", keys: list[str]) -> "pd.DataFrame":
    """Sums and extremes of one file of points."""
    frame["_learned"] = frame["status"] == "learned"
    wanted = {"points": ("_learned", "size"), "learned": ("_learned", "sum")}
    if "relative_difference" in frame:
        wanted |= {"worst_difference": ("relative_difference", "max"), "_compared": ("relative_difference", "count")}
        wanted["_total"] = ("relative_difference", "sum")
    for name in ("leading", "asymptotic"):
        if f"t_{name}" in frame:
            frame[f"_{name}"] = (frame[f"t_{name}"] / frame["t_exact"] - 1).abs()
            wanted[f"worst_{name}_error"] = (f"_{name}", "max")
    return frame.groupby(keys, sort=False).agg(**wanted)


def _drifted(frame: "pd.DataFrame", keys: list[str], names: list[str]) -> "pd.DataFrame":
    """The largest relative change of each conserved quantity from the start of its trajectory, of one file."""
    points = [c for c in frame.columns if c not in ("t", *names)]
    frame = frame.sort_values("t", kind="stable")
    first = frame.groupby(points, sort=False)[names].transform("first")
    for name in names:
        frame[f"drift_{name}"] = (frame[name] / first[name] - 1).abs()
    drifts = [f"drift_{name}" for name in names]
    return frame.groupby(keys, sort=False).agg(dict.fromkeys(drifts, "max"))


def _together(frames: "list[pd.DataFrame]", keys: list[str]) -> "pd.DataFrame":
    """Sums and extremes of all files."""
    import pandas as pd

    sums = ("points", "learned", "_compared", "_total")
    how = {name: "sum" if name in sums else "max" for name in frames[0].columns}
    return pd.concat([frame for frame in frames if len(frame)] or frames).groupby(level=keys).agg(how)
