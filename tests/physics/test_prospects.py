"""What NumPy says of how points will end is what programs say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jepa_sweep.physics import exact
from jepa_sweep.physics.host import Status
from jepa_sweep.physics.prospects import LAWS, prospects
from jepa_sweep.physics.reduced import DYNAMICS

COUNT = 4096


def drawn(objective, seed=0):
    """Points of every kind: shallow and deep, tiny starts and starts at and above the rest point, all sizes of lam."""
    rng = np.random.default_rng(seed)
    lam, rho, L = 10 ** rng.uniform(-2, 2, COUNT), 10 ** rng.uniform(-2, 0.3, COUNT), 1.0 * rng.integers(1, 20, COUNT)
    eps = 10 ** np.where(rng.random(COUNT) < 0.5, rng.uniform(-8, 1, COUNT), rng.uniform(-300, 0, COUNT))
    p = np.where(rng.random(COUNT) < 0.7, rng.uniform(0.01, 0.99, COUNT), rng.uniform(1.01, 5, COUNT))
    rest = rng.random(COUNT) < 0.05
    eps = np.where(rest, rho ** (L / LAWS[objective](L)[1]), eps)
    lam = np.where(rng.random(COUNT) < 0.2, 10 ** rng.uniform(20, 300, COUNT), lam)
    far = rng.random(COUNT) < 0.1  # above the rest point
    p = np.where(far, 10 ** rng.uniform(1, 250, COUNT), p)
    eps = np.where(far, np.clip(p * rho ** (L / LAWS[objective](L)[1]) * 10 ** rng.uniform(0.1, 3), 1e-300, 1e300), eps)
    sign = rng.choice([1, 1, 1, 1, 0, -1], COUNT)
    return {"lam": lam * sign, "rho": rho * sign, "L": L, "eps": eps}, p


@pytest.mark.parametrize("objective", LAWS)
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_numpy_and_programs_agree(objective, precision):
    columns, p = drawn(objective)
    with jax.enable_x64(True):
        point = DYNAMICS[objective].point(*(jnp.asarray(values) for values in columns.values()))
        known, log_time = (
            np.asarray(jax.jit(f)(point, jnp.asarray(p))) for f in (exact.prospect, exact.log_critical_time)
        )
    early, late = np.log(np.finfo(precision).tiny), np.log(np.finfo(precision).max)
    learned = known == Status.LEARNED
    wanted = np.where(learned & (log_time > late), Status.OVERFLOW, known)
    wanted = np.where(learned & (log_time < early), Status.UNDERFLOW, wanted)
    found = prospects(objective, columns, p, precision)
    differ = found != wanted
    # The time is known by its size; more digits matter next to the largest number and the smallest alone.
    assert (np.minimum(np.abs(log_time - late), np.abs(log_time - early))[differ] < 3).all()
    assert differ.mean() < 3e-3
    assert {Status.LEARNED, Status.ABOVE_THRESHOLD, Status.NOT_REACHED, Status.AT_FIXED_POINT} <= set(found)
    assert {Status.NO_SIGNAL, Status.COLLAPSES, Status.OVERFLOW, Status.UNDERFLOW} - set(found) <= (
        {Status.OVERFLOW} if (objective, precision) == ("mae", "float64") else set()
    )


@pytest.mark.parametrize("objective", LAWS)
def test_starts_next_to_a_threshold_are_told_apart(objective):
    """By the last digit, as programs do."""
    L, rho = np.array([3.0]), np.array([0.7])
    w_star = rho ** (L / LAWS[objective](L)[1])
    for p, step, status in (
        (0.5, -1, "LEARNED"),
        (0.5, 1, "ABOVE_THRESHOLD"),
        (2.0, 1, "LEARNED"),
        (2.0, -1, "NOT_REACHED"),
    ):
        eps = p * w_star * (1 + step * 1e-14)
        found = prospects(objective, {"lam": np.ones(1), "rho": rho, "L": L, "eps": eps}, np.array([p]), "float64")
        assert Status(found[0]).name == status, (p, step)
