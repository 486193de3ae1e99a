"""The flow records of Theorem 4.2, and the derivatives of the exact functions: one over that flow at either end."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jepa_sweep as js
from jepa_sweep.physics import exact
from jepa_sweep.physics.reduced import DYNAMICS

ULP = 2.0**-53  # relative rounding of one operation
POINTS = 96  # of every call: one compiled program then serves all tests
DEPTHS = np.tile([1.0, 2.0, 3.0, 4.0, 5.0, 8.0], POINTS // 6)


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    """Double precision, since these tests call JAX themselves."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=["jepa", "mae"])
def objective(request) -> str:
    return request.param


class Law(NamedTuple):
    """dz/dtau = z^a (1 - z^m), tau = (k/L) T, w = w* z^L, written out apart from the package."""

    a: np.ndarray
    m: np.ndarray
    w_star: np.ndarray
    k: np.ndarray


def setting(objective) -> tuple[dict[str, np.ndarray], Law]:
    """lam, rho and L of all lanes, varied with coprime periods, and the law they make."""
    lam, rho = np.resize(np.geomspace(0.1, 10, 11), POINTS), np.resize(np.linspace(0.4, 1.2, 17), POINTS)
    a, m = (2 * DEPTHS, np.ones(POINTS)) if objective == "jepa" else (DEPTHS, DEPTHS + 1)
    law = Law(a, m, rho ** (DEPTHS / m), lam * rho ** ((a - 1) / m))
    return {"lam": lam, "rho": rho, "L": DEPTHS}, law


def paper_field(objective, w, *, lam, rho, L):
    """lam (w^(3 - 1/L) - w^3/rho) for JEPA, lam (w^(2 - 1/L) - w^3/rho) for MAE; and the larger of the two terms."""
    growth, decay = lam * w ** ((3 if objective == "jepa" else 2) - 1 / L), lam * w**3 / rho
    return growth - decay, jnp.maximum(growth, decay)


# --- the fields ---------------------------------------------------------------------------------------------------

FRACTIONS = np.random.default_rng(3).permutation(np.geomspace(1e-6, 1e3, POINTS))  # w / w*, below and above

# One power w^3 with |ln w| <= 21 (rho^8 1e-6 at the least) has an exponent of up to 63, which the exponential
# multiplies by its rounding; a field has two such terms, and each test compares two forms of it.
FIELD = 4 * 63 * ULP


def record(objective, coordinate):
    """One coordinate of one system, and its functions of (variable, point) applied to all lanes."""
    system = DYNAMICS[objective]

    def lanes(function, variable, at):
        at = {name: jnp.asarray(x) for name, x in at.items()}
        return jax.vmap(lambda x, at: function(x, system.point(**at)))(jnp.asarray(variable), at)

    return system.coordinate(coordinate), lanes


@pytest.fixture
def moving(objective):
    """Responses w on both sides of the rest point, as starts, and their law."""
    at, law = setting(objective)
    return {**at, "eps": FRACTIONS * law.w_star}, law


def velocity(objective, w, at):
    """dw/dT as the package has it, in the paper's coordinate."""
    response, lanes = record(objective, "w")
    return lanes(lambda w, point: response.field(jnp.zeros(()), w, point), w, at)


def test_field_is_the_printed_one(objective, moving):
    at, _ = moving
    field, scale = paper_field(objective, at["eps"], lam=at["lam"], rho=at["rho"], L=at["L"])
    assert np.all(np.abs(velocity(objective, at["eps"], at) - field) <= FIELD * scale)


def test_field_is_the_general_law(objective, moving):
    """dw/dT = k w z^(a-1) (1 - z^m) with z = (w/w*)^(1/L): one law for both objectives."""
    at, (a, m, _, k) = moving
    log_z = np.log(FRACTIONS) / at["L"]
    expected = -k * at["eps"] * np.exp((a - 1) * log_z) * np.expm1(m * log_z)
    _, scale = paper_field(objective, at["eps"], lam=at["lam"], rho=at["rho"], L=at["L"])
    assert np.all(np.abs(velocity(objective, at["eps"], at) - expected) <= FIELD * scale)


def test_rest_point_is_a_zero_of_the_field(objective, moving):
    at, law = moving
    _, scale = paper_field(objective, law.w_star, lam=at["lam"], rho=at["rho"], L=at["L"])
    assert np.all(np.abs(velocity(objective, law.w_star, at)) <= FIELD * scale)


