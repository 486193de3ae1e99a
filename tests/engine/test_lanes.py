"""Lanes against one solve at a time: same steps, same times, whatever the width, the order and the neighbours."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
from batches import (
    CHI,
    COUNT,
    JEPA,
    RTOL,
    W,
    custom,
    only,
    points,
    predict,
    same,
    solve,
    taken,
    wanting,
)

import jepa_sweep as js
from jepa_sweep.engine import lanes
from jepa_sweep.engine.solver import SOLVERS, Settings, Stepper
from jepa_sweep.physics.systems import Coordinate, Status

NO_SAMPLES = np.zeros((COUNT, 0))
BY = {"clock": CHI, "integral": Settings("clenshaw_curtis", RTOL), "forward": W}


@pytest.fixture(scope="module")
def batch():
    columns, p = points()
    return columns, p, predict(columns, p)


@pytest.fixture(scope="module")
def solved(batch):
    """Each way with all thresholds, without samples."""
    return {way: solve(*batch, settings, NO_SAMPLES) for way, settings in BY.items()}


def slack(columns, p, predicted):
    """How much a relative error of w shifts time, at least 1: 1 / |d ln w / d ln T|."""
    _, condition = lanes.exact_paths(JEPA, columns, predicted.time, batch=COUNT)
    return np.maximum(1, 1 / condition)


# --- one solve at a time --------------------------------------------------------------------------------------------


def one_by_one(solve_one, columns, rows, *others):
    """A jitted solve, point by point."""
    leaves = [JEPA.point(**{name: values[i] for name, values in columns.items()}) for i in rows]
    with jax.enable_x64(True):
        found = [solve_one(jax.tree.map(jnp.asarray, leaf), *(o[i] for o in others))
                 for leaf, i in zip(leaves, rows, strict=True)]  # fmt: skip
        return tuple(np.array(column) for column in zip(*found, strict=True))


def test_by_the_clock_it_is_diffrax_on_the_integral(batch):
    columns, p, predicted = batch
    chi = JEPA.coordinate("chi")

    @jax.jit
    def alone(point, fraction):
        begin, span = chi.start(point), chi.span(fraction, point)
        rate, slope = jax.jvp(lambda c: chi.field(0.0, c, point), (begin,), (jnp.ones_like(begin),))
        sol = dfx.diffeqsolve(
            dfx.ODETerm(lambda x, T, _: rate / chi.field(0.0, begin + x, point)),
            dfx.Dopri8(), 0.0, span, jnp.minimum(span, jnp.abs(rate / slope)), jnp.zeros_like(span),
            stepsize_controller=dfx.PIDController(rtol=RTOL, atol=float(np.finfo(float).tiny)),
        )  # fmt: skip
        return sol.ys[0] / rate, sol.stats["num_steps"]

    rows, slot = np.arange(0, COUNT, 5), 1
    time, steps = one_by_one(alone, columns, rows, p[:, slot])
    ours = solve(columns, p, only(predicted, slot), CHI, NO_SAMPLES)
    np.testing.assert_array_equal(ours.steps[rows], steps)
    # The same steps in arithmetic that the compiler orders in another way: some roundings a step.
    np.testing.assert_allclose(ours.time[rows, slot], time, rtol=1e-13)


def test_forward_it_is_diffrax_with_an_event(batch):
    columns, p, predicted = batch
    w = JEPA.coordinate("w")

    @jax.jit
    def alone(point, target):
        term, solver = dfx.ODETerm(lambda t, y, _: (jnp.ones_like(t), w.field(t, y[1], point))), dfx.Dopri8()
        controller, y = dfx.PIDController(rtol=RTOL, atol=RTOL * point.eps), (jnp.zeros_like(target), point.eps)
        # `diffeqsolve` wraps its terms, and its controller then no longer sees that it could choose a first step.
        first, _ = controller.init(term, 0.0, jnp.inf, y, None, None, solver.func, solver.error_order(term))
        sol = dfx.diffeqsolve(
            term, solver, 0.0, jnp.inf, first, y, stepsize_controller=controller,
            event=dfx.Event(lambda t, y, *_, **__: y[1] - target, optx.Newton(1e-12, 1e-12)),
        )  # fmt: skip
        return sol.ts[0], sol.stats["num_steps"]

    rows, slot = np.arange(0, COUNT, 5), 1
    time, steps = one_by_one(alone, columns, rows, p[:, slot] * predicted.w_star[:, slot])
    ours = solve(columns, p, only(predicted, slot), W, NO_SAMPLES)
    # diffrax takes the step that crosses and looks back; we count the steps up to there. The first steps are so short
    # that their error is all rounding, and so is the length of the next: one step more or less.
    assert (np.abs(ours.steps[rows] + 1 - steps) <= 1).all()
    # diffrax reads the crossing off its dense output, whose error in w is some tolerances of one step.
    bound = 10 * RTOL * slack(columns, p, predicted)[rows, slot]
    assert (np.abs(ours.time[rows, slot] / time - 1) <= bound).all()


@pytest.mark.parametrize("method", [m for m in SOLVERS if m != "kvaerno5"])
def test_a_written_out_step_is_diffraxs_own(method):
    def field(x, y, args):
        return {"a": args * y["a"] * (1 - y["b"][0]), "b": jnp.cos(x) - y["b"] ** 2}

    with jax.enable_x64(True):
        stepper, term = Stepper(Settings(method), field), dfx.ODETerm(field)
        y = {"a": jnp.asarray(0.3), "b": jnp.asarray([0.5, -0.2])}
        x0, x1, args = jnp.asarray(0.1), jnp.asarray(0.35), jnp.asarray(1.7)

        @jax.jit
        def both(y):
            carry = stepper.carry(x0, y, args, x0)
            state = stepper.solver.init(term, x0, x1, y, args)
            y1, error, dense, (_, after), _ = stepper.solver.step(term, x0, x1, y, args, state, False)
            return stepper._step(x0, x1, y, carry, args, x0), (y1, error, after, dense["k"])

        ours, theirs = both(y)
    # A handful of roundings of numbers of size 1; diffrax's error of a FSAL method is a difference of such.
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-15)


# --- widths, orders, sizes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("way", "width"), [*(("clock", w) for w in (1, 7, 64, 1024)), ("forward", 1), ("forward", 7)])
def test_no_result_depends_on_the_width(batch, solved, way, width):
    ours, wide = solved[way], solve(*batch, BY[way], NO_SAMPLES, width=width)
    np.testing.assert_array_equal(wide.status, ours.status)
    np.testing.assert_array_equal(wide.steps, ours.steps)
    np.testing.assert_allclose(wide.time, ours.time, rtol=1e-13)  # the same steps, vectorised in another way


@pytest.mark.parametrize("way", BY)
@pytest.mark.parametrize("order", ["reversed", "shuffled"])
def test_no_result_depends_on_the_order(batch, solved, way, order):
    places = np.arange(COUNT)[::-1] if order == "reversed" else np.random.default_rng(7).permutation(COUNT)
    columns, p, predicted = taken(batch, places)
    # A cost that is the same for all: the pool then takes the points in the order in which they come.
    system = JEPA._replace(cost=lambda c: np.zeros(len(c["lam"])))
    same(solve(columns, p, predicted, BY[way], NO_SAMPLES[places], system=system), solved_rows(solved[way], places))


def solved_rows(solves, places):
    return solves._replace(**{n: getattr(solves, n)[places] for n in solves._fields if n != "lane_steps"})


@pytest.mark.parametrize("count", [1, 5, 95])
def test_no_result_depends_on_how_many_points_there_are(batch, solved, count):
    columns, p, predicted = taken(batch, slice(count))
    same(solve(columns, p, predicted, CHI, NO_SAMPLES[:count]), solved_rows(solved["clock"], slice(count)))


def test_a_batch_of_several_blocks_equals_one(batch, solved):
    twice = jax.tree.map(lambda a: np.concatenate([a] * 3), batch)
    ours = solve(*twice, CHI, np.zeros((3 * COUNT, 0)))
    same(ours, solved_rows(solved["clock"], np.tile(np.arange(COUNT), 3)))


@pytest.mark.parametrize("way", BY)
def test_lanes_are_busy(solved, way):
    # A pool ends with lanes waiting for the slowest point; with six points a lane that is less than half the time.
    assert solved[way].steps.sum() <= solved[way].lane_steps <= 2 * solved[way].steps.sum()


# --- thresholds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", BY)
def test_several_thresholds_in_one_integration(batch, solved, way):
    columns, p, predicted = batch
    ours = solved[way]
    assert (ours.status == Status.LEARNED).all()
    # Each step may err by rtol of w (or T); two for what an error at the start grows to, 3 - 1/L - 1 <= 2.
    bound = 2 * RTOL * ours.steps[:, None] * slack(columns, p, predicted)
    assert (np.abs(ours.time / predicted.time - 1) <= bound).all()
    alone = [solve(columns, p, only(predicted, slot), BY[way], NO_SAMPLES) for slot in range(3)]
    for slot, single in enumerate(alone):
        assert (single.status[:, slot] == Status.LEARNED).all()
        assert (np.delete(single.status, slot, axis=1) == Status.NOT_REACHED).all()
        assert (np.abs(ours.time / single.time - 1)[:, slot] <= 2 * bound[:, slot]).all()
    # A rule that takes the last threshold in one step gains nothing from the others; most points gain.
    assert ours.steps.sum() < sum(single.steps.sum() for single in alone)


@pytest.mark.parametrize("way", BY)
def test_thresholds_that_are_met_at_once_or_not_at_all(batch, way):
    """Twice the same fraction, and one behind the start."""
    columns, _, _ = batch
    decays = np.arange(COUNT) % 4 == 3
    p = np.where(decays[:, None], [1.5, 1.5, 0.5], [0.5, 1.5, 0.5])
    predicted = predict(columns, p)
    ours = solve(columns, p, predicted, BY[way], NO_SAMPLES)
    np.testing.assert_array_equal(ours.status == Status.LEARNED, np.where(decays[:, None], p > 1, p < 1))
    np.testing.assert_array_equal(np.isfinite(ours.time), ours.status == Status.LEARNED)
    first, second = ours.time[decays, 1], ours.time[~decays, 2]
    np.testing.assert_array_equal(ours.time[decays, 0], first)
    np.testing.assert_array_equal(ours.time[~decays, 0], second)


@pytest.mark.parametrize("way", BY)
def test_thresholds_closer_together_than_a_step(batch, way):
    columns, p, _ = batch
    p = p[:, 2:] * np.array([1.0, 1 + 1e-6, 1 - 1e-6])
    predicted = predict(columns, p)
    ours = solve(columns, p, predicted, BY[way], NO_SAMPLES)
    grows = p[:, 0] < 1
    assert (np.diff(ours.time[:, [2, 0, 1]], axis=1)[grows] > 0).all()
    assert (np.diff(ours.time[:, [2, 0, 1]], axis=1)[~grows] < 0).all()
    bound = 2 * RTOL * ours.steps[:, None] * slack(columns, p, predicted)
    assert (np.abs(ours.time / predicted.time - 1) <= bound).all()


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


def test_points_that_use_up_their_steps_leave_their_neighbours_alone(batch, solved):
    columns, p, predicted = batch
    limit = int(np.median(solved["clock"].steps))
    ours = solve(columns, p, predicted, Settings("dopri8", RTOL, max_steps=limit, coordinate="chi"), NO_SAMPLES)
    hard = solved["clock"].steps > limit
    assert 0 < hard.sum() < COUNT
    same(solved_rows(ours, solved["clock"].steps < limit), solved_rows(solved["clock"], solved["clock"].steps < limit))
    assert (ours.ended[hard] == Status.MAX_STEPS).all()
    assert (ours.steps[hard] == limit).all()
    # The thresholds met before that keep their times.
    met = np.isfinite(ours.time[hard])
    np.testing.assert_array_equal(ours.time[hard][met], solved["clock"].time[hard][met])
    assert (ours.status[hard][~met] == Status.MAX_STEPS).all()


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
