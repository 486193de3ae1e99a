"""The command line. Each command calls one function of the package; JAX is imported only inside a command.

Exit codes: 0 complete, 1 internal error, 2 usage or spec, 3 finished with failed points or claims, 4 stopped before
the end (resumable), 5 integrity, 6 storage, 130 interrupted. Results go to stdout, everything else to stderr.
"""

import contextlib
import functools
import json
import math
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from jepa_sweep.errors import IntegrityError, JepaSweepError, SpecError, SpecWarning
from jepa_sweep.progress import showing

FAILED_POINTS, STOPPED, INTERRUPTED = 3, 4, 130

app = typer.Typer(
    help="Sweeps over the learning dynamics of JEPA and MAE, every row beside its closed form.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Spec = Annotated[Path, typer.Argument(help="A spec file (TOML).", show_default=False)]
Run = Annotated[str, typer.Argument(help="A run directory, or a place like s3://bucket/run.", show_default=False)]
Out = Annotated[str | None, typer.Option("--out", "-o", help="The run directory; runs/<name> by default.")]
Device = Annotated[str, typer.Option(help="auto, cpu, gpu or tpu; gpu:0,1 names some of a kind.")]
Folder = Annotated[Path, typer.Option("--out", "-o", help="The folder for PNG and PDF.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def main() -> None:
    """Entry point of the console script."""
    # Run-time checks in equinox call back into Python, and XLA does not keep programs that do. As NaN they end in a
    # status like any other. Read when equinox is imported, so it must be set before.
    os.environ.setdefault("EQX_ON_ERROR", "nan")
    # Up to jaxlib 0.10.1 XLA calls every kept program one for another machine (JAX issue 38445), in kilobytes of log.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    code: Any = 0
    try:
        app()
    except SystemExit as end:
        code = end.code
    with contextlib.suppress(OSError):  # the reader of the pipe has gone
        sys.stdout.flush()
        sys.stderr.flush()
    # All is durable by now. Taking Python down while threads of libraries still run has ended in an abort.
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


@contextlib.contextmanager
def _explained() -> Iterator[list[str]]:
    """Print warnings and errors meant for the user, end with the exit code of an error; yields the warnings so far."""
    told: list[str] = []

    def tell(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
        if issubclass(category, SpecWarning):
            told.append(str(message))
            typer.echo(f"warning: {message}", err=True)
        else:
            usual(message, category, *where, **options)

    with warnings.catch_warnings():
        usual, warnings.showwarning = warnings.showwarning, tell
        warnings.simplefilter("always", SpecWarning)
        try:
            yield told
        except JepaSweepError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo("interrupted: what was committed stays; run the same command again to go on.", err=True)
            raise typer.Exit(INTERRUPTED) from None


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function a command that prints its errors as messages, see `_explained`."""
    return app.command()(_explained()(function))


def _ready_to_compute(*, here: bool = True) -> None:
    """Use all cores, unless other machines compute, and keep compiled programs."""
    from jepa_sweep.engine import devices

    if here:
        devices.use_all_cores()
    devices.keep_compiled_programs()


def _print(result: Any, text: str, as_json: bool) -> None:
    typer.echo(json.dumps(result, indent=2, default=float) if as_json else text)


def _split(given: list[str] | None) -> list[str]:
    """All values of an option that may be repeated, and whose values may be separated by commas."""
    return [word.strip() for text in given or () for word in text.split(",")]


@app.command()
def run(
    spec: Spec,
    out: Out = None,
    device: Device = "auto",
    chunk_points: Annotated[int | None, typer.Option(min=1, help="Points that share one file.")] = None,
    shard: Annotated[str | None, typer.Option(help="i/n: only every n-th chunk from the i-th on, i from 0.")] = None,
    max_failures: Annotated[
        str | None, typer.Option(help="Stop when more points fail: N, or P% of those done.")
    ] = None,
    cluster: Annotated[str | None, typer.Option(help="ray or ray:ADDRESS: compute on the machines of Ray.")] = None,
    as_json: Json = False,
) -> None:
    """Compute every point of a spec that is not there yet."""
    with _explained() as warned:
        stop = _stop_on_signal()
        from jepa_sweep.results import Store
        from jepa_sweep.running.execute import execute
        from jepa_sweep.running.recovery import FAILED

        with showing(True) as progress:
            bounds = {"chunk_points": chunk_points, "shard": shard, "max_failures": max_failures, "cluster": cluster}
            ready = functools.partial(_ready_to_compute, here=not cluster)
            report = execute(spec, out, device=device, progress=progress, stop=stop, ready=ready, **bounds)
        store = Store(report.store)
        failed = store.rows("failures")
        sampled = "trajectories" in store.tables and "status" in store.schema("trajectories").names
        samples = store.rows_with("trajectories", "status", FAILED) if sampled else 0
        facts = report.facts() | {"failed_points": failed, "failed_samples": samples, "warnings": warned}
        text = f'{report.text()}\n{store!r}\nIn pandas: pd.read_parquet("{store.path}/points")'
        if failed:
            text += f"\n{failed:,} points failed; see `jepa-sweep query {store.path} --table failures`."
        if samples:
            text += f"\n{samples:,} samples of trajectories could not be computed; their status says why."
        if not report.complete:
            text += f"\nStopped before the end: {report.stopped}. Run the same command again to go on."
        _print(facts, text, as_json)
        raise typer.Exit(STOPPED if not report.complete else FAILED_POINTS if failed or samples else 0)


@app.command()
def plan(spec: Spec, out: Out = None, as_json: Json = False) -> None:
    """Say what a run would do: points, what is there, files, bytes, time, memory. Writes nothing."""
    with _explained() as warned:
        from jepa_sweep.running.summary import plan_of

        facts = plan_of(spec, out)
        basis = "as measured in this store" if facts["measured"] else "at nominal rates of two processor cores"
        text = (
            f"{facts['run']}: {facts['points']:,} points, {facts['committed']:,} there already, {facts['new']:,} new "
            f"in {facts['chunks']} chunks.\nAbout {facts['bytes'] / 1e6:,.1f} MB of files and "
            f"{facts['seconds']:,.0f} s without compiling, {basis}; {facts['memory_bytes'] / 1e9:.1f} GB of memory."
        )
        _print(facts | {"warnings": warned}, text, as_json)


@_command
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
    _print(facts, "\n".join(lines), as_json)


@_command
def query(
    run: Run,
    table: Annotated[str, typer.Option(help="points, failures, trajectories, features, losses, ...")] = "points",
    where: Annotated[
        list[str] | None,
        typer.Option(help="A condition like 'lam > 1' or 'objective = jepa'; may be repeated, all must hold."),
    ] = None,
    columns: Annotated[
        list[str] | None, typer.Option(help="Columns to show, separated by commas; may be repeated.")
    ] = None,
    sort: Annotated[
        list[str] | None,
        typer.Option(help="Columns to sort by, likewise, the first counting most; -COLUMN for largest first."),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Rows to show; 0 for all.")] = 20,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of text.")] = False,
    as_json: Json = False,
) -> None:
    """Show rows of a table."""
    if csv and as_json:
        raise SpecError("Rows must be printed in one format, but --csv and --json are given; leave one out.")
    from jepa_sweep.analysis.query import for_json, matching

    frame, count = matching(run, table, where or [], _split(columns), _split(sort), limit)
    if csv:
        typer.echo(frame.to_csv(index=False), nl=False)
    elif as_json:
        typer.echo(json.dumps(for_json(frame), default=float))
    else:
        typer.echo(frame.to_string(index=False))
    if len(frame) < count or not (csv or as_json):
        more = "; --limit 0 shows all" if len(frame) < count else ""
        typer.echo(f"{len(frame):,} of {count:,} rows{more}", err=True)


@_command
def compare(
    run: Run,
    other: Annotated[str | None, typer.Argument(help="A run with the same points to compare with.")] = None,
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
    _print({"worst_difference": finite, "groups": for_json(frame)}, text, as_json)


@_command
def verify(run: Run, as_json: Json = False) -> None:
    """Read every committed file back and check it against its record."""
    from jepa_sweep.results import Store

    store = Store(run)
    damage = store.damage()
    lost = [] if damage else store.lost_notes()
    problems = [problem for listed in damage.values() for problem in listed] + lost
    text = "\n".join(problems) or f"{store!r}\nEvery file is as it was committed."
    strays = store.strays()
    text += "".join(f"\nnot a file of the store: {name}" for name in strays)
    _print({"damaged": damage, "lost": lost, "strays": strays}, text, as_json)
    if damage:
        typer.echo(f"`jepa-sweep repair {run}` computes what is damaged again, and nothing else.", err=True)
    if problems:
        raise typer.Exit(IntegrityError.exit_code)


@_command
def repair(run: Run, device: Device = "auto", as_json: Json = False) -> None:
    """Compute damaged chunks again; the damaged files are kept in .damaged/."""
    _ready_to_compute()
    from jepa_sweep.results import repair as repair_store

    repaired = repair_store(run, device=device)
    text = "\n".join(f"chunk {number}: {'; '.join(what)}" for number, what in repaired.items())
    _print({"repaired": repaired}, text or "nothing is damaged.", as_json)


@_command
def retry(
    run: Run,
    status: Annotated[
        list[str] | None,
        typer.Option(help="Which failures, separated by commas; may be repeated. All of them by default."),
    ] = None,
    rtol: Annotated[float | None, typer.Option(help="Relative tolerance in place of the spec's.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Limit on the steps of a point in place of the spec's.")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Compute points that failed once more, perhaps with other settings."""
    stop = _stop_on_signal()
    _ready_to_compute()
    from jepa_sweep.results import retry as try_again

    options = {"rtol": rtol, "max_steps": max_steps, "device": device, "stop": stop}
    result = try_again(run, _split(status) or ["failed"], **options)
    text = f"{result['tried']:,} points tried again, {result['failed']:,} of them failed again."
    _print(result, text if result["complete"] else f"{text}\nStopped before the end.", as_json)
    raise typer.Exit(STOPPED if not result["complete"] else FAILED_POINTS if result["failed"] else 0)


@_command
def moments(
    file: Annotated[Path, typer.Argument(help="Pairs: .npy (n, 2, d), or .parquet (x0, ..., y0, ...).")],
    y_file: Annotated[Path | None, typer.Option("--with", help="Partners, where FILE holds x alone.")] = None,
    depth: Annotated[int, typer.Option(help="Encoder layers L.")] = 3,
    eps: Annotated[float, typer.Option(help="Initial response of every feature.")] = 1e-3,
    p: Annotated[float, typer.Option(help="Learned at this fraction of the rest point.")] = 0.5,
    top: Annotated[int, typer.Option(min=1, help="Rows to show of each table.")] = 20,
    as_json: Json = False,
) -> None:
    """Features of your own pairs of data, and the orders in which JEPA and MAE would learn them."""
    _ready_to_compute()
    from jepa_sweep.analysis.own_pairs import facts_and_text

    _print(*facts_and_text(file, y_file, depth, eps, p, top), as_json)


@_command
def figure(
    name: Annotated[str, typer.Argument(help="fig1 to fig5, mlp, loss, inversion or critical_times.")],
    out: Folder = Path("figures"),
    run: Annotated[str | None, typer.Option(help="Draw from this run as it is; by default compute runs/NAME.")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Draw a figure of the paper, after computing what it lacks, and check what it claims."""
    _ready_to_compute()
    from jepa_sweep.reproduction import figure as drawn

    with showing(True) as progress:
        found = drawn(name, out, run, device=device, progress=progress)
    _print(found.facts(), f"{found.text()}\n{', '.join(str(path) for path in found.files)}", as_json)
    raise typer.Exit(0 if all(claim.holds for claim in found.claims) else FAILED_POINTS)


@_command
def reproduce(out: Folder = Path("figures"), device: Device = "auto", as_json: Json = False) -> None:
    """Run, draw and check every figure; minutes on two cores."""
    _ready_to_compute()
    from jepa_sweep.reproduction import reproduce as all_drawn

    with showing(True) as progress:
        told = None if as_json else lambda found: typer.echo(found.text())
        found = all_drawn(out, device=device, progress=progress, done=told)
    claims = [claim for one in found for claim in one.claims]
    passed = sum(claim.holds for claim in claims)
    text = f"{passed} of {len(claims)} claims hold, in {sum(one.seconds for one in found):,.0f} s. Pictures: {out}"
    _print([one.facts() for one in found], text, as_json)
    raise typer.Exit(0 if passed == len(claims) else FAILED_POINTS)


@_command
def explore(
    run: Run,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file; <run>.html by default.")] = None,
    as_json: Json = False,
) -> None:
    """Write a page to explore a run with: one HTML file that works offline."""
    from jepa_sweep.results import Store
    from jepa_sweep.view import explorer

    store = Store(run)
    folder = store.path.resolve().parent if isinstance(store.path, Path) else Path()
    page = explorer.write(store.reader, store.system.curves, out or folder / f"{store.title}.html")
    size = page.stat().st_size
    _print({"page": str(page), "bytes": size}, f"{page}: {size / 1e6:.1f} MB; open it in a browser.", as_json)


@_command
def doctor(
    out: Annotated[str, typer.Option("--out", "-o", help="Where runs would be written.")] = "runs",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Check this machine: versions, devices, critical times against SciPy, and whether files can be kept safely."""
    _ready_to_compute()
    from jepa_sweep.doctor import examine

    facts = examine(out, device)
    _print(facts, "\n".join(f"{key:15} {value}" for key, value in facts.items()), as_json)
    if not facts["ok"]:
        raise typer.Exit(1)


def _stop_on_signal() -> Callable[[], bool]:
    """SIGTERM and SIGUSR1 (what batch systems send) end a run after the chunk at hand, a second one at once."""
    received: list[int] = []
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda n, _: received.append(n) if not received else sys.exit(STOPPED))
    return lambda: bool(received)


if __name__ == "__main__":
    main()
