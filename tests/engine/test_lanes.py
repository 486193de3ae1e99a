"""Lanes against one solve at a time: same steps, same times, whatever the width, the order and the neighbours."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
from batches import (
    AS_COMPILED,
    CHI,
    COUNT,
    JEPA,
    RTOL,
    W,
    only,
    points,
    predict,
    same,
    solve,
    solved_rows,
    taken,
)

from jepa_sweep.engine import lanes
from jepa_sweep.engine.methods import SOLVERS
from jepa_sweep.engine.settings import Settings
from jepa_sweep.engine.solver import Stepper
from jepa_sweep.physics.host import Status

pytestmark = pytest.mark.long  # every way to solve is a program of its own
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
    _, condition = lanes.exact_paths(JEPA, columns, predicted.values["t_exact"], batch=COUNT)
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
        # What errors of w must be small beside, in the norm of two numbers of which T has none but rounding.
        atol, y = RTOL * jnp.minimum(point.eps, target), (jnp.zeros_like(target), point.eps)
        controller = dfx.PIDController(rtol=RTOL, atol=atol, norm=lambda y: jnp.abs(y[1]) / 2**0.5)
        # `diffeqsolve` wraps its terms, and its controller then no longer sees that it could choose a first step.
        first = dfx.PIDController(rtol=RTOL, atol=atol, norm=lambda y: jnp.abs(y[1])).init(
            term, 0.0, jnp.inf, y, None, None, solver.func, solver.error_order(term)
        )[0]
        sol = dfx.diffeqsolve(
            term, solver, 0.0, jnp.inf, first, y, stepsize_controller=controller,
            event=dfx.Event(lambda t, y, *_, **__: y[1] - target, optx.Newton(1e-12, 1e-12)),
        )  # fmt: skip
        return sol.ts[0], sol.stats["num_steps"]

    rows, slot = np.arange(0, COUNT, 5), 1
    time, steps = one_by_one(alone, columns, rows, p[:, slot] * predicted.w_star[:, slot])
    ours = solve(columns, p, only(predicted, slot), W, NO_SAMPLES)
    # diffrax takes the step that crosses and looks back; we count the steps up to there. The first steps are so short
    # that their error is all rounding, and so is the length of the next: a step or two more or less.
    assert (np.abs(ours.steps[rows] + 1 - steps) <= 2).all()
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
            return stepper.step(x0, x1, y, carry, args, x0), (y1, error, after, dense["k"])

        ours, theirs = both(y)
    # A handful of roundings of numbers of size 1; diffrax's error of a FSAL method is a difference of such.
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-15)


# --- widths, orders, sizes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("way", "width"), [*(("clock", w) for w in (1, 7, 1024)), ("forward", 1), ("forward", 7)])
def test_no_result_depends_on_the_width(batch, solved, way, width):
    ours, wide = solved[way], solve(*batch, BY[way], NO_SAMPLES, width=width)
    np.testing.assert_array_equal(wide.status, ours.status)
    np.testing.assert_array_equal(wide.steps, ours.steps)
    np.testing.assert_allclose(wide.time, ours.time, rtol=AS_COMPILED)  # the same steps, vectorised in another way


@pytest.mark.parametrize("way", BY)
@pytest.mark.parametrize("order", ["reversed", "shuffled"])
def test_no_result_depends_on_the_order(batch, solved, way, order):
    places = np.arange(COUNT)[::-1] if order == "reversed" else np.random.default_rng(7).permutation(COUNT)
    columns, p, predicted = taken(batch, places)
    # A cost that is the same for all: the pool then takes the points in the order in which they come.
    system = JEPA._replace(cost=lambda c: np.zeros(len(c["lam"])))
    same(solve(columns, p, predicted, BY[way], NO_SAMPLES[places], system=system), solved_rows(solved[way], places))


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
    assert (np.abs(ours.time / predicted.values["t_exact"] - 1) <= bound).all()
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
    assert (np.abs(ours.time / predicted.values["t_exact"] - 1) <= bound).all()


# --- steps that do not suffice --------------------------------------------------------------------------------------


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
