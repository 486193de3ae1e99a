"""Stores with records whose hash is right and which say what they cannot say: every command names them."""

import json
import math
import os

import pytest
from replayed import SPEC
from tables import assert_same_tables

import jepa_sweep as js
from jepa_sweep.errors import IntegrityError
from jepa_sweep.running import recovery
from jepa_sweep.store import records, writer_names
from jepa_sweep.store.location import MARK
from jepa_sweep.store.records import sealed

pytest_plugins = ["replayed_fixtures"]


def change(path, how):
    """Change a record and seal it."""
    record = json.loads(path.read_text())
    record.pop("sha256")
    path.write_bytes(sealed(how(record) or record))


def without(table, key):
    return {name: value for name, value in table.items() if name != key}


CHANGES = {
    "below zero": lambda r: r["claim"].update(start=-5),
    "beyond all": lambda r: r["claim"].update(stop=2**70),
    "a fraction": lambda r: r["claim"].update(start=0.0),
    "true": lambda r: r["claim"].update(start=False),
    "a gap outside": lambda r: r["claim"].update(absent=[[100, 200]]),
    "gaps out of order": lambda r: r["claim"].update(start=0, stop=9, absent=[[4, 6], [1, 3]]),
    "a gap backwards": lambda r: r["claim"].update(absent=[[2, 1]]),
    "rows below zero": lambda r: r["files"][0].update(rows=-1),
    "other rows": lambda r: r["files"][0].update(rows=10**12),
    "bytes below zero": lambda r: r["files"][0].update(bytes=-1),
    "a footer too large": lambda r: r["files"][0].update(footer=10**9),
    "a footer beyond memory": lambda r: r["files"][0].update(footer=2**40, bytes=2**40),
    "a file beyond memory": lambda r: r["files"][0].update(bytes=2**40),
    "a file twice": lambda r: r["files"].append(r["files"][0]),
    "no list": lambda r: r.update(files={}),
    "no claim": lambda r: without(r, "claim"),
    "more keys": lambda r: r.update(more=1),
    "fewer keys": lambda r: {**r, "work": without(r["work"], "steps")},
    "a word for a number": lambda r: r["work"].update(seconds="1"),
    "not a number": lambda r: r["work"].update(seconds=math.nan),
    "infinite": lambda r: r["work"].update(compile_seconds=math.inf),
    "half a character": lambda r: r.update(host="\ud800"),
    "deep": lambda r: r["claim"].update(solver=[["rtol", json.loads("[" * 200 + "]" * 200)]]),
    "of another kind": lambda r: {"number": r["number"], **r["claim"]},
}


@pytest.mark.parametrize("how", CHANGES.values(), ids=CHANGES)
def test_a_record_that_says_what_cannot_be_is_named_by_every_command(invoke, run, whole, tmp_path, how):
    (tmp_path / "spec.toml").write_text(js.Sweep(**SPEC).to_toml())
    change(run / "commits/000001.json", how)
    for words in (
        ("verify", run),
        ("status", run),
        ("query", run),
        ("query", run, "--sql", "select * from points"),
        ("plan", tmp_path / "spec.toml", "--out", run),
        ("run", tmp_path / "spec.toml", "--out", run),
        ("export", run, "--to", "csv"),
        ("retry", run),
    ):
        result = invoke(*words)
        assert result.exception is None or isinstance(result.exception, SystemExit), words
        assert "commits/000001.json is damaged" in result.output
        assert result.exit_code == IntegrityError.exit_code
    assert invoke("repair", run).exit_code == invoke("verify", run).exit_code == 0
    assert_same_tables(run, whole)


@pytest.mark.parametrize(
    "records_", [("commits", "claims"), ("claims",), ("commits",)], ids=["committed", "pending", "committed alone"]
)
def test_a_claim_of_points_that_the_spec_lacks_is_found(invoke, run, whole, tmp_path, records_):
    """Its record is well-formed: how many points there are only the spec knows."""
    (tmp_path / "spec.toml").write_text(js.Sweep(**SPEC).to_toml())
    if "commits" in records_:
        far = 2**46
        change(run / "commits/000001.json", lambda r: r["claim"].update(start=far, stop=far + r["claim"]["stop"]))
        change(run / "claims/000001.json", lambda r: r.update(start=far, stop=far + r["stop"]))
        if "claims" not in records_:
            (run / "claims/000001.json").unlink()
    else:
        (run / "commits/000001.json").unlink()
        change(run / "claims/000001.json", lambda r: r.update(start=2**46, stop=2**46 + 2))
    for words in (
        ("status", run),
        ("plan", tmp_path / "spec.toml", "--out", run),
        ("run", tmp_path / "spec.toml", "--out", run),
    ):
        result = invoke(*words)
        where = f"{records_[-1]}/000001.json is damaged"
        assert f"{where}: it claims points up to number 70,368,744,177,66" in result.output, words
        assert result.exit_code == IntegrityError.exit_code
    result = invoke("repair", run)
    assert "which points it held is lost" in result.output
    assert result.exit_code == 0
    assert invoke("run", tmp_path / "spec.toml", "--out", run).exit_code == 0
    assert invoke("verify", run).exit_code == 0
    assert_same_tables(run, whole)


