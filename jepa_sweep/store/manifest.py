"""What store.json says: what decided the numbers of a store, and the columns of its tables."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from jepa_sweep.errors import SpecError
from jepa_sweep.store import records, schema, table
from jepa_sweep.store.location import Location
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
        for key in sorted(frozen):
            if self.frozen.get(key) != frozen[key]:
                raise SpecError(
                    f"{path} must only hold numbers made in one way: its `{key}` is "
                    f"{json.dumps(self.frozen.get(key))}, but the spec asks for {json.dumps(frozen[key])}; write to "
                    "another directory with --out, or change the spec back."
                )


def publish(location: Location, manifest: Manifest) -> None:
    """Write store.json, unless there is one."""
    tables = {name: [column._asdict() for column in columns] for name, columns in manifest.tables.items()}
    location.publish("store.json", records.sealed({"format": manifest.format, **manifest._asdict(), "tables": tables}))


def read(location: Location) -> Manifest:
    """Read store.json; raises `SpecError` if there is none, and `IntegrityError` if it is damaged."""
    if not location.exists("store.json"):
        raise SpecError(f"{location.path} must be a run directory, but it has no store.json; check the path.")
    remedy = "run the spec into another directory with --out"
    record = records.unsealed(location, "store.json", "store.json", remedy)
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
