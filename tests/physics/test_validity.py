"""What is asked where no critical time exists, or no float64 can hold it: an error for bad input, else a status."""

import decimal
import fractions

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import jepa_sweep as js
from jepa_sweep.physics import exact
from jepa_sweep.physics.host import SENTENCES, Status
from jepa_sweep.physics.reduced import DYNAMICS

GOOD = {"lam": 1.0, "rho": 0.5, "L": 2.0, "eps": 1e-3, "p": 0.5}
W_STAR = {"jepa": 0.25, "mae": 0.5 ** (2 / 3)}  # of GOOD
BOTH = [js.critical_time, js.status]
POINTS = 96  # of every call: one compiled program of each function then serves all tests


@pytest.fixture(params=["jepa", "mae"])
def objective(request) -> str:
    return request.param


def filled(values: dict) -> dict[str, np.ndarray]:
    return {name: np.resize(value, POINTS) for name, value in values.items()}


def outcome(objective, **change) -> tuple[float, str]:
    """Critical time and status of one point."""
    at = filled(GOOD | change)
    return float(js.critical_time(objective, **at)[0]), str(js.status(objective, **at)[0])


# --- one row each of the table of what can happen -----------------------------------------------------------------


@pytest.mark.parametrize(
    "change", [{}, {"rho": 1.5}, {"L": 1}, {"L": 12, "eps": 1e-9}, {"p": 1 - 1e-12}, {"lam": 1e-9}], ids=str
)
def test_growth_from_below(objective, change):
    """0 < eps < p w*, lam > 0, rho > 0; rho may exceed 1."""
    time, status = outcome(objective, **change)
    assert np.isfinite(time)
    assert time > 0
    assert status == "learned"


@pytest.mark.parametrize(("start", "p"), [(4.0, 1.5), (1.01, 1.001), (1e6, 1 + 1e-9), (1e3, 999.0)])
def test_decay_from_above(objective, start, p):
    """eps > w*: the response falls to w*, through every p with 1 < p < eps/w*."""
    time, status = outcome(objective, eps=start * W_STAR[objective], p=p)
    assert np.isfinite(time)
    assert time > 0
    assert status == "learned"


@pytest.mark.parametrize(("start", "p"), [(1e-3, 1.5), (4.0, 0.5), (4.0, 50.0)])
def test_a_threshold_where_the_flow_never_goes(objective, start, p):
    """Beyond w* from either side, or above the start of a decay: for a single point as for one of many."""
    eps = start * W_STAR[objective]
    assert outcome(objective, eps=eps, p=p)[1] == "not_reached"
    assert np.isnan(outcome(objective, eps=eps, p=p)[0])
    at = GOOD | {"eps": eps, "p": p}
    assert js.status(objective, **at) == "not_reached"
    assert np.isnan(js.critical_time(objective, **at))


@pytest.mark.parametrize("start", [0.5, 0.6, 0.999999])
def test_start_above_the_threshold(objective, start):
    """p w* <= eps < w*: growing, but past the threshold already, so there is no time to give."""
    time, status = outcome(objective, eps=start * W_STAR[objective])
    assert np.isnan(time)
    assert status == "above_threshold"


def test_start_just_below_the_threshold(objective):
    """There the crossing is a moment away: one step of the flow, dT = dw / (dw/dT), although ln(p w*/eps) cancels."""
    w = 0.75  # p w*, with w* = 1, so that threshold and step are exact
    time, status = outcome(objective, rho=1.0, p=w, eps=w - 2.0**-40)
    growth = w ** ((3 if objective == "jepa" else 2) - 1 / 2) - w**3
    # On the way the growth changes by d ln(growth)/dw < 8 times 2^-40; roundings are far below.
    assert abs(time * growth / 2.0**-40 - 1) <= 2.0**-37
    assert status == "learned"


def test_start_at_the_fixed_point(objective):
    assert np.isnan(outcome(objective, eps=W_STAR[objective])[0])
    assert outcome(objective, eps=W_STAR[objective])[1] == "at_fixed_point"


