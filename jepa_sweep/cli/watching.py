"""Following a run on a terminal, or in lines where there is none."""

import contextlib
import json
import sys
from typing import TYPE_CHECKING

from jepa_sweep.cli import shell
from jepa_sweep.cli.cells import writer_row
from jepa_sweep.errors import on_one_line
from jepa_sweep.progress import line_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from jepa_sweep.running.following import Followed


def watched(run: str, every: float, as_json: bool) -> None:
    """Show how a run goes on until it is complete or the user has seen enough; nothing of the run is touched."""
    from jepa_sweep.running.following import follow
    from jepa_sweep.store.reader import Reader

    with contextlib.suppress(KeyboardInterrupt), _shown(as_json) as show:
        for seen in follow(Reader(run), every):
            show(seen)


@contextlib.contextmanager
def _shown(as_json: bool):
    """Yields what is to be called after each look."""
    if as_json or not sys.stdout.isatty():
        yield _Lines(_as_json if as_json else _line)
        return
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        yield lambda seen: live.update(_picture(seen), refresh=True)


class _Lines:
    """Writes a line whenever the run has changed, but not where the rate alone has."""

    def __init__(self, text: "Callable[[Followed], str]") -> None:
        self._text, self._last = text, None

    def __call__(self, seen: "Followed") -> None:
        if seen.standing != self._last:
            self._last = seen.standing
            shell.say(self._text(seen))
            sys.stdout.flush()


def _as_json(seen: "Followed") -> str:
    rate = {"points_per_second": seen.points_per_second, "seconds_left": seen.seconds_left}
    return json.dumps(seen.standing.facts() | rate, default=float)


def _line(seen: "Followed") -> str:
    now = seen.standing
    if now.complete:
        return f"complete: {_ended(seen)}"
    line = line_of(now.done, now.asked, seen.points_per_second, seen.seconds_left)
    return f"{line}, {now.failed:,} failed, {_at_work(seen)}"


def _ended(seen: "Followed") -> str:
    now = seen.standing
    return f"all {now.done:,} points are there" + (f", {now.failed:,} of them failed" if now.failed else "")


def _at_work(seen: "Followed") -> str:
    count = len(seen.standing.working)
    return f"{count:,} writer{'s' if count != 1 else ''} at work" if count else "nobody is at work"


def _picture(seen: "Followed") -> "RenderableType":
    """A bar, what there is to say of it, and who is at work."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    now = seen.standing
    head = Table.grid(padding=(0, 1))
    head.add_row(ProgressBar(max(now.asked, 1), now.done, width=40), f"{now.done / max(now.asked, 1):.1%}")
    writers = Table.grid(padding=(0, 2))
    for writer in now.working:
        writers.add_row(*(Text(on_one_line(cell)) for cell in writer_row(writer)))
    return Group(head, Text(_line(seen)), writers)