@pytest.mark.parametrize(("fraction", "sign"), [(1e-9, 1), (0.1, 1), (0.999, 1), (1.001, -1), (10.0, -1)])
def test_response_moves_towards_its_rest_point(objective, moving, fraction, sign):
    at, law = moving
    assert np.all(sign * velocity(objective, fraction * law.w_star, at) > 0)


def test_logistic_coordinate_describes_the_same_motion(objective, moving):
    """dw/dT = (dw/dchi) (dchi/dT), with dw/dchi by automatic differentiation of the response."""
    at, law = moving
    chi, lanes = record(objective, "chi")

    def motion(fraction, point):
        now = chi.start(point) + chi.span(fraction, point)
        return jax.jvp(lambda x: chi.response(x, point), (now,), (chi.field(jnp.zeros(()), now, point),))

    below = np.resize(FRACTIONS[FRACTIONS < 1], POINTS)  # a response stays on the side it started on
    w, moves = lanes(motion, below, {**at, "eps": 1e-6 * law.w_star})
    np.testing.assert_allclose(w, below * law.w_star, rtol=FIELD)  # an exponential of |ln w| <= 21
    field, scale = paper_field(objective, below * law.w_star, lam=at["lam"], rho=at["rho"], L=at["L"])
    assert np.all(np.abs(moves - field) <= 4 * FIELD * scale)  # its own rounding, and three times that of w


def test_logistic_coordinate_starts_at_eps(objective, moving):
    """From far below the rest point to far above it: chi = ln(u / (1 - u)) loses no digits of either."""
    at, _ = moving
    chi, lanes = record(objective, "chi")
    w = lanes(lambda _, point: chi.response(chi.start(point), point), at["eps"], at)
    np.testing.assert_allclose(w, at["eps"], rtol=FIELD)


@pytest.mark.parametrize("side", [-1, 1], ids=["below", "above"])
def test_span_resolves_the_rest_point(objective, moving, side):
    """chi = ln u - ln(1 - u) with ln u = -|ln z^m|: no digits of a small one are lost in 1 - u."""
    at, law = moving
    chi, lanes = record(objective, "chi")
    far = np.log(0.1) if side < 0 else np.log(10)
    x0, x1 = law.m / at["L"] * far, law.m / at["L"] * np.log1p(side * 2.0**-30)
    fraction = np.full(POINTS, 1 + side * 2.0**-30)  # exact
    start, end = (-abs(x) - np.log(-np.expm1(-abs(x))) for x in (x0, x1))
    expected = end - start
    span = lanes(chi.span, fraction, {**at, "eps": np.exp(far) * law.w_star})
    # The start is a rounding of w* off, times d chi / d ln z^m there, at most 1 / (1 - 10^(-1/8)) = 4.
    np.testing.assert_allclose(span, expected, rtol=64 * ULP)


@pytest.mark.parametrize("gap", [1e-6, 1e-9, 1e-12])
def test_span_keeps_its_digits_where_the_start_is_next_to_the_threshold(objective, moving, gap):
    at, law = moving
    chi, lanes = record(objective, "chi")
    eps = 0.5 * law.w_star * (1 - gap)
    d = law.m / at["L"] * np.log1p((0.5 * law.w_star - eps) / eps)  # the gap as it is rounded
    y = 0.5 ** (law.m / at["L"])
    span = lanes(chi.span, np.full(POINTS, 0.5), {**at, "eps": eps})
    # dchi = d ln y / (1 - y) to first order in d; the rounding of w* moves the threshold by an ULP or two of itself.
    np.testing.assert_allclose(span, d / (1 - y), rtol=16 * ULP / gap + 4 * gap)


