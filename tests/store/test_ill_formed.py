"""Records whose hash is right and which say what they cannot say: each is a record, or an error that names its file.

`JEPA_SWEEP_FUZZ=30000 pytest tests/store/test_ill_formed.py` draws that many of each, other ones every time.
"""

import copy
import json
import math
import os
import re

import pytest
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jepa_sweep.errors import IntegrityError, SpecError
from jepa_sweep.store import manifest, notes, records
from jepa_sweep.store.location import MARK
from jepa_sweep.store.records import sealed, sha256

ASKED = os.environ.get("JEPA_SWEEP_FUZZ")
fuzz = settings(
    max_examples=int(ASKED or 400),
    derandomize=not ASKED,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
STORES = ROOT / "tests/data/stores"
TABLES = ("points", "trajectories", "failures")


class Held:
    """A store of one file."""

    path = "run"

    def __init__(self, name, data):
        self.name, self.data = name, data

    def where(self, name):
        return f"run/{name}"

    def read(self, name, most=0):
        assert name == self.name
        return self.data

    def exists(self, name):
        return name == self.name

    def names(self, folder, suffix=""):
        return [self.name.split("/")[1]] if self.name.startswith(folder) and self.name.endswith(suffix) else []


def commit(data):
    found = records.commit_of(Held("commits/000003.json", data), "000003", TABLES)
    assert found.number == "000003"
    assert found.rows("points") + found.rows("failures") == found.claim.points
    assert {file.path for file in found.files} <= {f"{table}/000003.parquet" for table in TABLES}
    assert all(8 < file.footer <= file.bytes < 2**63 for file in found.files)
    assert found.work.plus(found.work).seconds == 2 * found.work.seconds >= 0
    assert_text(found.host, found.created)
    assert_claim(found.claim)


def claim(data):
    assert_claim(records.claim_of(Held("claims/000003.json", data), "000003"))


def assert_claim(found):
    edges = [edge for piece in found.pieces for edge in piece]
    assert edges == sorted(edges)
    assert all(0 <= found.start <= edge <= found.stop < 2**63 for edge in edges)
    assert found.points == sum(stop - start for start, stop in found.pieces)
    assert_text(found.writer, *(name for name, _ in found.solver))
    assert json.loads(json.dumps(found._asdict()))["spec"] == found.spec
    assert all(not isinstance(value, float) or math.isfinite(value) for _, value in found.solver)


def assert_text(*texts):
    for text in texts:
        text.encode()


def mark(data):
    found = manifest.read(Held(MARK, data))
    assert {"points", "failures"} <= found.tables.keys()
    assert all(found.schema(name).names for name in ("points", "failures"))
    assert {"objective", *found.parameters} <= {*found.keys}
    assert isinstance(found.frozen["system"], str)
    assert isinstance(found.frozen["solver"]["method"], str)
    assert isinstance(found.frozen["solver"].get("rtol", 0.0), int | float)
    assert found.frozen["trajectories"] is None or found.frozen["trajectories"]["samples"] >= 0


def environment(data):
    name = sha256(data)[:8]
    held = Held(f"environment/{name}.json", data)
    [(_, facts)] = notes.environments(held).items()
    if facts is None:
        [problem] = notes.damaged(held).values()
        raise IntegrityError(problem)
    assert facts.keys() <= notes.Environment.__annotations__.keys()
    json.dumps(facts, ensure_ascii=False).encode()


READERS = {"store.json": mark, "commit": commit, "claim": claim, "environment": environment}


def sample(name, kind):
    record = json.loads((STORES / name).read_text())
    record.pop("sha256", None)
    return kind, record


BASES = [
    *(
        sample(f"format-{number}/{name}", kind)
        for number in (2, 3)
        for name, kind in (
            ("store.json", "store.json"),
            ("commits/000003.json", "commit"),
            ("claims/000003.json", "claim"),
        )
    ),
    sample("format-3/environment/d1e37ef3.json", "environment"),
]
EDGES = [0, 1, -1, -5, 2, 3, 24, 2**31, 2**53 + 1, 2**62, 2**62 + 1, 2**63 - 1, 2**63, 2**70, 10**400, -(10**400)]
EDGES += [0.0, -0.0, 0.5, 1e308, 5e-324, math.inf, -math.inf, math.nan, True, False, None]
WORDS = ["", "x", "000003", "points/../../x", "/etc/passwd", "points/000003.parquet", "points", "commits", "..",
         "text", "float64", "paper", "0" * 64, "x" * 20_000, "\x00", "\x1b[31m", "\u202e", "\ud800", "\u00e9", "2",
         "method"]  # fmt: skip
KEYS = ["start", "stop", "absent", "solver", "files", "path", "rows", "sha256", "retried", "attempt", "frozen"]
BYTES = [b'"start": 1, ', b"[" * 100_000, b"9" * 5000, b"NaN"]

values = st.one_of(st.sampled_from(EDGES), st.integers(), st.floats(), st.sampled_from(WORDS), st.text(max_size=8))
tables = st.text(max_size=6)
nested = st.recursive(
    values, lambda some: st.lists(some, max_size=3) | st.dictionaries(tables, some, max_size=3), max_leaves=6
)
pairs = st.lists(st.lists(st.integers(0, 40) | st.sampled_from(EDGES), max_size=3), max_size=4)


def deep(depth, within=None):
    value = within
    for _ in range(depth):
        value = [value]
    return value


def places(value, path=()):
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(inside)[:12]:
        yield (*path, key)
        yield from places(inner, (*path, key))


@st.composite
def ill_formed(draw):
    """A kind of records, and one with a few changes, most of which leave it almost as it was."""
    kind, record = copy.deepcopy(draw(st.sampled_from(BASES)))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3, 0]))):
        known = list(places(record))
        path = draw(st.sampled_from(known)) if known else None
        if path is None:
            break
        owner = record
        for key in path[:-1]:
            owner = owner[key]
        change = draw(st.sampled_from(["value", "value", "pairs", "drop", "key", "add", "deep", "repeat", "other"]))
        match change:
            case "value":
                owner[path[-1]] = copy.deepcopy(draw(values | nested))
            case "pairs":
                owner[path[-1]] = draw(pairs)
            case "drop":
                del owner[path[-1]]
            case "key" if isinstance(owner, dict):
                owner[draw(st.sampled_from(KEYS) | st.text(max_size=5))] = owner.pop(path[-1])
            case "add" if isinstance(owner, dict):
                owner[draw(st.sampled_from(KEYS) | st.text(max_size=5))] = draw(nested)
            case "deep":
                owner[path[-1]] = deep(draw(st.sampled_from([2, 50, 150, 300])))
            case "repeat" if isinstance(owner, list):
                owner.append(copy.deepcopy(owner[path[-1]]))
            case "other":
                owner[path[-1]] = copy.deepcopy(record)
    return kind, record


