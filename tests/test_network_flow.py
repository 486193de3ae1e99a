"""Gradient flow of given weights: golden values, conserved quantities, end points and collapse, as theory.md has them.

Nearly everything is two by two with two layers and three times, so that one program per objective serves all tests.
"""

import itertools
import json

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT

import jepa_sweep as js

GOLDEN = json.loads((ROOT / "tests/data/matrix_flow.json").read_text())
CASE = {k: np.array(GOLDEN[0][k]) for k in ("Sigma_xx", "Sigma_yx", "Sigma_yy")}
MOMENTS = CASE["Sigma_xx"], CASE["Sigma_yx"], CASE["Sigma_yy"]
OBJECTIVES = ["jepa", "mae", "nosg", "ema"]


def orthogonal(rng, d=2):
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


def drawn(rng, L=2, size=0.5):
    """Layers and predictor of no special shape."""
    return [size * rng.normal(size=(2, 2)) for _ in range(L)], size * rng.normal(size=(2, 2))


def product(path, at=-1):
    """Wbar at one of the times."""
    wbar = np.eye(path.layers[0].shape[2])
    for layer in path.layers:
        wbar = layer[at] @ wbar
    return wbar


def largest(*differences):
    return max(float(np.max(np.abs(d))) for d in differences)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda c: f"{c['objective']}-{c['L']}")
