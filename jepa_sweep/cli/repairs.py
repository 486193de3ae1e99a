"""Commands that look for damage and failed points, and compute them again."""

from typing import TYPE_CHECKING, Annotated

import typer

from jepa_sweep.cli import shell
from jepa_sweep.cli.shell import Device, Json, Run
from jepa_sweep.errors import IntegrityError, on_one_line

if TYPE_CHECKING:
    from jepa_sweep.results import Store


@shell.command
def verify(run: Run, as_json: Json = False) -> None:
    """Read every committed file back and check it against its record."""
    from jepa_sweep.results import Store

    store = Store(run)
    damage, lost = _faults(store)
    problems = [problem for listed in damage.values() for problem in listed] + lost
    told = "\n".join(map(on_one_line, problems))
    text = told or f"{store.path}: {_extent(store)}.\nEvery file is as it was committed."
    strays = store.strays()
    text += "".join(f"\nnot a file of the store: {on_one_line(name)}" for name in strays)
    shell.put({"damaged": damage, "lost": lost, "strays": strays}, text, as_json)
    if damage:
        shell.say(f"`jepa-sweep repair {run}` computes what is damaged again, and nothing else.", aside=True)
    if problems:
        raise typer.Exit(IntegrityError.exit_code)


def _faults(store: "Store") -> tuple[dict[str, list[str]], list[str]]:
    """What is damaged, and which notes are lost, where nothing is damaged."""
    damage = store.damage()
    return damage, [] if damage else store.lost_notes()


def _extent(store: "Store") -> str:
    """How much was read back. What it says would have to be read once more."""
    from jepa_sweep.checks import size_of  # not at the top: it brings NumPy, for which help does not wait

    files = [file for commit in store.reader.log.commits() for file in commit.files]
    return f"{len(files):,} files, {size_of(sum(file.bytes for file in files))}"


@shell.command
def repair(run: Run, device: Device = "auto", as_json: Json = False) -> None:
    """Compute damaged chunks again; the damaged files are kept in .damaged/."""
    shell.ready_to_compute()
    from jepa_sweep.computing import repair as repair_store
    from jepa_sweep.results import Store
    from jepa_sweep.store.location import REPAIR

    store = Store(run)
    repaired = repair_store(store, device=device)
    damage, lost = _faults(store)
    left = [problem for listed in damage.values() for problem in listed] + lost
    told = {name: [one.replace(f"; {REPAIR}", "") for one in what] for name, what in repaired.items()}
    lines = [f"{'repaired chunk' if n.isdigit() else 'set aside'} {n}: {'; '.join(what)}" for n, what in told.items()]
    lines += [f"left as it is: {problem}" for problem in left]
    text = "\n".join(map(on_one_line, lines)) or "nothing to do: nothing is damaged."
    shell.put({"repaired": told, "left": left}, text, as_json)
    if left:
        raise typer.Exit(IntegrityError.exit_code)


@shell.command
def retry(
    run: Run,
    status: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WORDS", help="Which failures, separated by commas; may be repeated. All of them by default."
        ),
    ] = None,
    rtol: Annotated[float | None, typer.Option(metavar="X", help="Relative tolerance in place of the spec's.")] = None,
    max_steps: Annotated[
        int | None, typer.Option(metavar="N", help="Limit on the steps of a point in place of the spec's.")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Compute points that failed once more, perhaps with other settings."""
    stop = shell.stop_on_signal()
    shell.ready_to_compute()
    from jepa_sweep.computing import retry as try_again

    options = {"rtol": rtol, "max_steps": max_steps, "device": device, "stop": stop}
    result = try_again(run, shell.split(status) if status else ["failed"], **options)
    text = f"{result['tried']:,} points tried again, {result['failed']:,} of them failed again."
    text = text if result["tried"] else "nothing to do: no point has failed so."
    shell.put(result, text if result["complete"] else f"{text}\nStopped before the end.", as_json)
    raise typer.Exit(shell.STOPPED if not result["complete"] else shell.FAILED_POINTS if result["failed"] else 0)
