"""The systems `network` and `training`: deep networks of both objectives, by gradient flow and by gradient descent."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from jepa_sweep.engine.settings import COPIES, GROUP, NETWORK_SOLVERS, OPTIMIZERS
from jepa_sweep.physics.host import Columns
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.schema import FEATURE, MESSAGE, STATUS, Column, P, T
from jepa_sweep.systems.networks import parameters
from jepa_sweep.systems.shared import chunk_of_runs
from jepa_sweep.systems.system import Cost, Curves, Effort, Measurement, Pair, Place, Points, Rows, System

if TYPE_CHECKING:
    import pandas as pd

# Nominal rates of two cores of a 2024 server processor, good to a factor of a few.
FLOPS = 3e10  # a second, in products of matrices that stay in the cache
OVERHEAD = 1e-6  # seconds a step takes, however small its matrices
FLOW_STEPS, FLOW_STAGES = 1000, 13  # of a gradient flow, rtol 1e-8
BYTES_PER_ROW, BYTES_PER_FEATURE, BYTES_PER_SAMPLE, BYTES_PER_LOSS = 100.0, 45.0, 30.0, 15.0
SECONDS_TO_COMPILE = 6.0  # of networks of one objective and shape
CORES = 2

LAM = Column("lam", "exact", "1", "covariance of input and target along the feature, E[xy]")
RHO = Column("rho", "exact", "1", "regression coefficient of the feature, E[xy] / E[x^2]")
STEPS = Column("steps", "integer", "steps", "of the optimiser, or of the solver, accepted and rejected")
STEP = Column("step", "integer", "steps", "steps taken until then")
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
    STEPS,
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
    T,
    STEP,
    FEATURE,
    LAM,
    RHO,
    Column("w", "numeric", "1", "encoder response", "norm(Wbar e_i)"),
    Column("projection", "numeric", "1", "response along the direction an aligned start gives the feature"),
    Column("v", "numeric", "1", "predictor response", "jepa <a, V a>, mae <e_i, V a>, a = Wbar e_i / w"),
    Column("fit", "numeric", "1", "regression held by the prediction, as a fraction", "jepa v / rho, mae v w / rho"),
)

LOSSES = (
    T,
    STEP,
    Column("loss", "numeric", "1", "the objective", "half the mean squared error"),
)

TABLES = {
    "points": NETWORKS,
    "features": FEATURES,
    "trajectories": RESPONSES,
    "losses": LOSSES,
    "failures": (P, STATUS, MESSAGE, STEPS),
}


def compute(points: Points, measurement: Measurement, place: Place) -> tuple[dict[str, Rows], Effort]:
    """All tables of some points."""
    from jepa_sweep.systems.networks import rows  # not at the top: planning needs no engine

    return rows.compute(points, measurement, place)


def cost(count: int, columns: Callable[[], Columns], measurement: Measurement) -> Cost:
    """What so many networks cost; thresholds share one network, and its samples."""
    del count
    here, each = columns(), measurement.samples / measurement.thresholds
    d = here["features"]
    seconds = steps(here, measurement.solver.method) * (OVERHEAD + step_flops(here) / FLOPS) / measurement.thresholds
    size = BYTES_PER_ROW + BYTES_PER_FEATURE * d + each * (BYTES_PER_LOSS + BYTES_PER_SAMPLE * d)
    return Cost(float(seconds.sum()), float(size.sum()))


def steps(columns: Columns, method: str) -> np.ndarray:
    """Evaluations of the gradient: steps of an optimiser, or all stages of a flow's steps."""
    if method in OPTIMIZERS:
        return np.rint(columns["t_end"] / columns["eta"])
    return np.full(columns["t_end"].shape, FLOW_STEPS * FLOW_STAGES)


def step_flops(columns: Columns) -> np.ndarray:
    """Floating-point operations of one gradient of one network.

    Of the whole population 6 (L+1) n^2 d: through each layer one product forward and two back. Of a batch of b samples
    8 (L+1) n^2 b, since the target is encoded too, and a look at the maps of a linear network besides.
    """
    L, d = columns["L"], columns["features"]
    n = np.maximum(columns["width"], d)
    batch = columns.get("batch", np.zeros_like(L))
    return (L + 1) * n**2 * np.where(batch > 0, 8 * batch + 2 * d, 6 * d)


def memory(chunk: int, heads: Columns, measurement: Measurement) -> float:
    """Bytes at the peak, for chunks of so many points, of which two are held; one point of each group says its size."""
    d = float(heads["features"].max())
    each, columns = measurement.samples / measurement.thresholds, 15 + len(heads)
    weights = float(((heads["L"] + 1) * np.maximum(heads["width"], heads["features"]) ** 2).max())
    return 7e8 + 2 * 8 * columns * chunk * (1 + d * (1 + each)) + 8 * CORES * GROUP * COPIES * weights


def compare(store: Reader) -> "pd.DataFrame":
    """One row an objective and setting, over all seeds.

    Means of the rank correlations of learning with lam and rho, and the worst time against the scalar flow.
    """
    points, features = store.read("points"), store.read("features")
    keys = [c.name for c in store.parameters if c.name != "seed" and len(set(points[c.name])) > 1]
    keys = ["objective", *keys, "p"]
    measured = ["order_lam", "order_rho", "fit_order_lam", "fit_order_rho", "strength_lam", "strength_rho"]
    means = {name: (name, "mean") for name in ("learned", *measured, "loss_start", "loss_end")}
    table = points.groupby(keys).agg(networks=("p", "size"), **means)
    worst = features.groupby(keys).agg(worst_difference=("relative_difference", "max"))
    return table.join(worst).reset_index()


def _system(name: str, **more: Any) -> System:
    return System(
        name=name,
        version=3,
        objectives=parameters.OBJECTIVES,
        defaults=("jepa", "mae"),
        tables=TABLES,
        compute=compute,
        cost=cost,
        memory=memory,
        compiling=lambda objectives, groups, measurement: groups * SECONDS_TO_COMPILE,
        chunk=chunk_of_runs,
        compare=compare,
        curves=Curves(
            table="features",
            noun="features of networks",
            pairs=(
                Pair("Learning time, scalar flow", "t_learned", "t_exact"),
                Pair("Fitting time, scalar flow", "t_fitted", "t_exact"),
                Pair("Last response, rest point", "w_end", "w_star"),
            ),
            keys=("p", "feature"),
            also=("lam", "rho", "w_start"),
            lines=("w",),
            crossing="t_learned",
        ),
        most_points=10**9,
        unused={"measure.trajectories.until": "networks are sampled until `t_end`"},
        **more,
    )


NETWORK = _system(
    "network",
    meaning="deep linear networks by gradient flow",
    parameters=(*parameters.DATA, *parameters.NETWORK),
    rules=parameters.RULES,
    methods=NETWORK_SOLVERS,
    idle=parameters.IDLE,
)
TRAINING = _system(
    "training",
    meaning="deep networks by gradient descent",
    parameters=(*parameters.DATA, *parameters.NETWORK, *parameters.TRAINING),
    rules=(*parameters.RULES, *parameters.TRAINING_RULES),
    methods=OPTIMIZERS,
    without_rtol=OPTIMIZERS,
    idle=parameters.TRAINING_IDLE,
)
