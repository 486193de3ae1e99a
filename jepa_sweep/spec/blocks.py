"""Blocks of a spec, checked and completed: a value for every parameter, numbers for words."""

import functools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jepa_sweep.checks import check_at, check_one_of, did_you_mean, plain, shown
from jepa_sweep.errors import SpecError
from jepa_sweep.physics.host import Columns
from jepa_sweep.spec.axes import Axis, Block, Range
from jepa_sweep.spec.rules import check_rules, corners
from jepa_sweep.systems.system import Parameter, Rule, System


@dataclass(frozen=True, eq=False)  # arrays have no single answer to whether they are equal
class FullBlock:
    """A block with a value for every parameter."""

    combine: str
    axes: dict[str, np.ndarray | Range]  # empty where the points are listed; ranges only in Sobol blocks
    points: Columns  # the points, where they are listed
    same: dict[str, str]  # parameters that equal another one, which has several values
    drawn: tuple[str, ...] = ()  # the axes of a Sobol sequence
    num: int = 0
    seed: int | None = None
    prefix: str = ""  # of key paths

    def place(self, *names: str) -> str:
        """Where in the spec these parameters, or `p`, are set."""

        def one(name: str) -> str:
            if name == "p":
                return "[measure.p]"
            return f"[{self.prefix}points]" if self.combine == "points" else f"[{self.prefix}axes.{name}]"

        return ", ".join(dict.fromkeys(map(one, names)))

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


def complete(system: System, objectives: Sequence[str], p: Sequence[float], block: Block, prefix: str) -> FullBlock:
    """The block with all that its system decides, once it is known to obey the system's rules.

    Raises:
        SpecError: a parameter is missing, unknown, of the wrong kind, or against a rule; with its key path.
    """
    _check_names(system, block, prefix)
    _check_values(system, block, prefix)
    full = _filled(system, block, prefix)
    for objective in objectives:
        rules = system.rules_of(objective)
        for columns in _representatives(system, rules, full, np.array(p)):
            check_rules(system, rules, columns, lambda names: full.place(*names))
    return full


def check_distinct(name: str, values: tuple, where: str) -> None:
    """Raise if a value stands twice."""
    repeated = [shown(value) for value, count in Counter(values).items() if count > 1]
    if repeated:
        raise SpecError(f"`{name}` must not repeat a value, but it repeats {', '.join(repeated[:3])} ({where}).")


def _check_names(system: System, block: Block, prefix: str) -> None:
    """Raise unless every parameter is given, no other is, and the keys suit the way of combining."""
    where = f"[{prefix}axes]"
    if block.combine == "points":
        if block.axes or not block.points:
            raise SpecError(f'combine = "points" must come with `points = [{{...}}, ...]` and no axes ({where}).')
        keys = [(f"[{prefix}points.{i}]", list(point)) for i, point in enumerate(block.points)]
    elif block.points is not None:
        raise SpecError(f'`points` must come with combine = "points", but it is "{block.combine}" ({where}).')
    else:
        keys = [(where, list(block.axes))]
    names = [q.name for q in system.parameters]
    for place, given in keys:
        for key in given:
            if key not in names:
                raise SpecError(f"`{plain(key)}` is not a parameter.{did_you_mean(key, names)} ({place})")
        missing = [q.name for q in system.parameters if q.name not in given and q.default is None]
        if missing:
            raise SpecError(f"`{missing[0]}` must be given, but it is missing ({place}).")
    if block.combine == "sobol" and block.num is None:
        raise SpecError(f'combine = "sobol" must come with `num`, the number of points ({where}).')
    if block.combine != "sobol" and (block.num, block.seed) != (None, None):
        raise SpecError(f'`num` and `seed` of a block must come with combine = "sobol" ({where}).')


def _check_values(system: System, block: Block, prefix: str) -> None:
    """Raise unless every axis has values of the right kind, in a number that its block can combine."""
    parameters = {q.name: q for q in system.parameters}
    for name, axis in block.axes.items():
        where = f"[{prefix}axes.{name}]"
        _check_axis(block, name, axis, where)
        _check_words(parameters[name], axis, where)
        if parameters[name].integer and block.combine == "sobol" and isinstance(axis, Range):
            raise SpecError(f"`{name}` must be listed in a sobol block: it takes whole numbers ({where}).")
    for number, point in enumerate(block.points or ()):
        for name, value in point.items():
            _check_words(parameters[name], (value,), f"[{prefix}points.{number}.{name}]")


