"""A store: commit, open, verify.

    <run>/
      store.json                   format, what decides the numbers, the columns
      specs/<n>-<sha8>.toml        every spec applied here, verbatim
      points/<c>.parquet           one row a finished point
      trajectories/<c>.parquet     one row a sample
      failures/<c>.parquet         one row a point that failed
      commits/<c>.json             written last: files, rows, hashes, which points, which spec, which environment
      environment/<sha8>.json      versions, device, precision, git revision, command

A claim (see `log`) whose writer died before its commit record is finished by the next run.
"""

import json
import platform
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from jepa_sweep.errors import SpecError
from jepa_sweep.store import digest, integrity, place, records, schema, table
from jepa_sweep.store.digest import Digest
from jepa_sweep.store.log import Log
from jepa_sweep.store.records import Claim
from jepa_sweep.store.schema import Column
from jepa_sweep.store.table import File, Filters

_FOLDERS = ("specs", "commits", "environment", place.STAGING, place.WORKING)  # beside one for each table


class Store(Log):
    """The tables of one run directory, and the only way to add to them."""

    def __init__(self, path: str | Path) -> None:
        """Open a store for reading; raises `SpecError` if there is none and `IntegrityError` if it is damaged."""
        super().__init__(place.at(path))
        if not self._place.exists("store.json"):
            raise SpecError(f"{path} must be a run directory, but it has no store.json; check the path.")
        remedy = "run the spec into another directory with --out"
        self._config = records.unsealed(self._place, "store.json", "store.json", remedy)
        if self._config["format"] > schema.FORMAT:
            raise SpecError(
                f"{path} was written in format {self._config['format']}, but this version reads up to "
                f"{schema.FORMAT}; install a newer jepa_sweep."
            )
        self._written: dict[str, File] = {}  # files of ours that no commit record lists yet
        self._digest: Digest | None = None  # of the commits looked at so far

    @classmethod
    def exists(cls, path: str | Path) -> bool:
        """True if there is a store."""
        return place.at(path).exists("store.json")

    @classmethod
    def create(
        cls,
        path: str | Path,
        frozen: dict[str, Any],
        parameters: Sequence[Column],
        precision: str,
        time: str,
        layout: str = "critical_times",
    ) -> "Store":
        """Open a store for writing, creating it if need be.

        Raises:
            SpecError: it exists and its numbers were made in another way (`frozen` differs).
        """
        where = place.at(path)
        where.prepare((*_FOLDERS, *schema.LAYOUTS[layout]))
        where.clear_leftovers()
        config = {
            "format": schema.FORMAT,
            "frozen": frozen,
            "precision": precision,
            "time": time,
            "layout": layout,
            "parameters": [c._asdict() for c in parameters],
        }
        where.publish("store.json", records.sealed(config))
        store = cls(path)
        store.refuse_a_mix(frozen)
        return store

    def refuse_a_mix(self, frozen: dict[str, Any]) -> None:
        """Raise a `SpecError` if numbers made in the way of `frozen` do not belong here."""
        theirs = self._config["frozen"]
        for key in sorted(frozen):
            if theirs.get(key) != frozen[key]:
                raise SpecError(
                    f"{self.path} must only hold numbers made in one way: its `{key}` is "
                    f"{json.dumps(theirs.get(key))}, but the spec asks for {json.dumps(frozen[key])}; write to "
                    "another directory with --out, or change the spec back."
                )

    def prepare(self) -> None:
        """Create the folders of a store that are missing, and clear away what dead writers left half-written."""
        self._place.prepare((*_FOLDERS, *self.tables))
        self._place.clear_leftovers()

    # --- what is here ---------------------------------------------------------------------------------------------

    @property
    def path(self) -> Path | str:
        """The run directory; text if it lies in a bucket."""
        return self._place.path

    @property
    def title(self) -> str:
        """The last part of the path."""
        return self._place.title

    @property
    def frozen(self) -> dict[str, Any]:
        """What decides the numbers of this store: system, version, solver, trajectories."""
        return self._config["frozen"]

    @property
    def time(self) -> str:
        """The time convention of every time in this store, "paper" or "flow"."""
        return self._config["time"]

    @property
    def parameters(self) -> tuple[Column, ...]:
        """The swept parameters, as columns."""
        return tuple(Column(**c) for c in self._config["parameters"])

    @property
    def layout(self) -> str:
        """Which set of tables this is, a key of `schema.LAYOUTS`."""
        return self._config["layout"]

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables."""
        return tuple(schema.LAYOUTS[self.layout])

    def schema(self, name: str) -> pa.Schema:
        """The Arrow schema of one of the tables."""
        return schema.arrow(self.layout, name, self.parameters, self._config["precision"], self.time)

    def specs(self) -> dict[str, str]:
        """Digest -> text of every spec that was applied here."""
        return records.specs(self._place)

    def environments(self) -> dict[str, Any]:
        """Name -> facts about where rows were made; None for a note that is damaged."""
        return integrity.environments(self._place)

    # --- adding ---------------------------------------------------------------------------------------------------

    def add_spec(self, text: str) -> str:
        """Keep a spec verbatim; returns its digest."""
        data = text.encode()
        name = place.sha256(data)
        known = self._place.names("specs", ".toml")
        if not any(n.endswith(f"-{name[:8]}.toml") for n in known):
            self._place.publish(f"specs/{len(known) + 1}-{name[:8]}.toml", data)
        return name

    def add_environment(self, facts: dict[str, Any]) -> str:
        """Keep the provenance of the rows to come; returns its name."""
        data = json.dumps(facts, indent=2, sort_keys=True).encode()
        name = place.sha256(data)[:8]
        self._place.publish(f"environment/{name}.json", data)
        return name

    def claim(self, claim: Claim, points: pa.Table) -> str | None:
        """Publish the points of a chunk under the next free number, and return it.

        None if another writer took that number since `claims` was last called: look at what it claimed, and try
        again with what is left.
        """
        number = f"{1 + max((int(n) for n in self._claims), default=0):06d}"
        points = self._fitting("points", points)
        notes = {"claim": records.note_of(claim, number)}
        points = points.replace_schema_metadata({**(points.schema.metadata or {}), **notes})
        if not self._publish_table("points", number, points):
            return None
        self._claims[number] = claim
        return number

    def commit(self, number: str, tables: dict[str, pa.Table], environment: str, work: dict[str, Any]) -> None:
        """Publish the other tables of a claimed chunk, then its commit record.

        Safe to repeat, by this process or another: what is there already stays.
        """
        claim = self._claims[number]
        for name, rows in tables.items():
            if rows.num_rows and f"{name}/{number}.parquet" not in self._written:
                self._publish_table(name, number, self._fitting(name, rows))
        files = []
        for name in self.tables:
            path = f"{name}/{number}.parquet"
            if path in self._written:
                files.append(self._written.pop(path))
            elif self._place.exists(path):  # by another process
                data = self._place.read(path)
                files.append(table.listed(path, data, table.claimed(data, self._place.where(path)).num_rows))
                # The other may have died before its file was durable under this name.
                self._place.publish(path, data)
        record = {
            "format": schema.FORMAT,
            "number": number,
            "claim": claim._asdict(),
            "files": [file._asdict() for file in files],
            "environment": environment,
            "work": work,
            "host": platform.node(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._place.publish(f"commits/{number}.json", records.sealed(record))

    def _publish_table(self, name: str, number: str, rows: pa.Table) -> bool:
        path = f"{name}/{number}.parquet"
        data = table.encode(rows, [*(c.name for c in self.parameters), *schema.REPEATING])
        if self._place.publish(path, data):
            self._written[path] = table.listed(path, data, rows.num_rows)
            return True
        return False

    def _fitting(self, name: str, rows: pa.Table) -> pa.Table:
        wanted = self.schema(name)
        assert rows.schema.equals(wanted.remove_metadata()), (
            f"a table of {name} must have the store's columns and types {wanted.names}, but it has {rows.schema}"
        )
        return rows.cast(wanted)

    # --- reading --------------------------------------------------------------------------------------------------

    def points(self, columns: Sequence[str] | None = None, filters: Filters = None) -> pd.DataFrame:
        """One row a finished point: parameters, numeric and predicted times, their difference, status, steps.

        Args:
            columns: which columns to read; all by default.
            filters: rows to keep, as `pandas.read_parquet` takes them: [("lam", ">", 1.0), ("L", "==", 5)].

        Raises:
            SpecError: a column or filter names what is not there.
            IntegrityError: a file is damaged.
        """
        return self.read("points", columns, filters)

    def trajectories(self, columns: Sequence[str] | None = None, filters: Filters = None) -> pd.DataFrame:
        """One row a sample: the point's parameters, t, w, w_exact. Arguments as `points`."""
        return self.read("trajectories", columns, filters)

    def failures(self, columns: Sequence[str] | None = None, filters: Filters = None) -> pd.DataFrame:
        """One row a point that failed: its parameters, status, and what to try. Arguments as `points`."""
        return self.read("failures", columns, filters)

    def features(self, columns: Sequence[str] | None = None, filters: Filters = None) -> pd.DataFrame:
        """One row a feature of a network or series, in stores that have them. Arguments as `points`."""
        return self.read("features", columns, filters)

    def losses(self, columns: Sequence[str] | None = None, filters: Filters = None) -> pd.DataFrame:
        """One row a sample of the loss of a network, in stores that have them. Arguments as `points`."""
        return self.read("losses", columns, filters)

    def covariances(self, columns: Sequence[str] | None = None, filters: Filters = None) -> pd.DataFrame:
        """One row an entry of the covariance matrices of a series, in stores that have them. Arguments as `points`."""
        return self.read("covariances", columns, filters)

    def select(self, table_name: str = "points", rtol: float = 1e-9, **values: Any) -> pd.DataFrame:
        """Rows whose columns equal the given values, numbers within a relative tolerance.

        Example: `store.select(lam=0.1, L=5, objective="jepa")`, `store.select("trajectories", rho=0.7)`.
        """
        unknown = [name for name in values if name not in self.schema(table_name).names]
        if unknown:
            known = ", ".join(self.schema(table_name).names)
            raise SpecError(f"`select` takes columns of {table_name} ({known}), but `{unknown[0]}` was given.")
        return self.read(table_name, None, table.near(values, rtol))

    def rows(self, name: str) -> int:
        """The number of rows of one table."""
        return sum(part.rows for part in self.parts(name))

    def read(self, name: str, columns: Sequence[str] | None = None, filters: Filters = None) -> pd.DataFrame:
        """Rows of a table by name; see `points`."""
        return table.read(self._place, self._parts(name), self.schema(name), columns, filters)

    def batches(
        self, name: str, columns: Sequence[str] | None = None, filters: Filters = None
    ) -> Iterator[pd.DataFrame]:
        """The same file by file, for summaries of tables that do not fit into memory; first one without rows."""
        described = self.schema(name)
        yield table.read(self._place, [], described, columns, filters)
        for part in self._parts(name):
            yield table.read(self._place, [part], described, columns, filters)

    def failed_rows(self, number: str, claims: Iterable[Claim]) -> tuple[pd.DataFrame, np.ndarray]:
        """The failures of one chunk that stand, in the light of these claims, and their row numbers in its file."""
        part, described = self.failed(number, claims), self.schema("failures")
        if part is None:
            return described.empty_table().to_pandas(), np.zeros(0, np.int64)
        return table.read(self._place, [part], described, None, None), np.flatnonzero(table.counting(part))

    def counts(self, name: str, column: str) -> dict[str, int]:
        """How often each text stands in a column of a table, the most frequent first."""
        glimpses = (table.Glimpse(self._place, part, self.schema(name)) for part in self._parts(name))
        return digest.counts(glimpses, column)

    def _parts(self, name: str) -> list[table.Part]:
        if name not in self.tables:
            raise SpecError(f"{self.path} has the tables {', '.join(self.tables)}, but `{name}` was asked for.")
        return self.parts(name)

    # --- at a glance ----------------------------------------------------------------------------------------------

    def digest(self) -> Digest:
        """What is here in a few numbers: rows, bytes, values of each parameter, statuses, the worst difference.

        Raises:
            IntegrityError: a commit record, or a file that had to be looked into, is damaged.
        """
        held = self._digest or self._blank()
        schemas = {name: self.schema(name) for name in self.tables}
        commits = self.commits()
        files = {file.path: file for commit in commits for file in commit.files}
        for commit in commits:
            if commit.number not in held.commits:  # a committed file never changes
                held = digest.plus(held, self._place, commit, files, schemas, [c.name for c in self.parameters])
        self._digest = held
        return held

    @property
    def plot(self):
        """Pictures of this store: `.critical_times()`, `.trajectories()`, `.order()`; they need matplotlib."""
        # The one look upward of the house: a store hands itself to the room that draws.
        from jepa_sweep.view.plots import Plots

        return Plots(self)

    def __repr__(self) -> str:
        return digest.text(self.path, *self._told())

    def _repr_html_(self) -> str:
        """The same in a notebook."""
        return digest.html(self.path, *self._told())

    def _blank(self) -> Digest:
        return digest.blank(self.frozen, self._config["precision"], self.time, self.tables)

    def _told(self) -> tuple[Digest, str]:
        """What is here, and what stands in the way of knowing."""
        try:
            return self.digest(), ""
        except Exception as error:  # of any kind: a notebook or a debugger prints a store in every state
            return self._blank(), str(error)

    # --- integrity ------------------------------------------------------------------------------------------------

    def damage(self) -> dict[str, list[str]]:
        """Number of each damaged chunk -> what is wrong with it, file by file; empty if all is well."""
        return integrity.damage(self._place, self.tables)

    def lost_notes(self) -> list[str]:
        """What is wrong with specs and environments, which cannot be computed again; asked where nothing is damaged."""
        return integrity.lost_notes(self._place, {claim.spec for claim in self.claims().values()})

    def strays(self) -> list[str]:
        """Files that are none of the store's; no reader of ours looks at them."""
        return integrity.strays(self._place, self.tables)

    def holds(self, number: str, points: pa.Table) -> bool:
        """True if a claimed chunk lists exactly these points, whatever was measured of them."""
        name = f"points/{number}.parquet"
        there = table.claimed(self._place.read(name), self._place.where(name))
        keys = [c for c in ("objective", *(c.name for c in self.parameters), "p") if c in points.column_names]
        return there.select(keys).equals(points.select(keys))

    def set_aside(self, number: str) -> None:
        """Take a damaged chunk out of the store, so that its points count as not yet computed."""
        # The record first: without it nothing promises that the files are whole.
        for name in (f"commits/{number}.json", *(f"{t}/{number}.parquet" for t in self.tables)):
            self._place.set_aside(name)
        self._digest = None
        self._commits.pop(f"{number}.json", None)
        self._claims.pop(number, None)
