"""A time is learned only if it is within 100 rtol of the true one, in every coordinate, by every method."""

import numpy as np
import pytest

import jepa_sweep as js
from jepa_sweep.engine.settings import TOLERANCES

RTOL, COUNT = 1e-8, 64
WAYS = [("chi", "clenshaw_curtis"), ("chi", "dopri8"), ("chi", "kvaerno5"), ("log_w", "tsit5"), ("w", "dopri8")]
# float32 keeps 1e-6, of which a time is given to the nearest number: half a unit in the last of 24 digits.
SINGLE = {"precision": "float32", "rtol": 1e-5}


def points(objective, decades, far=0.0, decays=True, seed=0):
    """Growth from up to so many decades below p w*, and in every second point decay from above p w*, p up to 10^far."""
    rng = np.random.default_rng(seed)
    L, lam, rho = rng.integers(1, 9, COUNT) * 1.0, 10 ** rng.uniform(-1, 1, COUNT), 10 ** rng.uniform(-1, 0.5, COUNT)
    falls = (np.arange(COUNT) % 2 == 1) & decays
    p = np.where(falls, 1 + 10 ** rng.uniform(-1, far, COUNT), rng.uniform(0.05, 0.95, COUNT))
    m = 1 if objective == "jepa" else L + 1
    away = 10 ** (np.where(falls, 1, -1) * rng.uniform(0.01, decades, COUNT))
    return {"lam": lam, "rho": rho, "L": L, "eps": p * rho ** (L / m) * away, "p": p}


def off(objective, at, solution, rtol=RTOL):
    """Distance from the closed form, in tolerances."""
    return np.abs(solution.time.astype(float) / js.critical_time(objective, **at) - 1) / rtol


@pytest.mark.parametrize("objective", ["jepa", "mae"])
@pytest.mark.parametrize(("coordinate", "method"), WAYS)
def test_growth_and_decay_from_anywhere_keep_their_digits(objective, coordinate, method):
    """From (eps / w*)^(m/L) of up to 1e36, where 1 - z^-m has lost all its digits long before."""
    at = points(objective, decades=3 if coordinate == "w" else 9, far=9)
    solution = js.solve(objective, **at, coordinate=coordinate, method=method)
    assert (solution.status == "learned").all()
    assert (off(objective, at, solution) <= TOLERANCES).all()


def test_decay_from_far_above_rest():
    """Known to 20 digits: T = 1/2 int_p^eps dw / (w (w^2 - 1)) times 2 at lam = rho = L = 1, next to 1 / (2 p^2)."""
    found = js.solve("mae", lam=1.0, rho=1.0, L=1, eps=1e8, p=1e7)
    assert found.time == pytest.approx((1e-14 - 1e-16) / 2, rel=1e-13)


@pytest.mark.parametrize("coordinate", ["log_w", "w"])
def test_errors_are_small_beside_the_threshold_and_not_the_start(coordinate):
    at = {"lam": 2.334, "rho": 0.1101, "L": 12, "eps": 0.4497, "p": 11.70}
    found = js.solve("jepa", **at, coordinate=coordinate)
    assert found.status == "learned"
    assert off("jepa", at, found) <= 1


@pytest.mark.parametrize("coordinate", ["log_w", "w"])
def test_what_a_coordinate_cannot_resolve_is_no_time(coordinate):
    """Next to the rest point it takes w a time of 1 / (1 - p) to make up for an error of rtol."""
    at = points("mae", decades=2, decays=False) | {"p": 1 - 10 ** np.linspace(-9, -2, COUNT)}
    free = js.solve("mae", **at, coordinate=coordinate)
    learned = free.status == "learned"
    assert set(free.status) == {"learned", "inaccurate"}
    assert np.isnan(free.time[~learned]).all()
    assert (off("mae", at, free)[learned] <= TOLERANCES).all()
    best = js.solve("mae", **at)
    assert (best.status == "learned").all()
    assert (off("mae", at, best) <= 1).all()


@pytest.mark.parametrize("coordinate", ["chi", "log_w"])
def test_single_precision_says_where_it_has_no_digits_left(coordinate):
    """A start next to the threshold: what is between them is a rounding of either."""
    at = points("jepa", decades=1, decays=False)
    gap = 10 ** np.linspace(-7.5, -0.5, COUNT)
    at["eps"] = at["p"] * at["rho"] ** at["L"] * (1 - gap)
    found = js.solve("jepa", **at, coordinate=coordinate, **SINGLE)
    learned = found.status == "learned"
    assert set(found.status) - {"max_steps", "non_finite"} == {"learned", "inaccurate"}
    assert learned[gap > 0.1].all()
    assert (off("jepa", at, found, SINGLE["rtol"])[learned] <= TOLERANCES).all()


@pytest.mark.parametrize("coordinate", ["chi", "log_w"])
def test_implicit_methods_square_no_rate(coordinate):
    """Growth by 200 decades at depth 1, where the rate of MAE is the same for all w and that of JEPA w itself."""
    for objective in ("jepa", "mae"):
        at = points(objective, decades=200, decays=False) | {"L": np.ones(COUNT)}
        at["eps"] = at["p"] * at["rho"] ** (1.0 if objective == "jepa" else 0.5) * 10 ** np.linspace(-200, -1, COUNT)
        found = js.solve(objective, **at, coordinate=coordinate, method="kvaerno5")
        assert (found.status == "learned").all()
        assert (off(objective, at, found) <= TOLERANCES).all()


@pytest.mark.parametrize("method", ["clenshaw_curtis", "dopri8"])
def test_times_next_to_the_smallest_number(method):
    """Rates of up to 1e308, and decay from where the rate at the start is beyond all numbers."""
    fast = {"lam": np.array([1e290, 1e294, 1e297, 1e300]), "rho": 1.0, "L": 2, "eps": 0.1, "p": 0.5}
    found = js.solve("mae", **fast, method=method)
    assert (found.status == "learned").all()
    assert (off("mae", fast, found) <= TOLERANCES).all()
    far = {"lam": 289.15, "rho": 0.01578, "L": 8, "eps": 2.894e157, "p": 1.0430474}
    found = js.solve("jepa", **far, method=method)
    if method == "clenshaw_curtis":  # whose unit is the rate at the start
        assert found.status in ("learned", "non_finite")
    else:
        assert found.status == "learned"
        assert off("jepa", far, found) <= TOLERANCES
    lost = {"lam": 1e-10, "rho": 1.0, "L": 2, "eps": 1e308, "p": np.array([1e150, 1e155])}
    for objective in ("jepa", "mae"):
        found = js.solve(objective, **lost, method=method)
        learned = found.status == "learned"
        assert not learned[1]
        assert (off(objective, lost, found)[learned] <= TOLERANCES).all()


def test_flow_time_may_be_too_short_where_paper_time_is_not():
    at = {"lam": 10**36.5, "rho": 1.0, "L": 1e5, "eps": 0.4}
    found = js.solve("mae", **at, **SINGLE, time="flow")
    assert (found.status, np.isnan(found.time)) == ("underflow", True)
    assert js.solve("mae", **at, **SINGLE).status == "learned"
