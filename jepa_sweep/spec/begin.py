"""Writing a spec to start from, and beside it the schema that its first line names, so that editors need no network."""

import json
import os
import tomllib
from pathlib import Path
from typing import Any

from jepa_sweep import output
from jepa_sweep.checks import plain
from jepa_sweep.errors import SpecError
from jepa_sweep.spec import schema, shipped, template
from jepa_sweep.spec.models import Sweep
from jepa_sweep.spec.problems import MOST_PATH, Source
from jepa_sweep.systems import registry


def write(name: str | None, system: str | None, figure: str | None, folder: Path) -> dict[str, Any]:
    """Write `<name>.toml` into a folder, and the schema of specs if it is not there yet, or of another release.

    Args:
        name: of the sweep; that of the figure, or "sweep", by default.
        system: what to sweep; "reduced" by default.
        figure: the shipped spec to copy, instead of a system.
        folder: where to write.

    Returns:
        spec, written, left (a file by the name of the schema that is something else), todo (what has to be put right
        before it can be run: nothing where the system comes with the package), systems and figures to choose from.

    Raises:
        SpecError: there is such a file already, or no such system or figure; or the name cannot be one.
        StorageError: the file cannot be written.
    """
    if system and figure:
        raise SpecError("A spec must begin with a system or a figure, but both --system and --figure are given.")
    name = (name or figure or "sweep").removesuffix(".toml")
    named = system or Sweep.model_fields["system_name"].default
    text = template.of_figure(figure, name) if figure else template.of_system(_found(named, folder), named, name)
    path, beside, new_schema = folder / f"{name}.toml", folder / shipped.SCHEMA, schema.text()
    todo, found = _wrong(text, path, folder), _there(beside)
    if os.path.lexists(path):
        raise SpecError(
            f"`{plain(path, MOST_PATH)}` must not be there yet, but it is, and nothing is overwritten; try "
            f"another name: `jepa-sweep init NAME`."
        )
    ours = found is None or _is_schema(found)
    written = [path, beside] if ours and found != new_schema else [path]
    if beside in written:  # first: a spec alone would have this command refused the next time
        output.write(beside, new_schema.encode())
    with output.new(path) as part:
        part.write_text(text, encoding="utf-8")
    return {
        "spec": str(path),
        "written": [str(one) for one in written],
        "left": [] if ours else [str(beside)],
        "todo": todo,
        "systems": [*registry.BUILT_IN, *registry.installed()],
        "figures": list(shipped.specs()),
    }


def _found(named: str, folder: Path) -> registry.System:
    try:
        return registry.find(named, folder)
    except SpecError as error:
        raise SpecError(f"{error} (--system)") from error


def _wrong(text: str, path: Path, folder: Path) -> str:
    """What is wrong with it where rules of the user's own system refuse the values it begins with."""
    try:
        Sweep.parse(text, str(path), beside=folder)
    except SpecError as error:
        if any(problem.key == "name" for problem in error.problems):  # a file that is not written has no lines
            Sweep(Source("NAME", folder), **tomllib.loads(text))
        return str(error)
    return ""


def _there(path: Path) -> str | None:
    """The text of a file; None if nothing stands there, and empty if it is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        return ""


def _is_schema(text: str) -> bool:
    """True of the schema of specs, of whichever release."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("title") == schema.TITLE
