"""Small files of many rows: no command needs more memory than a piece of them takes."""

import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from replayed import SPEC

import jepa_sweep as js
from jepa_sweep.running.opening import open_for
from jepa_sweep.store import table
from jepa_sweep.store.records import Claim, Work, sealed

ROWS = 6 << 20
MANY = {"lam": {"linear": [1, 2], "num": 1 << 10}, "rho": {"linear": [0.1, 1], "num": 1 << 11}, "L": [1, 2, 3]}
MOST = 640 << 20  # bytes of memory that a command may ask for, Python and its libraries included
STATUSES = ["learned", "above_threshold"]

LIMITED = f"""
import resource, sys
from jepa_sweep import cli
resource.setrlimit(resource.RLIMIT_DATA, ({MOST}, {MOST}))
try:
    cli.app(sys.argv[1:])
finally:
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print("peak", int(peak.split()[1]) << 10, file=sys.stderr)
"""


def constant(field, count, words):
    """A column that hardly takes a byte."""
    if pa.types.is_string(field.type):
        few = pa.array((words.get(field.name) or ["word"]) * 2, field.type)
        return pa.chunked_array([few.take(pa.array([0, 1] * 512))] * (count // 1024))
    return pa.chunked_array([pa.array([1] * 1024, field.type)] * (count // 1024))


def inflated(path, name, count, **words):
    """A store of one chunk with so many rows in one table, sealed as any other."""
    sweep = js.Sweep(**{**SPEC, "axes": {**MANY, "eps": 1e-3}})
    writer = open_for(sweep, path)
    digest, manifest = writer.add_spec(sweep.to_toml()), writer.reader.manifest
    schemas = {one: manifest.schema(one) for one in ("points", name)}
    rows = {one: schema.empty_table() for one, schema in schemas.items()}
    columns = [constant(field, count, words) for field in schemas[name]]
    rows[name] = pa.Table.from_arrays(columns, schema=schemas[name])
    files = []
    for one, made in rows.items():
        file = path / f"{one}/000001.parquet"
        pq.write_table(made, file, row_group_size=count, compression="lz4")
        files.append(table.listed(f"{one}/000001.parquet", file.read_bytes(), made.num_rows)._asdict())
    claim = Claim(digest, 0, count)._asdict()
    record = {"format": 3, "number": "000001", "claim": claim, "files": files, "environment": "00000000"}
    record |= {"work": Work()._asdict(), "host": "somewhere", "created": "2026-01-01T00:00:00+00:00"}
    (path / "commits/000001.json").write_bytes(sealed(record))
    (path / "claims/000001.json").write_bytes(sealed({"number": "000001", **claim}))
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A run whose points take a few hundred kilobytes, and as a table more than a command may have."""
    path = inflated(tmp_path_factory.mktemp("large") / "run", "points", ROWS, status=STATUSES)
    [file] = path.glob("points/*.parquet")
    assert file.stat().st_size < 1 << 20
    footer = pq.read_metadata(file)
    assert (footer.num_rows, footer.num_row_groups) == (ROWS, 1)
    assert 8 * ROWS * footer.num_columns > MOST
    return path


def limited(*words):
    """A command in a process that gets no more memory than that; what it ends with, and prints."""
    line = [sys.executable, "-c", LIMITED, *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert "Traceback" not in done.stderr, done.stderr
    peak = int(done.stderr.split("peak ")[-1].split()[0])
    assert peak < MOST
    return done.returncode, done.stdout + done.stderr


ASKED = {
    "status": [],
    "verify": [],
    "query": ["--limit", "3"],
    "query sorted": ["--where", "status = above_threshold", "--where", "lam > 0", "--sort=-lam", "--limit", "3"],
}


@pytest.mark.long
@pytest.mark.process
@pytest.mark.parametrize("asked", ASKED)
def test_a_table_larger_than_memory_is_looked_at_in_pieces(large, asked):
    code, told = limited(asked.split()[0], large, *ASKED[asked])
    if asked == "verify":
        assert "00000000.json is missing: it said where" in told  # which was not made up
        assert code == 5
    else:
        assert code == 0, told
        assert f"{ROWS:,}" in told or "above_threshold" in told


@pytest.mark.process
def test_rows_of_a_pending_chunk_that_do_not_fit_into_memory_are_not_proved(large, tmp_path):
    for name in ("store.json", "claims/000001.json", "points/000001.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((large / name).read_bytes())
    _, told = limited("verify", tmp_path)
    assert "lacks the spec" in told
    assert "is damaged" not in told


@pytest.mark.process
def test_a_text_that_is_repeated_without_end_is_an_error(tmp_path):
    path = inflated(tmp_path / "run", "failures", 1 << 17, message=["x" * 100_000, "y"])
    code, told = limited("query", path, "--table", "failures")
    assert "failures/000001.parquet is damaged: 65,536 of its rows hold 3,276,832,768 bytes of text" in told
    assert code == 5


def test_a_record_of_other_rows_than_its_file_has_is_refused(tmp_path, invoke):
    path = inflated(tmp_path / "run", "points", 1 << 12, status=STATUSES)
    record = json.loads((path / "commits/000001.json").read_text())
    for number in (1 << 11, 1 << 27):
        del record["sha256"]
        record["claim"]["stop"] = number
        record["files"][0]["rows"] = number
        (path / "claims/000001.json").write_bytes(sealed({"number": "000001", **record["claim"]}))
        (path / "commits/000001.json").write_bytes(sealed(record))
        record = json.loads((path / "commits/000001.json").read_text())
        for words in (
            ["verify"],
            ["query"],
            ["query", "--where", "lam > 0"],
            ["query", "--sql", "select * from points"],
        ):
            result = invoke(words[0], path, *words[1:])
            assert f"it has 4,096 rows, but its record says {number:,}" in result.output
            assert result.exit_code == 5


def test_a_file_of_other_columns_than_the_store_has_is_refused(tmp_path, invoke):
    path = inflated(tmp_path / "run", "points", 1 << 12, status=STATUSES)
    file, record = path / "points/000001.parquet", json.loads((path / "commits/000001.json").read_text())
    del record["sha256"]
    for rows in (
        pq.read_table(file).drop_columns(["lam"]),
        pq.read_table(file).rename_columns({"lam": "other"}),
        pq.read_table(file).set_column(1, "lam", pa.array(["1"] * (1 << 12))),
    ):
        made = tmp_path / "made.parquet"
        pq.write_table(rows, made)
        file.write_bytes(made.read_bytes())
        record["files"][0] = table.listed("points/000001.parquet", made.read_bytes(), 1 << 12)._asdict()
        (path / "commits/000001.json").write_bytes(sealed(record))
        for words in (["verify"], ["status"], ["query"], ["query", "--where", "L = 1"], ["compare"]):
            result = invoke(words[0], path, *words[1:])
            assert "points/000001.parquet is damaged: its columns are not those of the store" in result.output
            assert result.exit_code == 5


def test_a_file_that_is_no_parquet_is_refused_though_its_hash_is_right(tmp_path, invoke):
    path = inflated(tmp_path / "run", "points", 1 << 12, status=STATUSES)
    file, record = path / "points/000001.parquet", json.loads((path / "commits/000001.json").read_text())
    del record["sha256"]
    whole = file.read_bytes()
    middle = len(whole) // 4
    texts = whole.replace(b"above_threshold", b"\xffbove_threshold")
    for data, commands in (
        (whole[:middle] + b"PAR1", ["verify", "status", "query"]),
        (whole[:4] + b"\xff" * middle + whole[4 + middle :], ["query"]),
        (texts, ["query", "status"]),
        (b"x" * 100, ["verify", "status", "query"]),
    ):
        file.write_bytes(data)
        listed = table.listed("points/000001.parquet", data, 1 << 12)._asdict()
        record["files"][0] = listed | {"footer": min(max(listed["footer"], 9), len(data))}
        record["files"][0]["footer_sha256"] = table.sha256(data[-record["files"][0]["footer"] :])
        (path / "commits/000001.json").write_bytes(sealed(record))
        for word in commands:
            result = invoke(word, path)
            assert result.exception is None or isinstance(result.exception, SystemExit), (word, result.exception)
            assert "points/000001.parquet is damaged: " in result.output
            assert result.exit_code == 5
