"""What store.json says: what decided the numbers of a store, and the columns of its tables."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from jepa_sweep.errors import SpecError
from jepa_sweep.store import records, schema, table
from jepa_sweep.store.location import MARK, Location
from jepa_sweep.store.schema import Column

FORMAT = 3  # of new stores; a newer one is refused. In format 2 the columns stand in format2.json, not in store.json


class Manifest(NamedTuple):
    """The content of store.json, which never changes."""

    frozen: dict[str, Any]  # what decides the numbers: system, version, solver, trajectories
    precision: str
    time: str
    parameters: tuple[str, ...]  # names of the columns that are swept
    tables: dict[str, tuple[Column, ...]]  # all columns: objective, parameters, what was measured
    format: int = FORMAT

    @property
    def keys(self) -> list[str]:
        """The columns that tell points apart."""
        failures = [column.name for column in self.tables["failures"]]
        return [name for name in ("objective", *self.parameters, "p") if name in failures]

    def schema(self, name: str) -> pa.Schema:
        """The Arrow schema of a table."""
        return schema.arrow(self.tables[name], self.precision, self.time)

    def encoded(self, name: str, rows: pa.Table) -> bytes:
        """Rows of a table as a Parquet file; the same rows always give the same bytes."""
        wanted = self.schema(name)
        assert rows.schema.equals(wanted.remove_metadata()), (
            f"a table of {name} must have the store's columns and types {wanted.names}, but it has {rows.schema}"
        )
        return table.encode(rows.cast(wanted), [*self.parameters, *schema.REPEATING])

    def refuse_a_mix(self, frozen: dict[str, Any], path: object) -> None:
        """Raise a `SpecError` if numbers made in the way of `frozen` do not belong into this store."""
        here, asked = _settings({key: self.frozen.get(key) for key in frozen}), _settings(frozen)
        unlike = [key for key in sorted({**here, **asked}) if here.get(key) != asked.get(key)]
        if unlike:
            unlike = ["system"] if "system" in unlike else unlike  # of which the others follow
            differences = "; ".join(
                f"{key}: {_shown(here.get(key))} here, {_shown(asked.get(key))} asked" for key in unlike
            )
            back = "" if {*unlike} <= {"version", "source"} else ", or change the spec back"
            raise SpecError(
                f"{path} must only hold numbers made in one way, but the settings differ ({differences}); write to "
                f"another directory with --out{back}."
            )


def _settings(frozen: dict[str, Any]) -> dict[str, Any]:
    """Every setting by the name that people know it by: those of the solver without it."""
    flat = {key: value for key, value in frozen.items() if not isinstance(value, dict)}
    flat |= frozen.get("solver") or {}
    return flat | {f"trajectories.{key}": value for key, value in (frozen.get("trajectories") or {}).items()}


def _shown(value: Any) -> str:
    """A setting as messages show it; of what a file hashes to, the beginning."""
    return "none" if value is None else f"{value}"[:16]


def publish(location: Location, manifest: Manifest) -> None:
    """Write store.json, unless there is one."""
    tables = {name: [column._asdict() for column in columns] for name, columns in manifest.tables.items()}
    location.publish(MARK, records.sealed({"format": manifest.format, **manifest._asdict(), "tables": tables}))


def read(location: Location) -> Manifest:
    """Read store.json; raises `SpecError` if there is none, and `IntegrityError` if it is damaged."""
    if not location.exists(MARK):
        said = f"{location.path} must be a run directory, but it has no {MARK}"
        if str(location.path).endswith(".toml"):
            raise SpecError(f"{said}: it is a spec; use `jepa-sweep plan {location.path}`, or give the run of it.")
        raise SpecError(f"{said}; check the path.")
    remedy = "run the spec into another directory with --out"
    record = records.unsealed(location, MARK, MARK, remedy)
    if record["format"] > FORMAT:
        raise SpecError(
            f"{location.path} was written in format {record['format']}, but this version reads up to {FORMAT}; "
            "install a newer jepa_sweep."
        )
    if record["format"] == 2:
        record = _with_columns(record)
    tables = {name: tuple(Column(**column) for column in columns) for name, columns in record["tables"].items()}
    return Manifest(**{**record, "parameters": tuple(record["parameters"]), "tables": tables})


def _with_columns(record: dict[str, Any]) -> dict[str, Any]:
    """What a store.json of format 2 would say in format 3."""
    layout, parameters = record.pop("layout"), record["parameters"]
    frozen = json.loads(Path(__file__).with_name("format2.json").read_text())[layout]
    tables = {name: [objective, *parameters, *measured] for name, (objective, *measured) in frozen.items()}
    return {**record, "parameters": [column["name"] for column in parameters], "tables": tables}
