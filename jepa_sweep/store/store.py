"""A store: commit, open, verify.

    <run>/
      store.json                   format, what decides the numbers, the columns
      specs/<n>-<sha8>.toml        every spec applied here, verbatim
      points/<c>.parquet           one row a finished point
      trajectories/<c>.parquet     one row a sample
      failures/<c>.parquet         one row a point that failed
      commits/<c>.json             written last: files, rows, hashes, which points, which spec, which environment
      environment/<sha8>.json      versions, device, precision, git revision, command

A writer claims a chunk by creating `points/<c>.parquet` under the next free number `c`. The numbers are a total
order: whoever finds a number taken reads what the other writer claimed, leaves those points out, and tries the next
one. So every point stands in `points` at most once, without locks, whoever else writes. A claim whose writer died
before its commit record is finished by the next run.
"""

import json
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from jepa_sweep.errors import IntegrityError, JepaSweepError, SpecError
from jepa_sweep.store import digest, files, integrity, records, schema, table
from jepa_sweep.store.digest import Digest
from jepa_sweep.store.records import Claim, Commit
from jepa_sweep.store.schema import Column
from jepa_sweep.store.table import Filters

_FOLDERS = ("specs", "commits", "environment", files.STAGING)  # beside one for each table


class Store:
    """The tables of one run directory, and the only way to add to them."""

    def __init__(self, path: str | Path) -> None:
        """Open a store for reading; raises `SpecError` if there is none and `IntegrityError` if it is damaged."""
        self.path = Path(path)
        if not files.exists(self.path / "store.json"):
            raise SpecError(f"{self.path} must be a run directory, but it has no store.json; check the path.")
        self._config = records.unsealed(
            self.path / "store.json", "store.json", "run the spec into another directory with --out"
        )
        if self._config["format"] > schema.FORMAT:
            raise SpecError(
                f"{self.path} was written in format {self._config['format']}, but this version reads up to "
                f"{schema.FORMAT}; install a newer jepa_sweep."
            )
        self._commits: dict[str, Commit] = {}
        self._claims: dict[str, Claim] = {}
        self._written: dict[str, dict[str, Any]] = {}  # files of ours that no commit record lists yet
        self._digest: Digest | None = None  # of the commits looked at so far

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
        root = Path(path)
        files.make_folders(root, (*_FOLDERS, *schema.LAYOUTS[layout]))
        files.clear_leftovers(root)
        config = {
            "format": schema.FORMAT,
            "frozen": frozen,
            "precision": precision,
            "time": time,
            "layout": layout,
            "parameters": [c._asdict() for c in parameters],
        }
        files.publish(root, "store.json", records.sealed(config))
        store = cls(root)
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

    def make_folders(self) -> None:
        """Create the folders of a store that are missing."""
        files.make_folders(self.path, (*_FOLDERS, *self.tables))

    # --- what is here ---------------------------------------------------------------------------------------------

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

    def commits(self) -> list[Commit]:
        """All commit records, oldest first, each checked against its own hash."""
        for name in records.numbered(files.names(self.path / "commits", ".json")):
            if name not in self._commits:
                record = records.unsealed(self.path / f"commits/{name}", "the commit record")
                if f"{record['number']}.json" != name:
                    raise IntegrityError(f"{self.path / 'commits' / name} is a copy of another record; move it away.")
                claim = records.claim_of(record["claim"])
                fields = {key: record[key] for key in ("number", "environment", "work", "created")}
                self._commits[name] = Commit(claim=claim, files=tuple(record["files"]), **fields)
        return [self._commits[name] for name in sorted(self._commits)]

    def claims(self) -> dict[str, Claim]:
        """Number -> claim of every chunk that is here, committed or not."""
        self._claims.update({commit.number: commit.claim for commit in self.commits()})
        for name in records.numbered(files.names(self.path / "points", ".parquet")):
            number = name.removesuffix(".parquet")
            if number not in self._claims:
                self._claims[number] = records.claim_in_points(self.path, number)
        return dict(self._claims)

    def claim_of(self, number: str) -> Claim | None:
        """The claim of one chunk, from its commit record or its points; None if neither can be read."""
        try:
            return records.claim_of(
                records.unsealed(self.path / f"commits/{number}.json", "the commit record")["claim"]
            )
        except JepaSweepError:
            pass
        try:
            return records.claim_in_points(self.path, number)
        except JepaSweepError:
            return None

    def pending(self) -> dict[str, Claim]:
        """Claims without a commit record: their writer is still at it, or has died."""
        committed = {commit.number for commit in self.commits()}
        return {number: claim for number, claim in self.claims().items() if number not in committed}

    def specs(self) -> dict[str, str]:
        """Digest -> text of every spec that was applied here."""
        return records.specs(self.path)

    # --- adding ---------------------------------------------------------------------------------------------------

    def add_spec(self, text: str) -> str:
        """Keep a spec verbatim; returns its digest."""
        data = text.encode()
        name = files.sha256(data)
        known = files.names(self.path / "specs", ".toml")
        if not any(n.endswith(f"-{name[:8]}.toml") for n in known):
            files.publish(self.path, f"specs/{len(known) + 1}-{name[:8]}.toml", data)
        return name

    def add_environment(self, facts: dict[str, Any]) -> str:
        """Keep the provenance of the rows to come; returns its name."""
        data = json.dumps(facts, indent=2, sort_keys=True).encode()
        name = files.sha256(data)[:8]
        files.publish(self.path, f"environment/{name}.json", data)
        return name

    def claim(self, claim: Claim, points: pa.Table) -> str | None:
        """Publish the points of a chunk under the next free number, and return it.

        None if another writer took that number since `claims` was last called: look at what it claimed, and try
        again with what is left.
        """
        number = f"{1 + max((int(n) for n in self._claims), default=0):06d}"
        points = self._fitting("points", points)
        notes = {"claim": json.dumps(claim._asdict()), "number": number}
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
        listed = []
        for name in self.tables:
            path = f"{name}/{number}.parquet"
            if path in self._written:
                listed.append(self._written.pop(path))
            elif files.exists(self.path / path):  # by another process
                listed.append(_entry(path, files.read(self.path / path), table.check(self.path / path)))
        record = {
            "format": schema.FORMAT,
            "number": number,
            "claim": claim._asdict(),
            "files": listed,
            "environment": environment,
            "work": work,
            "host": platform.node(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        files.publish(self.path, f"commits/{number}.json", records.sealed(record))

    def _publish_table(self, name: str, number: str, rows: pa.Table) -> bool:
        path, data = (
            f"{name}/{number}.parquet",
            table.encode(rows, [*(c.name for c in self.parameters), *schema.REPEATING]),
        )
        if files.publish(self.path, path, data):
            self._written[path] = _entry(path, data, rows.num_rows)
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
        return self._read("points", columns, filters)

    def trajectories(self, columns: Sequence[str] | None = None, filters: Filters = None) -> pd.DataFrame:
        """One row a sample: the point's parameters, t, w, w_exact. Arguments as `points`."""
        return self._read("trajectories", columns, filters)

    def failures(self, columns: Sequence[str] | None = None, filters: Filters = None) -> pd.DataFrame:
        """One row a point that failed: its parameters, status, and what to try. Arguments as `points`."""
        return self._read("failures", columns, filters)

    def features(self, columns: Sequence[str] | None = None, filters: Filters = None) -> pd.DataFrame:
        """One row a feature of a network or series, in stores that have them. Arguments as `points`."""
        return self._read("features", columns, filters)

    def losses(self, columns: Sequence[str] | None = None, filters: Filters = None) -> pd.DataFrame:
        """One row a sample of the loss of a network, in stores that have them. Arguments as `points`."""
        return self._read("losses", columns, filters)

    def covariances(self, columns: Sequence[str] | None = None, filters: Filters = None) -> pd.DataFrame:
        """One row an entry of the covariance matrices of a series, in stores that have them. Arguments as `points`."""
        return self._read("covariances", columns, filters)

    def select(self, table_name: str = "points", rtol: float = 1e-9, **values: Any) -> pd.DataFrame:
        """Rows whose columns equal the given values, numbers within a relative tolerance.

        Example: `store.select(lam=0.1, L=5, objective="jepa")`, `store.select("trajectories", rho=0.7)`.
        """
        unknown = [name for name in values if name not in self.schema(table_name).names]
        if unknown:
            known = ", ".join(self.schema(table_name).names)
            raise SpecError(f"`select` takes columns of {table_name} ({known}), but `{unknown[0]}` was given.")
        return self._read(table_name, None, table.near(values, rtol))

    def rows(self, name: str) -> int:
        """The number of committed rows of one table."""
        return sum(commit.rows(name) for commit in self.commits())

    def paths(self, name: str) -> list[Path]:
        """The committed files of one table."""
        listed = (f["path"] for commit in self.commits() for f in commit.files)
        return [self.path / path for path in listed if path.startswith(f"{name}/")]

    def _read(self, name: str, columns: Sequence[str] | None, filters: Filters) -> pd.DataFrame:
        if name not in self.tables:
            raise SpecError(f"{self.path} has the tables {', '.join(self.tables)}, but `{name}` was asked for.")
        return table.read(self.paths(name), self.schema(name), columns, filters)

    # --- at a glance ----------------------------------------------------------------------------------------------

    def digest(self) -> Digest:
        """What is here in a few numbers: rows, bytes, values of each parameter, statuses, the worst difference.

        Raises:
            IntegrityError: a commit record, or a file that had to be looked into, is damaged.
        """
        schemas = {name: self.schema(name) for name in self.tables}
        held = self._digest or self._blank()
        for commit in self.commits():
            if commit.number not in held.commits:  # a committed file never changes
                held = digest.plus(held, self.path, commit, schemas, [c.name for c in self.parameters])
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
        return integrity.damage(self.path, self.tables)

    def lost_notes(self) -> list[str]:
        """What is wrong with specs and environments, which cannot be computed again; asked where nothing is damaged."""
        return integrity.lost_notes(self.path, {claim.spec for claim in self.claims().values()})

    def set_aside(self, number: str) -> None:
        """Take a damaged chunk out of the store, so that its points count as not yet computed."""
        # The record first: without it nothing promises that the files are whole.
        for name in (f"commits/{number}.json", *(f"{t}/{number}.parquet" for t in self.tables)):
            files.set_aside(self.path, name)
        self._digest = None
        self._commits.pop(f"{number}.json", None)
        self._claims.pop(number, None)


def _entry(path: str, data: bytes, rows: int) -> dict[str, Any]:
    """A file as a commit record lists it."""
    return {"path": path, "bytes": len(data), "rows": rows, "sha256": files.sha256(data)}
