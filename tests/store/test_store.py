"""The promises of the store: whole or absent, once each, never mixed, every flipped bit found."""

import errno
import json
import os
import subprocess
import sys
import threading

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import TINY

import jepa_sweep as js
from jepa_sweep.errors import IntegrityError, StorageError
from jepa_sweep.store import files
from jepa_sweep.store.records import sealed
from jepa_sweep.store.store import Store
from jepa_sweep.sweep import run as running
from jepa_sweep.sweep.run import execute, repair, run

KEYS = ["objective", "L", "lam", "rho", "eps", "p"]
TRACKED = {**TINY, "measure": {"trajectories": {"samples": 4, "until": 1.5}}}


def table_of(path, name="points"):
    """A table as a user reads it, in an order that does not depend on who wrote what when."""
    frame = pd.read_parquet(path / name)
    return frame.sort_values(KEYS if name == "points" else [*KEYS[:-1], "t"]).reset_index(drop=True)


@pytest.fixture
def stored(tmp_path):
    """A finished run with trajectories, in several chunks."""
    return run(js.Sweep(**TRACKED), tmp_path / "run", chunk_points=4)


def files_of(path):
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


# --- reading --------------------------------------------------------------------------------------------------------


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
    pd.testing.assert_frame_equal(ours, plain)
    pd.testing.assert_frame_equal(ours, sql, check_dtype=False)


def test_columns_and_filters_go_down_to_the_reader(stored):
    frame = stored.points(columns=["L", "t_exact"], filters=[("L", "==", 3), ("lam", ">", 1.0)])
    assert list(frame.columns) == ["L", "t_exact"]
    assert len(frame) == 2 * 3 * 2
    assert set(frame.L) == {3}


def test_select_compares_numbers_with_a_tolerance(stored):
    assert len(stored.select(lam=0.5 * (1 + 1e-12), objective="jepa", L=2)) == 6
    assert len(stored.select(lam=0.5 * (1 + 1e-6))) == 0
    assert len(stored.select("trajectories", rho=1.0)) == 2 * 2 * 3 * 2 * 4


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda s: s.points(columns=["lambda"]), "Columns must be among"),
        (lambda s: s.points(filters=[("lambda", ">", 1)]), "Filters must be like"),
        (lambda s: s.select(lambd=1), "`select` takes columns of points"),
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
    schema = pq.read_schema(store.paths("points")[0])
    assert b"flow time t" in schema.metadata[b"time"]
    assert schema.field("t_exact").metadata[b"unit"] == b"flow time"
    paper = run(js.Sweep(**TINY), tmp_path / "paper")
    np.testing.assert_allclose(
        table_of(store.path).t_numeric * table_of(store.path).L, table_of(paper.path).t_numeric, rtol=1e-14
    )


def test_numbers_are_encoded_as_promised(stored):
    column = pq.ParquetFile(stored.paths("points")[0]).metadata.row_group(0)
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
    sweep = js.Sweep(**TINY, solver={"max_steps": 4})
    report = execute(sweep, tmp_path)
    failures = report.store.failures()
    assert len(failures) == report.failed > 0
    assert set(failures.status) == {"max_steps"}
    assert failures.message.str.contains("raise `max_steps`").all()
    assert len(report.store.points()) == 72 - report.failed
    assert execute(sweep, tmp_path).computed == 0


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_the_closed_form_alone_is_a_method(tmp_path, precision):
    store = run(js.Sweep(**TRACKED, solver={"method": "exact", "precision": precision}), tmp_path / "exact")
    frame = store.points()
    assert frame.t_exact.dtype == np.float64
    assert frame.t_numeric.isna().all()
    assert frame.t_exact.notna().all()
    assert store.trajectories().w_exact.notna().all()


def test_float32_rows_are_stored_as_float32(tmp_path):
    store = run(js.Sweep(**TINY, solver={"precision": "float32", "rtol": 1e-5}), tmp_path)
    frame = store.points()
    assert frame.t_numeric.dtype == np.float32
    assert frame.t_exact.dtype == np.float64
    assert frame.relative_difference.max() < 1e-3


