"""What a run tells: how far it is after each chunk, and at its end what it came to."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from jepa_sweep.checks import size_of
from jepa_sweep.progress import Progress
from jepa_sweep.running.limits import Failures
from jepa_sweep.running.queue import Queue
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.records import Work
from jepa_sweep.systems.system import System


class Counts(Protocol):
    """What a run has computed so far."""

    computed: int  # points
    failed: int  # of those, without a result
    repeated: int  # points computed, but stored by another writer meanwhile

    @property
    def work(self) -> Work:
        """What the points computed took."""
        ...


class Report(NamedTuple):
    """What a run came to."""

    store: Reader
    system: System
    total: int  # points of the spec
    computed: int  # by this run
    failed: int  # of those, without a result
    repeated: int  # computed by this run, but stored by another writer meanwhile
    stopped: str  # why it ended before its end; empty where it did not
    seconds: float  # in all
    work: Work  # of the points computed
    whole: bool = True  # False for a share of the chunks

    @property
    def complete(self) -> bool:
        """True if nothing of it is left to do."""
        return not self.stopped

    @property
    def points_per_second(self) -> float | None:
        """From beginning to end, without compiling; None, as the other rates, where nothing was computed."""
        return self.computed / max(self.seconds - self.work.compile_seconds, 1e-9) if self.computed else None

    @property
    def steps_per_point(self) -> float | None:
        """Solver steps, accepted and rejected."""
        return self.work.steps / self.computed if self.computed else None

    @property
    def wasted(self) -> float | None:
        """The share of all lane steps in which a lane had nothing to do; None without lanes."""
        return 1 - self.work.steps / self.work.lane_steps if self.work.lane_steps else None

    def facts(self) -> dict[str, Any]:
        """All of it in one flat dict."""
        rates = {name: getattr(self, name) for name in ("complete", "points_per_second", "steps_per_point", "wasted")}
        facts = {**self.work._asdict(), **self._asdict(), **rates, "store": str(self.store.path)}
        facts["peak_memory_bytes"] = self.work.peak_memory_bytes or None
        return {name: value for name, value in facts.items() if name not in ("work", "system", "whole")}

    def text(self) -> str:
        """How much was computed and what that took, in sentences; no rates where nothing was computed."""
        if not self.computed and not self.repeated and self.complete:
            there = f"all {self.total:,} points are there" if self.whole else "all points of this share are there"
            return f"{self.store.path}: nothing to do: {there}."
        work, text = self.work, f"{self.store.path}: {self.computed:,} of {self.total:,} points computed now"
        if not self.computed:
            return f"{text}."
        text += f", {self.points_per_second:,.0f} points a second, {self.seconds:.1f} s in all of which "
        text += f"{work.compile_seconds:.1f} s compiling.\n"
        if work.steps:
            text += f"{self.steps_per_point:.1f} solver steps a point, "
        if work.lane_steps:
            text += f"{self.wasted:.0%} of lane steps wasted, "
        text += f"{size_of(work.peak_memory_bytes)} of memory at the peak."
        if work.rechecked:
            text += f"\n{work.rechecked:,} points were solved again in float64: single precision was off by at most "
            text += f"{work.recheck_error:.1e}."
        return text


class Monitor(NamedTuple):
    """Says whether a run must stop, and tells the user how far it is."""

    began: float  # by `time.perf_counter`
    failures: Failures
    stop: Callable[[], bool]
    progress: Callable[[Progress], None] | None

    def stopped(self, counts: Counts) -> str:
        """Why no other chunk may be begun; empty where one may."""
        return "it was asked to" if self.stop() else self.failures.exceeded(counts.failed, counts.computed)

    def tell(self, queue: Queue, counts: Counts) -> None:
        """Tell the user how far it is."""
        if self.progress:
            seconds = time.perf_counter() - self.began - counts.work.compile_seconds
            self.progress(Progress(queue.done, queue.total, counts.computed, counts.failed, seconds))

    def report(self, store: Reader, system: System, queue: Queue, counts: Counts, stopped: str) -> Report:
        """What it came to; `stopped` says why it ended before its end."""
        points = queue.total, counts.computed, counts.failed, counts.repeated
        return Report(store, system, *points, stopped, time.perf_counter() - self.began, counts.work)