def test_fixed_point_as_the_package_computes_it_is_a_valid_start(objective):
    """Its last bit may differ from the one another power function gives; neither may be turned away."""
    rho = np.linspace(0.1, 1.2, 60)
    starts = js.fixed_point(objective, rho=rho, L=9)
    found = {outcome(objective, rho=r, L=9, eps=w)[1] for r, w in zip(rho, starts, strict=True)}
    assert found == {"at_fixed_point"}


@pytest.mark.parametrize(
    ("lam", "rho", "expected"), [(0.0, 0.0, "no_signal"), (-1.0, -0.5, "collapses"), (-1e-6, -2.0, "collapses")]
)
def test_features_that_cannot_be_learned(objective, lam, rho, expected):
    """lam = 0 decays to zero, and so does a positive start with lam < 0."""
    time, status = outcome(objective, lam=lam, rho=rho)
    assert np.isnan(time)
    assert status == expected


# --- times beyond the largest float -------------------------------------------------------------------------------


def log_time(objective, **at) -> float:
    with jax.enable_x64(True):
        given = {name: jnp.asarray(float(x)) for name, x in at.items()}
        p = given.pop("p")
        return float(exact.log_critical_time(DYNAMICS[objective].point(**given), p))


@pytest.mark.parametrize("L", [2, 8])
def test_overflow(objective, L):
    """A finite logarithm remains: that of L / ((a-1) lam eps^((a-1)/L)), the next order being below a rounding."""
    at = {"lam": 1e-200, "rho": 1.0, "L": L, "eps": 1e-300, "p": 0.5}
    time, status = outcome(objective, **at)
    assert time == np.inf
    assert status == "overflow"
    n = 2 * L - 1 if objective == "jepa" else L - 1
    expected = np.log(L / n) - np.log(1e-200) - n / L * np.log(1e-300)
    np.testing.assert_allclose(log_time(objective, **at), expected, rtol=8 * 2.0**-53)  # a sum of positive terms


def test_logarithm_agrees_where_the_time_itself_exists(objective):
    np.testing.assert_allclose(log_time(objective, **GOOD), np.log(outcome(objective)[0]), rtol=1e-15)


def test_large_lam_brings_a_time_back_into_range():
    """eps^(-3/2) overflows, T = (2/3) eps^(-3/2) / lam does not."""
    time, status = outcome("jepa", lam=1e10, rho=1.0, eps=1e-206)
    assert status == "learned"
    np.testing.assert_allclose(time, 2 / 3 * 1e299, rtol=1e-12)  # up to 12 roundings of 1.5 |ln eps| = 711


def test_rest_point_beyond_the_largest_float():
    """rho^8 overflows at rho = 1e40; T does not, and is the blow-up time L / ((2L-1) lam eps^((2L-1)/L)) there."""
    time, status = outcome("jepa", rho=1e40, L=8)
    np.testing.assert_allclose(time, 8 / 15 * 1e-3 ** (-15 / 8), rtol=5e-14)
    assert status == "learned"


@pytest.mark.parametrize(
    ("at", "log10"),
    [
        ({"lam": 1e300, "rho": 1.0, "L": 1, "eps": 1e12, "p": 1e9}, {"jepa": -318, "mae": -318}),  # 1 / (2 lam p^2)
        ({"lam": 1.0, "rho": 1.0, "L": 1, "eps": 1e300, "p": 1e160}, {"jepa": -320, "mae": -320}),
    ],
    ids=["large lam", "far above"],
)
def test_underflow(objective, at, log10):
    """What XLA takes for 0 is no time; its logarithm remains, L / (a+m-1) / (lam p^((a+m-1)/L)) from far above."""
    time, status = outcome(objective, **at)
    assert (time, status) == (0.0, "underflow")
    np.testing.assert_allclose(log_time(objective, **at), log10[objective] * np.log(10) - np.log(2), atol=1e-5)
    solved = js.solve(objective, **at)
    assert (solved.status, np.isnan(solved.time)) == ("underflow", True)


