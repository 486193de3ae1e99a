"""What stands in the tables, and how a user reads it."""

import copy
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from conftest import KEYS, TINY, TRACKED
from tables import assert_same, table_of

import jepa_sweep as js
from jepa_sweep.computing import run
from jepa_sweep.results import Store
from jepa_sweep.running.execute import execute
from jepa_sweep.store import locate, schema
from jepa_sweep.systems.registry import BUILT_IN


def test_every_point_stands_once_with_its_prediction(stored):
    frame = stored.points()
    assert len(frame) == 2 * 2 * 3 * 3 * 2
    assert not frame.duplicated(KEYS).any()
    assert (frame.status == "learned").all()
    assert frame.relative_difference.max() <= 1e-7
    exact = [
        js.critical_time(o, **frame[frame.objective == o][["lam", "rho", "L", "eps", "p"]]) for o in ("jepa", "mae")
    ]
    np.testing.assert_allclose(np.concatenate(exact), frame.sort_values("objective", kind="stable").t_exact, rtol=1e-14)


def test_pandas_duckdb_and_the_store_read_the_same_rows(stored):
    ours = stored.points().sort_values(KEYS).reset_index(drop=True)
    plain = table_of(stored.path)
    sql = duckdb.sql(f"select * from '{stored.path}/points/*.parquet' order by objective, L, lam, rho, eps, p").df()
    assert_same(ours, plain)
    assert_same(ours, sql, check_dtype=False)


def test_columns_and_filters_go_down_to_the_reader(stored):
    frame = stored.points(columns=["L", "t_exact"], filters=[("L", "==", 3), ("lam", ">", 1.0)])
    assert list(frame.columns) == ["L", "t_exact"]
    assert len(frame) == 2 * 3 * 2
    assert set(frame.L) == {3}
    assert list(stored.points(columns="lam").columns) == ["lam"]


def test_select_compares_numbers_with_a_tolerance(stored):
    assert len(stored.select(lam=0.5 * (1 + 1e-12), objective="jepa", L=2)) == 6
    with pytest.raises(js.SpecError, match=r"`lam` must be a value that the run has, but it is 0.500005; the nearest"):
        stored.select(lam=0.5 * (1 + 1e-5))
    assert len(stored.select(lam=np.float64(0.5), rtol=0)) == 36
    assert len(stored.select("trajectories", rho=1.0)) == 2 * 2 * 3 * 2 * 4


def test_a_store_says_what_its_reader_says(stored):
    reader = stored.reader
    for name in ("path", "tables", "parameters", "time", "frozen"):
        assert getattr(stored, name) == getattr(reader, name)
    for name in ("overview", "specs", "source", "environments", "damage", "lost_notes", "strays"):
        assert getattr(stored, name)() == getattr(reader, name)()
    assert stored.rows("points") == reader.rows("points") == 72
    assert stored.counts("points", "status") == reader.counts("points", "status") == {"learned": 72}
    assert stored.schema("points").equals(reader.schema("points"))
    two = [("L", "==", 2)]
    batches = np.concatenate([frame["lam"] for frame in stored.batches("points", "lam", two)])
    assert batches.tolist() == stored.read("points", "lam", two)["lam"].tolist()
    assert_same(stored.select("trajectories", 1e-3, lam=0.5001), stored.select("trajectories", lam=0.5))


def test_a_warning_shows_the_line_that_asked(stored):
    with pytest.warns(js.SpecWarning, match="No row of points has `w_star` = 7") as told:
        stored.select(w_star=7.0)
    assert told[0].filename == __file__


def test_a_store_is_whole_when_copied_and_has_no_other_names(stored):
    assert_same(copy.copy(stored).points(), stored.read("points"))
    assert stored.compare().points.sum() == 72
    with pytest.raises(AttributeError, match="no attribute 'point'"):
        stored.point()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda s: s.points(columns=["lambda"]), r"\A`lambda` is not a column of points. Did you mean `lam`\?\Z"),
        (lambda s: s.points(columns=["q"]), r"\A`q` is not a column of points. Known are: objective, lam, [^\n]*\Z"),
        (lambda s: s.points(filters=[("lamda", ">", 1)]), r"\A`lamda` is not a column of .* Did you mean `lam`\?\Z"),
        (lambda s: s.points(filters=pc.field("lamda") > 1), r"\A`lamda` is not a column of .* Did you mean `lam`\?\Z"),
        (lambda s: next(s.batches("points", "lamda")), r"\A`lamda` is not a column of .* Did you mean `lam`\?\Z"),
        (lambda s: s.points(filters=[("lam", "~", 1)]), r"Filters must be like [^\n]*\Z"),
        (lambda s: s.points(filters=[("lam", ">", "x")]), r"Filters must be like [^\n]*\Z"),
        (lambda s: s.select(lam=[0.1, 0.2]), "`lam` must be one number or one text, but it is a list; .*filters="),
        (lambda s: s.select(lam=None), "`lam` must be one number or one text, but it is None"),
        (lambda s: s.select("pointz"), "has the tables points, .* but `pointz` was asked for"),
        (lambda s: s.select(lambd=1), "`lambd` is not a column of points. Did you mean `lam`"),
        (lambda s: Store(s.path / "points"), "it has no store.json"),
    ],
)
def test_questions_that_make_no_sense_are_explained(stored, ask, message):
    with pytest.raises(js.SpecError, match=message):
        ask(stored)


