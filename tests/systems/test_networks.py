"""Runs of networks: what stands in their tables, and what becomes of those that blow up."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from trained import FLOW, JEPA, NETWORK, SORTED, TRAINING, assert_columns, change, finished, table_of

import jepa_sweep as js
from jepa_sweep.results import Store
from jepa_sweep.running.summary import status_of

trained = finished(TRAINING)  # eight networks
one_by_one = finished(JEPA, chunk_points=2)  # those of JEPA, each in a chunk of its own
flowed = finished(FLOW)  # the same by gradient flow
FLOWED = pytest.param("flowed", marks=pytest.mark.long)


# --- tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["trained", FLOWED])
def test_columns_are_those_of_the_schema(which, request):
    store = request.getfixturevalue(which)
    assert_columns(store, store.frozen["system"])


@pytest.mark.parametrize(("which", "networks"), [("trained", 8), pytest.param("flowed", 2, marks=pytest.mark.long)])
def test_every_network_has_its_rows(which, networks, request):
    store = request.getfixturevalue(which)
    assert len(store.points()) == networks * 2
    assert len(store.features()) == networks * 2 * 3
    assert len(store.trajectories()) == networks * 4 * 3
    assert len(store.losses()) == networks * 4
    assert len(store.failures()) == 0
    assert set(store.points().status) == {"trained"}


@pytest.mark.parametrize("which", ["trained", FLOWED])
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


def test_a_threshold_more_is_no_training_more(trained):
    """The points of one network share what it took."""
    steps = trained.points().drop_duplicates(NETWORK).steps.sum()
    assert sum(commit.work.steps for commit in trained.reader.log.commits()) == steps == 2 * 2 * (3000 + 1500)


def test_training_learns_when_the_theory_says(trained):
    """To first order in eta: half the step, half the difference."""
    frame = trained.features()
    frame["difference"] = frame.t_learned / frame.t_exact - 1
    np.testing.assert_allclose(frame.relative_difference, frame.difference.abs(), rtol=1e-10)
    wide = frame.pivot_table(index=["objective", "layout", "p", "feature"], columns="eta", values="difference")
    np.testing.assert_allclose(wide[0.04] / wide[0.02], 2, rtol=0.05)
    assert wide[0.02].abs().max() < 0.02


@pytest.mark.long
def test_a_flow_learns_when_the_theory_says(flowed):
    frame = flowed.features()
    assert (frame.status == "learned").all()
    assert frame.relative_difference.max() < 1e-6
    exact = js.critical_time("jepa", lam=frame.lam, rho=frame.rho, L=2, eps=frame.w_start, p=frame.p)
    np.testing.assert_allclose(frame.t_exact, exact, rtol=1e-10)


def test_layouts_order_the_learning(trained):
    points = trained.points(filters=[("p", "==", 0.5)]).set_index(["objective", "layout"]).sort_index()
    features = trained.features().drop_duplicates(["layout", "feature"]).set_index(["layout", "feature"]).sort_index()
    assert list(features.loc["same"].rho) == pytest.approx([0.4, 0.65, 0.9])
    assert list(features.loc["opposite"].rho) == pytest.approx([0.9, 0.65, 0.4])
    assert (
        points.loc[(slice(None), "opposite"), :].order_lam == -points.loc[(slice(None), "opposite"), :].order_rho
    ).all()
    assert (points.loc[("jepa", "opposite"), "strength_rho"] == 1).all()
    assert (points.loc[("jepa", "opposite"), "strength_lam"] == -1).all()


@pytest.mark.parametrize("which", ["trained", FLOWED])
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


@pytest.mark.parametrize("which", ["trained", FLOWED])
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


@pytest.mark.long
def test_single_precision_stands_in_single_precision(tmp_path, one_by_one):
    spec = change(JEPA, measure={"p": [0.5]}, solver={"precision": "float32"})
    store = js.run(js.Sweep(**spec), tmp_path)
    kinds = {"text": pa.string(), "integer": pa.int64(), "exact": pa.float64(), "numeric": pa.float32()}
    for name in store.tables:
        for c in store.reader.manifest.tables[name]:
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
