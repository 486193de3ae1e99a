"""`init`: a spec to start from runs as it is, says what there is, and replaces nothing."""

import json
import re
import resource
import shutil
import tomllib

import jsonschema
import pytest
from conftest import ROOT

import jepa_sweep as js
from jepa_sweep.cli import writing
from jepa_sweep.spec import shipped, template
from jepa_sweep.spec.grid import Grid
from jepa_sweep.systems.registry import BUILT_IN

SMALL = {  # what makes a run of a template small
    "reduced": {"lam": 1.0, "rho": 0.5, "L": [1, 2]},
    "network": {"features": 2, "t_end": 1.0, "L": 1},
    "training": {"features": 2, "t_end": 1.0, "L": 1},
    "temporal": {"log10_T": 1.5, "seed": 0},
}
OWN = ROOT / "tests/data/predator.py"


def text_of(name):
    return template.of_system(BUILT_IN[name], name, "x")


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_template_is_planned_as_it_is_and_its_schema_finds_it_right(invoke, tmp_path, name):
    done = invoke("init", "mine", "--system", name, cwd=tmp_path)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, f"Wrote mine.toml and {shipped.SCHEMA}.")
    planned = json.loads(invoke("plan", "mine.toml", "--json", cwd=tmp_path).stdout)
    assert planned["warnings"] == []
    assert planned["points"] > 1
    assert planned["seconds"] < 60
    text = (tmp_path / "mine.toml").read_text()
    first = text.splitlines()[0].removeprefix("#:schema ")
    schema = json.loads((tmp_path / first).read_text())
    jsonschema.Draft202012Validator(schema).validate(tomllib.loads(text))


@pytest.mark.parametrize("name", ["reduced", "temporal"])
def test_a_template_runs(tmp_path, name):
    document = tomllib.loads(text_of(name))
    document["axes"] |= SMALL[name]
    document["solver"] = {"method": "exact"} if "exact" in BUILT_IN[name].methods else {}
    assert len(js.run(document, tmp_path / "run").points()) > 0


@pytest.mark.long
@pytest.mark.parametrize("name", ["network", "training"])
def test_a_template_of_networks_runs(tmp_path, name):
    document = tomllib.loads(text_of(name))
    document["axes"] |= SMALL[name]
    assert len(js.run(document, tmp_path / "run").points()) == 2


@pytest.mark.parametrize("name", BUILT_IN)
def test_all_there_is_stands_in_a_template_and_defaults_are_defaults(name):
    """With every default written out it is the same sweep, but for trajectories, which are off unless asked for."""
    text, system = text_of(name), BUILT_IN[name]
    written = re.sub(r"^# (\w+ = .*)$", r"\1", text, flags=re.M)
    document = tomllib.loads(written)
    assert list(document["axes"]) == [q.name for q in system.parameters]
    for q in system.parameters:
        assert q.meaning in text
        assert q.unit == "1" or q.unit in text
        assert all(word in text for word in q.choices)
    sampled = document["measure"].pop("trajectories")
    full, short = js.Sweep(**document), js.Sweep.parse(text)
    assert full.frozen() == short.frozen()
    assert Grid(full).size == Grid(short).size
    for ours, theirs in zip(full.blocks, short.blocks, strict=True):
        written_out = {**theirs.axes, **{key: theirs.axes[other] for key, other in theirs.same.items()}}
        assert {key: list(values) for key, values in ours.axes.items()} == {
            key: list(values) for key, values in written_out.items()
        }
    assert (
        js.Sweep(**document | {"measure": {**document["measure"], "trajectories": sampled}}).measurement.samples == 64
    )
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("name", shipped.specs())
def test_a_shipped_spec_is_copied(invoke, tmp_path, name):
    assert invoke("init", "--figure", name, cwd=tmp_path).exit_code == 0
    assert (tmp_path / f"{name}.toml").read_text() == (ROOT / "sweeps" / f"{name}.toml").read_text()
    assert invoke("init", "other", "--figure", name, cwd=tmp_path).exit_code == 0
    ours, theirs = (js.Sweep.load(tmp_path / f"{n}.toml") for n in ("other", name))
    assert ours.name == "other"
    assert ours.model_copy(update={"name": name}) == theirs


