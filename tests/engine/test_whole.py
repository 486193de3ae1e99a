"""Critical times by one rule over the whole interval, against the closed form: where that is easy, and where hard."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jepa_sweep as js
from jepa_sweep.engine import cores, devices, dispatch, lanes, programs, quadrature, whole
from jepa_sweep.engine.settings import Settings
from jepa_sweep.physics.host import Status
from jepa_sweep.physics.reduced import DYNAMICS

COUNT = 4096
WORST = 4  # times what is estimated, at most: the estimate is of the size of the error, and no bound
KINDS = ("usual", "to the rest point", "deep", "decay")


def drawn(objective, kind):
    """Points that are learned: lam, rho, L, eps and p."""
    rng = np.random.default_rng(KINDS.index(kind))
    L = rng.integers(1, 101 if kind == "deep" else 13, COUNT).astype(float)
    rho, lam = 10 ** rng.uniform(-0.5, 0.3, COUNT), 10 ** rng.uniform(-1, 1, COUNT)
    p = 1 - 10 ** rng.uniform(*{"to the rest point": (-9, -2), "deep": (-6, -0.01)}.get(kind, (-1, -0.01)), COUNT)
    w_star = rho ** (L if objective == "jepa" else L / (L + 1))
    away = 10 ** -rng.uniform(0.1, 250 if kind == "deep" else 8, COUNT)
    if kind == "decay":
        p, away = 1 + 10 ** rng.uniform(-6, 0.5, COUNT), 10 ** rng.uniform(0.01, 2, COUNT)
    points = {"lam": lam, "rho": rho, "L": L, "eps": p * w_star * away, "p": p}
    learned = js.status(objective, **points) == "learned"
    assert learned.mean() > 0.5
    points = {name: values[learned] for name, values in points.items()}
    return points, js.critical_time(objective, **points)


def found(objective, points, intervals):
    """Times of a rule, and its errors as it estimates them."""
    dynamics, where = DYNAMICS[objective], devices.pick("cpu")[:1]
    with devices.scope("float64", where[0]):
        point = dynamics.point(**{name: points[name] for name in dynamics.parameters})
        leaves, treedef = jax.tree.flatten(point)
        args = [points["p"], *(leaf * np.ones_like(points["p"]) for leaf in leaves)]
        key, shape = (dynamics.coordinate(), treedef, intervals, None), programs.Shape(COUNT, 1024)
        return dispatch.results(whole.part, key, args, "float64", shape, where)


@pytest.mark.long
@pytest.mark.parametrize("rtol", [1e-4, 1e-6, 1e-8, 1e-11])
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("objective", DYNAMICS)
def test_no_time_is_much_farther_off_than_estimated(objective, again, rtol):
    """At every size of the estimate: whoever asks for a tolerance gets times that keep it, by either rule."""
    for kind in KINDS:
        points, exact = drawn(objective, kind)
        time, estimate = found(objective, points, whole.intervals(rtol) * (1 + again))
        accepted = estimate < 1e-4
        error = np.abs(time / exact - 1)[accepted]
        # Beside the rule's own error stand those of chi and of exponents, as `test_reduced` measures them.
        rounding = 64 * np.finfo(float).eps * (50 + np.abs(np.log(points["eps"][accepted])))
        for tolerance in (1e-4, 1e-6, 1e-8, 1e-10):
            kept = estimate[accepted] < tolerance
            assert (error[kept] <= WORST * tolerance + rounding[kept]).all(), kind


@pytest.mark.parametrize("objective", DYNAMICS)
def test_most_points_need_one_rule_and_all_keep_the_tolerance(objective):
    points, exact = drawn(objective, "usual")
    sol = js.solve(objective, **points, rtol=1e-8)
    assert (sol.status == "learned").all()
    assert np.abs(sol.time / exact - 1).max() <= WORST * 1e-8
    assert np.mean(sol.steps == 1) > 0.3
    assert np.mean(sol.steps <= 2) > 0.97
    # A number of points for each tolerance; of the two, the second is for those that need more.
    assert [whole.intervals(rtol) for rtol in (0.1, 1e-6, 1e-8, 2.3e-15)] == [8, 14, 18, 32]


@pytest.mark.long
@pytest.mark.parametrize("objective", DYNAMICS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_rules_cannot_do_at_once_they_do_by_parts(objective, kind):
    """Whatever the tolerance, and whichever points are computed beside it."""
    points, exact = drawn(objective, kind)
    for rtol in (1e-8, 1e-11):
        sol = js.solve(objective, **points, rtol=rtol)
        # A time can be a number where the largest rate on the way, which it is an integral of, is none.
        assert (sol.status[exact < 1e300] == "learned").all()
        learned = sol.status == "learned"
        rounding = 64 * np.finfo(float).eps * (50 + np.abs(np.log(points["eps"][learned])))
        assert (np.abs(sol.time / exact - 1)[learned] <= WORST * rtol + rounding).all()
        assert (sol.steps > 2).any() or kind == "usual"
        some = {name: values[::7] for name, values in points.items()}
        # A program for another number of points groups operations in another way.
        np.testing.assert_allclose(js.solve(objective, **some, rtol=rtol).time, sol.time[::7], rtol=1e-13)


def test_parts_count_as_steps():
    """Whoever allows few steps is told so; thresholds that need no parts have their times."""
    points, _ = drawn("mae", "deep")
    needed = js.solve("mae", **points).steps
    sol = js.solve("mae", **points, max_steps=10)
    assert (sol.status[needed <= 10] == "learned").all()
    assert (sol.status[needed > 20] == "max_steps").all()
    columns = {name: values[needed > 20][:9] for name, values in points.items() if name != "p"}
    start = columns["eps"] / columns["rho"] ** (columns["L"] / (columns["L"] + 1))
    p = np.stack([2 * start, points["p"][needed > 20][:9]], axis=1)
    predicted = lanes.predict(DYNAMICS["mae"], columns, p)
    found = lanes.solve(DYNAMICS["mae"], columns, p, predicted, Settings("clenshaw_curtis", max_steps=10))
    assert (found.status[:, 0] == Status.LEARNED).all()
    assert (found.status[:, 1] == Status.MAX_STEPS).all()
    np.testing.assert_allclose(found.time[:, 0], predicted.values["t_exact"][:, 0], rtol=1e-8)


def test_the_estimate_of_a_rule():
    """Nothing for a polynomial, about the error for a pole, and never less than 1/32 of the last coefficients."""
    with jax.enable_x64(True):
        for n in (14, 18, 36):
            x = quadrature.nodes(n)
            smooth, none = quadrature.integral(list(jnp.asarray(1 + x**3)))
            assert smooth == pytest.approx(1.25, rel=1e-15)
            assert none < 1e-15
            pole, estimate = quadrature.integral(list(jnp.asarray(1 / (x + 0.05))))
            missed = abs(float(pole) / np.log(21) - 1)
            assert missed / WORST < float(estimate) < 1e4 * missed


def test_a_time_too_late_is_told_without_predictions():
    """Whoever asks for no predictions is told in the end; one that is lost for another reason is not called late."""
    point = {"lam": [1.0, 1.0], "rho": [1.0, 1.0], "L": [3, 3], "eps": [1e-200, 1e-3]}
    assert js.solve("jepa", **point).status.tolist() == ["overflow", "learned"]
    assert js.solve("jepa", **point, method="dopri8").status.tolist() == ["overflow", "learned"]
    assert js.solve("jepa", **point, method="dopri8", max_steps=2).status.tolist() == ["overflow", "max_steps"]


@pytest.mark.long
def test_stretches_of_many_points_are_computed_as_all_together(monkeypatch):
    """To the bit, and in their order; whether a processor's cores take turns or one does all."""
    points, _ = drawn("mae", "usual")
    columns, p = {k: v for k, v in points.items() if k != "p"}, points["p"][:, None]
    together = lanes.solve(DYNAMICS["mae"], columns, p, lanes.predict(DYNAMICS["mae"], columns, p), Settings("dopri8"))
    monkeypatch.setattr(cores, "STRETCH", 700)
    monkeypatch.setattr(devices, "pick", lambda device="auto", real=devices.pick: real(device)[:1])
    apart = lanes.solve(DYNAMICS["mae"], columns, p, lanes.predict(DYNAMICS["mae"], columns, p), Settings("dopri8"))
    assert (together.status == Status.LEARNED).all()
    for name in ("status", "time", "steps", "samples", "ended"):
        np.testing.assert_array_equal(getattr(apart, name), getattr(together, name), err_msg=name)


