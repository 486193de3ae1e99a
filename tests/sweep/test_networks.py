"""Runs of networks and of series: their tables, what resumes and extends, and what the command line says of them."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import jepa_sweep as js
from jepa_sweep.store import schema
from jepa_sweep.store.store import Store
from jepa_sweep.sweep.run import execute, repair
from jepa_sweep.sweep.summary import status_of

TRAINING = {
    "name": "trained",
    "system": "training",
    "axes": {"features": 3, "layout": ["same", "opposite"], "L": 2, "scale": 0.25, "t_end": 60.0, "eta": [0.02, 0.04]},
    "measure": {"p": [0.5, 0.8], "trajectories": {"samples": 4}},
}
JEPA = {**TRAINING, "objective": "jepa"}
FLOW = {
    **JEPA,
    "name": "flow",
    "system": "network",
    "axes": {name: values for name, values in TRAINING["axes"].items() if name != "eta"},
    "solver": {"method": "tsit5", "rtol": 1e-9},
}
SERIES = {
    "name": "series",
    "system": "temporal",
    "axes": {"features": [2, 3], "gamma_first": 0.9, "gamma_last": 0.5, "log10_T": 4.5, "seed": [0, 1, 2, 3]},
}
NETWORK = ["objective", "layout", "eta", "seed"]
SORTED = {
    "points": [*NETWORK, "p"],
    "features": [*NETWORK, "p", "feature"],
    "trajectories": [*NETWORK, "t", "feature"],
    "losses": [*NETWORK, "t"],
    "failures": [*NETWORK, "p"],
}


def change(spec, axes=(), **others):
    return {**spec, "axes": {**spec["axes"], **dict(axes)}, **others}


def table_of(store, name):
    """A table in an order that does not depend on who wrote what when."""
    frame = getattr(store, name)()
    keys = [key for key in SORTED[name] if key in frame]
    return frame.sort_values(keys).reset_index(drop=True)


def assert_same(ours, theirs, **tolerance):
    """All tables of two runs, to the last bit unless a tolerance is given."""
    for name in ours.tables:
        tolerance = tolerance or {"check_exact": True}
        pd.testing.assert_frame_equal(table_of(ours, name), table_of(theirs, name), **tolerance)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Eight networks that have been trained."""
    return js.run(js.Sweep(**TRAINING), tmp_path_factory.mktemp("networks") / "run")


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory):
    """Those of JEPA, each in a chunk of its own."""
    return js.run(js.Sweep(**JEPA), tmp_path_factory.mktemp("networks") / "run", chunk_points=2)


@pytest.fixture(scope="module")
def flowed(tmp_path_factory):
    """The same by gradient flow."""
    return js.run(js.Sweep(**FLOW), tmp_path_factory.mktemp("networks") / "run")


@pytest.fixture(scope="module")
def estimated(tmp_path_factory):
    """Eight series."""
    return js.run(js.Sweep(**SERIES), tmp_path_factory.mktemp("series") / "run")


@pytest.fixture
def copy(tmp_path, trained):
    """A copy of the trained run, to be damaged or extended."""
    shutil.copytree(trained.path, tmp_path / "run")
    return Store(tmp_path / "run")


# --- tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["trained", "flowed", "estimated"])
def test_columns_are_those_of_the_schema(which, request):
    store = request.getfixturevalue(which)
    layout = "estimates" if which == "estimated" else "networks"
    assert store.tables == tuple(schema.LAYOUTS[layout])
    for name in store.tables:
        wanted = [c.name for c in schema.columns(layout, name, store.parameters)]
        for path in store.paths(name):
            assert pa.parquet.read_schema(path).equals(store.schema(name))
        frame = getattr(store, name)()
        assert list(frame) == wanted
        assert len(wanted) == len(set(wanted)) or name == "failures"


@pytest.mark.parametrize(("which", "networks"), [("trained", 8), ("flowed", 2)])
def test_every_network_has_its_rows(which, networks, request):
    store = request.getfixturevalue(which)
    assert len(store.points()) == networks * 2
    assert len(store.features()) == networks * 2 * 3
    assert len(store.trajectories()) == networks * 4 * 3
    assert len(store.losses()) == networks * 4
    assert len(store.failures()) == 0
    assert set(store.points().status) == {"trained"}


