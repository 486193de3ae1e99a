"""Pictures of a store in a notebook: what is drawn are its rows, and nothing that varies unseen."""

import doctest

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("agg")
from matplotlib import pyplot

import jepa_sweep as js
from jepa_sweep.view.plots import Plots

NETWORK = {
    "name": "network",
    "system": "training",
    "axes": {"features": 3, "layout": "opposite", "L": 2, "scale": [0.25, 0.3], "t_end": 60.0, "eta": 0.04},
    "measure": {"trajectories": {"samples": 4}},
}


@pytest.fixture(scope="module")
def flows(tmp_path_factory):
    axes = {"lam": [0.5, 1.0, 2.0], "rho": [0.25, 0.5, 1.0], "L": [2, 3], "eps": 1e-4}
    sweep = js.Sweep(name="flows", axes=axes, measure={"trajectories": {"samples": 4}})
    return js.run(sweep, tmp_path_factory.mktemp("flows"))


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    return js.run(js.Sweep(**NETWORK), tmp_path_factory.mktemp("networks"))


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def dots(ax):
    """x and y of every line of dots, by its label."""
    lines = {line.get_label(): line for line in ax.lines if line.get_marker() == "o"}
    return {label: (line.get_xdata(), line.get_ydata()) for label, line in lines.items()}


def test_critical_times_are_those_of_the_table(flows):
    ax = flows.plot.critical_times("lam", by="rho", L=3)
    found = dots(ax)
    assert len(found) == 6
    for rho in (0.25, 0.5, 1.0):
        points = flows.select(objective="mae", L=3, rho=rho).sort_values("lam")
        x, y = found[f"mae, rho = {rho:g}"]
        np.testing.assert_array_equal(x, points["lam"])
        np.testing.assert_array_equal(y, points["t_numeric"])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("lam", "critical time (paper time)")


def test_closed_forms_run_through_the_dots(flows):
    ax = flows.plot.critical_times("rho", lam=1.0, L=2, objective="jepa")
    line, marks = ax.lines
    np.testing.assert_allclose(line.get_ydata(), marks.get_ydata(), rtol=1e-7)


def test_trajectories_are_those_of_the_table(flows):
    ax = flows.plot.trajectories("rho", lam=1.0, L=2, objective="jepa")
    solid = [line for line in ax.lines if line.get_linestyle() == "-"]
    assert len(solid) == 3
    samples = flows.select("trajectories", objective="jepa", lam=1.0, L=2, rho=0.25).sort_values("t")
    np.testing.assert_array_equal(solid[0].get_ydata(), samples["w"])


@pytest.mark.long
def test_order_shows_where_two_objectives_differ(flows, networks):
    jepa, mae = np.array(networks.plot.order(scale=0.25).collections[0].get_offsets()).T
    assert sorted(jepa) == sorted(mae) == [1, 2, 3]
    ax = flows.plot.order(L=3)
    assert len(ax.collections[0].get_offsets()) == 9
    assert ax.get_xlabel() == "place in the order of jepa"


def test_networks_are_drawn_by_feature(networks):
    found = dots(networks.plot.critical_times("feature", scale=0.25))
    features = networks.features(filters=[("objective", "==", "jepa"), ("scale", "==", 0.25)]).dropna(
        subset="t_learned"
    )
    np.testing.assert_array_equal(found["jepa"][1], features.sort_values("feature")["t_learned"])
    assert len(networks.plot.trajectories("feature", scale=0.3).lines) == 6


def test_words_may_stand_across(flows):
    assert flows.plot.critical_times("objective", lam=1.0, rho=0.5, L=2).get_xscale() == "linear"


def test_axes_of_ones_own_are_drawn_on(flows):
    ax = pyplot.figure().subplots()
    assert flows.plot.critical_times("lam", rho=0.5, L=2, ax=ax) is ax
    assert pyplot.get_fignums() == [1]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda s: s.plot.critical_times("lam", L=2), r"`rho` varies.*add `rho=\.\.\.` \(one of 0.25, 0.5, 1.0"),
        (
            lambda s: s.plot.critical_times("lam", by="sigma"),
            "`sigma` is not a column of points. Known are: objective, lam",
        ),
        (
            lambda s: s.plot.critical_times("lam", L=7, rho=0.5),
            "`L` must be a value that the run has, but it is 7; the nearest is 3",
        ),
        (lambda s: s.plot.order(), "`L` varies"),
        (lambda s: s.plot.order(L=2, objective="mae"), "lacks jepa"),
        (lambda s: s.plot.trajectories("lam", rho=0.5), "`L` varies"),
        (lambda s: s.plot.critical_times("lam", colour="red"), "`colour` is not a column of points"),
    ],
)
def test_what_cannot_be_drawn_is_refused(flows, draw, message):
    with pytest.raises(js.SpecError, match=message):
        draw(flows)


def test_times_that_were_not_integrated_are_drawn_as_the_lines_they_are(tmp_path):
    axes = {"lam": [0.5, 1.0], "rho": 0.5, "L": 2, "eps": [1e-4, 0.2]}
    store = js.run(js.Sweep(name="exact", axes=axes, solver={"method": "exact"}), tmp_path)
    line = store.plot.critical_times("lam", objective="jepa", eps=1e-4).lines[0]
    np.testing.assert_array_equal(line.get_ydata(), store.select(objective="jepa", eps=1e-4).sort_values("lam").t_exact)
    with pytest.raises(js.SpecError, match="must be a critical time to draw"):
        store.plot.critical_times("lam", objective="jepa", eps=0.2)  # above its threshold


def test_runs_without_trajectories_or_times_say_so(tmp_path):
    axes = {"lam": 1.0, "rho": [0.5, 0.9], "L": 2, "eps": 1e-4}
    bare = js.run(js.Sweep(name="bare", axes=axes, solver={"method": "exact"}), tmp_path / "bare")
    with pytest.raises(js.SpecError, match="must be rows of trajectories"):
        bare.plot.trajectories("rho")
    series = js.run(js.Sweep(name="series", system="temporal", axes={"log10_T": 2.0}), tmp_path / "series")
    with pytest.raises(js.SpecError, match="holds runs of temporal"):
        series.plot.order()


@pytest.mark.parametrize("name", ["critical_times", "trajectories", "order"])
def test_examples_run(name):
    [example] = doctest.DocTestFinder(recurse=False).find(getattr(Plots, name), name, globs={})
    assert doctest.DocTestRunner().run(example).failed == 0