def test_several_thresholds(tmp_path):
    store = run(js.Sweep(**TRACKED | {"measure": {"p": [0.9, 0.5], "trajectories": {"samples": 3}}}), tmp_path)
    frame = store.points()
    wide = frame.pivot(index=KEYS[:-1], columns="p", values="t_numeric")
    assert len(wide) == 72
    assert (wide[0.9] > wide[0.5]).all()
    assert len(store.trajectories()) == 72 * 3


# --- resuming, extending, never mixing ------------------------------------------------------------------------------


def test_a_finished_run_computes_nothing_again(stored):
    before = files_of(stored.path)
    report = execute(js.Sweep(**TRACKED), stored.path)
    assert report.computed == 0
    after = files_of(stored.path)
    assert {name: after[name] for name in before} == before


def test_a_stopped_run_goes_on_where_it_stopped(tmp_path, stored):
    seen = iter([False, False, True])
    first = execute(js.Sweep(**TRACKED), tmp_path / "again", chunk_points=5, stop=lambda: next(seen))
    assert not first.complete
    second = execute(js.Sweep(**TRACKED), tmp_path / "again", chunk_points=5)
    assert second.complete
    assert first.computed + second.computed == 72
    for name in ("points", "trajectories"):
        pd.testing.assert_frame_equal(table_of(tmp_path / "again", name), table_of(stored.path, name))


@pytest.mark.parametrize(
    ("change", "new"),
    [
        ({"axes": {**TINY["axes"], "L": [1, 2, 3, 4]}}, 24),
        ({"axes": {**TINY["axes"], "lam": [0.5, 1.0, 2.0]}}, 36),
        ({"measure": {"p": [0.5, 0.9]}}, 72),
        ({"axes": {**TINY["axes"], "rho": [0.5]}}, 0),
        ({"name": "renamed"}, 0),
        ({"solver": {"max_steps": 20_000}}, 0),
    ],
    ids=["deeper", "between", "thresholds", "subset", "name", "max_steps"],
)
def test_an_edited_spec_computes_only_its_new_points(tmp_path, tiny, change, new):
    run(tiny, tmp_path, chunk_points=5)
    report = execute(js.Sweep(**{**TINY, **change}), tmp_path, chunk_points=7)
    assert report.computed == new
    frame = report.store.points()
    assert len(frame) == 72 + new
    assert not frame.duplicated(KEYS).any()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"solver": {"rtol": 1e-7}}, "`solver`"),
        ({"solver": {"method": "tsit5"}}, "`solver`"),
        ({"solver": {"coordinate": "w"}}, "`solver`"),
        ({"solver": {"precision": "float32", "rtol": 1e-5}}, "`solver`"),
        ({"solver": {"time": "flow"}}, "`solver`"),
        ({"measure": {"trajectories": {}}}, "`trajectories`"),
    ],
)
def test_numbers_made_in_another_way_are_refused(tmp_path, tiny, change, what):
    run(tiny, tmp_path)
    before = files_of(tmp_path)
    with pytest.raises(js.SpecError, match=f"its {what} is .* write to another directory with --out"):
        run(js.Sweep(**TINY, **change), tmp_path)
    assert files_of(tmp_path) == before


def test_another_version_of_the_model_is_refused(tmp_path, tiny, monkeypatch):
    run(tiny, tmp_path)
    frozen = js.Sweep.frozen
    monkeypatch.setattr(js.Sweep, "frozen", lambda self: {**frozen(self), "version": 2})
    with pytest.raises(js.SpecError, match="its `version` is 1"):
        run(tiny, tmp_path)


def test_a_newer_format_is_refused(stored):
    record = json.loads((stored.path / "store.json").read_text())
    del record["sha256"]
    (stored.path / "store.json").write_bytes(sealed({**record, "format": 99}))
    with pytest.raises(js.SpecError, match="install a newer jepa_sweep"):
        Store(stored.path)


