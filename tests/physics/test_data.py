"""Data models: what they promise in the population, against samples, against each other, against sums by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jepa_sweep.physics import data

with jax.enable_x64(True):
    CAPTION = jnp.array([0.99, 0.95]), jnp.array([0.495, 0.760])  # lam and rho of the paper's temporal figure
    SPECTRUM = 1 / (1 + jnp.minimum(jnp.arange(8.0), 8 - jnp.arange(8.0)) ** 2)


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def assert_moments(pairs, features):
    """Every entry of the three moments within five standard errors of the population's; pairs must be independent."""
    x, y = map(np.asarray, pairs)
    for a, b, diagonal in ((x, x, features.s2), (y, x, features.lam), (y, y, features.sy2)):
        products = np.einsum("ni,nj->nij", a, b)
        error = products.std(0) / len(x) ** 0.5
        assert np.all(np.abs(products.mean(0) - np.diag(diagonal)) < 5 * error)


def test_layouts_are_those_of_their_names():
    found = {name: data.spectrum(5, i, 0.1, 0.9, 0.2, 0.6) for i, name in enumerate(data.LAYOUTS)}
    lam, rho = np.linspace(0.1, 0.9, 5), np.linspace(0.2, 0.6, 5)
    for name, expected in {
        "same": (lam, rho),
        "opposite": (lam, rho[::-1]),
        "equal_lam": (np.full(5, 0.5), rho),
        "equal_rho": (lam, np.full(5, 0.4)),
    }.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-14)
    for lams, rhos in found.values():
        assert min(lams) >= 0.1
        assert max(lams) <= 0.9
        assert min(rhos) >= 0.2
        assert max(rhos) <= 0.6


def test_a_layout_may_be_traced():
    many = jax.vmap(lambda i: data.spectrum(100, i, 0.1, 0.9, 0.2, 0.6))(jnp.arange(2))
    np.testing.assert_allclose(many[1][0], many[1][1][::-1])


def test_gaussian_samples_have_their_moments():
    lam, rho = data.spectrum(4, 1, 0.2, 1.0, 0.1, 0.9)
    features = data.gaussian(lam, rho, 0.5)
    np.testing.assert_allclose(features.lam / features.s2, rho)
    assert_moments(data.sample_gaussian(jax.random.key(0), 100_000, features), features)


def test_without_target_noise_the_target_is_a_multiple_of_the_input():
    features = data.gaussian(jnp.array([0.3, 0.7]), jnp.array([0.9, 0.1]))
    x, y = data.sample_gaussian(jax.random.key(0), 50, features)
    np.testing.assert_allclose(y, features.rho[None] * x, atol=1e-7)


def test_temporal_model_and_its_inverse_are_the_papers():
    features = data.temporal(*data.temporal_from(*CAPTION))
    np.testing.assert_allclose((features.lam, features.rho), CAPTION, rtol=1e-14)


def test_ar1_is_the_loop_it_stands_for():
    shocks, gamma = np.random.default_rng(0).normal(size=(101, 3)), np.array([0.99, 0.5, -0.7])
    u, expected = np.ones(3), []
    for shock in shocks:
        u = gamma * u + shock
        expected.append(u)
    found = data.ar1(jnp.ones(3), jnp.asarray(shocks), jnp.asarray(gamma))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_temporal_samples_are_stationary_and_follow_each_other():
    """Many short stretches: the first and the last pair have the same moments, those of the population."""
    gamma, noise = jnp.array([0.9, 0.6]), jnp.array([0.3, 1.0])
    keys = jax.random.split(jax.random.key(0), 40_000)
    x, y = jax.vmap(lambda k: data.sample_temporal(k, 6, gamma, noise))(keys)
    np.testing.assert_array_equal(x[:, 1:], y[:, :-1])
    for at in (0, 5):
        assert_moments((x[:, at], y[:, at]), data.temporal(gamma, noise))


@pytest.mark.parametrize("keep", [0.3, 0.8])
@pytest.mark.parametrize("kind", ["masked", "complementary"])
def test_masked_samples_have_their_moments(kind, keep):
    features = getattr(data, kind)(SPECTRUM, keep)
    drawn = data.sample_masked(jax.random.key(1), 100_000, SPECTRUM, keep, complementary=kind == "complementary")
    assert_moments(drawn, features)


