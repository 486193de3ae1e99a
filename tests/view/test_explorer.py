"""The explorer, Python side: numbers to the last bit, honest thinning, a file that is whole or not there."""

import errno
import os
import sys

import numpy as np
import pandas as pd
import pytest
from pages import critical_times, curves, grid, held, rows_of, stored, unpacked

from jepa_sweep.errors import SpecError, StorageError
from jepa_sweep.physics.host import SENTENCES, Status
from jepa_sweep.store.schema import Column
from jepa_sweep.store.writer import Writer
from jepa_sweep.view import explorer, thinning

KEYS = ["objective", "lam", "rho", "L", "eps", "p"]


def payload(store):
    return held(explorer.render(store.reader, store.system.curves))


def assert_rows(page, points):
    ours = rows_of(page).sort_values(KEYS, ignore_index=True)
    theirs = points.sort_values(KEYS, ignore_index=True)
    for name in (*KEYS, *page["values"]):
        assert ours[name].tolist() == theirs[name].tolist() or np.array_equal(
            ours[name].to_numpy().view(np.int64), theirs[name].to_numpy(np.float64).view(np.int64)
        ), name


def test_numbers_are_those_of_the_table_to_the_last_bit(tmp_path):
    points = critical_times()
    points.loc[:8, "t_numeric"] = [np.nan, np.inf, -np.inf, -0.0, 5e-324, 1.7976931348623157e308, 1 / 3, 0.1, 1e-7]
    store = stored(tmp_path / "run", chunks=3, points=points)
    page = payload(store)
    assert page["total"] == page["count"] == len(points)
    assert_rows(page, store.points())


def test_single_precision_stays_single(tmp_path):
    store = stored(tmp_path / "run", precision="float32", points=critical_times())
    page = payload(store)
    assert page["values"]["t_numeric"]["type"] == "f4"
    assert set(unpacked(page["values"]["t_numeric"])) == set(store.points()["t_numeric"])


def test_samples_belong_to_their_points(tmp_path):
    points = critical_times(p=(0.2, 0.5))
    learned = points[points["lam"] < 5]
    store = stored(
        tmp_path / "run", chunks=2, points=points, trajectories=curves(learned).sample(frac=1, random_state=0)
    )
    page = payload(store)
    samples, rows = page["trajectories"], rows_of(page)
    begins, curve = unpacked(samples["begins"]), unpacked(samples["curve"])
    assert not samples["thinned"]
    assert (curve[rows["lam"] > 5] == -1).all()
    for row in np.flatnonzero(rows["lam"] < 5):
        inside = slice(begins[curve[row]], begins[curve[row] + 1])
        keys = {k: int(v) if k == "L" else v for k, v in rows.loc[row, KEYS[:-1]].items()}
        theirs = store.select("trajectories", rtol=0, **keys).sort_values("t")
        for name in ("t", "w", "w_exact"):
            assert unpacked(samples["values"][name])[inside].tolist() == theirs[name].tolist()


def test_a_grid_is_thinned_to_a_grid_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(explorer, "ROWS", 300)
    points = critical_times(lam=20, rho=9, L=(1, 2, 3))
    store = stored(tmp_path / "run", chunks=4, points=points)
    page = payload(store)
    shown = {axis["name"]: [float(v) for v in axis["values"]] for axis in page["axes"][1:]}
    assert set(page["thinned"]) <= {"lam", "rho"}
    for name in ("lam", "rho"):
        values = sorted(points[name].unique())
        assert shown[name][0] == values[0]
        assert shown[name][-1] == values[-1]
    kept = points[points["lam"].isin(shown["lam"]) & points["rho"].isin(shown["rho"])]
    assert_rows(page, kept.reindex(columns=store.points().columns).astype({"t_leading": float, "t_asymptotic": float}))
    assert len(kept) <= 300
    assert page["sentence"].startswith(f"{len(kept)} of 1,080 points are shown: every ")
    assert "value of lam" in page["sentence"]


