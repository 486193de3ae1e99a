"""`--set` changes a spec by key paths; the store keeps it as changed, and what cannot be is told by its key."""

import json
import tomllib

import pytest
from conftest import TINY
from hypothesis import given
from hypothesis import strategies as st
from test_lines import few, names

import jepa_sweep as js
from jepa_sweep.running.opening import load
from jepa_sweep.spec.document import apply, changed

TEXT = """# by hand
name = "small"
[axes]
lam = [0.5, 2.0]
rho = [0.5, 1.0]
L = [1, 3]
eps = 1e-3
[solver]
method = "exact"
"""
BLOCKS = 'name = "x"\n[[block]]\naxes = { lam = 1, rho = 1, L = 1, eps = 1e-3 }\n'


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(TEXT)
    return path


TAKEN = {
    "a number": ("solver.rtol=1e-10", {"solver": {"method": "exact", "rtol": 1e-10}}),
    "a list": ("axes.L=[2,3]", {"axes": {"L": [2, 3]}}),
    "a range": ("axes.rho = {linear = [0.5, 1], num = 3}", {"axes": {"rho": {"linear": [0.5, 1], "num": 3}}}),
    "a word": ("objective=jepa", {"objective": "jepa"}),
    "a word in quotes": ('objective="mae"', {"objective": "mae"}),
    "a file": ("system=../my_flow.py:FLOW", {"system": "../my_flow.py:FLOW"}),
    "a table that is not there": ("measure.trajectories.samples=4", {"measure": {"trajectories": {"samples": 4}}}),
    "a quoted key": ("axes.\"L\"=2", {"axes": {"L": 2}}),
    "an empty table": ("measure.trajectories={}", {"measure": {"trajectories": {}}}),
}  # fmt: skip


@pytest.mark.parametrize("case", TAKEN)
def test_a_key_path_gets_a_value(case):
    change, wanted = TAKEN[case]
    document = tomllib.loads(TEXT)
    [key] = apply(document, [change])
    expected = tomllib.loads(TEXT)
    for table, value in wanted.items():
        expected[table] = {**expected.get(table, {}), **value} if isinstance(value, dict) else value
    assert document == expected
    assert key == tuple(change.partition("=")[0].strip().replace('"', "").split("."))


def test_entries_of_lists_are_counted():
    document = tomllib.loads(BLOCKS)
    assert apply(document, ["block.0.axes.L=[1,2]", "block.0.combine=product"]) == [
        ("block", 0, "axes", "L"),
        ("block", 0, "combine"),
    ]
    assert document["block"][0]["axes"]["L"] == [1, 2]


def test_the_last_change_of_a_key_counts():
    document = {}
    apply(document, ["a.b=1", "a={c=2}", "a.b=3"])
    assert document == {"a": {"c": 2, "b": 3}}