def test_starts_within_a_rounding_of_a_threshold_far_above_have_a_time():
    """Where the way to it is no difference of logarithms any more: dT = dw / (dw/dT) = 2 10^-16 w / w^3 at p = 1e33."""
    p = 1e33
    time, status = outcome("mae", lam=1.0, rho=1.0, L=1, eps=np.nextafter(p, np.inf), p=p)
    assert status == "learned"
    np.testing.assert_allclose(time, (np.nextafter(p, np.inf) - p) / p**3, rtol=1e-9)


@pytest.mark.parametrize("eps", [1e-307, 1e-310, 5e-324])
def test_start_at_the_smallest_floats(objective, eps):
    """Below 2.2e-308 numbers lose digits, and compiled programs may take them for 0: an error or a status, not NaN."""
    try:
        time, status = outcome(objective, eps=eps)
    except js.SpecError:
        return
    assert np.isnan(time) == (status not in ("learned", "overflow"))


PREDICTIONS = (js.leading_critical_time, js.asymptotic_critical_time, js.inflection_time)


@pytest.mark.parametrize("function", PREDICTIONS, ids=lambda f: f.__name__)
def test_no_prediction_is_a_time_that_is_none(objective, function):
    """Over all that the checks let pass, positive or NaN: without a signal, with starts beyond 1 or next to w*."""
    rng = np.random.default_rng(11)
    sign = rng.choice([-1.0, 0.0, 1.0], POINTS, p=[0.2, 0.1, 0.7])
    L = np.resize([1.0, 1, 2, 5, 30], POINTS)
    rho = 10 ** rng.uniform(-4, 4, POINTS)
    p = rng.choice([1e-100, 1e-3, 0.5, 1 - 1e-12], POINTS)
    near = p * rho ** (L / (1 if objective == "jepa" else L + 1)) * (1 - 10 ** rng.uniform(-15, -1, POINTS))
    eps = np.where(rng.random(POINTS) < 0.5, np.clip(near, 1e-300, 1e300), 10 ** rng.uniform(-30, 30, POINTS))
    more = {"p": p} if function is js.asymptotic_critical_time else {}
    found = function(objective, lam=sign, rho=sign * rho, L=L, eps=eps, **more)
    assert np.all(np.isnan(found) | (found > 0))
    assert np.all(np.isnan(found[sign <= 0]))
    assert np.isfinite(found).sum() > POINTS // 4


def test_a_large_lam_brings_every_prediction_back_into_range():
    """eps^(-3/2) overflows, T = (2/3) eps^(-3/2) / lam does not."""
    for function in PREDICTIONS:
        time = function("jepa", **filled({"lam": 1e10, "rho": 1.0, "L": 2, "eps": 1e-206}))[0]
        np.testing.assert_allclose(time, 2 / 3 * 1e299, rtol=1e-12)


def test_the_logarithm_is_the_leading_order_for_small_starts_alone():
    """|ln eps| / lam would fall to 0 at eps = 1, and be no time beyond, whatever the rest point is."""
    found = js.leading_critical_time("mae", **filled({"lam": 1.0, "rho": 1e4, "L": 1, "eps": [0.5, 1.0, 2.0]}))
    np.testing.assert_allclose(found[:3], [np.log(2), np.nan, np.nan], rtol=1e-15)


NUMBERS = {
    "long double": np.longdouble(0.5),
    "long doubles": np.array([0.5, 0.25], np.longdouble),
    "float16": np.float16(0.5),
    "no axes": np.array(0.5),
    "list": [0.5, 0.25],
    "series": pd.Series([0.5, 0.25], index=[3, 1]),
    "single, of JAX": jnp.asarray([0.5, 0.25], jnp.float32),
}
NO_NUMBERS = (True, np.bool_(True), fractions.Fraction(1, 2), decimal.Decimal("0.5"), np.longdouble("1e4000"), None)
EXACT = {
    js.critical_time: ("lam", "rho", "L", "eps", "p"),
    js.status: ("lam", "rho", "L", "eps", "p"),
    js.asymptotic_critical_time: ("lam", "rho", "L", "eps", "p"),
    js.leading_critical_time: ("lam", "rho", "L", "eps"),
    js.inflection_time: ("lam", "rho", "L", "eps"),
    js.trajectory: ("lam", "rho", "L", "eps", "t"),
    js.fixed_point: ("rho", "L"),
}


