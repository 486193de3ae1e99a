"""The house keeps its shape: floors, file sizes, names, examples, and a README that is true."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys

import pytest
from conftest import ROOT

import jepa_sweep as js
from jepa_sweep.physics.catalog import SYSTEMS
from jepa_sweep.physics.systems import SENTENCES, Status, System
from jepa_sweep.store import schema
from jepa_sweep.sweep.replicates import replicates
from jepa_sweep.sweep.rows import parameter_columns

PACKAGE = ROOT / "jepa_sweep"
README = (ROOT / "README.md").read_text()
MODULES = sorted(PACKAGE.rglob("*.py"))
ABOVE = {  # room -> what it may import; every room may import itself and `errors`
    "errors": set(),
    "physics": set(),
    "store": set(),
    "engine": {"physics"},
    "sweep": {"physics", "engine", "store"},
    "view": {"physics", "store"},
    "paper": {"sweep", "store", "view"},
    "networks": {"physics", "engine", "sweep"},
    "api": {"physics", "engine", "sweep"},
    "samples": {"sweep"},
    "pairs": {"physics", "engine", "sweep", "samples"},
    "progress": set(),
    "doctor": {"engine", "store", "sweep", "api"},
    "cli": {"engine", "sweep", "store", "doctor", "pairs", "paper", "progress", "view"},
}
UPWARD = {("store/store.py", "jepa_sweep.view.plots")}  # a store hands itself to the room that draws, when asked


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports name their module in full"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_room_looks_up_or_sideways(path):
    if path.name == "__init__.py" and path.parent == PACKAGE:
        return
    room = room_of(path)
    for name in imports_of(path):
        parts = name.split(".")
        if (str(path.relative_to(PACKAGE)), ".".join(parts[:3])) in UPWARD:
            continue
        if parts[0] == "jepa_sweep" and len(parts) > 1:
            assert parts[1] in {room, "errors", *ABOVE[room]}, f"{path} imports {name}"


@pytest.mark.parametrize("path", [p for p in MODULES if room_of(p) in ("store", "cli", "errors")], ids=lambda p: p.stem)
def test_store_and_command_line_do_not_import_jax_at_the_top(path):
    top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not [n for n in top if "jax" in ast.unparse(n)]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_file_hides_a_second_concern(path):
    assert len(path.read_text().splitlines()) <= 400


def test_only_one_module_touches_the_files_of_a_store():
    touching = re.compile(r"\.(unlink|rename|mkdir|write_bytes|write_text)\(|\bos\.(link|open|write|fsync)\b|shutil")
    guilty = [
        p.name for p in (PACKAGE / "store").glob("*.py") if p.name != "files.py" and touching.search(p.read_text())
    ]
    assert guilty == []


def test_a_record_is_all_a_system_needs():
    for name, objectives in SYSTEMS.items():
        for objective, system in objectives.items():
            assert (system.name, system.objective) == (name, objective)
            assert system.layout in schema.LAYOUTS
            if isinstance(system, System):
                assert next(c.name for c in system.coordinates) == "w"
            defaults = [q for q in system.parameters if q.choices]
            assert all(q.default in q.choices for q in defaults)


def test_every_status_has_its_sentence():
    assert set(SENTENCES) == set(Status)


PUBLIC = [name for name in dir(js) if not name.startswith("_") and not inspect.ismodule(getattr(js, name))]


def test_the_public_names_are_those_promised():
    promised = {"critical_time", "leading_critical_time", "trajectory", "fixed_point", "solve", "run"}
    assert promised <= set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented(name):
    assert getattr(js, name).__doc__


@pytest.mark.parametrize("name", [n for n in PUBLIC if inspect.isfunction(getattr(js, n))])
def test_public_functions_say_everything_and_their_examples_run(name):
    function = getattr(js, name)
    for part in ("Args:", "Returns:", "Raises:", "Example:"):
        assert part in function.__doc__, f"{name} lacks {part}"
    for argument in inspect.signature(function).parameters:
        assert re.search(rf"^\s+{argument}: ", function.__doc__, re.M), f"{name} does not explain {argument}"
    test = doctest.DocTestFinder(recurse=False).find(function, name, globs={})
    assert sum(len(t.examples) for t in test) > 0
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    assert [runner.run(t).failed for t in test] == [0]


@pytest.mark.parametrize("module", [m.name for m in pkgutil.walk_packages([str(PACKAGE)], "jepa_sweep.")])
def test_every_module_says_what_it_is_for(module):
    assert importlib.import_module(module).__doc__


def test_readme_has_the_columns_of_the_tables():
    assert schema.markdown("critical_times", parameter_columns(SYSTEMS["reduced"]["jepa"])) in README
    assert schema.markdown("networks") in README
    assert schema.markdown("estimates") in README


def test_readme_has_the_parameters_of_networks_and_series():
    for system in ("training", "temporal"):
        for q in next(iter(SYSTEMS[system].values())).parameters:
            assert re.search(rf"^\| `{q.name}` \|", README, re.M), q.name


def test_readme_explains_every_status():
    for status in Status:
        assert f"`{status.label}`" in README


def test_readme_names_the_commands_and_exit_codes():
    commands = ("run", "plan", "status", "query", "compare", "verify", "repair", "retry", "doctor", "moments")
    commands += ("figure", "reproduce", "explore")
    assert [c for c in commands if f"jepa-sweep {c}" not in README] == []
    assert [c for c in ("make demo", "make test") if c not in README] == []


def test_readme_names_a_test_for_every_fault():
    table = re.findall(r"^\| .* \| .* \| `(.*?)::(.*?)` \|$", README, re.M)
    assert len(table) >= 25
    for path, name in table:
        assert f"def {name}(" in (ROOT / "tests" / path).read_text(), f"{path}::{name}"


def test_readme_specs_can_be_run_and_repeat_nothing():
    specs = re.findall(r"```toml\n(.*?)```", README, re.S)
    assert len(specs) == 2
    assert [replicates(js.Sweep.parse(text, "README.md")) for text in specs] == [[], []]


def test_readme_python_runs(tmp_path):
    """All Python blocks of the README, in order, as one session."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) >= 2
    script = "import os\n" + "\n".join(blocks)
    (tmp_path / "sweeps").symlink_to(ROOT / "sweeps")
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
