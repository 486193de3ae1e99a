"""Systems by the word that names them: in a file of the user's own, installed, or built in."""

import re
from pathlib import Path

import pytest
from conftest import ROOT

import jepa_sweep as js
from jepa_sweep.systems import registry

FILE = ROOT / "tests/data/predator.py"
PREDATOR = registry.find(f"{FILE}:PREDATOR")

FILES = {
    "syntax": ("a = (\n", r"line 1, `a = \(`: SyntaxError"),
    "name": ("import math\nFLOW = floww('x')\n", r"line 2, `FLOW = floww\('x'\)`: NameError: name 'floww'"),
    "import": ("import no_such_package\n", r"line 1, `import no_such_package`: ModuleNotFoundError"),
    "flow": ("from jepa_sweep import flow\nFLOW = flow('a b', version=1, parameters=[],\n  start=None, field=None, "
             "response=None, rest=1)\n", r"The name of a flow must be a Python name, but it is 'a b'"),
    "exit": ("import sys\nsys.exit('enough')\n", r"line 2, `sys.exit\('enough'\)`: SystemExit: enough"),
    "another name": ("import jepa_sweep\nOTHER = 3\n", r"there is no FLOW in it"),
    "another kind": ("FLOW = 3\n", r"must name a System, as `jepa_sweep.flow` makes it, but .*:FLOW is int"),
    "bytes": ("\udcff", r"is not UTF-8 text"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_cannot_be_used_is_one_clear_message(case, tmp_path, invoke):
    text, message = FILES[case]
    (tmp_path / "own.py").write_bytes(text.encode("utf-8", "surrogateescape"))
    (tmp_path / "x.toml").write_text('name = "x"\nsystem = "own.py:FLOW"\n[axes]\nk = 1.0\n')
    done = invoke("run", tmp_path / "x.toml", "--out", tmp_path / "run")
    assert done.exit_code == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert re.search(message, line)
    assert line.endswith("x.toml.")
    assert not (tmp_path / "run").exists()


def test_a_file_may_define_classes_that_look_up_their_module(tmp_path):
    text = f"from __future__ import annotations\nimport dataclasses\n{FILE.read_text()}"
    (tmp_path / "own.py").write_text(f"{text}\n\n@dataclasses.dataclass\nclass Facts:\n    number: int = 1\n")
    assert registry.find("own.py:PREDATOR", tmp_path).name == "predator"


def test_a_file_is_run_once_while_its_text_is_the_same(tmp_path):
    """An edited file is run again, and so is one that failed; another file may stand beside other data."""

    def found(more, name="a.py"):
        (tmp_path / name).write_text(FILE.read_text() + more)
        return registry.find(f"{name}:PREDATOR", tmp_path)

    first = found("")
    assert found("") is first
    assert found("\n") is not first
    assert found("") is first
    assert found("", "b.py") is not first
    for _ in range(2):
        with pytest.raises(js.SpecError, match=r"a\.py, line \d+, `1 / 0`"):
            found("\n1 / 0\n")


@pytest.mark.parametrize("given", ["own.py", Path("own.py")])
def test_a_file_without_a_name_says_how_to_name_one(given):
    with pytest.raises(js.SpecError, match=r"must name a system in that file too.*'own.py:FLOW'"):
        registry.find(given)


def test_a_file_that_is_not_there_is_one_clear_message(tmp_path, invoke):
    (tmp_path / "x.toml").write_text('name = "x"\nsystem = "gone.py:FLOW"\n[axes]\nk = 1.0\n')
    done = invoke("plan", tmp_path / "x.toml")
    assert done.exit_code == 2
    assert "gone.py: No such file or directory (line 2, [system]). In" in done.stderr


def test_a_word_that_names_no_system_says_what_there_is():
    with pytest.raises(
        js.SpecError, match=r"`system` must be one of reduced, .*Did you mean `reduced`.*\(\[system\]\)"
    ):
        js.Sweep(name="x", system="reduce", axes={})


class Installed:
    """An entry point, as an installed package makes it."""

    name, value = "predator", "a_package:PREDATOR"

    def __init__(self, load):
        self.load = load


def test_an_installed_system_is_found_by_its_name(monkeypatch, tmp_path):
    monkeypatch.setattr(registry.importlib.metadata, "entry_points", lambda group: [Installed(lambda: PREDATOR)])
    store = js.run(js.Sweep(name="x", system="predator", axes={"rate": 1.0}), tmp_path / "run")
    assert js.Store(store.path).compare().points.tolist() == [1]


def test_an_installed_system_that_fails_is_one_clear_message(monkeypatch):
    def fail():
        raise ImportError("no module of that name")

    monkeypatch.setattr(registry.importlib.metadata, "entry_points", lambda group: [Installed(fail)])
    with pytest.raises(js.SpecError, match=r"installed system `predator` must be importable.*no module of that name"):
        js.Sweep(name="x", system="predator", axes={"rate": 1.0})