def test_specs_and_provenance_are_kept(stored):
    kept = list((stored.path / "specs").glob("1-*.toml"))
    assert js.Sweep.load(kept[0]) == js.Sweep(**TRACKED)
    commit = stored.commits()[0]
    facts = json.loads((stored.path / "environment" / f"{commit.environment}.json").read_text())
    assert facts["precision"] == "float64"
    assert {"jax", "diffrax", "jepa_sweep"} <= facts["versions"].keys()


# --- several writers ------------------------------------------------------------------------------------------------


def test_writers_at_the_same_time_store_every_point_once(tmp_path, stored):
    """Threads through the same code as processes: no state is shared but the directory."""
    specs = [TRACKED, TRACKED, {**TRACKED, "axes": {**TINY["axes"], "L": [3, 2, 5]}}]
    errors = []

    def write(spec, size):
        try:
            run(js.Sweep(**spec), tmp_path / "many", chunk_points=size)
        except BaseException as error:  # whatever it is must fail the test, not the thread
            errors.append(error)

    writers = [threading.Thread(target=write, args=job) for job in zip(specs, (3, 4, 5), strict=True)]
    [w.start() for w in writers]
    [w.join() for w in writers]
    assert not errors
    frame = table_of(tmp_path / "many")
    assert not frame.duplicated(KEYS).any()
    assert len(frame) == 72 + 24
    samples = table_of(tmp_path / "many", "trajectories")
    assert len(samples) == 4 * (frame.status == "learned").sum()
    assert not samples.duplicated([*KEYS[:-1], "t"]).any()
    pd.testing.assert_frame_equal(frame[frame.L != 5].reset_index(drop=True), table_of(stored.path))


def test_a_claim_lost_to_another_writer_is_tried_again_with_what_is_left(tmp_path, tiny, monkeypatch):
    """The other writer commits overlapping points between our look at the store and our claim."""
    other = js.Sweep(**{**TINY, "axes": {**TINY["axes"], "lam": [2.0, 8.0]}})
    claim, raced = Store.claim, []

    def racing(self, wanted, points):
        if not raced:
            raced.append(True)
            run(other, tmp_path)
        return claim(self, wanted, points)

    monkeypatch.setattr(Store, "claim", racing)
    run(tiny, tmp_path)
    frame = table_of(tmp_path)
    assert len(frame) == 108
    assert not frame.duplicated(KEYS).any()
    assert Store(tmp_path).damage() == {}


# --- damage ---------------------------------------------------------------------------------------------------------


def flip(path, position=None):
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 3 if position is None else position] ^= 0x10
    path.write_bytes(bytes(data))


PARTS = ("points/000002.parquet", "trajectories/000002.parquet", "commits/000002.json")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("fault", [flip, lambda p: p.write_bytes(p.read_bytes()[:-20]), lambda p: p.write_bytes(b"")],
                         ids=["flipped", "truncated", "emptied"])  # fmt: skip
def test_damage_is_found_named_and_repaired(stored, part, fault):
    whole = {name: table_of(stored.path, name) for name in ("points", "trajectories")}
    before = files_of(stored.path)
    fault(stored.path / part)
    found = Store(stored.path).damage()
    assert list(found) == ["000002"]
    assert any(part in problem for problem in found["000002"])
    repaired = repair(Store(stored.path))
    assert list(repaired) == ["000002"]
    assert Store(stored.path).damage() == {}
    for name, frame in whole.items():
        pd.testing.assert_frame_equal(table_of(stored.path, name), frame)
    untouched = {name: data for name, data in before.items() if "000002" not in name}
    after = files_of(stored.path)
    assert {name: after[name] for name in untouched} == untouched


def test_a_missing_file_is_found(stored):
    (stored.path / PARTS[0]).unlink()
    assert "is missing" in Store(stored.path).damage()["000002"][0]


