"""What running a spec would compute, and what a store holds and lacks, in numbers: for `plan` and `status`."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

from jepa_sweep.running import job, opening, plan
from jepa_sweep.running.compute import Work
from jepa_sweep.running.plan import Intervals, Visited
from jepa_sweep.spec.grid import Grid
from jepa_sweep.spec.models import Sweep
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.records import Commit, sha256
from jepa_sweep.systems import registry
from jepa_sweep.systems.system import Cost


class _Left(NamedTuple):
    points: int  # of the spec, each counted once
    new: int  # not in the store
    chunks: int
    takes: Cost


def _left(sweep: Sweep, grid: Grid, finished: Intervals, others: list[Visited], size: int) -> _Left:
    """What is neither finished because of this spec nor visited by `others`."""
    new, chunks, takes = 0, 0, Cost()
    for chunk in plan.chunks(grid, finished, size):
        if grid.single and not others:
            missing = range(chunk.start, chunk.stop)
        else:
            missing = chunk.indices[plan.fresh(grid, chunk.indices, others)]
        new, chunks = new + len(missing), chunks + bool(len(missing))
        takes = takes.plus(plan.cost(sweep, grid, missing))
    return _Left(grid.unique, new, chunks, takes)


def plan_of(spec: str | Path | Sweep, out: str | Path | None = None) -> dict[str, Any]:
    """What running a spec would do; writes nothing.

    Returns:
        points, committed, new, chunks, bytes, seconds, memory_bytes; `measured` says whether the estimates rest on
        what this store has done before, or on nominal rates.
    """
    sweep, text = opening.load(spec)
    path = out or opening.default_path(sweep)
    store = Reader(path) if Reader.exists(path) else None
    grid = Grid(sweep)
    size = plan.points_per_chunk(sweep, grid)
    finished, others = Intervals(), []
    if store:
        store.manifest.refuse_a_mix(sweep.frozen(), store.path)
        digest = sha256(text.encode())
        finished = job.done(store, digest)
        visited = job.visited(store, sweep.system, {}, store.log.claims())
        others = [theirs for other, theirs in visited.items() if other != digest]
    left = _left(sweep, grid, finished, others, size)
    takes = left.takes
    commits = store.log.commits() if store else []
    rows = sum(commit.rows("points") + commit.rows("failures") for commit in commits)
    if rows:
        share = left.new / rows
        takes = Cost(share * _work(commits).seconds, share * sum(commit.bytes for commit in commits))
    return {
        "name": sweep.name,
        "run": str(path),
        "points": left.points,
        "committed": left.points - left.new,
        "new": left.new,
        "chunks": left.chunks,
        "bytes": int(takes.bytes),
        "seconds": takes.seconds,
        "memory_bytes": int(plan.memory(sweep, grid, size)),
        "measured": bool(rows),
    }


def status_of(path: str | Path) -> dict[str, Any]:
    """What a store holds: rows and bytes, and for each spec applied to it how much is still missing."""
    store = Reader(path)
    held, commits, pending = store.overview(), store.log.commits(), store.log.pending()
    system, specs = registry.of_store(store), []
    visited = job.visited(store, system, {}, store.log.claims())
    for digest, text in store.specs().items():
        sweep = job.kept(store, system, text)
        grid = Grid(sweep)
        others = [theirs for other, theirs in visited.items() if other != digest]
        left = _left(sweep, grid, job.done(store, digest), others, plan.points_per_chunk(sweep, grid))
        specs.append({"spec": digest[:8], "name": sweep.name, "points": left.points, "missing": left.new})
    work = _work(commits)
    computed = held.rows["points"] + held.rows["failures"]
    return {
        "run": str(path),
        "time": store.time,
        **held.rows,
        "commits": len(commits),
        "unfinished_commits": len(pending),
        "bytes": held.bytes,
        "points_per_second": round(computed / work.seconds, 1) if work.seconds else None,
        "steps_per_point": round(work.steps / computed, 2) if computed else None,
        "wasted": round(1 - work.steps / work.lane_steps, 3) if work.lane_steps else None,
        **work._asdict(),
        "last_commit": commits[-1].created if commits else None,
        "statuses": held.statuses,
        "writers": _writers(store, commits),
        "specs": specs,
    }


def _writers(store: Reader, commits: list[Commit]) -> list[dict[str, Any]]:
    """Who has written here, the latest last, and what is being computed; by the clocks of their own machines."""
    found: dict[str, dict[str, Any]] = {}
    for commit in commits:
        name = commit.claim.writer or commit.host
        before = found.pop(name, {"writer": name, "chunks": 0, "points": 0, "seconds": 0.0, "computing": 0})
        before["chunks"] += 1
        before["points"] += commit.rows("points") + commit.rows("failures")
        before["seconds"] += commit.work["seconds"]
        found[name] = before | {"last_commit": commit.created}
    stored = {(c.claim.spec[:8], c.claim.start, c.claim.stop) for c in commits}  # so its mark is of a machine that died
    for mark in store.log.announced():
        if mark[1:] in stored:
            continue
        new = {"writer": mark.writer, "chunks": 0, "points": 0, "seconds": 0.0, "computing": 0, "last_commit": None}
        found.setdefault(mark.writer, new)["computing"] += 1
    return list(found.values())


def _work(commits: list[Commit]) -> Work:
    return functools.reduce(Work.plus, (Work(**commit.work) for commit in commits), Work())
