"""The engine against the closed form: one factor varied at a time, every tolerance with its reason."""

import jax
import numpy as np
import pytest
from conftest import mixed_points

import jepa_sweep as js
from jepa_sweep.engine import dispatch, lanes, programs
from jepa_sweep.engine.methods import SOLVERS
from jepa_sweep.engine.settings import Settings
from jepa_sweep.physics.reduced import DYNAMICS

OBJECTIVES = ("jepa", "mae")
POINT = {"lam": 1.3, "rho": 0.8, "L": [1, 2, 3, 5], "eps": [1e-3] * 4}
COORDINATES = ["w", None]  # the paper's, and the best

# Every tolerance, method and number of samples is a program of its own, so tests share them where they can.
STRICT = 1e-10
SAMPLES = 40


def difference(objective, points, sol, **kwargs):
    exact = np.asarray(js.critical_time(objective, **points, **kwargs))
    learned = sol.status == "learned"
    return np.abs(sol.time[learned] / exact[learned] - 1)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_times_agree_with_the_closed_form_or_say_why_not(objective):
    points = mixed_points(4096)
    sol = js.solve(objective, **points, rtol=1e-8)
    # At most some 20 steps, each within rtol of a time that only grows.
    assert difference(objective, points, sol).max() <= 1e-7
    silent = ~np.isin(sol.status, ["learned", "above_threshold", "not_reached"])
    assert not silent.any()
    assert np.array_equal(np.isnan(sol.time), sol.status != "learned")
    assert np.array_equal(sol.status, js.status(objective, **points))


@pytest.mark.long
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("method", SOLVERS)
def test_every_method_keeps_its_tolerance(objective, method):
    sol = js.solve(objective, **POINT, method=method, rtol=1e-8)
    assert (sol.status == "learned").all()
    # Each of the steps may err by rtol; an event adds the error of its dense output.
    assert (difference(objective, POINT, sol) <= 1e-8 * sol.steps.max()).all()


# Every method and each objective's field, which know nothing of each other.
@pytest.mark.long
@pytest.mark.parametrize(
    ("method", "objective"), [("dopri8", "jepa"), ("dopri8", "mae"), ("tsit5", "jepa"), ("dopri5", "mae")]
)
def test_the_field_as_the_paper_writes_it_gives_the_same_times(objective, method):
    sol = js.solve(objective, **POINT, method=method, rtol=STRICT, coordinate="w")
    assert (sol.status == "learned").all()
    assert (difference(objective, POINT, sol) <= STRICT * sol.steps.max()).all()


@pytest.mark.long
@pytest.mark.parametrize(("coordinate", "rtols"), [("w", (1e-4, STRICT)), (None, (1e-4, 1e-8, STRICT))])
def test_a_stricter_tolerance_is_more_accurate(coordinate, rtols):
    solutions = [js.solve("jepa", **POINT, method="dopri8", rtol=r, coordinate=coordinate) for r in rtols]
    errors = [difference("jepa", POINT, sol).max() for sol in solutions]
    assert (np.diff(errors) < 0).all()
    assert errors[-1] < 1e-8


@pytest.mark.long
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("coordinate", COORDINATES)
def test_trajectories_agree_with_the_closed_form(objective, coordinate):
    point = {"lam": 1.0, "rho": 0.7, "L": 2, "eps": 1e-3}
    t = np.linspace(0, 1.2 * float(js.critical_time(objective, **point)), SAMPLES)
    sol = js.solve(objective, **point, t=t, rtol=STRICT, coordinate=coordinate)
    exact = np.asarray(js.trajectory(objective, **point, t=t))
    slope = np.gradient(np.log(exact), t, edge_order=2) * t
    # An error of rtol a step shifts time by that fraction of itself, and w by the slope d ln w / d ln t.
    bound = STRICT * int(sol.steps) * np.maximum(1, 2 * np.abs(slope).max())
    assert np.abs(sol.w / exact - 1).max() <= bound
    assert sol.w[0] == pytest.approx(1e-3, rel=1e-14)


@pytest.mark.long
def test_both_coordinates_give_the_same_response():
    t = np.linspace(0, 60.0, SAMPLES)
    point = {"lam": 1.0, "rho": 0.9, "L": 2, "eps": 1e-2}
    ours, papers = (js.solve("mae", **point, t=t, rtol=STRICT, coordinate=c).w for c in (None, "w"))
    np.testing.assert_allclose(ours, papers, rtol=1e-7)


