"""Learning times of whole networks by their gradient flow, against the closed forms."""

import numpy as np
import pytest
from many import LAM, RHO, P, flow, learn

import jepa_sweep as js
from jepa_sweep.physics.host import Status

SCALE = {1: 0.05, 3: 0.25}  # w(0) = scale^L lies below every threshold


def exact(objective, L, p=P):
    """Flow times at which the response of each feature meets each threshold, (threshold, feature)."""
    at = {"lam": LAM, "rho": RHO, "L": L, "eps": SCALE[L] ** L}
    return js.critical_time(objective, **at, p=np.asarray(p)[:, None], time="flow")


def end(objective, L):
    """A time by which response and fit of all features have met all thresholds."""
    return 1.1 * exact(objective, L, [0.9] * 3).max()  # three, as P: one compiled program serves both


def learned(objective, L, count=2, **change):
    """Networks with an aligned start, until the last feature is learned."""
    t_end = end(objective, L)
    at = {"scale": SCALE[L], "predictor_scale": SCALE[L], "t_end": t_end, "seed": np.arange(count)} | change
    return learn(flow(objective, L), count, **at)


# Each is a program of its own, which compiles for seconds; two layers are in test_train.py and test_network_flow.py.
NETWORKS = pytest.mark.parametrize(("objective", "L"), [("jepa", 1), ("jepa", 3), ("mae", 1), ("mae", 3)])


@pytest.mark.long
@NETWORKS
def test_learning_times_are_the_closed_form(objective, L):
    """Steps are good to 1e-8; that several features share some hundred of them does not add up to a hundred times."""
    found = learned(objective, L)
    assert set(found.ended) == {Status.TRAINED}
    np.testing.assert_allclose(found.crossed[:, 0], np.stack([exact(objective, L)] * 2), rtol=1e-6)


@pytest.mark.long
@NETWORKS
def test_fits_are_learned_when_the_predictor_says_so(objective, L):
    """v = w^(1/L) meets p rho when w meets p^L w* (JEPA); v w meets p rho when w meets p^(L/(L+1)) w* (MAE)."""
    found, power = learned(objective, L).crossed[:, 1], L if objective == "jepa" else L / (L + 1)
    begins = (SCALE[L] / RHO) if objective == "jepa" else SCALE[L] ** (L + 1) / RHO  # the fit at the start
    met = P[:, None] > begins
    np.testing.assert_array_equal(np.isfinite(found), [met, met])
    np.testing.assert_allclose(found[:, met], np.stack([exact(objective, L, P**power)[met]] * 2), rtol=1e-6)


@pytest.mark.long
@NETWORKS
def test_samples_are_the_scalar_law(objective, L):
    """All that is seen at even times: w(t), its projection, v = w^(1/L) and fit; the loss is the sum over features."""
    found = learned(objective, L)
    times = found.times[0]
    np.testing.assert_allclose(times, np.linspace(0, end(objective, L), 9), rtol=1e-14)
    at = {"lam": LAM, "rho": RHO, "L": L, "eps": SCALE[L] ** L}
    w = js.trajectory(objective, **at, t=times[:, None], time="flow")
    u, near = w ** (1 / L), {"rtol": 1e-6}
    fit = (u if objective == "jepa" else u * w) / RHO
    for seen in found.seen:
        for name, values in zip(("w", "projection", "v", "fit"), (w, w, u, fit), strict=True):
            np.testing.assert_allclose(seen[:, ["w", "projection", "v", "fit"].index(name)], values, **near)
    sy2 = LAM * RHO * 1.5
    losses = LAM / RHO * ((u if objective == "jepa" else u * w) - RHO) ** 2 + sy2 - LAM * RHO
    total = np.sum(losses / 2 * (w**2 if objective == "jepa" else 1), axis=1)
    np.testing.assert_allclose(found.losses, [total, total], **near)


@pytest.mark.long
def test_a_fast_average_delays_learning():
    """Delta t = (L/ema) (logit q - logit r) with q = p^(1/L), r = u(0)/rho, up to the next order in 1/ema."""
    ema, L = np.array([100.0, 200.0]), 1
    found = learn(flow("ema", L), 2, scale=SCALE[L], predictor_scale=SCALE[L], t_end=60.0, ema=ema)
    q, r = P[:, None], SCALE[L] / RHO
    delay = L * (np.log(q / (1 - q)) - np.log(r / (1 - r)))
    error = (found.crossed[:, 0] - exact("jepa", L)) * ema[:, None, None] / delay - 1
    assert np.all(np.abs(error[0]) < 0.05)
    np.testing.assert_allclose(error[0] / error[1], 2, rtol=0.1)


@pytest.mark.long
def test_a_network_without_steps_left_is_told_so():
    """It stops where it is; those beside it, that need fewer, do not mind."""
    found = learn(flow("jepa", 1), 2, t_end=[1e7, 20.0], seed=[0, 1])
    assert found.ended.tolist() == [Status.MAX_STEPS, Status.TRAINED]
    assert found.steps[0] == 20_000
    assert found.times[0, -1] < 1e7
    assert found.times[1, -1] == 20.0
    alone = learn(flow("jepa", 1), 1, t_end=20.0, seed=1)
    for both, one in zip(found, alone, strict=True):
        np.testing.assert_array_equal(both[1], one[0])
