"""The command that checks this machine."""

from typing import Annotated

import typer

from jepa_sweep.cli import shell
from jepa_sweep.cli.shell import Device, Json


@shell.command
def doctor(
    out: Annotated[str, typer.Option("--out", "-o", metavar="FOLDER", help="Where runs would be written.")] = "runs",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Check this machine: versions, devices, critical times against SciPy, and whether files can be kept safely."""
    shell.ready_to_compute()
    from jepa_sweep.doctor import examine

    facts = examine(out, device)
    shell.put(facts, "\n".join(f"{key:15} {value}" for key, value in facts.items()), as_json)
    if not facts["ok"]:
        raise typer.Exit(1)