HERE = writer_names.process(os.getpid()).split("-")[0]
CLAIMS = {  # -> what the claim of a dead writer says, and what is said of it; nothing where it can be computed
    "more points than a chunk can have": ({"stop": 2 * 10**11}, "it must stretch over at most 268,435,456 points"),
    "no point": ({"absent": [[0, 2]]}, "it must hold a point"),
    "an unknown setting": ({"solver": [["foo", 1]]}, "`setting` must be one of rtol, max_steps"),
    "another method": ({"solver": [["method", "nope"]]}, "`setting` must be one of rtol, max_steps"),
    "a word for a tolerance": ({"solver": [["rtol", "abc"]]}, "`rtol` must be a number"),
    "a process of many digits": ({"writer": f"{HERE}-{'9' * 5000}-{'a' * 12}"}, ""),
}


@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize("how", CLAIMS)
def test_a_pending_claim_that_says_what_cannot_be_is_found(invoke, run, whole, tmp_path, how, attempt, monkeypatch):
    monkeypatch.setattr(recovery.finish, "__defaults__", ("auto", 0.2))
    (tmp_path / "spec.toml").write_text(js.Sweep(**SPEC).to_toml())
    claimed, says = CLAIMS[how]
    assert records.claim_of(js.Store(run).reader.location, "000001").pieces == [(0, 2)]
    (run / "commits/000001.json").unlink()
    change(run / "claims/000001.json", lambda r: r.update(claimed, attempt=attempt))
    again = ("run", tmp_path / "spec.toml", "--out", run)
    if says:
        result = invoke(*again)
        assert "claims/000001.json is damaged: " in result.output
        assert says in result.output
        assert result.exit_code == IntegrityError.exit_code
        assert "which points it held is lost" in invoke("repair", run).output
    assert invoke(*again).exit_code == invoke("verify", run).exit_code == 0
    assert_same_tables(run, whole)


MARKS = {
    "no tables": lambda r: r.update(tables={}),
    "a table elsewhere": lambda r: r["tables"].update({"../x": r["tables"]["points"]}),
    "a table among the records": lambda r: r["tables"].update(commits=r["tables"]["points"]),
    "a column twice": lambda r: r["tables"]["points"].append(r["tables"]["points"][0]),
    "a parameter twice": lambda r: r["parameters"].append("lam"),
    "no parameters": lambda r: r.update(parameters=[]),
    "fewer parameters": lambda r: r.update(parameters=r["parameters"][1:]),
    "parameters in another order": lambda r: r["parameters"].reverse(),
    "a column of no type": lambda r: r["tables"]["points"][0].update(dtype="blob"),
    "no status": lambda r: r["tables"].update(failures=[c for c in r["tables"]["failures"] if c["name"] != "status"]),
    "a precision of its own": lambda r: r.update(precision="object"),
    "a time of its own": lambda r: r.update(time="tea"),
    "no solver": lambda r: r["frozen"].update(solver=None),
    "no method": lambda r: r["frozen"].update(solver={}),
    "a number for a method": lambda r: r["frozen"]["solver"].update(method=0),
    "a word for a tolerance": lambda r: r["frozen"]["solver"].update(rtol="small"),
    "another system": lambda r: r["frozen"].update(system=["reduced"]),
    "a source by a short name": lambda r: r["frozen"].update(source="x"),
    "format 0": lambda r: r.update(format=0),
    "format true": lambda r: r.update(format=True),
    "format 2": lambda r: r.update(format=2),
}


@pytest.mark.parametrize("how", MARKS.values(), ids=MARKS)
def test_a_store_json_that_says_what_cannot_be_is_named(invoke, run, how):
    change(run / MARK, how)
    for words in (("verify", run), ("status", run), ("query", run), ("repair", run), ("export", run, "--to", "card")):
        result = invoke(*words)
        assert result.exception is None or isinstance(result.exception, SystemExit), words
        assert "store.json is damaged" in result.output
        assert result.exit_code == IntegrityError.exit_code
    assert "store.json is damaged" in invoke("list", run.parent).output


def test_a_method_that_the_system_lacks_is_named_by_whoever_computes(invoke, run):
    change(run / MARK, lambda record: record["frozen"]["solver"].update(method="magic"))
    (run / "commits/000001.json").unlink()
    result = invoke("repair", run)
    assert "store.json is damaged: its numbers must be made by one of" in result.output
    assert result.exit_code == IntegrityError.exit_code
