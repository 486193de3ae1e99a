"""A store: commit, open, verify.

    <run>/
      store.json                   format, what decides the numbers, the columns
      specs/<n>-<sha8>.toml        every spec applied here, verbatim
      claims/<c>.json              which points of which spec a chunk holds
      points/<c>.parquet           one row a finished point
      trajectories/<c>.parquet     one row a sample
      failures/<c>.parquet         one row a point that failed
      commits/<c>.json             written last: files, rows, hashes, which points, which spec, which environment
      environment/<sha8>.json      versions, device, precision, git revision, command

A claim (see `log`) whose writer died before its commit record is finished by the next run.
"""

import contextlib
import json
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from jepa_sweep.errors import IntegrityError, SpecError
from jepa_sweep.store import integrity, locate, records, schema, table, writers
from jepa_sweep.store.location import STAGING, WORKING, Missing
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.records import Claim, File
from jepa_sweep.store.schema import Column

_FOLDERS = ("specs", "claims", "commits", "environment", STAGING, WORKING)  # beside one for each table


class Store(Reader):
    """The tables of one run directory, and the only way to add to them."""

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
        where = locate.at(path)
        where.prepare((*_FOLDERS, *schema.LAYOUTS[layout]))
        writers.clear_leftovers(where)
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
        self._location.prepare((*_FOLDERS, *self.tables))
        writers.clear_leftovers(self._location)

    # --- adding ---------------------------------------------------------------------------------------------------

    def add_spec(self, text: str) -> str:
        """Keep a spec verbatim; returns its digest."""
        data = text.encode()
        digest = records.sha256(data)
        known = self._location.names("specs", ".toml")
        own = (name for name in known if name.endswith(f"-{digest[:8]}.toml"))
        # Published even where the name is there: whoever created it may have died before it was durable.
        self._location.publish(f"specs/{next(own, f'{len(known) + 1}-{digest[:8]}.toml')}", data)
        return digest

    def add_environment(self, facts: dict[str, Any]) -> str:
        """Keep the provenance of the rows to come; returns its name."""
        data = json.dumps(facts, indent=2, sort_keys=True).encode()
        name = records.sha256(data)[:8]
        self._location.publish(f"environment/{name}.json", data)
        return name

    def claim(self, claim: Claim) -> str | None:
        """Claim a chunk under the next free number, and return that.

        None if another writer took that number since `claims` was last called: look at what it claimed, and try
        again with what is left.
        """
        number = self.next_number()
        return number if self.add(number, claim) else None

    def commit(self, number: str, tables: dict[str, pa.Table], environment: str, work: dict[str, Any]) -> None:
        """Publish the tables of a claimed chunk, then its commit record.

        Safe to repeat, by this process or another: what is there already stays.
        """
        published = (self._published(name, number, tables) for name in self.tables)
        record = {
            "format": schema.FORMAT,
            "number": number,
            "claim": self._claims[number]._asdict(),
            "files": [file._asdict() for file in published if file],
            "environment": environment,
            "work": work,
            "host": platform.node(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._location.publish(f"commits/{number}.json", records.sealed(record))

    def _published(self, name: str, number: str, tables: dict[str, pa.Table]) -> File | None:
        """One file of a claimed chunk: our rows, or what another writer of the same claim made of them.

        Any other file of that name is set aside: its rows are of other points, or cannot be proved to be as written.
        """
        path = f"{name}/{number}.parquet"
        rows = tables[name] if name in tables else self.schema(name).remove_metadata().empty_table()
        data = self._encoded(name, rows) if rows.num_rows or name == "points" else None
        while data or self._location.exists(path):
            if data and self._location.publish(path, data):
                return table.listed(path, data, rows.num_rows)
            with contextlib.suppress(Missing, IntegrityError):  # set aside by another meanwhile; or damaged
                theirs = self._unlisted(name, number)
                if theirs and self._points_of(theirs[0]).equals(self._points_of(rows)):
                    return table.listed(path, theirs[1], rows.num_rows)
            self._location.set_aside(path)
        return None

    def _points_of(self, rows: pa.Table) -> pa.Table:
        """The columns that say which points the rows belong to."""
        return rows.select([name for name in self._keys if name in rows.column_names])

    def _unlisted(self, name: str, number: str) -> tuple[pa.Table, bytes] | None:
        """The rows and bytes of a file that no commit record lists yet; None if nothing can prove them.

        Without a hash to compare it with, its rows must give its bytes; another release of pyarrow gives others.

        Raises:
            Missing: there is no such file.
            IntegrityError: it is damaged.
        """
        path = f"{name}/{number}.parquet"
        where = self._location.where(path)
        data = self._location.read(path)
        rows = table.decoded(data, where).replace_schema_metadata(None)
        if rows.schema == self.schema(name).remove_metadata():
            if self._encoded(name, rows) == data:
                return rows, data
            if table.by_another_release(data):
                return None
        raise IntegrityError(f"{where} is damaged: its rows do not give its bytes; run `jepa-sweep repair`.")

    def _encoded(self, name: str, rows: pa.Table) -> bytes:
        return table.encode(self._fitting(name, rows), [*(c.name for c in self.parameters), *schema.REPEATING])

    def _fitting(self, name: str, rows: pa.Table) -> pa.Table:
        wanted = self.schema(name)
        assert rows.schema.equals(wanted.remove_metadata()), (
            f"a table of {name} must have the store's columns and types {wanted.names}, but it has {rows.schema}"
        )
        return rows.cast(wanted)

    @property
    def plot(self):
        """Pictures of this store: `.critical_times()`, `.trajectories()`, `.order()`; they need matplotlib."""
        # The one look upward of the house: a store hands itself to the room that draws.
        from jepa_sweep.view.plots import Plots

        return Plots(self)

    # --- integrity ------------------------------------------------------------------------------------------------

    def damage(self) -> dict[str, list[str]]:
        """Number of each damaged chunk -> what is wrong with it, file by file; empty if all is well."""
        return integrity.damage(self._location, self._check_pending)

    def _check_pending(self, number: str) -> None:
        """Raise an `IntegrityError` if a chunk without a commit record cannot be finished as it stands."""
        records.claim_of(self._location, number)
        for name in self.tables:
            if self._location.exists(f"{name}/{number}.parquet"):
                self._unlisted(name, number)

    def set_aside(self, number: str) -> None:
        """Take a damaged chunk out of the store, so that its points count as not yet computed."""
        # The record first: without it nothing promises that the files are whole.
        # The claim last: as long as it is there, whoever comes next finishes the chunk.
        for name in (
            f"commits/{number}.json",
            *(f"{t}/{number}.parquet" for t in self.tables),
            f"claims/{number}.json",
        ):
            self._location.set_aside(name)
        self.drop(number)
