"""What Littwin et al. 2024 conclude from their theorems, and how far each conclusion reaches.

Printed numbers were computed at high precision; a test compares to half a unit of their last digit.
"""

import numpy as np
import pytest
from scipy import optimize, special

import jepa_sweep as js

LOW, HIGH = 0.4, 0.9  # the two regression coefficients wherever features compete


def printed(text: str) -> tuple[float, float]:
    """A printed number and half a unit of its last digit: "6.1e-3" is (6.1e-3, 5e-5)."""
    mantissa, _, exponent = text.partition("e")
    digits = len(mantissa.partition(".")[2])
    return float(text), 0.5 * 10.0 ** (int(exponent or 0) - digits)


def assert_prints(value: float, text: str, rounding: float = 0.0) -> None:
    """`rounding` is what float64 itself leaves unknown of the value."""
    number, half = printed(text)
    assert abs(value - number) <= half + rounding, f"{value} is not printed as {text}"


# --- exact invariances --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [-300, -1, 10, 300])
def test_time_is_proportional_to_one_over_lam(objective, power):
    """lam only rescales time; by a power of two it does so without a rounding."""
    at = {"rho": 0.7, "L": [1, 2, 3, 5, 8], "eps": 1e-3}
    unit, scaled = (js.critical_time(objective, lam=lam, **at) for lam in (1.0, 2.0**power))
    np.testing.assert_array_equal(scaled * 2.0**power, unit)


@pytest.mark.parametrize(
    "change", [{"lam": 3.0}, {"rho": 0.5}, {"rho": 1.3}, {"start": 1e-3}, {"start": 1e-1}], ids=str
)
def test_all_trajectories_collapse_on_one_curve(objective, law, change):
    """w(T) = w* Z(k (T - T_p) / L)^L with one function Z for each objective and depth."""
    L = np.array([[1.0], [2.0], [3.0], [5.0]])
    s = np.linspace(-1, 10, 12)

    def curve(lam=1.0, rho=1.0, start=1e-2):
        _, _, w_star, k = law(objective, lam=lam, rho=rho, L=L)
        at = {"lam": lam, "rho": rho, "L": L, "eps": start * w_star}
        times = js.critical_time(objective, **at, p=np.full(12, 0.5)) + s * L / k
        return js.trajectory(objective, **at, t=times) / w_star, times * k / L

    (moved, times), (reference, others) = curve(**change), curve()
    # d ln w / d ln T = T k z^(a-1) (1 - z^m) is at most T k = L times; 1e-13 of T is lost on either side.
    np.testing.assert_array_less(np.abs(moved / reference - 1), 1e-13 * L * (times + others + 1))


# --- widths and inflection points ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [1e-2, 1e-4], ids="start={:g}".format)
@pytest.mark.parametrize(
    ("objective", "widths"),
    [("jepa", "13.28 40.78 70.45 131.2 223.3"), ("mae", "3.02 5.86 7.54 9.35 10.62")],
    ids=["jepa", "mae"],
)
def test_growth_from_10_to_90_percent(objective, widths, fraction, law):
    """k (T_90 - T_10) depends on the depth alone, not on the start."""
    L, rho = np.array([1.0, 2.0, 3.0, 5.0, 8.0]), 0.9
    _, _, w_star, k = law(objective, lam=1.0, rho=rho, L=L)
    at = {"lam": 1.0, "rho": rho, "L": L, "eps": fraction * w_star}
    times = js.critical_time(objective, **at, p=np.array([[0.1], [0.9]]))
    for width, text, late in zip(k * (times[1] - times[0]), widths.split(), k * times[1], strict=True):
        assert_prints(width, text, rounding=1e-13 * late)


