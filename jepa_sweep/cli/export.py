"""The command that writes tables in the formats of other programs."""

from typing import Annotated

import typer

from jepa_sweep.cli import shell
from jepa_sweep.cli.shell import Json, Run


@shell.command
def export(
    run: Run,
    to: Annotated[
        str, typer.Option("--to", metavar="FORMAT", help="csv, duckdb, netcdf, zarr, or card: a description.")
    ],
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="PATH", help="The new file or folder; <run>.csv, .duckdb, .nc or .zarr."),
    ] = None,
    table: Annotated[str | None, typer.Option(metavar="NAME", help="The one table to write; all by default.")] = None,
    as_json: Json = False,
) -> None:
    """Write the tables of a run for other programs, or a card that describes them; overwrites nothing."""
    from jepa_sweep.analysis.export import export as write
    from jepa_sweep.checks import size_of
    from jepa_sweep.results import Store

    store = Store(run)
    made = write(store.reader, lambda: store.system, to, out, table)
    facts = {"path": str(made.path), "bytes": made.bytes, "rows": made.rows}
    rows = ", ".join(f"{name} {count:,}" for name, count in made.rows.items())
    shell.put(facts, f"{made.path}: {size_of(made.bytes)}; rows: {rows}.", as_json)
