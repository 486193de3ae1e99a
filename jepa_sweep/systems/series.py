"""The system `temporal`: lam and rho estimated from temporal series, beside what theory says of their spread."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from jepa_sweep.physics.host import Columns
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.schema import FEATURE, MESSAGE, STATUS, Column
from jepa_sweep.systems.shared import MOST_SEED, between, chunk_of_runs, whole
from jepa_sweep.systems.system import (
    Cost,
    Curves,
    Effort,
    Measurement,
    Pair,
    Parameter,
    Place,
    Points,
    Rows,
    Rule,
    System,
)

if TYPE_CHECKING:
    import pandas as pd

# Nominal rates of two cores of a 2024 server processor, good to a factor of a few.
SECONDS_PER_VALUE, FEWEST_VALUES = 5e-8, 1 << 15  # a value of a feature at one time
SECONDS_TO_COMPILE = 3.0  # of series of one number of features
BYTES_PER_ROW, BYTES_PER_FEATURE, BYTES_PER_ENTRY, BYTES_PER_SAMPLE = 100.0, 45.0, 20.0, 30.0

PARAMETERS = (
    Parameter("features", "number of features", integer=True, partitions_files=True, default=2),
    Parameter("gamma_first", "correlation of the signal of the first feature from step to step", default=0.99),
    Parameter("gamma_last", "the same of the last; those between are evenly spaced", default=0.95),
    Parameter("noise_first", "standard deviation of the noise of the first feature", default=1.0),
    Parameter("noise_last", "the same of the last", default=0.5),
    Parameter(
        "log10_T", "decimal logarithm of the length of the series, in pairs", example={"linear": [3.0, 5.0], "num": 5}
    ),
    Parameter("seed", "of the series", integer=True, default=0, example=[0, 1, 2, 3]),
)
RULES = (
    whole(2, 1000, "features"),
    *between(0, 1, "gamma_first", "gamma_last"),
    *between(0, math.inf, "noise_first", "noise_last", low_included=True),
    Rule(("log10_T",), lambda c: (c["log10_T"] >= 1) & (c["log10_T"] <= 9), "lie between 1 and 9"),
    whole(0, MOST_SEED, "seed"),
)

RUNS = (
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


def compute(points: Points, measurement: Measurement, place: Place) -> tuple[dict[str, Rows], Effort]:
    """All tables of some series."""
    from jepa_sweep.systems import series_rows  # not at the top: planning needs no engine

    return series_rows.compute(points, measurement, place)


def cost(count: int, columns: Callable[[], Columns], measurement: Measurement) -> Cost:
    """What so many series cost."""
    del count
    here = columns()
    d = here["features"]
    values = np.maximum(10 ** here["log10_T"] * d, FEWEST_VALUES)
    size = BYTES_PER_ROW + BYTES_PER_FEATURE * d + BYTES_PER_ENTRY * d**2 + BYTES_PER_SAMPLE * d * measurement.samples
    return Cost(float(values.sum()) * SECONDS_PER_VALUE, float(size.sum()))


def memory(chunk: int, heads: Columns, measurement: Measurement) -> float:
    """Bytes at the peak, for chunks of so many points, of which two are held."""
    d = float(heads["features"].max())
    return 7e8 + 2 * 8 * (15 + len(PARAMETERS)) * chunk * (1 + d * (1 + measurement.samples) + d**2)


def compare(store: Reader) -> "pd.DataFrame":
    """One row a length of the series, over all seeds and features.

    Estimates in units of their predicted standard deviation: mean, spread and share within 2; off-diagonals.
    """
    features, wanted = store.read("features"), {}
    for name in ("lam", "rho"):
        features[name] = (features[f"{name}_hat"] - features[name]) / features[f"{name}_std"]
        features[f"{name}_within"] = features[name].abs() < 2
        wanted |= {f"{name}_mean": (name, "mean"), f"{name}_spread": (name, "std")}
        wanted[f"{name}_within_2"] = (f"{name}_within", "mean")
    scores = features.groupby("log10_T").agg(**wanted)
    off = {name: (name, "mean") for name in ("off_diagonal", "off_diagonal_exact")}
    runs = store.read("points").groupby("log10_T").agg(runs=("log10_T", "size"), **off)
    return runs.join(scores).reset_index()


TEMPORAL = System(
    name="temporal",
    meaning="lam and rho estimated from temporal series",
    version=2,
    objectives=("moments",),
    parameters=PARAMETERS,
    rules=RULES,
    tables={
        "points": RUNS,
        "features": ESTIMATES,
        "covariances": COVARIANCES,
        "trajectories": SIGNALS,
        "failures": (STATUS, MESSAGE),
    },
    methods=("blocks",),
    compute=compute,
    cost=cost,
    memory=memory,
    compiling=lambda objectives, groups, measurement: groups * SECONDS_TO_COMPILE,
    chunk=chunk_of_runs,
    compare=compare,
    curves=Curves(
        table="features",
        noun="features of series",
        pairs=(Pair("Estimate of rho", "rho_hat", "rho"), Pair("Estimate of lam", "lam_hat", "lam")),
        keys=("feature",),
        also=("rho_std", "lam_std"),
    ),
    most_points=10**9,
    precisions=("float64",),
    without_rtol=("blocks",),
    unused={
        "measure.p": "a series learns nothing",
        "measure.trajectories.until": "the first `samples` times of a series are kept",
    },
)