@pytest.mark.parametrize("which", ["trained", "flowed"])
def test_thresholds_share_one_network(which, request):
    store = request.getfixturevalue(which)
    points, features = store.points(), store.features()
    own = [name for name in NETWORK if name in points]
    for name in ("steps", "w_mean", "w_most", "loss_start", "loss_end"):
        assert (points.groupby(own)[name].nunique() == 1).all()
    times = features.pivot_table(index=[*own, "feature"], columns="p", values=["t_learned", "t_fitted"])
    for name in ("t_learned", "t_fitted"):
        both = times[name].dropna()  # a fit may hold the lower one from the start
        assert len(both) >= len(times) / 2
        assert (both[0.5] < both[0.8]).all()
    assert (points.learned == 3).all()


def test_a_threshold_more_is_no_training_more(trained, tmp_path):
    """The points of one network share what it took."""
    steps = trained.points().drop_duplicates(NETWORK).steps.sum()
    assert sum(commit.work["steps"] for commit in trained.commits()) == steps == 2 * 2 * (3000 + 1500)


def test_training_learns_when_the_theory_says(trained):
    """To first order in eta: half the step, half the difference."""
    frame = trained.features()
    frame["difference"] = frame.t_learned / frame.t_exact - 1
    np.testing.assert_allclose(frame.relative_difference, frame.difference.abs(), rtol=1e-10)
    wide = frame.pivot_table(index=["objective", "layout", "p", "feature"], columns="eta", values="difference")
    np.testing.assert_allclose(wide[0.04] / wide[0.02], 2, rtol=0.05)
    assert wide[0.02].abs().max() < 0.02


def test_a_flow_learns_when_the_theory_says(flowed):
    frame = flowed.features()
    assert (frame.status == "learned").all()
    assert frame.relative_difference.max() < 1e-6
    exact = js.critical_time("jepa", lam=frame.lam, rho=frame.rho, L=2, eps=frame.w_start, p=frame.p)
    np.testing.assert_allclose(frame.t_exact, exact, rtol=1e-10)


def test_layouts_order_the_learning(trained):
    points = trained.points(filters=[("p", "==", 0.5)]).set_index(["objective", "layout"])
    features = trained.features().drop_duplicates(["layout", "feature"]).set_index(["layout", "feature"])
    assert list(features.loc["same"].sort_index().rho) == pytest.approx([0.4, 0.65, 0.9])
    assert list(features.loc["opposite"].sort_index().rho) == pytest.approx([0.9, 0.65, 0.4])
    assert (
        points.loc[(slice(None), "opposite"), :].order_lam == -points.loc[(slice(None), "opposite"), :].order_rho
    ).all()
    assert (points.loc[("jepa", "opposite"), "strength_rho"] == 1).all()
    assert (points.loc[("jepa", "opposite"), "strength_lam"] == -1).all()


@pytest.mark.parametrize("which", ["trained", "flowed"])
def test_trajectories_begin_and_end_with_the_features(which, request):
    store = request.getfixturevalue(which)
    features = store.features(filters=[("p", "==", 0.5)])
    own = [*(name for name in NETWORK if name in features), "feature"]
    features, samples = features.set_index(own).sort_index(), store.trajectories()
    assert set(samples.t) == {0.0, 40.0, 80.0, 120.0}  # of paper time, L = 2
    for t, w in ((0.0, "w_start"), (120.0, "w_end")):
        at = samples[samples.t == t].set_index(own).sort_index()
        np.testing.assert_array_equal(at.w, features[w])
        np.testing.assert_array_equal(at[["lam", "rho"]], features[["lam", "rho"]])
    np.testing.assert_array_equal(at.v, features.v_end)
    assert (samples[samples.t == 0].step == 0).all()
    # Aligned, features stay where they are; and what is learned is all of the regression.
    np.testing.assert_allclose(samples.projection, samples.w, rtol=1e-6)
    np.testing.assert_allclose(at.fit, 1, rtol=0.1)


@pytest.mark.parametrize("which", ["trained", "flowed"])
def test_losses_begin_and_end_with_the_points(which, request):
    store = request.getfixturevalue(which)
    points = store.points(filters=[("p", "==", 0.5)])
    own = [name for name in NETWORK if name in points]
    points, losses = points.set_index(own).sort_index(), store.losses()
    for t, loss, step in ((0.0, "loss_start", None), (120.0, "loss_end", "steps")):
        at = losses[losses.t == t].set_index(own).sort_index()
        np.testing.assert_array_equal(at.loss, points[loss])
        np.testing.assert_array_equal(at.step, points[step] if step else 0)
    if which == "trained":
        np.testing.assert_allclose(losses.t, 2 * losses.step * losses.eta, rtol=1e-12)
        assert (losses[losses.objective == "mae"].groupby(own).loss.diff().dropna() <= 0).all()


