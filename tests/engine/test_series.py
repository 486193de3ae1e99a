"""Long series: unbiased, as scattered as theory says, and each run the same whatever is computed beside it."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jepa_sweep.engine import programs, series
from jepa_sweep.physics import data

LAM, RHO = np.array([0.99, 0.95]), np.array([0.495, 0.760])
NOISE = np.sqrt(LAM / RHO - 1)
SHORT = np.array([0.8, 0.5]), np.array([0.5, 1.5])  # gamma and noise that forget quickly


def runs(count, length, gamma=LAM, noise=NOISE, first=0, **kwargs):
    tiled = (np.tile(v, (count, 1)) for v in (gamma, noise))
    return series.estimate(*tiled, np.full(count, length), first + np.arange(count), **kwargs)


def theory(formula, *given):
    """In double precision."""
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, formula(*(jnp.asarray(values, float) for values in given)))


@pytest.mark.long
def test_estimates_scatter_as_theory_says():
    """400 runs: a mean is known to 1/20 of the spread, the spread itself to 1/sqrt(800) = 3.5 %."""
    count, length = 400, 16_384
    found, features = runs(count, length, *SHORT), theory(data.temporal, *SHORT)
    for estimate, truth, std in (
        (found.lam, features.lam, theory(data.lam_std, *SHORT, length)),
        (found.rho, features.rho, theory(data.rho_std, *SHORT, length)),
    ):
        assert np.all(np.abs(estimate.mean(0) - truth) < 4 * std / count**0.5)
        np.testing.assert_allclose(estimate.std(0), std, rtol=4 / (2 * count) ** 0.5)
    measure = found.off_diagonal
    expected = theory(data.expected_off_diagonal, *SHORT, length)
    assert abs(measure.mean() - expected) < 4 * measure.std() / count**0.5 + 0.02 * expected  # O(1/T) beyond


@pytest.mark.long
def test_the_papers_series_scatters_as_theory_says():
    """T = 500,000 at the caption's parameters, ten runs; the slow feature remembers a hundred steps."""
    found = runs(10, 500_000)
    for estimate, truth, std in (
        (found.lam, LAM, theory(data.lam_std, LAM, NOISE, 5e5)),
        (found.rho, RHO, theory(data.rho_std, LAM, NOISE, 5e5)),
    ):
        assert np.all(np.abs(estimate.mean(0) - truth) < 4 * std / 10**0.5)
    ratio = found.off_diagonal.mean() / theory(data.expected_off_diagonal, LAM, NOISE, 5e5)
    assert abs(ratio - 1) < 4 * (2 / 10) ** 0.5  # the square of a normal number has relative spread sqrt(2)


@pytest.mark.long
def test_a_run_depends_on_nothing_but_itself():
    gamma, noise = np.array([[0.9, 0.5], [0.2, 0.7], [0.99, 0.4]]), np.array([[0.1, 1.0], [2.0, 0.3], [0.5, 0.5]])
    length, seed = np.array([300_000, 10, 16_385]), np.array([7, 7, 123])
    together = series.estimate(gamma, noise, length, seed)
    for i in range(3):
        alone = series.estimate(gamma[i : i + 1], noise[i : i + 1], length[i : i + 1], seed[i : i + 1])
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_array_equal(a[i], b[0])
    backwards = series.estimate(gamma[::-1], noise[::-1], length[::-1], seed[::-1])
    np.testing.assert_array_equal(backwards.yx[::-1], together.yx)


@pytest.mark.process
def test_several_devices_find_the_same(tmp_path):
    script = (
        "import sys, jax, numpy as np; jax.config.update('jax_num_cpu_devices', int(sys.argv[1]));"
        "from jepa_sweep.engine import series; g = np.tile([0.99, 0.95], (11, 1));"
        "np.savez(sys.argv[1], **series.estimate(g, g, np.full(11, 20_000), np.arange(11))._asdict())"
    )
    # Both as commands: this process may compile in another way.
    for devices in "12":
        subprocess.run([sys.executable, "-c", script, devices], cwd=tmp_path, check=True)
    one, two = np.load(tmp_path / "1.npz"), np.load(tmp_path / "2.npz")
    assert set(one) == set(series.Estimates._fields)
    for name in one:
        np.testing.assert_array_equal(two[name], one[name])


def test_lengths_and_numbers_of_runs_share_one_program(compilations):
    runs(3, 1000)
    before = len(compilations)
    runs(11, 5000)
    assert len(compilations) == before


def test_a_long_series_needs_no_more_memory():
    """One program for all lengths: what it holds is known before it is told the length."""
    group = programs.Shape(series.GROUP, series.GROUP)
    with jax.enable_x64(True):
        shapes = (2,), (2,), (), ()  # of gamma, noise, length and seed
        where = tuple(jax.local_devices()[:1])
        compiled = programs.compiled(programs.Program(series._part, (), group, shapes, "float64", where))
    assert compiled.memory_analysis().temp_size_in_bytes < 64 * 8 * series.BLOCK_VALUES


@pytest.mark.parametrize("samples", [1, 2, 1000, 16_384, 16_385, 40_000])
def test_the_beginning_is_that_of_the_series_estimated(samples):
    """The moments of the values shown are the estimates; u and x differ by the noise alone."""
    gamma, noise, seed = np.tile(SHORT[0], (2, 1)), np.tile([0.5, 0.0], (2, 1)), np.array([3, 4])
    u, x = series.beginning(gamma, noise, seed, samples)
    assert u.shape == x.shape == (2, samples, 2)
    np.testing.assert_array_equal(u[:, :, 1], x[:, :, 1])
    if samples > 1:
        found = series.estimate(gamma, noise, np.full(2, samples - 1), seed)
        for run in range(2):
            before, after = x[run, :-1], x[run, 1:]
            np.testing.assert_allclose(found.xx[run], before.T @ before / (samples - 1), rtol=1e-10)
            np.testing.assert_allclose(found.yx[run], after.T @ before / (samples - 1), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("length", [1, 1000, 16_384, 16_385, 100_000])
def test_any_length_counts_its_own_pairs(length):
    found = runs(1, length, np.array([0.5, 0.3]), np.array([0.0, 0.0]))
    np.testing.assert_allclose(found.lam, found.yx[:, [0, 1], [0, 1]], rtol=1e-15)
    std = theory(data.lam_std, [0.5, 0.3], [0.0, 0.0], length)
    assert np.all(np.abs(found.lam - [0.5, 0.3]) < 5 * std)


def test_the_measure_is_zero_where_one_basis_serves_both():
    with jax.enable_x64(True):
        q = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
        xx, yx = q * np.arange(1, 6) @ q.T, q * [0.5, 0.1, 0.4, 0.2, 0.3] @ q.T
        assert series.off_diagonal(jnp.asarray(xx), jnp.asarray(yx)) < 1e-29
        beside = jnp.asarray(yx + 0.1 * q[:, :1] @ q[:, 1:2].T)
        assert series.off_diagonal(jnp.asarray(xx), beside) == pytest.approx(0.01 / 20)


def test_one_feature_has_nothing_off_the_diagonal():
    assert runs(1, 100, np.array([0.5]), np.array([1.0])).off_diagonal == [0.0]
