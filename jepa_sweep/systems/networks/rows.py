"""Rows of networks: one a network, one a feature, and samples of responses and losses on the way."""

import numpy as np

from jepa_sweep.engine import lanes
from jepa_sweep.engine.networks import batches
from jepa_sweep.engine.networks.batches import Learned
from jepa_sweep.engine.networks.common import Recipe
from jepa_sweep.engine.settings import OPTIMIZERS
from jepa_sweep.physics import network
from jepa_sweep.physics.host import Columns, Status
from jepa_sweep.physics.reduced import DYNAMICS
from jepa_sweep.systems.networks import parameters
from jepa_sweep.systems.rows import Integrations, pick
from jepa_sweep.systems.system import Effort, Measurement, Place, Points, Rows

UNSAMPLED = 8  # samples nobody asked for: the steps between them are what one loop of the engine takes


def compute(points: Points, measurement: Measurement, place: Place) -> tuple[dict[str, Rows], Effort]:
    """All tables of some points; thresholds of one network share its integration."""
    at = Integrations(points)
    recipe = recipe_of(points.objective, at.columns, measurement)
    p = np.sort(points.thresholds)
    found = batches.learn(
        recipe,
        at.columns,
        np.tile(p, (len(at.first), 1)),
        precision=measurement.solver.precision,
        **place._asdict(),
    )
    unit = recipe.L if measurement.time == "paper" else 1
    trained = found.ended == Status.TRAINED
    features = _Features(recipe, at, found, np.searchsorted(p, points.p), points.p, unit, place, measurement.within)
    every, good = np.arange(len(points.p)), trained[at.of_row]
    ended = np.where(trained & _too_long(recipe, at.columns), Status.UNSTABLE, found.ended)
    status, steps = ended[at.of_row], found.steps[at.of_row]
    failures = {"status": status, "message": status, "steps": steps}
    out = {
        "points": pick(Rows({"status": status, "steps": steps, **features.summary()}, every), good),
        "failures": pick(Rows(failures, every), ~good),
        "features": features.table(np.flatnonzero(good)),
    }
    if measurement.samples:
        first = np.flatnonzero(good & (points.p == points.thresholds[0]))
        out |= _samples(recipe, found, features, first, at.of_row[first], unit)
    steps_in_all = int(found.steps.sum())
    return out, Effort(steps_in_all, steps_in_all)


def recipe_of(objective: str, columns: Columns, measurement: Measurement) -> Recipe:
    """What the networks of a group have in common."""
    shared = {}
    for q in (*parameters.DATA, *parameters.NETWORK, *parameters.TRAINING):
        if q.partitions_files and q.name in columns:
            [value] = np.unique(columns[q.name])
            shared[q.name] = q.choices[int(value)] if q.choices else int(value)
    solver = measurement.solver
    return Recipe(
        objective=objective,
        method=solver.method,
        samples=measurement.samples - 1 if measurement.samples else UNSAMPLED,
        **({} if solver.method in OPTIMIZERS else {"rtol": solver.rtol, "max_steps": solver.max_steps}),
        **shared,
    )


def _too_long(recipe: Recipe, columns: Columns) -> np.ndarray:
    """True for networks whose step is above a stability limit that is known: plain descent from an aligned start."""
    if (recipe.method, recipe.start, recipe.batch) != ("sgd", "aligned", 0) or recipe.objective not in DYNAMICS:
        return np.zeros(len(columns["seed"]), dtype=bool)
    lam, rho = batches.features_of(recipe, columns)
    limits = [
        network.step_limit(recipe.rule, *both, recipe.L) if (both[1] > 0).all() else np.inf
        for both in zip(lam, rho, strict=True)
    ]
    return columns["eta"] > np.array(limits)


