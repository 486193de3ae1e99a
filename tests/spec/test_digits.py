"""Rounding to 15 digits is what writing and reading would do: it decides which points a store holds."""

import numpy as np
import pytest

from jepa_sweep.spec import axes, digits
from jepa_sweep.spec.axes import Range
from jepa_sweep.spec.digits import rounded


def same(values):
    wanted = np.array([float(f"{value:.15g}") for value in values.tolist()])
    np.testing.assert_array_equal(rounded(values).view(np.int64), wanted.view(np.int64))


@pytest.mark.parametrize(("low", "high"), [(-8, 15), (-3, 3), (-12, 0), (-308, 308)])
def test_any_value_is_rounded_bit_for_bit_as_by_text(low, high):
    random = np.random.default_rng(0)
    same(10 ** random.uniform(low, high, 250_000) * random.choice([-1, 1], 250_000))


def test_values_at_and_beside_halves_of_the_last_digit_are_too():
    random = np.random.default_rng(0)
    halves = (random.integers(10**14, 10**15, 20_000) + 0.5) / 10.0 ** random.integers(-2, 24, 20_000)
    tens = np.concatenate([10.0 ** np.arange(-30, 30), [0.0, -0.0, 5e-324, 1.7e308]])
    for values in (halves, tens):
        for near in (values, np.nextafter(values, np.inf), np.nextafter(values, 0), values * (1 - 1e-15)):
            same(near[np.isfinite(near)])


def test_values_of_usual_size_are_not_written_out(monkeypatch):
    written = []
    monkeypatch.setattr(digits, "float", lambda text: written.append(text) or 0.0, raising=False)
    rounded(np.geomspace(1e-6, 10.0, 10_000))
    assert len(written) < 100


def test_a_range_is_rounded_so(monkeypatch):
    assert Range(geom=(0.1, 10.0), num=3).values().tolist() == [0.1, 1.0, 10.0]
    monkeypatch.setattr(axes, "rounded", lambda values: values + 1)
    assert Range(linear=(0.0, 8.0), num=3).values()[1] == 5.0
