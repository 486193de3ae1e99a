"""Adding to a store.

    <run>/
      store.json                   format, what decides the numbers, the columns
      specs/<n>-<sha8>.toml        every spec applied here, verbatim; the file of a user's own system, .py
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
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from jepa_sweep.errors import IntegrityError
from jepa_sweep.store import integrity, locate, manifest, notes, records, table, writer_names
from jepa_sweep.store.location import DAMAGED, FOLDERS, Missing
from jepa_sweep.store.manifest import Manifest
from jepa_sweep.store.notes import Kind
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.records import Claim, File, Work
from jepa_sweep.store.schema import Column


class Writer:
    """The only way to add to a store."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._location, self._manifest = reader.location, reader.manifest

    @classmethod
    def create(
        cls,
        path: str | Path,
        frozen: dict[str, Any],
        tables: Mapping[str, Sequence[Column]],
        parameters: Sequence[str],
        precision: str,
        time: str,
    ) -> "Writer":
        """Open a store for writing, creating it if need be; `tables` are all columns of each.

        Raises:
            SpecError: it exists and its numbers were made in another way (`frozen` differs).
        """
        location = locate.at(path)
        location.prepare((*FOLDERS, *tables))
        writer_names.clear_leftovers(location)
        columns = {name: tuple(described) for name, described in tables.items()}
        manifest.publish(location, Manifest(frozen, precision, time, tuple(parameters), columns))
        reader = Reader(path)
        reader.manifest.refuse_a_mix(frozen, path)
        return cls(reader)

    def prepare(self) -> None:
        """Create folders that are missing, and remove what dead writers have left half-written."""
        self._location.prepare((*FOLDERS, *self._manifest.tables))
        writer_names.clear_leftovers(self._location)

    def add_spec(self, text: str) -> str:
        """Keep a spec verbatim; returns the SHA-256 of its text."""
        return self._note(notes.SPEC, text)

    def _note(self, kind: Kind, text: str) -> str:
        data = text.encode()
        digest, known = records.sha256(data), kind.names(self._location)
        own = (name for name in known if kind.hash_of(name) == digest[:8])
        number = 1 + max((int(name.split("/")[1].split("-")[0]) for name in known), default=0)
        self._keep(kind, next(own, f"{kind.folder}/{number}-{digest[:8]}{kind.suffix}"), data)
        return digest

    def _keep(self, kind: Kind, name: str, data: bytes) -> None:
        """Publish a note; a damaged one of this name is set aside."""
        # Published even where the name is there: whoever created it may have died before it was durable.
        while not self._location.publish(name, data):
            if name not in notes.damaged(self._location, [kind]):
                break
            self._location.set_aside(name)

    def add_source(self, text: str) -> None:
        """Keep the file of a user's own system verbatim."""
        self._note(notes.SOURCE, text)

    def add_environment(self, facts: dict[str, Any]) -> str:
        """Keep the provenance of the rows to come; returns its name."""
        data = json.dumps(facts, indent=2, sort_keys=True).encode()
        name = records.sha256(data)[:8]
        self._keep(notes.ENVIRONMENT, f"environment/{name}.json", data)
        return name

    def claim(self, claim: Claim, known: Iterable[str]) -> str | None:
        """Claim a chunk under the number after those known, and return that.

        Args:
            claim: what to claim.
            known: the numbers of all claims that were compared with it, as the last look at `Log.claims` found them.

        Returns:
            None if another writer took that number since: look at what it claimed, and try again with what is left.
        """
        number = f"{1 + max(map(int, known), default=0):06d}"
        return number if self.reader.log.hold(number, claim) else None

    def commit(self, number: str, claim: Claim, tables: dict[str, pa.Table], environment: str, work: Work) -> None:
        """Publish the tables of a claimed chunk, then its commit record.

        Safe to repeat, by this process or another: what is there already stays.
        """
        empty = {name: self.reader.schema(name).remove_metadata().empty_table() for name in self._manifest.tables}
        published = [self._published(f"{name}/{number}.parquet", rows) for name, rows in (empty | tables).items()]
        record = {
            "format": self._manifest.format,
            "number": number,
            "claim": claim._asdict(),
            "files": [file._asdict() for file in published if file],
            "environment": environment,
            "work": work._asdict(),
            "host": platform.node(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._location.publish(f"commits/{number}.json", records.sealed(record))

    def _published(self, path: str, rows: pa.Table) -> File | None:
        """One file of a claimed chunk: our rows, or what another writer of the same claim made of them.

        Any other file of that name is set aside: its rows are of other points, or cannot be proved to be as written.
        """
        name = path.split("/")[0]
        data = self._manifest.encoded(name, rows) if rows.num_rows or name == "points" else None
        while data or self._location.exists(path):
            if data and self._location.publish(path, data):
                return table.listed(path, data, rows.num_rows)
            with contextlib.suppress(Missing, IntegrityError):  # set aside by another meanwhile; or damaged
                theirs = integrity.proved(self._location, self._manifest, path)
                if theirs and self._points_of(theirs[0]).equals(self._points_of(rows)):
                    return table.listed(path, theirs[1], rows.num_rows)
            self._location.set_aside(path)
        return None

    def _points_of(self, rows: pa.Table) -> pa.Table:
        """The columns that say which points the rows belong to."""
        return rows.select([name for name in self._manifest.keys if name in rows.column_names])

    def set_aside_strangers(self) -> dict[str, list[str]]:
        """Put folders where something else is in their place, and move damaged notes away; returns what was wrong."""
        found = integrity.misplaced(self._location, self._manifest)
        for name in sorted(found, key=lambda name: name != DAMAGED):  # that one first: the others go there
            self._location.set_aside(name)
        self.prepare()
        broken = notes.damaged(self._location)
        for name in broken:
            self._location.set_aside(name)
        return found | {name: [problem] for name, problem in broken.items()}

    def set_aside(self, number: str) -> None:
        """Take a damaged chunk out of the store, so that its points count as not yet computed."""
        # The record first: without it nothing promises that the files are whole.
        # The claim last: as long as it is there, whoever comes next finishes the chunk.
        tables = [f"{name}/{number}.parquet" for name in self._manifest.tables]
        for path in (f"commits/{number}.json", *tables, f"claims/{number}.json"):
            self._location.set_aside(path)
        self.reader.log.drop(number)
