"""Rows of arrays on their way to a compiled program and back."""

import numpy as np
import pytest

from jepa_sweep.engine import dispatch

ROWS = np.arange(24.0).reshape(12, 2)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize(("each", "number"), [(12, 1), (16, 1), (6, 2), (5, 3), (20, 2)])
def test_rows_dealt_to_devices_come_back_in_their_order(each, number, precision):
    dealt = dispatch._dealt(ROWS, precision, each, number)
    assert dealt.shape == (each * number, 2)
    assert dealt.dtype == precision
    assert dealt.ctypes.data % dispatch.ALIGNMENT == 0
    np.testing.assert_array_equal(dispatch._collected(dealt, len(ROWS), number), ROWS)
    missing = np.setdiff1d(dealt, ROWS)
    assert missing.size == 0  # what is filled up repeats a row


def test_numbers_are_copied_only_where_xla_could_not_use_them_as_they_lie():
    there = dispatch.aligned(ROWS)
    assert dispatch.aligned(there) is there
    for other in (there[1:], there[:, 0], there.astype(int), there.astype("float32")):
        copy = dispatch.aligned(other)
        assert not np.shares_memory(copy, other)
        assert copy.dtype == float
        assert copy.ctypes.data % dispatch.ALIGNMENT == 0
        np.testing.assert_array_equal(copy, other)


def test_what_a_precision_cannot_hold_becomes_infinite_without_a_warning():
    assert np.isinf(dispatch.aligned(np.array([1e300]), "float32")).all()
    assert np.isinf(dispatch._dealt(np.array([1e300]), "float32", 2, 1)).all()
