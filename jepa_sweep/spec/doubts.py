"""What a sweep asks for that can be computed, but is hardly wanted: each said in a sentence, with what to try."""

from collections.abc import Iterator

import numpy as np

from jepa_sweep.checks import size_of
from jepa_sweep.physics.host import SENTENCES, Status
from jepa_sweep.spec.forecast import MOST, Forecast
from jepa_sweep.spec.grid import Grid
from jepa_sweep.spec.models import Sweep
from jepa_sweep.spec.replicates import replicates
from jepa_sweep.systems.shared import FRACTION_OF_REST

# Statuses of points that were to be learned, unlike those of a sign that was chosen: `collapses`, `no_signal`.
MISSED = {
    status.label: status
    for status in (
        Status.ABOVE_THRESHOLD,
        Status.AT_FIXED_POINT,
        Status.NOT_REACHED,
        Status.OVERFLOW,
        Status.UNDERFLOW,
    )
}
FEW = 0.1  # of all points
FEWEST = 4  # points of a value that are looked at
SURE = 64  # of those drawn at random: if none of them is learned, hardly any is
LOOSE = 1e-3  # rtol
LARGE = 1e10  # bytes of trajectories


def doubts(sweep: Sweep, grid: Grid, expected: Forecast | None) -> list[str]:
    """A sentence on each; empty for most sweeps. It takes some hundredths of a second, however large the sweep."""
    found = [*replicates(sweep), *_of_solver(sweep), *_of_trajectories(sweep, grid)]
    return found + (list(_of_points(sweep, expected)) if expected else [])


def _of_solver(sweep: Sweep) -> Iterator[str]:
    solver, system = sweep.measurement.solver, sweep.system
    if solver.method not in system.without_rtol and solver.rtol > LOOSE:
        yield (
            f"`rtol` = {solver.rtol:g} leaves times so few digits that what they are compared with hardly matters; try "
            f"{1e-8 if solver.precision == 'float64' else 1e-5:g} ([solver.rtol])."
        )
    rounding = float(np.finfo(solver.precision).eps)
    close = [p for p in sweep.measure.p if 0 < abs(1 - p) < 100 * rounding]
    if close and FRACTION_OF_REST in system.rules and solver.method not in system.without_rtol:
        wider = ', or precision = "float64"' if solver.precision != "float64" else ""
        yield (
            f"`p` = {close[0]!r} is so close to 1 that rounding in {solver.precision} decides its critical times; try "
            f"{0.99 if close[0] < 1 else 1.01}{wider} ([measure.p])."
        )


def _of_trajectories(sweep: Sweep, grid: Grid) -> Iterator[str]:
    sampled, key = sweep.measure.trajectories, "measure.trajectories.until"
    if not sampled:
        return
    apart = sampled.until / (sampled.samples - 1)
    if key not in sweep.system.unused and sampled.until > type(sampled)().until and apart > 1:
        yield (
            f"`until` = {sampled.until:g} puts every sample but the first after its point is learned: it counts in "
            f"critical times of the point, and {sampled.samples:,} samples are {apart:,.3g} of them apart; try 2, or "
            f"more samples ([{key}])."
        )
    size, few = 0.0, sweep.measurement._replace(samples=0)
    pieces = list(grid.some(MOST))
    for points in pieces:
        with_samples, without = (
            sweep.system.cost(len(points.p), lambda points=points: points.columns, m) for m in (sweep.measurement, few)
        )
        size += with_samples.bytes - without.bytes
    size *= max(1.0, grid.size / sum(len(points.p) for points in pieces))
    if size > LARGE:
        yield (
            f"Trajectories take about {size_of(size)} of files; leave them out, or try fewer samples or points "
            "([measure.trajectories])."
        )


def _of_points(sweep: Sweep, expected: Forecast) -> Iterator[str]:
    learned = expected.statuses.get("learned", 0)
    missed = {status: count for status, count in expected.statuses.items() if status in MISSED}
    if missed and learned < FEW * expected.looked < sum(missed.values()):
        status, count = next(iter(missed.items()))
        yield (
            f"{learned / expected.looked:.0%} of the points are learned, and {count / expected.looked:.0%} are "
            f"{status}: {_why(status)}; try values with which more are ([{'block' if sweep.block else 'axes'}])."
        )
        return
    only, *more = sweep.blocks
    for name, (values, counts) in expected.unmet.items():
        if name != "p" and (more or only.combine != "product"):
            continue  # what stands in a few points beside others says little
        enough = FEWEST if expected.all else SURE
        total = counts.sum(axis=1)
        sure = np.flatnonzero((counts[:, list(MISSED.values())].sum(axis=1) == total) & (total >= enough))
        if len(sure):
            value, status = values[sure[0]], Status(counts[sure[0]].argmax()).label
            others = f", nor with {len(sure) - 1:,} more of its values" if len(sure) > 1 else ""
            yield (
                f"No point with `{name}` = {value:g} is learned{others}, most are {status}: "
                f"{_why(status)}; leave {'them' if others else 'it'} out, or try others "
                f"({only.place(name)})."
            )


def _why(status: str) -> str:
    sentence = SENTENCES[MISSED[status]].rstrip(".")
    return sentence[0].lower() + sentence[1:]