def _check_axis(block: Block, name: str, axis: Axis, where: str) -> None:
    if isinstance(axis, Range):
        if block.combine == "sobol" and axis.num is not None:
            raise SpecError(f"`{name}` must not have a `num` of its own in a sobol block ({where}).")
        if block.combine != "sobol" and axis.num is None:
            raise SpecError(f"`{name}` must say how many values it has: add `num` ({where}).")
        if block.combine == "product" and axis.num and len(np.unique(axis.values())) < axis.num:
            raise SpecError(f"`{name}` must not repeat a value, but its range has fewer than {axis.num:,} ({where}).")
    elif block.combine == "product":
        check_distinct(name, axis, where)
    if block.combine == "zip":
        sizes = {n: a.num if isinstance(a, Range) else len(a) for n, a in block.axes.items()}
        longest = max(size or 1 for size in sizes.values())
        if sizes[name] not in (1, longest):
            raise SpecError(
                f"Zipped axes must have one length or a single value, but `{name}` has {sizes[name]} and the longest "
                f"has {longest} ({where})."
            )


def _check_words(parameter: Parameter, axis: Axis | tuple, where: str) -> None:
    """Raise unless words stand where words are wanted, and numbers elsewhere."""
    for value in axis if isinstance(axis, tuple) else ("a range",):
        if parameter.choices:
            check_at(where, check_one_of, parameter.name, value, parameter.choices)
        elif isinstance(value, str) and isinstance(axis, tuple):
            raise SpecError(
                f"`{parameter.name}` must be a number, a list of numbers or a range, but it has "
                f"{shown(value)}; TOML numbers stand without quotes ({where})."
            )


def _filled(system: System, block: Block, prefix: str) -> FullBlock:
    """Numbers for words, and defaults for what the block leaves out."""

    def coded(name: str, value: Any) -> Any:
        choices = known[name].choices
        return float(choices.index(value)) if choices and isinstance(value, str) else value

    known = {q.name: q for q in system.parameters}
    equal = {q.name: q.default for q in system.parameters if not q.choices and isinstance(q.default, str)}
    plain_defaults = {
        q.name: coded(q.name, q.default) for q in system.parameters if q.default is not None and q.name not in equal
    }
    full = functools.partial(FullBlock, block.combine, num=block.num or 0, seed=block.seed, prefix=prefix)
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


def _representatives(system: System, rules: Sequence[Rule], block: FullBlock, p: np.ndarray) -> Iterator[Columns]:
    """Columns on which the rules decide for the whole block.

    Every value of each axis, for rules of one parameter; the corners of the grid, for rules that are monotone in each
    parameter, and in thresholds on either side of 1; and for rules of two, which ask for signs, the smallest and
    largest value of each and the one nearest 0. Of words every one is taken each time.
    """
    yield {"p": p}
    if block.combine in ("zip", "points"):
        listed = block.listed()
        listed |= {name: listed[other] for name, other in block.same.items()}
        yield {name: values[:, None] for name, values in listed.items()} | {"p": _thresholds(p)[None, :]}
        return
    axes = {name: np.array(axis.ends) if isinstance(axis, Range) else axis for name, axis in block.axes.items()}
    words = {q.name for q in system.parameters if q.choices}
    ends = corners({**axes, "p": _thresholds(p)}, words | {"p"})
    yield ends | {name: ends[other] for name, other in block.same.items()}
    for name, values in axes.items():
        yield {name: values}
    few = {name: axes[name] if name in words else _signs(axes[name]) for name in axes}
    for rule in rules:
        if len(rule.parameters) == 2 and all(name in axes for name in rule.parameters):
            first, second = rule.parameters
            yield {first: few[first][:, None], second: few[second][None, :]}


def _signs(values: np.ndarray) -> np.ndarray:
    """A few values among which every sign of the axis occurs."""
    return np.array([values.min(), values[np.argmin(np.abs(values))], values.max()])


def _thresholds(p: np.ndarray) -> np.ndarray:
    """The outermost on both sides of 1: from below a start crosses the one, from above the other."""
    return np.unique([end for side in (p[p < 1], p[p > 1]) if side.size for end in (side.min(), side.max())])
