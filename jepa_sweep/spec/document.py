"""Specs as tables in tables, walked by key: changes given beside the file, and what is left without faulty keys.

A change reads `solver.rtol=1e-10`: a key path and a TOML value.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import tomli_w

from jepa_sweep.checks import plain, shown
from jepa_sweep.errors import SpecError
from jepa_sweep.spec.lines import Key
from jepa_sweep.spec.problems import key_path
from jepa_sweep.spec.text import toml_of

MOST_SHOWN = 200  # characters of a change that the text of the spec repeats
_WORD = re.compile(r"[^\s\"'\[\]{},=#][^\"'\[\]{},=#\n]*")
_TABLES = ("axes", "points", "block", "measure", "trajectories", "solver")  # of which one entry can do without another


def apply(document: dict[str, Any], changes: Sequence[str]) -> list[Key]:
    """Change a document in place, one change after the other; returns the keys that were set.

    Raises:
        SpecError: a change is not of the form KEY=VALUE, or leads through what is no table.
    """
    keys = []
    for change in changes:
        names, value = _read(change)
        owner, key = document, ()
        for name in names[:-1]:
            key = (*key, _part(owner, name, key))
            owner = owner.setdefault(name, {}) if isinstance(owner, dict) else owner[key[-1]]
        key = (*key, _part(owner, names[-1], key))
        owner[key[-1]] = value
        keys.append(key)
    return keys


def changed(text: str, changes: Sequence[str]) -> str:
    """The text of a spec with these changes made, which says so."""
    document = toml_of(text)
    apply(document, changes)
    given = " ".join(f"--set '{plain(change, MOST_SHOWN)}'" for change in changes)
    return f"# The spec as it was run, with {given}\n{tomli_w.dumps(document)}"


def without(data: dict[str, Any], keys: Iterable[Key]) -> dict[str, Any]:
    """The keys of a spec but for these: whole axes, settings and parameters of points, whatever is wrong inside."""
    data = _copied(data)
    for key in keys:
        _take_out(data, *key)
    return data


def _read(change: str) -> tuple[list[str], Any]:
    """The names of a key path, and the value; a bare word that is no TOML value is text."""
    path, equals, value = change.partition("=")
    names = _names(path)
    if not equals or not names:
        raise SpecError(f"`--set` must be given KEY=VALUE, like solver.rtol=1e-10, but it is {shown(change)}.")
    try:
        found = toml_of(f"value = {value}")
        if len(found) == 1:
            return names, found["value"]
    except (ValueError, RecursionError):  # what is no TOML is the first, too
        if _WORD.fullmatch(value.strip()):
            return names, value.strip()
    raise SpecError(
        f"`--set {plain(path)}` must be given a value as TOML writes it, or a word, but it is {shown(value)}; a list "
        "reads [2, 3] and a range { linear = [0.5, 1.0], num = 6 }, in quotes that keep the shell from it."
    )


def _names(path: str) -> list[str]:
    try:
        found = toml_of(f"{path} = 0") if "\n" not in path else {}
    except (ValueError, RecursionError):
        return []
    names = []
    while isinstance(found, dict) and found:
        [(name, found)] = found.items()
        names.append(name)
    return names


def _part(owner: Any, name: str, key: Key) -> Any:
    """The key in a table, or the number in a list, of what stands at `key`; raises where it is neither."""
    if isinstance(owner, dict):
        return name
    where = key_path(key)
    if not isinstance(owner, list):
        raise SpecError(f"`--set {where}.{plain(name)}` must name a key of a table, but `{where}` is {shown(owner)}.")
    if not name.isdecimal() or int(name) >= len(owner):
        raise SpecError(
            f"`--set {where}.{plain(name)}` must count the entries of `{where}` from 0 on, of which there are "
            f"{len(owner)}, but it is {shown(name)}."
        )
    return int(name)


def _copied(value: Any, name: str | int = 0, deep: int = 6) -> Any:
    """The same with tables of its own that can be changed, as deep as entries stand that can be taken out."""
    if not deep or (isinstance(name, str) and name not in _TABLES):
        return value
    if isinstance(value, dict):
        return {key: _copied(inner, key, deep - 1) for key, inner in value.items()}
    return [_copied(inner, 0, deep - 1) for inner in value] if isinstance(value, list | tuple) else value


def _take_out(owner: Any, part: str | int, *rest: str | int) -> None:
    inner = _inside(owner, part) if rest else None
    if inner is not None:
        _take_out(inner, *rest)
    elif isinstance(owner, dict):
        moved = part not in owner and isinstance(owner.get("axes"), dict)  # what belongs to a block may stand there
        (owner["axes"] if moved else owner).pop(part, None)


def _inside(owner: Any, part: str | int) -> Any:
    """What stands there, if that is a table that entries can be taken from."""
    if isinstance(part, int):
        inner = owner[part] if isinstance(owner, list) and part < len(owner) else None
    else:
        inner = owner.get(part) if isinstance(owner, dict) and part in _TABLES else None
    return inner if isinstance(inner, dict | list) else None
