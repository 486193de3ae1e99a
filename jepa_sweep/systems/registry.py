"""Every system there is, by the word that names it in a spec: built in, installed, or in a file of the user's own."""

import importlib.metadata
import sys
import threading
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from jepa_sweep.checks import check_one_of, plain, said, shown
from jepa_sweep.errors import SpecError
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.records import sha256
from jepa_sweep.systems.networks.systems import NETWORK, TRAINING
from jepa_sweep.systems.reduced import REDUCED
from jepa_sweep.systems.series import TEMPORAL
from jepa_sweep.systems.system import System

ENTRY_POINTS = "jepa_sweep.systems"
BUILT_IN = {system.name: system for system in (REDUCED, NETWORK, TRAINING, TEMPORAL)}
_RUNNING = threading.RLock()  # files of users


def find(given: Any, beside: Path | None = None) -> System:
    """The system that a spec names, or that Python code gives.

    Args:
        given: a `System`; the name of one that is built in or installed; or "file.py:NAME", which runs that file.
        beside: the folder in which such a file is looked for; the working directory by default.

    Raises:
        SpecError: there is no such system, or its file cannot be used; the message shows the user's own line.
    """
    if isinstance(given, System):
        return _checked(given, "it")
    if isinstance(given, str) and ":" in given:
        path, _, name = given.rpartition(":")
        return _in_file((beside or Path()) / path, name)
    if isinstance(given, Path) or (isinstance(given, str) and given.endswith(".py")):
        raise SpecError(
            f"`system` must name a system in that file too, but it is {shown(str(given))}; try "
            f"{shown(f'{given}:FLOW')} if it makes one of the name FLOW."
        )
    others = installed()
    check_one_of("system", given, (*BUILT_IN, *others))
    return BUILT_IN[given] if given in BUILT_IN else _loaded(others[given])


def of_store(store: Reader) -> System:
    """The system whose numbers a store holds; where it is the user's own, the file that the store keeps is run.

    Raises:
        SpecError: it is not to be found any more.
    """
    name = store.frozen["system"]
    if name in BUILT_IN or name in installed():
        return find(name)
    source = store.source()
    if source is None:
        raise SpecError(
            f"{store.path} must say what made its numbers, but its system {shown(name)} stood in no file; pass it from "
            "Python, as in js.Store(path, system=FLOW)."
        )
    origin = f"the file of {name} kept in {store.path}"
    with _RUNNING:  # a file of this text that has been run has its programs compiled
        start = _of_text(source)
        same = [module for key, module in list(sys.modules.items()) if key.startswith(start)]  # others may import
        module = same[0] if same else _module(source, origin)
    found = [v for v in vars(module).values() if isinstance(v, System)]
    named = [system for system in found if system.name == name]
    if not named:
        raise SpecError(f"{plain(origin, 1000)} must make a system of that name, but it makes none.")
    return named[0]


def is_kept(system: System) -> bool:
    """True if `of_store` finds the system again: built in, installed, or made by a file that the store keeps."""
    return bool(system.source) or system.name in BUILT_IN or system.name in installed()


def installed() -> dict[str, importlib.metadata.EntryPoint]:
    """The systems that other packages bring, by name; none of them is imported."""
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def _loaded(point: importlib.metadata.EntryPoint) -> System:
    try:
        system = point.load()
    except (Exception, SystemExit) as error:  # of any kind: it is somebody else's code
        raise SpecError(
            f"The installed system `{point.name}` must be importable, but {point.value} raised {said(error)}."
        ) from error
    return _checked(system, point.value)


def _in_file(path: Path, name: str) -> System:
    where = plain(path, 1000)
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise SpecError(f"`system` must name a file that can be read, but {where}: {error.strerror}.") from None
    except ValueError:
        raise SpecError(f"`system` must name a Python file, but {where} is not UTF-8 text.") from None
    module = _module(text, str(path))
    if not hasattr(module, name):
        made = ", ".join(key for key, value in vars(module).items() if isinstance(value, System))
        raise SpecError(
            f"`system` must name what {where} makes, but there is no {plain(name)} in it"
            f"{made and f'; it makes {made}'}."
        )
    return _checked(getattr(module, name), f"{where}:{plain(name)}")


def _checked(system: Any, where: str) -> System:
    if not isinstance(system, System):
        raise SpecError(
            f"`system` must name a System, as `jepa_sweep.flow` makes it, but {where} is {type(system).__name__}."
        )
    if system.name in BUILT_IN and system is not BUILT_IN[system.name]:
        raise SpecError(
            f"The name of a system must not be that of a built-in one, but {where} is named {shown(system.name)}."
        )
    return system


def _module(text: str, origin: str) -> ModuleType:
    """The module that a file makes; it is run once for each text, so that its functions stay the same compile keys."""
    name = _of_text(text) + sha256(origin.encode())[:8]
    with _RUNNING:
        if name not in sys.modules:
            module = sys.modules[name] = ModuleType(name)  # where dataclasses, among others, look for their module
            try:
                _run(text, origin, module)
            except BaseException:
                del sys.modules[name]
                raise
        return sys.modules[name]


def _of_text(text: str) -> str:
    """What the names of the modules of a text begin with."""
    return f"jepa_sweep_own_{sha256(text.encode())[:16]}_"


def _run(text: str, origin: str, module: ModuleType) -> None:
    """Run the text of a file in its module."""
    module.__file__ = origin
    try:
        exec(compile(text, origin, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:  # of any kind: it is the user's code
        number = error.lineno if isinstance(error, SyntaxError) else _line_of(error, origin)
        lines = text.splitlines()
        line = lines[number - 1].strip() if number and number <= len(lines) else ""
        raise SpecError(
            f"`system` must name a file that Python can run, but {plain(origin, 1000)}, line {number}, "
            f"`{plain(line)}`: {said(error)}."
        ) from error
    for name, value in vars(module).items():
        if isinstance(value, System) and not value.source:
            setattr(module, name, value._replace(source=text))


def _line_of(error: BaseException, origin: str) -> int | None:
    """The last line of the file that was at work."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == origin]
    return lines[-1] if lines else None
