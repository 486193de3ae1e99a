"""Losses, gradients and starts of whole networks: against jax.grad, against samples, against the theory's formulas."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jepa_sweep.physics import host, network
from jepa_sweep.physics.data import Moments, gaussian
from jepa_sweep.physics.network import OBJECTIVES, Weights

LINEAR = network.ACTIVATIONS["linear"]
with jax.enable_x64(True):
    FEATURES = gaussian(*jnp.array([[1.0, 0.7, 1.6], [0.9, 0.4, 1.2], [1.0, 0.3, 0.0]]))
D, WIDTH = 3, 4
ROUNDING = 1e-13  # matrices of order 1: a few hundred products and sums, each good to 1.1e-16 of the largest


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=OBJECTIVES.values(), ids=OBJECTIVES)
def objective(request):
    return request.param


def drawn(objective, L=3, seed=0):
    """Weights with nothing special about them; an average that has fallen behind."""
    rng = np.random.default_rng(seed)
    sizes = [D, *[WIDTH] * L]
    outputs = D if objective.decodes else WIDTH
    layers = tuple(jnp.asarray(rng.normal(size=(n, m)) / m**0.5) for m, n in itertools.pairwise(sizes))
    average = tuple(w + 0.1 * rng.normal(size=w.shape) for w in layers) if objective.averages else ()
    return Weights(layers, jnp.asarray(rng.normal(size=(outputs, WIDTH)) / 2), average)


def pairs(count=9, seed=1):
    x, noise = np.random.default_rng(seed).normal(size=(2, count, D))
    y = x @ np.array([[0.6, 0.1, 0.0], [-0.3, 0.4, 0.2], [0.0, 0.1, 0.8]]) + 0.3 * noise
    return jnp.asarray(x), jnp.asarray(y)


def empirical(x, y):
    return Moments(x.T @ x / len(x), y.T @ x / len(x), y.T @ y / len(x))


DIAGONAL = Moments(FEATURES.s2, FEATURES.lam, FEATURES.sy2)
with jax.enable_x64(True):
    MOMENTS = {"whole": empirical(*pairs()), "diagonal": DIAGONAL}


def assert_same(found, expected, tolerance=ROUNDING):
    size = max(float(jnp.max(jnp.abs(e))) for e in jax.tree.leaves(expected))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(size, 1)), found, expected)


# --- losses and gradients -----------------------------------------------------------------------------------------


def stopped_loss(objective, own, average, moments):
    """The loss as theory.md writes it, with B in the places of the target."""
    layers, V = own
    wbar = network.encoder(layers)
    if objective.decodes:
        B = jnp.eye(D)
    elif objective.averages:
        B = network.encoder(average)
    else:
        B = jax.lax.stop_gradient(wbar) if objective.stops else wbar
    xx, yx, yy = (jnp.diag(m) if m.ndim == 1 else m for m in moments)
    out = V @ wbar
    return jnp.trace(out @ xx @ out.T) / 2 - jnp.trace(out @ yx.T @ B.T) + jnp.trace(B @ yy @ B.T) / 2


@pytest.mark.parametrize("moments", MOMENTS.values(), ids=MOMENTS)
@pytest.mark.parametrize("L", [1, 3])
def test_gradient_is_that_of_the_loss(objective, moments, L):
    weights = drawn(objective, L)
    own = weights.layers, weights.predictor
    value, down = jax.value_and_grad(functools.partial(stopped_loss, objective))(own, weights.average, moments)
    found, maps = network.gradient(objective, weights, moments)
    assert_same((found.layers, found.predictor), down)
    assert_same(network.loss(objective, weights, moments), value)
    assert_same(maps, network.signals(weights))
    assert all(np.all(a == 0) for a in found.average)


def test_diagonals_stand_for_diagonal_matrices(objective):
    weights, whole = drawn(objective), Moments(*map(jnp.diag, DIAGONAL))
    for function in (network.loss, network.gradient, network.velocity):
        assert_same(function(objective, weights, DIAGONAL), function(objective, weights, whole))


def test_the_population_is_many_samples(objective):
    """On the moments of these very samples both losses, and both gradients, are the same numbers."""
    weights, (x, y) = drawn(objective), pairs()
    value, down = jax.value_and_grad(lambda w: network.loss_on_pairs(objective, w, x, y))(weights)
    assert_same(value, network.loss(objective, weights, empirical(x, y)))
    assert_same(down, network.gradient(objective, weights, empirical(x, y))[0])  # the average gets none


def test_layers_balance_along_the_flow(objective):
    """d/dt of W^(a+1)^T W^(a+1) - W^a W^a^T is 0 for all, that of V^T V - W^L W^L^T only with a stopped target."""
    weights = drawn(objective)
    slope = network.velocity(objective, weights, MOMENTS["whole"], 0.7)
    w, dw = [*weights.layers, weights.predictor], [*slope.layers, slope.predictor]
    drift = []
    for a in range(len(w) - 1):
        above, below = w[a + 1].T @ dw[a + 1], dw[a] @ w[a].T
        drift.append(np.max(np.abs(above + above.T - below - below.T)))
    assert max(drift[:-1]) < ROUNDING
    assert drift[-1] < ROUNDING if objective.stops else drift[-1] > 0.1


def test_the_average_follows_the_encoder():
    weights, ema = drawn(OBJECTIVES["ema"]), OBJECTIVES["ema"]
    slope = network.velocity(ema, weights, DIAGONAL, 0.7)
    assert_same(slope.average, tuple(0.7 * (w - a) for w, a in zip(weights.layers, weights.average, strict=True)))
    on_top = weights._replace(average=weights.layers)
    jepa = weights._replace(average=())
    assert_same(
        network.velocity(ema, on_top, DIAGONAL, 0.7)[:2], network.velocity(OBJECTIVES["jepa"], jepa, DIAGONAL)[:2]
    )


# --- the balanced aligned state -----------------------------------------------------------------------------------


def frames(L, seed=3):
    rng = np.random.default_rng(seed)
    return [jnp.eye(D), *(jnp.asarray(np.linalg.qr(rng.normal(size=(WIDTH, D)))[0]) for _ in range(L))]


def balanced(objective, u, L, diagonal=False):
    """W^a = F^a u F^(a-1)^T and V = F u F^T (JEPA) or u F^T (MAE), with one u per feature."""
    F = frames(L)
    layers = tuple(jnp.asarray(above * u[None] @ below.T) for below, above in itertools.pairwise(F))
    V = (jnp.eye(D) if objective.decodes else F[-1]) * u[None] @ F[-1].T
    return Weights(layers, jnp.asarray(V), layers if objective.averages else ())


U = np.array([0.5, 0.3, 1.1])
BOTH = pytest.mark.parametrize("objective", [OBJECTIVES["jepa"], OBJECTIVES["mae"]], ids=["jepa", "mae"])


def at_rest(objective, L):
    """The balanced state that moves no more, and its u."""
    u = FEATURES.rho ** (1 / (L + 1)) if objective.decodes else FEATURES.rho
    return balanced(objective, u, L), u


def speed(objective, u, L):
    """du/dt = lam u^(2L) (1 - u/rho), or lam u^L (1 - u^(L+1)/rho) for MAE."""
    lam, rho = FEATURES.lam, FEATURES.rho
    return lam * u**L * (1 - u ** (L + 1) / rho) if objective.decodes else lam * u ** (2 * L) * (1 - u / rho)


@pytest.mark.parametrize("L", [1, 2, 3])
@BOTH
def test_a_balanced_state_obeys_the_scalar_law(objective, L):
    lam, rho, _, sy2 = FEATURES
    state, udot = balanced(objective, U, L), speed(objective, U, L)
    slope = network.velocity(objective, state, DIAGONAL)
    assert_same(slope, balanced(objective, udot, L))
    value, change = jax.jvp(lambda w: network.loss(objective, w, DIAGONAL), (state,), (slope,))
    if objective.decodes:
        losses = ((lam / rho) * (U ** (L + 1) - rho) ** 2 + sy2 - lam * rho) / 2
        changes = -(L + 1) * udot**2
    else:
        losses = U ** (2 * L) * ((lam / rho) * (U - rho) ** 2 + sy2 - lam * rho) / 2
        changes = -(L + 1) * udot**2 + L * U ** (2 * L - 1) * udot * (sy2 - U * lam)  # + that of the moving target
    assert_same(value, losses.sum())
    assert_same(change, changes.sum())


@pytest.mark.parametrize("name", ["nosg", "ema"])
def test_relatives_of_jepa_share_its_loss_while_their_targets_do(name):
    jepa = network.loss(OBJECTIVES["jepa"], balanced(OBJECTIVES["jepa"], U, 2), DIAGONAL)
    assert_same(network.loss(OBJECTIVES[name], balanced(OBJECTIVES[name], U, 2), DIAGONAL), jepa)


@pytest.mark.parametrize("L", [1, 2, 3])
@BOTH
def test_the_largest_step_is_two_over_the_fastest_rate_at_rest(objective, L):
    """Small deviations from the rest point decay at rates that are the eigenvalues of the gradient's Jacobian there."""
    lam, rho, _, _ = map(np.asarray, FEATURES)
    state, weights = ravel_pytree(at_rest(objective, L)[0])
    jacobian = jax.jacfwd(lambda a: ravel_pytree(network.gradient(objective, weights(a), DIAGONAL)[0])[0])
    fastest = np.linalg.eigvals(jacobian(state)).real.max()
    np.testing.assert_allclose(fastest, 2 / network.step_limit(objective, lam, rho, L), rtol=1e-12)


