"""The Python functions called inside functions that JAX transforms: what is known there, and what must stay outside."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jepa_sweep as js

POINT = {"lam": 1.0, "rho": 0.7, "L": 3, "eps": 1e-4}
EXACT = {
    "critical_time": POINT,
    "leading_critical_time": POINT,
    "asymptotic_critical_time": POINT,
    "inflection_time": POINT,
    "trajectory": {**POINT, "t": 200.0},
    "fixed_point": {"rho": 0.7, "L": 3},
}
INSIDE = {
    "jit": lambda f: jax.jit(f)(2.0),
    "vmap": lambda f: jax.vmap(f)(jnp.full(3, 2.0))[1],
    "vmap in jit": lambda f: jax.jit(jax.vmap(f))(jnp.full(3, 2.0))[1],
    "grad": lambda f: 2 * jax.grad(f)(2.0),
    "jit of grad": lambda f: 2 * jax.jit(jax.grad(f))(2.0),
    "scan": lambda f: jax.lax.scan(lambda carry, x: (carry, f(x)), 0.0, jnp.full(3, 2.0))[1][1],
}
EYE = np.eye(2)


def of_numbers(name):
    return getattr(js, name)("jepa", **EXACT[name])


@pytest.fixture(params=[False, True], ids=["float32", "float64"])
def host(request):
    """A host program in either precision."""
    with jax.enable_x64(request.param):
        yield


@pytest.mark.parametrize("where", INSIDE)
def test_numbers_give_numbers_inside_a_transformation(host, where):
    """The very numbers that they give outside, in all their digits, which the transformed function then may use."""
    for name in EXACT:
        seen = []

        def double(x, name=name, seen=seen):
            seen.append(of_numbers(name))
            return x * seen[0]

        found = INSIDE[where](double)
        assert isinstance(seen[0], np.float64)
        assert seen[0] == of_numbers(name)
        np.testing.assert_allclose(found, 2 * seen[0], rtol=4 * jnp.finfo(found.dtype).eps)


@pytest.mark.parametrize("where", INSIDE)
def test_words_of_numbers_too(host, where):
    seen = []

    def noted(x):
        seen.append(js.status("jepa", **POINT | {"rho": [0.7, 0.01]}).tolist())
        return x

    INSIDE[where](noted)
    assert seen[0] == ["learned", "not_reached"]


def test_numbers_compile_once_outside_and_inside(compilations):
    of_numbers("critical_time")
    programs = len(compilations)
    assert jax.make_jaxpr(lambda x: x * of_numbers("critical_time"))(1.0).out_avals[0].shape == ()
    assert len(compilations) == programs


def test_one_traced_value_in_a_list_makes_the_result_traced():
    found = jax.jit(lambda lam: js.critical_time("jepa", **POINT | {"lam": [lam, 1.0]}))(2.0)
    np.testing.assert_allclose(found, js.critical_time("jepa", **POINT | {"lam": [2.0, 1.0]}), rtol=1e-14)


@pytest.mark.parametrize("where", INSIDE)
@pytest.mark.parametrize("traced", [(), ("lam",), ("lam", "rho")], ids=["no value", "lam", "lam and rho"])
def test_what_is_known_is_checked_wherever_it_is_given(where, traced):
    with pytest.raises(js.SpecError, match=r"`eps` must be finite and positive, but there is eps = -1 \(argument"):
        INSIDE[where](lambda x: js.critical_time("jepa", **POINT | {"eps": -1.0} | dict.fromkeys(traced, x)))


# --- what works on the host -----------------------------------------------------------------------------------------

SOLVE = r"`solve` must be called outside .*cannot be traced; inside, use the exact functions \(critical_time, traj"


@pytest.mark.parametrize("where", ["jit", "vmap in jit", "jit of grad", "scan"])
def test_solve_inside_jit_names_the_exact_functions(host, where):
    with pytest.raises(js.SpecError, match=SOLVE):
        INSIDE[where](lambda x: x * js.solve("jepa", **POINT).time)


@pytest.mark.parametrize("where", INSIDE)
@pytest.mark.parametrize("name", [*POINT, "p", "t"])
def test_solve_of_traced_values_names_them_too(where, name):
    with pytest.raises(js.SpecError, match=SOLVE):
        INSIDE[where](lambda x: js.solve("jepa", **POINT | {name: [x] if name == "t" else x}).time.sum())


def test_solve_of_numbers_works_where_nothing_is_staged():
    def twice(x):
        return x * js.solve("jepa", **POINT, method="clenshaw_curtis").time

    with jax.enable_x64(True):
        assert 2 * jax.grad(twice)(2.0) == twice(2.0)


def flow(x):
    return js.network_flow("jepa", [x * EYE, EYE], EYE, EYE, EYE / 2, ts=[0.0, 1.0]).predictor.sum()


@pytest.mark.parametrize("where", ["jit", "vmap", "grad", "scan"])
def test_a_network_flow_is_not_traced(where):
    with pytest.raises(js.SpecError, match=r"`network_flow` must be called outside functions that JAX traces"):
        INSIDE[where](flow)
    with pytest.raises(js.SpecError, match=r"`network_flow` must be called outside functions that JAX traces"):
        jax.jit(lambda: flow(0.1))()


def test_there_is_no_word_for_a_traced_point():
    with pytest.raises(js.SpecError, match=r"`status` must be called outside .*; inside, ask where `critical_time` is"):
        jax.vmap(lambda lam: js.status("jepa", **POINT | {"lam": lam}))(jnp.ones(2))


def test_moments_and_orders_are_not_traced():
    x = np.random.default_rng(0).normal(size=(100, 2))
    with pytest.raises(js.SpecError, match=r"`moments` must be called outside functions that JAX traces"):
        jax.jit(lambda scale: js.moments(scale * x, x).lam)(2.0)
    found = js.moments(x, 0.5 * x)
    with pytest.raises(js.SpecError, match=r"`order` must be called outside .*; inside, use `critical_time`"):
        jax.jit(lambda eps: js.order(found, eps=eps))(1e-3)