def test_golden_values(case):
    """25 digits by two other integrators; the solver adds a few hundred steps good to 1e-12, and damps them."""
    moments = [case[name] for name in ("Sigma_xx", "Sigma_yx", "Sigma_yy")]
    start, ts = (case["W_init_layers_first_to_last"], case["V_init"]), [s["t_flow"] for s in case["states"]]
    path = js.network_flow(case["objective"], *start, *moments, ts=ts, rtol=1e-12)
    for i, state in enumerate(case["states"]):
        for layer, expected in zip(path.layers, state["W"], strict=True):
            np.testing.assert_allclose(layer[i], np.array(expected, float), rtol=0, atol=1e-12)
        np.testing.assert_allclose(path.predictor[i], np.array(state["V"], float), rtol=0, atol=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_conserved_quantities(objective):
    """An error of one step is 1e-10 of weights near 1 at most; far less in the tail, where most of the steps are."""
    for seed in range(3):
        layers, V = drawn(np.random.default_rng(seed))
        path = js.network_flow(objective, layers, V, *MOMENTS, ts=[1.0, 30.0, 1000.0], rtol=1e-10, ema=0.3)
        (W1, W2), V1 = path.layers, path.predictor
        assert largest(W1[-1] - layers[0]) > 0.01  # it has moved
        encoder = np.swapaxes(W2, 1, 2) @ W2 - W1 @ np.swapaxes(W1, 1, 2)
        predictor = np.swapaxes(V1, 1, 2) @ V1 - W2 @ np.swapaxes(W2, 1, 2)
        assert largest(encoder - (layers[1].T @ layers[1] - layers[0] @ layers[0].T)) < 1e-10
        drift = largest(predictor - (V.T @ V - layers[1] @ layers[1].T))
        assert drift > 0.01 if objective == "nosg" else drift < 1e-10


def aligned(rng, objective, L, size, basis):
    """All layers `size` times an orthogonal matrix, so that features of the given basis stay apart."""
    frames = [basis, *(orthogonal(rng) for _ in range(L))]
    layers = [size * above @ below.T for below, above in itertools.pairwise(frames)]
    return layers, size * (basis if objective == "mae" else frames[-1]) @ frames[-1].T, frames[-1]


@pytest.mark.parametrize(("objective", "L"), [("jepa", 2), ("mae", 1), ("mae", 2)])
def test_an_aligned_start_follows_the_scalar_law(objective, L):
    """w_i(t) for each feature, before, during and after its growth; V grows with it.

    Steps are good to 1e-11, and d ln w / d ln t, which amplifies what was lost early, reaches about ten on the way.
    """
    rng, lam, rho, size = np.random.default_rng(L), np.array([1.0, 0.8]), np.array([0.9, 0.6]), 0.35
    P = orthogonal(rng)
    layers, V, frame = aligned(rng, objective, L, size, P)
    half = js.critical_time(objective, lam=1.0, rho=0.9, L=L, eps=size**L, time="flow")
    ts = np.array([0.5, 1.0, 2.5]) * half
    path = js.network_flow(objective, layers, V, P * lam / rho @ P.T, P * lam @ P.T, ts=ts, rtol=1e-11)
    expected = js.trajectory(objective, lam=lam, rho=rho, L=L, eps=size**L, t=ts[:, None], time="flow")
    for i in range(len(ts)):
        found = frame.T @ product(path, i) @ P
        np.testing.assert_allclose(found, np.diag(expected[i]), rtol=0, atol=1e-10)
        left = P if objective == "mae" else frame
        np.testing.assert_allclose(
            left.T @ path.predictor[i] @ frame, np.diag(expected[i] ** (1 / L)), rtol=0, atol=1e-10
        )


# --- end points ---------------------------------------------------------------------------------------------------

REGRESSION = MOMENTS[1] @ np.linalg.inv(MOMENTS[0])  # M = Syx Sxx^-1; the two do not commute here
LONG = [10.0, 1000.0, 10_000.0]


def test_jepa_ends_on_the_eigenvalues_of_the_regression():
    """Wbar M = V Wbar, so that V is similar to M. The slowest rate is about 0.01: e^-100 at the end."""
    layers, V, _ = aligned(np.random.default_rng(1), "jepa", 2, 0.6, np.eye(2))
    path = js.network_flow("jepa", layers, V, *MOMENTS, ts=LONG, rtol=1e-10)
    wbar, V = product(path), path.predictor[-1]
    np.testing.assert_allclose(wbar @ REGRESSION, V @ wbar, rtol=0, atol=1e-10)
    assert np.linalg.cond(wbar) < 100
    eigenvalues = [np.sort_complex(np.linalg.eigvals(m)) for m in (V, REGRESSION)]
    np.testing.assert_allclose(*eigenvalues, rtol=0, atol=1e-8)  # 1e-10 times the condition of Wbar


def test_mae_ends_on_the_regression_itself():
    """V Wbar = M; from a balanced start, the singular values of Wbar are those of M to the power L/(L+1)."""
    layers, V, _ = aligned(np.random.default_rng(2), "mae", 2, 0.6, np.eye(2))
    path = js.network_flow("mae", layers, V, *MOMENTS, ts=LONG, rtol=1e-10)
    wbar = product(path)
    np.testing.assert_allclose(path.predictor[-1] @ wbar, REGRESSION, atol=1e-9)
    sv = [np.linalg.svd(m, compute_uv=False) for m in (wbar, REGRESSION)]
    np.testing.assert_allclose(sv[0], sv[1] ** (2 / 3), rtol=1e-8)


@pytest.mark.long
def test_layers_of_several_widths_and_targets_of_another_size():
    """MAE of three inputs by widths 4 and 5 to two targets: V Wbar = Syx Sxx^-1."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(3, 9))
    xx, yx = x @ x.T / 9, rng.normal(size=(2, 9)) @ x.T / 9
    layers = [0.5 * rng.normal(size=(4, 3)), 0.5 * rng.normal(size=(5, 4))]
    path = js.network_flow("mae", layers, 0.5 * rng.normal(size=(2, 5)), xx, yx, ts=LONG)
    assert [w.shape for w in (*path.layers, path.predictor)] == [(3, 4, 3), (3, 5, 4), (3, 2, 5)]
    np.testing.assert_allclose(path.predictor[-1] @ product(path), yx @ np.linalg.inv(xx), atol=1e-7)


STARTS = {  # two features side by side: (lam, rho), s of both layers, v
    "grow": ([1.0, 0.7], [0.9, 0.6], [[0.3, 0.5], [0.6, 0.4]], [0.2, 0.45]),
    "predictor ahead": ([1.0, 0.7], [0.6, 0.5], [[0.9, 1.1], [0.8, 0.9]], [0.9, 0.8]),
    "predictor too far ahead": ([1.0, 0.7], [0.5, 0.4], [[0.3, 0.6], [0.5, 0.2]], [0.8, 0.7]),
    "one of each": ([1.0, 1.0], [0.6, 0.6], [[0.9, 0.2], [0.8, 0.5]], [0.9, 0.9]),
    "from below zero": ([1.0, 0.7], [0.6, 0.5], [[0.7, 0.2], [0.8, 0.6]], [-0.3, -0.4]),
    "either sign of a layer": ([1.0, 0.7], [0.9, 0.6], [[-0.3, -0.5], [0.6, -0.4]], [0.2, 0.45]),
}


def jepa_end(rho, s, v):
    """v and s_a^2 at the end, from theory.md section 4."""
    delta = v**2 - s**2
    D = max(delta)
    if 0 < v <= rho:
        end = rho
    elif v > rho:
        end = max(rho, np.sqrt(max(D, 0)))
        assert (end > rho) == (v**2 - min(s**2) > rho**2)
    else:
        end = rho if D < 0 else -np.sqrt(D)
    return end, end**2 - delta


@pytest.mark.parametrize(("lam", "rho", "s", "v"), STARTS.values(), ids=STARTS)
def test_where_jepa_ends_from_any_start(lam, rho, s, v):
    """v -> rho and s_a^2 -> rho^2 - delta_a, or collapse: iff v0^2 - min s_a0^2 >= rho^2 when v0 > rho."""
    lam, rho, s, v = map(np.array, (lam, rho, s, v))
    path = js.network_flow("jepa", list(map(np.diag, s)), np.diag(v), np.diag(lam / rho), np.diag(lam), ts=LONG)
    assert largest(product(path) - np.diag(np.diag(product(path)))) == 0
    for i in range(2):
        end, squares = jepa_end(rho[i], s[:, i], v[i])
        np.testing.assert_allclose(path.predictor[-1][i, i], end, atol=1e-6)
        found = np.array([layer[-1][i, i] for layer in path.layers])
        np.testing.assert_allclose(found**2, squares, atol=1e-6)
        assert (abs(found.prod()) < 1e-3) == (min(squares) < 1e-6)  # collapsed


def nosg(lam, rho, sy2, s, v, ts):
    moments = [np.diag(m) for m in (lam / rho, lam, sy2)]
    path = js.network_flow("nosg", list(map(np.diag, s)), np.diag(v), *moments, ts=ts, rtol=1e-10)
    return np.array([[w[i].diagonal() for w in path.layers] for i in range(len(ts))]), np.array(
        [V.diagonal() for V in path.predictor]
    )


def test_without_the_stopped_gradient_features_are_lost():
    """sy2 > lam rho: every layer shrinks; both alike, s like t^(-1/(2L-2)) = t^(-1/2), and w = s^2."""
    lam, rho, sy2 = np.array([1.0, 0.7]), np.array([0.9, 0.6]), np.array([1.2, 0.5])
    s, v = np.array([[0.5, 0.9], [0.5, 0.7]]), np.array([0.3, 0.9])
    layers, V = nosg(lam, rho, sy2, s, v, [3.0, 1e3, 1e5])
    s2, c = lam / rho, sy2 - lam * rho

    def invariant(s, v):
        return s**2 - (v - rho) ** 2 - 2 * c / s2 * np.log(np.abs(v - rho))

    for i in range(3):
        np.testing.assert_allclose(invariant(layers[i], V[i]), invariant(s, v), rtol=0, atol=1e-9)
    assert np.all(np.abs(layers[0]) < np.abs(s))
    response = layers.prod(axis=1)
    q = V[-1, 0] ** 2 * s2[0] - 2 * V[-1, 0] * lam[0] + sy2[0]
    np.testing.assert_allclose(response[1:, 0] * 2 * q * np.array([1e3, 1e5]), 1, rtol=0.02)  # ds/dt = -s^3 q
    assert abs(response[1, 1]) < 1e-8  # the smaller of two unlike layers vanishes exponentially


def test_a_noiseless_target_spares_those_that_start_large():
    """sy2 = lam rho: a feature survives iff s0^2 > (v0 - rho)^2, and ends at s^2 = s0^2 - (v0 - rho)^2."""
    lam, rho = np.array([1.0, 1.0]), np.array([0.8, 0.8])
    s, v = np.array([[0.9, 0.3], [0.7, 0.3]]), np.array([0.3, 0.2])
    layers, V = nosg(lam, rho, lam * rho, s, v, LONG)
    np.testing.assert_allclose(layers[-1, :, 0] ** 2, s[:, 0] ** 2 - 0.5**2, atol=1e-8)
    np.testing.assert_allclose(V[-1, 0], 0.8, atol=1e-8)
    assert abs(layers[-1, :, 1].prod()) < 1e-3


@pytest.mark.parametrize("ema", [0.01, 1.0, 10.0])
def test_an_averaged_target_keeps_features(ema):
    """v = rho and, balance being conserved, w = rho^L, however slowly the target follows: at least at ema / (L+1)."""
    P, lam, rho = np.eye(2), np.array([1.0, 0.8]), np.array([0.9, 0.6])
    layers, V, frame = aligned(np.random.default_rng(4), "ema", 2, 0.4, P)
    path = js.network_flow("ema", layers, V, np.diag(lam / rho), np.diag(lam), ts=[1.0, 100.0, 8000.0], ema=ema)
    np.testing.assert_allclose(frame.T @ path.predictor[-1] @ frame, np.diag(rho), atol=1e-6)
    np.testing.assert_allclose(frame.T @ product(path), np.diag(rho**2), atol=1e-6)


# --- symmetries ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_flow_turns_with_the_data_and_with_the_representation(objective):
    """x, y -> Q x, Q y and h -> G h. Both are solved with the same steps, apart from rounding in what chooses them."""
    rng = np.random.default_rng(6)
    (W1, W2), V = drawn(rng)
    Q, G = orthogonal(rng), orthogonal(rng)
    turned = [Q @ m @ Q.T for m in MOMENTS]
    start = [W1 @ Q.T, G @ W2], (Q if objective == "mae" else G) @ V @ G.T
    ts = [1.0, 5.0, 40.0]
    path = js.network_flow(objective, [W1, W2], V, *MOMENTS, ts=ts, rtol=1e-12)
    other = js.network_flow(objective, *start, *turned, ts=ts, rtol=1e-12)
    np.testing.assert_allclose(other.layers[0], path.layers[0] @ Q.T, rtol=0, atol=1e-11)
    np.testing.assert_allclose(other.layers[1], G @ path.layers[1], rtol=0, atol=1e-11)
    np.testing.assert_allclose(
        other.predictor, (Q if objective == "mae" else G) @ path.predictor @ G.T, rtol=0, atol=1e-11
    )


# --- what is asked ------------------------------------------------------------------------------------------------

EYE = np.eye(2)
GOOD = {"layers": [EYE, EYE], "predictor": EYE, "sigma_xx": EYE, "sigma_yx": EYE / 2, "ts": [1.0, 2.0, 3.0]}
WIDE = np.ones((2, 3))
BAD = {
    "objective": ("jeba", {}, r"`objective` must be one of jepa, mae, nosg, ema, .* Did you mean `jepa`"),
    "no layers": ("jepa", {"layers": []}, "`layers` must hold at least one matrix"),
    "layers apart": ("jepa", {"layers": [EYE, WIDE]}, r"`layers\[1\]` must have the shape \(2, 2\) .* has \(2, 3\)"),
    "a vector": ("jepa", {"layers": [EYE, [1.0, 2.0]]}, r"`layers\[1\]` must be a matrix of finite numbers, .* \(2,\)"),
    "ragged": ("jepa", {"predictor": [[1.0], [1.0, 2.0]]}, "`predictor` must be numbers in rows of one length"),
    "complex": ("jepa", {"predictor": 1j * EYE}, "`predictor` must be real numbers"),
    "predictor": ("jepa", {"predictor": WIDE}, r"`predictor` must have the shape \(2, 2\)"),
    "decoder": ("mae", {"predictor": np.ones((3, 2))}, r"`predictor` must have the shape \(2, 2\)"),
    "inputs": ("jepa", {"sigma_xx": np.eye(3)}, r"`sigma_xx` must have the shape \(2, 2\) to fit the others"),
    "targets": ("jepa", {"sigma_yx": np.ones((3, 2))}, r"`sigma_yx` must have the shape \(2, 2\)"),
    "target inputs": ("mae", {"sigma_yx": WIDE}, r"`sigma_yx` must have the shape \(2, 2\)"),
    "second target": ("jepa", {"sigma_yy": np.eye(3)}, r"`sigma_yy` must have the shape \(2, 2\)"),
    "no sigma_yy": ("nosg", {}, "`sigma_yy` must be given for nosg"),
    "nan": ("jepa", {"sigma_xx": EYE * np.nan}, "`sigma_xx` must be a matrix of finite numbers"),
    "inf": ("jepa", {"layers": [EYE, np.full((2, 2), np.inf)]}, r"`layers\[1\]` .* finite"),
    "times fall": ("jepa", {"ts": [1.0, 3.0, 2.0]}, "`ts` must be one list of finite, strictly increasing times"),
    "times repeat": ("jepa", {"ts": [1.0, 1.0]}, "`ts` must be one list of finite, strictly increasing times"),
    "before the start": ("jepa", {"ts": [-1.0, 1.0]}, "from 0 on"),
    "rtol": ("jepa", {"rtol": 1e-17}, "`rtol` must lie between"),
    "method": ("jepa", {"method": "euler"}, "`method` must be one of dopri8, dopri5, tsit5"),
    "max_steps": ("jepa", {"max_steps": 0}, "`max_steps` must be a whole number from 1"),
    "ema": ("ema", {"ema": -1.0}, "`ema` must be a rate of at least 0, but it is -1.0"),
    "a word for ema": ("ema", {"ema": "x"}, "`ema` must be real numbers"),
    "a number of layers": ("jepa", {"layers": 3}, "`layers` must be a list of matrices, .* but it is 3"),
    "device": ("jepa", {"device": "abacus"}, "`device` must be one of auto"),
}


@pytest.mark.parametrize(("objective", "change", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_an_error(objective, change, message):
    with pytest.raises(js.SpecError, match=message):
        js.network_flow(objective, **(GOOD | change))


def test_time_zero_is_the_start():
    rng = np.random.default_rng(8)
    layers, V = drawn(rng)
    alone = js.network_flow("jepa", layers, V, *MOMENTS, ts=[0.0])
    first = js.network_flow("jepa", layers, V, *MOMENTS, ts=[0.0, 1.0, 5.0, 40.0])
    later = js.network_flow("jepa", layers, V, *MOMENTS, ts=[1.0, 5.0, 40.0])
    for found, again, start in zip(
        (*first.layers, first.predictor), (*later.layers, later.predictor), (*layers, V), strict=True
    ):
        np.testing.assert_array_equal(found[0], start)
        np.testing.assert_array_equal(found[1:], again)
    np.testing.assert_array_equal(alone.predictor, V[None])
    assert len(js.network_flow("jepa", layers, V, *MOMENTS, ts=[]).predictor) == 0


def test_times_that_are_not_reached_are_nan():
    layers, V = drawn(np.random.default_rng(8))
    path = js.network_flow("jepa", layers, V, *MOMENTS, ts=[1e-3, 1e3, 1e4], max_steps=5)
    for values in (*path.layers, path.predictor):
        assert np.all(np.isfinite(values[0]))
        assert np.all(np.isnan(values[1:]))


def test_the_hosts_settings_are_left_alone():
    js.network_flow("jepa", **GOOD)
    assert jnp.ones(1).dtype == "float32"


def test_a_second_call_compiles_nothing(compilations):
    """Other weights, moments, times and tolerances are other numbers, not another program."""
    js.network_flow("jepa", **GOOD)
    before = len(compilations)
    other = GOOD | {"layers": [2 * EYE, EYE], "sigma_yx": EYE / 3, "ts": [0.5, 1.0, 9.0], "rtol": 1e-6}
    js.network_flow("jepa", **other)
    assert len(compilations) == before
