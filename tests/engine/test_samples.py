"""Samples at requested times: against the closed form, however many, and without a trace in anything else."""

import numpy as np
import pytest
from batches import CHI, COUNT, JEPA, LOG_W, RTOL, SAMPLES, no_times, points, predict, solve

from jepa_sweep.engine import dense, lanes
from jepa_sweep.engine.settings import Settings
from jepa_sweep.physics.host import Status

pytestmark = pytest.mark.long  # each number of samples is a program of its own
BY = {"clock": CHI, "forward": LOG_W}


@pytest.fixture(scope="module")
def batch():
    columns, p = points()
    return columns, p, predict(columns, p)


@pytest.fixture(scope="module")
def until(batch):
    """The last threshold, and a little more: two e-folds of what is left, at the rate lam rho^(2L-1) / L of z."""
    columns, _, predicted = batch
    return predicted.values["t_exact"].max(axis=1) + 2 * columns["L"] / (
        columns["lam"] * columns["rho"] ** (2 * columns["L"] - 1)
    )


@pytest.fixture(scope="module")
def sampled(batch, until):
    times = until[:, None] * np.linspace(0, 1, SAMPLES)
    return times, {way: solve(*batch, settings, times) for way, settings in BY.items()}


def closed_form(columns, times):
    """Of the flow, and |d ln w / d ln T|."""
    return lanes.exact_paths(JEPA, columns, times, batch=COUNT)


def bound(rtol, solves, condition):
    """A step may err by rtol, of w or of T; an error of T is one of w times its condition, and twice so much for w.

    diffrax's dense output is of an order less than the step itself: some tens of tolerances more.
    """
    return rtol * (30 + solves.steps[:, None] * (1 + 2 * condition))


@pytest.mark.parametrize("way", BY)
def test_they_are_the_closed_form(batch, sampled, way):
    times, solves = sampled[0], sampled[1][way]
    w, condition = closed_form(batch[0], times)
    assert (np.abs(solves.samples[..., 0] / w - 1) <= bound(RTOL, solves, condition)).all()


@pytest.mark.parametrize("way", BY)
def test_the_first_is_the_start(batch, sampled, way):
    # Some roundings of the state, which for the clock is chi, a logarithm of up to 10.
    np.testing.assert_allclose(sampled[1][way].samples[:, 0, 0], batch[0]["eps"], rtol=2e-14)


def test_there_may_be_more_of_them_than_steps(sampled):
    assert (sampled[1]["clock"].steps < SAMPLES).all()


def test_and_more_steps_than_are_remembered(batch, until):
    """tsit5 takes so many that a lane is read several times on the way."""
    times = until[:, None] * np.linspace(0, 1, SAMPLES)
    solves = solve(*batch, Settings("tsit5", 1e-10, coordinate="chi"), times)
    assert np.median(solves.steps) > 2 * dense.KNOTS
    w, condition = closed_form(batch[0], times)
    assert (np.abs(solves.samples[..., 0] / w - 1) <= bound(1e-10, solves, condition)).all()


@pytest.mark.parametrize("way", BY)
def test_points_without_samples_have_none_and_disturb_nobody(batch, sampled, way):
    times, solves = sampled[0].copy(), sampled[1][way]
    without = np.arange(COUNT) % 3 == 0
    times[without] = np.nan
    some = solve(*batch, BY[way], times)
    assert np.isnan(some.samples[without]).all()
    np.testing.assert_array_equal(some.samples[~without], solves.samples[~without])
    np.testing.assert_array_equal(some.steps[~without], solves.steps[~without])
    np.testing.assert_array_equal(some.time, solves.time)