def test_our_reader_never_returns_a_flipped_value(stored):
    path = stored.path / PARTS[0]
    group = pq.ParquetFile(path).metadata.row_group(0)
    chunk = group.column(stored.schema("points").get_field_index("t_exact"))
    flip(path, chunk.data_page_offset + chunk.total_compressed_size - 3)
    with pytest.raises(IntegrityError, match=r"000002\.parquet is damaged"):
        Store(stored.path).points()


def test_a_damaged_commit_record_stops_readers_and_names_itself(stored):
    flip(stored.path / PARTS[2])
    with pytest.raises(IntegrityError, match=r"000002.json is damaged.*repair"):
        Store(stored.path).points()


def test_points_lost_with_one_spec_are_found_missing_by_another(tmp_path, tiny):
    """The second spec shares points that only the first one's files hold."""
    run(tiny, tmp_path, chunk_points=9)
    wider = js.Sweep(**{**TINY, "axes": {**TINY["axes"], "lam": [0.5, 2.0, 4.0]}})
    run(wider, tmp_path)
    for name in ("commits/000001.json", "points/000001.parquet"):
        (tmp_path / name).unlink()
    assert execute(wider, tmp_path).computed == 9
    assert not table_of(tmp_path).duplicated(KEYS).any()
    assert len(table_of(tmp_path)) == 108


def test_copies_and_strangers_are_not_taken_for_chunks(stored):
    (stored.path / "points/000077.parquet").write_bytes((stored.path / PARTS[0]).read_bytes())
    (stored.path / "points/notes.parquet").write_bytes(b"notes")
    (stored.path / "specs/notes.toml").write_text("mine")
    assert list(Store(stored.path).damage()) == ["000077"]
    assert len(Store(stored.path).points()) == 72
    with pytest.raises(IntegrityError, match=r"000077\.parquet is a copy"):
        run(js.Sweep(**TRACKED), stored.path)
    repair(Store(stored.path))
    assert not (stored.path / "points/000077.parquet").exists()
    assert execute(js.Sweep(**TRACKED), stored.path).computed == 0


def test_a_missing_file_stops_readers_with_its_name(stored):
    (stored.path / PARTS[0]).unlink()
    with pytest.raises(IntegrityError, match=r"is missing.*000002\.parquet"):
        stored.points()


def test_a_pending_chunk_with_damaged_trajectories_is_repaired(stored):
    (stored.path / PARTS[2]).unlink()
    (stored.path / PARTS[1]).write_bytes((stored.path / PARTS[1]).read_bytes()[:-20])
    assert list(Store(stored.path).damage()) == ["000002"]
    repair(Store(stored.path))
    assert Store(stored.path).damage() == {}
    assert len(table_of(stored.path)) == 72


def test_lost_specs_and_altered_environments_are_said(stored):
    spec = next((stored.path / "specs").iterdir())
    text = spec.read_text()
    spec.write_text(text + "# edited")
    assert "does not match its name; put the text" in Store(stored.path).lost_notes()[0]
    spec.write_text(text)
    assert Store(stored.path).lost_notes() == []
    flip(next((stored.path / "environment").iterdir()))
    assert "environment" in Store(stored.path).lost_notes()[0]


def test_nothing_is_said_to_be_damaged_where_all_is_well(stored):
    assert stored.damage() == {}
    assert repair(stored) == {}


# --- faults of the file system --------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["write", "fsync", "link", "close", "open"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_a_refused_operation_leaves_nothing_half_written(tmp_path, monkeypatch, call, code):
    root = tmp_path / "s"
    files.make_folders(root, (files.STAGING, "points"))
    real = getattr(os, call)

    def refuse(*args, **kwargs):
        result = real(*args, **kwargs) if call == "close" else None
        if call == "open" and not args[1] & os.O_CREAT:
            return real(*args, **kwargs)
        raise OSError(code, os.strerror(code)) if result is None else AssertionError

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(StorageError, match=r"Could not write .*points/1.parquet: .*(run|--out)"):
        files.publish(root, "points/1.parquet", b"data")
    monkeypatch.undo()
    assert list((root / "points").iterdir()) == [] or call == "fsync"
    assert list((root / files.STAGING).iterdir()) == []
    assert files.publish(root, "points/1.parquet", b"data") in (True, False)
    assert (root / "points/1.parquet").read_bytes() == b"data"


