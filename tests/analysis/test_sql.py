"""SQL over the tables of a run."""

import json
import shutil
import sys

import pytest
from stores import SPEC, WIDE, Writer, add, made

import jepa_sweep as js
from jepa_sweep.analysis.sql import answer
from jepa_sweep.store.records import Claim

CHUNKS = [{"lam": [0.5, 1.0], "L": [1, 2], "t": [4.0, None]}, {"lam": [2.0], "L": [5], "t": [1.0]}]
FAILED = {"objective": ["mae", "jepa"], "lam": [0.5, 0.5], "L": [3, 3], "status": ["max_steps"] * 2, "steps": [10, 10]}


def asked(store, text, limit=0):
    return answer(store.reader, text, limit)[0]


@pytest.fixture(params=["a folder", "a folder that is a pattern", "a bucket"])
def store(request, tmp_path):
    """A run in several places; one in a path that DuckDB would take for a pattern and a partition."""
    path = {"a folder": tmp_path / "run", "a bucket": None}.get(request.param, tmp_path / "lam=7" / "r[1]*?")
    return made(CHUNKS, path, failures=[FAILED])


def test_rows_are_those_of_the_store(store):
    found = asked(store, "select * from points order by lam")
    assert found.equals(store.points().sort_values("lam").reset_index(drop=True))
    assert list(found.columns) == store.schema("points").names
    both = "select p.L, f.status from points p, Failures f where p.lam = f.lam and f.objective = 'jepa'"
    assert asked(store, both).to_dict("records") == [{"L": 1, "status": "max_steps"}]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("with few as (from points where t > 2) select count(*) as n from few", [{"n": 1}]),
        ("pivot points on L in (1, 2) using sum(lam) order by t desc nulls last", [{"1": 0.5}]),
        ("summarize points", [{"column_name": "objective"}]),
        ("select sum(a.lam * b.lam) as s from points a join points b using (L)", [{"s": 5.25}]),
        ("select 1 as one", [{"one": 1}]),
    ],
)
def test_it_is_all_of_sql(text, rows):
    store = made(CHUNKS)
    found = asked(store, text)
    assert found[list(rows[0])].head(1).to_dict("records") == rows


def test_files_that_are_not_committed_are_not_read(tmp_path):
    store = made(CHUNKS, tmp_path / "run")
    points = tmp_path / "run/points"
    shutil.copy(points / "000001.parquet", points / "000009.parquet")  # of a writer that has died
    (points / "notes.parquet").write_text("no table")
    assert asked(store, "select count(*) as n from points").n.tolist() == [3]
    assert asked(store, "select count(*) as n from failures").n.tolist() == [0]


def test_failures_that_were_tried_again_are_left_out():
    store = made(CHUNKS, failures=[FAILED])
    again = Claim(SPEC, 2 * WIDE, 0, attempt=2)
    add(Writer(store.reader), again, points={"objective": ["mae"], "lam": [0.5], "L": [3]})
    assert asked(store, "select objective from failures").objective.tolist() == ["jepa"]
    assert store.failures().objective.tolist() == ["jepa"]
    assert asked(store, "select count(*) as n from points").n.tolist() == [4]


def test_a_damaged_file_is_not_believed(store, monkeypatch):
    location, path = store.reader.location, "points/000002.parquet"
    data = bytearray(location.read(path))
    data[len(data) // 3] ^= 1
    if isinstance(store.path, str):  # nothing in a bucket is written twice
        read = location.read
        monkeypatch.setattr(location, "read", lambda name, *most: bytes(data) if name == path else read(name, *most))
    else:
        (store.path / path).write_bytes(data)
    with pytest.raises(js.IntegrityError, match=r"000002\.parquet is damaged"):
        asked(store, "select count(*) from points")
    assert len(asked(store, "select * from failures")) == 2  # whose files are as they were


def test_rows_are_cut(store):
    found, more = answer(store.reader, "select lam from points order by lam desc", 2)
    assert (found.lam.tolist(), more) == ([2.0, 1.0], True)
    found, more = answer(store.reader, "select lam from points", 3)
    assert (len(found), more) == (3, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("selec * from points", r"must be a query that DuckDB can run, but it says: Parser Error: [^\n]*\Z"),
        ("select lamda from points", r"Referenced column \"lamda\" not found in FROM clause; [^\n]*lam\"[^\n]*\.\Z"),
        ("select * from pointz", r"must name tables of the run, but there is no `pointz`. Did you mean `points`\?\Z"),
        ("select * from store", r"there is no `store`. Known are: points, failures.\Z"),  # no variable of ours
        ("select status::int from points", r"Conversion Error: Could not convert string 'learned' to INT32[^\n]*\Z"),
        ("", r"must be one query that only reads, like `select \* from points`, but it is empty.\Z"),
        ("create table few as from points", r"but it is CREATE.\Z"),
        ("pivot points on L using sum(lam)", r"as several; try `pivot ... on L in \(1, 2\)`.\Z"),
    ],
)
def test_what_duckdb_cannot_run_is_one_sentence(text, message):
    with pytest.raises(js.SpecError, match=message):
        asked(made(CHUNKS), text)


@pytest.mark.parametrize(
    "text",
    [
        "copy points to '{}'",
        "select * from points; copy points to '{}'",
        "copy (from (pivot points on L using sum(lam))) to '{}'",
        "attach '{}' as other",
    ],
)
def test_a_query_writes_no_file(store, tmp_path, text):
    with pytest.raises(js.SpecError, match=r"must be one query that only reads, .* but it is "):
        asked(store, text.format(tmp_path / "made"))
    assert not (tmp_path / "made").exists()


def test_a_query_reads_no_other_file(store, tmp_path):
    (tmp_path / "other.csv").write_text("a\n1\n")
    with pytest.raises(js.SpecError, match="Permission Error"):
        asked(store, f"select * from points, '{tmp_path}/other.csv'")


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def query(tmp_path, invoke):
    made(CHUNKS, tmp_path / "run")
    return lambda *words: invoke("query", tmp_path / "run", *words)


def test_the_command_prints_it_in_every_form(query):
    text = query("--sql", "select L, lam from points order by L", "--limit", "2")
    assert (text.stdout, text.stderr) == ("L  lam\n1  0.5\n2    1\n", "the first 2 rows; --limit 0 shows all\n")
    assert query("--sql", "select 1 as one").stderr == "1 row\n"
    assert json.loads(query("--sql", "select max(lam) as top from points", "--json").stdout) == [{"top": 2.0}]
    assert query("--sql", "select L from points where L = 5", "--format", "csv").stdout == "L\n5\n"


@pytest.mark.parametrize("beside", [["--table", "points"], ["--where", "L = 1"], ["--columns", "L"], ["--sort", "L"]])
def test_sql_says_all_there_is_to_ask(query, beside):
    done = query("--sql", "select 1", *beside)
    assert (done.exit_code, done.stdout) == (2, "")
    assert (
        done.stderr == f"error: `--sql` must say all there is to ask, but {beside[0]} is given, too; write it as SQL.\n"
    )


def test_what_is_to_be_installed_is_said(query, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    done = query("--sql", "select 1")
    assert done.exit_code == 2
    assert done.stderr == "error: `--sql` needs duckdb, but it is not installed; try `pip install 'jepa_sweep[sql]'`.\n"
