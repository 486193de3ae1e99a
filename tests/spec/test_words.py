"""Specs of networks and series: words among the numbers, defaults for what is left out, and what is refused."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import qmc

import jepa_sweep as js
from jepa_sweep.running.execute import execute
from jepa_sweep.running.plan import Intervals, Visited, fresh
from jepa_sweep.spec.grid import Grid
from jepa_sweep.systems.networks.parameters import DATA, NETWORK, TRAINING
from jepa_sweep.systems.rows import tables, with_keys
from jepa_sweep.systems.system import Rows

AXES = {"features": 3, "L": 1, "t_end": 2.0, "eta": 0.1}
LEAST = {"training": {"L": 1, "t_end": 2.0}, "network": {"L": 1, "t_end": 2.0}, "temporal": {"log10_T": 3}}


def sweep(axes=(), system="training", objective="jepa", **others):
    return js.Sweep(name="x", system=system, objective=objective, axes={**AXES, **dict(axes)}, **others)


def listed(*points, **others):
    """A sweep over points that are written out."""
    points = [{**AXES, **point} for point in points]
    return js.Sweep(name="x", system="training", objective="jepa", combine="points", points=points, **others)


def rows_of(spec):
    """The parameters of all points as the tables have them, row by row."""
    grid, parts = Grid(spec), []
    schema = {"points": schema_of(spec)}
    for start, stop in grid.segments():
        points = grid.take(np.arange(start, stop))
        rows = with_keys(spec.system, points, Rows({}, np.arange(stop - start)))
        whole = tables(spec.system, {"points": rows}, np.ones(stop - start, bool), schema)
        parts += whole["points"].to_pylist()
    return parts


def schema_of(spec):
    """The parameters alone, in the types of the tables."""
    kinds = {"text": pa.string(), "integer": pa.int64(), "exact": pa.float64()}
    columns = [(c.name, kinds[c.dtype]) for c in (q.column for q in spec.system.parameters)]
    return pa.schema([("objective", pa.string()), *columns])


def column(spec, name):
    return [row[name] for row in rows_of(spec)]


def new_points(spec, stored):
    """How many points of a spec a store that finished another one lacks."""
    grid, theirs = Grid(spec), Grid(stored)
    return sum(
        int(fresh(grid, np.arange(a, b), [Visited(theirs, Intervals([(0, theirs.size)]))]).sum())
        for a, b in grid.segments()
    )


# --- words ----------------------------------------------------------------------------------------------------------

WORDS = ["same", "opposite", "crossed"]


def test_words_of_a_product_stand_in_the_tables():
    rows = rows_of(sweep({"layout": WORDS, "start": ["gaussian", "aligned"], "seed": [0, 1]}))
    assert len(rows) == 12
    assert {(r["layout"], r["start"]) for r in rows} == {(a, b) for a in WORDS for b in ("gaussian", "aligned")}


def test_words_may_be_zipped_with_numbers():
    rows = rows_of(sweep({"layout": WORDS, "scale": [0.1, 0.2, 0.3], "start": "gaussian"}, combine="zip"))
    assert sorted((r["scale"], r["layout"], r["start"]) for r in rows) == [
        (0.1, "same", "gaussian"),
        (0.2, "opposite", "gaussian"),
        (0.3, "crossed", "gaussian"),
    ]


def test_words_may_stand_in_points():
    rows = rows_of(listed({"layout": "opposite"}, {"activation": "relu", "batch": 8}, {"data": "masked"}))
    found = {(r["data"], r["layout"], r["activation"], r["batch"]) for r in rows}
    assert found == {
        ("gaussian", "opposite", "linear", 0),
        ("gaussian", "same", "relu", 8),
        ("masked", "same", "linear", 0),
    }


def test_sobol_draws_words_like_other_lists():
    axes = {"layout": WORDS, "scale": {"geom": [0.1, 1.0]}}
    few, many = (rows_of(sweep(axes, combine="sobol", num=num)) for num in (12, 48))
    assert {r["layout"] for r in few} == set(WORDS)
    counts = [sum(r["layout"] == word for r in many) for word in WORDS]
    assert (min(counts), sum(counts)) == (pytest.approx(16, abs=2), 48)
    assert all(row in many for row in few)


def test_blocks_with_words_make_a_union():
    first = {"axes": {**AXES, "layout": ["same", "opposite"]}}
    second = {"combine": "points", "points": [{**AXES, "layout": "opposite"}, {**AXES, "layout": "crossed"}]}
    spec = js.Sweep(name="x", system="training", objective="jepa", block=[first, second])
    assert Grid(spec).unique == 3
    assert sorted(column(spec, "layout")) == ["crossed", "opposite", "opposite", "same"]


def test_words_survive_toml():
    spec = sweep({"layout": WORDS, "data": "gaussian"}, measure={"trajectories": {"samples": 3}})
    again = js.Sweep.parse(spec.to_toml())
    assert again == spec
    assert rows_of(again) == rows_of(spec)


MISTAKES = {
    "unknown word": ({"layout": "oposite"}, r"`layout` must be one of same.*Did you mean `opposite`.*\[axes.layout\]"),
    "one unknown of many": ({"start": ["aligned", "gauss"]}, r"Did you mean `gaussian`.*\[axes.start\]"),
    "number for a word": ({"layout": 1}, r"`layout` must be one of same, .*it is 1.*\[axes.layout\]"),
    "range for a word": ({"layout": {"linear": [0, 1], "num": 2}}, r"`layout` must be one of.*\[axes.layout\]"),
    "word for a number": ({"scale": "small"}, r"`scale` must be a number.*'small'.*\[axes.scale\]"),
    "words among numbers": ({"scale": [0.1, "small"]}, r"`scale` must be a number.*'small'.*\[axes.scale\]"),
    "repeated word": ({"layout": ["same", "same"]}, r"`layout` must not repeat.*\[axes.layout\]"),
    "number in quotes": ({"L": "1"}, r"`L` must be a number.*without quotes.*\[axes.L\]"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_mistaken_words_are_said_with_their_key_path(case):
    axes, message = MISTAKES[case]
    with pytest.raises(js.SpecError, match=message):
        sweep(axes)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"layout": "sane"}, r"`layout` must.*Did you mean `same`.*\[points.1.layout\]"),
        ({"layout": 2}, r"`layout` must be one of.*\[points.1.layout\]"),
        ({"scale": "big"}, r"`scale` must be a number.*\[points.1.scale\]"),
        ({"scale": True}, r"^`scale` must be a number, or a word in quotes, but it is True \(\[points.1.scale\]\)\.$"),
        ({"scale": [0.1]}, r"`scale` must be a number, or a word in quotes \(\[points.1.scale\]\)"),
        ({"width": 2}, r"`start`, `features` and `width` must.*features = 3, width = 2 \(\[points\]\)"),
    ],
)
def test_mistakes_in_points_are_said_with_their_number(point, message):
    with pytest.raises(js.SpecError, match=message):
        listed({}, point)


# --- defaults -------------------------------------------------------------------------------------------------------


def test_defaults_fill_what_is_left_out_and_stand_in_the_tables():
    [row] = rows_of(js.Sweep(name="x", system="training", objective="jepa", axes=LEAST["training"]))
    wanted = {q.name: q.default for q in (*DATA, *NETWORK, *TRAINING)}
    wanted |= {"objective": "jepa", "L": 1, "t_end": 2.0, "width": wanted["features"]}
    wanted |= {"predictor_scale": wanted["scale"]}
    assert row == wanted


@pytest.mark.parametrize(("system", "objectives"), [
    ("training", ("jepa", "mae")), ("network", ("jepa", "mae")), ("temporal", ("moments",)),
])  # fmt: skip
def test_objectives_of_a_system(system, objectives):
    assert js.Sweep(name="x", system=system, axes=LEAST[system]).objective == objectives


@pytest.mark.parametrize("system", ["training", "network"])
def test_further_objectives_are_there_when_named(system):
    assert js.Sweep(name="x", system=system, objective=["nosg", "ema"], axes=LEAST[system]).objective == ("nosg", "ema")


@pytest.mark.parametrize(("system", "method"), [("training", "sgd"), ("network", "dopri8"), ("temporal", "blocks")])
def test_methods_of_a_system(system, method):
    spec = js.Sweep(name="x", system=system, axes=LEAST[system])
    assert spec.measurement.solver.method == spec.frozen()["solver"]["method"] == method
    assert js.Sweep.parse(spec.to_toml()) == spec


@pytest.mark.parametrize(("more", "method"), [
    ({}, "clenshaw_curtis"),
    ({"solver": {"coordinate": "chi", "precision": "float32", "rtol": 1e-5}}, "clenshaw_curtis"),
    ({"measure": {"p": [0.1, 0.5]}}, "clenshaw_curtis"),
    ({"measure": {"trajectories": {"samples": 8}}}, "dopri8"),
    ({"solver": {"coordinate": "log_w"}}, "dopri8"),
    ({"solver": {"method": "tsit5"}}, "tsit5"),
])  # fmt: skip
def test_the_method_is_the_fastest_that_can_be_used_and_the_store_says_which(more, method):
    spec = js.Sweep(name="x", axes={"lam": 1.0, "rho": 0.5, "L": 2, "eps": 1e-3}, **more)
    assert spec.measurement.solver.method == spec.frozen()["solver"]["method"] == method


def test_width_and_predictor_follow():
    product = rows_of(sweep({"features": [3, 4, 6], "scale": [0.1, 0.2]}))
    points = rows_of(listed({"features": 4}, {"features": 6, "scale": 0.2}, {"features": 4, "width": 9}))
    assert [r["width"] - r["features"] for r in product] == [0] * 6
    assert all(r["predictor_scale"] == r["scale"] for r in (*product, *points))
    found = {(r["features"], r["width"], r["scale"]) for r in points}
    assert found == {(4, 4, 1.0), (6, 6, 0.2), (4, 9, 1.0)}


@pytest.mark.parametrize("combine", ["product", "zip", "sobol"])
def test_width_follows_features_however_they_combine(combine):
    num = {"num": 8} if combine == "sobol" else {}
    rows = rows_of(sweep({"features": [3, 4]}, combine=combine, **num))
    assert {r["features"] for r in rows} == {3, 4}
    assert all(r["width"] == r["features"] for r in rows)


FOLLOWING = {
    "one": sweep({"scale": [0.1, 0.2]}),
    "several": sweep({"features": [3, 4], "scale": [0.1, 0.2]}),
    "zipped": sweep({"features": [3, 3, 4, 4], "scale": [0.1, 0.2, 0.1, 0.2]}, combine="zip"),
}


@pytest.mark.parametrize("kind", FOLLOWING)
def test_a_width_that_is_written_out_is_no_other_point(kind):
    implicit = FOLLOWING[kind]
    wanted = {(r["features"], r["scale"]) for r in rows_of(implicit)}
    rows = [{"features": d, "width": d, "scale": s, "predictor_scale": s, "layout": "same"} for d, s in wanted]
    explicit = listed(*rows)
    assert (new_points(explicit, implicit), new_points(implicit, explicit)) == (0, 0)
    wider = listed(*({**row, "width": 7} for row in rows))
    assert new_points(wider, implicit) == len(wanted)


def test_a_store_knows_a_point_however_it_is_written(tmp_path):
    assert execute(sweep(), tmp_path).computed == 1
    again = sweep({"width": 3, "layout": "same", "momentum": 0.9, "scale": [0.5, 1.0]})
    report = execute(again, tmp_path)
    assert report.computed == 1
    assert sorted(report.store.read("points").scale) == [0.5, 1.0]
    assert execute(listed({"width": 3, "predictor_scale": 1.0}), tmp_path).computed == 0


@pytest.mark.parametrize("seed", [None, 3])
def test_sobol_points_of_scalar_flows_are_those_of_scipy(seed):
    axes = {"lam": {"geom": [0.1, 10]}, "rho": {"linear": [0.1, 1]}, "L": [1, 2, 5], "eps": 1e-4}
    chosen = {} if seed is None else {"seed": seed}
    grid = Grid(js.Sweep(name="x", objective="jepa", combine="sobol", num=16, axes=axes, **chosen))
    found = set()
    for start, stop in grid.segments():
        c = grid.take(np.arange(start, stop)).columns
        found |= set(zip(c["lam"], c["rho"], c["L"], strict=True))
    u_L, _, u_lam, u_rho = qmc.Sobol(4, scramble=seed is not None, rng=seed).random_base2(4).T  # L, eps, lam, rho
    L = np.array([1.0, 2.0, 5.0])[(3 * u_L).astype(int)]
    np.testing.assert_allclose(
        sorted(found), sorted(zip(0.1 * 100**u_lam, 0.1 + 0.9 * u_rho, L, strict=True)), rtol=1e-14
    )


# --- what is refused ------------------------------------------------------------------------------------------------

TEMPORAL = {"data": "temporal", "lam_low": 0.5, "lam_high": 0.9, "rho_low": 0.2, "rho_high": 0.4}
REFUSED = {
    "coordinate": ({}, {"solver": {"coordinate": "chi"}}, r"`coordinate` must be left out.*\[solver.coordinate\]"),
    "until": ({}, {"measure": {"trajectories": {"until": 2.0}}}, r"`until` says nothing for.*trajectories.until\]"),
    "unknown optimizer": ({}, {"solver": {"method": "adamw"}}, r"one of auto, sgd.*Did you mean `adam`.*\[solver.met"),
    "solver of flows": ({}, {"solver": {"method": "dopri8"}}, r"`method` must be one of auto, sgd.*\[solver.method\]"),
    "narrow": ({"width": 2}, {}, r"aligned start.*start = aligned, features = 3, width = 2.*\[axes.width\]"),
    "narrow in a product": ({"features": [3, 4], "width": [4, 3]}, {}, r"features = 4, width = 3.*\[axes.width\]"),
    "narrow in a zip": ({"features": [3, 4], "width": [4, 3]}, {"combine": "zip"}, r"features = 4, width = 3"),
    "lam of series": ({**TEMPORAL, "lam_high": 1.0}, {}, r"below 1 for temporal .*data = temporal.*\[axes.lam_high\]"),
    "rho of series": ({**TEMPORAL, "rho_high": 0.6}, {}, r"rho <= lam for temporal data.*\[axes.rho_high\]"),
    "relu without batch": ({"activation": "relu"}, {}, r"`batch` of 1 or more.*activation = relu.*\[axes.batch\]"),
    "one of them": ({"activation": ["linear", "relu"], "batch": [0, 8]}, {}, r"activation = relu, batch = 0"),
    "no step": ({"eta": 0.0}, {}, r"`eta` must be more than 0.*\[axes.eta\]"),
    "backward": ({"eta": -0.1}, {}, r"`eta` must be more than 0.*\[axes.eta\]"),
    "no steps": ({"t_end": 0.05}, {}, r"between 1 and 16,777,216 steps.*t_end = 0.05, eta = 0.1.*\[axes.eta\]"),
    "too many steps": ({"t_end": 1e9}, {}, r"between 1 and 16,777,216 steps.*\[axes.t_end\]"),
    "momentum": ({"momentum": 1.0}, {}, r"`momentum` must be at least 0 and below 1.*\[axes.momentum\]"),
    "p": ({}, {"measure": {"p": [0.5, 1.0]}}, r"`p` must be more than 0 and below 1.*\[measure.p\]"),
    "large seed": ({"seed": 2**24}, {}, r"`seed` must.*to 16,777,215, but there is seed = 16777216 .*\[axes.seed\]"),
    "half a seed": ({"seed": 0.5}, {}, r"`seed` must be a whole number.*seed = 0.5.*\[axes.seed\]"),
    "one feature": ({"features": 1}, {}, r"`features` must be a whole number from 2.*\[axes.features\]"),
    "no layer": ({"L": 0}, {}, r"`L` must be a whole number from 1 to 64.*\[axes.L\]"),
    "no scale": ({"scale": 0.0}, {}, r"`scale` must be more than 0.*\[axes.scale\]"),
    "keep all": ({"keep": 1.0}, {}, r"`keep` must be more than 0 and below 1.*\[axes.keep\]"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trained_is_refused(case):
    axes, others, message = REFUSED[case]
    with pytest.raises(js.SpecError, match=message):
        sweep(axes, **others)


def test_what_is_refused_of_an_aligned_start_is_taken_of_a_gaussian_one():
    assert Grid(sweep({"width": 2, "start": "gaussian"})).size == 1
    assert Grid(sweep(TEMPORAL)).size == 1


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ({"p": 0.5}, r"`p` says nothing for the system temporal.*\[measure.p\]"),
        (
            {"trajectories": {"until": 2.0}},
            r"the first `samples` times of a series are kept.*\[measure.trajectories.until\]",
        ),
    ],
)
def test_series_have_no_critical_times(measure, message):
    with pytest.raises(js.SpecError, match=message):
        js.Sweep(name="x", system="temporal", axes=LEAST["temporal"], measure=measure)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log10_T": 12}, r"`log10_T` must lie between 1 and 9"),
        ({"gamma_first": 1.0}, r"`gamma_first` must be more than 0 and below 1"),
        ({"noise_last": -1.0}, r"`noise_last` must be at least 0"),
        ({"L": 2}, r"`L` is not a parameter"),
    ],
)
def test_series_that_do_not_exist_are_refused(change, message):
    with pytest.raises(js.SpecError, match=message):
        js.Sweep(name="x", system="temporal", axes={**LEAST["temporal"], **change})


def test_objectives_of_another_system_are_refused():
    with pytest.raises(js.SpecError, match=r"`objective` must be one of moments.*\[objective\]"):
        js.Sweep(name="x", system="temporal", objective="jepa", axes=LEAST["temporal"])
    with pytest.raises(js.SpecError, match=r"`objective` must be one of jepa, mae.*'nosg'.*\[objective\]"):
        js.Sweep(name="x", objective="nosg", axes={"lam": 1.0, "rho": 0.5, "L": 1, "eps": 1e-3})


def test_series_are_summed_in_double_precision_and_have_no_tolerance():
    axes = {"log10_T": 3.0}
    with pytest.raises(js.SpecError, match="float64"):
        js.Sweep(name="x", system="temporal", axes=axes, solver={"precision": "float32"})
    loose = js.Sweep(name="x", system="temporal", axes=axes, solver={"rtol": 1e-3})
    assert loose.frozen() == js.Sweep(name="x", system="temporal", axes=axes).frozen()
