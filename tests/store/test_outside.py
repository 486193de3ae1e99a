"""A run directory from a stranger: nothing outside of it is read, written or moved, and nothing in it makes us wait."""

import json
import os
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from replayed import SPEC
from tables import assert_same_tables, files_of

import jepa_sweep as js
from jepa_sweep.cli import completion
from jepa_sweep.errors import IntegrityError
from jepa_sweep.store import locate, location
from jepa_sweep.store.records import sealed, sha256

pytest_plugins = ["replayed_fixtures"]
FOLDERS = ("points", "trajectories", "failures", *location.FOLDERS, location.DAMAGED)
FILES = ("points/000001.parquet", "trajectories/000001.parquet", "commits/000001.json", "claims/000001.json")


@pytest.fixture
def outside(whole, tmp_path):
    """A place of somebody else, which looks like a part of a run; it must stay as it is."""
    path = tmp_path / "outside"
    path.mkdir()
    (path / "precious").write_text("mine")
    yield path
    assert (path / "precious").read_text() == "mine"


@pytest.fixture
def spec(tmp_path):
    """The file of the spec."""
    path = tmp_path / "spec.toml"
    path.write_text(js.Sweep(**SPEC).to_toml())
    return path


def told(result):
    """What a command printed, which it did by itself."""
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.output


def reseal(path, change):
    """Change a record, and seal it."""
    record = json.loads(path.read_text())
    del record["sha256"]
    change(record)
    path.write_bytes(sealed(record))


@pytest.mark.parametrize("name", FOLDERS)
def test_a_linked_folder_is_not_entered(invoke, run, outside, spec, whole, name):
    (run / name).mkdir(exist_ok=True)
    shutil.move(run / name, outside / "theirs")
    dead = outside / "theirs" / f"{socket.gethostname()}-999999999-0123456789ab.part"
    dead.write_text("of a writer that has died")
    (run / name).symlink_to(outside / "theirs")
    before = files_of(outside)
    for words in (("verify", run), ("run", spec, "--out", run))[: 1 if name == location.DAMAGED else 2]:
        result = invoke(*words)
        assert f"{run / name} is damaged: it must be a folder of the run itself, but it is a link" in told(result)
        assert result.exit_code == IntegrityError.exit_code
    assert files_of(outside) == before
    result = invoke("repair", run)
    assert f"set aside {name}: " in told(result)
    assert result.exit_code == (5 if name in ("specs", "environment") else 0)
    assert files_of(outside) == before
    assert not (run / name).is_symlink()
    if name == "specs":
        assert "lacks the spec" in result.output
        assert invoke("run", spec, "--out", run).exit_code == 0
    assert invoke("verify", run).exit_code == (5 if name == "environment" else 0)
    assert_same_tables(run, whole)
    assert files_of(outside) == before


def link(path, outside):
    (outside / "there").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(outside / "there")


def dangling(path, outside):
    path.unlink()
    path.symlink_to(outside / "nowhere")


def endless(path, outside):
    path.unlink()
    path.symlink_to("/dev/zero")


def pipe(path, outside):
    path.unlink()
    os.mkfifo(path)


def listening(path, outside):
    path.unlink()
    here = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def folder(path, outside):
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("what somebody put there")


@pytest.mark.parametrize("kind", [link, dangling, endless, pipe, listening, folder])
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_plain_file_is_set_aside(invoke, run, outside, whole, name, kind):
    kind(run / name, outside)
    before = files_of(outside)
    result = invoke("verify", run)
    assert f"{run / name} is damaged: it must be a file of the run itself, but it is a" in told(result)
    assert result.exit_code == IntegrityError.exit_code
    if not name.startswith(("claims", "traj")):
        result = invoke("query", run)
        assert name in told(result)
        assert result.exit_code == IntegrityError.exit_code
    result = invoke("repair", run)
    assert "repaired chunk 000001" in told(result)
    assert result.exit_code == 0
    assert invoke("verify", run).exit_code == 0
    assert files_of(outside) == before
    assert_same_tables(run, whole)


