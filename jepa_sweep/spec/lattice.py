"""Whether the points of several sweeps together are a grid: every combination of the values of its axes."""

import math
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jepa_sweep.errors import SpecError
from jepa_sweep.physics.host import Columns
from jepa_sweep.spec.axes import Range
from jepa_sweep.spec.blocks import FullBlock
from jepa_sweep.spec.grid import rows_of
from jepa_sweep.spec.models import Sweep

DRAWABLE = 1 << 26  # combinations, up to which one that is missing is looked for
_PIECE = 1 << 20  # rows looked at at a time


class Lattice(NamedTuple):
    """Axes of a grid: objective, parameters and p, those with one value too; and parameters that equal another one."""

    axes: dict[str, np.ndarray]  # values in ascending order, words in that of their system
    same: dict[str, str]


class _Part(NamedTuple):
    """One block of one sweep."""

    sweep: Sweep
    block: FullBlock
    columns: Columns  # values of each axis of a product; rows of any other block

    @property
    def rows(self) -> int:
        if self.block.combine != "product":
            return len(next(iter(self.columns.values())))
        return math.prod(len(values) for name, values in self.columns.items() if name not in self.block.same)

    def pieces(self) -> Iterator[Columns]:
        """All rows, some at a time."""
        rows = rows_of(self.block, self.sweep.system.parameters)
        for start in range(0, rows.size, _PIECE):
            yield rows.take(np.arange(start, min(start + _PIECE, rows.size)))

    def equal(self, name: str, other: str) -> bool:
        """True if two parameters are the same at every point."""
        columns = self.columns
        alone = self.block.combine != "product" or len(columns[name]) == len(columns[other]) == 1
        return self.block.same.get(name) == other or (alone and np.array_equal(columns[name], columns[other]))


def of_sweeps(sweeps: Sequence[Sweep], names: Collection[str]) -> Lattice:
    """The axes of the grid that sweeps of one system make together.

    Args:
        sweeps: at least one.
        names: the axes that matter; points that differ in others alone count once.

    Raises:
        SpecError: they make none; it says why.
    """
    system, parts = sweeps[0].system, [_part(sweep, block) for sweep in sweeps for block in sweep.blocks]
    same = {
        q.name: q.default
        for q in system.parameters
        if isinstance(q.default, str) and not q.choices and all(part.equal(q.name, q.default) for part in parts)
    }
    asked = {name for sweep in sweeps for name in sweep.objective}
    axes = {"objective": np.array([name for name in system.objectives if name in asked])}
    for q in system.parameters:
        if q.name not in same:
            values = np.unique(np.concatenate([part.columns[q.name] for part in parts]))
            words = np.array(q.choices)[values.astype(int)] if q.choices else values
            axes[q.name] = values.astype(np.int64) if q.integer else words
    if "p" in names:
        axes["p"] = np.unique(np.concatenate([sweep.measure.p for sweep in sweeps]))
    _check(parts, axes)
    return Lattice(axes, same)


def _part(sweep: Sweep, block: FullBlock) -> _Part:
    if block.combine == "product":
        columns = {name: axis for name, axis in block.axes.items() if not isinstance(axis, Range)}
        return _Part(sweep, block, columns | {name: columns[other] for name, other in block.same.items()})
    rows = rows_of(block, sweep.system.parameters)
    return _Part(sweep, block, rows.take(np.arange(rows.size)))


def _check(parts: Sequence[_Part], axes: Columns) -> None:
    """Raise unless every combination is a point."""
    size, several = math.prod(map(len, axes.values())), {n: len(v) for n, v in axes.items() if len(v) > 1}
    points = sum(len(part.sweep.objective) * part.rows * len(_thresholds(part, axes)) for part in parts)
    if len(parts) == 1 and size == points:
        return  # no point of a block stands twice
    reasons = [
        f'a spec combines them by "{word}"' for word in sorted({part.block.combine for part in parts} - {"product"})
    ]
    if size <= max(points, DRAWABLE):
        missing = _missing(parts, axes)
        if missing is None:
            return
        reasons.append(f"there is no point with {', '.join(f'{name} = {missing[name]}' for name in several)}")
    listed = ", ".join(f"{name} {count:,}" for name, count in several.items())
    raise SpecError(
        f"The points must be all combinations of the values of their axes ({listed}), but "
        f"{' and '.join(reasons) or f'there are at most {points:,}'}."
    )


def _missing(parts: Sequence[_Part], axes: Columns) -> dict[str, object] | None:
    """The first combination that is no point; None if there is none."""
    there = np.zeros(tuple(map(len, axes.values())), dtype=bool)
    for part in parts:
        objectives, words = axes["objective"].tolist(), {q.name: q.choices for q in part.sweep.system.parameters}
        thresholds = np.searchsorted(axes["p"], _thresholds(part, axes)) if "p" in axes else None
        for rows in part.pieces():
            places = []
            for name in (name for name in axes if name not in ("objective", "p")):
                codes = np.array([words[name].index(w) for w in axes[name]]) if words[name] else axes[name]
                places.append(np.searchsorted(codes, rows[name]))
            for objective in part.sweep.objective:
                where = (objectives.index(objective), *places)
                for threshold in [()] if thresholds is None else [(place,) for place in thresholds]:
                    there[*where, *threshold] = True
    if there.all():
        return None
    place = np.unravel_index(int(np.argmin(there)), there.shape)
    return {name: values[k].item() for (name, values), k in zip(axes.items(), place, strict=True)}


def _thresholds(part: _Part, axes: Columns) -> Sequence[float]:
    return part.sweep.measure.p if "p" in axes else (1.0,)
