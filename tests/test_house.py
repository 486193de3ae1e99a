"""The house keeps its shape: floors, file sizes, names, and examples."""

import ast
import contextlib
import doctest
import graphlib
import importlib
import inspect
import pkgutil
import re
import typing

import jax.typing
import pytest
from conftest import ROOT

import jepa_sweep as js
from jepa_sweep.engine.settings import Settings
from jepa_sweep.physics import data, host, network
from jepa_sweep.physics.host import Status
from jepa_sweep.physics.reduced import DYNAMICS
from jepa_sweep.systems.networks import parameters as words
from jepa_sweep.systems.registry import BUILT_IN
from jepa_sweep.systems.shared import FAILED
from jepa_sweep.systems.system import Measurement

PACKAGE = ROOT / "jepa_sweep"
MODULES = sorted(PACKAGE.rglob("*.py"))
ABOVE = {  # room -> what it may import; every room may import itself, `errors` and `checks`
    "errors": set(),
    "checks": set(),
    "progress": set(),
    "physics": set(),
    "store": set(),
    "engine": {"physics"},
    "systems": {"physics", "engine", "store"},
    "spec": {"physics", "engine", "store", "systems", "output"},
    "running": {"physics", "engine", "store", "systems", "spec", "progress"},
    "output": {"store"},
    "layout": {"store"},
    "analysis": {"physics", "engine", "store", "systems", "spec", "output", "layout"},
    "view": {"physics", "store", "systems", "output"},
    "api": {"physics", "engine", "systems", "spec"},
    "matrices": {"physics", "engine"},
    "results": {"store", "systems", "running", "analysis", "view"},
    "computing": {"progress", "results", "spec", "running"},
    "reproduction": {"progress", "results", "computing", "spec", "store", "view", "output"},
    "doctor": {"physics", "engine", "store", "running", "api"},
    "cli": {
        "engine",
        "analysis",
        "running",
        "store",
        "doctor",
        "results",
        "computing",
        "reproduction",
        "progress",
        "spec",
        "view",
        "layout",
    },
}


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


def test_no_room_looks_up_or_sideways():
    wrong = []
    for path in MODULES:
        where, room = str(path.relative_to(PACKAGE)), room_of(path)
        for name in imports_of(path) if where != "__init__.py" else ():
            parts = name.split(".")
            ours = parts[0] == "jepa_sweep" and len(parts) > 1
            if ours and parts[1] not in {room, "errors", "checks", *ABOVE[room]}:
                wrong.append(f"{where} imports {name}")
    assert wrong == []


def test_no_files_import_each_other():
    """In a circle, however long; imports inside functions count."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in MODULES}
    graph = {name: set(imports_of(path)) & names.keys() for name, path in names.items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which shows it


def test_only_systems_know_which_system_there_is():
    """No name of a system or of its tables decides anything outside `systems`, but for figures, which are of one."""
    names = [*BUILT_IN, "critical_times", "networks", "estimates"]
    switch = re.compile(rf"""[!=]= ?["']({"|".join(names)})["']|(store|record|system)\.layout\b|import_module""")
    rooms = ("spec", "running", "store", "analysis", "view")
    found = [
        f"{path.name}: {m[0]}" for path in MODULES if room_of(path) in rooms for m in switch.finditer(path.read_text())
    ]
    assert found == []


def test_store_and_command_line_do_not_import_jax_at_the_top():
    wrong = []
    for path in (p for p in MODULES if room_of(p) in ("store", "cli", "errors")):
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        wrong += [f"{path.relative_to(PACKAGE)}: {line}" for line in map(ast.unparse, top) if "jax" in line]
    assert wrong == []


def test_no_file_hides_a_second_concern():
    lines = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: count for name, count in lines.items() if count > 400} == {}


def test_commands_are_made_in_one_way():
    """By `shell.command`, which explains errors."""
    assert [path.name for path in MODULES if "app.command" in path.read_text()] == ["shell.py"]


def test_sizes_are_written_in_one_way():
    """By `checks.size_of`."""
    assert [str(path) for path in MODULES if re.search(r"\} [kMGT]B\b", path.read_text())] == []


def test_only_one_module_touches_the_files_of_a_store():
    touching = re.compile(r"\.(unlink|rename|mkdir|write_bytes|write_text)\(|\bos\.(link|open|write|fsync)\b|shutil")
    guilty = [
        p.name for p in (PACKAGE / "store").glob("*.py") if p.name != "folder.py" and touching.search(p.read_text())
    ]
    assert guilty == []


@pytest.mark.parametrize("system", BUILT_IN.values(), ids=BUILT_IN)
def test_a_record_fits_itself(system):
    assert all(q.default in q.choices for q in system.parameters if q.choices)
    assert {"points", "failures", system.curves.table} <= system.tables.keys()
    columns = {table: [c.name for c in described] for table, described in system.columns().items()}
    assert all(len(names) == len(set(names)) for table, names in columns.items() if table != "failures")
    shown = [name for pair in system.curves.pairs for name in (pair.numeric, pair.predicted)]
    assert {*shown, *system.curves.keys, *system.curves.also} <= {*columns[system.curves.table]}
    assert {*system.curves.lines} <= {*columns["trajectories"]}
    assert {*system.defaults} <= {*system.objectives}
    assert {*system.without_rtol} <= {*system.methods}