@pytest.mark.parametrize("function", EXACT, ids=lambda f: f.__name__)
def test_numbers_of_any_type_are_computed_in_double(function):
    """Or refused with a sentence; what long doubles have more is rounded."""
    at = {name: (GOOD | {"t": 3.0})[name] for name in EXACT[function]}
    true = function("jepa", **at | {"rho": np.array([0.5, 0.25])})
    for name, rho in NUMBERS.items():
        found = function("jepa", **at | {"rho": rho})
        assert found.shape == np.shape(rho), name
        same = found == true[: np.size(rho)].reshape(np.shape(rho))
        if function is not js.status:  # programs of other shapes may round once more
            same |= np.isclose(found, true[: np.size(rho)].reshape(np.shape(rho)), rtol=1e-14, atol=0)
        assert np.all(same), name
    for rho in NO_NUMBERS:
        with pytest.raises(js.SpecError, match=r"`rho` must be (real numbers|a finite number)"):
            function("jepa", **at | {"rho": rho})


# --- bad input ----------------------------------------------------------------------------------------------------

BAD = {
    "eps = 0": ({"eps": 0.0}, "`eps` must be finite and positive, but there is eps = 0"),
    "eps < 0": ({"eps": -1e-3}, "`eps` must be finite and positive, but there is eps = -0.001"),
    "eps = nan": ({"eps": np.nan}, "`eps` must be finite and positive, but there is eps = nan"),
    "eps = inf": ({"eps": np.inf}, "`eps` must be finite and positive, but there is eps = inf"),
    "L = 2.5": ({"L": 2.5}, "`L` must be a whole number of layers, 1 or more, but there is L = 2.5"),
    "L = 0": ({"L": 0}, "`L` must be a whole number of layers, 1 or more, but there is L = 0"),
    "L = nan": ({"L": np.nan}, "`L` must be a whole number of layers"),
    "L = inf": ({"L": np.inf}, "`L` must be a whole number of layers"),
    "lam = nan": ({"lam": np.nan}, "`lam` must be a finite number, but there is lam = nan"),
    "lam = inf": ({"lam": np.inf}, "`lam` must be a finite number"),
    "rho = nan": ({"rho": np.nan}, "`rho` must be a finite number"),
    "rho = inf": ({"rho": np.inf}, "`rho` must be a finite number"),
    "lam > 0 > rho": ({"rho": -0.5}, "`lam` and `rho` must have the same sign"),
    "lam < 0 < rho": ({"lam": -1.0}, "`lam` and `rho` must have the same sign"),
    "lam = 0 < rho": ({"lam": 0.0}, r"`lam` and `rho` must have the same sign \(or both be 0\)"),
    "rho = 0 < lam": ({"rho": 0.0}, r"same sign .* but there is lam = 1, rho = 0"),
    "p = 0": ({"p": 0.0}, "`p` must be finite, positive and different from 1"),
    "p < 0": ({"p": -0.5}, "`p` must be finite, positive and different from 1"),
    "p = 1": ({"p": 1.0}, "because the rest point itself is never reached, but there is p = 1"),
    "p = nan": ({"p": np.nan}, "`p` must be finite, positive and different from 1"),
    "text": ({"lam": "one"}, "`lam` must be real numbers"),
    "complex": ({"rho": 0.5j}, "`rho` must be real numbers, but its type is complex128"),
    "truth": ({"L": True}, "`L` must be real numbers, but its type is bool"),
    "shapes": ({"lam": [1.0, 2.0], "rho": [0.5, 0.6, 0.7]}, r"must broadcast together, but they are `lam` \(2,\)"),
    "one of many": ({"eps": [1e-3, -2.0, 1e-2]}, "but there is eps = -2"),
}