@pytest.mark.parametrize(
    ("objective", "fractions", "limit"),
    [
        ("jepa", "0.6667 0.6944 0.7023 0.7082 0.7114", np.exp(-1 / 3)),
        ("mae", "0.5774 0.6300 0.6435 0.6533 0.6585", 2 / 3),
    ],
    ids=["jepa", "mae"],
)
def test_growth_is_fastest_at_a_fixed_fraction(objective, fractions, limit, law):
    """w/w* there is (1 - 1/(3L))^L for JEPA and ((2L-1)/(3L))^(L/(L+1)) for MAE, with a limit as L grows."""
    L = np.array([1.0, 2.0, 3.0, 5.0, 8.0, 500.0])
    eps = 0.5 * law(objective, lam=1.0, rho=0.9, L=L).w_star
    at = {"lam": 1.0, "rho": 0.9, "L": L, "eps": eps}
    *shallow, deep = js.trajectory(objective, **at, t=js.inflection_time(objective, **at)) / (2 * eps)
    for fraction, text in zip(shallow, fractions.split(), strict=True):
        assert_prints(fraction, text)
    assert abs(deep - limit) < 1 / L[-1]  # the corrections are -1/18, -1/6 + (2/3) ln(3/2) ... times 1/L


# --- the limit eps -> 0 -------------------------------------------------------------------------------------------

ERRORS = """
jepa 2 0.3   0.121   -9.4e-5 -3.6e-7 -6.1e-10 -1.1e-15
jepa 2 0.9   1.4e-3  -8.2e-6 -1.8e-8 -2.7e-11 -4.6e-17
jepa 3 0.3   2.13     3.4e-4 -1.4e-7 -2.2e-10 -1.1e-16
jepa 3 0.9   4.1e-3  -4.7e-7 -1.6e-9 -1.3e-12 -5.5e-19
jepa 5 0.3   above    3.3e-2  8.0e-6  6.2e-10 -1.7e-16
jepa 5 0.6   0.223    6.9e-5  7.8e-9 -1.2e-12 -5.0e-19
jepa 8 0.3   above    above   6.8e-3  1.4e-6   2.1e-14
jepa 8 0.9   1.4e-2   3.2e-6  4.7e-10 4.9e-14 -1.0e-21
mae 2 0.3    0.203    1.7e-2  1.7e-3  1.7e-4   1.7e-6
mae 2 0.9    0.132    1.2e-2  1.2e-3  1.2e-4   1.2e-6
mae 3 0.6    5.7e-2   2.4e-3  1.1e-4  5.1e-6   1.1e-8
mae 5 0.6    1.4e-2   5.3e-5  2.2e-7  1.1e-9   1.5e-13
mae 8 0.6   -5.4e-3  -5.0e-4 -1.1e-5 -2.1e-7  -6.8e-11
"""


@pytest.mark.parametrize("row", ERRORS.split("\n")[1:-1], ids=lambda row: "-".join(row.split()[:3]))
def test_error_of_the_leading_order(row):
    """(formula - T) / T at p = 1/2: from 213% to nothing; a start above the threshold still gets a positive time."""
    name, L, rho, *errors = row.split()
    at = {"lam": 1.0, "rho": float(rho), "L": float(L), "eps": np.array([1e-2, 1e-4, 1e-6, 1e-8, 1e-12])}
    exact, leading = js.critical_time(name, **at), js.leading_critical_time(name, **at)
    for error, text, time in zip(leading / exact - 1, errors, leading, strict=True):
        assert time > 0
        if text == "above":
            assert np.isnan(error)
        else:
            assert_prints(error, text, rounding=1e-13)  # 5e-14 of either time


@pytest.mark.parametrize("r", [0.03, 0.01])
def test_remainder_of_the_asymptotic_time(objective, r, law):
    """T - T_asymptotic = -(L/k) r for JEPA and -(L/k) r^2/2 for MAE, r = (eps/w*)^(1/L), and higher orders."""
    L, rho = np.array([1.0, 2.0, 3.0]), 0.8
    a, _, w_star, k = law(objective, lam=1.0, rho=rho, L=L)
    at = {"lam": 1.0, "rho": rho, "L": L, "eps": w_star * r**L}
    exact, asymptotic = js.critical_time(objective, **at), js.asymptotic_critical_time(objective, **at)
    expected = -L / k * (r if objective == "jepa" else r**2 / 2)
    # The next orders are r^2/2, and r^(m+2) for MAE; and 1e-14 of T is lost to rounding.
    assert np.all(np.abs((exact - asymptotic) / expected - 1) <= 2 * r + 1e-14 * exact / np.abs(expected))


