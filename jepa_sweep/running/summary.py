"""What running a spec would compute, and what a store holds and lacks, in numbers: for `plan` and `status`."""

import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jepa_sweep.running import compiled, job, opening, plan
from jepa_sweep.running.plan import Intervals
from jepa_sweep.running.standing import Records
from jepa_sweep.spec.models import Sweep
from jepa_sweep.store import overview, schema
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.records import Commit, Work, sha256
from jepa_sweep.systems.system import Cost

FOOTER = 1.9  # bytes for each of Arrow's schema, which stands in it as text, and once more as Parquet's own


def plan_of(spec: str | Path | Sweep, out: str | Path | None = None, changes: Sequence[str] = ()) -> dict[str, Any]:
    """What running a spec would do, with these changes to its file like "solver.rtol=1e-10"; writes nothing.

    Returns:
        points, committed, new, chunks, bytes, seconds, memory_bytes; `measured` says whether the estimates rest on
        what this store has done before, or on nominal rates. `forecast` says how many points will have which status,
        of all points of the spec, and `forecast_from` of how many that is known; None where the system cannot know.
        `programs_kept` says whether a run like this has compiled its programs here before: `compile_seconds` is then
        what a later run took to load them, None if there was none yet, else a nominal number.
    """
    sweep, text, grid, expected = opening.load(spec, changes)
    path = opening.default_path(sweep) if out is None else out
    store = Reader(path) if Reader.exists(path) else None
    size = plan.points_per_chunk(sweep, grid)
    finished, others = Intervals(), []
    if store:
        store.manifest.refuse_a_mix(sweep.frozen(), store.path)
        digest = sha256(text.encode())
        claims = store.log.claims()
        finished, visited = job.done(claims, digest), job.visited(store, sweep.system, {}, claims)
        others = [theirs for other, theirs in visited.items() if other != digest]
    left = plan.left(sweep, grid, finished, others, size)
    takes = left.takes.plus(Cost(bytes=left.chunks * _bytes_without_rows(sweep)))
    commits = store.log.commits() if store else []
    rows = sum(commit.rows("points") + commit.rows("failures") for commit in commits)
    if rows:
        share = left.new / rows
        takes = Cost(share * _work(commits).seconds, share * sum(commit.bytes for commit in commits))
    kept = compiled.known(sweep, size)
    groups, objectives = int(grid.kinds().max()) + 1, len(sweep.objective)
    nominal = sweep.system.compiling(objectives, groups, sweep.measurement) if left.new else 0.0
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
        "compile_seconds": nominal if kept is None else kept.seconds,
        "programs_kept": kept is not None,
        "forecast": expected and expected.of(left.points),
        "forecast_from": expected and expected.looked,
    }


def _bytes_without_rows(sweep: Sweep) -> int:
    """What the files of a chunk take before they have a row: in small chunks their schemas are most of them."""
    solver, sampled = sweep.solver, bool(sweep.measurement.samples)
    written = (
        schema.arrow(columns, solver.precision, solver.time)
        for name, columns in sweep.system.columns().items()
        if name != "failures" and (sampled or name not in schema.SAMPLED)
    )
    return round(FOOTER * sum(described.serialize().size for described in written))


def status_of(path: str | Path) -> dict[str, Any]:
    """What a store holds: rows and bytes, and for each spec applied to it how much is still missing.

    Of tables only the statuses of points and failures are read; their rows stand in the commit records.
    """
    store = Reader(path)
    standing = Records(store).look()
    held, work = overview.blank(store.manifest), _work(store.log.commits())
    rows = {table: store.rows(table) for table in store.tables}
    computed = rows["points"] + rows["failures"]
    telling = [name for name in ("points", "failures") if "status" in store.schema(name).names]
    statuses = sum((Counter(store.counts(name, "status")) for name in telling), Counter[str]())
    return {
        "run": str(path),
        "system": held.system,
        "method": held.method,
        "rtol": held.rtol,
        "precision": held.precision,
        "time": store.time,
        "tables": list(rows),
        **rows,
        "points_per_second": round(computed / work.seconds, 1) if work.seconds else None,
        "steps_per_point": work.steps / computed if computed else None,
        "wasted": round(1 - work.steps / work.lane_steps, 3) if work.lane_steps else None,
        **work._asdict(),
        "statuses": dict(statuses.most_common()),
        **standing.facts(),
    }


def _work(commits: list[Commit]) -> Work:
    return functools.reduce(Work.plus, (commit.work for commit in commits), Work())