@pytest.mark.parametrize("kind", [link, dangling, endless, pipe, folder])
@pytest.mark.parametrize("pattern", ["specs/*.toml", "environment/*.json"])
def test_a_note_that_is_no_plain_file_is_told(invoke, run, outside, spec, pattern, kind):
    [path] = run.glob(pattern)
    kind(path, outside)
    result = invoke("verify", run)
    assert f"{path} is damaged: it must be a file of the run itself" in told(result)
    assert result.exit_code == IntegrityError.exit_code
    result = invoke("repair", run)
    assert f"set aside {path.relative_to(run)}: " in told(result)
    assert "left as it is: " in result.output
    assert result.exit_code == IntegrityError.exit_code
    assert invoke("run", spec, "--out", run).exit_code == 0
    assert invoke("verify", run).exit_code == (0 if "specs" in pattern else 5)


@pytest.mark.parametrize("kind", [link, dangling, endless, pipe, folder])
def test_a_run_whose_mark_is_no_plain_file_is_refused(invoke, run, outside, spec, kind):
    kind(run / "store.json", outside)
    before = files_of(outside)
    for words in (("verify", run), ("status", run), ("query", run), ("repair", run), ("run", spec, "--out", run)):
        result = invoke(*words)
        assert "store.json is damaged: it must be a file of the run itself" in told(result)
        assert result.exit_code == IntegrityError.exit_code
    assert files_of(outside) == before
    told(invoke("list", run.parent))


@pytest.mark.parametrize("kind", [link, dangling, endless, pipe, folder])
def test_a_shell_that_completes_a_word_does_not_wait_for_it(run, outside, kind):
    asked = SimpleNamespace(params={"run": str(run)}, args=[])
    assert "lam" in [*completion._columns(asked, "l")]
    kind(run / "store.json", outside)
    assert [*completion._columns(asked, "l")] == []


ELSEWHERE = [
    "points/../../outside/points.parquet",
    "../outside/points.parquet",
    "{outside}/points.parquet",
    "./points/000001.parquet",
    "points//000001.parquet",
    "points/000002.parquet",
    "points/./000001.parquet",
    "points",
    "",
    "specs/000001.parquet",
    "nowhere/000001.parquet",
    "points/000001.parquet\0",
    "points/000001.parquet/x",
]


@pytest.mark.parametrize("path", ELSEWHERE)
def test_a_record_cannot_name_files_elsewhere(invoke, run, outside, whole, path):
    (outside / "points.parquet").write_bytes((run / FILES[0]).read_bytes())
    before, path = files_of(outside), path.format(outside=outside)
    reseal(run / FILES[2], lambda record: record["files"][0].update(path=path))
    for words in (["verify"], ["query"], ["query", "--sql", "select * from points"], ["status"]):
        result = invoke(words[0], run, *words[1:])
        assert "commits/000001.json is damaged: the commit record is not well-formed (its files must be" in told(result)
        assert result.exit_code == IntegrityError.exit_code
    assert invoke("repair", run).exit_code == invoke("verify", run).exit_code == 0
    assert files_of(outside) == before
    assert_same_tables(run, whole)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a/b/c", "a//b", "", ".", "..", "a/..", "a\0"])
@pytest.mark.parametrize("place", ["folder", "memory"])
def test_no_name_leads_out_of_a_store(tmp_path, name, place):
    where = locate.at(tmp_path / "run" if place == "folder" else "memory://strangers")
    where.prepare(location.FOLDERS)
    calls = (
        lambda: where.read(name),
        lambda: where.read_end(name, 1),
        lambda: where.digest(name, 1),
        lambda: where.exists(name),
        lambda: where.names(name),
        lambda: where.publish(name, b""),
        lambda: where.set_aside(name),
        lambda: where.mark(name),
    )
    for call in calls:
        with pytest.raises(IntegrityError, match="must be named like"):
            call()
    where.unmark(name)
    assert where.walk() == []
    assert not (tmp_path / "x").exists()


