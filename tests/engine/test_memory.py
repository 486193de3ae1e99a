"""What does not fit into memory is tried again in smaller blocks, and said to be too large where nothing helps."""

import jax
import numpy as np
import pytest
from batches import CHI, COUNT, points, predict, solve

from jepa_sweep.engine import lanes, programs
from jepa_sweep.physics.host import Status

NO_SAMPLES = np.zeros((COUNT, 0))
FULL = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 17179869184 bytes.")


class Late:
    """A result that is found not to fit when it is read: devices work while the host goes on."""

    def __array__(self, *args, **kwargs):
        raise FULL


@pytest.fixture(scope="module")
def batch():
    columns, p = points()
    return columns, p, predict(columns, p)


@pytest.fixture
def limit(monkeypatch):
    """Make solves fail where `refuses(shape)` holds, when they are called or when their results are read."""
    real, seen = programs.compiled, []

    def set_to(refuses, when, error=FULL):
        def compiled(program):
            if program.build is lanes._pool_of:
                seen.append(program.shape)
            if program.build is not lanes._pool_of or not refuses(program.shape):
                return real(program)
            if when == "compiled":
                raise error
            if when == "called":
                return lambda *_: (_ for _ in ()).throw(error)
            return lambda *_: [Late()] * 5

        monkeypatch.setattr(programs, "compiled", compiled)
        return seen

    return set_to


@pytest.mark.long
@pytest.mark.parametrize("when", ["compiled", "called", "read"])
def test_blocks_are_halved_until_they_fit(batch, limit, when):
    whole = solve(*batch, CHI, NO_SAMPLES)
    seen = limit(lambda shape: shape.width > 16, when)
    ours = solve(*batch, CHI, NO_SAMPLES, width=64)
    assert {shape.width for shape in seen} == {64, 32, 16}
    np.testing.assert_array_equal(ours.steps, whole.steps)
    np.testing.assert_allclose(ours.time, whole.time, rtol=1e-13)
    assert (ours.ended == Status.LEARNED).all()


def test_memory_that_is_short_now_and_then_loses_no_row(batch, limit):
    """Every third block fails although it fitted before: what was under way is computed again, smaller."""
    calls = []
    limit(lambda shape: calls.append(1) or len(calls) % 3 == 0, "read")
    ours = solve(*batch, CHI, NO_SAMPLES)
    # Blocks shrink to the smallest; one that fails even then gives up its rows, and says so.
    gone = ours.ended == Status.OOM
    assert gone.sum() < COUNT
    assert np.isfinite(ours.time[~gone]).all()
    assert np.isnan(ours.time[gone]).all()
    assert (ours.status[gone] == Status.OOM).all()


@pytest.mark.parametrize("when", ["compiled", "read"])
def test_where_nothing_fits_the_points_say_so(batch, limit, when):
    limit(lambda shape: True, when)
    ours = solve(*batch, CHI, NO_SAMPLES)
    assert (ours.ended == Status.OOM).all()
    assert (ours.status == Status.OOM).all()
    assert np.isnan(ours.time).all()
    assert not ours.steps.any()
    assert ours.lane_steps == 0


@pytest.mark.parametrize("when", ["compiled", "called"])
def test_other_errors_are_passed_on(batch, limit, when):
    limit(lambda shape: True, when, jax.errors.JaxRuntimeError("INTERNAL: something else"))
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL: something else"):
        solve(*batch, CHI, NO_SAMPLES)
