"""What a store says: its settings, its tables, and whether its files are as they were committed."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from jepa_sweep.errors import SpecError
from jepa_sweep.store import integrity, locate, overview, records, schema, table
from jepa_sweep.store.attempts import Attempts
from jepa_sweep.store.log import Log
from jepa_sweep.store.overview import Overview
from jepa_sweep.store.schema import Column
from jepa_sweep.store.table import Filters, Part


class Reader(Log):
    """A store for those who only read."""

    def __init__(self, path: str | Path) -> None:
        """Open a store for reading; raises `SpecError` if there is none and `IntegrityError` if it is damaged."""
        super().__init__(locate.at(path))
        if not self._location.exists("store.json"):
            raise SpecError(f"{path} must be a run directory, but it has no store.json; check the path.")
        remedy = "run the spec into another directory with --out"
        self._config = records.unsealed(self._location, "store.json", "store.json", remedy)
        if self._config["format"] > schema.FORMAT:
            raise SpecError(
                f"{path} was written in format {self._config['format']}, but this version reads up to "
                f"{schema.FORMAT}; install a newer jepa_sweep."
            )
        described = self.schema("failures")
        self._keys = [c for c in ("objective", *(q.name for q in self.parameters), "p") if c in described.names]
        self._attempts = Attempts(self._location, pa.schema([described.field(name) for name in self._keys]))
        self._seen: dict[Any, Overview] = {}  # of single chunks, by the hashes of their files

    @classmethod
    def exists(cls, path: str | Path) -> bool:
        """True if there is a store."""
        return locate.at(path).exists("store.json")

    # --- what is here ---------------------------------------------------------------------------------------------

    @property
    def path(self) -> Path | str:
        """The run directory; text if it lies in a bucket."""
        return self._location.path

    @property
    def title(self) -> str:
        """The last part of the path."""
        return self._location.title

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
        """Overview -> text of every spec that was applied here."""
        return records.specs(self._location)

    def environments(self) -> dict[str, Any]:
        """Name -> facts about where rows were made; None for a note that is damaged."""
        return records.environments(self._location)

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
        return table.read(self._location, self._parts(name), self.schema(name), columns, filters)

    def batches(
        self, name: str, columns: Sequence[str] | None = None, filters: Filters = None
    ) -> Iterator[pd.DataFrame]:
        """The same file by file, for summaries of tables that do not fit into memory; first one without rows."""
        described = self.schema(name)
        yield table.read(self._location, [], described, columns, filters)
        for part in self._parts(name):
            yield table.read(self._location, [part], described, columns, filters)

    def failures_of(self, number: str) -> pd.DataFrame:
        """The failures of one chunk that no later attempt has superseded."""
        return table.read(self._location, self.parts("failures", number), self.schema("failures"), None, None)

    def counts(self, name: str, column: str) -> dict[str, int]:
        """How often each text stands in a column of a table, the most frequent first."""
        glimpses = (table.Glimpse(self._location, part) for part in self._parts(name))
        return overview.counts(glimpses, column)

    def _parts(self, name: str) -> list[Part]:
        if name not in self.tables:
            raise SpecError(f"{self.path} has the tables {', '.join(self.tables)}, but `{name}` was asked for.")
        return self.parts(name)

    def parts(self, name: str, number: str | None = None) -> list[Part]:
        """The committed files of one table, or of one chunk of it, without failures that were superseded."""
        commits = self.commits()
        chosen = [commit for commit in commits if number in (None, commit.number)]
        if name == "failures":
            return self._attempts.standing(chosen, [commit for commit in commits if commit.claim.attempt > 1])
        return [Part(file) for commit in chosen for file in commit.files if file.table == name]

    # --- at a glance ----------------------------------------------------------------------------------------------

    def overview(self) -> Overview:
        """What is here in a few numbers: rows, bytes, values of each parameter, statuses, the worst difference.

        Raises:
            IntegrityError: a commit record, or a file that had to be looked into, is damaged.
        """
        schemas = {name: self.schema(name) for name in self.tables}
        commits, found = self.commits(), self._blank()
        standing = {part.file.path: part for part in self.parts("failures")}
        for commit in commits:
            parts = [standing.get(file.path, Part(file)) for file in commit.files]
            key = tuple((part.file.sha256, None if part.stands is None else part.stands.tobytes()) for part in parts)
            if key not in self._seen:
                self._seen[key] = overview.of_chunk(self._blank(), self._location, parts, schemas, self._keys)
            found = found.plus(self._seen[key])
        return found

    def __repr__(self) -> str:
        return overview.text(self.path, *self._told())

    def _repr_html_(self) -> str:
        """The same in a notebook."""
        return overview.html(self.path, *self._told())

    def _blank(self) -> Overview:
        return overview.blank(self.frozen, self._config["precision"], self.time, self.tables)

    def _told(self) -> tuple[Overview, str]:
        """What is here, and what stands in the way of knowing."""
        try:
            return self.overview(), ""
        except Exception as error:  # of any kind: a notebook or a debugger prints a store in every state
            return self._blank(), str(error)

    # --- integrity ------------------------------------------------------------------------------------------------

    def lost_notes(self) -> list[str]:
        """What is wrong with specs and environments, which cannot be computed again; asked where nothing is damaged."""
        return integrity.lost_notes(self._location, {claim.spec for claim in self.claims().values()})

    def strays(self) -> list[str]:
        """Files that are none of the store's; no reader of ours looks at them."""
        return integrity.strays(self._location, self.tables)