class _Features:
    """What was found about every feature of every network, threshold by threshold: arrays (rows, features)."""

    def __init__(
        self,
        recipe: Recipe,
        at: Integrations,
        found: Learned,
        slot: np.ndarray,
        p: np.ndarray,
        unit: int,
        place: Place,
        within: float,
    ) -> None:
        self._recipe, self._p, self._unit = recipe, p, unit
        row = at.of_row
        self.lam, self.rho = (values[row] for values in batches.features_of(recipe, at.columns))
        self.w_star = network.rest(recipe.rule, self.rho, recipe.L)
        self._learned, self._fitted = found.crossed[row, 0, slot] * unit, found.crossed[row, 1, slot] * unit
        self._start, self._end = found.seen[row, 0], found.seen[row, -1]
        self._losses = found.losses[row]
        above = self._start[:, 0] >= p[:, None] * self.w_star
        late = np.where(above, Status.ABOVE_THRESHOLD, Status.NOT_YET)
        self._status = np.where(np.isfinite(self._learned), Status.LEARNED, late)
        time = found.crossed[row, 0, slot]
        off = np.isfinite(time) & ~(found.errors[row, slot] <= within * time)
        self._status = np.where(off, Status.INACCURATE, self._status)
        self._exact = self._predicted(place)

    def _predicted(self, place: Place) -> np.ndarray:
        """Critical times of the scalar flows that begin with the same responses; NaN for objectives without one."""
        exact = np.full(self.lam.shape, np.nan)
        usable = (self._start[:, 0] > 0) & (self.lam != 0)
        if self._recipe.objective not in DYNAMICS or not self._recipe.linear or not usable.any():
            return exact
        eps = self._start[:, 0].astype(float)
        columns = {"lam": self.lam, "rho": self.rho, "L": np.full(eps.shape, float(self._recipe.L)), "eps": eps}
        p = np.broadcast_to(self._p[:, None], eps.shape)
        batch = None if place.batch is None else place.batch * self._recipe.features
        found = lanes.predict(
            DYNAMICS[self._recipe.objective],
            {name: values[usable] for name, values in columns.items()},
            p[usable],
            batch=batch,
            device=place.device,
        )
        flow = found.values["t_exact"] * (1.0 if self._unit > 1 or self._recipe.L == 1 else found.flow_time)
        exact[usable] = np.where(found.status == Status.LEARNED, flow, np.nan)
        return exact

    def summary(self) -> Columns:
        """Columns of `points`: one value a network and threshold."""
        met = np.where(self._status == Status.ABOVE_THRESHOLD, -np.inf, self._learned)
        held = np.isnan(self._fitted) & (self._start[:, 3] >= self._p[:, None])
        fitted = np.where(held, -np.inf, self._fitted)
        end = self._end[:, 0]
        return {
            "learned": np.isfinite(self._learned).sum(axis=1),
            "order_lam": _rank_correlation(_late(met), self.lam),
            "order_rho": _rank_correlation(_late(met), self.rho),
            "fit_order_lam": _rank_correlation(_late(fitted), self.lam),
            "fit_order_rho": _rank_correlation(_late(fitted), self.rho),
            "strength_lam": _rank_correlation(end, self.lam),
            "strength_rho": _rank_correlation(end, self.rho),
            "w_mean": end.mean(axis=1, dtype=end.dtype),
            "w_most": end.max(axis=1),
            "loss_start": self._losses[:, 0],
            "loss_end": self._losses[:, -1],
        }

    def table(self, owner: np.ndarray) -> Rows:
        """One row a feature, for the rows in `owner`."""
        measured = {
            "lam": self.lam,
            "rho": self.rho,
            "status": self._status,
            "t_learned": self._learned,
            "t_fitted": self._fitted,
            "t_exact": self._exact,
            "relative_difference": np.abs(self._learned.astype(float) / self._exact - 1),
            "w_star": self.w_star,
            "w_start": self._start[:, 0],
            "w_end": self._end[:, 0],
            "v_end": self._end[:, 2],
        }
        d = self._recipe.features
        columns = {name: values[owner].ravel() for name, values in measured.items()}
        columns["feature"] = np.tile(np.arange(d), len(owner))
        return Rows(columns, np.repeat(owner, d))


def _samples(
    recipe: Recipe, found: Learned, features: _Features, owner: np.ndarray, at: np.ndarray, unit: int
) -> dict[str, Rows]:
    """Responses and losses on the way, of the rows in `owner`, which are the networks `at`."""
    count, d = recipe.samples + 1, recipe.features
    # A flow has no steps of its own length; what the optimiser did until a sample follows from the total.
    steps = np.rint(found.steps[at, None] * np.arange(count) / recipe.samples)
    if recipe.method in OPTIMIZERS:
        steps = -(-np.arange(count) * found.steps[at, None].astype(np.int64) // recipe.samples)
    clock = {"t": (found.times[at].astype(float) * unit).ravel(), "step": steps.ravel()}
    responses = {name: np.repeat(values, d) for name, values in clock.items()}
    responses["feature"] = np.tile(np.arange(d), len(owner) * count)
    for name, values in (("lam", features.lam), ("rho", features.rho)):
        responses[name] = np.repeat(values[owner, None], count, axis=1).ravel()
    seen = found.seen[at]
    responses |= {name: seen[:, :, k].ravel() for k, name in enumerate(("w", "projection", "v", "fit"))}
    return {
        "trajectories": Rows(responses, np.repeat(owner, count * d)),
        "losses": Rows({**clock, "loss": found.losses[at].ravel()}, np.repeat(owner, count)),
    }


def _late(times: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(times), np.inf, times)


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's, row by row; NaN where one of the two is constant."""
    from scipy.stats import rankdata  # not at the top: half a second of every command

    ranks = [rankdata(x, axis=1) for x in (a, b)]
    x, y = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    with np.errstate(invalid="ignore"):
        return (x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
