"""What Littwin et al. 2024 conclude from their theorems, how far it reaches, and the numbers it comes to."""

import functools

import numpy as np
import pytest
from scipy import optimize, special

import jepa_sweep as js

POINTS = 96  # of every call below: one compiled program of each function then serves all tests
LOW, HIGH = 0.4, 0.9  # the two regression coefficients wherever features compete


def call(function, objective, **given) -> np.ndarray:
    """One function of the API over arrays of any shape, in portions of POINTS."""
    columns = np.broadcast_arrays(*given.values())
    shape, size = columns[0].shape, columns[0].size
    portions = [np.resize(c.astype(float), (-(-size // POINTS), POINTS)) for c in columns]
    results = [function(objective, **dict(zip(given, row, strict=True))) for row in zip(*portions, strict=True)]
    return np.ravel(results)[:size].reshape(shape)


leading, trajectories = (functools.partial(call, f) for f in (js.leading_critical_time, js.trajectory))


def times(objective, *, p=0.5, **at):
    return call(js.critical_time, objective, **at, p=p)


def asymptotic(objective, *, p=0.5, **at):
    return call(js.asymptotic_critical_time, objective, **at, p=p)


def rest_and_rate(objective, *, rho, L):
    """w* and k/lam of dz/dT = (k/L) z^a (1 - z^m), w = w* z^L, written out apart from the package."""
    a, m = (2 * L, 1) if objective == "jepa" else (L, L + 1)
    return rho ** (L / m), rho ** ((a - 1) / m)


@pytest.fixture(params=["jepa", "mae"])
def objective(request) -> str:
    return request.param


def assert_prints(value: float, text: str, rounding: float = 0.0) -> None:
    """`text`, computed with many digits apart from the package, is the value within half a unit of its last digit."""
    mantissa, _, exponent = text.partition("e")
    half = 0.5 * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    assert abs(value - float(text)) <= half + rounding, f"{value} is not printed as {text}"


# --- at any eps ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [-300, -1, 10, 300])
def test_time_is_proportional_to_one_over_lam(objective, power):
    """lam only rescales time; by a power of two it does so without a rounding."""
    at = {"rho": 0.7, "L": np.array([1, 2, 3, 5, 8]), "eps": 1e-3}
    unit, scaled = (times(objective, lam=lam, **at) for lam in (1.0, 2.0**power))
    np.testing.assert_array_equal(scaled * 2.0**power, unit)


@pytest.mark.parametrize("change", [{"lam": 3}, {"rho": 0.5}, {"rho": 1.3}, {"start": 1e-3}, {"start": 0.1}], ids=str)
def test_all_trajectories_collapse_on_one_curve(objective, change):
    """w(T) = w* Z(k (T - T_p) / L)^L with one function Z for each objective and depth."""
    L, s = np.array([[1.0], [2.0], [3.0], [5.0]]), np.linspace(-1, 10, 12)

    def curve(lam=1.0, rho=1.0, start=1e-2):
        w_star, k = rest_and_rate(objective, rho=rho, L=L)
        at = {"lam": lam, "rho": rho, "L": L, "eps": start * w_star}
        t = times(objective, **at) + s * L / (lam * k)
        return trajectories(objective, **at, t=t) / w_star, t * lam * k

    (moved, clock), (reference, other_clock) = curve(**change), curve()
    # d ln w / d ln T = T k z^(a-1) (1 - z^m) is below the clock T k; 1e-13 of T and w is lost on either side.
    np.testing.assert_array_less(np.abs(moved / reference - 1), 1e-13 * (2 + clock + other_clock))


DEPTHS, DEEP = np.array([1.0, 2.0, 3.0, 5.0, 8.0]), np.array([256.0, 512.0, 1024.0, 2048.0])
WIDTHS = {"jepa": "13.28 40.78 70.45 131.2 223.3", "mae": "3.02 5.86 7.54 9.35 10.62"}
INFLECTIONS = {"jepa": "0.6667 0.6944 0.7023 0.7082 0.7114", "mae": "0.5774 0.6300 0.6435 0.6533 0.6585"}


@pytest.mark.parametrize("start", [1e-2, 1e-4])
def test_growth_from_10_to_90_percent(objective, start):
    """k (T_90 - T_10) depends on the depth alone, not on the start."""
    w_star, k = rest_and_rate(objective, rho=0.9, L=DEPTHS)
    early, late = k * times(objective, lam=1.0, rho=0.9, L=DEPTHS, eps=start * w_star, p=np.array([[0.1], [0.9]]))
    for width, text, clock in zip(late - early, WIDTHS[objective].split(), late, strict=True):
        assert_prints(width, text, rounding=1e-13 * clock)


def test_growth_is_fastest_at_a_fixed_fraction(objective):
    """w/w* = (1 - 1/(3L))^L for JEPA and ((2L-1)/(3L))^(L/(L+1)) for MAE, with a limit as L grows."""
    L = np.append(DEPTHS, 100.0)
    w_star, _ = rest_and_rate(objective, rho=0.95, L=L)
    at = {"lam": 1.0, "rho": 0.95, "L": L, "eps": 0.3 * w_star}
    *shallow, deep = trajectories(objective, **at, t=call(js.inflection_time, objective, **at)) / w_star
    for fraction, text in zip(shallow, INFLECTIONS[objective].split(), strict=True):
        assert_prints(fraction, text)
    limit = np.exp(-1 / 3) if objective == "jepa" else 2 / 3
    assert abs(deep / limit - 1) < 0.1 / 100  # ln(w/w*) is off by -(1/18)/L and -(1/2 + ln(2/3))/L = -0.095/L


# --- small eps, great depth ---------------------------------------------------------------------------------------

ERRORS = """
jepa 2 0.3   0.121   -9.4e-5 -3.6e-7 -6.1e-10 -1.1e-15
jepa 2 0.9   1.4e-3  -8.1e-6 -1.8e-8 -2.7e-11 -4.6e-17
jepa 3 0.3   2.13     3.3e-4 -1.4e-7 -2.2e-10 -1.1e-16
jepa 3 0.9   4.0e-3  -4.7e-7 -1.5e-9 -1.3e-12 -5.5e-19
jepa 5 0.3   above    3.3e-2  8.0e-6  6.2e-10 -1.7e-16
jepa 5 0.6   0.223    6.9e-5  7.8e-9 -1.2e-12 -5.0e-19
jepa 8 0.3   above    above   6.8e-3  1.4e-6   2.1e-14
jepa 8 0.9   1.4e-2   3.2e-6  4.7e-10 4.9e-14 -1.0e-21
mae 2 0.3    0.203    1.7e-2  1.7e-3  1.7e-4   1.7e-6
mae 2 0.9    0.132    1.2e-2  1.2e-3  1.2e-4   1.2e-6
mae 3 0.6    5.7e-2   2.4e-3  1.1e-4  5.1e-6   1.1e-8
mae 5 0.6    1.3e-2   5.3e-5  2.2e-7  1.1e-9   1.5e-13
mae 8 0.6   -5.4e-3  -5.0e-4 -1.1e-5 -2.1e-7  -6.8e-11
"""


@pytest.mark.parametrize("row", ERRORS.strip().split("\n"), ids=lambda row: "-".join(row.split()[:3]))
def test_error_of_the_leading_order(row):
    """(formula - T) / T at p = 1/2: from 213% to nothing; a start above the threshold still gets a positive time."""
    name, L, rho, *errors = row.split()
    at = {"lam": 1.0, "rho": float(rho), "L": float(L), "eps": np.array([1e-2, 1e-4, 1e-6, 1e-8, 1e-12])}
    exact, formula = times(name, **at), leading(name, **at)
    assert np.all(formula > 0)
    for error, text in zip(formula / exact - 1, errors, strict=True):
        if text == "above":
            assert np.isnan(error)
        else:
            assert_prints(error, text, rounding=1e-13)  # 5e-14 of either time


@pytest.mark.parametrize("r", [0.03, 0.01])
def test_remainder_of_the_asymptotic_time(objective, r):
    """T - T_asymptotic = -(L/k) r for JEPA and -(L/k) r^2/2 for MAE, r = (eps/w*)^(1/L), and higher orders."""
    L, rho = np.array([1.0, 2.0, 3.0]), 0.8
    w_star, k = rest_and_rate(objective, rho=rho, L=L)
    at = {"lam": 1.0, "rho": rho, "L": L, "eps": w_star * r**L}
    exact = times(objective, **at)
    expected = -L / k * (r if objective == "jepa" else r**2 / 2)
    # The next terms are smaller by r/2 (JEPA) or r^m / 2 (MAE); and 1e-14 of T is lost to rounding.
    assert np.all(np.abs(exact - asymptotic(objective, **at) - expected) <= r * np.abs(expected) + 1e-14 * exact)


def test_depth_sets_the_exponent_of_the_waiting_time(objective):
    """T ~ eps^-(2 - 1/L) for JEPA, from eps^-1 to eps^-2; T ~ eps^-(1 - 1/L) for MAE, from |ln eps| to eps^-1."""
    early, late = times(objective, lam=1.0, rho=1.0, L=DEPTHS, eps=np.array([[1e-40], [1e-41]]))
    slope = np.log10(late / early)
    # The next order: r relative to JEPA's, (L-1) c_L r^(L-1) to MAE's with c_L of order 1, 1 / |ln eps| at one layer.
    jepa, mae = 2 * 1e-40 ** (1 / DEPTHS), 10 * 1e-40 ** ((DEPTHS - 1) / DEPTHS)
    off = jepa if objective == "jepa" else np.where(DEPTHS == 1, 1 / np.log(1e40), mae)
    assert np.all(np.abs(slope - ((2 if objective == "jepa" else 1) - 1 / DEPTHS)) <= off + 1e-12)


def test_deep_mae_is_shallow_jepa():
    """MAE(L -> infinity) = JEPA(L = 1) in paper time; the gap is c/L, c = 1 - |ln eps| to leading order in eps."""
    eps = 1e-3
    gap = times("mae", lam=1.0, rho=1.0, L=DEEP, eps=eps) / times("jepa", lam=1.0, rho=1.0, L=1.0, eps=eps) - 1
    assert_prints(gap[1], "-1.15e-2")
    steps = np.diff(gap * DEEP)  # gap = c/L + d/L^2 + ...: each step of gap L is half the one before, up to O(1/L)
    np.testing.assert_allclose(steps[1:] / steps[:-1], 0.5, atol=np.log(1 / eps) / DEEP[0])
    limit = 2 * gap[-1] * DEEP[-1] - gap[-2] * DEEP[-2]
    assert abs(limit - (1 + np.log(eps))) < eps * np.log(eps) ** 2  # T = 1/eps + O(ln eps); 1/L brings one more ln eps


def test_deep_jepa_at_fixed_rest_point():
    """With rho^L = Omega, flow times tend to [Ei(2 ln(Omega/eps)) - Ei(2 ln(1/p))] / (lam Omega^2), like 1/L."""
    Omega, eps, p = 0.5, 1e-3, 0.5
    limit = (special.expi(2 * np.log(Omega / eps)) - special.expi(2 * np.log(1 / p))) / Omega**2
    gap = times("jepa", lam=1.0, rho=Omega ** (1 / DEEP), L=DEEP, eps=eps, p=p) / DEEP / limit - 1
    np.testing.assert_allclose(gap[1:] / gap[:-1], 0.5, atol=np.log(Omega / eps) / DEEP[0])


# --- greedy learning ----------------------------------------------------------------------------------------------


def pair(objective, L, eps, p=0.5):
    """Times of the low-rho and the high-rho feature at lam = 1."""
    rho = np.array([[LOW], [HIGH]])
    return times(objective, lam=1.0, rho=rho, L=float(L), eps=np.atleast_1d(eps), p=p)


@pytest.mark.parametrize("L", [1, 2, 3, 5, 8])
def test_jepa_learns_high_rho_first(L):
    """T falls with rho as long as the start is well below every threshold."""
    assert np.all(np.diff(times("jepa", lam=1.0, rho=np.linspace(0.3, 1.2, 50), L=L, eps=1e-3 * 0.3**L)) < 0)


@pytest.mark.parametrize("L", [2, 3, 5])
def test_jepa_gap_between_features_diverges(L):
    """T_i - T_j ~ eps^(-(2L-2)/L) at equal lam: the bias towards high rho grows without bound."""
    gap = np.subtract(*pair("jepa", L, [1e-8, 1e-9]))
    slope = np.log10(gap[1] / gap[0])
    assert abs(slope - (2 * L - 2) / L) <= 1e-8 ** (1 / L) / LOW  # the next order is smaller by about r


def test_jepa_gap_of_one_layer_is_logarithmic():
    """|ln eps| (1/rho_i - 1/rho_j) / lam."""
    slope = np.diff(np.subtract(*pair("jepa", 1, [1e-4, 1e-6])))[0] / np.log(1e2)
    assert abs(slope - (1 / LOW - 1 / HIGH)) <= 1e-4 / LOW**2  # the next term of T is r/rho, r = eps/rho


@pytest.mark.parametrize("L", [2, 3, 5])
def test_ratio_of_jepa_times(L):
    """T_i/T_j = 1 + (2L-1)/(2L-2) eps^(1/L) (1/rho_i - 1/rho_j) + O(eps^(2/L)) at equal lam."""
    eps = np.array([1e-8, 1e-9])
    low, high = pair("jepa", L, eps)
    remainder = low / high - 1 - (2 * L - 1) / (2 * L - 2) * eps ** (1 / L) * (1 / LOW - 1 / HIGH)
    slope = np.log10(remainder[0] / remainder[1])
    # The next order is smaller by r (L > 2) or r |ln r| (L = 2); the ratio itself is known to 1e-13.
    r = 1e-8 ** (1 / L) / LOW
    assert abs(slope - 2 / L) <= r * (abs(np.log(r)) if L == 2 else 1) + 1e-13 / remainder[1]


def mae_constant(L, p):
    """c_L(p) in T = L / ((L-1) lam eps^((L-1)/L)) + (L/k) c_L(p) + ..."""
    at = {"lam": 1.0, "rho": 1.0, "L": float(L), "eps": 1e-2}  # both parts are exact sums, whatever eps
    return (asymptotic("mae", **at, p=p) - leading("mae", **at)) / L


@pytest.mark.parametrize(("L", "p0"), [(2, "0.938"), (3, "0.761"), (5, "0.5001"), (8, "0.312")])
def test_mae_rho_dependence_changes_sign(L, p0):
    """T_i - T_j -> L c_L(p) (rho_i^-s - rho_j^-s), s = (L-1)/(L+1): bounded, and of the sign of p - p0."""
    half = 0.5 * 10.0 ** -len(p0.partition(".")[2])
    below, above = mae_constant(L, float(p0) + np.array([-half, half]))
    assert below < 0 < above  # c_L increases with p, so this brackets its only zero

    p, s, eps = float(p0) + np.array([-0.05, 0.0, 0.05]), (L - 1) / (L + 1), 1e-5
    low, high = pair("mae", L, eps, p)
    off = L * LOW**-s * (eps ** (1 / L) / LOW ** (1 / (L + 1))) ** 2 + 1e-13 * low  # next order, and rounding of T
    assert np.all(np.abs(low - high - L * mae_constant(L, p) * (LOW**-s - HIGH**-s)) <= off)
    assert low[0] < high[0]  # low-rho features cross low thresholds first
    assert low[2] > high[2]


# --- the inversion of orders --------------------------------------------------------------------------------------


def advantage(log_eps: float, L: int) -> float:
    """K_J(rho_i) / K_J(rho_j), K = lam T: JEPA reverses the order of all pairs with a smaller lam_i / lam_j."""
    low, high = pair("jepa", L, np.exp(log_eps))
    return float(low[0] / high[0])


def peak(L: int) -> tuple[float, float]:
    """Largest invertible ratio lam_i / lam_j at p = 1/2, and the ln eps at which it is met."""
    log_eps = np.linspace(np.log(1e-12), np.log(0.5 * LOW**L * (1 - 1e-9)), 480)  # up to eps = p w*_i
    low, high = pair("jepa", L, np.exp(log_eps))
    top = int(np.argmax(low / high))
    ends = log_eps[top - 1], log_eps[top + 1]
    found = optimize.minimize_scalar(lambda x: -advantage(x, L), bounds=ends, method="bounded")
    return -found.fun, found.x


@pytest.mark.parametrize(("L", "largest"), [(1, "1.014"), (2, "1.28"), (3, "1.62"), (5, "2.38"), (8, "3.53")])
def test_largest_ratio_that_can_be_inverted(L, largest):
    """Depth widens what a higher rho can make up for.

    There is no window for a ratio of 1.2 at one layer, nor for a ratio of 2 at up to three.
    """
    assert_prints(peak(L)[0], largest)


WINDOWS = """
2 1.2 6.1e-3 3.2e-2
3 1.2 5.6e-4 2.1e-2
5 1.2 7.1e-6 4.2e-3
5 2.0 6.4e-4 3.2e-3
8 1.2 8.9e-9 2.9e-4
8 2.0 9.9e-6 2.6e-4
"""


@pytest.mark.parametrize("row", WINDOWS.strip().split("\n"), ids=lambda row: "L{}-ratio{}".format(*row.split()))
def test_orders_are_inverted_in_a_window_of_starts(row):
    """For lam_i/lam_j = ratio and rho = (0.4, 0.9), JEPA and MAE learn in opposite orders between these eps."""
    L, ratio, first, last = (read(x) for read, x in zip((int, float, str, str), row.split(), strict=True))
    _, top = peak(L)
    ends = np.log(1e-12), top, np.log(0.5 * LOW**L * (1 - 1e-9))
    low, high = (np.exp(optimize.brentq(lambda x: advantage(x, L) - ratio, *ends[i : i + 2])) for i in (0, 1))
    assert_prints(low, first)
    assert_prints(high, last)
    slow, fast = pair("mae", L, np.geomspace(low, high, 48))
    assert np.all(slow / fast < ratio)  # MAE keeps the order of lam throughout


@pytest.mark.parametrize("L", [2, 3, 5])
def test_no_inversion_survives_the_limit(L):
    """As eps -> 0 the ratio of JEPA times tends to lam_j / lam_i whatever rho: fixed windows close."""
    low, high = pair("jepa", L, [1e-12, 1e-24, 1e-48])
    assert np.all(np.diff(low / high) < 0)
    assert (low / high)[-1] - 1 < 2 * 1e-48 ** (1 / L) * (1 / LOW - 1 / HIGH) + 1e-12  # (2L-1)/(2L-2) <= 1.5
