"""Commands for who writes a spec: one to start from, and the schema by which editors complete and check it."""

from pathlib import Path
from typing import Annotated

import typer

from jepa_sweep.cli import shell
from jepa_sweep.cli.shell import Json


@shell.command
def init(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help='Name of the sweep, and of its file; "sweep" by default.')
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(
            metavar="SYSTEM", help="What to sweep: reduced (the default), network, training, temporal, or file.py:NAME."
        ),
    ] = None,
    figure: Annotated[
        str | None, typer.Option(metavar="FIGURE", help="Copy the spec of a figure instead: fig1, ..., quickstart.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a commented spec to start from; it runs as it is, and nothing is overwritten."""
    from jepa_sweep.spec import begin

    facts = begin.write(name, system, figure, Path())
    text = f"Wrote {' and '.join(facts['written'])}."
    if facts["left"]:
        text += (
            f"\n{facts['left'][0]} was there already and is not the schema of specs, so it stays as it is; "
            "`jepa-sweep schema` prints the schema, by which editors check a spec."
        )
    if facts["todo"]:
        text += f"\nTo be put right before it can be run:\n{facts['todo']}"
    text += (
        f"\nNext: `jepa-sweep plan {facts['spec']}`, then `jepa-sweep run {facts['spec']}`."
        f"\nOther systems (--system): {', '.join(facts['systems'])}, or your own as file.py:NAME."
        f"\nShipped specs (--figure): {', '.join(facts['figures'])}."
    )
    shell.put(facts, text, as_json)


@shell.command
def schema(as_json: Json = False) -> None:
    """Print the JSON schema of a spec, by which editors complete and check it."""
    del as_json  # it is JSON either way
    from jepa_sweep.spec.schema import text

    shell.say(text().removesuffix("\n"))
