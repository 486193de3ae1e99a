"""Gradient descent on many networks: as optax does it, near the flow, and up to the step that breaks it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from many import LAM, RHO, P, columns, descent, learn

import jepa_sweep as js
from jepa_sweep.engine.networks import common
from jepa_sweep.engine.networks.common import Given
from jepa_sweep.physics import network
from jepa_sweep.physics.data import Moments
from jepa_sweep.physics.host import Status

L = 2  # layers


def at_rest(objective):
    return RHO ** (L / (L + 1) if objective == "mae" else L)


BOTH = pytest.mark.parametrize("objective", ["jepa", "mae"])


# --- as optax does it ---------------------------------------------------------------------------------------------

WAYS = {
    "sgd": ("jepa", "sgd", lambda eta, momentum: optax.sgd(eta)),
    "momentum": ("jepa", "momentum", optax.sgd),
    "adam": ("jepa", "adam", lambda eta, momentum: optax.adam(eta, b1=momentum)),
    "sgd of mae": ("mae", "sgd", lambda eta, momentum: optax.sgd(eta)),
    "sgd with an average": ("ema", "sgd", lambda eta, momentum: optax.sgd(eta)),
}


@pytest.mark.long
@pytest.mark.parametrize(("objective", "method", "optimizer"), WAYS.values(), ids=WAYS)
def test_steps_are_those_of_a_plain_loop(objective, method, optimizer):
    """Forty steps of optax on jax.grad of the loss; the average follows by ema eta (W - A). Samples at every fifth."""
    at = {"seed": 7, "scale": 0.5, "predictor_scale": 0.4, "eta": 0.05, "momentum": 0.8, "t_end": 2.0, "ema": 3.0}
    made, rule = descent(objective, method), network.OBJECTIVES[objective]
    found = learn(made, 3, **at | {"seed": [1, 7, 2], "eta": [0.02, 0.05, 0.05]})
    with jax.enable_x64(True):
        one = columns((), at)
        given = Given(*map(jnp.asarray, [P, *(one[name] for name in Given._fields[1:])]))
        features = common.features_of(made, given)
        moments = Moments(features.s2, features.lam, features.sy2)
        weights, frame = common.begin(made, given)
        step = optimizer(0.05, 0.8)
        own, average, state = weights[:2], weights.average, step.init(weights[:2])

        def loss(own, average):
            frozen = weights._replace(layers=jax.lax.stop_gradient(own[0]), average=average)
            target = frozen.average if rule.averages else frozen.layers
            ema, mae = network.OBJECTIVES["ema"], network.OBJECTIVES["mae"]
            return network.loss(mae if rule.decodes else ema, network.Weights(*own, target), moments)

        @jax.jit
        def advance(own, average, state):
            down = jax.grad(loss)(own, average)
            with jax.numpy_dtype_promotion("standard"):  # Adam raises numbers to its count of steps
                updates, state = step.update(down, state)
            moved = optax.apply_updates(own, updates)
            return moved, tuple(a + 3.0 * 0.05 * (w - a) for w, a in zip(moved[0], average, strict=False)), state

        near = 1e-8 if method == "adam" else 1e-12  # Adam divides gradients of pure rounding by their own size
        for i in range(41):
            if i % 5 == 0:
                seen = network.observe(rule, network.signals(network.Weights(*own)), frame)
                np.testing.assert_allclose(found.seen[1, i // 5, :3], seen, rtol=near)
                np.testing.assert_allclose(found.losses[1, i // 5], loss(own, average), rtol=near)
            own, average, state = advance(own, average, state)
    np.testing.assert_allclose(found.times[1], np.arange(0, 41, 5) * 0.05, rtol=1e-14)
    assert found.steps.tolist() == [100, 40, 40]


def test_samples_may_outnumber_steps():
    """Three steps seen at nine times: between most of them there is none to take."""
    at = {"eta": 0.1, "t_end": 0.3, "scale": 0.5, "predictor_scale": 0.4}
    often, each = (learn(descent()._replace(samples=samples), 2, **at) for samples in (8, 3))
    assert often.steps.tolist() == each.steps.tolist() == [3, 3]
    at_step = np.round(often.times[0] / 0.1).astype(int)
    assert set(at_step) == {0, 1, 2, 3}
    np.testing.assert_allclose(often.seen, each.seen[:, at_step], rtol=1e-13)
    np.testing.assert_allclose(often.losses, each.losses[:, at_step], rtol=1e-13)


def test_momentum_comes_to_rest_where_the_flow_does():
    """1 / (1 - 0.9) as fast; layers that begin balanced move alike, so that w ends at rho^L, too."""
    found = learn(descent(method="momentum"), 2, momentum=0.9, eta=0.01, t_end=[200.0, 100.0], seed=[0, 1])
    assert set(found.ended) == {Status.TRAINED}
    np.testing.assert_allclose(found.seen[:, -1, 3], 1, rtol=1e-9)
    np.testing.assert_allclose(found.seen[:, -1, 0], [at_rest("jepa")] * 2, rtol=1e-9)


def test_adam_learns_every_feature_soon():
    """v = rho within a few time units, whatever lam and rho; it does not stay there (its steps do not shrink, and along
    the line of rest points nothing holds them), and w, which the lost balance no longer decides, is not rho^L.
    """
    at = {"momentum": 0.9, "eta": 0.003, "t_end": 5.0, "scale": 0.3, "predictor_scale": 0.3}
    found = learn(descent(method="adam"), 3, **at, seed=np.arange(3))
    assert set(found.ended) == {Status.TRAINED}
    np.testing.assert_allclose(found.seen[:, -1, 3], 1, rtol=1e-4)


# --- beside the flow ----------------------------------------------------------------------------------------------


def speed(objective, u):
    """du/dt of each feature."""
    return LAM * u**L * (1 - u ** (L + 1) / RHO) if objective == "mae" else LAM * u ** (2 * L) * (1 - u / RHO)


@BOTH
def test_small_steps_are_late_by_half_a_step_per_e_fold_of_speed(objective):
    """t_GD - t = (eta/2) ln(f_end / f_0) with f = du/dt, up to O(eta^2), of which the looks add their own part."""
    at = {"lam": LAM, "rho": RHO, "L": L, "eps": 0.15**L}
    times = js.critical_time(objective, **at, p=P[:, None], time="flow")
    eta = np.array([0.04, 0.02, 0.01])
    found = learn(descent(objective), 3, eta=eta, t_end=1.1 * times.max())
    late = (found.crossed[:, 0] - times) / eta[:, None, None]
    ends = (P[:, None] * at_rest(objective)) ** (1 / L)
    expected = np.log(speed(objective, ends) / speed(objective, 0.15)) / 2
    error = np.abs(late / expected - 1)
    assert np.all(error.max(axis=(1, 2)) < eta)  # the next order: eta times numbers below one
    np.testing.assert_allclose(late[1:] * eta[1:, None, None] / (late[:-1] * eta[:-1, None, None]), 0.5, rtol=0.02)


@BOTH
@pytest.mark.parametrize("alike", [True, False], ids=["one law for all", "three features"])
def test_the_largest_step(objective, alike):
    """5 % below the limit networks come to rest; 5 % above, features alike never do, but stay finite: a cycle (JEPA) or
    another point of the line of rest points; far above they diverge. Each leaves its neighbours alone. What drives
    different features off leaks from one into another, of which an aligned start has none: that limit is held by the
    rates at rest, in test_network.py.
    """
    lam, rho = (np.full(3, 1.0), np.full(3, 0.6)) if alike else (LAM, RHO)
    limit = network.step_limit(network.OBJECTIVES[objective], lam, rho, L)
    if alike:
        own = {"jepa": 2 / 0.6 ** (2 * L - 1), "mae": 2 / ((L + 1) * 0.6 ** ((L - 1) / (L + 1)))}
        np.testing.assert_allclose(limit, own[objective], rtol=1e-14)
    eta = limit * np.array([0.95, 1.05, 20.0, 0.95])
    ends = {"lam_high": lam[2], "rho_low": rho.min(), "rho_high": rho.max(), "scale": 0.5, "predictor_scale": 0.5}
    found = learn(descent(objective), 4, eta=eta, t_end=4000 * eta, seed=[0, 0, 0, 4], **ends)
    rest = rho ** (L / (L + 1) if objective == "mae" else L)
    for i in (0, 3):
        assert found.ended[i] == Status.TRAINED
        np.testing.assert_allclose(found.seen[i, -1, 0], rest, rtol=1e-9)
        np.testing.assert_allclose(found.seen[i, -1, 3], 1, rtol=1e-9)
    assert np.all(np.isfinite(found.seen[1]))
    if alike:
        assert np.max(np.abs(found.seen[1, -1, 0] - rest)) > 0.01
    assert found.ended[2] == Status.DIVERGED
    assert np.all(~np.isfinite(found.seen[2, -1, [0, 2, 3]]))
    alone = learn(descent(objective), 1, eta=eta[3], t_end=4000 * eta[3], seed=4, **ends)
    for all_of, one in zip(found, alone, strict=True):
        np.testing.assert_array_equal(one[0], all_of[3])


@pytest.mark.long
def test_single_precision_is_single_throughout():
    """600 steps of a growth that forgets early errors no faster than it amplifies them: a few hundred roundings."""
    at = {"eta": 0.1, "t_end": 60.0, "scale": 0.3, "predictor_scale": 0.3}
    single, double = (learn(descent("mae"), 2, precision=name, **at) for name in ("float32", "float64"))
    assert single.seen.dtype == single.crossed.dtype == single.losses.dtype == "float32"
    np.testing.assert_allclose(single.seen, double.seen, rtol=1e-5)
    np.testing.assert_allclose(single.crossed[:, 0], double.crossed[:, 0], rtol=1e-5)


# --- samples ------------------------------------------------------------------------------------------------------

SAMPLED = {"eta": 0.02, "t_end": 60.0, "scale": 0.4, "predictor_scale": 0.4, "seed": np.array([0, 1, 2, 0])}


def test_batches_lower_the_loss_and_seeds_tell_runs_apart():
    found = learn(descent("mae", batch=32), 4, **SAMPLED)
    assert set(found.ended) == {Status.TRAINED}
    for a in found:
        np.testing.assert_array_equal(a[0], a[3])
    assert np.all(np.isfinite(found.crossed[:, 0, 1]))
    assert len(np.unique(found.losses[:, -1])) == 3
    floor = np.sum(LAM * RHO * 0.5) / 2
    excess = (found.losses[:, -1] - floor) / (found.losses[:, 0] - floor)
    assert np.all(excess < 0.1)
    assert np.all(excess > 1e-6)  # the noise of batches keeps it above the floor


@pytest.mark.long
@pytest.mark.parametrize("model", ["gaussian", "temporal", "masked", "complementary"])
def test_batches_have_the_gradient_of_the_population_on_average(model):
    """4000 batches of 8 pairs: every entry of the mean within five of its standard errors."""
    rule, ends = network.OBJECTIVES["jepa"], {"lam_low": 0.92, "lam_high": 0.98} if model == "temporal" else {}
    made = descent()._replace(data=model)
    with jax.enable_x64(True):
        one = columns((), ends)
        given = Given(*map(jnp.asarray, [P, *(one[name] for name in Given._fields[1:])]))
        features = common.features_of(made, given)
        weights = common.begin(made._replace(start="gaussian"), given._replace(scale=given.scale * 5))[0]

        def slope(key):
            x, y = common.pairs_of(made, given, features, key, 8)
            return jax.grad(lambda w: network.loss_on_pairs(rule, w, x, y))(weights)

        drawn = jax.jit(jax.vmap(slope))(jax.random.split(jax.random.key(1), 4000))
        expected, _ = network.gradient(rule, weights, Moments(features.s2, features.lam, features.sy2))
    for samples, mean in zip(*(map(np.asarray, jax.tree.leaves(tree)) for tree in (drawn, expected)), strict=True):
        error = samples.std(0) / 4000**0.5
        assert np.all(np.abs(samples.mean(0) - mean) < 5 * error)
        assert np.max(np.abs(mean) / error) > 10  # there is something to see


@pytest.mark.long
@pytest.mark.parametrize("activation", ["relu", "tanh"])  # each compiles for seconds; all are in test_network.py
def test_networks_with_an_activation_learn(activation):
    made = descent("mae", batch=16, activation=activation, start="gaussian")
    found = learn(made, 2, eta=0.05, t_end=20.0, scale=0.7, predictor_scale=0.7, seed=[0, 1])
    assert set(found.ended) == {Status.TRAINED}
    for values in (found.seen, found.losses, found.times):
        assert np.all(np.isfinite(values))
    assert np.all(found.losses[:, -1] < 0.8 * found.losses[:, 0])
    assert np.all(found.seen[:, -1, 3].mean(axis=1) > found.seen[:, 0, 3].mean(axis=1))


@pytest.mark.parametrize("objective", ["jepa", "mae"])
@pytest.mark.parametrize(("share", "status"), [(0.9, "trained"), (1.1, "unstable")])
def test_a_step_above_the_limit_of_the_rest_point_is_said_to_be_so(objective, share, status, tmp_path):
    lam, rho = np.linspace(1.0, 1.3, 3), np.linspace(0.4, 0.9, 3)
    eta = share * network.step_limit(network.OBJECTIVES[objective], lam, rho, 1)
    axes = {"features": 3, "L": 1, "scale": 0.3, "t_end": 100 * eta, "eta": eta}
    store = js.run(js.Sweep(name="x", system="training", objective=[objective], axes=axes), tmp_path / "run")
    assert store.points().status.tolist() == [status]
