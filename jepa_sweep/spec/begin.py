"""Writing a spec to start from, and beside it the schema that its first line names, so that editors need no network."""

from pathlib import Path
from typing import Any

from jepa_sweep.checks import plain
from jepa_sweep.errors import SpecError, StorageError
from jepa_sweep.spec import schema, shipped, template
from jepa_sweep.spec.models import Sweep
from jepa_sweep.spec.problems import MOST_PATH
from jepa_sweep.systems import registry


def write(name: str | None, system: str | None, figure: str | None, folder: Path) -> dict[str, Any]:
    """Write `<name>.toml` into a folder, and the schema of specs if it is not there yet.

    Args:
        name: of the sweep; that of the figure, or "sweep", by default.
        system: what to sweep; "reduced" by default.
        figure: the shipped spec to copy, instead of a system.
        folder: where to write.

    Returns:
        spec, written, todo (what has to be put right before it can be run: nothing where the system comes with the
        package), systems and figures to choose from.

    Raises:
        SpecError: there is such a file already, or no such system or figure; or the name cannot be one.
        StorageError: the file cannot be written.
    """
    if system and figure:
        raise SpecError("A spec must begin with a system or a figure, but both --system and --figure are given.")
    name = (name or figure or "sweep").removesuffix(".toml")
    named = system or Sweep.model_fields["system_name"].default
    text = template.of_figure(figure, name) if figure else template.of_system(_found(named, folder), named, name)
    todo, path = _wrong(text, folder), folder / f"{name}.toml"
    if not _written(path, text):
        raise SpecError(
            f"`{plain(path, MOST_PATH)}` must not be there yet, but it is, and nothing is overwritten; try "
            f"another name: `jepa-sweep init NAME`."
        )
    new_schema = _written(folder / shipped.SCHEMA, schema.text())
    return {
        "spec": str(path),
        "written": [str(path), *([str(folder / shipped.SCHEMA)] if new_schema else [])],
        "todo": todo,
        "systems": [*registry.BUILT_IN, *registry.installed()],
        "figures": list(shipped.specs()),
    }


def _found(named: str, folder: Path) -> registry.System:
    try:
        return registry.find(named, folder)
    except SpecError as error:
        raise SpecError(f"{error} (--system)") from error


def _wrong(text: str, folder: Path) -> str:
    """What is wrong with it where rules of the user's own system refuse the values it begins with."""
    try:
        Sweep.parse(text, "the spec to be written", beside=folder)
    except SpecError as error:
        if any(problem.key == "name" for problem in error.problems):
            raise
        return str(error)
    return ""


def _written(path: Path, text: str) -> bool:
    """Write a new file; False if there is one."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        raise StorageError(f"{plain(path, MOST_PATH)} must be writable, but: {error.strerror}.") from None
    return True