@pytest.mark.parametrize("function", BOTH, ids=lambda f: f.__name__)
@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_an_error(objective, function, change, message):
    with pytest.raises(js.SpecError, match=message):
        function(objective, **(GOOD | change))


@pytest.mark.parametrize("function", [js.critical_time, js.leading_critical_time, js.inflection_time, js.fixed_point])
def test_unknown_objective(function):
    at = {name: GOOD[name] for name in (("rho", "L") if function is js.fixed_point else ("lam", "rho", "L", "eps"))}
    with pytest.raises(js.SpecError, match=r"`objective` must be one of jepa, mae.* Did you mean `jepa`"):
        function("jeba", **at)


def test_unknown_unit_of_time():
    with pytest.raises(js.SpecError, match="`time` must be one of paper, flow, but it is 'steps'"):
        js.critical_time("jepa", **GOOD, time="steps")


# --- many points at once ------------------------------------------------------------------------------------------


def test_mixed_points_each_get_their_word(objective):
    """Points that cannot cross their threshold stand beside one that can."""
    w = W_STAR[objective]
    eps = np.array([1e-3, 0.6 * w, w, 2 * w, 1e-3, 1e-3, 2 * w, 1e-3, 2 * w])
    p = np.array([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1.5, 1.5, 2.5])
    lam = np.array([1.0, 1.0, 1.0, 1.0, 0.0, -1.0, 1.0, 1.0, 1.0])
    expected = ["learned", "above_threshold", "at_fixed_point", "not_reached", "no_signal", "collapses"]
    expected += ["learned", "not_reached", "not_reached"]
    at = filled({"lam": lam, "rho": 0.5 * np.sign(lam), "L": 2.0, "eps": eps, "p": p})
    assert js.status(objective, **at)[: len(expected)].tolist() == expected
    finite = np.isfinite(js.critical_time(objective, **at))[: len(expected)]
    np.testing.assert_array_equal(finite, np.array(expected) == "learned")


@pytest.mark.long
def test_no_nan_without_a_status(objective):
    """Over anything the checks let pass: a number where learned, inf or 0 where out of range, NaN elsewhere."""
    rng, n = np.random.default_rng(5), (50, POINTS)
    sign = rng.choice([-1.0, 0.0, 1.0], n, p=[0.1, 0.1, 0.8])
    columns = {
        "lam": sign * 10 ** rng.uniform(-9, 9, n),
        "rho": sign * 10 ** rng.uniform(-3, 1, n),
        "L": rng.integers(1, 65, n).astype(float),
        "eps": 10 ** rng.uniform(-300, 3, n),
        "p": np.where(rng.random(n) < 0.7, rng.uniform(0, 1, n), 1 + 10 ** rng.uniform(-9, 3, n)),
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    time, status = (np.concatenate([f(objective, **row) for row in rows]) for f in BOTH)
    np.testing.assert_array_equal(np.isnan(time), ~np.isin(status, ["learned", "overflow", "underflow"]))
    np.testing.assert_array_equal(time == 0, status == "underflow")
    np.testing.assert_array_equal(np.isinf(time), status == "overflow")
    assert np.all(time[status == "learned"] > 0)
    assert {"learned", "above_threshold", "not_reached", "no_signal", "collapses"} <= set(status)


def test_every_status_has_its_sentence():
    assert set(SENTENCES) == set(Status)


@pytest.mark.parametrize("change", [{"t": -1.0}, {"lam": 0.0, "rho": 0.0}, {"lam": -1.0, "rho": -0.5}], ids=str)
def test_trajectory_is_nan_where_the_flow_has_no_growth(objective, change):
    """Before the start, without signal, and where the response collapses."""
    at = {"lam": 1.0, "rho": 0.5, "L": 2.0, "eps": 1e-3, "t": 1.0}
    assert np.all(np.isnan(js.trajectory(objective, **filled(at | change))))
