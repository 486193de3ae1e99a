"""What is computed again: chunks a dead writer left unfinished, damaged chunks, and points that failed."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from jepa_sweep.checks import one_of
from jepa_sweep.errors import IntegrityError, SpecError
from jepa_sweep.physics.dynamics import Status
from jepa_sweep.running.job import Job, held
from jepa_sweep.running.plan import Chunk, Intervals
from jepa_sweep.spec.models import Sweep, check_measurement
from jepa_sweep.store import writers
from jepa_sweep.store.store import Store
from jepa_sweep.systems.record import Parameter, Points

PATIENCE = 30.0  # seconds a writer on another machine has from its claim to its commit record
_LOOK = 0.1  # seconds between looks
STATUSES = [status.label for status in Status if status.failed]


def finish(store: Store, device: str = "auto", patience: float | None = None) -> None:
    """See to it that every claim has its commit record.

    Chunks whose writer is known to be dead are completed; other writers are given `patience` seconds to do it
    themselves, and with none they are left to it.
    """
    patience = PATIENCE if patience is None else patience
    until = time.monotonic() + patience
    while pending := store.pending():
        late = time.monotonic() >= until
        for number, claim in pending.items():
            if writers.gone(claim.writer) or (late and patience):
                with _job(store, claim.spec, device) as job:
                    job.complete(number, claim)
        if late:
            return
        if any(number in pending for number in store.pending()):
            time.sleep(_LOOK)


def repair(store: Store, *, device: str = "auto") -> dict[str, list[str]]:
    """Set damaged chunks aside and compute exactly their points again; what was set aside is kept in `.damaged/`.

    Args:
        store: the run.
        device: where to compute, as `jepa_sweep.run` takes it.

    Returns:
        Number of each chunk that was damaged -> what was wrong with it. A chunk whose record and points are both
        unreadable is only set aside: nothing says any more which points it held, and running its spec again finds
        them missing.

    Raises:
        IntegrityError: a spec kept in the store is damaged.
        StorageError: the file system refused something; running it again goes on.

    Example:
        >>> import tempfile, jepa_sweep as js
        >>> sweep = js.Sweep(name="tiny", axes={"lam": 1.0, "rho": [0.5, 1.0], "L": [1, 2], "eps": 1e-3})
        >>> store = js.run(sweep, out=tempfile.mkdtemp(), chunk_points=4)
        >>> (store.path / "points/000001.parquet").write_bytes(b"lost")
        4
        >>> list(js.repair(store)), len(store.points()), store.damage()
        (['000001'], 8, {})
    """
    store.prepare()
    found = store.damage()
    claims = {number: store.claim_of(number) for number in found}
    for number in found:
        store.set_aside(number)
    finish(store, device)
    for number, claim in claims.items():
        if claim is None:
            found[number].append("which points it held is lost; run its spec again to compute what is missing")
            continue
        with _job(store, claim.spec, device) as job:
            if claim.attempt == 1:
                job.commit(job.compute(Chunk(claim.start, claim.stop), Intervals(claim.absent)))
            else:
                _again(job, STATUSES, claim.solver, Intervals(held(claim)))
    return found


def retry(
    store: Store,
    statuses: Sequence[str] = ("failed",),
    *,
    rtol: float | None = None,
    max_steps: int | None = None,
    device: str = "auto",
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Compute points that failed once more, perhaps with other settings of the solver.

    What was computed before stays in the files of `failures`, and `store.failures()` leaves it out. Settings that
    differ from the spec's stand in the commit record of the new chunk.

    Args:
        store: the run.
        statuses: which failures: words of the column `status`, or "failed" for all.
        rtol: relative tolerance in place of the spec's.
        max_steps: limit on the steps of a point in place of the spec's.
        device: where to compute, as `jepa_sweep.run` takes it.
        stop: asked before each chunk.

    Returns:
        How many points were tried, and how many of them failed again; `complete` is False if it was asked to stop.

    Raises:
        SpecError: there is no such status, or a setting cannot be used.
        StorageError: the file system refused something; what was committed before stays.

    Example:
        >>> import tempfile, jepa_sweep as js
        >>> axes = {"lam": 1.0, "rho": [0.5, 1.0], "L": [1, 2], "eps": 1e-3}
        >>> sweep = js.Sweep(name="tiny", axes=axes, solver={"max_steps": 4})
        >>> store = js.run(sweep, out=tempfile.mkdtemp())
        >>> before = len(store.failures())
        >>> result = js.retry(store, ["max_steps"], max_steps=1000)
        >>> before == result["tried"] > 0, len(store.failures()), len(store.points())
        (True, 0, 8)
    """
    chosen = _chosen(statuses)
    overrides = {"rtol": rtol, "max_steps": max_steps}
    solver = tuple((key, value) for key, value in overrides.items() if value is not None)
    store.prepare()
    finish(store, device)
    total = {"tried": 0, "failed": 0, "complete": True}
    for text in store.specs().values():
        sweep = Sweep.parse(text, f"a spec kept in {store.path}")
        check_measurement(sweep.record, sweep.measurement.with_solver(**dict(solver)))
        with Job(sweep, text, store, device) as job:
            complete = _again(job, chosen, solver, stop=stop)
            total = {
                "tried": total["tried"] + job.computed,
                "failed": total["failed"] + job.failed,
                "complete": complete,
            }
        if not complete:
            break
    return total


