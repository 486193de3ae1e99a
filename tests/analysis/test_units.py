"""Estimates from pairs follow the units of the data, as far as floats reach."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_own_pairs import X, Y

import jepa_sweep as js
from jepa_sweep.analysis import pair_files

POWERS = {"lam": (1, 1), "rho": (-1, 1), "lam_error": (1, 1), "rho_error": (-1, 1), "s2": (2, 0), "sy2": (0, 2),
          "mean_x": (1, 0), "mean_y": (0, 1), "mixing": (0, 0), "asymmetry": (0, 0), "off_diagonal": (2, 2),
          "basis": (0, 0)}  # fmt: skip


def scaled(x, y, **kwargs):
    """The estimate, and what it is warned of; None, and why it is refused."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            return js.moments(x, y, **kwargs), " ".join(str(one.message) for one in told)
        except js.SpecError as error:
            return None, str(error)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("exact", [True, False], ids=["powers of two", "powers of ten"])
@given(st.integers(-300, 300), st.integers(-300, 300))
@settings(max_examples=40, derandomize=True, deadline=None, database=None)
def test_estimates_follow_the_units_of_the_data(exact, center, i, j):
    """Whatever they are: to the last bit in powers of two; what floats cannot hold is refused, or said and no more."""
    x, y, base = X[:300] + 0.25, Y[:300] - 1.5, 2 if exact else 10
    i, j = (i * 3, j * 3) if exact else (i, j)
    one, _ = scaled(x, y, center=center)
    unit = float(base) ** i, float(base) ** j
    other, told = scaled(x * unit[0], y * unit[1], center=center)
    if other is None:
        assert "lam, rho and their errors must be numbers that floats can hold" in told
        assert max(abs(i + j), abs(j - i)) * np.log10(base) > 300
        return
    for name, (a, b) in POWERS.items():
        given, found, power = getattr(one, name), getattr(other, name), a * i + b * j
        if f" {name} is " in told:
            assert name in ("s2", "sy2", "off_diagonal")
        elif exact:
            np.testing.assert_array_equal(found, np.ldexp(given, power), err_msg=name)
        else:
            steps = np.broadcast_to(found, np.shape(given)) / 10.0 ** (power - power // 2) / 10.0 ** (power // 2)
            np.testing.assert_allclose(steps, given, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    ("a", "b", "lost"),
    [(1e150, 1e150, "off_diagonal is up to 1e+5"), (1.0, 1e200, "sy2 is up to 1e"), (1.0, 1e-200, "sy2 is up to 1e-"),
     (1e-150, 1e-150, "off_diagonal is up to 1e-6"), (1e-300, 1.0, "s2 is up to 1e-600")],
)  # fmt: skip
def test_what_floats_cannot_hold_beside_lam_and_rho_is_said(a, b, lost):
    with pytest.warns(js.SpecWarning, match="All others are right, lam and rho among them") as told:
        found = js.moments(X * a, Y * b)
    assert lost in str(told[0].message)
    plain = js.moments(X, Y)
    np.testing.assert_allclose(found.lam / a / b, plain.lam, rtol=1e-12)
    np.testing.assert_allclose(found.mixing, plain.mixing, rtol=1e-12)


@pytest.mark.parametrize(("a", "b"), [(1e160, 1e160), (1e-160, 1e-160), (1e300, 1e-300), (1e-300, 1e300)])
def test_lam_or_rho_beyond_floats_is_refused(a, b):
    with pytest.raises(js.SpecError, match=r"floats can hold, but (lam|rho) is up to 1e[+-](319|320|60.|599)"):
        js.moments(X * a, Y * b)


def test_blocks_of_very_different_sizes_are_one_set_of_data(monkeypatch):
    """Of values that grow from block to block the last count, whichever way they come."""
    monkeypatch.setattr(pair_files, "BLOCK_VALUES", 4 * 1000)
    size = np.repeat(10.0 ** np.array([0, -300, 5, -5, 150] * 4), 1000)[:, None]
    found = js.moments(X * size, Y)
    other = js.moments((X * size)[::-1], Y[::-1])
    np.testing.assert_allclose(found.lam, other.lam, rtol=1e-9)
    assert np.all(np.isfinite([found.lam, found.rho, found.lam_error, found.rho_error]))


def test_no_direction_of_what_is_constant_varies():
    """Though means of equal numbers are rounded."""
    for value in (0.1, 1e300, 5e-324, 0.0):
        with pytest.raises(js.SpecError, match="1 of its 1 directions do not vary"):
            js.moments(np.full(100, value), Y[:100, 0])
    found = js.moments(X, np.full_like(Y, 0.1))
    assert not np.any([found.lam, found.rho, found.lam_error, found.rho_error, found.sy2])


def test_the_command_gives_none_for_what_floats_cannot_hold(tmp_path, invoke):
    np.save(tmp_path / "pairs.npy", np.stack([X, Y], axis=1) * 1e150)
    done = invoke("moments", tmp_path / "pairs.npy", "--json")
    assert done.exit_code == 0
    assert "off_diagonal is up to 1e+" in done.stderr
    assert json.loads(done.stdout, parse_constant=pytest.fail)["off_diagonal"] is None
