"""Lanes on systems that are not the paper's: points that go wrong, a state of matrices, the order of a crossing."""

import jax.numpy as jnp
import numpy as np
import pytest
from batches import custom, same, solve, solved_rows, wanting

import jepa_sweep as js
from jepa_sweep.engine.settings import Settings
from jepa_sweep.physics.dynamics import Coordinate
from jepa_sweep.physics.host import Status

# --- poisoned points ------------------------------------------------------------------------------------------------

FEW = 300  # steps
SILENT = {1: "nan", 2: "runs away", 3: "never there", 4: "stands still", 5: "nan from the start", 6: "infinite start"}


def logistic(t, y, point):
    """Growth from 0.01 to 1, or one of the ways in which it goes wrong."""
    kind, good = point["kind"], point["rate"] * y * (1 - y)
    wrong = [jnp.where(y > 0.3, jnp.nan, good), -(1 + y**2), 1e3 * y * (0.4 - y), 0 * y, jnp.nan * y, good]
    return jnp.select([kind == k for k in SILENT], wrong, good)


FORWARD = Coordinate(
    "y",
    start=lambda point: jnp.where(point["kind"] == 6, jnp.inf, 0.01 + 0 * point["rate"]),
    field=logistic,
    response=lambda y, point: y,
)


def pace(t, x, point):
    """dx/dT of a clock from 0 to 1."""
    kind, good = point["kind"], point["rate"] * (1 + x)
    wrong = [
        jnp.where(x > 0.3, jnp.nan, good),
        good / jnp.maximum(0.3 - x, 0.0),  # time stands still
        1 / (2 + jnp.sin(1e6 * x)),
        good * jnp.maximum(0.3 - x, 0.0),  # never gets past 0.3
        jnp.nan * good,
        jnp.where(x > 0.3, -good, good),  # time runs back
    ]
    return jnp.select([kind == k for k in SILENT], wrong, good)


CLOCK = Coordinate(
    "x",
    start=lambda point: 0 * point["rate"],
    field=pace,
    response=lambda x, point: x,
    span=lambda fraction, point: fraction + 0 * point["rate"],
)


@pytest.mark.long
@pytest.mark.parametrize("coordinate", [FORWARD, CLOCK], ids=["forward", "clock"])
def test_poisoned_points_leave_their_neighbours_alone(coordinate):
    count = 64
    rng = np.random.default_rng(3)
    system, settings = custom(coordinate, ("kind", "rate")), Settings("tsit5", 1e-7, max_steps=FEW)
    rate, p = rng.uniform(0.5, 2, count), np.tile([0.9, 0.5], (count, 1))
    times = np.linspace(0, 2, 5) * np.ones((count, 1))
    kind = np.where(np.arange(count) % 2, 0, rng.choice(list(SILENT), count))
    assert set(kind) == {0, *SILENT}

    def visit(kind):
        given = {"kind": kind.astype(float), "rate": rate}
        return solve(given, p, wanting(p), settings, times, system=system, batch=count)

    poisoned, clean = visit(kind), visit(np.zeros(count))
    assert (clean.status == Status.LEARNED).all()
    assert np.isfinite(clean.samples).all()
    good = kind == 0
    same(solved_rows(poisoned, good), solved_rows(clean, good))
    assert (poisoned.steps <= FEW).all()
    silent = ~good & ~((coordinate is CLOCK) & (np.isin(kind, [2, 6])))
    failed = poisoned.status[silent]
    assert np.isin(failed, [Status.MAX_STEPS, Status.NON_FINITE]).all(), list(zip(kind[silent], failed, strict=True))
    assert np.isnan(poisoned.time[silent]).all()
    assert np.isin(poisoned.ended[silent], [Status.MAX_STEPS, Status.NON_FINITE]).all()
    assert set(poisoned.status[kind == 1].ravel()) == {Status.NON_FINITE}
    assert set(poisoned.status[kind == 3].ravel()) == {Status.MAX_STEPS}
    # What was sampled before things went wrong stays.
    np.testing.assert_allclose(poisoned.samples[kind == 1, 0], clean.samples[kind == 1, 0], rtol=1e-15)


# --- a record of another shape --------------------------------------------------------------------------------------


def rotation(point):
    c, s = jnp.cos(point["angle"]), jnp.sin(point["angle"])
    return jnp.stack([jnp.stack([c, -s]), jnp.stack([s, c])])


def across(point, first, second):
    """A matrix with the features as eigenvectors."""
    Q = rotation(point)
    return Q @ jnp.diag(jnp.stack([first, second])) @ Q.T


def two_features(t, y, point):
    """Gradient flow of V W (theory.md, section 4, L = 1, M = 1): R = V W Sxx - W Syx, dV = -R W', dW = -V' R."""
    del t
    W, V = y["W"], y["V"]
    Sxx = across(point, point["lam1"] / point["rho1"], point["lam2"] / point["rho2"])
    R = V @ W @ Sxx - W @ across(point, point["lam1"], point["lam2"])
    return {"W": -V.T @ R, "V": -R @ W.T}


def encoder(point):
    return across(point, point["eps"], 2 * point["eps"])


