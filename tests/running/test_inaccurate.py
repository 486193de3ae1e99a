"""Points whose time is not within 100 rtol fail as inaccurate; a second try is held to the tolerance of the first."""

import jax.numpy as jnp
import numpy as np

import jepa_sweep as js
from jepa_sweep.engine import lanes

NEAR = [1 - 1e-9, 0.5]  # the first next to the rest point, where `log_w` has no digits left
SWEEP = {
    "name": "near",
    "objective": "mae",
    "axes": {"lam": [0.5, 2.0], "rho": [0.3, 0.9], "L": [2], "eps": [1e-3]},
    "measure": {"p": NEAR},
    "solver": {"coordinate": "log_w", "method": "dopri8", "rtol": 1e-6},
}


def test_they_fail_and_say_what_to_try(tmp_path):
    store = js.run(js.Sweep(**SWEEP), tmp_path / "run")
    failures = store.failures()
    assert len(failures) == 4
    assert set(failures.status) == {"inaccurate"}
    assert set(failures.p) == {NEAR[0]}
    assert failures.message.str.contains("tighten `rtol`").all()
    learned = store.points()
    assert (learned.relative_difference <= 100 * 1e-6).all()


def test_a_second_try_is_held_to_the_tolerance_of_the_first(tmp_path):
    store = js.run(js.Sweep(**SWEEP), tmp_path)
    assert js.retry(store, "inaccurate", rtol=1e-3)["failed"] == 4
    assert js.retry(store, "inaccurate", rtol=1e-12)["failed"] == 0
    again = js.Store(tmp_path).points()
    assert len(again) == 8
    assert (again.relative_difference <= 100 * 1e-6).all()


def test_a_flow_without_a_closed_form_asks_its_solver(tmp_path):
    """dy/dt = 1 - y, whose time ln(1 / (1 - p)) the package does not know."""
    logistic = js.flow(
        "saturation",
        version=1,
        parameters=[js.parameter("start")],
        start=lambda q: q.start,
        field=lambda t, y, q: 1 - y,
        response=lambda y, q: y,
        rest=lambda q: 1.0,
    )
    p = [0.5, 0.9, 0.99, 1 - 1e-6, 1 - 1e-9, 1 - 1e-12]
    spec = {"name": "own", "system": logistic, "axes": {"start": [0.0, 0.1]}, "measure": {"p": p}}
    store = js.run(js.Sweep(**spec), tmp_path)
    points, failures = store.points(), store.failures()
    true = np.log((1 - points.start) / (1 - points.p))
    assert (np.abs(points.t_numeric / true - 1) <= 100 * 1e-8).all()
    assert set(points.p) >= set(p[:3])
    assert set(failures.status) == {"inaccurate"}
    assert set(failures.p) >= set(p[-2:])


def test_what_a_users_theory_says_fails_no_point(tmp_path):
    """It is what numbers are compared with, and may be an approximation."""
    decay = js.flow(
        "decay",
        version=1,
        parameters=[js.parameter("k", rule=lambda k: k > 0)],
        start=lambda q: 1.0,
        field=lambda t, y, q: -q.k * y,
        response=lambda y, q: y,
        threshold=lambda q: 1.0,
        critical_time=lambda q, p: 2 * (1 - p) / q.k,
    )
    store = js.run(js.Sweep(name="own", system=decay, axes={"k": [1.0, 2.0]}, measure={"p": 0.5}), tmp_path)
    assert (store.points().status == "learned").all()
    assert (store.points().relative_difference > 0.1).all()


def test_samples_that_are_off_say_so(tmp_path, monkeypatch):
    """A closed form that is one part in a thousand off, where a solver keeps 1e-6."""
    spec = SWEEP | {"measure": {"p": 0.5, "trajectories": {"samples": 5}}}
    assert set(js.run(js.Sweep(**spec), tmp_path / "right").trajectories().status) == {"resolved"}
    real = lanes.exact_paths

    def off(*args, **kwargs):
        w, condition = real(*args, **kwargs)
        return 1.001 * w, 0 * condition

    monkeypatch.setattr(lanes, "exact_paths", off)
    assert set(js.run(js.Sweep(**spec), tmp_path / "wrong").trajectories().status) == {"inaccurate"}


def test_a_field_that_depends_on_time_waits_for_no_state(tmp_path):
    """y' = sin(kt)^2 all but stops again and again: an error there is one of y, and no delay."""
    driven = js.flow(
        "driven",
        version=1,
        parameters=[js.parameter("k")],
        start=lambda q: 0.0,
        field=lambda t, y, q: jnp.sin(q.k * t) ** 2,
        response=lambda y, q: y,
        threshold=lambda q: 1.0,
    )
    spec = {"name": "own", "system": driven, "axes": {"k": [1.0, 3.0, 9.0]}, "measure": {"p": [1.5, 3.0]}}
    points = js.run(js.Sweep(**spec), tmp_path).points()
    assert (points.status == "learned").all()
    assert len(points) == 6
    t, k = points.t_numeric, points.k
    # The threshold is t / 2 - sin(2kt) / 4k; an error of it is one of t over the rate there.
    off = np.abs(t / 2 - np.sin(2 * k * t) / (4 * k) - points.p) / np.sin(k * t) ** 2
    assert (off <= 100 * 1e-8 * t).all()
