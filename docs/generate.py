"""The reference pages, written from what they describe: models of a spec, systems, tables, statuses, commands.

Each function returns Markdown; a page prints it where it is built, so none can go stale.
"""

import inspect
import json
import re
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import typer
from pydantic.fields import FieldInfo

from docs import ROOT
from jepa_sweep import cli
from jepa_sweep.physics.host import SENTENCES, Status
from jepa_sweep.spec.axes import Block, Model, Range
from jepa_sweep.spec.models import Sweep
from jepa_sweep.store.schema import Column
from jepa_sweep.systems.registry import BUILT_IN
from jepa_sweep.systems.system import Parameter, System
from jepa_sweep.view.catalog import PICTURES

CLAIMS = ROOT / "sweeps/gallery/claims.json"  # as `jepa-sweep reproduce --json` printed them

FIRST = ("name", "system_name", "objective")  # fields of a spec, in the order in which one writes them
TYPES = {"text": "text", "integer": "whole number", "exact": "float64", "numeric": "float"}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows]) + "\n"


def code(text: str) -> str:
    """Text as code; nothing where there is none."""
    return f"`{text}`" if text else ""


def plain(text: str) -> str:
    """A text that is no Markdown but for its code, in which `<` and `|` mean nothing."""
    parts = text.split("`")
    return "`".join(p if n % 2 else p.replace("<", "&lt;").replace("|", "&#124;") for n, p in enumerate(parts))


def listed(values: Iterable[object], last: str = ", ") -> str:
    """Values as code, separated by commas."""
    *most, end = (code(str(value)) for value in values)
    return f"{', '.join(most)}{last}{end}" if most else end


# --- specs --------------------------------------------------------------------------------------------------------


def keys() -> str:
    """Every key of a spec file: where it stands, what it takes, its default, what it means."""
    rows = ([code(path), type_of(f.annotation), default_of(f), meaning_of(f)] for path, f in fields_of(Sweep))
    return table(["key", "takes", "default", "meaning"], rows)


