"""The elementary functions against decimal arithmetic, on dense arguments and where such functions go wrong."""

import decimal
import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from jepa_sweep.physics import elementary

NAMES = ("exp", "expm1", "log", "log1p", "arctan")
UNITS = {"arctan": decimal.Decimal("1.5")}  # in the last place; 1 for the others
DTYPES = (np.float64, np.float32)
DIGITS = decimal.Context(prec=30)
WIDE = decimal.Context(prec=60)  # digits of 1 + x and of e^x, where the last ones of the result depend on both
EACH = pytest.mark.parametrize("dtype", DTYPES, ids=["float64", "float32"])
ALL = pytest.mark.parametrize("name", NAMES)


def true(name: str, x: float) -> decimal.Decimal:
    """The value to more digits than any result has."""
    value = decimal.Decimal(float(x))
    if name == "exp":
        return DIGITS.exp(value)
    if name == "expm1":
        if abs(x) > 1e-10:
            return WIDE.subtract(WIDE.exp(value), 1)
        return DIGITS.multiply(value, 1 + value / 2 + value * value / 6 + value * value * value / 24)
    if name == "log":
        return DIGITS.ln(value)
    if name == "arctan":
        return true_arctan(value)
    if abs(x) > 1e-10:
        return DIGITS.ln(WIDE.add(value, 1))
    return DIGITS.multiply(value, 1 - value / 2 + value * value / 3 - value * value * value / 4)


def true_arctan(x: decimal.Decimal) -> decimal.Decimal:
    """By halving the angle until its series is short."""
    with decimal.localcontext(WIDE):
        for _ in range(6):
            x = x / (1 + (1 + x * x).sqrt())
        return 64 * sum((-1) ** k * x ** (2 * k + 1) / (2 * k + 1) for k in range(12))


def arguments(name: str, dtype: type) -> np.ndarray:
    """Numbers of every exponent, and many where ranges meet, results cancel, or the format ends."""
    info, rng, count = np.finfo(dtype), np.random.default_rng(3), 300
    every = np.ldexp(rng.uniform(1, 2, 4 * count), rng.integers(info.minexp, info.maxexp, 4 * count))
    subnormal = info.smallest_subnormal * rng.integers(1, 1 << info.nmant, 50).astype(dtype)
    signs = rng.choice([-1.0, 1.0], count)
    small = signs * 10 ** rng.uniform(np.log10(info.eps) - 2, 0, count)
    low, high = np.log(info.tiny.astype(float)), np.log(info.max.astype(float))
    root = np.sqrt(2) ** rng.choice([-1.0, 1.0], count)
    if name in ("exp", "expm1"):
        ranges = [(low, high), (-1, 1), (0.3, 0.4), (-0.4, -0.3), (high - 1, high), (low, low + 1)]
        ranges += [(info.nmant * np.log(2) * 0.95, (info.nmant + 3) * np.log(2))]
        halves = (np.arange(-100, 100) + 0.5) * np.log(2)  # where the nearest multiple of ln 2 changes
        points = [small, halves, halves * (1 + 4 * info.eps), halves - np.log(2) / 2, -subnormal, subnormal]
        points += [signs * every[:count]] if name == "exp" else [signs * np.minimum(every[:count], high)]
    elif name == "log":
        ranges = [(0, 3), (0.5, 2), (0.99, 1.01)]
        points = [1 + small[np.abs(small) < 0.9], root * (1 + 1e-3 * small), every, subnormal, 1 - info.eps / 2]
    elif name == "arctan":
        ranges = [(-3, 3), (0.5, 1), (1, 2), (-1.1, -0.9)]
        points = [small, 1 / small, signs * every[:count], subnormal, -subnormal]
    else:
        ranges = [(-1, 3), (-0.5, -0.25), (0.35, 0.75), (0.99, 1.01)]
        points = [small, root * (1 + 1e-3 * small) - 1, every, subnormal, -subnormal, -1 + np.abs(small)]
    dense = [rng.uniform(*ends, count) for ends in ranges]
    x = np.concatenate([np.ravel(np.asarray(part, float)) for part in (*dense, *points)]).astype(dtype)
    inside = (x >= dtype(low)) & (x < dtype(high)) if name == "exp" else x > (0 if name == "log" else -1)
    if name == "expm1":
        inside = x < dtype(high)
    elif name == "arctan":
        inside = np.full(x.shape, True)
    return x[inside & np.isfinite(x)]


