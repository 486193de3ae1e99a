"""Points to rows, and what that took."""

import time
from collections.abc import Iterator

import numpy as np

from jepa_sweep.running.provenance import peak_memory
from jepa_sweep.spec.grid import Grid
from jepa_sweep.store.records import Work
from jepa_sweep.systems.rows import joined, with_keys
from jepa_sweep.systems.system import Effort, Measurement, Place, Points, Rows, System


def compute(
    system: System, grid: Grid, index: np.ndarray, measurement: Measurement, place: Place
) -> tuple[dict[str, Rows], Work]:
    """All tables for the points at some sorted indices, and what they took.

    Points of one objective and group stand together, so that whoever looks for them finds them in one stretch of rows.

    Raises:
        JepaSweepError: JAX was found to compute wrongly on this machine.
    """
    from jepa_sweep.engine import programs, selfcheck  # not at the top: planning needs no engine

    began = time.perf_counter()
    selfcheck.require(place.device, measurement.solver.method, place.batch)
    checking, compiling = time.perf_counter() - began, programs.Compiled.seconds
    parts, effort = list[dict[str, Rows]](), Effort()
    for points in calls(system, grid, index):
        found, spent = system.compute(points, measurement, place)
        where, effort = np.searchsorted(index, points.number), effort.plus(spent)
        keyed = {name: with_keys(system, points, rows) for name, rows in found.items()}
        parts.append({name: rows._replace(owner=where[rows.owner]) for name, rows in keyed.items()})
    rows = {name: joined([part[name] for part in parts]) for name in parts[0]}
    compiled = programs.Compiled.seconds - compiling
    seconds = time.perf_counter() - began - checking - compiled
    return rows, Work(seconds, compiled + checking, *effort, peak_memory())


def calls(system: System, grid: Grid, index: np.ndarray) -> Iterator[Points]:
    """The points at some indices as their system takes them: of one objective, sorted by groups, or of one of these."""
    groups = [q.name for q in system.parameters if q.partitions_files]
    for points in grid.split(index):
        keys = [points.columns[name] for name in groups]
        if all((key == key[0]).all() for key in keys):
            yield points
            continue
        order = np.lexsort(keys[::-1])
        changes = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
        for part in [order] if system.across_groups else np.split(order, 1 + np.flatnonzero(changes)):
            yield points.kept(part)