def fields_of(model: type[Model], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """The fields of a model and of the models in it, by key path; blocks have the keys of the top level."""
    for name, field in sorted(model.model_fields.items(), key=lambda item: item[0] not in FIRST):
        path = prefix + (field.alias or name)
        yield path, field
        inner = next((kind for kind in _classes(field.annotation) if issubclass(kind, Model)), None)
        if inner and inner is not Block:
            yield from fields_of(inner, f"{path}.{'AXIS.' if inner is Range else ''}")


def _classes(annotation: Any) -> Iterator[type]:
    """The classes that an annotation is made of."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        yield annotation
    elif typing.get_origin(annotation) is not typing.Literal:
        for part in typing.get_args(annotation):
            yield from _classes(part)


def type_of(annotation: Any, plural: str = "") -> str:
    """What a key takes, in words."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_of(parts[0], plural)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_of(part, plural) for part in parts if part is not type(None)))
    if origin is typing.Literal:
        return listed(map(json.dumps, parts), " or ")
    if origin is tuple:
        count = "" if Ellipsis in parts else f"{len(parts)} "
        return f"list{plural} of {count}{type_of(parts[0], 's')}"
    return {float: "number", int: "whole number", str: "text"}.get(annotation, "table") + plural


def default_of(field: FieldInfo) -> str:
    """What a key is where a spec says nothing."""
    if field.is_required():
        return "required"
    if field.default is None or field.default in ((), {}) or isinstance(field.default, Model):
        return ""
    return code(json.dumps(field.default))


def meaning_of(field: FieldInfo) -> str:
    """What a key means, and the limits that the model itself states."""
    found = {name: getattr(one, name) for one in field.metadata for name in ("ge", "gt", "le") if hasattr(one, name)}
    said = {"ge": "at least", "gt": "more than", "le": "at most"}
    limits = " and ".join(f"{said[name]} {value:,}" for name, value in found.items())
    said_so = plain(field.description or "")
    return f"{said_so.removesuffix('.')} ({limits})." if limits else said_so


def systems() -> str:
    """Every system: objectives, ways of computing, axes with their defaults, and the rules that these obey."""
    return "\n".join(map(_system, BUILT_IN.values()))


def _system(system: System) -> str:
    defaults = system.defaults or system.objectives
    facts = [
        ["`objective`", listed(system.objectives), listed(defaults)],
        ["`solver.method`", listed(["auto", *system.methods]), "`auto`"],
        ["`solver.precision`", listed(system.precisions), "`float64`"],
        ["`solver.time`", listed(system.times), code(system.times[0])],
    ]
    if system.coordinates:
        facts.append(["`solver.coordinate`", listed(system.coordinates), code(system.coordinates[-1])])
    if "measure.p" not in system.unused:
        facts.append(["`measure.p`", "numbers", listed(system.p)])
    axes = ([code(q.name), _default(q), "" if q.choices else q.unit, _meaning(q)] for q in system.parameters)
    unused = [f"- {code(key)} says nothing here: {why}." for key, why in system.unused.items()]
    return "\n".join(
        [
            f'### `system = "{system.name}"`\n',
            table(["key", "takes", "default"], facts),
            table(["axis", "default", "unit", "meaning"], axes),
            "What must hold:\n",
            *_rules(system),
            *unused,
            "",
        ]
    )


def _rules(system: System) -> list[str]:
    """What its parameters must obey; those of which the same is asked, each alone, share a line."""
    rules = dict.fromkeys((r.parameters, r.must) for o in system.objectives for r in system.rules_of(o))
    alone: dict[str, list[str]] = {}
    for names, must in rules:
        if len(names) == 1:
            alone.setdefault(must, []).extend(names)
    together = [(names, must) for names, must in rules if len(names) > 1]
    each = [(names, f"each {must}" if len(names) > 1 else must) for must, names in alone.items()]
    return [f"- {listed(names, ' and ')} must {plain(must)}." for names, must in each + together]


def _default(parameter: Parameter) -> str:
    default = parameter.default
    if default is None:
        return "required"
    if isinstance(default, str) and not parameter.choices:
        return f"as {code(default)}"
    return code(default if isinstance(default, str) else f"{default:g}")


def _meaning(parameter: Parameter) -> str:
    return plain(parameter.meaning) + (f": {listed(parameter.choices)}" if parameter.choices else "")


# --- tables -------------------------------------------------------------------------------------------------------


def tables() -> str:
    """Every table of every system, with its columns; those that all tables of a system begin with stand once."""
    parts = []
    for system in BUILT_IN.values():
        count = 1 + len(system.parameters)
        first, *_ = system.columns().values()
        parts += [f"## System {code(system.name)}\n", "All its tables begin with\n", _columns(first[:count])]
        for name, described in system.columns().items():
            parts += [f"### {code(name)} {{ #{system.name}-{name} }}\n", _columns(described[count:])]
    return "\n".join(parts)


def _columns(columns: Sequence[Column]) -> str:
    rows = ([code(c.name), TYPES[c.dtype], _unit(c), plain(c.meaning), code(c.equation)] for c in columns)
    return table(["column", "type", "unit", "meaning", "equation"], rows)


def _unit(column: Column) -> str:
    """Its unit; words have none."""
    return "" if column.dtype == "text" else column.unit


def statuses() -> str:
    """Every status, in words."""
    rows = ([code(s.label), plain(SENTENCES[s]), "`failures`" if s.failed else ""] for s in Status)
    return table(["status", "meaning", "table"], rows)


def source(thing: type) -> str:
    """The code of a class, where its comments say what its fields are."""
    return folded(f"Fields of {code(thing.__name__)}", "python", inspect.getsource(thing))


def folded(title: str, language: str, text: str) -> str:
    """Code that the reader may unfold."""
    lines = "\n".join(f"    {line}" for line in text.splitlines())
    return f'??? note "{title}"\n\n    ```{language}\n{lines}\n    ```\n'


# --- commands -----------------------------------------------------------------------------------------------------


def commands() -> str:
    """Every command: what it does, how it is typed, its arguments and options."""
    group: Any = typer.main.get_command(cli.app)
    linked = ([f"[`{name}`](#{name})", plain(one.help.split("\n")[0])] for name, one in group.commands.items())
    parts = [table(["command", "what it does"], linked)]
    for name, command in group.commands.items():
        arguments = [p for p in command.params if not p.opts[0].startswith("-")]
        typed = " ".join([name, *map(_argument, arguments), "[OPTIONS]"])
        rows = ([_typed(p), _filled_in(p), plain(p.help or "")] for p in command.params if not p.hidden)
        parts += [f"## {code(name)} {{ #{name} }}\n", f"{plain(command.help)}\n"]
        example = command.epilog.removeprefix("Example: ")
        parts += [f"```bash\njepa-sweep {typed}\n# for example\n{example}\n```\n"]
        parts += [table(["argument or option", "default", "meaning"], rows)]
    return "\n".join(parts)


def _argument(parameter: Any) -> str:
    """An argument as usage shows it, in brackets where it may be left out."""
    name = parameter.metavar.strip("[]")
    return name if parameter.required else f"[{name}]"


def _typed(parameter: Any) -> str:
    """An argument or option as it is typed."""
    if not parameter.opts[0].startswith("-"):
        return code(_argument(parameter))
    value = f" {parameter.metavar}" if parameter.metavar else ""
    return ", ".join(code(f"{option}{value if option.startswith('--') else ''}") for option in parameter.opts)


def _filled_in(parameter: Any) -> str:
    if parameter.required:
        return "required"
    return "" if parameter.default in (None, False) else code(str(parameter.default))


def exit_codes() -> str:
    """What the exit code of a command says."""
    said = re.search(r"Exit codes: (.*?)\.", " ".join((cli.__doc__ or "").split()))
    assert said, "the command line says what its exit codes mean"
    return table(["code", "meaning"], (part.split(" ", 1) for part in said[1].split(", ")))


# --- gallery ------------------------------------------------------------------------------------------------------


def gallery() -> str:
    """Every picture: what it shows, its spec, and what it claims beside what was measured."""
    measured = {one["figure"]: one["claims"] for one in json.loads(CLAIMS.read_text())}
    parts = []
    for name, picture in PICTURES.items():
        claims = (
            [plain(claim["says"]), plain(claim["measured"]), "holds" if claim["holds"] else "**fails**"]
            for claim in measured[name]
        )
        parts += [
            f"## {code(name)} {{ #{name} }}\n",
            f"{picture.shows[0].upper()}{picture.shows[1:]}.\n",
            f"![{name}: {picture.shows}](assets/gallery/{name}.png)\n",
            f"```bash\njepa-sweep figure {name}\n```\n",
            table(["claim", "measured", "verdict"], claims),
            folded(f"The spec, `sweeps/{name}.toml`", "toml", (ROOT / f"sweeps/{name}.toml").read_text()),
        ]
    return "\n".join(parts)