def test_trajectories_start_at_eps_and_stand_beside_the_closed_form(stored):
    frame = stored.trajectories()
    assert len(frame) == 72 * 4
    first = frame[frame.t == 0]
    np.testing.assert_allclose(first.w, first.eps, rtol=1e-14)
    assert (frame.status == "resolved").all()
    assert ((frame.w / frame.w_exact - 1).abs() <= 1e-6 * frame.condition.clip(lower=1)).all()


def test_files_say_their_units_and_time_convention(tmp_path):
    store = run(js.Sweep(**TINY, solver={"time": "flow"}), tmp_path)
    read = pq.read_schema(store.path / "points/000001.parquet")
    assert b"flow time t" in read.metadata[b"time"]
    assert read.field("t_exact").metadata[b"unit"] == b"flow time"
    paper = run(js.Sweep(**TINY), tmp_path / "paper")
    np.testing.assert_allclose(
        table_of(store.path).t_numeric * table_of(store.path).L, table_of(paper.path).t_numeric, rtol=1e-14
    )


@pytest.mark.parametrize(("time", "unit"), [("paper", b"paper time"), ("flow", b"flow time")])
def test_times_that_are_flow_time_always_say_so(time, unit):
    always = schema.Column("t_end", "exact", "flow time", "when training ends")
    table = schema.arrow([always, *BUILT_IN["training"].tables["features"]], "float64", time)
    assert table.field("t_end").metadata[b"unit"] == b"flow time"
    assert table.field("t_learned").metadata[b"unit"] == unit


def test_numbers_are_encoded_as_promised(stored):
    column = pq.ParquetFile(stored.path / "points/000001.parquet").metadata.row_group(0)
    by_name = {column.column(i).path_in_schema: column.column(i) for i in range(column.num_columns)}
    assert "BYTE_STREAM_SPLIT" in by_name["t_exact"].encodings
    assert any("DICTIONARY" in e for e in by_name["objective"].encodings)


def test_points_without_a_time_stand_in_the_table_with_their_status(tmp_path):
    axes = {"lam": 1.0, "rho": [0.1, 1.0], "L": 8, "eps": [1e-3, 0.6]}
    frame = run(js.Sweep(name="x", axes=axes, objective="jepa"), tmp_path).points().set_index(["rho", "eps"])
    assert frame.status.to_dict() == {
        (0.1, 1e-3): "not_reached", (0.1, 0.6): "not_reached", (1.0, 1e-3): "learned", (1.0, 0.6): "above_threshold",
    }  # fmt: skip
    assert frame.t_numeric.isna().sum() == frame.t_exact.isna().sum() == frame.t_leading.isna().sum() == 3


def test_failed_points_stand_apart_and_are_not_tried_again(tmp_path):
    sweep = js.Sweep(**TINY, solver={"method": "dopri8", "max_steps": 4})
    report = execute(sweep, tmp_path)
    failures = report.store.read("failures")
    assert len(failures) == report.failed > 0
    assert set(failures.status) == {"max_steps"}
    assert failures.message.str.contains("raise `max_steps`").all()
    assert len(report.store.read("points")) == 72 - report.failed
    assert execute(sweep, tmp_path).computed == 0


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_the_closed_form_alone_is_a_method(tmp_path, precision):
    store = run(js.Sweep(**TRACKED, solver={"method": "exact", "precision": precision}), tmp_path / "exact")
    frame = store.points()
    assert frame.t_exact.dtype == np.float64
    assert frame.t_numeric.isna().all()
    assert frame.t_exact.notna().all()
    assert store.trajectories().w_exact.notna().all()


@pytest.mark.long
def test_float32_rows_are_stored_as_float32(tmp_path):
    store = run(js.Sweep(**TINY, solver={"precision": "float32", "rtol": 1e-5}), tmp_path)
    frame = store.points()
    assert frame.t_numeric.dtype == np.float32
    assert frame.t_exact.dtype == np.float64
    assert frame.relative_difference.max() < 1e-3


@pytest.mark.long
def test_several_thresholds(tmp_path):
    store = run(js.Sweep(**TRACKED | {"measure": {"p": [0.9, 0.5], "trajectories": {"samples": 3}}}), tmp_path)
    frame = store.points()
    wide = frame.pivot(index=KEYS[:-1], columns="p", values="t_numeric")
    assert len(wide) == 72
    assert (wide[0.9] > wide[0.5]).all()
    assert len(store.trajectories()) == 72 * 3


@pytest.mark.parametrize("place", ["s3://b/r", "gs://b/r", "memory://b/r"])
def test_a_bucket_that_was_made_a_path_is_refused(place):
    with pytest.raises(js.SpecError, match=rf"must be given as text, .*; try '{place}'"):
        locate.at(Path(place))
