"""A flow of the user's own: its `System`, its numbers, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from scipy.integrate import solve_ivp

import jepa_sweep as js
from jepa_sweep import flow, parameter
from jepa_sweep.systems import registry

FILE = ROOT / "tests/data/predator.py"
PREDATOR = registry.find(f"{FILE}:PREDATOR")
AXES = {"rate": [0.5, 2.0], "prey": [1.5, 3.0], "level": [0.5, 0.8]}


def decay(**more):
    """dy/dt = -k (y - 1) from y(0) = start."""
    given = {
        "version": 1,
        "parameters": [parameter("k", rule=lambda k: k > 0, must="be positive"), parameter("y0", default=0.1)],
        "start": lambda q: q.y0,
        "field": lambda t, y, q: -q.k * (y - 1),
        "response": lambda y, q: y,
        "rest": lambda q: 1.0,
    }
    return flow("decay", **(given | more))


def logarithm(q, p):
    """When |y - 1| has fallen to |p - 1|."""
    return jnp.log((q.y0 - 1) / (p - 1)) / q.k


def run(tmp_path, system, axes, name="x", **more):
    return js.run(js.Sweep(name="x", system=system, axes=axes, **more), tmp_path / name)


# --- numbers ----------------------------------------------------------------------------------------------------------


def reference(row):
    """When the predators first come to the level, by SciPy."""

    def met(t, y):
        return y[1] - row.p * row.level

    met.terminal, met.direction = True, 1
    field = lambda t, y: [y[0] * (1 - y[1]), row.rate * y[1] * (y[0] - 1)]  # noqa: E731
    found = solve_ivp(field, (0, 100), [row.prey, 0.1], "DOP853", events=met, rtol=1e-12, atol=1e-14)
    return found.t_events[0][0]


def test_a_flow_without_theory_is_what_scipy_makes_of_it(tmp_path):
    store = run(tmp_path, PREDATOR, AXES, measure={"p": [0.9, 1.0], "trajectories": {"samples": 8}})
    points = store.points()
    assert (points.status == "learned").all()
    assert len(points) == 16
    exact = np.array([reference(row) for row in points.itertuples()])
    # Each step errs by rtol of the state, which grows by at most e^(rate T) until it is read.
    assert (abs(points.t_numeric / exact - 1) <= 1e-8 * points.steps * np.exp(2)).all()
    assert {"t_exact", "relative_difference"}.isdisjoint(points.columns)
    samples = store.trajectories()
    assert samples.groupby(["rate", "prey", "level"]).t.max().to_numpy() == pytest.approx(
        2 * points[points.p == 0.9].groupby(["rate", "prey", "level"]).t_numeric.max().to_numpy(), rel=1e-12
    )
    assert list(samples.columns) == ["objective", *AXES, "herds", "t", "w", "x", "energy", "status"]
    [compared] = js.Store(store.path, system=PREDATOR).compare().to_dict("records")
    assert compared["points"] == compared["learned"] == 16
    assert compared["drift_energy"] < 1e-5  # samples lie on the dense output, whose order is lower than the solver's


def test_two_tolerances_are_held_against_each_other(tmp_path):
    first = run(tmp_path, PREDATOR, AXES, "first")
    second = run(tmp_path, PREDATOR, AXES, "second", solver={"rtol": 1e-11})
    found = first.compare(second)
    assert found.settings[["setting", "here", "there"]].values.tolist() == [["solver.rtol", "1e-08", "1e-11"]]
    [times] = found.differences[found.differences["column"] == "t_numeric"].to_dict("records")
    assert times["rows"] == found.points == 8
    assert 0 < times["worst"] == found.worst < 1e-6
    worst = found.rows().query("rate == @times['at_rate'] and prey == @times['at_prey']")
    assert (1 - worst.t_numeric_here / worst.t_numeric_there).abs().max() == pytest.approx(times["worst"], rel=1e-6)


def test_theory_fills_its_columns_where_it_speaks(tmp_path):
    def sometimes(q, p):
        return jnp.where(q.k > 1, logarithm(q, p), jnp.nan)

    points = run(tmp_path, decay(critical_time=sometimes), {"k": [0.5, 2.0], "y0": [0.1, 0.3]}).points()
    assert (points.status == "learned").all()
    exact = np.log((points.y0 - 1) / (0.5 - 1)) / points.k
    assert (abs(points.t_numeric / exact - 1) <= 1e-8 * points.steps).all()
    assert points.t_exact.isna().tolist() == (points.k < 1).tolist()
    known = points.dropna(subset="t_exact")
    np.testing.assert_allclose(known.t_exact, exact[known.index], rtol=1e-15)
    assert (known.relative_difference <= 1e-8 * known.steps).all()


def test_statuses_are_decided_before_anything_is_integrated(tmp_path):
    def never(q, p):
        return jnp.where(q.k > 1, jnp.inf, logarithm(q, p))

    axes = {"k": [1.0, 2.0], "y0": [0.1, 0.7, 1.5, 4.0]}
    store = run(tmp_path, decay(critical_time=never), axes, measure={"p": [0.5, 1.2]})
    found = store.points().set_index(["k", "y0", "p"]).status
    assert found[1.0, 0.1, 0.5] == "learned"
    assert found[1.0, 0.7, 0.5] == "above_threshold"
    assert found[1.0, 0.1, 1.2] == found[1.0, 1.5, 0.5] == "not_reached"
    assert found[1.0, 4.0, 1.2] == "learned"
    assert (found[2.0] == "not_reached").all()


def growth(sign, **more):
    """dy/dt = sign k y from y0: an exponential, whose thresholds are levels."""
    given = {
        "version": 1,
        "parameters": [parameter("k", default=1.0), parameter("y0", default=1.0)],
        "start": lambda q: q.y0,
        "field": lambda t, y, q: sign * q.k * y,
        "response": lambda y, q: y,
        "threshold": lambda q: 1.0,
        "critical_time": lambda q, p: jnp.log(p / q.y0) / (sign * q.k),
    }
    return flow("growth", **(given | more))


@pytest.mark.parametrize(("sign", "p"), [(-1.0, [0.5, 0.25]), (1.0, [2.0, 1.5]), (1.0, [1.2, 3.0])])
def test_thresholds_are_met_in_any_order(sign, p, tmp_path):
    points = run(tmp_path, growth(sign), {"k": [0.5, 2.0]}, measure={"p": p}).points()
    assert points.status.tolist() == ["learned"] * 4
    assert (points.relative_difference <= 1e-8 * points.steps).all()


def test_a_response_that_swings_meets_thresholds_on_both_sides_of_its_start(tmp_path):
    """cos(t) + 3 sin(t) first rises from 1 to sqrt(10) and then falls."""
    swing = flow(
        "swing",
        version=1,
        parameters=[parameter("speed", rule=lambda s: s > 0, must="be positive")],
        start=lambda q: (1.0, 3.0),
        field=lambda t, y, q: (q.speed * y[1], -q.speed * y[0]),
        response=lambda y, q: y[0],
        threshold=lambda q: 1.0,
    )
    points = run(tmp_path, swing, {"speed": [0.5, 2.0]}, measure={"p": [0.25, 1.5, 0.9]}).points()
    assert points.status.tolist() == ["learned"] * 6
    largest = np.sqrt(10)  # the response is largest cos(speed t - arccos(1 / largest))
    first = np.where(points.p > 1, -1, 1) * np.arccos(points.p / largest) + np.arccos(1 / largest)
    assert (abs(points.t_numeric * points.speed / first - 1) <= 1e-8 * points.steps).all()


def test_a_response_may_start_at_zero(tmp_path):
    axes = {"k": [0.5, 2.0], "y0": 0.0}
    charge = decay(critical_time=lambda q, p: -jnp.log(1 - p) / q.k)
    points = run(tmp_path, charge, axes, measure={"p": [0.5, 0.9]}).points()
    assert points.status.tolist() == ["learned"] * 4
    assert (points.relative_difference <= 1e-8 * points.steps).all()
    even = growth(1.0, field=lambda t, y, q: q.k, critical_time=lambda q, p: p / q.k)
    points = run(tmp_path, even, axes, "even", measure={"p": 3.0}).points()
    assert (points.relative_difference <= 1e-8 * points.steps).all()


def test_a_rest_point_may_be_negative(tmp_path):
    below = decay(
        start=lambda q: -q.y0,
        field=lambda t, y, q: -q.k * (y + 1),
        rest=lambda q: -1.0,
        critical_time=logarithm,
    )
    store = run(tmp_path, below, {"k": 1.0, "y0": [0.1, 0.7, 1.0, 4.0]}, measure={"p": [0.5, 1.2]})
    found = store.points().set_index(["y0", "p"])
    assert found.status[0.1, 0.5] == found.status[4.0, 1.2] == "learned"
    assert found.status[0.7, 0.5] == "above_threshold"
    assert found.status[0.1, 1.2] == found.status[4.0, 0.5] == "not_reached"
    assert found.status[1.0, 0.5] == "at_fixed_point"
    learned = found[found.status == "learned"]
    assert (learned.relative_difference <= 1e-8 * learned.steps).all()


def test_a_start_that_is_no_number_is_a_failure(tmp_path):
    store = run(tmp_path, decay(start=lambda q: jnp.log(q.y0)), {"k": 1.0, "y0": [-1.0, 0.5]})
    assert store.failures()[["y0", "status"]].to_numpy().tolist() == [[-1.0, "non_finite"]]
    assert store.points().y0.tolist() == [0.5]


def test_the_closed_form_alone_has_no_observables(tmp_path):
    system = decay(
        critical_time=logarithm,
        trajectory=lambda q, t: 1 + (q.y0 - 1) * jnp.exp(-q.k * t),
        observables={"twice": lambda y, q: 2 * y},
    )
    given = {"solver": {"method": "exact"}, "measure": {"trajectories": {"samples": 4}}}
    samples = run(tmp_path, system, {"k": [0.5, 2.0]}, **given).trajectories()
    assert samples.w_exact.notna().all()
    assert samples[["w", "twice"]].isna().all(axis=None)


def test_another_coordinate_agrees(tmp_path):
    """z = ln(1 - y) falls evenly, and time is an integral over it."""
    even = js.Coordinate(
        "z",
        start=lambda q: -jnp.log(1 - q.y0),
        field=lambda t, z, q: q.k + 0 * z,
        response=lambda z, q: 1 - jnp.exp(-z),
        span=lambda p, q: jnp.log((1 - q.y0) / (1 - p)),
    )
    system, axes = decay(coordinates=[even], critical_time=logarithm), {"k": [0.5, 2.0]}
    by_clock = run(tmp_path, system, axes, "clock", solver={"method": "clenshaw_curtis"})
    forward = run(tmp_path, system, axes, "forward", solver={"coordinate": "y"})
    assert by_clock.frozen["solver"]["coordinate"] == "z"
    np.testing.assert_allclose(by_clock.points().t_numeric, by_clock.points().t_exact, rtol=1e-12)
    assert (forward.points().relative_difference <= 1e-8 * forward.points().steps).all()


def test_single_precision_stays_single(tmp_path):
    store = run(tmp_path, decay(critical_time=logarithm), {"k": 0.5}, solver={"precision": "float32", "rtol": 1e-5})
    points = store.points()
    assert points.t_numeric.dtype == np.float32
    assert (points.relative_difference <= 1e-5 * points.steps).all()
    assert store.reader.log.commits()[0].work.rechecked == 1


def test_a_trajectory_of_theory_stands_beside_the_samples(tmp_path):
    system = decay(critical_time=logarithm, trajectory=lambda q, t: 1 + (q.y0 - 1) * jnp.exp(-q.k * t))
    samples = run(tmp_path, system, {"k": [0.5, 2.0]}, measure={"trajectories": {"samples": 16}}).trajectories()
    np.testing.assert_allclose(samples.w, samples.w_exact, rtol=1e-5)  # of the dense output, whose order is lower
    slope = samples.t * samples.k * (1 - samples.w_exact) / samples.w_exact
    np.testing.assert_allclose(samples.condition, slope, rtol=1e-12)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rest": None}, "one of `rest` and `threshold` for 'decay', but it has both or none"),
        ({"threshold": lambda q: 1.0}, "one of `rest` and `threshold`"),
        ({"field": lambda t, y, q: (y, y)}, "`field` of 'decay' must return what `start` does"),
        ({"response": lambda y, q: jnp.stack([y, y])}, "`response` of 'decay' must return one number"),
        ({"start": lambda q: q.nothing}, "must work on one point, but: AttributeError: .*nothing"),
        ({"observables": {"k": lambda y, q: y}}, "a name of its own, but `k` stands twice"),
        ({"conserved": {"w": lambda y, q: y}}, "an observable must not be one that has a meaning already, but .* 'w'"),
        ({"observables": {3: lambda y, q: y}}, "an observable must be a Python name.* but it is 3"),
        ({"observables": [lambda y, q: y]}, "`observables` of 'decay' must be functions by name, but it is a list"),
        ({"field": lambda t, y, q: 1.0 if y > 0 else 2.0}, r"TracerBoolConversionError.*; try `jnp.where` for `if`\.$"),
        ({"critical_time": lambda q, p: jnp.ones(2)}, r"`critical_time` of 'decay' must return one number.*\(2,\)"),
        ({"trajectory": lambda q, t: q.nothing}, "must work on one point, but: AttributeError"),
        ({"parameters": []}, "`parameters` of 'decay' must be a list of what `parameter` makes"),
        ({"parameters": parameter("k")}, "`parameters` of 'decay' must be a list"),
        ({"parameters": ["k"]}, "`parameters` of 'decay' must be a list"),
        (
            {"parameters": [parameter("k", default="y0"), parameter("y0", default="k")]},
            "but it is 'y0'; known are: none",
        ),
        ({"parameters": [parameter("k"), parameter("y0", default="z")]}, "but it is 'z'; known are: k"),
        ({"version": "a"}, "`version` of 'decay' must be a whole number, but it is 'a'"),
        (
            {"coordinates": [js.Coordinate("y", lambda q: q.y0, lambda t, y, q: y, lambda y, q: y)]},
            "must have a name of",
        ),
        (
            {"coordinates": [js.Coordinate("z", lambda q: q.y0, lambda t, y, q: (y,), lambda y, q: y)]},
            "what `start` does",
        ),
    ],
)
def test_functions_that_do_not_fit_are_refused(given, message):
    with pytest.raises(js.SpecError, match=message):
        decay(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"default": [1.0]}, "default of `k` must be a finite number, or the name of a parameter, but it is a list"),
        ({"default": True}, "default of `k` must be a finite number"),
        ({"rule": 3}, "rule of `k` must be a function of an array of values, but it is 3"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(given, message):
    with pytest.raises(js.SpecError, match=message):
        parameter("k", **given)


def test_a_flow_is_not_named_like_a_system_that_comes_with_the_package():
    own = growth(1.0)._replace(name="reduced")
    with pytest.raises(js.SpecError, match=r"must not be that of a built-in one, but it is named 'reduced'"):
        js.Sweep(name="x", system=own, axes={"k": 1.0})


@pytest.mark.parametrize("name", ["lambda", "a b", "_a", "1", "p", "objective", "num", "t_exact"])
def test_names_that_cannot_be_columns_are_refused(name):
    with pytest.raises(js.SpecError, match=r"The name of a parameter must (not )?be"):
        parameter(name)


def test_rules_speak_with_their_place():
    with pytest.raises(js.SpecError, match=r"`k` must be positive, but there is k = -1 \(\[axes.k\]\)"):
        js.Sweep(name="x", system=decay(), axes={"k": [1.0, -1.0]})
    with pytest.raises(js.SpecError, match=r"`y0` must be a finite number"):
        js.Sweep(name="x", system=decay(), axes={"k": 1.0, "y0": float("nan")})
    with pytest.raises(js.SpecError, match=r"`p` must be finite, positive and different from 1.*\[measure.p\]"):
        js.Sweep(name="x", system=decay(), axes={"k": 1.0}, measure={"p": 1.0})
    bad = decay(parameters=[parameter("k", rule=lambda k: 0 < k < 1), parameter("y0", default=0.1)])
    with pytest.raises(js.SpecError, match=r"rule of parameter `k` must answer for an array.*try `&` for `and`"):
        js.Sweep(name="x", system=bad, axes={"k": [0.1, 0.2]})
