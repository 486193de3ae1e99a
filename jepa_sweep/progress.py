"""How far a run is, and ways to show it: a live bar, or a line every few seconds."""

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

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


Show = Callable[[Progress], None]


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
    if sys.stderr.isatty() or (console.is_jupyter and importlib.util.find_spec("ipywidgets")):
        with _bar(console) as show:
            yield show
    else:
        yield _Lines() if progress or console.is_jupyter else None


@contextlib.contextmanager
def _bar(console) -> Iterator[Show]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    layout = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Bar(*layout, console=console) as bar:
        task = bar.add_task("points", total=None, rate="compiling")
        yield lambda p: bar.update(task, total=p.total, completed=p.done, rate=f"{p.points_per_second:,.0f} points/s")


class _Lines:
    """Writes a line every few seconds, and one when all is done."""

    def __init__(self) -> None:
        self._last = Progress(done=-1, total=0, computed=0, failed=0, seconds=0.0)

    def __call__(self, now: Progress) -> None:
        ended = now.computed and now.done == now.total != self._last.done
        if now.seconds - self._last.seconds >= SECONDS_BETWEEN_LINES or ended:
            self._last = now
            rate = now.points_per_second
            left = (now.total - now.done) / max(rate, 1e-9)
            sys.stderr.write(f"{now.done:,}/{now.total:,} points, {rate:,.0f} points/s, {left:,.0f} s left\n")
