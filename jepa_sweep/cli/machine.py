"""The command that checks this machine."""

import contextlib
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
    with contextlib.suppress(ImportError, RuntimeError):  # of a JAX that is missing or broken: the checks say so
        shell.ready_to_compute()
    from jepa_sweep.doctor import examine

    facts = examine(out, device)
    told = (f"{name:15} {value}" for name, value in facts.items() if name not in ("ok", "code", "problems"))
    failed = len(facts["problems"])
    ending = "all is well" if facts["ok"] else f"{failed} check{'s' if failed > 1 else ''} failed, see above"
    shell.put(facts, "\n".join([*told, ending]), as_json)
    if not facts["ok"]:
        raise typer.Exit(facts["code"])