def test_a_run_may_lie_behind_a_link(invoke, run, spec, tmp_path):
    (tmp_path / "runs").symlink_to(run.parent)
    for words in (("verify",), ("status",), ("query",), ("repair",)):
        assert invoke(words[0], tmp_path / "runs/run").exit_code == 0
    assert invoke("run", spec, "--out", tmp_path / "runs/run").exit_code == 0
    (tmp_path / "short").symlink_to(run)
    assert invoke("verify", tmp_path / "short").exit_code == 0
    assert invoke("run", spec, "--out", tmp_path / "short").exit_code == 0


def test_links_to_other_folders_are_listed_as_strangers(invoke, run, outside):
    (run / "extra").symlink_to(outside)
    (run / "points/more").symlink_to(outside)
    os.mkfifo(run / "waiting")
    result = invoke("verify", run)
    assert told(result).count("not a file of the store: ") == 3
    assert "precious" not in result.output
    assert result.exit_code == 0


def test_a_file_of_a_pending_chunk_that_never_ends_is_not_read(invoke, run, spec, outside, whole):
    """Its writer has died, and there is no record which says how long the file is."""
    (run / FILES[2]).unlink()
    endless(run / FILES[0], outside)
    assert "it is a link" in told(invoke("verify", run))
    (run / FILES[0]).unlink()
    with (run / FILES[0]).open("wb") as file:
        file.truncate(1 << 40)  # with nothing in it
    assert invoke("verify", run).exit_code == 0  # nothing can prove it, so it is computed again
    assert invoke("run", spec, "--out", run).exit_code == 0
    assert_same_tables(run, whole)
    assert invoke("verify", run).exit_code == 0


@pytest.mark.parametrize("name", ["commits/000001.json", "claims/000001.json", "points/000001.parquet"])
def test_a_file_as_large_as_a_disk_is_not_read(invoke, run, whole, name):
    with (run / name).open("wb") as file:
        file.truncate(1 << 40)
    result = invoke("verify", run)
    assert f"{name} is damaged: it must have at most" in told(result)
    assert invoke("repair", run).exit_code == 0
    assert_same_tables(run, whole)


def test_numbers_of_chunks_are_written_in_one_way(invoke, run, spec):
    """Digits of other scripts, and numbers with more zeros, are not the store's."""
    for name in ("\u0660" * 5 + "\u0661", "0000001", "9" * 200, "1"):
        shutil.copy(run / FILES[2], run / f"commits/{name}.json")
    assert told(invoke("verify", run)).count("not a file of the store: ") == 4
    assert invoke("run", spec, "--out", run).exit_code == 0


def test_a_note_named_by_its_own_hash_may_still_be_anything(invoke, run):
    data = b"\xff\xfe"
    (run / f"specs/7-{sha256(data)[:8]}.toml").write_bytes(data)
    result = invoke("verify", run)
    assert "is not UTF-8 text" in told(result)
    assert result.exit_code == invoke("status", run).exit_code == IntegrityError.exit_code


def test_runs_are_listed_however_deep_folders_lie_in_each_other(invoke, run):
    deep = f"{run}/x"
    os.mkdir(deep)
    for _ in range(1200):  # more than functions of Python call each other
        deep += "/d"
        os.mkdir(deep)
    try:
        assert invoke("verify", run).exit_code == 0
        (run / "store.json").rename(run.parent / "store.json")
        assert json.loads(told(invoke("list", run.parent, "--json")))[0]["run"] == str(run.parent)
        (run.parent / "store.json").rename(run / "store.json")
        (run / "store.json").rename(run / "elsewhere")
        assert json.loads(told(invoke("list", run.parent, "--json"))) == []
    finally:
        os.removedirs(deep)  # which other ways of removing it would not