@functools.cache
def computed(name: str, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Arguments and results, compiled as one program."""
    x = arguments(name, dtype)
    return x, np.asarray(jax.jit(getattr(elementary, name))(x))


@pytest.fixture(autouse=True)
def both_precisions():
    with jax.enable_x64(True):
        yield


@ALL
@EACH
def test_results_are_right_to_the_last_place(name, dtype):
    x, found = computed(name, dtype)
    assert found.dtype == dtype
    info, wrong = np.finfo(dtype), []
    for argument, result in zip(x, found, strict=True):
        exact = true(name, argument)
        if abs(exact) < decimal.Decimal(float(info.tiny)):  # flushed, but where the argument is the result
            allowed = argument if name in ("expm1", "log1p", "arctan") else 0
            assert result in (dtype(allowed), dtype(float(exact))), (argument, result)
            continue
        unit = decimal.Decimal(float(np.spacing(np.abs(dtype(float(exact))))))
        if abs(decimal.Decimal(float(result)) - exact) > UNITS.get(name, 1) * unit:
            wrong.append((argument, result, float(exact)))
    assert wrong == []


VALUES = [0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1.0, -1.0, -2.0, 1e4, -1e4]
SPECIAL = {
    "exp": [1, 1, np.inf, 0, np.nan, np.nan, np.e, 1 / np.e, np.exp(-2), np.inf, 0],
    "expm1": [0.0, -0.0, np.inf, -1, np.nan, np.nan, np.e - 1, 1 / np.e - 1, np.exp(-2) - 1, np.inf, -1],
    "log": [-np.inf, -np.inf, np.inf, np.nan, np.nan, np.nan, 0.0, np.nan, np.nan, np.log(1e4), np.nan],
    "log1p": [0.0, -0.0, np.inf, np.nan, np.nan, np.nan, np.log(2), -np.inf, np.nan, np.log1p(1e4), np.nan],
    "arctan": [0.0, -0.0, np.pi / 2, -np.pi / 2, np.nan, np.nan, *np.arctan(VALUES[6:])],
}


@ALL
@EACH
def test_ends_of_the_range(name, dtype):
    info = np.finfo(dtype)
    found = np.asarray(getattr(elementary, name)(np.array(VALUES, dtype)))
    np.testing.assert_allclose(found, SPECIAL[name], rtol=2 * info.eps)
    zero = np.array(SPECIAL[name]) == 0
    np.testing.assert_array_equal(np.signbit(found[zero]), np.signbit(np.array(SPECIAL[name])[zero]))
    payload = np.full(3, np.nan, dtype)
    payload.view(f"u{payload.itemsize}")[1:] += np.array([1, 0xFFF], f"u{payload.itemsize}")
    assert np.isnan(getattr(elementary, name)(payload)).all()


@EACH
def test_exponentials_end_where_the_format_does(dtype):
    info = np.finfo(dtype)
    last = dtype(np.log(info.max.astype(np.longdouble)))
    if np.exp(np.longdouble(last)) > info.max:
        last = np.nextafter(last, dtype(0))
    beyond = np.nextafter(last, dtype(np.inf))
    for function in (elementary.exp, elementary.expm1):
        found = np.asarray(function(np.array([last, beyond, 2 * last], dtype)))
        np.testing.assert_array_equal(np.isinf(found), [False, True, True])


@EACH
def test_subnormal_arguments_have_logarithms(dtype):
    smallest = np.finfo(dtype).smallest_subnormal
    exponent = np.finfo(dtype).minexp - np.finfo(dtype).nmant
    found = np.asarray(elementary.log(np.array([smallest, 3 * smallest], dtype)))
    np.testing.assert_allclose(found, exponent * np.log(2) + np.log([1, 3]), rtol=np.finfo(dtype).eps)


SLOPES = {
    "exp": (np.exp, np.exp),
    "expm1": (np.exp, np.exp),
    "log": (lambda x: 1 / x, lambda x: -1 / x**2),
    "log1p": (lambda x: 1 / (1 + x), lambda x: -1 / (1 + x) ** 2),
    "arctan": (lambda x: 1 / (1 + x**2), lambda x: -2 * x / (1 + x**2) ** 2),
}


@ALL
@EACH
def test_derivatives_are_exact(name, dtype):
    function = getattr(elementary, name)
    x = np.array([0.3, 0.7, 2.5], dtype)
    first, second = jax.grad(function), jax.grad(jax.grad(function))
    rtol = 4 * np.finfo(dtype).eps
    for transform in (jax.vmap, lambda f: jax.jit(jax.vmap(f)), lambda f: jax.vmap(jax.jit(f))):
        np.testing.assert_allclose(transform(first)(x), SLOPES[name][0](x), rtol=rtol)
        np.testing.assert_allclose(transform(second)(x), SLOPES[name][1](x), rtol=rtol)
    ahead = jax.jvp(function, (x,), (np.ones_like(x),))[1]
    np.testing.assert_array_equal(ahead, jax.vmap(first)(x))


@ALL
def test_numbers_and_arrays_of_any_shape(name):
    function = getattr(elementary, name)
    alone = np.asarray(function(0.75))
    assert alone.shape == ()
    for shape in ((), (1,), (5,), (2, 3), (0,)):
        found = function(np.full(shape, 0.75))
        assert found.shape == shape
        np.testing.assert_array_equal(found, np.full(shape, alone))
    assert function(1).dtype == np.float64


@ALL
def test_a_host_program_in_32_bits(name):
    with jax.enable_x64(False):
        found = getattr(elementary, name)(jnp.full(3, 0.75))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, getattr(np, name)(0.75), rtol=2e-7)
        assert jax.grad(getattr(elementary, name))(0.75).dtype == np.float32
    with jax.enable_x64(True):
        assert getattr(elementary, name)(jnp.full(3, 0.75)).dtype == np.float64


@ALL
def test_other_formats_are_left_to_xla(name):
    x = jnp.full(3, 0.75, jnp.bfloat16)
    np.testing.assert_array_equal(getattr(elementary, name)(x), getattr(jnp, name)(x))


def test_every_platform_has_its_own():
    """On processors nothing but arithmetic, elsewhere XLA's function."""

    def all_of(x):
        return [getattr(elementary, name)(x) for name in NAMES]

    for dtype in DTYPES:
        of = jax.ShapeDtypeStruct((8,), dtype)
        for platform in ("cpu", "cuda", "tpu"):
            text = jax.export.export(jax.jit(all_of), platforms=[platform])(of).mlir_module()
            for operation in ("exponential", "exponential_minus_one", "log", "log_plus_one", "atan2"):
                assert (f"{operation} " in text.replace("chlo.atan ", "atan2 ")) == (platform != "cpu")


def test_a_program_computes_each_once():
    """XLA repeats cheap operations in whatever needs them; without a division among them all are one loop."""
    x = jnp.linspace(0.1, 0.9, 64)

    def chain(x):
        for _ in range(5):
            for name in ("exp", "expm1", "log", "log1p"):
                x = 0.5 * x + 0.1 * getattr(elementary, name)(x)
        return x

    text = jax.jit(chain).lower(x).compile().as_text()
    assert text.count(" fusion(") + text.count(" call(") <= 1
    assert text.count(" round-nearest-even(") == 10
    assert " divide(" not in text