def test_a_solve_by_rules_finds_the_statuses_that_it_is_not_given():
    """Of points of all kinds; what is not met is not looked for."""
    points, _ = drawn("jepa", "usual")
    columns, p = {k: v for k, v in points.items() if k != "p"}, points["p"][:, None]
    columns["eps"] = np.where(np.arange(len(p)) % 3, columns["eps"], 2 * columns["rho"] ** columns["L"])  # from above
    predicted = lanes.predict(DYNAMICS["jepa"], columns, p)
    known, alone = (
        lanes.solve(DYNAMICS["jepa"], columns, p, given, Settings("clenshaw_curtis")) for given in (predicted, None)
    )
    assert {Status.LEARNED, Status.NOT_REACHED} <= set(known.status.ravel().tolist())
    for name in ("status", "time", "steps", "ended"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(known, name), err_msg=name)


def test_stretches_cover_all_rows_once(monkeypatch):
    monkeypatch.setattr(cores, "number", lambda: 4)
    where, least = devices.pick("cpu")[:1], 1000
    for count, parts in ((1, 1), (1999, 1), (2000, 2), (3500, 3), (10_000, 4), (5 * cores.STRETCH - 3, 5)):
        rows = cores.stretches(count, where, least)
        assert len(rows) == parts
        assert [r.start for r in rows] == [0, *(r.stop for r in rows[:-1])]
        assert rows[-1].stop == count
        assert cores.longest(count, where, least) == max(r.stop - r.start for r in rows) <= cores.STRETCH
    assert len(cores.stretches(10 * cores.STRETCH, where * 2, least)) == 1  # several devices share a program


def test_a_thread_of_many_computes_alone():
    where, rows = devices.pick("cpu")[:1], [slice(0, 1), slice(1, 2)]
    assert cores.each(lambda _: len(cores.stretches(10_000, where, 1)), rows) == [1, 1]
    assert cores.each(lambda _: len(cores.stretches(10_000, where, 1)), rows[:1]) == [min(cores.number(), 10_000)]
