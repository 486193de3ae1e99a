"""The JSON schema of a spec, by which editors complete and check it: from the models, and the systems' own records.

Of each system that comes with the package it says which axes, words, objectives, methods and settings there are; of
any other only what holds for all. Conditions stand beside the keys, in a list of their own, because editors that know
none (Taplo) look for keys to complete in such lists.
"""

import json
from collections.abc import Iterable
from typing import Any

from jepa_sweep.engine.settings import AUTO
from jepa_sweep.spec.axes import MOVABLE, Range, one_or_more
from jepa_sweep.spec.models import Sweep
from jepa_sweep.systems import registry
from jepa_sweep.systems.system import Parameter, System

Schema = dict[str, Any]
TITLE = "A spec of jepa_sweep"
DRAFT = "https://json-schema.org/draft/2020-12/schema"
_WAYS = ("product", "zip", "sobol", "points")


def schema() -> Schema:
    """The schema as JSON has it."""
    found = _plain(Sweep.model_json_schema(by_alias=True))
    definitions = found.pop("$defs") | {"Range": _plain(Range.model_json_schema())}
    systems = registry.BUILT_IN.values()
    _name_what_is_known(found, definitions, systems)
    definitions |= {"Keys": found, "BlockKeys": definitions["Block"], "Combined": _combined()}
    definitions["Block"] = {"allOf": [_ref("BlockKeys"), _ref("Combined")]}
    for system in systems:
        definitions |= _of_system(system)
    blocks = {"required": ["block"], "properties": {"block": {"minItems": 1}}}
    alone = {"properties": dict.fromkeys(("axes", "combine", "num", "seed", "points"), False)}
    rules = [{"if": blocks, "then": alone, "else": _ref("Combined")}]
    rules += [_if_system(system, blocks) for system in systems]
    head = {"$schema": DRAFT, "title": TITLE, "description": found.pop("description")}
    return {**head, "type": "object", "allOf": [_ref("Keys"), *rules], "$defs": definitions}


def text() -> str:
    """The same as it stands in a file."""
    return json.dumps(schema(), indent=1) + "\n"


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _plain(schema: Any) -> Any:
    """What pydantic says, without what TOML has not: nulls; and with the first words of descriptions."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key != "title" and (key, value) != ("default", None)}
    kinds = [kind for kind in kept.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        kept = {**kinds[0], **{key: value for key, value in kept.items() if key != "anyOf"}}
    if "prefixItems" in kept:  # two of the same kind, in words that older drafts know
        kept["items"] = kept.pop("prefixItems")[0]
    if isinstance(kept.get("default"), dict | list):
        del kept["default"]  # the tables say it of each key
    if isinstance(kept.get("description"), str):
        kept["description"] = kept["description"].split("\n\n")[0]
    return {key: _plain(value) for key, value in kept.items()}


def _name_what_is_known(found: Schema, definitions: Schema, systems: Iterable[System]) -> None:
    """Offer the names of all systems where a name is wanted; others pass, since a system of the user's has its own."""

    def some(names: Iterable[str]) -> Schema:
        return {"anyOf": [{"enum": list(dict.fromkeys(names))}, {"type": "string"}]}

    names = [*registry.BUILT_IN, *registry.installed()]
    told = "; ".join(f"{s.name}: {s.meaning}" for s in systems)
    own = {"type": "string", "pattern": r"^.+:\w+$"}
    system = {key: value for key, value in found["properties"]["system"].items() if key != "type"}
    system["description"] += f" {told}."
    found["properties"]["system"] = system | {"anyOf": [{"enum": names}, own]}
    found["properties"]["objective"] |= one_or_more(some(o for s in systems for o in s.objectives))
    solver = definitions["Solver"]["properties"]
    wanted = {
        "method": (AUTO, *(m for s in systems for m in s.methods)),
        "precision": [p for s in systems for p in s.precisions],
        "time": [t for s in systems for t in s.times],
        "coordinate": [c for s in systems for c in s.coordinates],
    }
    for key, words in wanted.items():
        del solver[key]["type"]
        solver[key] |= some(words)
    meanings: dict[str, dict[str, list[str]]] = {}
    for s in systems:
        for q in s.parameters:
            meanings.setdefault(q.name, {}).setdefault(_meaning(q), []).append(s.name)
    offered = {name: {"description": _by_system(by), "anyOf": [_ref("Axis")]} for name, by in meanings.items()}
    axes = found["properties"]["axes"]
    definitions["Axis"] = one_or_more({"type": "number"}, {"type": "string"}, also=_ref("Range"))
    definitions["Axes"] = {**axes, "properties": offered, "additionalProperties": _ref("Axis")}
    for table in (found, definitions["Block"]):
        table["properties"]["axes"] = _ref("Axes")


def _meaning(q: Parameter) -> str:
    default = "" if q.default is None else f"; {q.default} by default"
    return f"{q.described}{default}"