def _chosen(statuses: Sequence[str]) -> Sequence[str]:
    for word in statuses:
        one_of("status", word, ("failed", *STATUSES))
    if not statuses:
        raise SpecError(f"`status` must name failures to try again: failed, or some of {', '.join(STATUSES)}.")
    return STATUSES if "failed" in statuses else statuses


def _again(
    job: Job,
    statuses: Sequence[str],
    solver: tuple[tuple[str, Any], ...],
    within: Intervals | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Compute the failures of a job's spec once more, chunk by chunk; False if asked to stop before the end.

    Points that a higher attempt has claimed are left to that, whether or not it is committed.
    """
    for number in [number for number, claim in job.store.claims().items() if claim.spec == job.name]:
        if stop():
            return False
        known = job.store.claims()
        claim, frame = known[number], job.store.failures_of(number)
        index = _indices(job, frame.loc[frame["status"].isin(statuses)])
        higher = [c for c in known.values() if c.attempt > claim.attempt and c.meets(claim)]
        free = ~Intervals(piece for c in higher for piece in held(c)).contains(index)
        index = index[free & within.contains(index)] if within else index[free]
        if len(index):
            job.commit(job.again(index, claim.attempt + 1, solver, known))
    return True


def _indices(job: Job, frame: pd.DataFrame) -> np.ndarray:
    """The sorted indices of some failures of one chunk."""
    if frame.empty:
        return np.zeros(0, np.int64)
    columns = {q.name: _numbers(q, frame[q.name]) for q in job.sweep.record.parameters}
    p = np.asarray(frame["p"]) if "p" in frame else np.full(len(frame), job.grid.p[0])
    [objective] = set(frame["objective"])
    index = job.grid.find(Points(objective, columns, p, np.zeros(0, int), job.grid.p))
    assert (index >= 0).all(), "a chunk holds points of its own spec"
    return np.sort(index)


def _numbers(parameter: Parameter, values: Iterable[Any]) -> np.ndarray:
    """A column of a table as the grid has it: words by their place among the choices."""
    return np.array([parameter.choices.index(v) for v in values] if parameter.choices else values, dtype=float)


def _job(store: Store, name: str, device: str) -> Job:
    """A job for a spec kept in the store."""
    specs = store.specs()
    if name not in specs:
        raise IntegrityError(f"{store.path} must keep every spec that was run, but {name[:8]} is missing.")
    return Job(Sweep.parse(specs[name], f"a spec kept in {store.path}"), specs[name], store, device)
