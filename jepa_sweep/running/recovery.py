"""What is computed again: chunks a dead writer left unfinished, damaged chunks, and points that failed."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jepa_sweep.checks import check_one_of, shown
from jepa_sweep.errors import IntegrityError, SpecError
from jepa_sweep.running.job import Job, check_within, kept
from jepa_sweep.running.plan import Chunk, Intervals
from jepa_sweep.spec.grid import Grid
from jepa_sweep.spec.settings import tried_again
from jepa_sweep.store import writer_names
from jepa_sweep.store.location import MARK, REPAIR
from jepa_sweep.store.manifest import REMEDY
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.records import Claim
from jepa_sweep.store.writer import Writer
from jepa_sweep.systems.shared import FAILED
from jepa_sweep.systems.system import Parameter, Points, System

if TYPE_CHECKING:
    import pandas as pd

CLAIM_TIMEOUT_S = 30.0  # from the claim of a writer on another machine to its commit record
POLL_S = 0.1  # between looks at the commit records of others


def finish(store: Writer, system: System, device: str = "auto", timeout_s: float = CLAIM_TIMEOUT_S) -> None:
    """Commit every chunk that was claimed and not committed.

    Chunks whose writer is known to be dead are computed here. Other writers are given the time to commit theirs, after
    which they count as dead too; with no time at all, they are left to it.

    Raises:
        IntegrityError: files of committed chunks are gone.
    """
    if gone := store.reader.gone():
        more = f" and {len(gone) - 1:,} more committed files are" if len(gone) > 1 else " is"
        raise IntegrityError(f"{store.reader.location.where(gone[0])}{more} missing; {REPAIR}.")
    until = time.monotonic() + timeout_s
    while pending := store.reader.log.pending():
        late = time.monotonic() >= until
        for number, claim in pending.items():
            if writer_names.gone(claim.writer) or (late and timeout_s):
                with _job(store, system, number, claim, device) as job:
                    job.complete(number, claim)
        if late:
            return
        if pending.keys() & store.reader.log.pending().keys():
            time.sleep(POLL_S)


def repair(reader: Reader, system: System, device: str = "auto") -> dict[str, list[str]]:
    """Set damaged chunks aside and compute their points again; see `jepa_sweep.repair`."""
    store = Writer(reader)
    strangers = store.set_aside_strangers()
    grids = {digest: Grid(kept(reader, system, text)) for digest, text in reader.specs().items()}
    found = reader.damage()
    lost = {number: reader.log.claim_of(number) for number in found}
    for number in found:
        store.set_aside(number)
    for number, claim in reader.log.claims().items():
        if problem := _impossible(reader, number, claim, grids):
            store.set_aside(number)
            found[number], lost[number] = [problem], None
    finish(store, system, device)
    for number, claim in lost.items():
        if claim is None or _impossible(reader, number, claim, grids):
            found[number].append("which points it held is lost; run its spec again to compute what is missing")
            continue
        with _job(store, system, number, claim, device) as job:
            if claim.attempt == 1:
                job.commit(job.compute(Chunk(claim.start, claim.stop), Intervals(claim.absent)))
            else:  # its points count as failures of the attempt before
                _again(job, FAILED, claim.solver, within=Intervals(claim.pieces))
    return strangers | found


def _impossible(reader: Reader, number: str, claim: Claim, grids: dict[str, Grid]) -> str:
    """Why a chunk cannot hold the points it claims, as far as these grids of specs tell; empty if it can."""
    try:
        if claim.spec in grids:
            check_within(reader, number, claim, grids[claim.spec])
    except IntegrityError as error:
        return str(error)
    return ""


def retry(
    reader: Reader,
    system: System,
    statuses: str | Sequence[str],
    solver: dict[str, Any],
    device: str = "auto",
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Compute points that failed once more, with some settings of the solver replaced; see `jepa_sweep.retry`."""
    statuses = [statuses] if isinstance(statuses, str) else statuses
    for word in statuses:
        check_one_of("status", word, ("failed", *FAILED))
    if not statuses:
        raise SpecError(f"`status` must name failures to try again: failed, or some of {', '.join(FAILED)}.")
    chosen = FAILED if "failed" in statuses else statuses
    store = Writer(reader)
    store.prepare()
    finish(store, system, device)
    tried, failed, complete = 0, 0, True
    for text in reader.specs().values():
        sweep = kept(reader, system, text)
        tried_again(system, sweep.measurement, solver)
        with Job(sweep, text, store, device) as job:
            complete = _again(job, chosen, tuple(solver.items()), stop=stop)
        tried, failed = tried + job.computed, failed + job.failed
        if not complete:
            break
    return {"tried": tried, "failed": failed, "complete": complete}


def _again(
    job: Job,
    statuses: Sequence[str],
    solver: tuple[tuple[str, Any], ...],
    within: Intervals | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Compute failures of a job's spec once more, chunk by chunk; False if asked to stop before the end.

    Points that a higher attempt has claimed are left to that, whether or not it is committed.
    """
    for number in [number for number, claim in job.log.claims().items() if claim.spec == job.digest]:
        if stop():
            return False
        known, frame = job.log.claims(), job.store.reader.failures_of(number)
        claim, index = known[number], _indices(job, frame.loc[frame["status"].isin(statuses)])
        higher = [c for c in known.values() if c.attempt > claim.attempt and c.meets(claim)]
        index = index[~Intervals(piece for c in higher for piece in c.pieces).contains(index)]
        if within:
            index = index[within.contains(index)]
        if len(index):
            job.commit(job.again(index, claim.attempt + 1, solver, known))
    return True


def _indices(job: Job, frame: "pd.DataFrame") -> np.ndarray:
    """The sorted indices of some failures of one chunk."""
    if frame.empty:
        return np.zeros(0, np.int64)
    found = []
    for objective, rows in frame.groupby("objective"):
        columns = {q.name: _numbers(q, rows[q.name]) for q in job.sweep.system.parameters}
        p = np.asarray(rows["p"]) if "p" in rows else np.full(len(rows), job.grid.p[0])
        found.append(job.grid.find(Points(str(objective), columns, p, np.zeros(0, int), job.grid.p)))
    index = np.concatenate(found)
    assert (index >= 0).all(), "a chunk holds points of its own spec"
    return np.sort(index)


def _numbers(parameter: Parameter, values: Iterable[Any]) -> np.ndarray:
    """A column of a table as the grid has it: words by their place among the choices."""
    return np.array([parameter.choices.index(v) for v in values] if parameter.choices else values, dtype=float)


def _job(store: Writer, system: System, number: str, claim: Claim, device: str) -> Job:
    """A job for the spec of a chunk, as the store keeps it."""
    text = store.reader.specs_of([claim.spec])[claim.spec]
    method = store.reader.frozen["solver"]["method"]
    if method not in system.methods:
        raise IntegrityError(
            f"{store.reader.location.where(MARK)} is damaged: its numbers must be made by one of "
            f"{', '.join(system.methods)}, but it says by {shown(method)}; {REMEDY}."
        )
    sweep = kept(store.reader, system, text)
    grid = Grid(sweep)
    check_within(store.reader, number, claim, grid)
    return Job(sweep, text, store, device, grid=grid)
