"""The flow records of Theorem 4.2, and the derivatives of the exact functions, which are that flow again.

Differentiating `T(eps, p)` by its ends gives one over the field, so the printed fields are an oracle for the
derivatives; parameters that move more than an end are compared with finite differences.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jepa_sweep as js
from jepa_sweep.physics.catalog import SYSTEMS

ULP = 2.0**-53  # relative rounding of one operation

POINTS = 96  # of every call: one compiled program then serves all tests


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    """Double precision, since these tests call JAX themselves."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=["jepa", "mae"])
def objective(request) -> str:
    return request.param


class Sample(NamedTuple):
    """Crossings of `p w*` and the law dz/dtau = z^a (1 - z^m), k = lam rho^((a-1)/m), written out once more."""

    at: dict[str, np.ndarray]
    p: np.ndarray
    a: np.ndarray
    m: np.ndarray
    w_star: np.ndarray
    k: np.ndarray


@functools.cache
def sample(objective: str) -> Sample:
    """The first half grows from 0.3 w*, to 0.5 w* or more; the second decays from 3 w*, to 2 w* or less."""
    L = np.tile([1.0, 2.0, 3.0, 4.0, 5.0, 8.0], POINTS // 6)
    lam, rho = np.resize(np.geomspace(0.1, 10, 11), POINTS), np.resize(np.linspace(0.4, 1.2, 17), POINTS)
    p = np.concatenate([np.linspace(0.5, 0.9, POINTS // 2), np.linspace(2, 1.1, POINTS // 2)])
    a, m = (2 * L, np.ones(POINTS)) if objective == "jepa" else (L, L + 1)
    w_star, k = rho ** (L / m), lam * rho ** ((a - 1) / m)
    return Sample({"lam": lam, "rho": rho, "L": L, "eps": w_star * np.where(p < 1, 0.3, 3.0)}, p, a, m, w_star, k)


def paper_field(objective, w, *, lam, rho, L):
    """lam (w^(3 - 1/L) - w^3/rho) and lam (w^(2 - 1/L) - w^3/rho): its growing term, and the whole."""
    growth = lam * w ** ((3 if objective == "jepa" else 2) - 1 / L)
    return growth, growth - lam * w**3 / rho


def record(objective, coordinate):
    """Field and response of one coordinate of one system, over arrays."""
    system = SYSTEMS["reduced"][objective]
    chosen = system.coordinate(coordinate)

    def at(function, variable, point):
        one = jax.vmap(lambda x, point: function(x, system.point(**point)))
        return one(jnp.asarray(variable), {name: jnp.asarray(x) for name, x in point.items()})

    def field(x, p):
        return chosen.field(jnp.zeros(()), x, p)

    return chosen, field, at


# --- the fields ---------------------------------------------------------------------------------------------------


def test_field_is_the_printed_one(objective, sample):
    """Starts below and above the rest point."""
    _, field, at = record(objective, "w")
    growth, expected = paper_field(objective, sample.eps, lam=sample.lam, rho=sample.rho, L=sample.L)
    # Powers of numbers within e^+-23 with exponents up to 3: 70 roundings of the larger of the two terms.
    scale = np.maximum(growth, np.abs(expected))
    assert np.all(np.abs(at(field, sample.eps, sample.point) - expected) <= 70 * ULP * scale)


def test_field_is_the_general_law(objective, sample):
    """dw/dT = k w z^(a-1) (1 - z^m) with z = (w/w*)^(1/L): one law for both objectives."""
    _, field, at = record(objective, "w")
    a, m, w_star, k = sample.law
    w = sample.p * w_star
    log_z = np.log(sample.p) / sample.L
    expected = -k * w * np.exp((a - 1) * log_z) * np.expm1(m * log_z)
    growth, _ = paper_field(objective, w, lam=sample.lam, rho=sample.rho, L=sample.L)
    # The field is a difference of two terms of the size of the larger, each a power as in the test above; the law
    # has the exponents (a - 1) ln rho / m <= 28 of its own.
    scale = np.maximum(growth, np.abs(expected))
    assert np.all(np.abs(at(field, w, sample.point) - expected) <= 4 * 70 * ULP * scale)


def test_rest_point_is_a_zero_of_the_field(objective, sample):
    _, field, at = record(objective, "w")
    growth, _ = paper_field(objective, sample.law.w_star, lam=sample.lam, rho=sample.rho, L=sample.L)
    # w* is off by 15 roundings at most, and both terms by their own powers.
    assert np.all(np.abs(at(field, sample.law.w_star, sample.point)) <= 2 * 70 * ULP * growth)


@pytest.mark.parametrize(("fraction", "sign"), [(1e-9, 1), (0.1, 1), (0.999, 1), (1.001, -1), (10.0, -1)])
def test_response_moves_towards_its_rest_point(objective, sample, fraction, sign):
    _, field, at = record(objective, "w")
    assert np.all(sign * at(field, fraction * sample.law.w_star, sample.point) > 0)


def test_logistic_coordinate_describes_the_same_motion(objective, sample):
    """dw/dT = (dw/dchi) (dchi/dT), with dw/dchi by automatic differentiation of the response."""
    chi_record, chi_field, at = record(objective, "chi")

    def motion(chi, p):
        return jax.jvp(lambda x: chi_record.response(x, p), (chi,), (chi_field(chi, p),))

    w = sample.p * sample.law.w_star
    chi = at(chi_record.at, sample.p, sample.point)
    response, velocity = at(motion, chi, sample.point)
    # ln w = ln w* + (L/m) ln z^m: logarithms up to 30, exponentiated.
    np.testing.assert_allclose(response, w, rtol=8 * 30 * ULP)
    growth, expected = paper_field(objective, w, lam=sample.lam, rho=sample.rho, L=sample.L)
    scale = np.maximum(growth, np.abs(expected))  # as for the general law, and three times the error of w
    assert np.all(np.abs(velocity - expected) <= (4 * 70 + 3 * 8 * 30) * ULP * scale)


def test_logistic_coordinate_starts_at_eps(objective, sample):
    chi_record, _, at = record(objective, "chi")
    w = at(lambda _, p: chi_record.response(chi_record.start(p), p), sample.eps, sample.point)
    np.testing.assert_allclose(w, sample.eps, rtol=8 * 30 * ULP)  # as for the response above


def test_logistic_coordinate_only_grows(objective, sample):
    """Towards +infinity from either side of the rest point, so that time is a function of it."""
    chi_record, field, at = record(objective, "chi")
    chi = np.linspace(0.1, 30, sample.L.size)
    assert np.all(at(field, chi, sample.point) > 0)
    assert np.all(at(lambda p_, p: chi_record.at(p_, p) - chi_record.start(p), sample.p, sample.point) > 0)


def test_one_unit_of_paper_time_is_one_over_L_of_flow_time(objective):
    system = SYSTEMS["reduced"][objective]
    one = jnp.ones(())
    assert float(system.flow(system.point(lam=one, rho=one, L=4 * one, eps=one))) == 0.25


# --- derivatives of the exact functions ---------------------------------------------------------------------------

DEPTHS = np.tile([1.0, 2.0, 3.0, 5.0, 8.0], 2)  # of ten lanes: five grow, five decay
P = np.repeat([0.8, 1.5], 5)  # from 0.3 w* and from 3 w*


def times(objective, at):
    return js.critical_time(objective, L=DEPTHS, **at)


def responses(objective, at):
    return js.trajectory(objective, L=DEPTHS, **at)


@functools.cache
def crossings(function, objective: str) -> dict[str, np.ndarray]:
    """Where to differentiate: the response at its critical time lies well between start and rest point."""
    rho = np.full(10, 0.7)
    w_star = rho ** (DEPTHS if objective == "jepa" else DEPTHS / (DEPTHS + 1))
    at = {"lam": np.full(10, 1.3), "rho": rho, "eps": np.repeat([0.3, 3.0], 5) * w_star}
    return at | ({"p": P} if function is times else {"t": times(objective, at | {"p": P})})


def derivatives(function, objective: str, at: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By every argument but L, lane by lane."""
    slopes = jax.grad(lambda at: function(objective, at).sum())({name: jnp.asarray(x) for name, x in at.items()})
    return {name: np.asarray(slope) for name, slope in slopes.items()}


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
    slopes, w_star = derivatives(times, objective, at), at["eps"] / np.repeat([0.3, 3.0], 5)
    law = {"lam": at["lam"], "rho": at["rho"], "L": DEPTHS}
    # f loses at most a factor 36 to cancellation, 1 - z^m >= 1 - 0.8^(1/8), of some ten roundings.
    np.testing.assert_allclose(slopes["eps"], -1 / paper_field(objective, at["eps"], **law)[1], rtol=1e-13)
    np.testing.assert_allclose(slopes["p"], w_star / paper_field(objective, P * w_star, **law)[1], rtol=1e-13)
    np.testing.assert_allclose(slopes["lam"], -times(objective, at) / at["lam"], rtol=1e-14)


def test_trajectory_moves_with_the_field(objective):
    """dw/dT = f(w) and dw/d eps = f(w) / f(eps)."""
    at = crossings(responses, objective)
    w, slopes = responses(objective, at), derivatives(responses, objective, at)
    law = {"lam": at["lam"], "rho": at["rho"], "L": DEPTHS}
    velocity = paper_field(objective, w, **law)[1]
    np.testing.assert_allclose(slopes["t"], velocity, rtol=1e-13)  # a factor 36 of cancellation, as above
    np.testing.assert_allclose(slopes["eps"], velocity / paper_field(objective, at["eps"], **law)[1], rtol=2e-13)


def test_second_derivatives(objective):
    """d2T/d eps2 = f'(eps) / f(eps)^2 and d2w/dT2 = f'(w) f(w)."""

    def field(w, at):
        """f, f' and the size of the terms of f', which cancel at the inflection."""
        law = {"lam": at["lam"], "rho": at["rho"], "L": DEPTHS}
        w = jnp.asarray(w)
        f, slope = jax.jvp(lambda w: paper_field(objective, w, **law)[1], (w,), (jnp.ones_like(w),))
        return f, slope, 6 * paper_field(objective, w, **law)[0] / w

    def twice(function, name, at):
        first = jax.grad(lambda x: function(objective, at | {name: x}).sum())
        return jax.grad(lambda x: first(x).sum())(jnp.asarray(at[name]))

    # f and f' each lose a factor 36 of some ten roundings, as above, and the quotients use them twice.
    at = crossings(times, objective)
    f, slope, size = field(at["eps"], at)
    assert np.all(np.abs(twice(times, "eps", at) - slope / f**2) <= 1e-12 * size / f**2)
    at = crossings(responses, objective)
    f, slope, size = field(responses(objective, at), at)
    assert np.all(np.abs(twice(responses, "t", at) - slope * f) <= 1e-12 * size * np.abs(f))


def test_growth_is_fastest_at_the_inflection_time(objective):
    """The velocity f(w(T)) has its maximum there: larger than a percent of the time before and after."""
    at = {"lam": np.ones(10), "rho": np.repeat([0.5, 0.9], 5)}
    at["eps"] = 1e-2 * at["rho"] ** DEPTHS
    top = js.inflection_time(objective, **at, L=DEPTHS)

    law = {"lam": at["lam"], "rho": at["rho"], "L": DEPTHS}

    def velocity(t):
        return paper_field(objective, responses(objective, at | {"t": t}), **law)[1]

    before, fastest, after = (velocity(top * (1 + shift)) for shift in (-1e-2, 0.0, 1e-2))
    assert np.all(fastest > before)
    assert np.all(fastest > after)


def test_derivatives_at_the_rest_point(objective, law):
    """A start at w* stays there, but its neighbours return like e^(-m k T / L): the flow linearised at z = 1."""
    rho, T = np.full(10, 0.5), np.linspace(0.5, 2, 10)
    _, m, w_star, k = law(objective, lam=1.0, rho=rho, L=DEPTHS)
    slopes = derivatives(responses, objective, {"lam": np.ones(10), "rho": rho, "eps": w_star, "t": T})
    left = np.exp(-m * k * T / DEPTHS)
    np.testing.assert_allclose(slopes["eps"], left, rtol=1e-12)
    np.testing.assert_allclose(slopes["rho"], DEPTHS / m * w_star / rho * (1 - left), rtol=1e-12)


def test_points_without_a_crossing_spoil_no_other_derivative(objective):
    """Lane 1 starts above its threshold, lane 2 carries no signal, lane 3 collapses."""
    at = crossings(times, objective)
    other = {name: x.copy() for name, x in at.items()}
    other["eps"][1] *= 3
    other["lam"][2:4], other["rho"][2:4] = [0, -1], [0, -0.5]
    plain, mixed = (derivatives(times, objective, x) for x in (at, other))
    for name, slope in plain.items():
        np.testing.assert_array_equal(np.delete(mixed[name], [1, 2, 3]), np.delete(slope, [1, 2, 3]), err_msg=name)


def test_condition_is_the_logarithmic_derivative(objective, sample):
    """|d ln w / d ln T| = T k z^(a-1) |1 - z^m|: how many roundings of w one rounding of T makes."""
    system = SYSTEMS["reduced"][objective]
    a, m, _, k = sample.law
    t = js.critical_time(objective, **sample.point, p=sample.p)
    z = sample.p ** (1 / sample.L)
    rest_lost = np.abs(np.expm1(m * np.log(z)))
    expected = t * k * z ** (a - 1) * rest_lost
    one = jax.jit(jax.vmap(lambda t, point: system.prediction.condition(system.point(**point), t)))
    actual = one(jnp.asarray(t), {name: jnp.asarray(x) for name, x in sample.point.items()})
    # Taken at w(T), which is off by 1e-13 condition numbers; d ln(rate) / d ln w = (a - 1 + m z^m / |1 - z^m|) / L.
    rtol = 1e-13 * np.maximum(expected, 1) * (1 + (a - 1 + m * z**m / rest_lost) / sample.L)
    assert np.all(np.abs(actual / expected - 1) <= rtol)