def test_depth_sets_the_exponent_of_the_waiting_time(objective):
    """T ~ eps^(-(2 - 1/L)) for JEPA, from eps^-1 to eps^-2; T ~ eps^(-(1 - 1/L)) for MAE, from |ln eps| to eps^-1."""
    L, eps = np.array([1.0, 2.0, 3.0, 5.0, 8.0]), np.array([[1e-40], [1e-41]])
    times = js.critical_time(objective, lam=1.0, rho=1.0, L=L, eps=eps)
    slope = np.log10(times[1] / times[0])
    corrections = 10 * 1e-40 ** (1 / L) if objective == "jepa" else 10 * 1e-40 ** ((L - 1) / L)  # relative order r^(..)
    corrections = np.where((L == 1) & (objective == "mae"), 1 / np.log(1e40), corrections)  # d log|ln eps|
    assert np.all(np.abs(slope - ((2 if objective == "jepa" else 1) - 1 / L)) <= corrections + 1e-12)


# --- limits of great depth ----------------------------------------------------------------------------------------


def test_deep_mae_is_shallow_jepa():
    """MAE(L -> infinity) = JEPA(L = 1) in paper time; the gap is c/L with c = 1 - |ln eps| to leading order in eps."""
    L, eps = np.array([256.0, 512.0, 1024.0, 2048.0]), 1e-3
    shallow = js.critical_time("jepa", lam=1.0, rho=1.0, L=1.0, eps=eps)
    gap = js.critical_time("mae", lam=1.0, rho=1.0, L=L, eps=eps) / shallow - 1
    assert_prints(gap[1], "-1.15e-2")
    steps = np.diff(gap * L)  # c/L + d/L^2 + ...: each step of gap * L is half the one before, up to O(1/L)
    np.testing.assert_allclose(steps[1:] / steps[:-1], 0.5, atol=np.log(1 / eps) / L[0])
    limit = 2 * gap[-1] * L[-1] - gap[-2] * L[-2]
    assert abs(limit - (1 + np.log(eps))) < eps * np.log(eps) ** 2  # T = 1/eps + O(ln eps), and one ln eps from 1/L


def test_deep_jepa_at_fixed_rest_point():
    """With rho^L = Omega, flow times tend to [Ei(2 ln(Omega/eps)) - Ei(2 ln(1/p))] / (lam Omega^2), like 1/L."""
    L, Omega, eps, p = np.array([256.0, 512.0, 1024.0, 2048.0]), 0.5, 1e-3, 0.5
    limit = (special.expi(2 * np.log(Omega / eps)) - special.expi(2 * np.log(1 / p))) / Omega**2
    gap = js.critical_time("jepa", lam=1.0, rho=Omega ** (1 / L), L=L, eps=eps, p=p, time="flow") / limit - 1
    np.testing.assert_allclose(gap[1:] / gap[:-1], 0.5, atol=np.log(Omega / eps) / L[0])


# --- greedy learning ----------------------------------------------------------------------------------------------


def pair(name, L, eps, p=0.5):
    """Times of the low-rho and the high-rho feature at lam = 1."""
    return js.critical_time(name, lam=1.0, rho=np.array([LOW, HIGH])[:, None], L=float(L), eps=np.atleast_1d(eps), p=p)


