"""One batch of points that many tests of the engine share, so that they share its compiled programs too."""

import jax
import numpy as np

from jepa_sweep.engine import lanes
from jepa_sweep.engine.settings import Settings
from jepa_sweep.engine.solves import Predicted, Solves
from jepa_sweep.physics.dynamics import Dynamics
from jepa_sweep.physics.host import Status
from jepa_sweep.physics.reduced import DYNAMICS

JEPA = DYNAMICS["jepa"]
COUNT, WIDTH, SAMPLES = 96, 16, 40
RTOL = 1e-8
AS_COMPILED = 1e-3 * RTOL  # a rounding in the estimate of a tiny error makes the next step a little longer
CHI, LOG_W, W = (Settings("dopri8", RTOL, coordinate=name) for name in ("chi", "log_w", "w"))
ALL = slice(None)


def points(count=COUNT, seed=0):
    """Growth from below, and in every fourth point decay from above; with three thresholds in no order."""
    rng = np.random.default_rng(seed)
    columns = {
        "lam": np.exp(rng.uniform(np.log(0.3), np.log(3), count)),
        "rho": rng.uniform(0.6, 1.0, count),
        "L": rng.choice([1.0, 2.0, 3.0], count),
        "eps": np.exp(rng.uniform(np.log(1e-4), np.log(1e-2), count)),
    }
    decays = np.arange(count) % 4 == 3
    columns["eps"] = np.where(decays, columns["rho"] ** columns["L"] * rng.uniform(4, 50, count), columns["eps"])
    p = np.where(decays[:, None], [1.5, 3.0, 1.1], [0.9, 0.1, 0.5])
    return columns, p


def predict(columns, p, dynamics=JEPA):
    """Predictions, by one program for all batches of this size."""
    return lanes.predict(dynamics, columns, p, batch=3 * COUNT)


def only(predicted, slot):
    """The same with one threshold wanted."""
    others = np.arange(predicted.status.shape[1]) != slot
    return predicted._replace(status=np.where(others, Status.NOT_REACHED, predicted.status))


def no_times(count=COUNT):
    return np.full((count, SAMPLES), np.nan)


def solve(columns, p, predicted, settings=CHI, times=None, **kwargs) -> Solves:
    """`lanes.solve` with room for samples, in one shape."""
    times = no_times(len(p)) if times is None else times
    given = {"batch": COUNT, "width": WIDTH, "system": JEPA, **kwargs}
    return lanes.solve(given.pop("system"), columns, p, predicted, settings, times=times, **given)


def taken(tree, places):
    """Rows of columns, predictions or arrays."""
    return jax.tree.map(lambda a: a[places], tree)


def solved_rows(solves: Solves, places) -> Solves:
    """The same of some points."""
    return solves._replace(**{n: getattr(solves, n)[places] for n in solves._fields if n != "lane_steps"})


def custom(coordinate, parameters, point=dict) -> Dynamics:
    """A record with nothing in it but what the engine asks for."""
    return Dynamics(parameters, lambda **kw: point(kw), rest=None, status=None, coordinates=(coordinate,))


def wanting(p, rest=1.0):
    """Predictions that call every threshold reachable."""
    return Predicted(np.zeros(p.shape, np.int8), {"w_star": np.broadcast_to(rest, p.shape)})


def same(ours: Solves, theirs: Solves):
    """Bitwise equal, but for what the pool paid."""
    for name, a, b in zip(ours._fields, ours, theirs, strict=True):
        if name != "lane_steps":
            np.testing.assert_array_equal(a, b, err_msg=name)
