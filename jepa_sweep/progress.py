"""How far a run is, and what it took, as the command line shows it."""

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
        ended = p.computed and p.done == p.total != last[1]
        if p.seconds - last[0] >= 5 or ended:
            last[:] = p.seconds, p.done
            left = (p.total - p.done) / max(_rate(p), 1e-9)
            typer.echo(f"{p.done:,}/{p.total:,} points, {_rate(p):,.0f} points/s, {left:,.0f} s left", err=True)

    yield line


def took(report: Any) -> str:
    """How much a run computed and what that took, which of nothing has no rates."""
    work, text = report.work, f"{report.store.path}: {report.computed:,} of {report.total:,} points computed now"
    if not report.computed:
        return f"{text}{': nothing was left to do' if report.complete and not report.repeated else ''}."
    text += f", {report.points_per_second:,.0f} points a second, {report.seconds:.1f} s in all of which "
    text += f"{work.compile_seconds:.1f} s compiling.\n"
    if work.steps:
        text += f"{report.steps_per_point:.1f} solver steps a point, "
    if work.lane_steps:
        text += f"{report.wasted:.0%} of lane steps wasted, "
    text += f"{work.peak_memory_bytes / 1e9:.1f} GB of memory at the peak."
    if work.rechecked:
        text += f"\n{work.rechecked:,} points were solved again in float64: single precision was off by at most "
        text += f"{work.recheck_error:.1e}."
    return text


def _rate(p: Any) -> float:
    return p.computed / max(p.seconds, 1e-9)
