"""Masked arrays of NumPy: every public function that takes arrays refuses what is under a mask."""

import numpy as np
import pytest

import jepa_sweep as js

X, Y = np.random.default_rng(0).normal(size=(2, 40, 2))
MASKED = np.ma.masked_array([0.5, 1.0], [False, True])
POINT = {"lam": 1.0, "rho": 0.5, "L": 1, "eps": 1e-3}
HALF = np.eye(2) / 2


def with_masked(function, **given):
    """Calls with the masked array, a list of it, and lists of what numpy has for a masked number, at each name."""
    for name in given:
        for value in (MASKED, [MASKED], [0.5, np.ma.masked], ([0.5, np.ma.masked],), np.ma.masked):
            yield lambda name=name, value=value: function(**{**given, name: value})


TAKE_ARRAYS = {
    "critical_time": with_masked(lambda **given: js.critical_time("jepa", **given), **POINT, p=0.5),
    "leading": with_masked(lambda **given: js.leading_critical_time("jepa", **given), **POINT),
    "asymptotic": with_masked(lambda **given: js.asymptotic_critical_time("mae", **given), **POINT, p=0.5),
    "inflection_time": with_masked(lambda **given: js.inflection_time("mae", **given), **POINT),
    "trajectory": with_masked(lambda **given: js.trajectory("jepa", **given), **POINT, t=1.0),
    "fixed_point": with_masked(lambda **given: js.fixed_point("jepa", **given), rho=0.5, L=1),
    "status": with_masked(lambda **given: js.status("jepa", **given), **POINT),
    "solve": with_masked(lambda **given: js.solve("jepa", **given), **POINT, p=0.5, t=[1.0]),
    "moments": with_masked(js.moments, x=X[:, 0], y=Y[:, 0]),
    "order": with_masked(lambda **given: js.order(js.moments(X, Y), **given), L=3, eps=1e-3, p=0.5),
    "network_flow": with_masked(
        lambda ema, **given: js.network_flow("mae", [HALF], ema=ema, **given),
        predictor=HALF, sigma_xx=HALF, sigma_yx=HALF, ts=[0.0, 1.0], ema=1.0,
    ),
    "Sweep": with_masked(lambda **axes: js.Sweep(name="x", axes=axes), **POINT),
    "Sweep.p": with_masked(lambda p: js.Sweep(name="x", axes=POINT, measure={"p": p}), p=0.5),
    "Sweep.linear": with_masked(
        lambda linear: js.Sweep(name="x", axes={**POINT, "lam": {"linear": linear, "num": 3}}), linear=[1.0, 2.0]
    ),
    "Sweep.points": with_masked(lambda **row: js.Sweep(name="x", combine="points", points=[row]), **POINT),
}  # fmt: skip


@pytest.mark.parametrize("function", TAKE_ARRAYS)
def test_masked_values_are_refused(function):
    """An array of NumPy would show what is under the mask."""
    for call in TAKE_ARRAYS[function]:
        with pytest.raises(js.SpecError, match=r"masked|must be a number|must be a list|more entries"):
            call()


def test_a_mask_that_hides_nothing_is_no_matter():
    lam = np.ma.masked_array([0.5, 1.0], [False, False])
    assert js.critical_time("jepa", **{**POINT, "lam": lam}).tolist() == [
        float(js.critical_time("jepa", **{**POINT, "lam": one})) for one in (0.5, 1.0)
    ]
