"""Commands that read runs: what they hold, rows of their tables, comparisons."""

import json
import math
from typing import Annotated

import typer

from jepa_sweep.cli import shell
from jepa_sweep.cli.shell import Json, Run
from jepa_sweep.errors import SpecError


@shell.command
def status(run: Run, as_json: Json = False) -> None:
    """Say what a run directory holds and what its specs still miss."""
    from jepa_sweep.running.summary import status_of
    from jepa_sweep.store.schema import noun_of

    facts = status_of(run)
    lines = [f"{noun_of(key):23} {facts[key]}" for key in facts if key not in ("specs", "statuses", "writers")]
    lines += [f"{'status ' + key:23} {count}" for key, count in facts["statuses"].items()]
    lines += [f"spec {s['spec']} {s['name']}: {s['points']:,} points, {s['missing']:,} missing" for s in facts["specs"]]
    lines += [
        f"writer {w['writer']}: {w['chunks']:,} chunks, {w['points']:,} points, last {w['last_commit']}, "
        f"computing {w['computing']:,} chunks now"
        for w in facts["writers"]
    ]
    shell.put(facts, "\n".join(lines), as_json)


@shell.command
def query(
    run: Run,
    table: Annotated[
        str, typer.Option(metavar="NAME", help="points, failures, trajectories, features, losses, ...")
    ] = "points",
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="A condition like 'lam > 1' or 'objective = jepa'; may be repeated, all must hold.",
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
    limit: Annotated[int, typer.Option(min=0, metavar="N", help="Rows to show; 0 for all.")] = 20,
    csv: Annotated[bool, typer.Option("--csv", metavar="", help="Print CSV instead of text.")] = False,
    as_json: Json = False,
) -> None:
    """Show rows of a table."""
    if csv and as_json:
        raise SpecError("Rows must be printed in one format, but --csv and --json are given; leave one out.")
    from jepa_sweep.analysis.query import for_json, matching

    frame, count = matching(run, table, where or [], shell.split(columns), shell.split(sort), limit)
    if csv:
        typer.echo(frame.to_csv(index=False), nl=False)
    elif as_json:
        typer.echo(json.dumps(for_json(frame), default=float))
    else:
        typer.echo(frame.to_string(index=False))
    if len(frame) < count or not (csv or as_json):
        more = "; --limit 0 shows all" if len(frame) < count else ""
        typer.echo(f"{len(frame):,} of {count:,} rows{more}", err=True)


@shell.command
def compare(
    run: Run,
    other: Annotated[
        str | None, typer.Argument(metavar="OTHER", help="A run with the same points to compare with.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare what was measured with what theory predicts, or with another run of the same points."""
    from jepa_sweep.analysis.query import for_json
    from jepa_sweep.results import Store

    frame = Store(run).compare(Store(other) if other else None)
    text, worst = frame.to_string(index=False, float_format=lambda x: f"{x:.3g}"), None
    if "worst_difference" in frame:
        worst = max(frame["worst_difference"].dropna(), default=None)
        text += f"\nworst relative difference {'between the two' if other else 'from the closed form'}: "
        text += f"{worst:.2e}" if worst is not None else "none measured"
    finite = worst if worst is not None and math.isfinite(worst) else None  # as JSON takes it
    shell.put({"worst_difference": finite, "groups": for_json(frame)}, text, as_json)
