"""The checks that need a whole spec; those of single values are in `validate`."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from jepa_sweep.errors import SpecError
from jepa_sweep.physics.catalog import SYSTEMS
from jepa_sweep.physics.systems import Columns, Parameter, Swept
from jepa_sweep.spec import validate
from jepa_sweep.spec.axes import Axis, Block, Range, axis_values, completed, zipped

if TYPE_CHECKING:
    from jepa_sweep.spec.models import Sweep

# Of a sweep: 10^12 points are 75 terabytes of tables, and 10^9 networks some weeks of them.
MOST_ROWS, MOST_NETWORKS = 10**12, 10**9
MOST_GROUPS = 100_000  # each has a file of its own at least


def sweep(sweep: "Sweep") -> None:
    """Everything the models alone cannot see."""
    _in("[system]", validate.one_of, "system", sweep.system, tuple(SYSTEMS))
    if not sweep.objective:
        raise SpecError("`objective` must name at least one objective, but it is empty ([objective]).")
    for objective in sweep.objective:
        _in("[objective]", validate.one_of, "objective", objective, tuple(SYSTEMS[sweep.system]))
    _distinct("objective", sweep.objective, "[objective]")
    _distinct("p", sweep.measure.p, "[measure.p]")
    _in("[solver.time]", validate.one_of, "time", sweep.solver.time, ("paper", "flow"))
    sampled = sweep.measure.trajectories is not None
    for record in sweep.systems.values():
        _in("[solver]", validate.settings, sweep.solver.settings(), record, sampled=sampled)
    if sweep.record.layout != "critical_times":
        _check_measure(sweep)
    own = {"axes", "combine", "num", "seed", "points"} & sweep.model_fields_set
    if sweep.block and own:
        raise SpecError(
            f"Either the top level or `[[block]]` tables must hold the axes, but both do: `{min(own)}` stands beside "
            f"blocks ([{min(own)}]); move it into a block."
        )
    extents = [
        _check_block(sweep, block, f"block.{number}." if sweep.block else "")
        for number, block in enumerate(sweep.blocks)
    ]
    _check_size(sweep, sum(rows for rows, _ in extents), sum(groups for _, groups in extents))


def _check_size(sweep: "Sweep", rows: int, groups: int) -> None:
    """Points are numbered, and cut into chunks that are listed: there is an end to both."""
    points, files = len(sweep.objective) * rows * len(sweep.measure.p), len(sweep.objective) * groups
    where, sampled = "[block]" if sweep.block else "[axes]", sweep.measure.trajectories
    flows = sweep.record.layout == "critical_times"
    most = MOST_ROWS // (sampled.samples if sampled else 1) if flows else MOST_NETWORKS
    if points > most:
        raise SpecError(
            f"A sweep must have at most {most:,} points{' with as many samples' if sampled and flows else ''}, but it "
            f'has {points:.3g} ({where}); take fewer values of an axis, or draw from them: combine = "sobol".'
        )
    if files > MOST_GROUPS:
        names = ", ".join(f"`{q.name}`" for q in sweep.record.parameters if q.groups)
        raise SpecError(
            f"A sweep must have at most {MOST_GROUPS:,} combinations of objective, {names}, which have files of their "
            f"own, but it has {files:.3g} ({where}); take fewer values of one of them."
        )


def _check_measure(sweep: "Sweep") -> None:
    """What systems other than scalar flows measure in their own way."""
    if sweep.record.layout == "estimates" and "p" in sweep.measure.model_fields_set:
        raise SpecError(f"`p` says nothing for the system {sweep.system}, which learns nothing ([measure.p]).")
    if sweep.record.layout == "estimates" and sweep.solver.precision != "float64":
        raise SpecError("`precision` must be float64 for series, whose sums are long ([solver.precision]).")
    sampled = sweep.measure.trajectories
    if sampled and "until" in sampled.model_fields_set:
        raise SpecError(
            "`until` belongs to flows with a critical time of their own; networks are sampled until `t_end`, and of "
            "series the first `samples` times are kept ([measure.trajectories.until])."
        )


def _in(where: str, check: Any, *args: Any, **options: Any) -> None:
    try:
        check(*args, **options)
    except SpecError as error:
        raise SpecError(f"{str(error).rstrip('.?')} ({where}).") from None


def _distinct(name: str, values: tuple, where: str) -> None:
    repeated = [validate.shown(value) for value, count in Counter(values).items() if count > 1]
    if repeated:
        raise SpecError(f"`{name}` must not repeat a value, but it repeats {', '.join(repeated[:3])} ({where}).")


def _check_block(sweep: "Sweep", block: Block, prefix: str) -> tuple[int, int]:
    """Raise unless the block is in order; else its rows, and the groups of rows that get files of their own at most."""
    parameters = {q.name: q for q in sweep.record.parameters}
    names = list(parameters)
    where = f"[{prefix}axes]"
    if block.combine == "points":
        if block.axes or not block.points:
            raise SpecError(f'combine = "points" must come with `points = [{{...}}, ...]` and no axes ({where}).')
        keys = [(f"[{prefix}points.{i}]", list(point)) for i, point in enumerate(block.points)]
    elif block.points is not None:
        raise SpecError(f'`points` must come with combine = "points", but it is "{block.combine}" ({where}).')
    else:
        keys = [(where, list(block.axes))]
    for place, given in keys:
        for key in given:
            if key not in names:
                raise SpecError(
                    f"`{validate.plain(key)}` is not a parameter.{validate.did_you_mean(key, names)} ({place})"
                )
        missing = [name for name in names if name not in given and parameters[name].default is None]
        if missing:
            raise SpecError(f"`{missing[0]}` must be given, but it is missing ({place}).")
    if block.combine == "sobol" and block.num is None:
        raise SpecError(f'combine = "sobol" must come with `num`, the number of points ({where}).')
    if block.combine != "sobol" and (block.num, block.seed) != (None, None):
        raise SpecError(f'`num` and `seed` of a block must come with combine = "sobol" ({where}).')
    for name, axis in block.axes.items():
        _check_axis(block, name, axis, f"[{prefix}axes.{name}]")
        _check_words(parameters[name], axis, f"[{prefix}axes.{name}]")
        if parameters[name].integer and block.combine == "sobol" and isinstance(axis, Range):
            raise SpecError(
                f"`{name}` must be listed in a sobol block: it takes whole numbers ([{prefix}axes.{name}])."
            )

    for number, point in enumerate(block.points or ()):
        for name, value in point.items():
            _check_words(parameters[name], (value,), f"[{prefix}points.{number}.{name}]")

    def places(names: tuple[str, ...]) -> str:
        return ", ".join(dict.fromkeys(place_of(prefix, block, name) for name in names))

    whole, same = completed(block, sweep.record.parameters)
    for record in sweep.systems.values():
        for columns in _representatives(whole, same, np.array(sweep.measure.p), record):
            validate.rules(record, columns, places)
    return _extent(whole, [q.name for q in sweep.record.parameters if q.groups and q.name not in same])


def _extent(block: Block, grouping: list[str]) -> tuple[int, int]:
    """The rows of a block; and how many groups of them there can be, by the values of `grouping`."""
    if block.points is not None:
        return len(block.points), len({tuple(point[name] for name in grouping) for point in block.points})
    sizes = {name: (axis.num or 1) if isinstance(axis, Range) else len(axis) for name, axis in block.axes.items()}
    groups = math.prod(sizes[name] for name in grouping)
    if block.combine == "product":
        return math.prod(sizes.values()), groups
    rows = block.num or max(sizes.values())
    return rows, min(rows, groups)


def place_of(prefix: str, block: Block, name: str) -> str:
    """Where in a spec a parameter of a block, or `p`, is set."""
    if name == "p":
        return "[measure.p]"
    return f"[{prefix}points]" if block.combine == "points" else f"[{prefix}axes.{name}]"


def _check_axis(block: Block, name: str, axis: Axis, where: str) -> None:
    if isinstance(axis, Range):
        if block.combine == "sobol" and axis.num is not None:
            raise SpecError(f"`{name}` must not have a `num` of its own in a sobol block ({where}).")
        if block.combine != "sobol" and axis.num is None:
            raise SpecError(f"`{name}` must say how many values it has: add `num` ({where}).")
        if block.combine == "product" and axis.num and len(np.unique(axis.values())) < axis.num:
            raise SpecError(f"`{name}` must not repeat a value, but its range has fewer than {axis.num:,} ({where}).")
    elif block.combine == "product":
        _distinct(name, axis, where)
    if block.combine == "zip":
        sizes = {n: a.num if isinstance(a, Range) else len(a) for n, a in block.axes.items()}
        longest = max(size or 1 for size in sizes.values())
        if sizes[name] not in (1, longest):
            raise SpecError(
                f"Zipped axes must have one length or a single value, but `{name}` has {sizes[name]} and the longest "
                f"has {longest} ({where})."
            )


def _check_words(parameter: Parameter, axis: Axis | tuple, where: str) -> None:
    """Words where words are wanted, numbers elsewhere."""
    for value in axis if isinstance(axis, tuple) else ("a range",):
        if parameter.choices:
            _in(where, validate.one_of, parameter.name, value, parameter.choices)
        elif isinstance(value, str) and isinstance(axis, tuple):
            raise SpecError(
                f"`{parameter.name}` must be a number, a list of numbers or a range, but it has "
                f"{validate.shown(value)}; TOML numbers stand without quotes ({where})."
            )


def _representatives(block: Block, same: dict[str, str], p: np.ndarray, record: Swept) -> Iterator[Columns]:
    """Columns on which the rules decide for the whole block.

    Every value of each axis, for rules of one parameter; the corners of the grid, for rules that are monotone in each
    parameter, and in thresholds on either side of 1; and for rules of two, which ask for signs, the smallest and
    largest value of each and the one nearest 0. Of words every one is taken each time.
    """
    yield {"p": p}
    if block.combine in ("zip", "points"):
        yield {name: values[:, None] for name, values in zipped(block).items()} | {"p": _thresholds(p)[None, :]}
        return
    axes = {name: np.array(axis.ends) if block.combine == "sobol" and isinstance(axis, Range) else axis_values(axis)
            for name, axis in block.axes.items()}  # fmt: skip
    words = {q.name for q in record.parameters if q.choices}
    corners = validate.corners({**axes, "p": _thresholds(p)}, words | {"p"})
    yield corners | {name: corners[other] for name, other in same.items()}
    for name, values in axes.items():
        yield {name: values}
    few = {name: axes[name] if name in words else _signs(axes[name]) for name in axes}
    for rule in record.rules:
        if len(rule.parameters) == 2 and all(name in axes for name in rule.parameters):
            first, second = rule.parameters
            yield {first: few[first][:, None], second: few[second][None, :]}


def _signs(values: np.ndarray) -> np.ndarray:
    """A few values among which every sign of the axis occurs."""
    return np.array([values.min(), values[np.argmin(np.abs(values))], values.max()])


def _thresholds(p: np.ndarray) -> np.ndarray:
    """The outermost on both sides of 1: from below a start crosses the one, from above the other."""
    return np.unique([end for side in (p[p < 1], p[p > 1]) if side.size for end in (side.min(), side.max())])