def written(kind, record):
    return json.dumps(record, indent=2).encode() if kind == "environment" else sealed(record)


def assert_record_or_error(kind, data):
    """The promise."""
    try:
        READERS[kind](data)
    except IntegrityError as error:
        said = str(error)
    except SpecError as error:
        said = str(error) if kind == "store.json" and "install a newer jepa_sweep" in str(error) else ""
    else:
        return
    assert re.match(r"run/\S+\.json is (damaged: |a copy of )|run was written in format ", said)
    assert said.isprintable()
    assert len(said) < 1000


@pytest.mark.long
@fuzz
@given(ill_formed())
def test_any_sealed_document_is_a_record_or_an_error_that_names_it(drawn):
    kind, record = drawn
    assert_record_or_error(kind, written(kind, record))


@pytest.mark.long
@fuzz
@given(st.sampled_from([*READERS]), nested | st.lists(nested))
def test_any_json_is_a_record_or_an_error_that_names_it(kind, value):
    assert_record_or_error(kind, written(kind, {"x": value}))
    assert_record_or_error(kind, json.dumps(value).encode())


@pytest.mark.long
@fuzz
@given(st.data())
def test_any_bytes_are_a_record_or_an_error_that_names_them(data):
    kind, record = data.draw(st.sampled_from(BASES))
    text = written(kind, record)
    a, b = sorted((data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))))
    piece = data.draw(st.binary(max_size=8) | st.sampled_from(BYTES))
    assert_record_or_error(kind, text[:a] + piece + text[b:])
    assert_record_or_error(kind, text.decode().encode("utf-16"))


def test_a_command_of_bytes_that_are_no_text_is_shown():
    data = json.dumps({"argv": ["jepa-sweep", "run", "\udcff.toml"], "later": "\udcff"}).encode()
    [facts] = notes.environments(Held(f"environment/{sha256(data)[:8]}.json", data)).values()
    assert facts == {"argv": ["jepa-sweep", "run", "\\udcff.toml"]}


def test_the_records_themselves_are_read():
    for kind, record in BASES:
        READERS[kind](written(kind, record))