def test_a_full_disk_stops_the_run_and_the_next_run_goes_on(tmp_path, stored, monkeypatch):
    calls, real = [], os.write

    def fill_up(descriptor, data):
        calls.append(1)
        if len(calls) > 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", fill_up)
    with pytest.raises(StorageError, match="the disk is full"):
        run(js.Sweep(**TRACKED), tmp_path / "full", chunk_points=4)
    monkeypatch.undo()
    assert list((tmp_path / "full" / files.STAGING).iterdir()) == []
    assert 0 < len(table_of(tmp_path / "full")) < 72
    run(js.Sweep(**TRACKED), tmp_path / "full", chunk_points=4)
    for name in ("points", "trajectories"):
        pd.testing.assert_frame_equal(table_of(tmp_path / "full", name), table_of(stored.path, name))


@pytest.mark.parametrize("stage", ["claimed", "trajectories published"])
def test_a_writer_that_died_between_claim_and_commit_is_finished(tmp_path, stored, monkeypatch, stage):
    class Died(BaseException):
        pass

    publish = files.publish

    def die(root, name, data):
        if name.startswith("trajectories/000003" if stage == "claimed" else "commits/000003"):
            raise Died
        return publish(root, name, data)

    monkeypatch.setattr(files, "publish", die)
    with pytest.raises(Died):
        run(js.Sweep(**TRACKED), tmp_path / "dead", chunk_points=4)
    monkeypatch.undo()
    assert list(Store(tmp_path / "dead").pending()) == ["000003"]
    run(js.Sweep(**TRACKED), tmp_path / "dead", chunk_points=4)
    assert Store(tmp_path / "dead").pending() == {}
    for name in ("points", "trajectories"):
        pd.testing.assert_frame_equal(table_of(tmp_path / "dead", name), table_of(stored.path, name))


def test_staging_is_cleared_of_the_dead_but_not_of_the_living(tmp_path, tiny):
    run(tiny, tmp_path)
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead = tmp_path / files.STAGING / f"{files._host()}-{int(child.stdout)}-0a.part"
    living = tmp_path / files.STAGING / f"{files._host()}-{os.getpid()}-0b.part"
    elsewhere = tmp_path / files.STAGING / "other_host-1-0c.part"
    for path in (dead, living, elsewhere):
        path.write_bytes(b"half")
    run(tiny, tmp_path)
    assert not dead.exists()
    assert living.exists()
    assert elsewhere.exists()


def test_no_half_written_file_is_ever_visible_as_parquet(tmp_path):
    files.make_folders(tmp_path, (files.STAGING, "points"))
    seen = []
    real = os.link

    def look(source, target):
        seen.extend(tmp_path.rglob("*.parquet"))
        return real(source, target)

    os.link = look
    try:
        files.publish(tmp_path, "points/1.parquet", b"data")
    finally:
        os.link = real
    assert seen == []


def test_encoding_is_checked_on_the_way_in(tmp_path, tiny, monkeypatch):
    """A table whose types differ from the store's is our own bug, and is refused before it reaches a file."""
    made = running.tables

    def narrow(*args):
        out = made(*args)
        points = out["points"]
        place = points.schema.get_field_index("t_numeric")
        return {**out, "points": points.set_column(place, "t_numeric", points["t_numeric"].cast("float32"))}

    monkeypatch.setattr(running, "tables", narrow)
    with pytest.raises(AssertionError, match="must have the store's columns and types"):
        run(tiny, tmp_path)
    assert list((tmp_path / "points").iterdir()) == []