@pytest.mark.parametrize("L", [1, 2, 3])
def test_the_rest_point_is_seen_as_theory_says(objective, L):
    """w = rho^L, v = rho (MAE: w = rho^(L/(L+1)), v w = rho), a fit of 1, and no force left, but for nosg."""
    rho, (state, u) = FEATURES.rho, at_rest(objective, L)
    seen = network.observe(objective, network.signals(state), frames(L)[-1])
    np.testing.assert_allclose(seen.w, network.rest(objective, rho, L), rtol=ROUNDING)
    np.testing.assert_allclose(seen.w, rho ** (L / (L + 1) if objective.decodes else L), rtol=ROUNDING)
    np.testing.assert_allclose(seen.projection, seen.w, rtol=ROUNDING)
    np.testing.assert_allclose(seen.v, u, rtol=ROUNDING)
    np.testing.assert_allclose(network.fit(objective, seen, rho), 1, rtol=ROUNDING)
    force = max(np.max(np.abs(g)) for g in jax.tree.leaves(network.velocity(objective, state, DIAGONAL, 1.0)))
    assert force < ROUNDING if objective.stops else force > 0.01


def test_rest_is_a_size(objective):
    np.testing.assert_array_equal(network.rest(objective, -FEATURES.rho, 3), network.rest(objective, FEATURES.rho, 3))


