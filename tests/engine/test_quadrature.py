"""The rule for integrals against what it must integrate exactly, and against diffrax, which knows nothing of it."""

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jepa_sweep.engine import dense
from jepa_sweep.engine.methods import HALF, SOLVERS, ClenshawCurtis, rule_of
from jepa_sweep.engine.quadrature import weights
from jepa_sweep.engine.settings import Settings
from jepa_sweep.engine.solver import IntegralStepper, Stepper

EXPLICIT = {"tsit5": 5, "dopri5": 5, "dopri8": 8, "clenshaw_curtis": 33}  # terms of a polynomial that a step has right


@pytest.mark.parametrize("n", [2, 4, 16, 32])
def test_polynomials_are_integrated_exactly(n):
    """n + 1 points serve every degree up to n + 1: an odd one above n is 0 about the middle, and so is the rule."""
    w, x = weights(n), (1 - np.cos(np.pi * np.arange(n + 1) / n)) / 2
    for degree in range(n + 2):
        legendre = np.polynomial.Legendre.basis(degree, domain=[0, 1])
        assert w @ legendre(x) == pytest.approx(float(degree == 0), abs=1e-14)
    assert (w > 0).all()


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


@pytest.mark.parametrize("method", EXPLICIT)
def test_a_method_is_a_rule_for_a_field_of_x_alone(method):
    """The rule steps as the method does, to rounding, and is exact for as many powers of x as the method's order."""

    def field(x, y, args):
        return args / (x + 0.3)

    with jax.enable_x64(True):
        steppers = [kind(Settings(method), field) for kind in (Stepper, IntegralStepper)]
        x0, x1, y, args = (jnp.asarray(value) for value in (0.1, 0.7, 2.0, 1.3))
        whole, rule = (s.step(x0, x1, y, s.carry(x0, y, args, x0), args, x0)[:3] for s in steppers)
    for of_method, of_rule in zip(whole, rule, strict=True):
        assert float(of_rule) == pytest.approx(float(of_method), rel=1e-14, abs=1e-14)
    nodes, weights, error_weights = steppers[1].rule
    assert (np.diff(nodes) > 0).all()
    assert (nodes[0], nodes[-1]) == (0, 1)
    for power in range(EXPLICIT[method]):
        assert weights @ nodes**power == pytest.approx(1 / (power + 1), abs=1e-14)
    assert error_weights.sum() == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize("method", EXPLICIT)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_within_a_step_every_polynomial_through_the_points_is_integrated(method, share):
    """So the end of a step is met where the rule is as exact as its points allow: all but that of tsit5."""
    nodes, weights, _ = rule_of(SOLVERS[method].tableau)
    up_to = np.polynomial.chebyshev.chebval(2 * share - 1, dense.of_rule(nodes))
    for power in range(len(nodes)):
        assert up_to @ nodes**power == pytest.approx(share ** (power + 1) / (power + 1), abs=1e-12)
    if share == 1 and method != "tsit5":
        np.testing.assert_allclose(up_to, weights, atol=1e-12)
