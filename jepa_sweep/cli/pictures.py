"""Commands that draw: figures with their claims, and a page to explore a run."""

from pathlib import Path
from typing import Annotated

import typer

from jepa_sweep.cli import forms, shell
from jepa_sweep.cli.forms import Format
from jepa_sweep.cli.shell import Device, Folder, Json, Run
from jepa_sweep.progress import showing


@shell.command
def figure(
    name: Annotated[str, typer.Argument(metavar="NAME", help="fig1 to fig5, mlp, loss, inversion or critical_times.")],
    out: Folder = "figures",
    run: Annotated[
        str | None, typer.Option(metavar="RUN", help="Draw from this run as it is; by default compute runs/NAME.")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Draw a figure of the paper, after computing what it lacks, and check what it claims."""
    shell.ready_to_compute()
    from jepa_sweep.reproduction import figure as drawn

    with showing(True) as progress:
        found = drawn(name, out, run, device=device, progress=progress)
    shell.put(found.facts(), f"{found.text()}\n{', '.join(str(path) for path in found.files)}", as_json)
    raise typer.Exit(0 if all(claim.holds for claim in found.claims) else shell.FAILED_POINTS)


@shell.command
def reproduce(out: Folder = "figures", device: Device = "auto", format: Format = None, as_json: Json = False) -> None:
    """Run, draw and check every figure; minutes on two cores."""
    form = forms.chosen(format, as_json)
    shell.ready_to_compute()
    from jepa_sweep.reproduction import claims_of
    from jepa_sweep.reproduction import reproduce as all_drawn

    with showing(True) as progress:
        told = (lambda found: shell.say(found.text())) if form == "text" else None
        found = all_drawn(out, device=device, progress=progress, done=told)
    claims = [claim for one in found for claim in one.claims]
    passed = sum(claim.holds for claim in claims)
    text = f"{passed} of {len(claims)} claims hold, in {sum(one.seconds for one in found):,.0f} s. Pictures: {out}"
    forms.report([one.facts() for one in found], claims_of(found), [text], form)
    raise typer.Exit(0 if passed == len(claims) else shell.FAILED_POINTS)


@shell.command
def explore(
    run: Run,
    out: Annotated[
        str | None, typer.Option("--out", "-o", metavar="FILE", help="The file; <run>.html by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a page to explore a run with: one HTML file that works offline."""
    from jepa_sweep.checks import size_of
    from jepa_sweep.results import Store
    from jepa_sweep.view import explorer

    store = Store(run)
    folder = store.path.resolve().parent if isinstance(store.path, Path) else Path()
    out = str(folder / f"{store.reader.title}.html") if out is None else out
    page = explorer.write(store.reader, store.system.curves, out)
    size = page.stat().st_size
    shell.put({"page": str(page), "bytes": size}, f"{page}: {size_of(size)}; open it in a browser.", as_json)
