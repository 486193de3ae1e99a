"""A spec to start from: every key with its meaning, defaults commented out, made of models and the system."""

import re
import textwrap
from collections.abc import Iterator
from typing import Any

from jepa_sweep.checks import check_one_of
from jepa_sweep.engine.settings import AUTO
from jepa_sweep.spec import shipped
from jepa_sweep.spec.axes import Block, Model
from jepa_sweep.spec.settings import Measure, Solver, Trajectories
from jepa_sweep.spec.text import read_spec
from jepa_sweep.systems.system import Parameter, System

WIDTH = 110  # of lines
BY_SCHEMA = f"#:schema ./{shipped.SCHEMA}"  # what editors look for in the first lines


def of_system(system: System, named: str, name: str) -> str:
    """The text of a spec of a system, which `named` names in specs; `name` is that of the sweep."""
    about = f"A sweep of the system {system.name}{system.meaning and f': {system.meaning}'}."
    todo = f"`jepa-sweep plan {name}.toml` tells what it would compute, `jepa-sweep run {name}.toml` computes it."
    objectives = system.defaults or system.objectives
    lines = [
        BY_SCHEMA,
        *_comment(about),
        *_comment(todo),
        f"name = {_toml(name)}",
        f"system = {_toml(named)}",
        f"objective = {_toml(list(objectives))}  # of {', '.join(system.objectives)}",
        "",
        *_default(Block, "combine", "product"),
        "",
        "[axes]",
        *_comment("Each is a value, a list of them, or a range: { linear = [0.5, 1.0], num = 6 } or { geom = ... }."),
        *(line for q in system.parameters for line in _parameter(system, q)),
        "",
        "[measure]",
        *_measure(system),
        "",
        "[solver]",
        *_solver(system),
    ]
    return "\n".join(lines) + "\n"


def of_figure(figure: str, name: str) -> str:
    """The text of a shipped spec, for a sweep of this name; raises `SpecError` if there is none."""
    known = shipped.specs()
    check_one_of("figure", figure, tuple(known))
    return re.sub(r"^name = .*$", f"name = {_toml(name)}", read_spec(known[figure]), count=1, flags=re.MULTILINE)


def _parameter(system: System, q: Parameter) -> Iterator[str]:
    """A parameter and what it means; commented out where the system knows what it is if nothing is said."""
    same = f"; that of {q.default} by default" if isinstance(q.default, str) and not q.choices else ""
    words = f": {', '.join(q.choices)}" if q.choices else ""
    shown = f"; {_toml(q.default)} by default" if q.example is not None and q.default is not None else ""
    meaning = f"{q.described}{words}{same}{shown}"
    known = {other.name: other for other in system.parameters}
    left_out = q.example is None and q.default is not None
    value = _example(known[str(q.default)]) if same and left_out else _example(q)
    line = f"{'# ' if left_out else ''}{q.name} = {_toml(value)}"
    if meaning and len(line) + len(meaning) < WIDTH:
        yield f"{line}  # {meaning}"
    else:
        yield from _comment(meaning)
        yield line


def _example(q: Parameter) -> Any:
    """A value to begin with: the system's, else its default, else one of the right kind."""
    given = q.default if q.example is None else q.example
    return (1 if q.integer else 1.0) if given is None else given


def _measure(system: System) -> Iterator[str]:
    if "measure.p" not in system.unused:
        yield from _default(Measure, "p", list(system.p))
    fields = Trajectories.model_fields
    keys = [key for key in fields if f"measure.trajectories.{key}" not in system.unused]
    about = [f"{key}: {fields[key].description}" for key in keys]
    yield from _default(Measure, "trajectories", {key: fields[key].default for key in keys}, *about)


def _solver(system: System) -> Iterator[str]:
    words = {"method": (AUTO, *system.methods), "precision": system.precisions, "time": system.times}
    words |= {"coordinate": system.coordinates}
    defaults = {key: field.default for key, field in Solver.model_fields.items()}
    defaults |= {"time": system.times[0], "coordinate": system.coordinates[-1] if system.coordinates else None}
    silent = {"rtol"} if {*system.methods} <= {*system.without_rtol} else set()
    for key, default in defaults.items():
        if key not in silent and len(words.get(key, "any")) > 1:
            yield from _default(Solver, key, default, *([f"One of {', '.join(words[key])}."] if key in words else []))


def _default(model: type[Model], key: str, value: Any, *more: str) -> Iterator[str]:
    """A key that is commented out, under what it means."""
    yield from _comment(" ".join([str(model.model_fields[key].description), *more]))
    yield f"# {key} = {_toml(value)}"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _toml(value: Any) -> str:
    """A value as TOML writes it, on one line."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(inner)}' for key, inner in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return re.sub(r"e([+-])0", r"e\1", repr(value))
