"""The rule for integrals against what it must integrate exactly, and against diffrax, which knows nothing of it."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jepa_sweep.engine.quadrature import HALF, ClenshawCurtis, _weights


@pytest.mark.parametrize("n", [2, 4, 16, 32])
def test_polynomials_are_integrated_exactly(n):
    """n + 1 points serve every degree up to n + 1: an odd one above n is 0 about the middle, and so is the rule."""
    weights, x = _weights(n), (1 - np.cos(np.pi * np.arange(n + 1) / n)) / 2
    for degree in range(n + 2):
        legendre = np.polynomial.Legendre.basis(degree, domain=[0, 1])
        assert weights @ legendre(x) == pytest.approx(float(degree == 0), abs=1e-14)
    assert (weights > 0).all()


def test_the_tableau_is_one_a_solver_can_use():
    tableau = ClenshawCurtis.tableau
    assert tableau.fsal
    assert tableau.b_sol.sum() == pytest.approx(1, abs=1e-14)
    assert tableau.b_error.sum() == pytest.approx(0, abs=1e-14)
    for row, c in zip(tableau.a_lower, tableau.c, strict=True):
        assert row.sum() == pytest.approx(c, abs=1e-14)


def test_a_step_of_it_is_the_integral_and_its_estimate_covers_the_error():
    """exp(3x) on [0, 1] in one step; a pole at distance 1/10 is seen by the estimate."""

    def step(f):
        term, solver, one = dfx.ODETerm(lambda x, y, _: f(x)), ClenshawCurtis(), jnp.asarray(1.0)
        state = solver.init(term, 0 * one, one, 0 * one, None)
        y, error, *_ = solver.step(term, 0 * one, one, 0 * one, None, state, False)
        return float(y), abs(float(error))

    with jax.enable_x64(True):
        smooth, estimate = step(lambda x: jnp.exp(3 * x))
        assert smooth == pytest.approx((np.exp(3) - 1) / 3, rel=1e-14)
        assert estimate < 1e-13
        rough, estimate = step(lambda x: 1 / (x + 0.01))
        missed = abs(rough - np.log(101))
        assert 1e-12 < missed < estimate
    assert ClenshawCurtis().order(None) == HALF + 1
