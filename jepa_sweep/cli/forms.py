"""Tables as commands print them: in the form that was asked for, text to fit the terminal."""

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jepa_sweep.cli import shell
from jepa_sweep.errors import SpecError
from jepa_sweep.layout import FORMS, laid_out, told

if TYPE_CHECKING:
    import pandas as pd

Format = Annotated[
    str | None, typer.Option("--format", metavar="FORM", help="text (the default), csv, markdown, latex or json.")
]


def chosen(form: str | None, as_json: bool) -> str:
    """The form that a command was asked for by `--format` or `--json`; raises `SpecError` unless it is one."""
    if form is not None:
        from jepa_sweep.checks import check_one_of  # not at the top: it brings NumPy, for which --help need not wait

        check_one_of("--format", form, FORMS)
    if as_json and form not in (None, "json"):
        raise SpecError(f"Rows must be printed in one form, but --format {form} and --json are given; leave one out.")
    return "json" if as_json else form or "text"


def put(frame: "pd.DataFrame", form: str, keys: Sequence[str] = ()) -> None:
    """Print a table in one of the `FORMS`, as `laid_out` explains."""
    shell.say(laid_out(frame, form, _terminal(), keys))


def report(facts: Any, table: "pd.DataFrame", parts: "Iterable[str | pd.DataFrame]", form: str) -> None:
    """Print a result of sentences and tables: all `parts` as text, the `facts` as JSON, else the one table."""
    if form == "json":
        shell.put(facts, "", as_json=True)
    elif form != "text":
        put(table, form)
    else:
        shell.say(told(parts, _terminal()))


def _terminal() -> int | None:
    """The width of the terminal that is printed to; None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