@pytest.mark.parametrize("L", [1, 2, 3, 5, 8])
def test_jepa_learns_high_rho_first(L):
    """T falls with rho as long as the start is well below every threshold."""
    rho = np.linspace(0.3, 1.2, 50)
    times = js.critical_time("jepa", lam=1.0, rho=rho, L=L, eps=1e-3 * 0.3**L)
    assert np.all(np.diff(times) < 0)


@pytest.mark.parametrize("L", [2, 3, 5])
def test_jepa_gap_between_features_diverges(L):
    """T_i - T_j ~ eps^(-(2L-2)/L) at equal lam: the bias towards high rho grows without bound."""
    low, high = pair("jepa", L, [1e-8, 1e-9])
    slope = np.log10((low - high)[1] / (low - high)[0])
    assert abs(slope - (2 * L - 2) / L) <= 1e-8 ** (1 / L) / LOW  # the next order is smaller by about r


def test_jepa_gap_of_one_layer_is_logarithmic():
    """|ln eps| (1/rho_i - 1/rho_j) / lam."""
    low, high = pair("jepa", 1, [1e-4, 1e-6])
    slope = np.diff(low - high)[0] / np.log(1e2)
    # The terms left out fall to O(r / rho), times of 1e6 keep 1e-8.
    assert abs(slope - (1 / LOW - 1 / HIGH)) <= 1e-4 / LOW**2


@pytest.mark.parametrize("L", [2, 3, 5])
def test_ratio_of_jepa_times(L):
    """T_i/T_j = 1 + (2L-1)/(2L-2) eps^(1/L) (1/rho_i - 1/rho_j) + O(eps^(2/L)) at equal lam."""
    eps = np.array([1e-8, 1e-9])
    low, high = pair("jepa", L, eps)
    remainder = low / high - 1 - (2 * L - 1) / (2 * L - 2) * eps ** (1 / L) * (1 / LOW - 1 / HIGH)
    slope = np.log10(remainder[0] / remainder[1])
    # The next order is smaller by about r; the ratio itself is known to 1e-13.
    assert abs(slope - 2 / L) <= 1e-8 ** (1 / L) / LOW + 1e-13 / remainder[1]


@pytest.mark.parametrize(("L", "p0"), [(2, "0.938"), (3, "0.761"), (5, "0.5001"), (8, "0.312")], ids=str)
def test_mae_rho_dependence_changes_sign(L, p0):
    """T_i - T_j -> L c_L(p) (rho_i^-s - rho_j^-s), s = (L-1)/(L+1): bounded, and c_L(p0) = 0.

    c_L increases with p, so a sign change across the printed digits brackets its only zero.
    """
    number, half = printed(p0)
    p = np.array([number - half, number + half])
    eps = 0.5**L  # the two differ by L c_L / k whatever the start, so take one at which little cancels
    at = {"lam": 1.0, "rho": 1.0, "L": float(L), "eps": eps * 0.1}
    c = (js.asymptotic_critical_time("mae", **at, p=p) - js.leading_critical_time("mae", **at)) / L
    assert c[0] < 0 < c[1]

    p, s = np.array([number - 0.05, number, number + 0.05]), (L - 1) / (L + 1)
    c = (js.asymptotic_critical_time("mae", **at, p=p) - js.leading_critical_time("mae", **at)) / L
    low, high = js.critical_time("mae", lam=1.0, rho=np.array([[LOW], [HIGH]]), L=float(L), eps=1e-5, p=p)
    limit = L * c * (LOW**-s - HIGH**-s)
    # The gap is off by (L/k) r^2/2, and by the 1e-14 that T itself is.
    r = (1e-5 / LOW ** (L / (L + 1))) ** (1 / L)
    assert np.all(np.abs(low - high - limit) <= L * LOW**-s * r**2 + 1e-13 * low)
    assert low[0] < high[0]  # low-rho features cross low thresholds first
    assert low[2] > high[2]


