"""A store for those who only read: its settings and tables, and whether its files are as they were committed."""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from jepa_sweep.errors import IntegrityError, SpecError
from jepa_sweep.store import attempts, equality, integrity, locate, manifest, notes, overview, table
from jepa_sweep.store.location import MARK
from jepa_sweep.store.log import Log
from jepa_sweep.store.overview import Overview
from jepa_sweep.store.schema import SAMPLED, Column
from jepa_sweep.store.table import LARGE_BATCH, Filters, Part, Question

if TYPE_CHECKING:
    import pandas as pd


class Reader:
    """What is in a store."""

    def __init__(self, path: str | Path) -> None:
        """Open a store; raises `SpecError` if there is none and `IntegrityError` if its store.json is damaged."""
        self.location = locate.at(path)
        self.manifest = manifest.read(self.location)
        self.path = self.location.path  # of the run directory; text if it lies in a bucket
        self.title = Path(self.path).resolve().name  # the last part of the path
        self.frozen = self.manifest.frozen  # what decides the numbers: system, version, solver, trajectories
        self.time = self.manifest.time  # the convention of every time here, one of `schema.TIMES`
        self.tables = tuple(self.manifest.tables)  # their names
        self.log = Log(self.location, self.tables)
        self._chunks: dict[Any, Overview] = {}  # by the hashes of their files

    @staticmethod
    def exists(path: str | Path) -> bool:
        """True if there is a store."""
        return locate.at(path).exists(MARK)

    # --- settings -----------------------------------------------------------------------------------------------------

    @property
    def parameters(self) -> tuple[Column, ...]:
        """The swept parameters, as columns."""
        return tuple(c for c in self.manifest.tables["points"] if c.name in self.manifest.parameters)

    def schema(self, name: str) -> pa.Schema:
        """The Arrow schema of one of the tables; raises `SpecError` if there is no such table."""
        self._check(name)
        return self.manifest.schema(name)

    def specs(self) -> dict[str, str]:
        """SHA-256 -> text of every spec that was applied here."""
        return notes.texts(self.location, notes.SPEC)

    def specs_of(self, digests: Iterable[str]) -> dict[str, str]:
        """SHA-256 -> text of some of them; raises `IntegrityError` if one is damaged or missing."""
        texts, wanted = self.specs(), list(digests)
        if missing := [digest for digest in wanted if digest not in texts]:
            raise IntegrityError(
                f"{self.path} must keep every spec that was run, but {min(missing)[:8]} is missing; "
                f"{notes.SPEC.remedy}."
            )
        return {digest: texts[digest] for digest in wanted}

    def source(self) -> str | None:
        """The text of the file that made these numbers, where that is the user's own; None where it is in no file.

        Raises:
            IntegrityError: it is damaged or missing.
        """
        digest = self.frozen.get("source")
        if digest is None:
            return None
        kept = notes.texts(self.location, notes.SOURCE)
        if digest not in kept:
            raise IntegrityError(
                f"{self.path}/specs must keep the file of its system, but {digest[:8]} is missing; "
                f"{notes.SOURCE.remedy}."
            )
        return kept[digest]

    def environments(self) -> dict[str, Any]:
        """Name -> facts about where rows were made; None for a note that is damaged."""
        return notes.environments(self.location)

    # --- tables -------------------------------------------------------------------------------------------------------

    def read(self, name: str, columns: str | Sequence[str] | None = None, filters: Filters = None) -> "pd.DataFrame":
        """Rows of a table.

        Args:
            name: the table.
            columns: which column or columns to read; all by default.
            filters: rows to keep, as `pandas.read_parquet` takes them: [("lam", ">", 1.0), ("L", "==", 5)].

        Raises:
            SpecError: there is no such table, or a column or filter names what is not there.
            IntegrityError: a file is damaged.
        """
        schema = self.schema(name)
        return table.read(self.location, self.parts(name), schema, table.question(name, schema, columns, filters))

    def batches(
        self, name: str, columns: str | Sequence[str] | None = None, filters: Filters = None, rows: int = LARGE_BATCH
    ) -> "Iterator[pd.DataFrame]":
        """The same file by file, for summaries of tables that do not fit into memory; first one without rows.

        Files of more than so many rows come in several batches. Without filters no trajectory is cut between them; with
        filters, of which the ranges in a file leave parts of it unread, one may be.
        """
        schema, sampled = self.schema(name), self.frozen["trajectories"]
        asked = table.question(name, schema, columns, filters)
        if name in SAMPLED and sampled and 0 < sampled["samples"] <= rows:
            rows -= rows % sampled["samples"]
        yield schema.empty_table().select(asked.names).to_pandas()
        for part in self.parts(name):
            for piece in table.pieces(self.location, part, schema, asked, rows):
                yield piece.to_pandas()

    def select(self, table_name: str = "points", /, rtol: float = equality.RTOL, **values: Any) -> "pd.DataFrame":
        """Rows whose columns equal the given values, as `jepa_sweep.Store.select` explains."""
        table.check_columns(table_name, values, self.schema(table_name))
        terms = []
        for name, value in values.items():  # no comprehension: warnings count frames up to the caller's line
            terms.append(self.equal(table_name, name, [value], rtol))
        return self.read(table_name, None, table.all_of(terms))

    def equal(
        self, name: str, column: str, values: Sequence[Any], rtol: float = equality.RTOL, *, known: bool = True
    ) -> pc.Expression:
        """A filter for rows of a table whose column equals one of the values, as `select` compares them.

        `known`: refuse values of a parameter when the run has none of them; else that is a warning.
        """

        def held(one: str) -> equality.Held:
            return equality.Held(self.location, one, self.parts(one), self.schema(one), column)

        others = [one for one in ("points", "failures") if one != name and column in self.schema(one).names]
        elsewhere = (lambda: [held(one) for one in others]) if known and column in self.manifest.keys else None
        return equality.term(held(name), elsewhere, values, rtol)

    def failures_of(self, number: str) -> "pd.DataFrame":
        """The rows of `failures` of one chunk."""
        schema = self.schema("failures")
        return table.read(self.location, self.parts("failures", number), schema, Question(schema.names))

    def rows(self, name: str) -> int:
        """The number of rows of one table."""
        return sum(part.rows for part in self.parts(name))

    def rows_with(self, name: str, column: str, words: Sequence[str]) -> int:
        """The number of rows of one table that have one of the words in a column of text."""
        described = self.schema(name)
        return sum(table.rows_with(self.location, part, described, column, words) for part in self.parts(name))

    def counts(self, name: str, column: str) -> dict[str, int]:
        """How often each text stands in a column of a table, the most frequent first."""
        described, found = self.schema(name), Counter[str]()
        for counts in table.side_by_side(
            lambda part: table.counts(self.location, part, described, column), self.parts(name)
        ):
            found.update(counts)
        return dict(found.most_common())

    def _check(self, name: str) -> None:
        """Raise a `SpecError` unless there is a table of this name."""
        if name not in self.tables:
            raise SpecError(f"{self.path} has the tables {', '.join(self.tables)}, but `{name}` was asked for.")

    def parts(self, name: str, number: str | None = None) -> list[Part]:
        """The committed files of one table, or of one chunk of it; without failures that were tried again since."""
        self._check(name)
        commits = self.log.commits()
        if name == "failures":
            return attempts.standing(self.location, self.manifest, commits, number)
        files = (file for commit in commits if number in (None, commit.number) for file in commit.files)
        return [Part(file) for file in files if file.table == name]

    def overview(self) -> Overview:
        """What is here in a few numbers: rows, bytes, values of each parameter, statuses, the worst difference.

        Raises:
            IntegrityError: a commit record, or a file that had to be looked into, is damaged.
        """
        commits, found = self.log.commits(), overview.blank(self.manifest)
        standing = {part.file.path: part for part in self.parts("failures")}
        chunks = [[standing.get(file.path, Part(file)) for file in commit.files] for commit in commits]
        keys = [tuple((p.file.sha256, None if p.stands is None else p.stands.tobytes()) for p in c) for c in chunks]
        new = {key: chunk for key, chunk in zip(keys, chunks, strict=True) if key not in self._chunks}
        looked = table.side_by_side(lambda chunk: overview.of_chunk(self.location, self.manifest, chunk), new.values())
        self._chunks.update(zip(new, looked, strict=True))
        return functools.reduce(Overview.plus, (self._chunks[key] for key in keys), found)

    # --- integrity ----------------------------------------------------------------------------------------------------

    def damage(self) -> dict[str, list[str]]:
        """Number of each damaged chunk -> what is wrong with it, file by file; empty if all is well.

        The names of folders alone where something else is in their place.
        """
        return integrity.damage(self.location, self.manifest)

    def gone(self) -> list[str]:
        """Names of files that commit records list and that are not there; no table is read."""
        return integrity.gone(self.location, self.log.commits())

    def lost_notes(self) -> list[str]:
        """What is wrong with specs, the file of a user's own system, and environments; asked where nothing is damaged.

        None of them can be computed again.
        """
        applied = {claim.spec for claim in self.log.claims().values()}
        sources = {self.frozen["source"]} if "source" in self.frozen else set()
        return integrity.lost_notes(self.location, applied, sources, {c.environment for c in self.log.commits()})

    def strays(self) -> list[str]:
        """Files that are none of the store's; no reader of ours looks at them."""
        return integrity.strays(self.location, self.tables)
