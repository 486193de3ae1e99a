"""How far a run is, as the command line shows it."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import typer


@contextlib.contextmanager
def shown() -> Iterator[Any]:
    """A live bar on a terminal, elsewhere a line every few seconds."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        layout = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
        with Progress(*layout, console=Console(stderr=True)) as bar:
            task = bar.add_task("points", total=None, rate="compiling")
            yield lambda p: bar.update(task, total=p.total, completed=p.done, rate=f"{_rate(p):,.0f} points/s")
        return
    last = [0.0, -1]  # when there was a line, and the points of it

    def line(p: Any) -> None:
        if p.seconds - last[0] >= 5 or p.done == p.total != last[1]:
            last[:] = p.seconds, p.done
            left = (p.total - p.done) / max(_rate(p), 1e-9)
            typer.echo(f"{p.done:,}/{p.total:,} points, {_rate(p):,.0f} points/s, {left:,.0f} s left", err=True)

    yield line


def _rate(p: Any) -> float:
    return p.computed / max(p.seconds, 1e-9)
