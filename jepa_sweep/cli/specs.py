"""Commands on specs: what running one would do, and running it."""

import functools
from typing import Annotated, Any

import typer

from jepa_sweep.cli import shell
from jepa_sweep.cli.shell import Device, Json, Out, Spec
from jepa_sweep.progress import duration, showing

Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change the spec: solver.rtol=1e-10, 'axes.L=[2,3]'; may be repeated. The store keeps it as changed.",
    ),
]


@shell.command
def plan(spec: Spec, out: Out = None, changes: Changes = None, as_json: Json = False) -> None:
    """Say what a run would do: points, their statuses, files, time, memory. Writes nothing."""
    from jepa_sweep.running.summary import plan_of

    facts = plan_of(spec, out, changes or ())
    shell.put(facts | {"warnings": shell.warned()}, _planned(facts), as_json)


@shell.command
def run(
    spec: Spec,
    out: Out = None,
    changes: Changes = None,
    device: Device = "auto",
    chunk_points: Annotated[int | None, typer.Option(min=1, metavar="N", help="Points that share one file.")] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="I/N: only every n-th chunk from the I-th on, I from 0.")
    ] = None,
    max_failures: Annotated[
        str | None, typer.Option(metavar="N", help="Stop when more points fail: N, or P% of those done.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="ray or ray:ADDRESS: compute on the machines of Ray.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute every point of a spec that is not there yet."""
    stop = shell.stop_on_signal()
    from jepa_sweep.results import Store
    from jepa_sweep.running.execute import execute
    from jepa_sweep.running.recovery import FAILED

    with showing(True) as progress:
        bounds = {"chunk_points": chunk_points, "shard": shard, "max_failures": max_failures, "cluster": cluster}
        ready = functools.partial(shell.ready_to_compute, here=not cluster)
        report = execute(
            spec, out, changes=changes or (), device=device, progress=progress, stop=stop, ready=ready, **bounds
        )
    store = Store(report.store)
    store.overview()  # a file that is damaged ends the command; printed with the store it would only be mentioned
    failed = store.rows("failures")
    sampled = "trajectories" in store.tables and "status" in store.schema("trajectories").names
    samples = store.reader.rows_with("trajectories", "status", FAILED) if sampled else 0
    facts = report.facts() | {"failed_points": failed, "failed_samples": samples, "warnings": shell.warned()}
    text = f'{report.text()}\n{store!r}\nIn pandas: pd.read_parquet("{store.path}/points")'
    if failed:
        text += f"\n{failed:,} points failed; see `jepa-sweep query {store.path} --table failures`."
    if samples:
        text += f"\n{samples:,} samples of trajectories could not be computed; see "
        text += f"`jepa-sweep query {store.path} --table trajectories --where 'status not in (resolved, unresolved)'`."
    if not report.complete:
        text += f"\nStopped before the end: {report.stopped}. Run the same command again to go on."
    shell.put(facts, text, as_json)
    raise typer.Exit(shell.STOPPED if not report.complete else shell.FAILED_POINTS if failed or samples else 0)


def _planned(facts: dict[str, Any]) -> str:
    """What `plan` says."""
    from jepa_sweep.checks import size_of

    text = (
        f"{facts['run']}: {facts['points']:,} points, {facts['committed']:,} there already, {facts['new']:,} new in "
        f"{facts['chunks']:,} chunks.\n"
    )
    if not facts["new"]:
        return f"{text}Nothing to do: all {facts['points']:,} points are there."
    if facts["forecast"]:
        about = " about" if facts["forecast_from"] < facts["points"] else ""
        counts = ", ".join(f"{count:,} {status}" for status, count in facts["forecast"].items())
        text += f"In closed form{about} {counts}.\n"
    basis = "as measured in this store" if facts["measured"] else "at nominal rates of two processor cores"
    return (
        f"{text}About {size_of(facts['bytes'])} of files and {duration(facts['seconds'])} of computing, {basis}; "
        f"{size_of(facts['memory_bytes'])} of memory.\n{_compiling(facts)}"
    )


def _compiling(facts: dict[str, Any]) -> str:
    if not facts["programs_kept"]:
        return f"Compiling comes first: nominally {duration(facts['compile_seconds'])}, and less the next time."
    took = facts["compile_seconds"]
    return "Its programs are compiled and kept" + (f": loading them took {duration(took)}." if took else ".")