@pytest.mark.long
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("coordinate", COORDINATES)
def test_decay_from_above(objective, coordinate):
    point = {"lam": 1.0, "rho": 0.5, "L": [1, 2, 3, 5], "eps": [2.0] * 4}
    sol = js.solve(objective, **point, p=1.1, rtol=STRICT, coordinate=coordinate)
    assert (sol.status == "learned").all()
    # Close to the rest point w hardly moves: an error of rtol in w is a larger one in t, by d ln t / d ln w.
    near, far = (np.log(js.critical_time(objective, **point, p=1.1 * (1 + h))) for h in (-1e-5, 1e-5))
    condition = np.abs(near - far) / 2e-5
    bound = STRICT * sol.steps.max() * np.maximum(1, condition)
    assert (difference(objective, {**point, "p": 1.1}, sol) <= bound).all()


@pytest.mark.long
@pytest.mark.parametrize("eps", [0.6, 2.0, 1e3, 1e10])
@pytest.mark.parametrize("L", [1, 2])
def test_trajectories_from_far_above_the_rest_point(L, eps):
    point = {"lam": 1.0, "rho": 0.5, "L": L, "eps": eps}
    t = np.linspace(0.0, 2.0, SAMPLES)
    sol = js.solve("jepa", **point, p=1.05, t=t, rtol=STRICT)
    # Differences at the start die out on the way down, so nothing adds up but the steps' own errors.
    np.testing.assert_allclose(sol.w, js.trajectory("jepa", **point, t=t), rtol=STRICT * int(sol.steps))


def test_flow_time_is_paper_time_over_depth():
    paper, flow = (js.solve("jepa", **POINT, time=time) for time in ("paper", "flow"))
    np.testing.assert_allclose(flow.time * np.array(POINT["L"]), paper.time, rtol=1e-15)


def test_flow_time_also_counts_the_times_asked_for():
    point = {"lam": 1.0, "rho": 0.7, "L": 3, "eps": 1e-2}
    t = np.linspace(0, 100.0, SAMPLES)
    flow = js.solve("mae", **point, t=t, time="flow", rtol=STRICT).w
    np.testing.assert_allclose(flow, js.solve("mae", **point, t=3 * t, rtol=STRICT).w, rtol=1e-12)
    np.testing.assert_allclose(flow, js.trajectory("mae", **point, t=t, time="flow"), rtol=1e-7)


# --- batches --------------------------------------------------------------------------------------------------------


def test_one_by_one_equals_the_batch():
    points = {**mixed_points(16, seed=3), "rho": np.linspace(0.6, 1.0, 16)}
    batch = js.solve("jepa", **points)
    for i in range(16):
        alone = js.solve("jepa", **{name: values[i] for name, values in points.items()})
        assert alone.status == batch.status[i]
        np.testing.assert_allclose(alone.time, batch.time[i], rtol=1e-14)


def test_points_that_cannot_be_learned_leave_their_neighbours_alone():
    good = {"lam": 1.0, "rho": 0.8, "L": 2, "eps": 1e-3}
    bad = {"lam": [-1.0, 0.0, 1.0, 1.0], "rho": [-0.5, 0.0, 0.1, 1.0], "L": 2, "eps": [1e-3, 1e-3, 0.5, 1e-200]}
    mixed = {name: np.append(np.broadcast_to(bad[name], 4), good[name]) for name in good}
    t = np.linspace(0, 1e4, SAMPLES)
    sol = js.solve("jepa", **mixed, t=t, rtol=STRICT)
    alone = js.solve("jepa", **good, t=t, rtol=STRICT)
    assert sol.status.tolist() == ["collapses", "no_signal", "not_reached", "learned", "learned"]
    assert sol.time[-1] == alone.time
    np.testing.assert_array_equal(sol.w[-1], alone.w)


def test_a_single_point_that_never_crosses_has_a_status_too():
    sol = js.solve("jepa", lam=1.0, rho=0.1, L=8, eps=1e-2)
    assert (str(sol.status), int(sol.steps)) == ("not_reached", 0)
    assert np.isnan(sol.time)


@pytest.mark.long
@pytest.mark.parametrize("coordinate", ["w", "chi"])
def test_a_point_that_needs_too_many_steps_says_so(coordinate):
    sol = js.solve("jepa", **POINT, max_steps=3, coordinate=coordinate, t=[0.0, 1e3, 1e12])
    assert (sol.status == "max_steps").all()
    assert np.isnan(sol.time).all()
    assert np.isnan(sol.w[:, -1]).all()


def test_second_batches_and_other_depths_compile_nothing(compilations):
    system, settings = DYNAMICS, Settings(rtol=3e-8)

    def visit(objective, depth, seed):
        points = {**mixed_points(16, seed), "L": np.full(16, depth)}
        p = np.full((16, 1), 0.5)
        predicted = lanes.predict(system[objective], points, p)
        lanes.solve(system[objective], points, p, predicted, settings, width=16)

    visit("jepa", 1, 0)
    first = len(compilations)
    assert first > 0
    for seed, depth in enumerate((2, 3, 5, 8, 13), start=1):
        visit("jepa", depth, seed)
    visit("mae", 1, 9)  # one law, so one program, serves both objectives
    assert len(compilations) == first