@pytest.mark.parametrize("way", BY)
def test_they_leave_the_critical_times_and_their_steps_alone(batch, sampled, way):
    times, solves = sampled[0], sampled[1][way]
    bare = solve(*batch, BY[way], no_times())
    np.testing.assert_array_equal(bare.time, solves.time)
    assert (bare.steps <= solves.steps).all()
    # Samples that end before the last threshold cost no step at all.
    early = solve(*batch, BY[way], times * 0.5 * batch[2].values["t_exact"].max(axis=1, keepdims=True) / times[:, -1:])
    np.testing.assert_array_equal(early.steps, bare.steps)
    np.testing.assert_array_equal(early.time, bare.time)
    assert np.isfinite(early.samples).all()


@pytest.mark.parametrize("way", BY)
def test_each_is_what_it_would_be_alone(batch, sampled, way):
    """The others only decide where the last step ends."""
    times, solves = sampled[0], sampled[1][way]
    some = times.copy()
    some[:, :-1:2] = np.nan
    fewer = solve(*batch, BY[way], some)
    assert np.isnan(fewer.samples[:, :-1:2]).all()
    np.testing.assert_array_equal(fewer.samples[:, 1::2], solves.samples[:, 1::2])
    np.testing.assert_array_equal(fewer.samples[:, -1], solves.samples[:, -1])


@pytest.mark.parametrize("way", BY)
def test_samples_may_be_all_there_is_to_do(batch, sampled, way):
    """No threshold is wanted: the solve goes on to the last sample and no further."""
    columns, p, predicted = batch
    times = sampled[0]
    nothing = predicted._replace(status=np.full(p.shape, Status.NOT_REACHED))
    alone = solve(columns, p, nothing, BY[way], times)
    assert (alone.status == Status.NOT_REACHED).all()
    assert (alone.ended == Status.LEARNED).all()
    w, condition = closed_form(columns, times)
    assert (np.abs(alone.samples[..., 0] / w - 1) <= bound(RTOL, alone, condition)).all()


@pytest.mark.parametrize("way", BY)
def test_the_moment_a_threshold_is_met_is_a_sample_like_any_other(batch, sampled, way):
    """A step ends there, or nearly."""
    columns, p, predicted = batch
    solves = sampled[1][way]
    order = np.argsort(solves.time, axis=1)
    times = no_times()
    times[:, :3] = np.take_along_axis(solves.time, order, axis=1)
    again = solve(columns, p, predicted, BY[way], times)
    _, condition = closed_form(columns, times[:, :3])
    met = np.take_along_axis(p * predicted.w_star, order, axis=1)
    assert (np.abs(again.samples[:, :3, 0] / met - 1) <= bound(RTOL, again, condition)).all()
    # A rounding of the last of them decides whether one more step is needed.
    np.testing.assert_array_equal(again.time, solves.time)


def test_nothing_stalls_on_a_sample_just_behind_a_step(batch):
    """Times a few roundings apart, where the solve would end but for the last of them."""
    columns, p, predicted = batch
    last = predicted.values["t_exact"].max(axis=1)
    times = no_times()
    times[:, :SAMPLES] = last[:, None] * (1 + np.arange(SAMPLES) * 2**-52)
    for settings in BY.values():
        solves = solve(columns, p, predicted, settings, times)
        bare = solve(columns, p, predicted, settings, no_times())
        assert (solves.ended == Status.LEARNED).all()
        assert (solves.steps - bare.steps <= 3).all()
        assert np.isfinite(solves.samples).all()


def test_a_point_that_gives_up_keeps_the_samples_before(batch, sampled):
    times, solves = sampled[0], sampled[1]["clock"]
    limit = int(np.median(solves.steps))
    ours = solve(*batch, Settings("dopri8", RTOL, max_steps=limit, coordinate="chi"), times)
    given_up = ours.ended == Status.MAX_STEPS
    assert 0 < given_up.sum() < COUNT
    have = np.isfinite(ours.samples)
    assert have[~given_up].all()
    assert have[given_up, 0].all()
    assert not have[given_up].all()
    assert (np.diff(have[..., 0].astype(int), axis=1) <= 0).all()  # none after the first that is missing
    np.testing.assert_array_equal(ours.samples[have], solves.samples[have])
