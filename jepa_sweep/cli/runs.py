"""Commands on runs as a whole: which there are, what one holds and lacks, how it goes on."""

from typing import Annotated, Any

import typer

from jepa_sweep.cli import forms, shell
from jepa_sweep.cli.cells import aligned, writer_row, written_at
from jepa_sweep.cli.forms import Format
from jepa_sweep.cli.shell import Json, Run
from jepa_sweep.errors import escaped, on_one_line


@shell.command(name="list")
def list_runs(
    folder: Annotated[str, typer.Argument(metavar="[FOLDER]", help="Where to look, at any depth.")] = "runs",
    format: Format = None,
    as_json: Json = False,
) -> None:
    """Show every run below a folder: what it is of, how far it is, when it was last written."""
    form = forms.chosen(format, as_json)
    from jepa_sweep.running.listing import below, listed
    from jepa_sweep.store.table import side_by_side

    found = side_by_side(listed, below(folder))
    if form in ("text", "json"):
        text = _listed(found) if found else f"There is no run below {folder}."
        shell.put(found, text, form == "json")
        return
    import pandas as pd  # not at the top: the usual forms do without

    # As objects first: a number that is not known would make floats of those that are. pandas takes Unicode alone.
    shown = [{name: escaped(fact) if isinstance(fact, str) else fact for name, fact in run.items()} for run in found]
    forms.put(pd.DataFrame(shown, dtype=object).convert_dtypes(), form, ["run"])


@shell.command
def status(
    run: Run,
    watch: Annotated[bool, typer.Option("--watch", metavar="", help="Follow the run until it is complete.")] = False,
    every: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How often --watch looks.")] = 2.0,
    as_json: Json = False,
) -> None:
    """Say what a run holds and what its specs still miss; with --watch, how it goes on."""
    if watch:
        from jepa_sweep.cli.watching import watched

        return watched(run, every, as_json)
    from jepa_sweep.running.summary import status_of

    facts = status_of(run)
    return shell.put(facts, _told(facts), as_json)


def _listed(found: list[dict[str, Any]]) -> str:
    """The runs as aligned lines, then what is wrong with some of them."""
    from jepa_sweep.checks import size_of

    rows = [("run", "system", "points", "", "failed", "size", "last written")]
    for run in found:
        name = run["run"]  # as the other commands take it
        if run["error"]:
            rows.append((name, run["system"] or "", "", "unreadable", "", "", ""))
            continue
        asked = "" if run["complete"] else f" of {run['asked']:,}" if run["asked"] is not None else " of ?"
        state = {True: "complete", False: "unfinished", None: ""}[run["complete"]]
        state = f"{run['working']:,} at work" if run["working"] else state
        points, failed = f"{run['done']:,}{asked}", f"{run['failed']:,}" if run["failed"] else ""
        rows.append((name, run["system"], points, state, failed, size_of(run["bytes"]), written_at(run)))
    return "\n".join([*aligned(rows), *(on_one_line(run["error"]) for run in found if run["error"])])


def _told(facts: dict[str, Any]) -> str:
    """What `status` says, in groups."""
    from jepa_sweep.checks import size_of
    from jepa_sweep.store.schema import noun_of

    asked = facts["asked"]
    state = "complete" if facts["complete"] else f"{asked - facts['done']:,} of {asked:,} points are missing"
    rtol = f" at rtol {facts['rtol']:g}" if facts["rtol"] is not None else ""
    made_by = f"{facts['system']}, {facts['method']}{rtol}, {facts['precision']}"
    lines = [on_one_line(f"{facts['run']}: {state}"), f"  {on_one_line(made_by)}"]
    rows = [(noun_of(table), f"{facts[table]:,}") for table in facts["tables"]]
    written = f"in {facts['commits']:,} chunks, the last written {written_at(facts)}"
    rows.append(("files", f"{size_of(facts['bytes'])} {written}"))
    if facts["unfinished_commits"]:
        rows.append(("unfinished chunks", f"{facts['unfinished_commits']:,}; run the spec again to finish them"))
    lines += ["", "holds", *aligned(rows)]
    if facts["statuses"]:
        lines += ["", "status of points", *aligned([(word, f"{n:,}") for word, n in facts["statuses"].items()])]
    if facts["commits"]:
        lines += ["", "took", *aligned(_took(facts))]
    lines += ["", "specs"] if facts["specs"] else []
    rows = [(s["spec"], s["name"], f"{s['points']:,} points", f"{s['missing']:,} missing") for s in facts["specs"]]
    lines += aligned(rows)
    lines += ["", "writers", *aligned([writer_row(w) for w in facts["writers"]])] if facts["writers"] else []
    return "\n".join(lines)


def _took(facts: dict[str, Any]) -> list[tuple[str, str]]:
    from jepa_sweep.checks import size_of

    rows = [("computing", f"{facts['seconds']:,.1f} s, and {facts['compile_seconds']:,.1f} s compiling")]
    if facts["points_per_second"]:
        rows.append(("rate", f"{facts['points_per_second']:,.0f} points a second"))
    if facts["steps"]:
        rows.append(("solver steps", f"{facts['steps']:,}, {facts['steps_per_point']:,.1f} a point"))
    if facts["wasted"] is not None:
        rows.append(("lane steps", f"{facts['lane_steps']:,}, {facts['wasted']:.0%} of them wasted"))
    if facts["rechecked"]:
        rows.append(
            ("rechecked", f"{facts['rechecked']:,} points in float64, off by at most {facts['recheck_error']:.1e}")
        )
    return [*rows, ("memory", f"{size_of(facts['peak_memory_bytes'])} at the peak")]
