"""Every flipped bit is found, named and repaired."""

import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import KEYS, TINY, TRACKED
from tables import PARTS, assert_same, assert_same_tables, files_of, flip, table_of

import jepa_sweep as js
from jepa_sweep.computing import repair, run
from jepa_sweep.errors import IntegrityError
from jepa_sweep.results import Store
from jepa_sweep.running.execute import execute
from jepa_sweep.running.summary import status_of
from jepa_sweep.store import notes
from jepa_sweep.store.writer import Writer


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
        assert_same(table_of(stored.path, name), frame)
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
    for name in ("commits/000001.json", "claims/000001.json", "points/000001.parquet"):
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
    repair(Store(stored.path))
    assert not (stored.path / "points/000077.parquet").exists()
    assert execute(js.Sweep(**TRACKED), stored.path).computed == 0


def test_a_file_of_other_points_is_not_adopted(stored):
    """It stands under the number that is claimed next, as an older version could leave it after a power failure."""
    [*_, last] = sorted(stored.path.glob("points/*.parquet"))
    number = f"{int(last.stem) + 1:06d}"
    for name in ("points", "trajectories"):
        (stored.path / f"{name}/{number}.parquet").write_bytes((stored.path / f"{name}/000002.parquet").read_bytes())
    wider = js.Sweep(**{**TRACKED, "axes": {**TINY["axes"], "L": [1, 2, 3, 4]}})
    assert execute(wider, stored.path, chunk_points=4).computed == 24
    assert_same_tables(stored.path, run(wider, stored.path.with_name("whole")).path)
    assert Store(stored.path).damage() == {}
    assert len(list((stored.path / ".damaged").iterdir())) == 2


@pytest.mark.parametrize("name", PARTS[:2])
def test_what_another_release_of_pyarrow_left_unfinished_is_computed_again(stored, name):
    """Its bytes are others, so nothing proves the file; but only what is proved to be wrong is called damaged."""
    whole = stored.path.with_name("whole")
    shutil.copytree(stored.path, whole)
    (stored.path / PARTS[2]).unlink()
    path = stored.path / name
    before, ours = path.read_bytes(), f"parquet-cpp-arrow version {pa.cpp_version}".encode()
    assert before.count(ours) == 1
    theirs = re.sub(rb"\d$", lambda digit: b"%d" % ((int(digit[0]) + 1) % 10), ours)
    path.write_bytes(before.replace(ours, theirs))
    assert Store(stored.path).damage() == {}
    flip(path, 100)  # in a page, which has a checksum
    assert list(Store(stored.path).damage()) == ["000002"]
    flip(path, 100)
    assert execute(js.Sweep(**TRACKED), stored.path, chunk_points=4).computed == 0
    assert Store(stored.path).damage() == Store(stored.path).reader.log.pending() == {}
    assert path.read_bytes() == before
    assert_same_tables(stored.path, whole)


def test_a_missing_file_stops_readers_with_its_name(stored):
    (stored.path / PARTS[0]).unlink()
    with pytest.raises(IntegrityError, match=r"000002\.parquet is missing; run `jepa-sweep repair`"):
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
    assert "does not match its name; run that spec again" in Store(stored.path).lost_notes()[0]
    spec.write_text(text)
    assert Store(stored.path).lost_notes() == []
    flip(next((stored.path / "environment").iterdir()))
    assert "environment" in Store(stored.path).lost_notes()[0]


def test_a_missing_environment_is_said(stored):
    note = next((stored.path / "environment").iterdir())
    note.unlink()
    assert Store(stored.path).lost_notes() == [
        f"{note} is missing: it said where committed rows were made; put it back from a copy of the run"
    ]


def test_nothing_is_said_to_be_damaged_where_all_is_well(stored):
    assert stored.damage() == {}
    assert repair(stored) == {}


@pytest.mark.parametrize("fault", [lambda p: p.write_bytes(p.read_bytes()[:-20]), lambda p: p.write_bytes(b""), flip,
                                   lambda p: p.write_bytes(b"\xff\xfe"), lambda p: p.unlink()],
                         ids=["truncated", "emptied", "flipped", "binary", "deleted"])  # fmt: skip
def test_the_copy_of_a_spec_is_put_back_by_running_it(stored, fault):
    """And that of another spec stays as it is."""
    more = js.Sweep(**{**TRACKED, "axes": {**TINY["axes"], "lam": [0.5]}})
    run(more, stored.path)
    [path, other] = sorted(stored.path.glob("specs/*.toml"))
    texts = {path.read_bytes(), other.read_bytes()}
    fault(path)
    assert len(Store(stored.path).lost_notes()) == 1
    with pytest.raises(IntegrityError, match=r"run that spec again"):
        status_of(stored.path)
    report = execute(js.Sweep(**TRACKED), stored.path)
    assert (report.computed, report.complete) == (0, True)
    assert Store(stored.path).lost_notes() == []
    assert {path.read_bytes() for path in stored.path.glob("specs/*.toml")} == texts
    assert other.exists()


@pytest.mark.parametrize("fault", [lambda p: p.write_bytes(p.read_bytes()[:-20]), lambda p: p.unlink()])
def test_notes_of_other_kinds_are_put_back_too(stored, fault):
    writer, source, facts = Writer(Store(stored.path).reader), "# a flow of somebody's own\n", {"device": "one of mine"}
    for _ in range(2):
        writer.add_source(source)
        name = writer.add_environment(facts)
        assert [*notes.texts(writer.reader.location, notes.SOURCE).values()] == [source]
        assert writer.reader.environments()[name] == facts
        for path in (*stored.path.glob("specs/*.py"), stored.path / f"environment/{name}.json"):
            fault(path)