def test_nothing_is_seen_of_no_response(objective):
    seen = network.observe(objective, network.signals(balanced(objective, np.array([0.0, 0.3, 0.0]), 2)), frames(2)[-1])
    for value in seen:
        assert value[0] == value[2] == 0
        assert value[1] > 0


def test_a_diverged_network_shows_no_numbers(objective):
    state = balanced(objective, np.array([np.nan, 0.3, 0.4]), 2)
    for value in network.observe(objective, network.signals(state), frames(2)[-1]):
        assert np.all(np.isnan(value))


def test_observation_does_not_turn_with_the_representation():
    """Rotating the representation rotates the frame with it, and features keep their numbers."""
    jepa, Q = OBJECTIVES["jepa"], np.linalg.qr(np.random.default_rng(5).normal(size=(WIDTH, WIDTH)))[0]
    state, F = balanced(jepa, U, 2), frames(2)[-1]
    turned = Weights((state.layers[0], Q @ state.layers[1]), Q @ state.predictor @ Q.T)
    seen = [network.observe(jepa, network.signals(s), f) for s, f in ((state, F), (turned, Q @ F))]
    assert_same(seen[1], seen[0])


# --- samples and activations --------------------------------------------------------------------------------------


def whitened(count=64):
    """Samples whose features are uncorrelated among each other, of different size."""
    q = np.linalg.qr(np.random.default_rng(2).normal(size=(count, D)))[0]
    return jnp.asarray(q * np.array([3.0, 1.0, 0.2]))


def test_closest_linear_maps_of_a_linear_network_are_its_own(objective):
    weights = drawn(objective)
    assert_same(network.linear_response(weights, whitened(), LINEAR), network.signals(weights))


@pytest.mark.parametrize("name", network.ACTIVATIONS)
def test_activations_stand_between_layers_only(name):
    """One layer stays linear; of two, each activation halves or keeps what small or Gaussian samples say it does."""
    act, x = network.ACTIVATIONS[name], whitened()
    one, two = drawn(OBJECTIVES["jepa"], 1), drawn(OBJECTIVES["jepa"], 2)
    np.testing.assert_array_equal(network.encode(one.layers, x, act), network.encode(one.layers, x, LINEAR))
    assert_same(network.encode(two.layers, x, act), act(x @ two.layers[0].T) @ two.layers[1].T)
    # E[relu(w x) x] = w E[x x^T] / 2 for Gaussian x, as for every symmetric one; gelu and tanh become linear near 0.
    both_signs = jnp.concatenate([x, -x]) * 1e-4
    found, linear = network.linear_response(two, both_signs, act), network.signals(two)
    share = 0.5 if name in ("relu", "gelu") else 1.0
    assert_same(found.encoder, share * linear.encoder, 1e-6)
    assert_same(found.output, two.predictor @ found.encoder)