def test_masking_formulas_by_matrices():
    """Sxx = p^2 S + p (1-p) diag S; Syx = p^2 S, or p (1-p) (S - diag S) with complementary masks."""
    basis, p = np.asarray(data.fourier_basis(8)), 0.3
    s = basis * np.asarray(SPECTRUM) @ basis.T
    pixel = np.diag(np.diag(s))
    np.testing.assert_allclose(basis.T @ basis, np.eye(8), atol=1e-14)
    np.testing.assert_allclose(s[1], np.roll(s[0], 1), atol=1e-15)  # circulant
    for features, yx in (
        (data.masked(SPECTRUM, p), p**2 * s),
        (data.complementary(SPECTRUM, p), p * (1 - p) * (s - pixel)),
    ):
        xx = p**2 * s + p * (1 - p) * pixel
        np.testing.assert_allclose(basis.T @ xx @ basis, np.diag(features.s2), atol=1e-15)
        np.testing.assert_allclose(basis.T @ yx @ basis, np.diag(features.lam), atol=1e-15)
        np.testing.assert_allclose(features.rho, features.lam / features.s2)


def test_complementary_masks_make_weak_features_negative():
    features = data.complementary(SPECTRUM, 0.5)
    np.testing.assert_array_equal(features.lam < 0, SPECTRUM - SPECTRUM.mean() < 0)


def test_scatter_at_the_captions_parameters():
    """Figures of the paper's temporal experiment: T = 500,000."""
    gamma, noise = data.temporal_from(*CAPTION)
    np.testing.assert_allclose(data.lam_std(gamma, noise, 5e5), [0.0202, 0.0089], rtol=5e-3)
    np.testing.assert_allclose(data.rho_std(gamma, noise, 5e5), [0.0052, 0.0018], rtol=2e-2)
    np.testing.assert_allclose(data.expected_off_diagonal(gamma, noise, 5e5), 30.60 / 5e5, rtol=1e-3)


def test_scatter_formulas_are_the_sums_they_stand_for():
    gamma, noise = jnp.array([0.9, 0.7]), jnp.array([0.5, 1.2])
    k = np.arange(-400, 401)
    c = np.asarray(gamma)[:, None] ** np.abs(k) + np.asarray(noise)[:, None] ** 2 * (k == 0)
    later, earlier = np.roll(c, -1, 1), np.roll(c, 1, 1)
    np.testing.assert_allclose(data.lam_std(gamma, noise, 1.0) ** 2, np.sum(c**2 + later * earlier, 1), rtol=1e-12)
    r = c / c.max(1, keepdims=True)
    r1 = r[:, 401:402]
    inner = (np.roll(r, -1, 1) + np.roll(r, 1, 1) - 2 * r1 * r)[:, 401:-1]
    np.testing.assert_allclose(data.rho_std(gamma, noise, 1.0) ** 2, np.sum(inner**2, 1), rtol=1e-12)
    m = (gamma[0] - gamma[1]) / (noise[0] ** 2 - noise[1] ** 2)
    expected = (1 + m**2) * np.sum(c[0] * c[1]) - 2 * m * np.sum(c[0] * later[1])
    np.testing.assert_allclose(data.expected_off_diagonal(gamma, noise, 1.0), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_samples_have_the_type_of_what_is_given(dtype):
    s, features = SPECTRUM.astype(dtype), data.gaussian(SPECTRUM.astype(dtype), SPECTRUM.astype(dtype))
    key, gamma = jax.random.key(0), (SPECTRUM / 2).astype(dtype)
    for pairs in (
        data.sample_gaussian(key, 3, features),
        data.sample_temporal(key, 3, gamma, gamma),
        data.sample_masked(key, 3, s, 0.5),
        data.sample_masked(key, 3, s, 0.5, complementary=True),
    ):
        assert [v.dtype for v in pairs] == [dtype, dtype]
        assert [v.shape for v in pairs] == [(3, 8), (3, 8)]
