"""Many points and many networks at once, each as if it were alone."""

import numpy as np
import pytest
from many import P, descent, flow, learn

import jepa_sweep as js
from jepa_sweep.engine import devices
from jepa_sweep.engine.networks import batches

MIXED = {
    "seed": np.array([3, 0, 5, 5, 9]),
    "layout": np.array([0, 1, 2, 3, 4]),
    "eta": np.array([0.1, 0.03, 0.5, 0.2, 0.07]),
    "t_end": np.array([300.0, 20.0, 100.0, 101.0, 5.0]),
    "scale": np.array([0.1, 0.3, 0.2, 0.2, 0.5]),
    "predictor_scale": np.array([0.1, 0.2, 0.4, 0.2, 0.5]),
}
FLOW = pytest.param(flow("jepa", 1), id="flow", marks=pytest.mark.long)
EACH = pytest.mark.parametrize("recipe", [FLOW, pytest.param(descent(), id="descent")])


def mixed(recipe, places=slice(None)):
    few = {name: values[places] for name, values in MIXED.items()}
    return learn(recipe, np.size(few["seed"]), **few)


@EACH
def test_a_network_depends_on_nothing_beside_it(recipe):
    """Alone, in another order, or among others: the same program gives the same bits."""
    together, order = mixed(recipe), np.array([4, 2, 0, 1, 3])
    turned, many = mixed(recipe, order), mixed(recipe, np.tile(np.arange(5), 4))  # three blocks
    for all_of, again, tiled in zip(together, turned, many, strict=True):
        np.testing.assert_array_equal(again, all_of[order])
        np.testing.assert_array_equal(tiled, np.concatenate([all_of] * 4))
    for i in range(5):
        for all_of, one in zip(together, mixed(recipe, i), strict=True):
            np.testing.assert_array_equal(one[0], all_of[i])


@pytest.mark.long
def test_each_flow_ends_at_its_own_time():
    np.testing.assert_array_equal(mixed(flow("jepa", 1)).times[:, -1], MIXED["t_end"])


def test_each_descent_ends_after_its_own_steps():
    found, steps = mixed(descent()), np.round(MIXED["t_end"] / MIXED["eta"])
    np.testing.assert_array_equal(found.steps, steps)
    np.testing.assert_allclose(found.times[:, -1], steps * MIXED["eta"], rtol=1e-15)


@EACH
def test_other_numbers_are_not_another_program(recipe, compilations):
    learn(recipe, 2)
    before = len(compilations)
    learn(recipe, 20, seed=np.arange(20), rho_low=0.5, t_end=30.0, eta=0.3, p=P / 2)
    assert len(compilations) == before


def test_the_size_of_a_group_changes_only_roundings():
    """In a program for one, products may be summed in another order."""
    together = mixed(descent())
    alone = learn(descent(), 1, batch=1, **{name: v[1] for name, v in MIXED.items()})
    for all_of, one in zip(together, alone, strict=True):
        np.testing.assert_allclose(one[0], all_of[1], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("size", "width"), [(4, 4), (32, 4), (48, 2), (100, 1)])
def test_large_networks_are_groups_of_their_own_on_a_processor(size, width):
    recipe = descent()._replace(features=size, width=size, L=5)
    assert batches.shape_for(recipe, 64, devices.pick("cpu"), 4).width == width


@pytest.mark.long
def test_a_point_a_thousand_times_as_expensive_costs_its_neighbours_nothing():
    """In w an explicit solver is held back by stability once a feature has saturated, the more so the larger lam."""
    lam = np.full(8, 0.5)
    others = np.arange(8) != 5
    given = {"rho": 0.9, "L": 2, "eps": 1e-2, "coordinate": "w", "method": "dopri5", "rtol": 1e-6}
    given |= {"max_steps": 1_000_000, "t": [0.0, 1000.0]}
    alone = js.solve("jepa", lam=lam, **given)
    lam[~others] = 400.0
    mixed = js.solve("jepa", lam=lam, **given)
    assert mixed.steps[5] > 1000 * mixed.steps[others].max()
    for ours, theirs in zip(mixed, alone, strict=True):
        np.testing.assert_array_equal(ours[others], theirs[others])
    assert (mixed.status == "learned").all()
    exact = js.critical_time("jepa", lam=400.0, rho=0.9, L=2, eps=1e-2)
    assert abs(mixed.time[5] / exact - 1) <= 1e-6 * alone.steps[0]  # on the way there it takes no more steps than they