def test_way_to_the_threshold_keeps_its_digits_at_every_ratio(objective):
    """d = (1/L) ln(p w*/eps) for starts from half to twice the threshold; at rho = 1 the threshold is p itself."""
    _, lanes = record(objective, "chi")
    p = np.full(POINTS, 1.5)
    eps = p * np.concatenate([np.linspace(0.5, 0.99, POINTS // 2), np.linspace(1.01, 2.0, POINTS // 2)])
    at = {"lam": np.ones(POINTS), "rho": np.ones(POINTS), "L": DEPTHS, "eps": eps}
    d = lanes(lambda fraction, point: exact.start_to_threshold(point, fraction), p, at)
    expected = np.log1p((p - eps) / eps.astype(np.longdouble)) / DEPTHS
    # The difference, the quotient, log1p and the division by L round once each, log1p by up to 4 ULP.
    np.testing.assert_allclose(d, expected.astype(float), rtol=8 * ULP)


def test_logistic_coordinate_only_grows(objective, moving):
    """Towards +infinity from either side of the rest point, so that time is a function of it."""
    at, _ = moving
    chi, lanes = record(objective, "chi")
    assert np.all(lanes(lambda x, point: chi.field(jnp.zeros(()), x, point), np.linspace(0.1, 30, POINTS), at) > 0)
    nearer = lanes(chi.span, FRACTIONS**0.5, at)  # half as far in ln w
    assert np.all(nearer > 0)


def test_one_unit_of_paper_time_is_one_over_L_of_flow_time(objective):
    system, one = DYNAMICS[objective], jnp.ones(())
    assert float(system.flow_time(system.point(lam=one, rho=one, L=4 * one, eps=one))) == 0.25


# --- derivatives of the exact functions ---------------------------------------------------------------------------

P = np.concatenate([np.linspace(0.5, 0.85, POINTS // 2), np.linspace(2, 1.15, POINTS // 2)])
STARTS = np.where(P < 1, 0.3, 3.0)  # in units of w*: half of the lanes grow, half decay

# The field loses a factor 1 / (1 - z^m) <= 1 / (1 - 0.85^(1/8)) = 50 to cancellation, of some twenty roundings.
SLOPE = 50 * 20 * ULP


def times(objective, at):
    return js.critical_time(objective, **at)


def responses(objective, at):
    return js.trajectory(objective, **at)


@functools.cache
def crossings(function, objective: str) -> dict[str, np.ndarray]:
    """Where to differentiate: the response at its critical time lies well between start and rest point."""
    at, law = setting(objective)
    at |= {"eps": STARTS * law.w_star}
    return at | ({"p": P} if function is times else {"t": times(objective, at | {"p": P})})


def derivatives(function, objective: str, at: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By every argument but L, lane by lane."""
    free = {name: jnp.asarray(x) for name, x in at.items() if name != "L"}
    slopes = jax.grad(lambda free: function(objective, at | free).sum())(free)
    return {name: np.asarray(slope) for name, slope in slopes.items()}


def field_at(objective, w, at):
    return paper_field(objective, w, lam=at["lam"], rho=at["rho"], L=at["L"])[0]


@pytest.mark.parametrize(
    ("function", "name"),
    [(times, name) for name in ("lam", "rho", "eps", "p")] + [(responses, name) for name in ("lam", "rho", "eps", "t")],
    ids=lambda x: x if isinstance(x, str) else x.__name__,
)
def test_derivatives_are_finite_differences(objective, function, name):
    """Central differences in ln x, (8 (f1 - f-1) - (f2 - f-2)) / 12h, of fourth order.

    Truncation is (c h)^4 / 30 where each derivative by ln x brings a factor c <= a + L = 24, so 7e-10; the
    roundings of f, 1e-14 each, are divided by h: 2e-11. Together they stay below 1e-8 of |f| + |df|.
    """
    at, h = crossings(function, objective), 5e-4

    def f(n):
        return function(objective, at | {name: at[name] * np.exp(n * h)})

    difference = (8 * (f(1) - f(-1)) - (f(2) - f(-2))) / (12 * h)
    slope = derivatives(function, objective, at)[name] * at[name]
    assert np.all(np.abs(difference - slope) <= 1e-8 * (np.abs(f(0)) + np.abs(slope)))


def test_time_answers_to_its_ends_like_one_over_the_field(objective):
    """dT/d eps = -1/f(eps), dT/dp = w*/f(p w*), and T is proportional to 1/lam."""
    at = crossings(times, objective)
    slopes, w_star = derivatives(times, objective, at), at["eps"] / STARTS
    np.testing.assert_allclose(slopes["eps"], -1 / field_at(objective, at["eps"], at), rtol=SLOPE)
    np.testing.assert_allclose(slopes["p"], w_star / field_at(objective, P * w_star, at), rtol=SLOPE)
    np.testing.assert_allclose(slopes["lam"], -times(objective, at) / at["lam"], rtol=4 * ULP)


def test_trajectory_moves_with_the_field(objective):
    """dw/dT = f(w) and dw/d eps = f(w) / f(eps)."""
    at = crossings(responses, objective)
    slopes, now = derivatives(responses, objective, at), field_at(objective, responses(objective, at), at)
    np.testing.assert_allclose(slopes["t"], now, rtol=SLOPE)
    np.testing.assert_allclose(slopes["eps"], now / field_at(objective, at["eps"], at), rtol=2 * SLOPE)


@pytest.mark.parametrize("function", [times, responses], ids=lambda f: f.__name__)
def test_second_derivatives(objective, function):
    """d2T/d eps2 = f'(eps) / f(eps)^2 and d2w/dT2 = f'(w) f(w)."""
    at, name = crossings(function, objective), "eps" if function is times else "t"
    x = jnp.asarray(at[name])

    def first(x):
        return jax.jvp(lambda x: function(objective, at | {name: x}), (x,), (jnp.ones_like(x),))[1]

    second = jax.jvp(first, (x,), (jnp.ones_like(x),))[1]

    w = jnp.asarray(at["eps"] if function is times else responses(objective, at))
    f, slope = jax.jvp(lambda w: field_at(objective, w, at), (w,), (jnp.ones_like(w),))
    factor = 1 / f**2 if function is times else f
    # f' = (3 - 1/L) growth / w - 3 decay / w is known to the rounding of its terms, and the factor twice to SLOPE.
    size = jnp.abs(slope) + 3 * paper_field(objective, w, lam=at["lam"], rho=at["rho"], L=at["L"])[1] / w
    assert np.all(np.abs(second - slope * factor) <= 3 * SLOPE * size * np.abs(factor))


def test_growth_is_fastest_at_the_inflection_time(objective):
    """The velocity f(w(T)) is larger there than a percent of the time before and after."""
    at, law = setting(objective)
    at |= {"eps": 1e-2 * law.w_star}
    top = js.inflection_time(objective, **at)
    at_times = [top * 0.99, top, top * 1.01]
    before, fastest, after = (field_at(objective, responses(objective, at | {"t": t}), at) for t in at_times)
    assert np.all(fastest > np.maximum(before, after))


def test_derivatives_at_the_rest_point(objective):
    """A start at w* stays there, but its neighbours return like e^(-m k T / L): the flow linearised at z = 1."""
    at, law = setting(objective)
    t = np.resize(np.linspace(0.5, 2, 7), POINTS)
    slopes = derivatives(responses, objective, at | {"eps": law.w_star, "t": t})
    decay = law.m * law.k * t / DEPTHS  # up to 30, so that its exponential loses 30 x 10 roundings
    np.testing.assert_allclose(slopes["eps"], np.exp(-decay), rtol=300 * ULP)
    shift = DEPTHS / law.m * law.w_star / at["rho"]  # of the rest point, less what is left of the old one
    assert np.all(np.abs(slopes["rho"] - shift * (1 - np.exp(-decay))) <= 300 * ULP * shift)


def test_points_without_a_crossing_spoil_no_other_derivative(objective):
    """Lane 1 starts above its threshold, lane 2 carries no signal, lane 3 collapses."""
    at = crossings(times, objective)
    other = {name: x.copy() for name, x in at.items()}
    other["eps"][1] *= 3
    other["lam"][2:4], other["rho"][2:4] = [0, -1], [0, -0.5]
    plain, mixed = (derivatives(times, objective, x) for x in (at, other))
    for name, slope in plain.items():
        np.testing.assert_array_equal(np.delete(mixed[name], [1, 2, 3]), np.delete(slope, [1, 2, 3]), err_msg=name)


def test_condition_is_the_logarithmic_derivative():
    """|d ln w / d ln T| = |T f(w) / w|: how many roundings of w one rounding of T makes. One function for both laws."""
    points, t, expected = [], [], []
    for objective, system in DYNAMICS.items():
        at = {name: jnp.asarray(x) for name, x in crossings(responses, objective).items()}
        w = responses(objective, at)
        expected.append(np.abs(at["t"] * field_at(objective, w, at) / w))
        t.append(at.pop("t"))
        points.append(jax.vmap(lambda at, system=system: system.point(**at))(at))
    together = jax.tree.map(lambda *x: jnp.concatenate(x), *points)
    _, actual = jax.jit(jax.vmap(system.trajectory))(together, jnp.concatenate(t))
    np.testing.assert_allclose(actual, np.concatenate(expected), rtol=2 * SLOPE)


@pytest.mark.long
@pytest.mark.parametrize("function", [js.leading_critical_time, js.asymptotic_critical_time, js.inflection_time])
def test_every_prediction_has_a_gradient(objective, function):
    """Reverse mode against a central difference; the relative step 1e-5 errs by its square times O(100)."""
    at = {"lam": 1.3, "rho": 0.7, "eps": 1e-3}
    slopes = jax.grad(lambda at: function(objective, **at, L=3))(at)
    for name, slope in slopes.items():
        up, down = (float(function(objective, **{**at, name: at[name] * (1 + h)}, L=3)) for h in (1e-5, -1e-5))
        np.testing.assert_allclose(slope * at[name], (up - down) / 2e-5, rtol=1e-7, atol=1e-9 * up, err_msg=name)
