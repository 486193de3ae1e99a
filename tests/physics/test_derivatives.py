"""Derivatives of the exact functions against high precision: no digit is lost that the parameters do not cost."""

import csv

import derivatives
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jepa_sweep as js

TOLERANCE = 1e-12  # times the condition number
CALLS = {
    "critical_time": js.critical_time,
    "asymptotic_critical_time": js.asymptotic_critical_time,
    "leading_critical_time": js.leading_critical_time,
    "inflection_time": js.inflection_time,
    "fixed_point": js.fixed_point,
}


def rows(function, objective):
    """Of the table: those of one function."""
    with derivatives.FILE.open() as source:
        return [r for r in csv.DictReader(source) if (r["function"], r["objective"]) == (function, objective)]


@pytest.mark.parametrize("objective", ["jepa", "mae"])
@pytest.mark.parametrize("function", CALLS)
def test_no_digit_is_lost(function, objective):
    known = rows(function, objective)
    assert len(known) >= 15
    names = derivatives.FUNCTIONS[function]
    at = {name: np.array([float(r[name]) for r in known]) for name in names}
    L = np.array([float(r["L"]) for r in known])

    def total(at):
        return jnp.sum(CALLS[function](objective, L=L, **at))

    with jax.enable_x64(True):
        found = jax.grad(total)({name: jnp.asarray(values) for name, values in at.items()})
    ours = np.array([float(found[r["by"]][i]) for i, r in enumerate(known)])
    true, condition = (np.array([float(r[name]) for r in known]) for name in ("derivative", "condition"))
    assert np.all(np.abs(ours / true - 1) <= TOLERANCE * condition)


def test_what_cancelled_does_not():
    """d T / d rho at small starts, where two terms of 1e15 left 1e2."""
    by_rho = jax.grad(lambda rho, objective, L, eps: js.critical_time(objective, lam=1.0, rho=rho, L=L, eps=eps))
    with jax.enable_x64(True):
        assert float(by_rho(0.6, "jepa", 1, 1e-16)) == pytest.approx(-92.5848, abs=5e-5)
