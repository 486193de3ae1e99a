"""What a number that somebody typed stands for."""

import itertools
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jepa_sweep.store.equality import ranges

FLOAT64, FLOAT32, WHOLE = pa.float64(), pa.float32(), pa.int64()
FLOATS = st.floats(-1e300, 1e300, allow_subnormal=False)


def stands_for(text, value, kind=FLOAT64):
    """Which of the ranges, from the narrowest, a value is in first; None if it is in none."""
    return next((n for n, (low, high) in enumerate(ranges(text, kind)) if low <= value <= high), None)


@pytest.mark.parametrize(
    ("text", "value", "stage"),
    [
        ("0.19307", 0.19306977288832497, 1),  # as it is printed
        ("0.193", 0.19306977288832497, 2),  # in the digits given
        ("0.19", 0.19306977288832497, 2),
        ("0.194", 0.19306977288832497, None),
        ("0.19306977", 0.19306977288832497, 1),  # more digits than are printed must all be right
        ("0.19306978", 0.19306977288832497, None),
        ("0.193069772888325", 0.19306977288832497, 0),
        ("0.193069772999999", 0.19306977288832497, 0),  # within a relative 1e-9
        ("-0.193", -0.19306977288832497, 2),
        ("0.193", -0.19306977288832497, None),
        ("10", 10.3, None),  # a round number has no last digit
        ("10.", 10.3, 2),
        ("10.0", 10.3, None),
        ("10", 10.000001, 1),
        ("12", 12.3, 2),
        ("120", 123.0, 2),
        ("0.2", 0.193, None),
        ("0.20", 0.196, 2),
        ("1e-3", 0.001, 0),
        ("0.001", 1e-3, 0),
        ("1.0e-3", 0.00104, 2),
        ("1E-3", 0.00104, None),
        (".5", 0.5, 0),
        ("+5", 5.0, 0),
        ("1.00", 0.9996, 2),
        ("1.00", 0.996, None),  # reads 0.996
        ("0", 0.0, 0),
        ("0", -0.0, 0),
        ("0.000", 1e-9, None),
        ("0.000", 1e-300, None),
        ("inf", math.inf, 0),
        ("-inf", math.inf, None),
        ("inf", 1e308, None),
        ("1e999", 1e308, None),
        ("1e-999", 5e-324, None),
    ],
)
def test_numbers_match_to_the_digits_given(text, value, stage):
    assert stands_for(text, value) == stage


def test_single_precision_equals_what_was_typed():
    assert stands_for("0.1", float(np.float32(0.1)), FLOAT32) == 0
    assert stands_for("0.1", float(np.float32(0.1)), FLOAT64) == 1
    assert stands_for("0.1", float(np.float32(0.1000001)), FLOAT32) != 0


@pytest.mark.parametrize(
    ("text", "whole"),
    [("3", 3), ("3.0", 3), ("3e0", 3), ("-2", -2), ("0", 0), ("2.9999999999999996", 3), ("2.5", None), ("3.01", None),
     ("9007199254740993", 9007199254740993), ("9223372036854775807", 2**63 - 1), ("9223372036854775808", None),
     ("inf", None), ("1e400", None)],
)  # fmt: skip
def test_whole_columns_match_whole_numbers(text, whole):
    assert ranges(text, WHOLE) == ([] if whole is None else [(whole, whole)])


@given(FLOATS, st.integers(2, 17))
def test_what_is_written_in_some_digits_stands_for_the_value(value, digits):
    text = f"{value:.{digits - 1}e}"
    assert stands_for(text, value) is not None
    stages = ranges(text, FLOAT64)
    assert all(b[0] <= a[0] <= a[1] <= b[1] for a, b in itertools.pairwise(stages))


@given(FLOATS, st.floats(-10, 10), st.integers(2, 15))
def test_it_stands_for_no_value_that_reads_otherwise(value, off, digits):
    """But for halves, which may be rounded up or down."""
    text = f"{value:.{digits - 1}e}"
    other = value * (1 + off * 10.0**-digits)
    assume(stands_for(text, other) not in (None, 0))
    half = float(f"5e{int(text.split('e')[1]) - digits}")
    read = float(f"{other:.{digits - 1}e}")
    assert read == float(text) or abs(abs(other - float(text)) - half) <= 1e-9 * half