@few
@given(st.lists(names, min_size=1, max_size=3), st.one_of(st.integers(), st.floats(), st.booleans(), st.text("ab c")))
def test_any_key_of_a_table_can_be_set_and_survives_in_the_text(path, value):
    import tomli_w

    key = ".".join('"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in path)
    change = f"{key}={tomli_w.dumps({'v': value}).removeprefix('v = ').rstrip()}"
    document = {}
    apply(document, [change])
    again = tomllib.loads(changed("", [change]))
    for name in path:
        document, again = document[name], again[name]
    assert repr(document) == repr(again) == repr(value)


REFUSED = {
    "no value": ("solver.rtol", r"`--set` must be given KEY=VALUE, like solver.rtol=1e-10, but it is 'solver.rtol'"),
    "no key": ("=3", r"must be given KEY=VALUE"),
    "no key path": ("a b=3", r"must be given KEY=VALUE"),
    "half a list": ("axes.L=[2", r"`--set axes.L` must be given a value as TOML writes it.* '\[2'; a list reads \["),
    "a list without brackets": ("axes.L=2,3", r"`--set axes.L` must be given a value as TOML"),
    "nothing": ("axes.L=", r"`--set axes.L` must be given a value as TOML"),
    "two lines": ("axes.L=2\nname='y'", r"`--set axes.L` must be given a value as TOML"),
    "through a number": ("axes.eps.num=3", r"`--set axes.eps.num` must name a key of a table, but `axes.eps` is 0.001"),
    "into a list": ("axes.L.x=3", r"`--set axes.L.x` must count the entries of `axes.L` from 0 on, of which there a"),
    "beyond a list": ("axes.L.2=3", r"must count the entries of `axes.L` from 0 on, .* 2, but it is '2'"),
    "an unknown key": ("solver.rtoll=3", r"`rtoll` is not a key .* mean `rtol`\? \(--set, \[solver.rtoll\]\)"),
    "an unknown table": ("sover.rtol=3", r"`sover` is not a key here. Did you mean `solver`\? \(--set, \[sover\]\)"),
    "a key of a table": ("rtol=1e-3", r"`rtol` is not a key here. Did you mean `solver.rtol`\? \(--set, \[rtol\]\)"),
    "an axis alone": ("L=2", r"Did you mean `axes.L`\? \(--set, \[L\]\)"),
    "an unknown axis": ("axes.lamda=2", r"`lamda` is not a parameter. Did you mean `lam`\? \(--set, \[axes.lamda\]\)"),
    "a setting among the axes": ("axes.p=0.5", r"not a parameter. Did you mean `measure.p`\? \(--set, \[axes.p\]\)"),
    "a setting of another table": ("measure.rtol=1e-9", r"not a key here. Did you mean `solver.rtol`\?"),
    "a key in a range of the file": ("axes.rho.geom=[1,2]", r"\(line 5, --set, \[axes.rho\]\)"),
    "a word for a number": ("axes.L=two", r"`L` must be a number, .* but it has 'two'.*\(--set, \[axes.L\]\)"),
    "no layer": ("axes.L=0", r"`L` must be a whole number of layers.*\(--set, \[axes.L\]\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_change_that_cannot_be_is_told_by_its_key(spec, case):
    change, message = REFUSED[case]
    spec.write_text(TEXT.replace("rho = [0.5, 1.0]", "rho = { linear = [0.5, 1.0], num = 2 }"))
    with pytest.raises(js.SpecError, match=message) as caught:
        load(spec, [change])
    assert "\n" not in str(caught.value)


def test_what_stands_in_the_file_keeps_its_line(spec):
    spec.write_text(TEXT.replace("eps = 1e-3", "eps = -1"))
    with pytest.raises(js.SpecError) as caught:
        load(spec, ["axes.L=0"])
    assert [(p.key, p.line) for p in caught.value.problems] == [("axes.eps", 7), ("axes.L", None)]


def test_the_store_keeps_the_spec_as_it_was_run(spec, invoke, tmp_path):
    """The same command goes on with it, every other command works from it, and the spec without it is another one."""
    words = ("--set", "axes.L=[2, 3]", "--set", "objective=jepa")
    run = tmp_path / "run"
    planned = invoke("plan", spec, "--out", run, *words)
    assert "8 points, 0 there already, 8 new" in planned.stdout
    assert invoke("run", spec, "--out", run, *words).exit_code == 0
    store = js.Store(run)
    assert sorted(store.points().L.unique()) == [2, 3]
    [text] = store.specs().values()
    assert text.startswith("# The spec as it was run, with --set 'axes.L=[2, 3]' --set 'objective=jepa'\n")
    assert tomllib.loads(text) == {
        **tomllib.loads(TEXT),
        "objective": "jepa",
        "axes": {**tomllib.loads(TEXT)["axes"], "L": [2, 3]},
    }
    assert "nothing to do" in invoke("run", spec, "--out", run, *words).stdout
    assert len(store.specs()) == 1
    [known] = json.loads(invoke("status", run, "--json").stdout)["specs"]
    assert (known["points"], known["missing"]) == (8, 0)
    (run / "points/000001.parquet").write_bytes(b"lost")
    assert invoke("repair", run).exit_code == 0
    assert sorted(js.Store(run).points().L.unique()) == [2, 3]
    assert invoke("run", spec, "--out", run).exit_code == 0
    assert len(js.Store(run).specs()) == 2
    assert sorted(js.Store(run).points().L.unique()) == [1, 2, 3]


def test_the_text_that_is_kept_is_the_sweep_that_was_run(spec):
    sweep, text, *_ = load(spec, ["axes.L=[2,3]", "solver.rtol=1e-10"])
    assert js.Sweep.parse(text) == sweep
    plain, same, *_ = load(spec)
    assert (same, plain) == (TEXT, js.Sweep.parse(TEXT))
    assert js.Sweep(**TINY) != sweep
