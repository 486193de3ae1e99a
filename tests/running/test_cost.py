"""What `plan` says a sweep will take, before anything was computed."""

import pytest
from conftest import TINY, TRACKED

import jepa_sweep as js
from jepa_sweep.running.plan import points_per_chunk
from jepa_sweep.running.summary import _bytes_without_rows, plan_of
from jepa_sweep.spec.grid import Grid

AXES = {"features": 100, "L": 3, "t_end": 1000.0, "eta": 0.1}


@pytest.fixture
def planned(tmp_path):
    """What running a spec would take, in a directory where nothing is."""

    def plan(axes=(), system="training", objective="jepa", **others):
        axes = {**AXES, **dict(axes)} if system == "training" else dict(axes)
        facts = plan_of(js.Sweep(name="x", system=system, objective=objective, axes=axes, **others), tmp_path / "run")
        assert not (tmp_path / "run").exists()
        assert not facts["measured"]
        return facts

    return plan


def test_training_takes_the_products_of_its_steps(planned):
    """10,000 steps of 6 (L+1) n^2 d operations, at 3e10 a second; and little besides."""
    facts = planned()
    assert facts["points"] == facts["new"] == 1
    assert facts["seconds"] == pytest.approx(10_000 * 6 * 4 * 100**3 / 3e10, rel=0.01)
    small = planned({"features": 2, "L": 1})
    assert 1e-4 < small["seconds"] < 0.1


@pytest.mark.parametrize(
    ("axes", "factor"),
    [
        ({"eta": 0.01}, 10),
        ({"t_end": 500.0}, 0.5),
        ({"L": 7}, 2),
        ({"features": 200}, 8),
        ({"width": 300}, 9),
        ({"scale": [0.5, 0.7, 1.0]}, 3),
        ({"batch": 100}, 10 / 6),
        ({"L": [3, 7]}, 3),
    ],
)
def test_seconds_grow_with_the_work(planned, axes, factor):
    assert planned(axes)["seconds"] == pytest.approx(factor * planned()["seconds"], rel=0.02)


def test_flows_take_a_usual_number_of_steps(planned):
    axes = {name: value for name, value in AXES.items() if name != "eta"}
    seconds = planned(axes, system="network")["seconds"]
    assert seconds == pytest.approx(13_000 * 6 * 4 * 100**3 / 3e10, rel=0.01)


def test_thresholds_share_a_network(planned):
    one, three = planned(), planned(measure={"p": [0.3, 0.5, 0.7]})
    assert (one["points"], three["points"]) == (1, 3)
    assert three["seconds"] == pytest.approx(one["seconds"])


def test_bytes_are_those_of_features_and_samples(planned):
    none, some = planned(), planned(measure={"trajectories": {"samples": 1000}})
    assert 1e3 < none["bytes"] < 1e5
    assert some["bytes"] - none["bytes"] == pytest.approx(1000 * 100 * 30, rel=0.05)
    both = planned(measure={"p": [0.3, 0.5], "trajectories": {"samples": 1000}})
    assert both["bytes"] == pytest.approx(some["bytes"], rel=0.05)


def test_memory_holds_two_chunks_and_the_weights(planned):
    least, wide = planned(), planned({"width": 5000})
    many = planned({"scale": {"linear": [0.1, 1.0], "num": 200}}, measure={"trajectories": {"samples": 64}})
    assert 5e8 < least["memory_bytes"] < 1e9
    assert wide["memory_bytes"] > 4 * 12 * 4 * 5000**2 * 8
    assert 1e9 < many["memory_bytes"] < 3e9


@pytest.mark.parametrize("p", [[0.5], [0.3, 0.5, 0.7]])
def test_chunks_hold_whole_networks(p):
    spec = js.Sweep(name="x", system="training", axes={**AXES, "seed": list(range(1000))}, measure={"p": p})
    size = points_per_chunk(spec, Grid(spec))
    assert size % len(p) == 0
    assert size == 256 * len(p)


def test_series_take_their_length(planned):
    short, long = (planned({"log10_T": n}, system="temporal", objective="moments")["seconds"] for n in (6, 8))
    assert long == pytest.approx(100 * short)
    assert 1 < long < 100


def test_scalar_flows_take_what_they_took(planned):
    axes = {"lam": [0.5, 1.0], "rho": {"linear": [0.1, 1.0], "num": 50}, "L": [1, 2], "eps": 1e-3}
    facts = planned(axes, system="reduced")
    assert facts["points"] == 200
    assert facts["seconds"] == pytest.approx(200 * 2e-6)
    sampled = planned(axes, system="reduced", measure={"trajectories": {"samples": 10}})
    files = sampled["chunks"] * _bytes_without_rows(js.Sweep(**TRACKED))
    assert sampled["bytes"] == 200 * (75 + 270) + files


@pytest.mark.parametrize("spec", [TINY, TRACKED], ids=["times", "trajectories"])
def test_small_chunks_are_mostly_schemas_and_are_said_to_be(tmp_path, spec):
    sweep = js.Sweep(**spec, solver={"method": "exact"} if spec is TINY else {})
    said = plan_of(sweep, tmp_path / "run")["bytes"]
    held = js.run(sweep, tmp_path / "run").overview().bytes
    assert 0.7 * held < said < 1.4 * held
