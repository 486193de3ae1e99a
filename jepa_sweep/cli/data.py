"""The command on a user's own pairs of data."""

from typing import Annotated

import typer

from jepa_sweep.cli import forms, shell
from jepa_sweep.cli.forms import Format
from jepa_sweep.cli.shell import Json


@shell.command
def moments(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Pairs: .npy (n, 2, d), or .parquet (x0, ..., y0, ...).")],
    y_file: Annotated[
        str | None, typer.Option("--with", metavar="FILE", help="Partners, where FILE holds x alone.")
    ] = None,
    depth: Annotated[int, typer.Option("--L", metavar="L", help="Encoder layers.")] = 3,
    eps: Annotated[float, typer.Option(metavar="X", help="Initial response of every feature.")] = 1e-3,
    p: Annotated[float, typer.Option(metavar="P", help="Learned at this fraction of the rest point.")] = 0.5,
    top: Annotated[
        int, typer.Option(min=1, metavar="N", help="Rows of each table in text; other forms have all.")
    ] = 20,
    format: Format = None,
    as_json: Json = False,
) -> None:
    """Features of your own pairs of data, and the orders in which JEPA and MAE would learn them."""
    form = forms.chosen(format, as_json)
    shell.ready_to_compute()
    from jepa_sweep.analysis.own_pairs import account

    forms.report(*account(file, y_file, depth, eps, p, top), form)