def test_small_batches_of_any_size_share_one_program(compilations, traces):
    points = mixed_points(64, 64)

    def visit(count):
        return js.solve("jepa", **{name: values[:count] for name, values in points.items()}, p=1 - 1e-6, rtol=1e-11)

    programs.compiled.cache_clear()  # of other tests
    assert {1, 2} <= set(visit(64).steps)  # by both rules
    before = len(compilations), len(traces)
    assert compilations
    assert visit(1).time.shape == (1,)
    assert visit(40).time.shape == (40,)
    assert (len(compilations), len(traces)) == before


# --- precision ------------------------------------------------------------------------------------------------------


def test_the_host_programs_precision_is_left_alone():
    assert jax.config.read("jax_enable_x64") is False
    sol = js.solve("mae", **POINT)
    assert sol.time.dtype == np.float64
    assert jax.config.read("jax_enable_x64") is False


@pytest.mark.long
def test_float32_is_float32_and_as_good_as_it_can_be():
    sol = js.solve("jepa", **POINT, precision="float32", rtol=1e-5)
    assert sol.time.dtype == np.float32
    assert difference("jepa", POINT, sol).max() <= 1e-5 * sol.steps.max()


@pytest.mark.long
def test_float32_overflows_where_float64_does_not():
    point = {"lam": 1.0, "rho": 0.8, "L": 8, "eps": 1e-30}
    assert js.solve("jepa", **point, precision="float32", rtol=1e-5).status == "overflow"
    assert js.solve("jepa", **point).status == "learned"


def test_a_number_in_the_wrong_precision_is_refused():
    with pytest.raises(AssertionError, match="asked for float64 and computed float32"):
        dispatch.checked(np.ones(8, "float32"), "float64")


# --- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "rk4"}, "`method` must be one of"),
        ({"method": "dopri9"}, "Did you mean `dopri"),
        ({"rtol": 1e-20}, "`rtol` must lie between"),
        ({"rtol": 1e-8, "precision": "float32"}, "`rtol` must lie between"),
        ({"precision": "float16"}, "`precision` must be one of"),
        ({"coordinate": "u"}, "`coordinate` must be one of"),
        ({"max_steps": 0}, "`max_steps` must be a whole number from 1"),
        ({"max_steps": 10.5}, "`max_steps` must be a whole number"),
        ({"method": "exact"}, r"`method` must be one of (?!.*exact,).* it is 'exact'"),
        ({"method": "clenshaw_curtis", "coordinate": "w"}, r"`coordinate` must be one in .* integral \(chi\)"),
        ({"method": "clenshaw_curtis", "t": [0.0, 1.0]}, "steps too far to sample .* try dopri8"),
        ({"rtol": "x"}, "`rtol` must be a number"),
        ({"eps": [[1e-3], [1e-3, 1e-3]]}, "ragged"),
        ({"device": "abacus"}, "`device` must be one of"),
        ({"device": "tpu"}, "JAX sees none here"),
        ({"time": "proper"}, "`time` must be one of"),
        ({"t": [1.0, 0.5]}, "strictly increasing"),
        ({"t": [-1.0, 0.5]}, "from 0 on"),
        ({"eps": 0.0}, "`eps` must be finite and positive, but there is eps = 0"),
        ({"L": 2.5}, "`L` must be a whole number"),
        ({"rho": -0.8}, "have the same sign"),
        ({"lam": "one"}, "`lam` must be real numbers"),
        ({"lam": [1.0, 2.0, 3.0]}, "must broadcast together"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_arguments_are_explained(change, message):
    with pytest.raises(js.SpecError, match=message):
        js.solve("jepa", **{**POINT, **change})


def test_no_points_are_no_work():
    sol = js.solve("jepa", lam=[], rho=0.5, L=2, eps=1e-3)
    assert sol.time.shape == (0,)
    assert sol.time.dtype == np.float64
    single = js.solve("jepa", lam=[], rho=0.5, L=2, eps=1e-3, t=[1.0, 2.0], rtol=1e-5, precision="float32")
    assert (single.w.shape, single.w.dtype, single.time.dtype) == ((0, 2), np.float32, np.float32)


@pytest.mark.long
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("gap", [1e-3, 1e-9, 1e-12])
def test_a_start_next_to_its_threshold_loses_no_digits(objective, gap):
    point = {"lam": 1.3, "rho": 0.8, "L": [1, 2, 3, 5]}
    point["eps"] = 0.5 * np.asarray(js.fixed_point(objective, rho=0.8, L=point["L"])) * (1 - gap)
    sol = js.solve(objective, **point, p=0.5, rtol=STRICT)
    assert (sol.status == "learned").all()
    assert difference(objective, point, sol).max() <= STRICT * sol.steps.max()
