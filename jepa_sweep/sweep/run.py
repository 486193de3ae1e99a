"""Plan to engine to store: run a spec, finish what an earlier run left, repair what is damaged."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from jepa_sweep.engine import devices
from jepa_sweep.errors import IntegrityError, SpecError
from jepa_sweep.store.store import Store
from jepa_sweep.sweep.job import Job
from jepa_sweep.sweep.rows import Work, parameter_columns
from jepa_sweep.sweep.spec import Sweep, read_spec


class Progress(NamedTuple):
    """Where a run stands, after each chunk."""

    done: int  # points of this spec looked at so far; points of several blocks count in each
    total: int
    computed: int  # of them, by this run
    failed: int  # of those, without a result
    seconds: float  # of this run so far, without compiling


class Report(NamedTuple):
    """What a run came to."""

    store: Store
    total: int  # points of the spec
    computed: int  # by this run
    failed: int  # of those, without a result
    complete: bool  # False if it was asked to stop before the end
    seconds: float  # in all
    work: Work  # of the points computed

    @property
    def points_per_second(self) -> float:
        """From beginning to end, without compiling."""
        return self.computed / max(self.seconds - self.work.compile_seconds, 1e-9)

    @property
    def steps_per_point(self) -> float:
        """Solver steps, accepted and rejected."""
        return self.work.steps / max(self.computed, 1)

    @property
    def wasted(self) -> float:
        """The share of all lane steps in which a lane had nothing to do."""
        return 1 - self.work.steps / self.work.lane_steps if self.work.lane_steps else 0.0

    def facts(self) -> dict[str, Any]:
        """All of it as one flat record."""
        own = self._asdict() | {"store": str(self.store.path)}
        rates = {name: getattr(self, name) for name in ("points_per_second", "steps_per_point", "wasted")}
        return {
            **{k: v for k, v in own.items() if k != "work"},
            **rates,
            **self.work._asdict(),
            "seconds": self.seconds,
        }


def run(
    spec: str | Path | Sweep,
    out: str | Path | None = None,
    *,
    device: str = "auto",
    chunk_points: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Store:
    """Compute every point of a spec that is not in the store yet, and return the store.

    Args:
        spec: a spec file, or a `Sweep`.
        out: the run directory; `runs/<name>` by default. Running again continues or extends what is there.
        device: "auto", "cpu", "gpu" or "tpu".
        chunk_points: points that share one file; chosen from the size of the sweep by default.
        progress: called after each chunk.

    Returns:
        The open `Store`; read it with `.points()`, `.trajectories()`, `.failures()`.

    Raises:
        SpecError: the spec cannot be run, or its numbers do not belong into this store.
        StorageError: the file system refused something; what was committed before stays, and running again goes on.

    Example:
        >>> import tempfile, jepa_sweep as js
        >>> sweep = js.Sweep(name="tiny", axes={"lam": 1.0, "rho": [0.5, 1.0], "L": [1, 2], "eps": 1e-3})
        >>> store = js.run(sweep, out=tempfile.mkdtemp())
        >>> len(store.points())
        8
    """
    return execute(spec, out, device=device, chunk_points=chunk_points, progress=progress).store


def execute(
    spec: str | Path | Sweep,
    out: str | Path | None = None,
    *,
    device: str = "auto",
    chunk_points: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Report:
    """`run` with a report; `stop` is asked before each chunk.

    One chunk is written while the next is computed, and no more than these two are held in memory.
    """
    sweep, text = load(spec)
    began = time.perf_counter()
    devices.pick(device)  # a device that is not there is refused before a directory is made
    if chunk_points is not None and (not isinstance(chunk_points, int) or chunk_points < 1):
        raise SpecError(f"`chunk_points` must be a whole number, 1 or more, but it is {chunk_points!r}.")
    store = open_for(sweep, out)
    finish_pending(store, device)
    job = Job(sweep, text, store, device, chunk_points)
    remaining = list(job.chunks())
    done = job.grid.size - sum(chunk.stop - chunk.start for chunk in remaining)
    complete, writing = True, None

    def written() -> None:
        nonlocal done, writing
        if writing:
            chunk, result = writing
            writing = None
            result.result()
            done += chunk.stop - chunk.start
            if progress:
                spent = time.perf_counter() - began - job.work.compile_seconds
                progress(Progress(done, job.grid.size, job.computed, job.failed, spent))

    with ThreadPoolExecutor(1, "writer") as writer:
        for chunk in remaining:
            if stop():
                complete = False
                break
            computed = job.compute(chunk)
            written()
            writing = chunk, writer.submit(job.commit, computed)
        written()
    return Report(store, job.grid.unique, job.computed, job.failed, complete, time.perf_counter() - began, job.work)


def load(spec: str | Path | Sweep) -> tuple[Sweep, str]:
    """A sweep and the text to keep of it."""
    if isinstance(spec, Sweep):
        return spec, spec.to_toml()
    text = read_spec(spec)
    return Sweep.parse(text, str(spec)), text


def default_path(sweep: Sweep) -> Path:
    """Where a sweep is stored unless another place is given."""
    return Path("runs") / sweep.name


def open_for(sweep: Sweep, out: str | Path | None) -> Store:
    """The store of a sweep, created if need be."""
    columns, solver = parameter_columns(sweep.record), sweep.solver
    path = Path(out) if out else default_path(sweep)
    return Store.create(path, sweep.frozen(), columns, solver.precision, solver.time, sweep.record.layout)


def finish_pending(store: Store, device: str = "auto") -> None:
    """Complete the chunks whose writer died between publishing their points and their commit record."""
    for number, claim in store.pending().items():
        _of_spec(store, claim.spec, device).complete(number, claim)


def repair(store: Store, *, device: str = "auto") -> dict[str, list[str]]:
    """Set damaged chunks aside and compute exactly their points again.

    Returns:
        Number of each chunk that was damaged -> what was wrong with it. A chunk whose record and points are both
        unreadable is only set aside: nothing says any more which points it held, and running its spec again finds
        them missing.

    Raises:
        IntegrityError: a spec kept in the store is damaged.
    """
    store.make_folders()
    found = store.damage()
    claims = {number: store.claim_of(number) for number in found}
    for number in found:
        store.set_aside(number)
    finish_pending(store, device)
    for number, claim in claims.items():
        if claim is None:
            found[number].append("which points it held is lost; run its spec again to compute what is missing")
        else:
            _of_spec(store, claim.spec, device).redo(claim)
    return found


def _of_spec(store: Store, name: str, device: str) -> Job:
    """A job for a spec kept in the store."""
    specs = store.specs()
    if name not in specs:
        raise IntegrityError(f"{store.path} must keep every spec that was run, but {name[:8]} is missing.")
    return Job(Sweep.parse(specs[name], f"a spec kept in {store.path}"), specs[name], store, device, None)