def test_flow_time_is_paper_time_over_the_depth(trained, tmp_path, compilations):
    flow = js.run(js.Sweep(**TRAINING, solver={"time": "flow"}), tmp_path)
    assert not compilations
    for name, columns in {
        "features": ["t_learned", "t_fitted", "t_exact"],
        "trajectories": ["t"],
        "losses": ["t"],
    }.items():
        ours, theirs = table_of(flow, name), table_of(trained, name)
        np.testing.assert_allclose(2 * ours[columns], theirs[columns], rtol=1e-13)
        rest = [c for c in ours if c not in (*columns, "relative_difference")]
        pd.testing.assert_frame_equal(ours[rest], theirs[rest], check_exact=True)
    np.testing.assert_allclose(flow.features().relative_difference, trained.features().relative_difference, atol=1e-13)
    assert flow.schema("features").field("t_learned").metadata[b"unit"] == b"flow time"


def test_single_precision_stands_in_single_precision(tmp_path, one_by_one):
    spec = change(JEPA, measure={"p": [0.5]}, solver={"precision": "float32"})
    store = js.run(js.Sweep(**spec), tmp_path)
    kinds = {"text": pa.string(), "integer": pa.int64(), "exact": pa.float64(), "numeric": pa.float32()}
    for name in store.tables:
        for c in schema.columns("networks", name, store.parameters):
            assert store.schema(name).field(c.name).type == kinds[c.dtype]
    features = store.features()
    assert features.t_learned.dtype == features.w_end.dtype == "float32"
    assert features.t_exact.dtype == "float64"
    double = one_by_one.features(filters=[("p", "==", 0.5)])
    keys = SORTED["features"]
    ours, theirs = (f.sort_values(keys).reset_index(drop=True) for f in (features, double))
    np.testing.assert_allclose(ours.t_learned, theirs.t_learned, rtol=1e-4)


def test_what_is_met_at_the_start_comes_first(trained):
    """rho = 0.4 has v / rho = 0.625 from the start: its fit holds the lower threshold before any other."""
    low, high = (trained.features(filters=[("p", "==", p)]) for p in (0.5, 0.8))
    assert low[(low.rho == 0.4) & (low.objective == "jepa")].t_fitted.isna().all()
    assert high.t_fitted.notna().all()
    points = trained.points(filters=[("objective", "==", "jepa")])
    assert (points[points.p == 0.5].fit_order_rho == 1).all()


# --- networks that blow up ------------------------------------------------------------------------------------------

UNSTABLE = change(JEPA, {"eta": [0.5, 8.0], "t_end": 800.0})


def test_networks_that_blow_up_are_failures(command, tmp_path):
    done = command(js.Sweep(**UNSTABLE), "--chunk-points", "2")
    assert done.exit_code == 3, done.output
    assert "4 points failed" in done.stdout
    store = Store(tmp_path / "run")
    failures = store.failures()
    assert set(failures.status) == {"diverged"}
    assert failures.message.str.contains("lower `eta`").all()
    assert (failures.eta == 8).all()
    assert sorted(failures.p) == [0.5, 0.5, 0.8, 0.8]
    for name in ("points", "features", "trajectories", "losses"):
        assert set(getattr(store, name)().eta) == {0.5}
    assert store.damage() == {}
    assert status_of(store.path)["statuses"] == {"trained": 4, "diverged": 4}
    again = command(js.Sweep(**UNSTABLE), "--chunk-points", "2", "--json")
    assert (again.exit_code, json.loads(again.stdout)["computed"]) == (3, 0)


# --- again, and on --------------------------------------------------------------------------------------------------


def test_again_computes_and_compiles_nothing(copy, tmp_path, trained, compilations):
    assert execute(js.Sweep(**TRAINING), copy.path).computed == 0
    elsewhere = execute(js.Sweep(**TRAINING), tmp_path / "elsewhere")
    assert elsewhere.computed == 16
    assert not compilations
    assert_same(elsewhere.store, trained)


def test_a_stopped_run_goes_on_where_it_stopped(tmp_path, one_by_one):
    seen = iter([False, True])
    first = execute(js.Sweep(**JEPA), tmp_path, chunk_points=2, stop=lambda: next(seen))
    assert (first.complete, first.computed) == (False, 2)
    assert len(first.store.features()) == 6
    second = execute(js.Sweep(**JEPA), tmp_path, chunk_points=2)
    assert (second.complete, second.computed) == (True, 6)
    assert_same(second.store, one_by_one)


