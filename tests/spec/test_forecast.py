"""How many points will end how, before any is computed."""

from collections import Counter

import jax
import numpy as np
import pytest
from conftest import TINY

import jepa_sweep as js
from jepa_sweep.running.summary import plan_of
from jepa_sweep.spec import forecast as module
from jepa_sweep.spec.forecast import forecast
from jepa_sweep.spec.grid import Grid

WIDE = {"lam": [0.5, 2.0], "rho": {"geom": [0.05, 1.0], "num": 7}, "L": [1, 2, 8], "eps": [1e-6, 1e-2, 0.3, 2.0]}
MIXED = {
    "product": {"axes": WIDE},
    "zip": {"combine": "zip", "axes": {"lam": 1.0, "rho": [0.5, 0.7, 0.9], "L": 2, "eps": [1e-3, 0.5, 2.0]}},
    "points": {
        "combine": "points",
        "points": [{"lam": s, "rho": s, "L": 2, "eps": 0.1} for s in (-1.0, 0.0, 1.0, 0.2)],
    },
    "sobol": {"combine": "sobol", "num": 64, "axes": {**WIDE, "rho": {"geom": [0.05, 1.0]}}},
    "union": {"block": [{"axes": WIDE}, {"axes": {**WIDE, "L": [2, 3]}}]},
}


@pytest.mark.parametrize("case", MIXED)
def test_a_forecast_is_what_a_run_finds(tmp_path, case):
    sweep = js.Sweep(name="x", **MIXED[case], measure={"p": [0.5, 1.5]}, solver={"method": "exact"})
    facts = plan_of(sweep, tmp_path / "run")
    assert facts["forecast_from"] == facts["points"]
    assert facts["forecast"] == js.run(sweep, tmp_path / "run").overview().statuses
    assert len(facts["forecast"]) > 1


def test_of_many_points_some_are_looked_at(monkeypatch):
    sweep = js.Sweep(name="x", axes={**WIDE, "eps": {"geom": [1e-6, 2.0], "num": 400}})
    grid = Grid(sweep)
    whole = forecast(sweep, grid)
    monkeypatch.setattr(module, "MOST", 4000)
    some = forecast(sweep, grid)
    assert some.looked < 4000 < whole.looked == grid.unique
    assert (some.all, whole.all) == (False, True)
    found = some.of(grid.unique)
    for status, count in whole.statuses.items():
        deviation = (count * grid.unique / some.looked) ** 0.5  # of a count of points drawn at random
        assert found[status] == pytest.approx(count, abs=5 * deviation + 0.005 * count)


def test_what_is_looked_at_are_points_of_the_grid_each_once():
    for most in (50, 10_000):
        for case in MIXED.values():
            grid = Grid(js.Sweep(name="x", **case, measure={"p": [0.5, 1.5]}))
            seen = Counter()
            for points in grid.some(most):
                np.testing.assert_array_equal(grid.find(points), points.number)
                seen.update(points.number.tolist())
            assert set(seen.values()) == {1}
            assert len(seen) == grid.unique if grid.size <= most else 0 < len(seen) <= most


def test_a_grid_is_made_once(tmp_path, monkeypatch):
    made, real = [], Grid.__init__
    monkeypatch.setattr(Grid, "__init__", lambda grid, sweep: made.append(sweep) or real(grid, sweep))
    sweep = js.Sweep(name="x", **MIXED["sobol"], solver={"method": "exact"})
    plan_of(sweep, tmp_path / "run")
    assert len(made) == 1
    js.run(sweep, tmp_path / "run")
    assert len(made) == 2


def test_a_system_that_cannot_know_has_no_forecast(tmp_path):
    sweep = js.Sweep(name="x", system="temporal", axes={"log10_T": 2.0})
    assert forecast(sweep, Grid(sweep)) is None
    facts = plan_of(sweep, tmp_path / "run")
    assert (facts["forecast"], facts["forecast_from"]) == (None, None)


def test_plan_says_what_to_expect(command):
    text = command(js.Sweep(**TINY), command="plan").stdout
    assert "In closed form 72 learned.\n" in text


def test_plan_knows_whether_programs_are_kept(command, tmp_path, monkeypatch):
    """Of a run like this one: in chunks of as many points, by the same method, wherever it was written."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    try:
        sweep = js.Sweep(**{**TINY, "solver": {"method": "exact"}})
        assert "Compiling comes first: nominally 6 seconds" in command(sweep, command="plan").stdout
        js.run(sweep, tmp_path / "first")
        assert command(sweep, command="plan").stdout.endswith("Its programs are compiled and kept.\n")
        js.run(sweep, tmp_path / "second")
        assert "compiled and kept: loading them took a second" in command(sweep, command="plan").stdout
        other = js.Sweep(**{**TINY, "solver": {"method": "dopri8"}})
        assert "Compiling comes first: nominally 24 seconds" in command(other, command="plan").stdout
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
