"""Commands that read tables of runs: rows, comparisons."""

import math
from typing import Annotated

import typer

from jepa_sweep.cli import forms, shell
from jepa_sweep.cli.forms import Format
from jepa_sweep.cli.shell import Json, Run
from jepa_sweep.errors import SpecError


@shell.command
def query(
    run: Run,
    table: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="points (the default), failures, trajectories, features, losses, ..."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="Such as 'lam > 1 and L in (2, 3)', 'objective = jepa', 't_exact is null'; may be repeated, all must "
            "hold. Numbers match to the digits given.",
        ),
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option(metavar="COLUMNS", help="Columns to show, separated by commas; may be repeated.")
    ] = None,
    sort: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMNS", help="Columns to sort by, likewise, the first counting most; -COLUMN for largest first."
        ),
    ] = None,
    sql: Annotated[
        str | None,
        typer.Option(metavar="SELECT", help="SQL over the tables by their names, by DuckDB, in place of the above."),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="Rows to show; 0 for all.")] = 20,
    format: Format = None,
    as_json: Json = False,
) -> None:
    """Show rows of a table."""
    form = forms.chosen(format, as_json)
    from jepa_sweep.store.reader import Reader

    store = Reader(run)
    if sql is None:
        from jepa_sweep.analysis.query import matching

        asked = where or [], shell.split(columns), shell.split(sort)
        frame, count = matching(store, table or "points", *asked, limit)
        more, told = len(frame) < count, f"{len(frame):,} of {count:,} rows"
    else:
        given = {"--table": table, "--where": where, "--columns": columns, "--sort": sort}
        if beside := [option for option, value in given.items() if value]:
            raise SpecError(f"`--sql` must say all there is to ask, but {beside[0]} is given, too; write it as SQL.")
        from jepa_sweep.analysis.sql import answer

        frame, more = answer(store, sql, limit)
        told = f"{'the first ' if more else ''}{len(frame):,} row{'' if len(frame) == 1 else 's'}"
    forms.put(frame, form, store.manifest.keys)
    if more or form == "text":
        shell.say(f"{told}{'; --limit 0 shows all' if more else ''}", aside=True)


@shell.command
def compare(
    run: Run,
    other: Annotated[
        str | None, typer.Argument(metavar="OTHER", help="A run to compare with point by point, in place of theory.")
    ] = None,
    format: Format = None,
    as_json: Json = False,
) -> None:
    """Compare what was measured with what theory predicts, or two runs point by point."""
    form = forms.chosen(format, as_json)
    from jepa_sweep.results import Store

    if other is not None:
        found = Store(run).compare(other)
        facts, table, parts = found.facts(), found.differences, found.parts()
    else:
        from jepa_sweep.layout import for_json

        table, worst, parts = Store(run).compare(), None, []
        if "worst_difference" in table:
            worst = max(table["worst_difference"].dropna(), default=None)
            said = "none measured" if worst is None else f"{worst:.2e}"
            parts = [f"worst relative difference from the closed form: {said}"]
        finite = worst if worst is not None and math.isfinite(worst) else None  # as JSON takes it
        facts, parts = {"worst_difference": finite, "groups": for_json(table)}, [table, *parts]
    forms.report(facts, table, parts, form)