def test_chunks_change_no_number(trained, one_by_one, tmp_path):
    """But for the last bits: a compiler adds up a lone network in another order than several side by side."""
    for name in one_by_one.tables:
        whole = table_of(trained, name)
        whole = whole[whole.objective == "jepa"].reset_index(drop=True)
        pd.testing.assert_frame_equal(table_of(one_by_one, name), whole, check_exact=False, rtol=1e-9, atol=1e-11)
    # A network cut in two between its thresholds is trained twice, to the same numbers.
    assert_same(js.run(js.Sweep(**JEPA), tmp_path, chunk_points=1), one_by_one)


@pytest.mark.parametrize(
    ("changed", "new"),
    [
        (change(JEPA, {"seed": [0, 1]}), 8),
        (change(JEPA, {"layout": ["crossed", "same"]}), 4),
        (change(JEPA, {"eta": 0.04}), 0),
        (change(JEPA, {"width": 3, "momentum": 0.9}), 0),
        (change(JEPA, name="renamed"), 0),
        (change(JEPA, solver={"max_steps": 77}), 0),
    ],
    ids=["seeds", "layouts", "subset", "defaults", "name", "max_steps"],
)
def test_an_edited_spec_computes_only_its_new_networks(tmp_path, one_by_one, changed, new):
    shutil.copytree(one_by_one.path, tmp_path / "run")
    report = execute(js.Sweep(**changed), tmp_path / "run", chunk_points=2)
    assert report.computed == new
    points = report.store.points()
    assert len(points) == 8 + new
    assert not points.duplicated(SORTED["points"]).any()
    assert len(report.store.trajectories()) == (8 + new) // 2 * 4 * 3


def test_a_threshold_may_be_added_where_nothing_is_sampled(tmp_path):
    bare = change(JEPA, {"layout": "same", "L": 1}, measure={"p": [0.8]})
    run = execute(js.Sweep(**bare), tmp_path)
    more = execute(js.Sweep(**change(bare, measure={"p": [0.5, 0.8]})), tmp_path)
    assert (run.computed, more.computed) == (2, 2)
    assert len(more.store.features()) == 4 * 3
    assert len(more.store.trajectories()) == 0


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        (change(TRAINING, solver={"method": "adam"}), "`solver`"),
        (change(TRAINING, solver={"time": "flow"}), "`solver`"),
        (change(TRAINING, solver={"precision": "float32"}), "`solver`"),
        (change(TRAINING, measure={"p": [0.5, 0.8], "trajectories": {"samples": 5}}), "`trajectories`"),
        (change(TRAINING, measure={"p": [0.5, 0.8]}), "`trajectories`"),
        (change(TRAINING, measure={"p": [0.8, 0.5], "trajectories": {"samples": 4}}), "`trajectories`"),
        (FLOW, "`solver`"),
    ],
)
def test_numbers_made_in_another_way_are_refused(trained, spec, what):
    with pytest.raises(js.SpecError, match=rf"its {what} is .* write to another directory with --out"):
        js.run(js.Sweep(**spec), trained.path)


@pytest.mark.parametrize("solver", [{"method": "dopri5", "rtol": 1e-9}, {"method": "tsit5", "rtol": 1e-8}])
def test_flows_integrated_in_another_way_are_refused(flowed, solver):
    with pytest.raises(js.SpecError, match=r"its `solver` is .* write to another directory with --out"):
        js.run(js.Sweep(**change(FLOW, solver=solver)), flowed.path)


