"""Runs of estimates from series: their tables, and that chunks change nothing."""

import shutil

import numpy as np
import pandas as pd
import pytest
from trained import assert_columns, change, finished

import jepa_sweep as js
from jepa_sweep.running.execute import execute

SERIES = {
    "name": "series",
    "system": "temporal",
    "axes": {"features": [2, 3], "gamma_first": 0.9, "gamma_last": 0.5, "log10_T": 4.5, "seed": [0, 1, 2, 3]},
}


estimated = finished(SERIES)  # eight series


def test_columns_are_those_of_the_schema(estimated):
    assert_columns(estimated, "temporal")


def test_series_have_their_rows(estimated):
    points, features = estimated.points(), estimated.features()
    assert (len(points), len(features), len(estimated.failures())) == (8, 4 * 2 + 4 * 3, 0)
    assert set(points.status) == {"estimated"}
    assert (points.pairs == 31_623).all()
    ends = features.groupby("features")[["gamma", "noise"]].agg(["first", "last"]).to_numpy()
    np.testing.assert_allclose(ends, [[0.9, 0.5, 1.0, 0.5]] * 2)
    with pytest.raises(js.SpecError, match=r"has the tables points, .*, but `losses`"):
        estimated.losses()


@pytest.mark.long
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
    assert sorted(report.store.read("points").seed) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
