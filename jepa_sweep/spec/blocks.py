"""Blocks of a spec, completed: a value for every parameter, numbers for words."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jepa_sweep.physics.host import Columns
from jepa_sweep.spec.axes import Block, Range
from jepa_sweep.spec.lines import Key
from jepa_sweep.spec.problems import key_path
from jepa_sweep.systems.system import Parameter, System


@dataclass(frozen=True, eq=False)
class FullBlock:
    """A block with a value for every parameter."""

    combine: str
    axes: dict[str, np.ndarray | Range]  # empty where the points are listed; ranges only in Sobol blocks
    points: Columns  # the points, where they are listed
    same: dict[str, str]  # parameters that equal another one, which has several values
    drawn: tuple[str, ...] = ()  # the axes of a Sobol sequence
    num: int = 0
    seed: int | None = None
    at: Key = ()  # where it stands in the spec

    def __eq__(self, other: object) -> bool:
        """True if all is the same; arrays by themselves have no single answer."""
        return isinstance(other, FullBlock) and _listed(vars(self)) == _listed(vars(other))

    def place(self, *names: str) -> str:
        """Where in the spec these parameters are set, as messages show it."""
        return ", ".join(f"[{key_path(key)}]" for key in keys_of(self.combine, self.at, names))

    def listed(self) -> Columns:
        """The rows of a `zip` or `points` block, column by column."""
        if self.combine == "points":
            return self.points
        count = self.size
        return {n: np.resize(v, count) if len(v) == 1 else v for n, v in self.axes.items() if isinstance(v, np.ndarray)}

    @property
    def size(self) -> int:
        """Rows, those that stand twice counted twice."""
        if self.combine == "points":
            return len(next(iter(self.points.values())))
        lengths = [1 if isinstance(axis, Range) else len(axis) for axis in self.axes.values()]
        if self.combine == "product":
            return math.prod(lengths)
        return self.num if self.combine == "sobol" else max(lengths)

    def groups(self, grouping: Sequence[str]) -> int:
        """How many combinations of the values of these parameters there can be."""
        grouping = [name for name in grouping if name not in self.same]
        if self.combine == "points":
            return len(set(zip(*(self.points[name].tolist() for name in grouping), strict=True))) if grouping else 1
        lengths = (len(axis) for name in grouping if not isinstance(axis := self.axes[name], Range))
        groups = math.prod(lengths)
        return groups if self.combine == "product" else min(self.size, groups)


def _listed(value: Any) -> Any:
    """The same with lists for arrays."""
    if isinstance(value, dict):
        return {key: _listed(inner) for key, inner in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def keys_of(combine: str, at: Key, names: Sequence[str]) -> tuple[Key, ...]:
    """The keys by which a block at `at` sets these parameters, or `p`."""

    def one(name: str) -> Key:
        if name == "p":
            return ("measure", "p")
        return (*at, "points") if combine == "points" else (*at, "axes", name)

    return tuple(dict.fromkeys(map(one, names)))


def complete(system: System, block: Block, at: Key) -> FullBlock:
    """The block with all that its system decides: numbers for words, defaults for what it leaves out."""
    coded = functools.partial(code, {q.name: q for q in system.parameters})
    equal = {q.name: q.default for q in system.parameters if not q.choices and isinstance(q.default, str)}
    plain_defaults = {
        q.name: coded(q.name, q.default) for q in system.parameters if q.default is not None and q.name not in equal
    }
    full = functools.partial(FullBlock, block.combine, num=block.num or 0, seed=block.seed, at=at)
    if block.points is not None:
        rows = []
        for point in block.points:
            row = {**plain_defaults, **{name: coded(name, value) for name, value in point.items()}}
            rows.append({**{name: row[other] for name, other in equal.items()}, **row})
        return full(axes={}, points={name: np.array([row[name] for row in rows]) for name in rows[0]}, same={})
    axes: dict[str, np.ndarray | Range] = {name: np.array([value]) for name, value in plain_defaults.items()}
    for name, axis in block.axes.items():
        if isinstance(axis, Range):
            axes[name] = axis if block.combine == "sobol" else axis.values()
        else:
            axes[name] = np.array([coded(name, value) for value in axis])
    same = {}
    for name, other in equal.items():
        if name not in axes:
            axis = axes[other]
            if not isinstance(axis, Range) and len(axis) == 1:
                axes[name] = axis
            else:
                same[name] = other
    return full(axes=axes, points={}, same=same, drawn=tuple(sorted(block.axes)))


def code(parameters: Mapping[str, Parameter], name: str, value: Any) -> Any:
    """A number as it is, and the place of a word among those that the parameter takes."""
    choices = parameters[name].choices
    return float(choices.index(value)) if choices and isinstance(value, str) else value
