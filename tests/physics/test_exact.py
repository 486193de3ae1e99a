"""The exact functions against 25-digit values, quadrature, and the closed forms known for one layer."""

import csv
import functools
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from scipy import integrate, special

import jepa_sweep as js
from jepa_sweep.engine.cores import STRETCH
from jepa_sweep.physics import exact
from jepa_sweep.physics.reduced import JEPA

DATA = Path(__file__).parents[1] / "data"
POINTS = 96  # of every call, where the shape is free: one compiled program then serves the whole file
ULP = 2.0**-53  # relative rounding of one operation
PARAMETERS = ("lam", "rho", "L", "eps")


class Law(NamedTuple):
    """dz/dtau = z^a (1 - z^m), tau = (k/L) T, w = w* z^L, written out apart from the package."""

    a: np.ndarray
    m: np.ndarray
    w_star: np.ndarray
    k: np.ndarray


def law(objective, *, lam, rho, L) -> Law:
    a, m = (2 * L, 0 * L + 1) if objective == "jepa" else (L, L + 1)
    return Law(a, m, rho ** (L / m), lam * rho ** ((a - 1) / m))


class Sample(NamedTuple):
    """Random crossings of `p w*`, at parameters `at`."""

    at: dict[str, np.ndarray]
    p: np.ndarray
    law: Law


@pytest.fixture(params=["jepa", "mae"])
def objective(request) -> str:
    return request.param