# --- damage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["points", "features", "trajectories", "losses"])
def test_damaged_tables_are_found_and_computed_again(command, copy, trained, name):
    path = copy.paths(name)[-1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    found = command(None, command="verify")
    assert found.exit_code == 5
    assert f"{name}/{path.name}" in found.output
    assert list(repair(copy)) == [path.stem]
    whole = Store(copy.path)
    assert whole.damage() == {}
    assert command(None, command="verify").exit_code == 0
    assert_same(whole, trained)


# --- the command line -----------------------------------------------------------------------------------------------


def test_status_counts_all_tables(copy, command):
    facts = json.loads(command(None, "--json", command="status").stdout)
    rows = {"points": 16, "features": 48, "trajectories": 96, "losses": 32, "failures": 0}
    assert {name: facts[name] for name in rows} == rows
    assert facts["statuses"] == {"trained": 16}
    [spec] = facts["specs"]
    assert (spec["name"], spec["points"], spec["missing"]) == ("trained", 16, 0)
    assert "losses             32" in command(None, command="status").stdout


def test_queries_take_words_and_numbers_of_any_table(copy, command):
    words = ["--table", "features", "--where", "layout = opposite", "--where", "eta = 0.02", "--json", "--limit", "0"]
    found = json.loads(command(None, *words, "--sort", "t_learned", command="query").stdout)
    rows = found["rows"] if isinstance(found, dict) else found
    assert len(rows) == 2 * 2 * 3
    assert {row["layout"] for row in rows} == {"opposite"}
    times = [row["t_learned"] for row in rows]
    assert times == sorted(times)
    losses = command(None, "--table", "losses", "--where", "objective != mae", "--csv", "--limit", "0", command="query")
    assert len(losses.stdout.strip().splitlines()) == 1 + 16
    wrong = command(None, "--table", "feature", command="query")
    assert wrong.exit_code == 2
    assert "Did you mean `features`?" in wrong.output


def test_plans_count_networks(copy, command):
    more = js.Sweep(**change(TRAINING, {"seed": [0, 1, 2]}))
    facts = json.loads(command(more, "--json", command="plan").stdout)
    assert (facts["points"], facts["committed"], facts["new"]) == (48, 16, 32)
    assert facts["measured"]
    assert facts["bytes"] == 2 * sum(commit.bytes for commit in copy.commits())


# --- series ---------------------------------------------------------------------------------------------------------


def test_series_have_their_rows(estimated):
    points, features = estimated.points(), estimated.features()
    assert (len(points), len(features), len(estimated.failures())) == (8, 4 * 2 + 4 * 3, 0)
    assert set(points.status) == {"estimated"}
    assert (points.pairs == 31_623).all()
    ends = features.groupby("features")[["gamma", "noise"]].agg(["first", "last"]).to_numpy()
    np.testing.assert_allclose(ends, [[0.9, 0.5, 1.0, 0.5]] * 2)
    with pytest.raises(js.SpecError, match=r"has the tables points, .*, but `losses`"):
        estimated.losses()


def test_series_have_their_covariances_and_beginnings(tmp_path):
    store = js.run(js.Sweep(**SERIES, measure={"trajectories": {"samples": 5}}), tmp_path)
    covariances = store.select("covariances", features=3, seed=1)
    assert len(store.select("covariances")) == 4 * 4 + 4 * 9
    xx, yx = (covariances.pivot(index="row", columns="column", values=name).to_numpy() for name in ("xx", "yx"))
    features = store.features(filters=[("features", "==", 3), ("seed", "==", 1)]).sort_values("feature")
    np.testing.assert_array_equal(np.diag(yx), features.lam_hat)
    np.testing.assert_allclose(np.diag(yx) / np.diag(xx), features.rho_hat, rtol=1e-15)
    np.testing.assert_allclose(xx, xx.T, rtol=1e-14)
    signals = store.trajectories()
    assert len(signals) == 4 * 5 * 2 + 4 * 5 * 3
    assert sorted(set(signals.t)) == [0, 1, 2, 3, 4]
    short = js.run(
        js.Sweep(**change(SERIES, {"log10_T": 1.0}), measure={"trajectories": {"samples": 20}}), tmp_path / "s"
    )
    assert short.trajectories().t.max() == 10  # ten pairs are eleven times


def test_estimates_scatter_as_predicted(estimated):
    features, points = estimated.features(), estimated.points()
    np.testing.assert_allclose(features.rho, features.gamma / (1 + features.noise**2))
    for name in ("lam", "rho"):
        off = (features[f"{name}_hat"] - features[name]) / features[f"{name}_std"]
        assert off.abs().max() < 5
        assert 0.3 < off.std() < 3
    assert (points.off_diagonal > 0).all()
    assert 0.1 < (points.off_diagonal / points.off_diagonal_exact).mean() < 10


def test_series_do_not_depend_on_their_chunks(estimated, tmp_path):
    few = js.run(js.Sweep(**SERIES), tmp_path, chunk_points=3)
    for name, keys in {"points": ["features", "seed"], "features": ["features", "seed", "feature"]}.items():
        ours, theirs = (getattr(s, name)().sort_values(keys).reset_index(drop=True) for s in (few, estimated))
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


def test_series_are_extended(estimated, tmp_path):
    shutil.copytree(estimated.path, tmp_path / "run")
    report = execute(js.Sweep(**change(SERIES, {"seed": [2, 3, 4]})), tmp_path / "run")
    assert report.computed == 2
    assert sorted(report.store.points().seed) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
