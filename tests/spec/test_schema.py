"""The JSON schema of specs accepts what runs, and refuses what `run` refuses, as far as a schema can tell."""

import json
import re
import tomllib

import jsonschema
import pytest
from conftest import ROOT, TINY
from hypothesis import given
from test_fuzz import BASES, documents
from test_lines import few
from test_refusals import ACCEPTED
from test_spec import GOOD, WRONG
from test_words import AXES, LEAST, WORDS

import jepa_sweep as js
from jepa_sweep.spec import shipped
from jepa_sweep.spec.schema import schema, text
from jepa_sweep.systems import registry

SCHEMA = schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
SHIPPED = sorted((ROOT / "sweeps").glob("*.toml"))


def refused(document):
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(document)]


def test_the_command_prints_it_and_it_is_kept_beside_the_specs(invoke):
    """After a change: `jepa-sweep schema > sweeps/spec.schema.json`."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    kept = (ROOT / "sweeps" / shipped.SCHEMA).read_text()
    assert invoke("schema").stdout == text() == kept
    assert invoke("schema", "--json").stdout == kept


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_specs_name_the_schema_and_keep_it(path):
    first, *_ = path.read_text().splitlines()
    assert (path.parent / first.removeprefix("#:schema ")).resolve() == ROOT / "sweeps" / shipped.SCHEMA
    assert refused(tomllib.loads(path.read_text())) == []


def test_examples_in_documents_are_accepted():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    specs = [spec for page in pages for spec in re.findall(r"```toml\n(.*?)```", page.read_text(), re.S)]
    specs = [tomllib.loads(spec) for spec in specs if "name = " in spec and "[project" not in spec]
    assert len(specs) >= 2
    assert [refused(spec) for spec in specs] == [[]] * len(specs)


OWN = {"name": "x", "system": "my_flow.py:FLOW"}
GIVEN = [
    *BASES,
    TINY,
    *(tomllib.loads(spec) for spec, _ in ACCEPTED.values()),
    {**TINY, "measure": {"p": 0.5}, "solver": {"method": "exact", "rtol": 1e-20}},
    {"name": "x", "system": "training", "axes": {**AXES, "layout": WORDS, "seed": [0, 1]}},
    {"name": "x", "system": "network", "combine": "sobol", "num": 4, "axes": {**LEAST["network"], "seed": 3}},
    {**OWN, "objective": "decay", "axes": {"k": 1.0, "n": {"geom": [1, 2], "num": 3}}},
    {**OWN, "measure": {"p": [1.0]}, "solver": {"time": "own", "coordinate": "log_y"}},
]  # fmt: skip


@pytest.mark.parametrize("document", GIVEN, ids=range(len(GIVEN)))
def test_what_runs_is_accepted(document):
    assert refused(document) == []


@few
@given(documents())
def test_documents_that_are_drawn_are_accepted_where_they_run(document):
    try:
        js.Sweep(**document)
    except js.SpecError:
        return
    assert refused(document) == []


SERIES = {"name": "x", "system": "temporal", "axes": LEAST["temporal"]}
NET = {"name": "x", "system": "network", "axes": LEAST["network"]}
ROWS = [{"lam": 1.0, "rho": 0.5, "L": 2, "eps": 1e-3}]
FREE = {"lam": {"geom": [0.1, 1.0]}, "rho": 0.5, "L": 2, "eps": 1e-3}
DRAWN = {"name": "x", "combine": "sobol", "num": 4, "axes": FREE}
BAD = {
    "unknown key": {**TINY, "objektive": "jepa"},
    "no name": {"axes": TINY["axes"]},
    "a name with a slash": {**TINY, "name": "a/b"},
    "a name of a number": {**TINY, "name": 3},
    "an unknown system": {**TINY, "system": "redcued"},
    "a file without a name": {**TINY, "system": "my_flow.py"},
    "an unknown objective": {**TINY, "objective": "MAE"},
    "an unknown objective among others": {**TINY, "objective": ["jepa", "nosg"]},
    "no objective": {**TINY, "objective": []},
    "an objective twice": {**TINY, "objective": ["jepa", "jepa"]},
    "an objective of another system": {**SERIES, "objective": "jepa"},
    "an unknown axis": {**TINY, "axes": {**TINY["axes"], "lambda": 1.0}},
    "an axis of another system": {**TINY, "axes": {**TINY["axes"], "eta": 1.0}},
    "a missing axis": {**TINY, "axes": {"lam": 1.0}},
    "no axes": {"name": "x"},
    "a word for a number": {**TINY, "axes": {**TINY["axes"], "lam": "one"}},
    "a word among numbers": {**TINY, "axes": {**TINY["axes"], "lam": [1.0, "2"]}},
    "a number for a word": {**NET, "axes": {**NET["axes"], "layout": 1}},
    "an unknown word": {**NET, "axes": {**NET["axes"], "layout": "oposite"}},
    "a range of words": {**NET, "axes": {**NET["axes"], "layout": {"linear": [0, 1], "num": 2}}},
    "an axis of nothing": {**TINY, "axes": {**TINY["axes"], "lam": []}},
    "an axis of truth": {**TINY, "axes": {**TINY["axes"], "lam": True}},
    "an axis of lists": {**TINY, "axes": {**TINY["axes"], "lam": [[1.0]]}},
    "half a layer": {**TINY, "axes": {**TINY["axes"], "L": 1.5}},
    "a value twice": {**TINY, "axes": {**TINY["axes"], "lam": [1.0, 1.0]}},
    "a range without num": {**TINY, "axes": {**TINY["axes"], "lam": {"linear": [1, 2]}}},
    "a range of two kinds": {**TINY, "axes": {**TINY["axes"], "lam": {"linear": [1, 2], "geom": [1, 2], "num": 2}}},
    "a range of no kind": {**TINY, "axes": {**TINY["axes"], "lam": {"num": 2}}},
    "a range of one end": {**TINY, "axes": {**TINY["axes"], "lam": {"linear": [1], "num": 2}}},
    "a range of no values": {**TINY, "axes": {**TINY["axes"], "lam": {"linear": [1, 2], "num": 0}}},
    "a key of a range": {**TINY, "axes": {**TINY["axes"], "lam": {"linear": [1, 2], "num": 3, "step": 1}}},
    "an unknown way of combining": {**TINY, "combine": "sobel"},
    "sobol without num": {"name": "x", "combine": "sobol", "axes": FREE},
    "a range with num in sobol": {**DRAWN, "axes": {**FREE, "lam": {"geom": [1, 2], "num": 3}}},
    "a range of whole numbers in sobol": {**DRAWN, "axes": {**FREE, "L": {"linear": [1, 3]}}},
    "num without sobol": {**TINY, "num": 4},
    "num among axes without sobol": {**TINY, "axes": {**TINY["axes"], "num": 4}},
    "num twice": {**DRAWN, "axes": {**FREE, "num": 4}},
    "seed without sobol": {**TINY, "seed": 4},
    "a seed below 0": {**DRAWN, "seed": -1},
    "points without points": {"name": "x", "combine": "points"},
    "points with axes": {"name": "x", "combine": "points", "points": ROWS, "axes": {"lam": 1.0}},
    "points that combine otherwise": {**TINY, "points": ROWS},
    "a point that lacks one": {"name": "x", "combine": "points", "points": [{"lam": 1.0}]},
    "a point with one more": {"name": "x", "combine": "points", "points": [{**ROWS[0], "x": 1}]},
    "a point of a list": {"name": "x", "combine": "points", "points": [{**ROWS[0], "lam": [1.0]}]},
    "axes beside blocks": {**TINY, "block": [{"axes": TINY["axes"]}]},
    "a block that lacks one": {"name": "x", "block": [{"axes": TINY["axes"]}, {"axes": {"lam": 1.0}}]},
    "a block with an unknown key": {"name": "x", "block": [{"axes": TINY["axes"], "name": "y"}]},
    "blocks of no list": {"name": "x", "block": {"axes": TINY["axes"]}},
    "no thresholds": {**TINY, "measure": {"p": []}},
    "a threshold in words": {**TINY, "measure": {"p": "half"}},
    "thresholds of a series": {**SERIES, "measure": {"p": 0.5}},
    "until of a network": {**NET, "measure": {"trajectories": {"until": 2.0}}},
    "one sample": {**TINY, "measure": {"trajectories": {"samples": 1}}},
    "until 0": {**TINY, "measure": {"trajectories": {"until": 0.0}}},
    "an unknown method": {**TINY, "solver": {"method": "rk45"}},
    "a method of another system": {**NET, "solver": {"method": "kvaerno5"}},
    "a tolerance in quotes": {**TINY, "solver": {"rtol": "1e-8"}},
    "a tolerance too loose": {**TINY, "solver": {"rtol": 0.5}},
    "an unknown precision": {**TINY, "solver": {"precision": "float16"}},
    "a precision of other systems": {**SERIES, "solver": {"precision": "float32"}},
    "an unknown time": {**TINY, "solver": {"time": "wall"}},
    "an unknown coordinate": {**TINY, "solver": {"coordinate": "y"}},
    "a coordinate of a network": {**NET, "solver": {"coordinate": "chi"}},
    "no steps": {**TINY, "solver": {"max_steps": 0}},
    "an unknown setting": {**TINY, "solver": {"rtoll": 1e-8}},
    "settings of no table": {**TINY, "solver": 3},
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_run_refuses_is_refused(case):
    with pytest.raises(js.SpecError):
        js.Sweep(**BAD[case])
    assert refused(BAD[case]) != []


BEYOND = {  # what no schema can tell of the mistakes of test_spec, or is not there as a value
    "geom through zero", "not a number", "infinite", "opposite signs", "no start", "nothing reachable", "p of one",
    "p of zero", "beyond floats", "no samples", "tolerance too fine", "too many layers", "zip of unequal lengths",
    "name of dots", "deep nesting", "broken TOML",
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(WRONG.keys() - BEYOND))
def test_mistakes_that_have_a_sentence_are_refused(case):
    (old, new), _ = WRONG[case]
    assert refused(tomllib.loads(GOOD.replace(old, new))) != []


def test_every_axis_says_what_it_means_in_units():
    for system in registry.BUILT_IN.values():
        said = SCHEMA["$defs"][f"{system.name}.axes"]["properties"]
        for q in system.parameters:
            assert said[q.name]["description"].startswith(q.meaning)
            assert q.unit == "1" or q.unit in said[q.name]["description"]
            assert q.meaning in SCHEMA["$defs"]["Axes"]["properties"][q.name]["description"]


def test_every_key_has_a_description():
    """Where an editor looks for it: at the key itself, or at the table that it refers to."""
    for table in ("Keys", "BlockKeys", "Measure", "Solver", "Trajectories", "Range", "Axes"):
        for name, said in SCHEMA["$defs"][table]["properties"].items():
            there = SCHEMA["$defs"][said["$ref"].split("/")[-1]] if "$ref" in said else said
            assert there.get("description") or said.get("description"), name


def test_nothing_is_said_that_toml_has_not():
    assert "null" not in json.dumps(SCHEMA)
