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
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from jepa_sweep.errors import IntegrityError, JepaSweepError, SpecError
from jepa_sweep.store import files, schema, table
from jepa_sweep.store.schema import Column
from jepa_sweep.store.table import Filters

_FOLDERS = ("specs", *schema.TABLES, "commits", "environment", files.STAGING)


class Claim(NamedTuple):
    """Which points of which spec a chunk holds: indices [start, stop) but for those `absent`, stored elsewhere."""

    spec: str  # digest of its text
    start: int
    stop: int
    absent: tuple[tuple[int, int], ...] = ()


class Commit(NamedTuple):
    """A commit record."""

    number: str
    claim: Claim
    files: tuple[dict[str, Any], ...]  # path, bytes, rows, sha256
    environment: str
    seconds: float  # computing time, without compiling
    created: str

    def rows(self, name: str) -> int:
        """Rows of one table in this chunk."""
        return sum(f["rows"] for f in self.files if f["path"].startswith(f"{name}/"))

    @property
    def bytes(self) -> int:
        """Size of all its files."""
        return sum(f["bytes"] for f in self.files)


class Store:
    """The tables of one run directory, and the only way to add to them."""

    def __init__(self, path: str | Path) -> None:
        """Open a store for reading; raises `SpecError` if there is none and `IntegrityError` if it is damaged."""
        self.path = Path(path)
        if not files.exists(self.path / "store.json"):
            raise SpecError(f"{self.path} must be a run directory, but it has no store.json; check the path.")
        self._config = self._read_json("store.json", "store.json")
        if self._config["format"] > schema.FORMAT:
            raise SpecError(
                f"{self.path} was written in format {self._config['format']}, but this version reads up to "
                f"{schema.FORMAT}; install a newer jepa_sweep."
            )
        self._commits: dict[str, Commit] = {}
        self._claims: dict[str, Claim] = {}

    @classmethod
    def create(
        cls, path: str | Path, frozen: dict[str, Any], parameters: Sequence[Column], precision: str, time: str
    ) -> "Store":
        """Open a store for writing, creating it if need be.

        Raises:
            SpecError: it exists and its numbers were made in another way (`frozen` differs).
        """
        root = Path(path)
        files.make_folders(root, _FOLDERS)
        files.clear_leftovers(root)
        config = {
            "format": schema.FORMAT,
            "frozen": frozen,
            "precision": precision,
            "time": time,
            "parameters": [c._asdict() for c in parameters],
        }
        files.publish(root, "store.json", _sealed(config))
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

    def schema(self, name: str) -> pa.Schema:
        """The Arrow schema of one of the tables."""
        return schema.arrow(name, self.parameters, self._config["precision"], self.time)

    def commits(self) -> list[Commit]:
        """All commit records, oldest first, each checked against its own hash."""
        for name in files.names(self.path / "commits", ".json"):
            if name not in self._commits:
                record = self._read_json(f"commits/{name}", "the commit record")
                claim = _claim(record["claim"])
                fields = {key: record[key] for key in ("number", "environment", "seconds", "created")}
                self._commits[name] = Commit(claim=claim, files=tuple(record["files"]), **fields)
        return [self._commits[name] for name in sorted(self._commits)]

    def claims(self) -> dict[str, Claim]:
        """Number -> claim of every chunk that is here, committed or not."""
        self._claims.update({commit.number: commit.claim for commit in self.commits()})
        for name in files.names(self.path / "points", ".parquet"):
            number = name.removesuffix(".parquet")
            if number not in self._claims and number.isdigit():
                notes = table.metadata(self.path / "points" / name)
                if b"claim" not in notes:
                    raise IntegrityError(f"{self.path / 'points' / name} is not a file of this store; move it away.")
                self._claims[number] = _claim(json.loads(notes[b"claim"]))
        return dict(self._claims)

    def claim_of(self, number: str) -> Claim | None:
        """The claim of one chunk, from its commit record or its points; None if neither can be read."""
        try:
            return _claim(self._read_json(f"commits/{number}.json", "the commit record")["claim"])
        except JepaSweepError:
            pass
        try:
            return _claim(json.loads(table.metadata(self.path / "points" / f"{number}.parquet")[b"claim"]))
        except (JepaSweepError, KeyError):
            return None

    def pending(self) -> dict[str, Claim]:
        """Claims without a commit record: their writer is still at it, or has died."""
        committed = {commit.number for commit in self.commits()}
        return {number: claim for number, claim in self.claims().items() if number not in committed}

    def specs(self) -> dict[str, str]:
        """Digest -> text of every spec that was applied here."""
        out = {}
        for name in files.names(self.path / "specs", ".toml"):
            data = files.read(self.path / "specs" / name)
            if not name.endswith(f"-{files.sha256(data)[:8]}.toml"):
                raise IntegrityError(f"{self.path / 'specs' / name} is damaged: its text does not match its name.")
            out[files.sha256(data)] = data.decode()
        return out

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
        points = points.replace_schema_metadata(
            {**(points.schema.metadata or {}), "claim": json.dumps(claim._asdict())}
        )
        if not files.publish(self.path, f"points/{number}.parquet", table.encode(points)):
            return None
        self._claims[number] = claim
        return number

    def commit(self, number: str, tables: dict[str, pa.Table], environment: str, seconds: float) -> None:
        """Publish the other tables of a claimed chunk, then its commit record.

        Safe to repeat, by this process or another: what is there already stays.
        """
        claim = self._claims[number]
        for name, rows in tables.items():
            if rows.num_rows:
                data = table.encode(self._fitting(name, rows))
                files.publish(self.path, f"{name}/{number}.parquet", data)
        listed = []
        for name in schema.TABLES:
            path = self.path / name / f"{number}.parquet"
            if files.exists(path):
                data = files.read(path)
                entry = {"path": f"{name}/{number}.parquet", "bytes": len(data), "sha256": files.sha256(data)}
                listed.append({**entry, "rows": table.check(path)})
        record = {
            "format": schema.FORMAT,
            "number": number,
            "claim": claim._asdict(),
            "files": listed,
            "environment": environment,
            "seconds": round(seconds, 3),
            "host": platform.node(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        files.publish(self.path, f"commits/{number}.json", _sealed(record))

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

    def select(self, table_name: str = "points", rtol: float = 1e-9, **values: Any) -> pd.DataFrame:
        """Rows whose columns equal the given values, numbers within a relative tolerance.

        Example: `store.select(lam=0.1, L=5, objective="jepa")`, `store.select("trajectories", rho=0.7)`.
        """
        unknown = [name for name in values if name not in self.schema(table_name).names]
        if unknown:
            known = ", ".join(self.schema(table_name).names)
            raise SpecError(f"`select` takes columns of {table_name} ({known}), but `{unknown[0]}` was given.")
        return self._read(table_name, None, table.near(values, rtol))

    def paths(self, name: str) -> list[Path]:
        """The committed files of one table."""
        listed = (f["path"] for commit in self.commits() for f in commit.files)
        return [self.path / path for path in listed if path.startswith(f"{name}/")]

    def _read(self, name: str, columns: Sequence[str] | None, filters: Filters) -> pd.DataFrame:
        return table.read(self.paths(name), self.schema(name), columns, filters)

    def __repr__(self) -> str:
        commits = self.commits()
        rows = {name: sum(commit.rows(name) for commit in commits) for name in schema.TABLES}
        return f"Store({str(self.path)!r}, " + ", ".join(f"{name}={count:,}" for name, count in rows.items()) + ")"

    # --- integrity ------------------------------------------------------------------------------------------------

    def damage(self) -> dict[str, list[str]]:
        """Number of each damaged chunk -> what is wrong with it, file by file; empty if all is well."""
        found: dict[str, list[str]] = {}
        for name in files.names(self.path / "commits", ".json"):
            number = name.removesuffix(".json")
            try:
                record = self._read_json(f"commits/{name}", "the commit record")
            except JepaSweepError as error:
                found.setdefault(number, []).append(str(error))
                continue
            for entry in record["files"]:
                problem = self._problem(entry)
                if problem:
                    found.setdefault(number, []).append(problem)
        committed = set(files.names(self.path / "commits", ".json"))
        for name in files.names(self.path / "points", ".parquet"):
            number = name.removesuffix(".parquet")
            if f"{number}.json" not in committed:
                try:
                    table.check(self.path / "points" / name)
                except IntegrityError as error:
                    found.setdefault(number, []).append(str(error))
        return found

    def _problem(self, entry: dict[str, Any]) -> str | None:
        path = self.path / entry["path"]
        try:
            if not files.exists(path):
                return f"{path} is missing"
            data = files.read(path)
            if len(data) != entry["bytes"]:
                return f"{path} has {len(data)} bytes, not the {entry['bytes']} committed"
            if files.sha256(data) != entry["sha256"]:
                return f"{path} is damaged: its SHA-256 is not the one committed"
            table.check(path)
        except JepaSweepError as error:
            return str(error)
        return None

    def set_aside(self, number: str) -> None:
        """Take a damaged chunk out of the store, so that its points count as not yet computed."""
        # The record first: without it nothing promises that the files are whole.
        for name in (f"commits/{number}.json", *(f"{t}/{number}.parquet" for t in schema.TABLES)):
            files.set_aside(self.path, name)
        self._commits.pop(f"{number}.json", None)
        self._claims.pop(number, None)

    def _read_json(self, name: str, what: str) -> dict[str, Any]:
        path = self.path / name
        data = files.read(path)
        try:
            record = json.loads(data)
            seal = record.pop("sha256")
        except (ValueError, KeyError, AttributeError, UnicodeDecodeError):
            raise IntegrityError(f"{path} is damaged: {what} is not readable JSON; run `jepa-sweep repair`.") from None
        if files.sha256(_canonical(record)) != seal:
            raise IntegrityError(f"{path} is damaged: {what} does not match its own hash; run `jepa-sweep repair`.")
        return record


def _claim(record: dict[str, Any]) -> Claim:
    return Claim(**{**record, "absent": tuple((a, b) for a, b in record["absent"])})


def _canonical(record: dict[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()


def _sealed(record: dict[str, Any]) -> bytes:
    """JSON that carries the hash of the rest of itself."""
    return json.dumps({**record, "sha256": files.sha256(_canonical(record))}, indent=1).encode()