def test_samples_are_thinned_to_some_of_the_points_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(explorer, "ROWS", 300)
    monkeypatch.setattr(explorer, "SAMPLES", 400)
    points = critical_times(lam=20, rho=9, L=(1, 2, 3))
    page = payload(stored(tmp_path / "run", points=points, trajectories=curves(points)))
    samples = page["trajectories"]
    lengths = np.diff(unpacked(samples["begins"]).astype(int))
    assert set(lengths) == {5}  # whole trajectories
    assert 0 < lengths.sum() <= 400
    assert samples["thinned"]
    assert samples["sentence"].startswith(f"{lengths.sum()} of 5,400 samples of trajectories are shown: every ")
    assert (unpacked(samples["curve"]) >= 0).sum() == len(lengths)


def test_a_union_of_blocks_stays_within_the_budget(tmp_path, monkeypatch):
    monkeypatch.setattr(explorer, "ROWS", 200)
    line = critical_times(lam=60, rho=1, L=(2,))
    block = critical_times(lam=30, rho=30, L=(3,), objective=("jepa",), seed=1)
    points = pd.concat([line, block]).drop_duplicates(KEYS)
    page = payload(stored(tmp_path / "run", points=points))
    assert 0 < page["count"] <= 200
    assert page["sentence"].startswith(f"{page['count']} of {len(points):,} points are shown: ")


@pytest.mark.parametrize("lam", [2, 9])
def test_what_cannot_be_thinned_along_axes_is_thinned_by_rows(tmp_path, monkeypatch, lam):
    monkeypatch.setattr(explorer, "ROWS", 5)
    points = critical_times(lam=lam, rho=2, L=(1, 2))
    page = payload(stored(tmp_path / "run", points=points))
    assert 0 < page["count"] <= 5
    assert "every 4th row in stored order" in page["sentence"]
    assert ("value of lam" in page["sentence"]) == (lam > 2)
    ours = rows_of(page)
    assert len(ours.merge(points, on=[*KEYS, "t_numeric"])) == page["count"]


def scattered_points(count):
    rng = np.random.default_rng(1)
    points = critical_times(lam=count, rho=1, L=(2,), objective=("jepa",))
    points = points.assign(rho=rng.uniform(0.1, 1, count), L=rng.choice([2, 3], count))
    return pd.concat([points, points.assign(objective="mae")])


def test_points_that_form_no_grid_are_told_from_one(tmp_path, monkeypatch):
    monkeypatch.setattr(explorer, "SCATTERED", 150)
    points = scattered_points(300)
    page = payload(stored(tmp_path / "run", points=points, trajectories=curves(points)))
    assert page["scattered"] == ["lam", "rho"]
    assert page["step"] == 4
    assert page["sentence"] == "150 of 600 points are shown: every 4th row in stored order."
    assert sorted(rows_of(page)["lam"]) == sorted(points["lam"].iloc[::4])


def test_a_line_is_no_scatter(tmp_path):
    page = payload(stored(tmp_path / "run", points=critical_times(lam=200, rho=1, L=(2,))))
    assert page["scattered"] == []


def test_axes_too_long_to_count_are_taken_as_scattered(tmp_path, monkeypatch):
    monkeypatch.setattr(thinning, "_COUNTED", 50)
    page = payload(stored(tmp_path / "run", points=scattered_points(60)))
    assert page["scattered"] == ["lam", "rho"]
    assert len(page["axes"][1]["values"]) == 60


def test_missing_and_worded_parameters_are_values_like_others(tmp_path):
    parameters = (Column("layout", "text", "", "words"), Column("width", "exact", "1", "may be missing"))
    points = grid(objective=["jepa"], layout=["same", "öpposite"], width=[2.0, None], p=[0.5])
    points = points.astype({"width": object}).where(points.notna(), None).assign(t_exact=[1.0, 2.0, 3.0, 4.0])
    page = payload(stored(tmp_path / "run", parameters=parameters, points=points))
    assert [axis["values"] for axis in page["axes"]] == [["jepa"], ["same", "öpposite"], ["2.0", None], ["0.5"]]
    expected = {("same", 2.0): 1.0, ("same", None): 2.0, ("öpposite", 2.0): 3.0, ("öpposite", None): 4.0}
    rows = rows_of(page)
    assert {
        (word, None if np.isnan(width) else width): t
        for word, width, t in zip(rows["layout"], rows["width"].astype(float), rows["t_exact"], strict=True)
    } == expected