def _by_system(meanings: dict[str, list[str]]) -> str:
    return "; ".join(f"{', '.join(names)}: {meaning}" for meaning, names in meanings.items()) + "."


# --- ways of combining ------------------------------------------------------------------------------------------------


def _says(way: str) -> Schema:
    """True of a block that combines in this way, wherever it says so."""
    here = {"required": ["combine"], "properties": {"combine": {"const": way}}}
    return {"anyOf": [here, {"required": ["axes"], "properties": {"axes": here}}]}


def _combined() -> Schema:
    """What a block must hold for its way of combining, whatever its system."""
    each = {"additionalProperties": {"if": {"type": "object"}, "then": {"required": ["num"]}}}
    none = {"additionalProperties": {"if": {"type": "object"}, "then": {"properties": {"num": False}}}}
    unlike = {"additionalProperties": {"if": {"type": "array"}, "then": {"uniqueItems": True}}}
    with_num = {"anyOf": [{"required": ["num"]}, {"required": ["axes"], "properties": {"axes": {"required": ["num"]}}}]}
    unnumbered = {"num": False, "seed": False, "axes": {**each, "properties": {"num": False}}}
    listed = {"required": ["points"], "properties": {"axes": {"propertyNames": {"const": "combine"}}}}
    twice = [
        {"not": {"required": [key, "axes"], "properties": {"axes": {"required": [key]}}}} for key in ("combine", "num")
    ]
    return {
        "allOf": [
            {"if": _says("points"), "then": listed, "else": {"properties": {"points": False}}},
            {
                "if": _says("sobol"),
                "then": {**with_num, "properties": {"axes": none}},
                "else": {"properties": unnumbered},
            },
            {"if": {"anyOf": [_says(way) for way in _WAYS[1:]]}, "else": {"properties": {"axes": unlike}}},
            *twice,
        ]
    }


# --- systems ----------------------------------------------------------------------------------------------------------


def _of_system(system: System) -> Schema:
    """Definitions of its axes, of one of its points, and of a block."""
    axes = {q.name: {"description": _meaning(q), **_axis(q)} for q in system.parameters}
    moved: Schema = dict.fromkeys((key for key in MOVABLE if key not in axes), True)
    point = {q.name: _cell(q) for q in system.parameters}
    needed = [q.name for q in system.parameters if q.default is None]
    listed = [q.name for q in system.parameters if q.integer]
    given = {"required": ["axes"], "properties": {"axes": {"required": needed}}} if needed else True
    whole = {"properties": {"axes": {"properties": {name: {"not": {"type": "object"}} for name in listed}}}}
    return {
        f"{system.name}.axes": {"properties": axes | moved, "additionalProperties": False},
        f"{system.name}.point": {"properties": point, "additionalProperties": False, "required": needed},
        f"{system.name}.block": {
            "properties": {
                "axes": _ref(f"{system.name}.axes"),
                "points": {"items": _ref(f"{system.name}.point")},
            },
            "allOf": [{"if": _says("points"), "else": given}, {"if": _says("sobol"), "then": whole}],
        },
    }


def _cell(q: Parameter) -> Schema:
    return {"enum": list(q.choices)} if q.choices else {"type": "integer" if q.integer else "number"}


def _axis(q: Parameter) -> Schema:
    return one_or_more(_cell(q), also=None if q.choices else _ref("Range"))


def _if_system(system: System, blocks: Schema) -> Schema:
    """What holds of a spec of this system."""
    this: Schema = {"properties": {"system": {"const": system.name}}}
    if system.name != Sweep.model_fields["system_name"].default:
        this["required"] = ["system"]
    block = _ref(f"{system.name}.block")
    objective = {"enum": list(system.objectives)}
    holds = {
        "objective": {"anyOf": [objective, {"type": "array", "items": objective, "uniqueItems": True}]},
        "block": {"items": block},
        "solver": _solver(system),
        "measure": _measure(system),
    }
    return {"if": this, "then": {"properties": holds, "if": blocks, "else": block}}


def _solver(system: System) -> Schema:
    words = {"method": (AUTO, *system.methods), "precision": system.precisions, "time": system.times}
    keys: Schema = {key: {"enum": list(known)} for key, known in words.items()}
    keys["coordinate"] = {"enum": list(system.coordinates)} if system.coordinates else False
    kept: Schema = {"properties": {"rtol": {"exclusiveMinimum": 0, "maximum": 0.1}}}
    free = {"required": ["method"], "properties": {"method": {"enum": list(system.without_rtol)}}}
    none = {*system.methods} <= {*system.without_rtol}
    return {"properties": keys} if none else {"properties": keys, "if": free, "else": kept}


def _measure(system: System) -> Schema:
    """Without the keys that say nothing for this system."""
    unused: Schema = {}
    for key in system.unused:
        _, *tables, last = key.split(".")
        owner = unused
        for table in tables:
            owner = owner.setdefault(table, {"properties": {}})["properties"]
        owner[last] = False
    return {"properties": unused}