def feature(place):
    def response(y, point):
        q = rotation(point)[:, place]
        return q @ y["W"] @ q

    return response


def drift(y, point):
    """Of the conserved V'V - W W'."""
    start, unbalanced = encoder(point), point["unbalanced"]
    kept = y["V"].T @ y["V"] - y["W"] @ y["W"].T
    return jnp.sqrt(jnp.sum((kept - (unbalanced**2 - 1) * start @ start.T) ** 2))


MATRICES = Coordinate(
    "W and V",
    start=lambda point: {"W": encoder(point), "V": point["unbalanced"] * encoder(point)},
    field=two_features,
    response=feature(0),
    observables=(feature(1), drift),
)


def time_to(w, lam, rho, eps, unbalanced):
    """By quadrature in ln s: dt = d ln s / (v (lam - v s2)), v^2 = s^2 + delta."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    low, high = np.log(eps), np.log(w)
    s = np.exp((high + low) / 2 + (high - low) / 2 * nodes)
    v = np.sqrt(s**2 + (unbalanced**2 - 1) * eps**2)
    return (high - low) / 2 * np.sum(weights / (v * (lam - v * lam / rho)))


@pytest.mark.long
def test_the_pool_serves_a_state_of_matrices():
    names = ("lam1", "rho1", "lam2", "rho2", "eps", "unbalanced", "angle")
    system = custom(MATRICES, names)
    count, rng, settings = 24, np.random.default_rng(5), Settings("tsit5", 1e-8)
    low = np.array([0.5, 0.5, 0.5, 0.5, 0.01, 0.3, 0.0])
    high = np.array([2.0, 1.0, 2.0, 1.0, 0.03, 3.0, np.pi])
    columns = dict(zip(names, rng.uniform(low, high, (count, 7)).T, strict=True))
    balanced = np.arange(count) % 2 == 0
    columns["unbalanced"] = np.where(balanced, 1.0, columns["unbalanced"])
    p = np.tile([0.5, 0.8], (count, 1))
    first, second = ({"lam": columns[f"lam{i}"], "rho": columns[f"rho{i}"], "L": 1,
                      "eps": i * columns["eps"]} for i in (1, 2))  # fmt: skip
    times = np.linspace(0, 1.1, 5) * js.critical_time("jepa", **first)[:, None]
    ours = solve(columns, p, wanting(p, columns["rho1"][:, None]), settings, times, system=system, batch=count, width=8)
    assert (ours.status == Status.LEARNED).all()
    args = [columns[n] for n in ("lam1", "rho1", "eps", "unbalanced")]
    exact = np.array(
        [[time_to(q * rho, lam, rho, eps, c) for q in p[0]] for lam, rho, eps, c in zip(*args, strict=True)]
    )
    bound = 2 * 1e-8 * ours.steps[:, None]
    assert (np.abs(ours.time / exact - 1) <= bound).all()
    closed = np.stack([js.critical_time("jepa", **first, p=q) for q in p[0]], axis=1)
    assert (np.abs(ours.time / closed - 1)[balanced] <= bound[balanced]).all()
    for place, given in enumerate((first, second)):
        given = {name: np.broadcast_to(v, count)[balanced, None] for name, v in given.items()}
        w = js.trajectory("jepa", **given, t=times[balanced])
        # w goes at most as d ln w / d ln t = lam w t <= 40 while it is small and like an exponential after it.
        steepest = np.abs(np.gradient(np.log(w), axis=1)).max() * 4
        assert (np.abs(ours.samples[balanced, :, place] / w - 1) <= bound[balanced] * (1 + 2 * steepest)).all()
    # What is conserved is of the size of the response squared, at most 1; each step may change it by rtol of that.
    assert (ours.samples[:, :, 2] <= 2 * bound).all()
    assert (ours.samples[:, 0, 2] <= 1e-15).all()


# --- where a threshold is crossed -----------------------------------------------------------------------------------


@pytest.mark.long
def test_the_time_of_a_crossing_has_the_order_of_the_solver():
    """tsit5 on the logistic flow, at thresholds all along it."""
    count, tolerances = 64, (1e-4, 1e-8)
    system, p = custom(FORWARD, ("kind", "rate")), np.linspace(0.02, 0.98, 64)[:, None]
    columns = {"kind": np.zeros(count), "rate": np.ones(count)}
    exact = np.log(p / (1 - p)) - np.log(0.01 / 0.99)
    errors, steps = [], []
    for rtol in tolerances:
        ours = solve(columns, p, wanting(p), Settings("tsit5", rtol), np.zeros((count, 0)), system=system, batch=count)
        errors.append(np.abs(ours.time - exact).max())
        steps.append(ours.steps.max())
    order = -np.diff(np.log(errors)) / np.diff(np.log(steps))
    assert (order >= 4.5).all(), (errors, steps)  # 5, measured over a few powers of ten
    # In w(1 - w) an error of w shifts time by itself over the slope; 1 / (p (1 - p)) <= 50 of rtol w a step.
    assert (np.array(errors) <= np.array(tolerances) * steps).all(), (errors, steps)