def test_statuses_are_counted_over_all_rows_and_failures_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(explorer, "ROWS", 10)
    monkeypatch.setattr(explorer, "FAILURES", 3)
    points = critical_times()
    points.loc[:4, "status"] = "above_threshold"
    lost = critical_times(lam=5, rho=1, L=(9,), objective=("mae",)).assign(
        status="max_steps", message="too long", steps=7
    )
    page = payload(stored(tmp_path / "run", chunks=2, points=points, failures=lost))
    census = {(entry["table"], entry["status"]): entry for entry in page["census"]}
    assert census["points", "above_threshold"]["count"] == 5
    assert census["points", "learned"]["count"] == len(points) - 5
    assert census["failures", "max_steps"]["count"] == 5
    assert census["failures", "max_steps"]["meaning"] == SENTENCES[Status.MAX_STEPS]
    assert page["failures"]["total"] == 5
    assert len(page["failures"]["rows"]) == 3
    assert page["failures"]["columns"] == ["objective", "lam", "status", "message"]


def test_where_the_numbers_come_from_is_told(tmp_path):
    store = stored(tmp_path / "run", points=critical_times())
    Writer(store.reader).add_environment({"device": "of a command that computed nothing"})
    told = payload(store)["provenance"]
    assert told["settings"] == store.frozen
    assert told["environments"] == [{"device": "none", "versions": {"jepa_sweep": "0"}}]
    assert told["specs"] == ['name = "made up"\n']
    assert told["rows"] == {"points": 48, "samples of trajectories": 0, "failures": 0}


def test_names_do_no_harm(tmp_path):
    name = "λ<script>alert(1)<"  # a folder's, so without a slash
    store = stored(tmp_path / name, points=critical_times())
    html = explorer.render(store.reader, store.system.curves)
    assert "<script>alert" not in html
    assert "<title>λ&lt;script&gt;alert(1)&lt;</title>" in html
    assert held(html)["name"] == name


@pytest.mark.parametrize("name", ['with "quotes" and \\', "λ", b"\xff".decode("utf-8", "surrogateescape")])
def test_the_run_directory_is_a_python_literal(name):
    text = explorer._literal(f"runs/{name}")
    assert eval(text) == f"runs/{name}"
    text.encode()


def test_a_page_is_written_whole(tmp_path):
    store = stored(tmp_path / "run", points=critical_times())
    target = tmp_path / "report.html"
    target.write_text("older")
    assert explorer.write(store.reader, store.system.curves, str(target)) == target
    assert held(target.read_text())["count"] == 48
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "run"]


def fail_with(number):
    def failing(*_args):
        raise OSError(number, os.strerror(number))

    return failing


@pytest.mark.parametrize(
    ("step", "number", "remedy"),
    [
        ("fsync", errno.ENOSPC, "the disk is full"),
        ("replace", errno.EACCES, "permission"),
        ("replace", errno.EIO, "mend"),
    ],
)
def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch, step, number, remedy):
    store = stored(tmp_path / "run", points=critical_times())
    target = tmp_path / "report.html"
    target.write_text("older")
    monkeypatch.setattr(os, step, fail_with(number))
    with pytest.raises(StorageError, match=rf"Could not write .*report\.html: .*{remedy}"):
        explorer.write(store.reader, store.system.curves, target)
    assert target.read_text() == "older"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "run"]


@pytest.mark.parametrize(
    ("place", "remedy"),
    [
        ("none/report.html", "no such folder"),
        ("file/report.html", "a file, not a folder"),
        ("folder", "it is a folder"),
    ],
)
def test_a_place_that_cannot_be_written_is_named(tmp_path, place, remedy):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    store = stored(tmp_path / "run", points=critical_times())
    with pytest.raises(StorageError, match=remedy):
        explorer.write(store.reader, store.system.curves, tmp_path / place)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder", "run"]


def test_a_store_holds_no_pages(tmp_path):
    store = stored(tmp_path / "run", points=critical_times())
    with pytest.raises(SpecError, match="must lie outside the run directory"):
        explorer.write(store.reader, store.system.curves, tmp_path / "run" / "report.html")


def test_without_plotly_it_says_what_to_install(tmp_path, monkeypatch):
    store = stored(tmp_path / "run", points=critical_times())
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(SpecError, match=r"pip install 'jepa_sweep\[report\]'"):
        explorer.write(store.reader, store.system.curves, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