def test_nothing_is_overwritten(invoke, tmp_path):
    assert invoke("init", cwd=tmp_path).exit_code == 0
    (tmp_path / "sweep.toml").write_text("mine")
    (tmp_path / shipped.SCHEMA).write_text("mine, too")
    again = invoke("init", cwd=tmp_path)
    assert again.exit_code == 2
    assert "`sweep.toml` must not be there yet, but it is" in again.stderr
    facts = json.loads(invoke("init", "other", "--json", cwd=tmp_path).stdout)
    assert (facts["written"], facts["left"]) == (["other.toml"], [shipped.SCHEMA])
    assert f"{shipped.SCHEMA} was there already and is not the schema" in invoke("init", "third", cwd=tmp_path).stdout
    assert [(tmp_path / name).read_text() for name in ("sweep.toml", shipped.SCHEMA)] == ["mine", "mine, too"]


def test_the_schema_of_another_release_is_renewed(invoke, tmp_path):
    assert invoke("init", cwd=tmp_path).exit_code == 0
    path = tmp_path / shipped.SCHEMA
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text) | {"$defs": {}}))
    facts = json.loads(invoke("init", "other", "--json", cwd=tmp_path).stdout)
    assert (facts["written"], facts["left"]) == (["other.toml", shipped.SCHEMA], [])
    assert path.read_text() == text


def test_a_spec_is_written_whole_or_not_at_all(invoke, tmp_path):
    """Without room for either file, and without room for the second of them."""
    for there in ([], [shipped.SCHEMA]):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (700, limits[1]))
            refused = invoke("init", cwd=tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert refused.exit_code == 6
        assert "the file is larger than this system or shell allows" in refused.stderr
        assert [path.name for path in tmp_path.iterdir()] == there
        assert invoke("init", cwd=tmp_path).exit_code == 0
        (tmp_path / "sweep.toml").unlink()


REFUSED = {
    ("a/b",): r"`name` must be letters.*but it is 'a/b' \(\[name\]\)\. In NAME\.",
    ("--system", "netwrk"): r"Did you mean `network`\? \(--system\)",
    ("--figure", "fig22"): r"`figure` must be one of .*Did you mean `fig2`",
    ("--figure", "fig2", "--system", "network"): r"must begin with a system or a figure, but both",
}  # fmt: skip


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_begun_writes_nothing(invoke, tmp_path, words):
    done = invoke("init", *words, cwd=tmp_path)
    assert done.exit_code == 2
    assert re.search(REFUSED[words], done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_a_flow_of_ones_own_is_begun_too(invoke, tmp_path):
    shutil.copy(OWN, tmp_path / "own.py")
    done = invoke("init", "--system", "own.py:PREDATOR", cwd=tmp_path)
    assert done.exit_code == 0, done.stderr
    sweep = js.Sweep.load(tmp_path / "sweep.toml")
    assert sweep.system.name == "predator"


def test_what_rules_of_ones_own_refuse_is_told(invoke, tmp_path):
    flow = (
        "import jepa_sweep as js\nFLOW = js.flow('decay', version=1, start=lambda q: 1.0,\n"
        "    field=lambda t, y, q: -q.k * y, response=lambda y, q: y, threshold=lambda q: 1.0,\n"
        "    parameters=[js.parameter('k', 'rate', rule=lambda k: k > 5, must='exceed 5')])\n"
    )
    (tmp_path / "own.py").write_text(flow)
    done = invoke("init", "--system", "own.py:FLOW", cwd=tmp_path)
    assert done.exit_code == 0
    assert "To be put right before it can be run:\n`k` must exceed 5, but there is k = 1 (line" in done.stdout
    assert "k = 1.0  # rate" in (tmp_path / "sweep.toml").read_text()


def test_help_names_every_system(invoke):
    assert all(name in invoke("init", "--help").stdout for name in BUILT_IN)
    assert writing.init.__doc__
