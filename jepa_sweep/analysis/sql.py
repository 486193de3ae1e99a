"""SQL over the tables of a store, by DuckDB."""

import contextlib
import glob
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from jepa_sweep.checks import did_you_mean, extra, is_unicode, plain
from jepa_sweep.errors import SpecError
from jepa_sweep.store import table
from jepa_sweep.store.folder import Folder
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.table import Part

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def answer(store: Reader, text: str, limit: int) -> tuple[pd.DataFrame, bool]:
    """The rows of a query on the tables by their names, at most `limit` (0: all), and whether there are more.

    The files of the tables that the text names are checked against their hashes one by one. DuckDB then reads what it
    needs from them, so memory does not grow with the tables; files in a bucket, or at a path that is not in Unicode,
    are first copied to a temporary folder.

    The text must be one query, which writes nothing, and where DuckDB can tell (from 1.2 on) it reads no other files.

    Raises:
        SpecError: DuckDB is not installed, it cannot run the query, or the text is more than a query.
        IntegrityError: a file is damaged.
    """
    with extra("`--sql` needs duckdb", "sql"):
        import duckdb
    named = [name for name in store.tables if re.search(rf"\b{re.escape(name)}\b", text, re.IGNORECASE)]
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(duckdb.connect())
        connection.execute("set python_enable_replacements = false")  # names are tables, never variables of ours
        _confine(connection, [path for name in named for path in _add(connection, store, name, stack)])
        try:
            kinds = [one.type for one in duckdb.extract_statements(text)]
            if kinds != [duckdb.StatementType.SELECT]:
                raise SpecError(
                    "`--sql` must be one query that only reads, like `select * from points`, but it is "
                    f"{_told([kind.name for kind in kinds])}."
                )
            found = connection.sql(text)
            frame = (found.limit(limit + 1) if limit else found).df()
        except duckdb.Error as error:
            raise SpecError(_explained(str(error), store.tables)) from error
    return (frame.head(limit) if limit else frame), bool(limit) and len(frame) > limit


def _add(connection: "DuckDBPyConnection", store: Reader, name: str, stack: contextlib.ExitStack) -> list[str]:
    """Let DuckDB know the committed rows of one table that stand; returns the paths that it reads."""
    parts, schema = store.parts(name), store.schema(name)
    if not parts or any(part.stands is not None for part in parts):  # few: only failures that were tried again
        names = schema.names
        rows = table.side_by_side(lambda part: table.rows(store.location, part, schema, names), parts)
        connection.register(name, pa.concat_tables([schema.empty_table(), *rows]))
        return []
    files = _checked(store, parts, schema, stack)
    paths = [glob.escape(path) for path in files]
    connection.read_parquet(paths, hive_partitioning=False).create_view(name)  # `lam=1` in a path is no column
    return [*files, *paths]


def _confine(connection: "DuckDBPyConnection", paths: Sequence[str]) -> None:
    """Refuse DuckDB all other files, where it can do that: from 1.2 on."""
    [known] = connection.execute("select count(*) from duckdb_settings() where name = 'allowed_paths'").fetchall()
    if known[0]:
        connection.execute("set allowed_paths = ?", [list(paths)])
        connection.execute("set enable_external_access = false")


def _checked(store: Reader, parts: Sequence[Part], schema: pa.Schema, stack: contextlib.ExitStack) -> list[str]:
    """Paths of files that are as they were committed."""
    location = store.location
    if isinstance(location, Folder) and is_unicode(location.path):
        table.side_by_side(lambda part: table.check(location, part.file, schema), parts)
        return [location.where(part.file.path) for part in parts]
    copies = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jepa_sweep-")))

    def copied(part: Part) -> str:
        copy = copies / part.file.path
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(table.load(location, part.file))
        return str(copy)

    return table.side_by_side(copied, parts)


def _told(kinds: Sequence[str]) -> str:
    """What a text is that is not one SELECT, for a message."""
    if "MULTI" in kinds:
        return "a PIVOT without the values of its columns, which DuckDB runs as several; try `pivot ... on L in (1, 2)`"
    return " and ".join(kinds) or "empty"


def _explained(said: str, tables: Sequence[str]) -> str:
    """One sentence on why DuckDB did not run a query."""
    if unknown := re.search(r"Table with name \"?(\w+)\"? does not exist", said):
        return f"`--sql` must name tables of the run, but there is no `{unknown[1]}`.{did_you_mean(unknown[1], tables)}"
    lines = [line.strip().rstrip("!.") for line in said.partition("\nLINE ")[0].splitlines()]
    return f"`--sql` must be a query that DuckDB can run, but it says: {plain('; '.join(filter(None, lines)), 300)}."