@pytest.mark.parametrize("L", [2, 3])
def test_ratio_of_mae_times_forgets_rho(L):
    """T_i/T_j = 1 + O(eps^((L-1)/L)) at equal lam: faster than JEPA's eps^(1/L) from L = 3 on, equal at L = 2."""
    low, high = pair("mae", L, [1e-6, 1e-7])
    slope = np.log10((low / high - 1)[0] / (low / high - 1)[1])
    r = (1e-6 / LOW) ** (1 / L)
    assert abs(slope - (L - 1) / L) <= 10 * r ** min(L - 1, 2)  # next orders: r^(L-1) of the ratio, r^2 of the gap


# --- the inversion of orders --------------------------------------------------------------------------------------


def advantage(log_eps: float, L: int) -> float:
    """K_J(rho_i) / K_J(rho_j), K = lam T: JEPA reverses the order of all pairs with a smaller lam_i / lam_j."""
    low, high = pair("jepa", L, np.exp(log_eps))
    return float((low / high)[0])


def peak(L: int) -> tuple[float, float]:
    """Largest invertible ratio lam_i / lam_j, and the ln eps at which it is met."""
    log_eps = np.linspace(np.log(1e-12), np.log(0.5 * LOW**L * (1 - 1e-9)), 2000)  # up to eps = p w*_i
    low, high = pair("jepa", L, np.exp(log_eps))
    top = int(np.argmax(low / high))
    ends = log_eps[top - 1], log_eps[top + 1]
    found = optimize.minimize_scalar(lambda x: -advantage(x, L), bounds=ends, method="bounded", options={"xatol": 1e-6})
    return -found.fun, found.x


@pytest.mark.parametrize(
    ("L", "largest"), [(1, "1.014"), (2, "1.28"), (3, "1.62"), (5, "2.38"), (8, "3.53")], ids=lambda x: str(x)
)
def test_largest_ratio_that_can_be_inverted(L, largest):
    """With rho = (0.4, 0.9) and p = 1/2; depth widens what a higher rho can make up for."""
    assert_prints(peak(L)[0], largest)


@pytest.mark.parametrize(
    ("L", "ratio", "low_edge", "high_edge"),
    [
        (2, 1.2, "6.1e-3", "3.2e-2"),
        (3, 1.2, "5.6e-4", "2.1e-2"),
        (5, 1.2, "7.1e-6", "4.2e-3"),
        (5, 2.0, "6.4e-4", "3.2e-3"),
        (8, 1.2, "8.9e-9", "2.9e-4"),
        (8, 2.0, "9.9e-6", "2.6e-4"),
    ],
)
def test_orders_are_inverted_in_a_window_of_starts(L, ratio, low_edge, high_edge):
    """For lam_i/lam_j = ratio and rho = (0.4, 0.9), JEPA and MAE learn in opposite orders between these eps."""
    _, top = peak(L)

    def excess(x):
        return advantage(x, L) - ratio

    low = np.exp(optimize.brentq(excess, np.log(1e-12), top))
    high = np.exp(optimize.brentq(excess, top, np.log(0.5 * LOW**L * (1 - 1e-9))))
    assert_prints(low, low_edge)
    assert_prints(high, high_edge)
    # MAE keeps the order of lam throughout.
    slow, fast = pair("mae", L, np.geomspace(low, high, 50))
    assert np.all(slow / fast < ratio)


@pytest.mark.parametrize(("L", "ratio"), [(1, 1.2), (1, 2.0), (2, 2.0), (3, 2.0)])
def test_shallow_encoders_invert_no_orders(L, ratio):
    assert peak(L)[0] < ratio


def test_no_inversion_survives_the_limit():
    """As eps -> 0 the ratio of JEPA times tends to lam_j / lam_i, whatever rho."""
    for L in (2, 3, 5):
        log_eps = np.log(1e-12) * np.array([1, 2, 4])
        ratios = np.array([advantage(x, L) for x in log_eps])
        assert np.all(np.diff(ratios) < 0)
        assert ratios[-1] - 1 < 2 * np.exp(log_eps[-1] / L) * (1 / LOW - 1 / HIGH)
