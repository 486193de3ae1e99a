"""How far a run is, and ways to show it: a live bar, or a line every few seconds."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from typing_extensions import TypeAliasType

SECONDS_BETWEEN_LINES = 5


class Progress(NamedTuple):
    """Where a run stands, after each chunk."""

    done: int  # points of this spec in the store by now, whoever computed them, each counted once
    total: int  # points of this spec
    computed: int  # of them, by this run
    failed: int  # of those, without a result
    seconds: float  # of this run so far, without compiling

    @property
    def points_per_second(self) -> float:
        """Of those computed by this run."""
        return self.computed / max(self.seconds, 1e-9)

    def text(self) -> str:
        """All of it on one line."""
        left = (self.total - self.done) / max(self.points_per_second, 1e-9)
        failed = f", {self.failed:,} failed" if self.failed else ""
        return line_of(self.done, self.total, self.points_per_second, left) + failed


Show = TypeAliasType("Show", Callable[[Progress], None])  # what is called with it


def line_of(done: int, total: int, points_per_second: float | None, seconds_left: float | None) -> str:
    """How far a run is, on one line, as far as that is known."""
    rate = "" if points_per_second is None else f", {points_per_second:,.0f} points/s"
    return f"{done:,}/{total:,} points{rate}" + (f", {duration(seconds_left)} left" if seconds_left else "")


def duration(seconds: float) -> str:
    """A time that is known to a factor of a few, in the unit that suits it."""
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:,.0f} seconds" if seconds >= 1.5 else "a second"


@contextlib.contextmanager
def showing(progress: Show | bool | None = None) -> Iterator[Show | None]:
    """Yields what is to be called after each chunk, None for nothing.

    Args:
        progress: a function, which is called as it is; False for nothing; None for a live bar on a terminal or in a
            notebook and nothing elsewhere; True for a live bar there and lines elsewhere.
    """
    if progress is False or callable(progress):
        yield progress or None
        return
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_jupyter or sys.stderr.isatty():
        with _in_notebook() if console.is_jupyter else _bar(console) as show:
            yield show
    else:
        yield _Lines() if progress else None


@contextlib.contextmanager
def _bar(console) -> Iterator[Show]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    layout = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Bar(*layout, console=console) as bar:
        task = bar.add_task("points", total=None, rate="compiling")
        yield lambda p: bar.update(task, total=p.total, completed=p.done, rate=f"{p.points_per_second:,.0f} points/s")
        if bar.tasks[0].total is None:  # nothing was left to do
            bar.remove_task(task)


@contextlib.contextmanager
def _in_notebook() -> Iterator[Show]:
    """A bar in the output of the cell that runs. It is of plain HTML: a bar of rich would need widgets."""
    from IPython.display import display  # type: ignore[import-not-found]  # a notebook has it, and nobody else needs it

    cell = _Cell(display(_Drawn("compiling"), display_id=True))
    yield cell
    if not cell.used:  # nothing was left to do
        cell.bar.update(_Drawn(""))


class _Cell:
    """The output of a cell, drawn anew after each chunk."""

    def __init__(self, bar: Any) -> None:
        self.bar, self.used = bar, False

    def __call__(self, now: Progress) -> None:
        self.used = True
        self.bar.update(_Drawn(now.text(), f' value="{now.done}" max="{max(now.total, 1)}"'))


class _Drawn(NamedTuple):
    """One state of a bar: HTML for a notebook in a browser, text for one in a terminal."""

    text: str  # without any there is no bar
    filled: str = ""  # attributes; without any the bar moves to and fro

    def _repr_html_(self) -> str:
        bar = f'<progress{self.filled} style="width: 24em; vertical-align: middle"></progress> {self.text}'
        return bar if self.text else ""

    def __repr__(self) -> str:
        return self.text


class _Lines:
    """Writes a line every few seconds, and one when all is done."""

    def __init__(self) -> None:
        self._last = Progress(done=-1, total=0, computed=0, failed=0, seconds=0.0)

    def __call__(self, now: Progress) -> None:
        ended = now.computed and now.done == now.total != self._last.done
        if now.seconds - self._last.seconds >= SECONDS_BETWEEN_LINES or ended:
            self._last = now
            sys.stderr.write(f"{now.text()}\n")
