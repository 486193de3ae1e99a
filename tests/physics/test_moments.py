"""Second moments from samples: against plain formulas, in blocks of any size, with errors that are true."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jepa_sweep.physics import data, moments


def estimate(x, y, size=None, center=True):
    """Both passes over the pairs, in blocks of `size` rows."""
    blocks = [(x[at : at + size], y[at : at + size]) for at in range(0, len(x), size)] if size else [(x, y)]
    sums = scatter = None
    for block in blocks:
        sums = moments.add(sums, *block)
    found = moments.finish(sums, center=center)
    for block in blocks:
        scatter = moments.add_scatter(scatter, found, *block)
    return moments.unscaled(moments.with_errors(found, scatter))[0]


def gaussian(rng, count, lam, rho, frame=None):
    """Independent Gaussian pairs with these features, in the basis `frame`."""
    s2 = np.abs(lam / rho)
    x = rng.normal(size=(count, len(lam))) * np.sqrt(s2)
    y = rho * x + rng.normal(size=x.shape) * np.sqrt(s2 * np.maximum(1 - rho**2, 0))
    return (x, y) if frame is None else (x @ frame.T, y @ frame.T)


def rotation(d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


LAM, RHO = np.array([1.0, 0.6, 0.3, -0.2]), np.array([0.5, 0.9, 0.3, -0.4])


def test_moments_are_numpys_covariances():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(500, 3)) + 1e6, rng.normal(size=(500, 3)) - 1e6
    found = estimate(x, y, size=7)
    both = np.cov(np.hstack([x, y]).T, bias=True)
    np.testing.assert_allclose(found.moments.xx, both[:3, :3], atol=1e-9)
    np.testing.assert_allclose(found.moments.yx, both[3:, :3], atol=1e-9)
    np.testing.assert_allclose(found.moments.yy, both[3:, 3:], atol=1e-9)
    np.testing.assert_allclose(found.mean_x, x.mean(0))


def test_moments_about_zero():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 3)) + 2, rng.normal(size=(300, 3)) + 1
    found = estimate(x, y, size=11, center=False)
    np.testing.assert_allclose(found.moments.yx, y.T @ x / 300, rtol=1e-12)
    assert not found.mean_x.any()


@pytest.mark.parametrize("size", [1, 13, 999])
def test_blocks_change_nothing(size):
    x, y = gaussian(np.random.default_rng(1), 1000, LAM, RHO)
    whole, parts = estimate(x, y), estimate(x, y, size)
    for name in ("lam", "rho", "lam_error", "rho_error", "off_diagonal", "mixing", "asymmetry"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9)


def test_features_are_found_in_any_basis():
    """The estimates lie within five of their own errors, in the order of falling lam, and negative ones are kept."""
    frame = rotation(4)
    found = estimate(*gaussian(np.random.default_rng(2), 100_000, LAM, RHO, frame))
    assert np.all(np.abs(found.lam - LAM) < 5 * found.lam_error)
    assert np.all(np.abs(found.rho - RHO) < 5 * found.rho_error)
    np.testing.assert_allclose(np.abs(np.sum(found.basis * frame, 0)), 1, atol=1e-3)
    assert found.mixing < 3 / 100_000**0.5
    assert found.asymmetry < 0.01


@pytest.mark.parametrize("d", [1, 2, 5, 30])
def test_the_common_basis_of_commuting_matrices_is_exact(d):
    """Even where half of the eigenvalues of the first agree, as of white data, and some of both."""
    rng = np.random.default_rng(d)
    q, first, second = rotation(d, d), rng.uniform(1, 2, d), rng.uniform(-1, 1, d)
    first[: d // 2], first[-2:], second[-2:] = 1.0, 2.0, 0.5
    basis = moments.common_basis(q * first @ q.T, q * second @ q.T)
    np.testing.assert_allclose(basis.T @ basis, np.eye(d), atol=1e-13)
    for m in (first, second):
        turned = basis.T @ (q * m @ q.T) @ basis
        np.testing.assert_allclose(turned, np.diag(np.diag(turned)), atol=1e-12)


def test_the_common_basis_is_at_least_as_good_as_either_eigenbasis():
    rng = np.random.default_rng(0)
    a, b = (m + m.T for m in rng.normal(size=(2, 6, 6)))

    def rest(u):
        return sum(np.sum(m**2) - np.sum(np.diag(m) ** 2) for m in (u.T @ a @ u, u.T @ b @ u))

    assert rest(moments.common_basis(a, b)) < min(rest(np.linalg.eigh(a)[1]), rest(np.linalg.eigh(b)[1]))


def test_standard_errors_are_true_for_independent_pairs():
    """The spread of 200 estimates is known to 1/sqrt(400) = 5 %, a mean error from 64 batches to less than 1 %."""
    rng = np.random.default_rng(3)
    found = [estimate(*gaussian(rng, 2000, LAM, RHO)) for _ in range(200)]
    for name in ("lam", "rho"):
        spread = np.std([getattr(f, name) for f in found], axis=0)
        claimed = np.mean([getattr(f, f"{name}_error") for f in found], axis=0)
        np.testing.assert_allclose(claimed, spread, rtol=0.2)


def test_standard_errors_are_true_for_series():
    """Temporal data depend on their neighbours: the errors are those of theory, not the much smaller ones of chance.

    An error from 64 batches is itself known to 1/sqrt(128) = 9 %; four of those.
    """
    gamma, noise = np.array([0.95, 0.8]), np.array([0.3, 1.0])
    rng, count = np.random.default_rng(4), 200_000
    shocks = rng.normal(size=(count + 1, 2)) * np.sqrt(1 - gamma**2)
    with jax.enable_x64(True):
        model = jnp.asarray(gamma), jnp.asarray(noise)
        u = np.asarray(data.ar1(jnp.asarray(rng.normal(size=2)), jnp.asarray(shocks), model[0]))
        theory = [f(*model, count) for f in (data.lam_std, data.rho_std, data.expected_off_diagonal)]
        (lam_std, rho_std, off_diagonal), expected = jax.tree.map(np.asarray, (theory, data.temporal(*model)))
    series = (u + noise * rng.normal(size=u.shape)) @ rotation(2).T
    found = estimate(series[:-1], series[1:], size=10_000)
    assert np.all(np.abs(found.lam - expected.lam) < 4 * lam_std)
    assert np.all(np.abs(found.rho - expected.rho) < 4 * rho_std)
    np.testing.assert_allclose(found.lam_error, lam_std, rtol=0.36)
    np.testing.assert_allclose(found.rho_error, rho_std, rtol=0.36)
    assert found.off_diagonal < 10 * off_diagonal


def test_asymmetry_runs_from_none_to_all():
    q = rotation(2)
    x = np.vstack([q, -q] * 10)
    assert estimate(x, x).asymmetry == pytest.approx(0, abs=1e-12)
    assert estimate(x, x @ np.array([[0.0, 1.0], [-1.0, 0.0]])).asymmetry == pytest.approx(1)


def test_a_constant_target_leaves_nothing_to_learn():
    x = np.random.default_rng(0).normal(size=(100, 3))
    found = estimate(x, np.ones_like(x))
    np.testing.assert_allclose((found.lam, found.rho), 0, atol=1e-12)
    assert np.isfinite(found.mixing)
