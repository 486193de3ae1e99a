"""Derivatives of the exact functions against 25 digits: within 1e-12 times their condition numbers, however taken."""

import csv
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jepa_sweep as js
from jepa_sweep.physics import exact
from jepa_sweep.physics.reduced import DYNAMICS

TABLE = Path(__file__).parents[1] / "data" / "derivatives.csv"  # written by tests/derivatives.py
LAST = {"critical_time": "p", "asymptotic_critical_time": "p", "trajectory": "t"}
FUNCTIONS = ("leading_critical_time", "inflection_time", "fixed_point", *LAST)
WORDS = ("function", "objective")
PROMISE = 1e-12
TINY = np.finfo(float).tiny


@pytest.fixture(params=["jepa", "mae"])
def objective(request) -> str:
    return request.param


@functools.cache
def table(function: str, objective: str) -> dict[str, np.ndarray]:
    """Columns of the rows of one function; NaN where there is nothing, inf where there is no float64."""
    with TABLE.open() as file:
        rows = [row for row in csv.DictReader(file) if (row["function"], row["objective"]) == (function, objective)]
    return {key: np.array([float(row[key] or "nan") for row in rows]) for key in rows[0] if key not in WORDS}


def arguments(function: str, objective: str) -> dict[str, np.ndarray]:
    names = ("rho",) if function == "fixed_point" else ("lam", "rho", "eps", *LAST.get(function, ()))
    return {name: table(function, objective)[name] for name in (*names, "L")}


def by_reverse(function, at):
    """Derivatives by all arguments but L, of each point."""
    L = at.pop("L")
    return jax.grad(lambda at: function(**at, L=L).sum())({name: jnp.asarray(x) for name, x in at.items()})


def by_forward(function, at):
    L = at.pop("L")

    def along(name, at):
        x = at[name]
        return jax.jvp(lambda x: function(**{**at, name: x}, L=L), (x,), (jnp.ones_like(x),))[1]

    return jax.jit(lambda at: {name: along(name, at) for name in at})(at)


def by_vmap(function, at):
    return jax.jit(jax.vmap(lambda at: jax.grad(lambda free: function(**{**at, **free}))({"rho": at["rho"]})))(at)


def assert_promised(slopes, columns, *, over=1.0, more=0.0) -> None:
    """Where the value and its derivative are normal floats, over `over`, whose condition is `more`."""
    checked = 0
    for name, slope in slopes.items():
        with np.errstate(invalid="ignore"):  # inf / inf
            true, condition = columns[f"d_{name}"] / over, columns[f"condition_{name}"] + more
        normal = [(np.abs(x) > TINY) & np.isfinite(x) for x in (columns["value"], columns[f"d_{name}"], true)]
        there = np.logical_and.reduce(normal) & (condition < 1 / PROMISE)
        error = np.abs(np.asarray(slope)[there] / true[there] - 1) / condition[there]
        assert np.all(error <= PROMISE), f"{name}: {error.max()} at row {np.flatnonzero(there)[error.argmax()]}"
        checked += there.sum()
    assert checked > 10


@pytest.mark.parametrize("function", FUNCTIONS)
def test_values_keep_their_digits(objective, function):
    """Within 1e-12 of their condition number 1 + sum_x |x df/dx / f|."""
    columns, at = table(function, objective), arguments(function, objective)
    with np.errstate(all="ignore"):  # inf / inf
        moves = [np.abs(x * columns[f"d_{name}"] / columns["value"]) for name, x in at.items() if name != "L"]
        allowed = PROMISE * (1 + np.sum(moves, axis=0))
    values = getattr(js, function)(objective, **at)
    there = (np.abs(columns["value"]) > TINY) & (allowed < 1)  # false where a number is no float64
    assert there.sum() > 15
    error = np.abs(values[there] / columns["value"][there] - 1)
    assert np.all(error <= allowed[there]), f"row {np.flatnonzero(there)[np.argmax(error / allowed[there])]}"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_digit_is_lost(objective, function):
    """Of growth and decay, from tiny starts, next to thresholds and to rest, at zeros of the derivative."""
    of = functools.partial(getattr(js, function), objective)
    with jax.enable_x64(True):
        slopes = by_reverse(of, arguments(function, objective))
    assert_promised(slopes, table(function, objective))


@pytest.mark.parametrize("way", [by_forward, by_vmap], ids=["forward", "vmap of reverse, in jit"])
@pytest.mark.parametrize("function", ["critical_time", "trajectory"])
def test_they_do_however_they_are_taken(objective, function, way):
    of = functools.partial(getattr(js, function), objective)
    with jax.enable_x64(True):
        slopes = way(of, arguments(function, objective))
    assert_promised(slopes, table(function, objective))


def test_logarithms_of_times_have_derivatives_as_exact(objective):
    """Also where the time itself is out of range; d ln T = dT / T has the condition of both."""
    columns = table("critical_time", objective)

    def log_time(*, L, p, **at):
        return exact.log_critical_time(DYNAMICS[objective].point(L=jnp.asarray(L), **at), p)

    with jax.enable_x64(True):
        slopes = by_reverse(log_time, arguments("critical_time", objective))
        late = arguments("critical_time", objective) | {"lam": np.full(len(columns["lam"]), 1e-305)}
        later = by_reverse(log_time, late)
    assert_promised(slopes, columns, over=columns["value"], more=1 + columns["condition_lam"])
    assert np.isfinite(later["rho"]).all()


@pytest.mark.parametrize("function", ["critical_time", "trajectory"])
def test_second_derivatives_are_the_same_in_every_mode(objective, function):
    """Reverse and forward, one after the other in any order; they are those of the laws in `test_reduced`."""
    at = {name: float(x[0]) for name, x in arguments(function, objective).items()}

    def of(rho):
        return getattr(js, function)(objective, **{**at, "rho": rho})

    with jax.enable_x64(True):
        modes = ((jax.jacfwd, jax.jacfwd), (jax.grad, jax.grad), (jax.jacfwd, jax.grad))
        found = jax.jit(lambda rho: jnp.stack([outer(inner(of))(rho) for outer, inner in modes]))(at["rho"])
    np.testing.assert_allclose(found[1:], found[0], rtol=1e-9)


@pytest.mark.parametrize("function", ["critical_time", "inflection_time", "trajectory", "fixed_point"])
def test_by_depth_they_are_0(function):
    """L takes whole numbers, in flow time as well."""
    at = {"lam": 1.0, "rho": 0.6, "eps": 1e-3, LAST.get(function, "p"): 0.5}
    names = {"fixed_point": ("rho",), "inflection_time": ("lam", "rho", "eps")}.get(function, at)
    unit = {} if function == "fixed_point" else {"time": "flow"}
    slope = jax.grad(lambda L: getattr(js, function)("mae", L=L, **{name: at[name] for name in names}, **unit))(2.0)
    assert slope == 0
