"""What store.json says: what decided the numbers of a store, and the columns of its tables."""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NotRequired

import pyarrow as pa
import pydantic
from typing_extensions import TypedDict

from jepa_sweep.checks import shown
from jepa_sweep.errors import SpecError
from jepa_sweep.store import parquet, records, schema
from jepa_sweep.store.fitting import CONFIG, Count, Hash, List, Text, exactly, fit, unfit
from jepa_sweep.store.location import FOLDERS, MARK, Location
from jepa_sweep.store.schema import Column

FORMAT = 3  # of new stores; a newer one is refused. In format 2 the columns stand in format2.json, not in store.json
REMEDY = "run the spec into another directory with --out"  # where store.json is damaged

_Columns = Annotated[tuple[Annotated[Column, exactly(*Column._fields)], ...], List]
_CLOSED = pydantic.with_config(pydantic.ConfigDict(strict=True, allow_inf_nan=False, extra="forbid"))


@_CLOSED
class Solver(TypedDict):
    """How its points are computed."""

    method: Text
    rtol: NotRequired[float]
    precision: NotRequired[Text]
    time: NotRequired[Text]
    coordinate: NotRequired[Text]


@_CLOSED
class Trajectories(TypedDict):
    """How many samples of each trajectory there are, and of which part of it."""

    samples: Count
    until: float
    p: float


@_CLOSED
class Frozen(TypedDict):
    """What decides the numbers of a store."""

    system: Text
    version: int
    solver: Solver
    trajectories: Trajectories | None
    source: NotRequired[Hash]  # of the file of a user's own system


class Manifest(NamedTuple):
    """The content of store.json, which never changes."""

    frozen: dict[str, Any]  # a `Frozen`
    precision: Annotated[str, pydantic.Field(pattern="^float(32|64)$")]
    time: Annotated[str, pydantic.Field(pattern=f"^({'|'.join(schema.TIMES)})$")]
    parameters: Annotated[tuple[Text, ...], List]  # names of the columns that are swept
    tables: dict[Text, _Columns]  # all columns: objective, parameters, what was measured
    format: Literal[2, 3] = FORMAT

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
        return parquet.encode(rows.cast(wanted), [*self.parameters, *schema.REPEATING])

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
    record, where = records.unsealed(location, MARK, MARK, REMEDY), location.where(MARK)
    wrote = record.get("format")
    if isinstance(wrote, int) and wrote > FORMAT:
        raise SpecError(
            f"{location.path} was written in format {shown(wrote)}, but this version reads up to {FORMAT}; "
            "install a newer jepa_sweep."
        )
    if wrote == 2:
        record = _with_columns(fit(_FORMAT_2, record, where, MARK, REMEDY))
    manifest = fit(_MANIFEST, record, where, MARK, REMEDY)
    fit(_FROZEN, manifest.frozen, where, MARK, REMEDY)
    if fault := _fault(manifest):
        raise unfit(where, MARK, fault, REMEDY)
    return manifest


def _fault(manifest: Manifest) -> str:
    """What a store.json says that cannot be; empty if nothing."""
    for name, columns in manifest.tables.items():
        if not re.fullmatch("[a-z][a-z0-9_]*", name) or name in FOLDERS:
            return f"a table cannot be named {name!r}"
        if len({column.name for column in columns}) < len(columns):
            return f"each column of {name} must have a name of its own"
    keys = ("objective", *manifest.parameters)
    if len(set(keys)) < len(keys) or len(keys) == 1:
        return "there must be parameters, each named once and none `objective`"
    for name, wanted in (("points", keys), ("failures", (*keys, "status"))):
        names = [column.name for column in manifest.tables.get(name, ())]
        if lacking := {*wanted} - {*names}:
            return f"the table {name} must have the columns {', '.join(sorted(lacking))}"
        if (*names[: len(keys)],) != keys:
            return f"the table {name} must begin with the columns {', '.join(keys)}"
    return ""


class _Format2(NamedTuple):
    """A store.json of format 2."""

    frozen: dict[str, Any]
    precision: Text
    time: Text
    parameters: _Columns
    layout: Literal["critical_times", "networks", "estimates"]
    format: Literal[2]


_MANIFEST = pydantic.TypeAdapter(Annotated[Manifest, exactly(*Manifest._fields)], config=CONFIG)
_FROZEN = pydantic.TypeAdapter(Frozen)
_FORMAT_2 = pydantic.TypeAdapter(Annotated[_Format2, exactly(*_Format2._fields)], config=CONFIG)


def _with_columns(old: _Format2) -> dict[str, Any]:
    """What a store.json of format 2 would say in format 3."""
    frozen = json.loads(Path(__file__).with_name("format2.json").read_text())[old.layout]
    parameters = [column._asdict() for column in old.parameters]
    tables = {
        name: [{"equation": "", **column} for column in (objective, *parameters, *measured)]
        for name, (objective, *measured) in frozen.items()
    }
    names = [column.name for column in old.parameters]
    return {
        "frozen": old.frozen,
        "precision": old.precision,
        "time": old.time,
        "parameters": names,
        "tables": tables,
        "format": old.format,
    }