# --- starts -------------------------------------------------------------------------------------------------------


def begun(objective, kind, seed=0, features=D, width=WIDTH, L=3, **scales):
    scales = {"scale": 0.4, "predictor_scale": 0.4} | scales
    return network.start(objective, kind, jax.random.key(seed), features=features, width=width, L=L, **scales)


@pytest.mark.parametrize("L", [1, 3])
def test_an_aligned_start_gives_every_feature_the_same_response(objective, L):
    weights, frame = begun(objective, "aligned", L=L, predictor_scale=0.25)
    seen = network.observe(objective, network.signals(weights), frame)
    assert_same(frame.T @ frame, np.eye(D))
    np.testing.assert_allclose(seen.w, 0.4**L, rtol=ROUNDING)
    np.testing.assert_allclose(seen.projection, 0.4**L, rtol=ROUNDING)
    np.testing.assert_allclose(seen.v, 0.25, rtol=ROUNDING)
    assert len(weights.average) == L * objective.averages
    jax.tree.map(np.testing.assert_array_equal, weights.average, weights.layers[: len(weights.average)])
    assert weights.predictor.shape == (D if objective.decodes else WIDTH, WIDTH)


def test_an_aligned_start_is_balanced(objective):
    weights, _ = begun(objective, "aligned")
    for below, above in itertools.pairwise([*weights.layers, weights.predictor]):
        assert_same(above.T @ above, below @ below.T)


def test_a_gaussian_start_has_the_spread_it_promises(objective):
    """Standard deviation scale / sqrt(inputs), known to 1/sqrt(2n) of itself from n entries."""
    weights, frame = begun(objective, "gaussian", features=50, width=60, scale=0.7, predictor_scale=0.2)
    np.testing.assert_array_equal(frame, np.eye(60, 50))
    expected = [0.7 / 50**0.5, 0.7 / 60**0.5, 0.7 / 60**0.5, 0.2 / 60**0.5]
    found = [np.asarray(w) for w in (*weights.layers, weights.predictor)]
    for w, std in zip(found, expected, strict=True):
        assert abs(w.std() / std - 1) < 4 / (2 * w.size) ** 0.5
        assert abs(w.mean()) < 4 * std / w.size**0.5
    for a, b in itertools.combinations([(w / w.std()).ravel()[:3000] for w in found], 2):
        assert abs(np.mean(a * b)) < 4 / 3000**0.5  # no key serves twice


@pytest.mark.parametrize("kind", host.STARTS)
def test_seeds_tell_starts_apart(kind):
    first, again, other = (begun(OBJECTIVES["ema"], kind, seed)[0] for seed in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True):
        assert np.max(np.abs(a - b)) > 0.01


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(5, 3), (60, 60)], ids=str)
def test_the_nearest_orthonormal_matrix(shape, dtype):
    """The polar factor U V^T of the singular value decomposition, also where one singular value is tiny."""
    a = np.random.default_rng(0).normal(size=shape)
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    nearest = jax.jit(network.orthonormal)
    q = np.asarray(nearest(jnp.asarray(a, dtype)))
    eps = np.finfo(dtype).eps
    assert q.dtype == dtype
    np.testing.assert_allclose(q.T @ q, np.eye(shape[1]), atol=20 * eps)
    np.testing.assert_allclose(q, u @ vt, atol=20 * eps * s[0] / s[-1])  # its condition number
    s[-1] = 1e-5
    q = nearest(jnp.asarray((u * s) @ vt, dtype))
    np.testing.assert_allclose(q.T @ q, np.eye(shape[1]), atol=20 * eps)


def test_frames_are_uniform():
    """Moments of a Haar matrix, n = 3: E Q_ij = 0, E Q_ij^2 = 1/3, E Q_ij^4 = 1/5, E (tr Q)^2 = 1, either det."""
    count = 4000
    drawn = jax.random.normal(jax.random.key(0), (count, 3, 3))
    q = np.asarray(jax.jit(jax.vmap(network.orthonormal))(drawn))
    for sample, mean in (
        (q, 0),
        (q**2, 1 / 3),
        (q**4, 1 / 5),
        (np.trace(q, axis1=1, axis2=2) ** 2, 1),
        (np.linalg.det(q), 0),
    ):
        assert np.all(np.abs(sample.mean(0) - mean) < 4.5 * sample.std(0) / count**0.5)
