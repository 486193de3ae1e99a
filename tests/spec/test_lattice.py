"""Whether the points of several sweeps are a grid, held against the points themselves."""

import math

import numpy as np
import pytest
from conftest import TINY
from hypothesis import given, settings
from hypothesis import strategies as st

import jepa_sweep as js
from jepa_sweep.spec import lattice
from jepa_sweep.spec.grid import Grid

NAMES = ("objective", "lam", "rho", "L", "eps", "p")


def sweep_of(*blocks, objective=("jepa", "mae"), p=(0.5,)):
    return js.Sweep(name="x", objective=objective, block=blocks, measure={"p": p})


def points_of(sweeps):
    """All points of some sweeps, as tuples."""
    out = set()
    for sweep in sweeps:
        grid = Grid(sweep)
        for start, stop in grid.segments():
            points = grid.take(np.arange(start, stop))
            columns = [points.columns[name].tolist() for name in NAMES[1:-1]]
            out |= set(zip([points.objective] * (stop - start), *columns, points.p.tolist(), strict=True))
    return out


subsets = {
    "lam": st.lists(st.sampled_from([0.5, 1.0]), min_size=1, unique=True),
    "rho": st.lists(st.sampled_from([0.5, 0.7, 1.0]), min_size=1, unique=True),
    "L": st.lists(st.sampled_from([1, 2]), min_size=1, unique=True),
    "eps": st.just([1e-3]),
}
products = st.fixed_dictionaries(subsets).map(lambda axes: {"axes": axes})
rows = st.lists(st.fixed_dictionaries({name: values.map(min) for name, values in subsets.items()}), min_size=1)
listed = rows.map(lambda points: {"combine": "points", "points": points})
sweeps = st.builds(
    lambda blocks, objective, p: sweep_of(*blocks, objective=objective, p=p),
    st.lists(products | listed, min_size=1, max_size=3),
    st.sampled_from([("jepa",), ("mae",), ("mae", "jepa")]),
    st.sampled_from([(0.5,), (0.5, 0.9)]),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(sweeps, min_size=1, max_size=2), st.booleans())
def test_a_grid_is_every_combination_and_nothing_else_is(given, with_p):
    names = NAMES if with_p else NAMES[:-1]
    points = {point[: len(names)] for point in points_of(given)}
    values = [sorted(set(column)) for column in zip(*points, strict=True)]
    if len(points) == math.prod(map(len, values)):
        axes = lattice.of_sweeps(given, names).axes
        assert tuple(axes) == names
        assert [list(axis) for axis in axes.values()] == values
    else:
        with pytest.raises(js.SpecError, match="must be all combinations"):
            lattice.of_sweeps(given, names)


def refusal(*sweeps):
    with pytest.raises(js.SpecError) as caught:
        lattice.of_sweeps(sweeps, NAMES)
    return str(caught.value)


def test_what_combines_axes_otherwise_is_named():
    zipped = {"combine": "zip", "axes": {"lam": [1.0, 2.0], "rho": [0.5, 1.0], "L": 2, "eps": 1e-3}}
    assert refusal(sweep_of(zipped)) == (
        "The points must be all combinations of the values of their axes (objective 2, lam 2, rho 2), but a "
        'spec combines them by "zip" and there is no point with objective = jepa, lam = 1.0, rho = 1.0.'
    )
    drawn = {"combine": "sobol", "num": 500, "axes": {"lam": {"geom": [0.1, 10]}, "rho": {"linear": [0.1, 1]},
                                                      "L": [1, 2, 5], "eps": {"geom": [1e-6, 1e-3]}}}  # fmt: skip
    assert refusal(sweep_of(drawn)).endswith('), but a spec combines them by "sobol".')  # too many to look through


def test_what_several_specs_lack_is_named():
    axes = TINY["axes"]
    more = sweep_of({"axes": {**axes, "rho": [0.25, 0.75], "L": 1}}, objective="mae")
    assert "no point with objective = jepa, lam = 0.5, rho = 0.75, L = 1" in refusal(sweep_of({"axes": axes}), more)
    many = [{"axes": {**axes, "lam": lam, "rho": np.linspace(lam / 1000, 1, 400)}} for lam in range(1, 201)]
    assert refusal(sweep_of(*many)).endswith("but there are at most 960,000.")


def test_values_are_those_of_the_spec():
    """However they are written, and however close together: a table of floats alone could not tell."""
    coarse, fine = ({"linear": [0.05, 1.0], "num": num} for num in (64, 127))
    given = [sweep_of({"axes": {**TINY["axes"], "rho": rho}}) for rho in (coarse, fine)]
    found = lattice.of_sweeps(given, NAMES).axes["rho"]
    np.testing.assert_array_equal(found, given[1].blocks[0].axes["rho"])
    assert len(found) == 127


def test_a_parameter_that_equals_another_is_no_axis():
    def networks(**axes):
        return js.Sweep(name="x", system="network", axes={"L": 2, "t_end": 1.0, "start": "gaussian", **axes})

    names = ("objective", "features", "width")
    assert lattice.of_sweeps([networks(features=[3, 2])], names).same["width"] == "features"
    assert lattice.of_sweeps([networks(features=2), networks(features=3)], names).same["width"] == "features"
    apart = lattice.of_sweeps([networks(features=[2, 3], width=[2, 3])], names)
    assert "width" not in apart.same
    np.testing.assert_array_equal(apart.axes["width"], [2, 3])
    assert refusal(networks(features=[2, 3]), networks(features=4, width=2)).endswith(
        "but there is no point with objective = jepa, features = 2, width = 3."
    )


def test_words_stand_in_the_order_of_their_system():
    axes = {"L": 2, "t_end": 1.0, "layout": ["opposite", "same"]}
    found = lattice.of_sweeps([js.Sweep(name="x", system="network", objective=["mae", "jepa"], axes=axes)], ()).axes
    assert list(found["layout"]) == ["same", "opposite"]
    assert list(found["objective"]) == ["jepa", "mae"]
    assert "p" not in found