@pytest.fixture
def sample(objective) -> Sample:
    """Half growth from below, half decay from above, starting from 5% to three decades away from the threshold."""
    rng = np.random.default_rng(7)
    L = np.tile([1.0, 2.0, 3.0, 5.0, 8.0, 12.0], POINTS // 6)
    lam, rho = 10 ** rng.uniform(-1, 1, POINTS), rng.uniform(0.3, 1.2, POINTS)
    grows = np.arange(POINTS) < POINTS // 2
    p = np.where(grows, rng.uniform(0.02, 0.98, POINTS), 1 + 10 ** rng.uniform(-2, 0.5, POINTS))
    away = 10 ** rng.uniform(0.02, 3, POINTS)
    its = law(objective, lam=lam, rho=rho, L=L)
    return Sample({"lam": lam, "rho": rho, "L": L, "eps": p * its.w_star * np.where(grows, 1 / away, away)}, p, its)


@functools.cache
def golden(name: str, objective: str) -> dict[str, np.ndarray]:
    """Columns of one golden file; 25 digits become the nearest float64, which costs one rounding."""
    with (DATA / name).open() as file:
        rows = [row for row in csv.DictReader(file) if row["objective"] == objective]
    columns = {key: np.array([float(row[key]) for row in rows]) for key in rows[0] if key != "objective"}
    return {key: np.resize(values, POINTS) for key, values in columns.items()}  # the rows again and again


def filled(**values) -> dict[str, np.ndarray]:
    """The same numbers, each in the shape (POINTS,)."""
    return {name: np.broadcast_to(value, POINTS) for name, value in values.items()}


def parameters(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: columns[name] for name in PARAMETERS}


def golden_rtol(columns: dict[str, np.ndarray]) -> np.ndarray:
    """A time contains exp(n ln(q/r)) with n ln(q/r) <= 2 |ln eps|, whose roundings the exponential multiplies.

    For eps >= 1e-12 the exponent is at most 55, and eight roundings of it are 8 x 55 x 2^-53 = 5e-14. Smaller starts
    (down to 1e-100 here) and more layers (more terms) get 1e-12.
    """
    return np.where((columns["L"] <= 8) & (columns["eps"] >= 1e-12), 5e-14, 1e-12)


def assert_within(actual, expected, rtol) -> None:
    """|actual / expected - 1| <= rtol, entry by entry; NaN only where NaN is expected."""
    actual, expected, rtol = np.broadcast_arrays(np.asarray(actual), expected, rtol)
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    finite = ~np.isnan(expected)
    error = np.abs(actual[finite] / expected[finite] - 1)
    worst = np.argmax(error / rtol[finite], keepdims=True)
    assert np.all(error <= rtol[finite]), f"worst entry {np.flatnonzero(finite)[worst]}: {error[worst]}"


# --- 25-digit values ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("time", "column"), [("paper", "t_paper"), ("flow", "t_flow")])
def test_critical_times_to_25_digits(objective, time, column):
    g = golden("times.csv", objective)
    assert_within(js.critical_time(objective, **parameters(g), p=g["p"], time=time), g[column], golden_rtol(g))


def test_rest_points_to_25_digits(objective):
    g = golden("times.csv", objective)
    # One power, plus the rounding of its exponent L/(L+1) times |ln rho| <= 3: within eight roundings.
    assert_within(js.fixed_point(objective, rho=g["rho"], L=g["L"]), g["w_star"], 8 * ULP)


def test_inflection_times_to_25_digits(objective):
    """NaN stands where the start lies beyond the inflection."""
    g = golden("times.csv", objective)
    assert_within(js.inflection_time(objective, **parameters(g)), g["t_inflection_paper"], golden_rtol(g))


def test_leading_order_to_25_digits(objective):
    """At one layer the paper's MAE formula is 0/0; the logarithmic law |ln eps| / lam takes its place there."""
    g = golden("times.csv", objective)
    undefined = (g["L"] == 1) & (objective == "mae")
    np.testing.assert_array_equal(np.isnan(g["t_leading_formula_paper"]), undefined)
    expected = np.where(undefined, -np.log(g["eps"]) / g["lam"], g["t_leading_formula_paper"])
    assert_within(js.leading_critical_time(objective, **parameters(g)), expected, golden_rtol(g))


def test_asymptotic_times_to_25_digits(objective):
    """Leading order, logarithm and constant; NaN stands for the decays from above, which have no small start."""
    g = golden("times.csv", objective)
    times = js.asymptotic_critical_time(objective, **parameters(g), p=g["p"])
    assert_within(times, g["t_asymptotic_paper"], golden_rtol(g))


def test_trajectories_to_25_digits(objective):
    """A rounding of the given time is a relative error of w of d ln w / d ln T roundings, the condition number."""
    g = golden("trajectories.csv", objective)
    w = js.trajectory(objective, **parameters(g), t=g["t_paper"])
    assert_within(w, g["w"], 1e-13 * np.maximum(g["cond_dlnw_dlnt"], 1))


# --- how programs compute them ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many() -> dict[str, np.ndarray]:
    """More points than one call of a program takes, growing and decaying."""
    rng, count = np.random.default_rng(5), 3 * STRETCH // 2
    at = {"lam": rng.uniform(0.1, 10, count), "rho": rng.uniform(0.3, 1, count), "L": rng.choice([1.0, 2, 5], count)}
    return at | {"eps": 10 ** rng.uniform(-6, 0.5, count), "p": rng.choice([0.5, 1.5], count)}


def test_many_points_are_computed_as_few_are(objective, many):
    """To the bit: in parts, on all cores, beside other points, or with few."""
    times, rows = js.critical_time(objective, **many), slice(STRETCH - 48, STRETCH + 48)
    assert np.isfinite(times[rows]).sum() > 24
    few = js.critical_time(objective, **{name: values[rows] for name, values in many.items()})
    np.testing.assert_array_equal(times[rows], few)


def test_many_points_keep_their_shape_and_their_refusals(many):
    square = {"lam": 1.0, "rho": 0.7, "L": np.ones((200, 1)), "eps": np.geomspace(1e-4, 1e-2, 200)}
    times = js.critical_time("jepa", **square)
    assert times.shape == (200, 200)
    np.testing.assert_array_equal(times, np.broadcast_to(js.critical_time("jepa", **square | {"L": 1.0}), (200, 200)))
    assert js.status("mae", **many).shape == many["lam"].shape
    with pytest.raises(js.SpecError, match="`eps` must be finite and positive, but there is eps = -1"):
        js.critical_time("mae", **many | {"eps": np.append(many["eps"][:-1], -1)})


def test_predictions_share_one_integral():
    """A program of the time, its logarithm and the status has no loop more than one of the time and its prospect."""
    point = JEPA.point(**{name: np.ones(8) for name in PARAMETERS})

    def loops(*functions) -> int:
        program = jax.jit(jax.vmap(lambda point, p: [f(point, p) for f in functions]))
        return program.lower(point, np.full(8, 0.5)).compile().as_text().count(" while(")

    with jax.enable_x64(True):
        alone = loops(exact.critical_time, exact.prospect)
        assert alone == loops(exact.critical_time, exact.log_critical_time, exact.status)


# --- quadrature and other closed forms ----------------------------------------------------------------------------


def quadrature(lam, rho, L, eps, p, law) -> float:
    """T = (L/k) int dz / (z^a (1 - z^m)), in chi = ln(z^m / |1 - z^m|), where the integrand has no singularity.

    Below the rest point dz / (z^a (1 - z^m)) = (1/m) (1 + e^-chi)^((a-1)/m) dchi, above it
    (1/m) (1 - e^-chi)^((a-1)/m) dchi.
    """
    power = (law.a - 1) / law.m
    start, end = (law.m / L * np.log(x) for x in (eps / law.w_star, p))  # ln z^m
    sign = 1 if p < 1 else -1
    low, high = (min(x, 0) - np.log(-np.expm1(-abs(x))) for x in (start, end))
    value, _ = integrate.quad(
        lambda chi: np.exp(power * np.log1p(sign * np.exp(-chi))), low, high, epsabs=0, epsrel=1e-12, limit=200
    )
    return L / law.k * value / law.m


def test_critical_time_is_the_integral(objective, sample):
    """Growth from below and decay from above, at depths 1 to 12."""
    times = js.critical_time(objective, **sample.at, p=sample.p)
    points = zip(*sample.at.values(), sample.p, *sample.law, strict=True)
    expected = [quadrature(*point[:5], Law(*point[5:])) for point in points]
    # 1e-12 is what the quadrature promises. A start 5% from its threshold multiplies the roundings of ln(q/r) by
    # 1/0.05, which stays far below.
    assert_within(times, np.array(expected), 2e-12)


@pytest.mark.long
def test_critical_time_of_many_layers_is_the_integral(objective):
    """Sums of up to 200,000 powers or 50,000 roots of unity, over every remainder that blocks of them can leave."""
    L = np.resize([64.0, 65, 66, 67, 68, 69, 70, 71, 1000, 30_000, 99_999, 100_000], 60)  # each depth with each p
    p = np.resize([0.1, 0.5, 0.9, 1.1, 2.0], 60)
    at = {"lam": np.full(60, 1.3), "rho": np.exp(np.where(L % 2, 0.3, -0.3) / L), "L": L}
    its = law(objective, lam=at["lam"], rho=at["rho"], L=L)
    at["eps"] = p * its.w_star * np.where(p < 1, 0.3, 3.0)
    expected = [quadrature(*point[:5], Law(*point[5:])) for point in zip(*at.values(), p, *its, strict=True)]
    # What the quadrature promises; from above also the roundings of a series of some 80 L terms.
    rtol = np.where(p < 1, 2e-12, 2e-12 + L * ULP)
    assert_within(js.critical_time(objective, **at, p=p), np.array(expected), rtol)


def test_mae_time_is_hypergeometric():
    """I = [r^(1-L) - q^(1-L)] / (L-1) + H(q) - H(r), H(z) = (z^2/2) 2F1(1, b; 1+b; z^m), b = 2/m."""
    at = filled(lam=0.7, rho=0.6, L=np.tile([2.0, 3.0, 5.0, 8.0], 24), eps=1e-3)
    L, p = at["L"], np.linspace(0.01, 0.95, POINTS)
    _, m, w_star, k = law("mae", lam=0.7, rho=0.6, L=L)
    q, r = p ** (1 / L), (1e-3 / w_star) ** (1 / L)

    def H(z):
        return z**2 / 2 * special.hyp2f1(1, 2 / m, 1 + 2 / m, z**m)

    expected = L / k * ((r ** (1 - L) - q ** (1 - L)) / (L - 1) + H(q) - H(r))
    # 2F1 is good to about 1e-14, and no term of the sum is twice as large as the sum here.
    assert_within(js.critical_time("mae", **at, p=p), expected, 1e-13)


def test_jepa_with_one_layer_is_lambert():
    """w = rho / (1 + W(exp(-lam rho T - F(r) - 1))), F(r) = ln(r/(1-r)) - 1/r, r = eps/rho."""
    lam, rho, eps = 0.7, 0.6, np.repeat([1e-3, 1e-2, 0.3], POINTS // 3)
    r = eps / rho
    blow_up = 1 / (lam * eps)  # of the flow without saturation; the rest point is a few 1/(lam rho) later
    t = blow_up * np.linspace(0.5, 1.1, POINTS) + np.tile(np.linspace(0, 20, 32), 3) / (lam * rho)
    exponent = -lam * rho * t - np.log(r / (1 - r)) + 1 / r - 1
    expected = rho / (1 + special.wrightomega(exponent))  # W(e^x), which does not overflow
    # The exponent is a difference of numbers up to lam rho t + 1/r, and |d ln w / d exponent| <= 1; the times
    # of the package carry the same roundings.
    rtol = 8 * ULP * (lam * rho * t + 1 / r)
    assert_within(js.trajectory("jepa", **filled(lam=lam, rho=rho, L=1.0, eps=eps, t=t)), expected, rtol)


def test_mae_with_one_layer_is_logistic():
    """w^2 = rho / (1 + (rho/eps^2 - 1) e^(-2 lam T)), from below and from above."""
    lam, rho, eps, t = 0.7, 0.6, np.repeat([1e-6, 0.3, 2.0], POINTS // 3), np.tile(np.linspace(0, 20, 32), 3)
    expected = np.sqrt(rho / (1 + (rho / eps**2 - 1) * np.exp(-2 * lam * t)))
    # The exponents 2 lam T <= 28 and ln(rho/eps^2) <= 28, with a few roundings each, on either side.
    actual = js.trajectory("mae", **filled(lam=lam, rho=rho, L=1.0, eps=eps, t=t))
    assert_within(actual, expected, 4 * 56 * ULP)


def test_trajectory_inverts_critical_time(objective, sample):
    """w(T(p)) = p w*, up to the 5e-14 of T times d ln w / d ln T = T k z^(a-1) |1 - z^m|, and as much for w(T)."""
    a, m, w_star, k = sample.law
    times = js.critical_time(objective, **sample.at, p=sample.p)
    z = sample.p ** (1 / sample.at["L"])
    condition = times * k * z ** (a - 1) * np.abs(np.expm1(m * np.log(z)))
    w = js.trajectory(objective, **sample.at, t=times)
    assert_within(w, sample.p * w_star, 1e-13 * np.maximum(condition, 1))


def test_trajectory_starts_at_eps_and_ends_at_rest(objective, sample):
    """Exactly at T = 0, and to the rounding of the rest point after a time that nothing survives."""
    start, end = (js.trajectory(objective, **sample.at, t=np.full(POINTS, t)) for t in (0.0, 1e300))
    np.testing.assert_array_equal(start, sample.at["eps"])
    assert_within(end, sample.law.w_star, 4 * 15 * ULP)  # w* = exp((L/m) ln rho), with |(L/m) ln rho| <= 15


# --- units, shapes, precision, transformations --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["leading_critical_time", "inflection_time", "asymptotic_critical_time"])
def test_flow_time_is_paper_time_over_depth(name):
    """Golden flow times of either objective stand above; these three functions have none of their own."""
    at = filled(lam=1.0, rho=0.8, L=np.tile([1.0, 2.0, 3.0], POINTS // 3), eps=1e-3)
    more = {"p": np.full(POINTS, 0.5)} if name == "asymptotic_critical_time" else {}
    paper, flow = (getattr(js, name)("mae", **at, **more, time=time) for time in ("paper", "flow"))
    assert_within(flow, paper / at["L"], 1e-14)  # another compiled program may order the same sums differently


def test_trajectory_reads_its_times_in_the_unit_given():
    at = filled(lam=1.0, rho=0.8, L=4.0, eps=1e-3, t=np.linspace(0, 100, POINTS))
    paper = js.trajectory("mae", **at)
    # The blow-up time is (4/3) eps^(-3/4) = 237, so d ln w / d ln T is at most (4/3) 100 / (237 - 100) = 1.
    assert_within(js.trajectory("mae", **at | {"t": at["t"] / 4}, time="flow"), paper, 1e-13)


def test_arguments_broadcast():
    """Every parameter may carry its own axis; each entry is what its own call gives."""
    lam, rho, L, eps = np.array([1.0, 2.0]), np.array([[0.5], [0.9]]), np.array([1, 2, 3])[:, None, None], [1e-3, 1e-2]
    times = js.critical_time("jepa", lam=lam, rho=rho, L=L, eps=eps, p=0.4)
    assert times.shape == (3, 2, 2)
    same = js.critical_time("jepa", **filled(lam=2.0, rho=0.5, L=3.0, eps=1e-2, p=0.4))
    assert_within(same, times[2, 0, 1], 1e-14)


@pytest.mark.parametrize(
    ("shapes", "result"),
    [([(), ()], ()), ([(0,), ()], (0,)), ([(2, 1), (3,)], (2, 3)), ([(4, 1, 1), (1, 5)], (4, 1, 5))],
)
def test_result_has_the_broadcast_shape(objective, shapes, result):
    rho, L = (np.ones(shape) for shape in shapes)
    assert js.fixed_point(objective, rho=rho, L=L).shape == result


@pytest.mark.parametrize("name", ["critical_time", "trajectory", "leading_critical_time", "fixed_point"])
def test_results_are_double_in_a_single_precision_program(name):
    """JAX's own default is single precision: the package neither inherits it nor changes it."""
    assert not jax.config.jax_enable_x64
    at = filled(rho=np.linspace(0.1, 1, POINTS), L=2.0)
    at |= {} if name == "fixed_point" else filled(lam=1.0, eps=1e-3)
    at |= {"critical_time": filled(p=0.5), "trajectory": filled(t=3.0)}.get(name, {})
    assert getattr(js, name)("jepa", **at).dtype == np.float64
    assert not jax.config.jax_enable_x64


TRANSFORMS = {
    "jit": jax.jit(js.critical_time, static_argnums=0),
    "vmap": lambda objective, **at: jax.vmap(lambda at: js.critical_time(objective, **at))(at),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_transformed_calls_agree_with_plain_ones(transform):
    """Also from a single-precision program, whose flag stays as it was: these numbers are exact in both."""
    at = filled(lam=np.tile([0.5, 1.0, 2.0], POINTS // 3), rho=0.5, L=2.0, eps=2.0**-10, p=0.5)
    once = transform("jepa", **at)
    assert once.dtype == np.float64
    assert_within(once, js.critical_time("jepa", **at), 1e-14)
    assert not jax.config.jax_enable_x64