def test_what_describes_a_system_says_what_its_physics_says():
    """It is written twice, because describing a system must not bring JAX and its physics does."""
    assert [status.label for status in Status if status.failed] == list(FAILED)
    assert tuple(network.OBJECTIVES) == words.OBJECTIVES
    assert tuple(network.ACTIVATIONS) == words.ACTIVATIONS
    assert (words.STARTS, words.LAYOUTS) == (host.STARTS, data.LAYOUTS)
    reduced = BUILT_IN["reduced"]
    assert reduced.objectives == tuple(DYNAMICS)
    for dynamics in DYNAMICS.values():
        assert reduced.coordinates == tuple(c.name for c in dynamics.coordinates)
        assert {q.name for q in dynamics.predictions} <= {c.name for c in reduced.tables["points"]}
        for coordinate in dynamics.coordinates:
            given = Measurement(Settings("clenshaw_curtis", coordinate=coordinate.name))
            refused = contextlib.nullcontext() if coordinate.span else pytest.raises(js.SpecError, match="coordinate")
            with refused:
                reduced.check(given)


PUBLIC = [
    "asymptotic_critical_time", "critical_time", "figure", "fixed_point", "flow", "inflection_time", "inversions",
    "leading_critical_time", "moments", "network_flow", "order", "overlap", "parameter", "repair", "reproduce", "retry",
    "run", "solve", "status", "trajectory",
    "Coordinate", "Estimate", "IntegrityError", "JepaSweepError", "NetworkPath", "Solution", "SpecError", "SpecWarning",
    "Status", "StorageError", "Store", "Sweep", "System",
    "SENTENCES",
]  # fmt: skip
FUNCTIONS = [name for name in PUBLIC if inspect.isfunction(getattr(js, name))]


def test_the_public_names_are_those_promised():
    """A name that is added or taken away is a decision: it is told in the changelog, and written down here."""
    assert sorted(js.__all__) == sorted(PUBLIC)
    assert sorted(dir(js)) == sorted(PUBLIC)


def test_public_functions_and_classes_say_everything():
    lacking = [f"{name}: a docstring" for name in PUBLIC if not getattr(js, name).__doc__]
    for name in FUNCTIONS:
        function = getattr(js, name)
        said = function.__doc__ or ""
        lacking += [f"{name}: {part}" for part in ("Args:", "Returns:", "Raises:", "Example:") if part not in said]
        arguments = inspect.signature(function).parameters
        lacking += [f"{name}: `{one}`" for one in arguments if not re.search(rf"^\s+{one}: ", said, re.M)]
    assert lacking == []


METHODS = {  # of `Store`, properties too
    name: getattr(found, "fget", None) or getattr(found, "func", None) or found
    for name, found in vars(js.Store).items()
    if not name.startswith("_")
}


def test_all_that_a_store_has_says_what_it_is():
    assert [name for name, method in METHODS.items() if not method.__doc__] == []
    listed = re.findall(r"`(\w+)`", js.Store.__doc__.split("Example:")[0])
    assert [name for name in METHODS if name not in listed] == []


@pytest.mark.parametrize("name", [*FUNCTIONS, *(f"Store.{name}" for name in METHODS)])
def test_public_signatures_can_be_read(name):
    """What `help` prints of a type is short, but for the modules of its names."""
    function = METHODS[name.removeprefix("Store.")] if "." in name else getattr(js, name)
    signature = inspect.signature(function)
    said = {key: inspect.formatannotation(one.annotation) for key, one in signature.parameters.items()}
    said["return"] = inspect.formatannotation(signature.return_annotation)
    read = {key: re.sub(r"\b(\w+\.)+", "", text) for key, text in said.items()}
    assert {key: text for key, text in read.items() if len(text) > 40} == {}
    assert str(inspect.signature(js.Sweep)) == "(**keys)"  # its docstring explains them


def test_numbers_are_called_array_like():
    assert "lam: ArrayLike, rho: ArrayLike" in str(inspect.signature(js.critical_time))
    hints = typing.get_type_hints(js.critical_time)
    assert hints["lam"].__value__ == jax.typing.ArrayLike


@pytest.mark.long
@pytest.mark.parametrize("name", [*FUNCTIONS, "Store"])  # each compiles programs of its own
def test_examples_of_public_functions_run(name):
    test = doctest.DocTestFinder(recurse=False).find(getattr(js, name), name, globs={})
    assert sum(len(t.examples) for t in test) > 0
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    assert [runner.run(t).failed for t in test] == [0]


def test_every_module_says_what_it_is_for():
    names = [module.name for module in pkgutil.walk_packages([str(PACKAGE)], "jepa_sweep.")]
    assert [name for name in names if not importlib.import_module(name).__doc__] == []
