"""The checks that need a whole spec; those of single values are in `validate`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from jepa_sweep.errors import SpecError
from jepa_sweep.physics.catalog import SYSTEMS
from jepa_sweep.physics.systems import Columns
from jepa_sweep.sweep import validate
from jepa_sweep.sweep.axes import Block, Range, axis_values, zipped

if TYPE_CHECKING:
    from jepa_sweep.sweep.spec import Sweep


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
    for system in sweep.systems.values():
        sampled = sweep.measure.trajectories is not None
        _in("[solver]", validate.settings, sweep.solver.settings(), system, sampled=sampled)
    own = {"axes", "combine", "num", "seed", "points"} & sweep.model_fields_set
    if sweep.block and own:
        raise SpecError(
            f"Either the top level or `[[block]]` tables must hold the axes, but both do: `{min(own)}` stands beside "
            f"blocks ([{min(own)}]); move it into a block."
        )
    for number, block in enumerate(sweep.blocks):
        _check_block(sweep, block, f"block.{number}." if sweep.block else "")


def _in(where: str, check: Any, *args: Any, **options: Any) -> None:
    try:
        check(*args, **options)
    except SpecError as error:
        raise SpecError(f"{str(error).rstrip('.?')} ({where}).") from None


def _distinct(name: str, values: tuple, where: str) -> None:
    repeated = sorted({v for v in values if values.count(v) > 1}) if len(values) < 1000 else []
    if repeated or len(set(values)) < len(values):
        raise SpecError(f"`{name}` must not repeat a value, but {repeated[:3]} stand more than once ({where}).")


def _check_block(sweep: "Sweep", block: Block, prefix: str) -> None:
    names = [q.name for q in next(iter(sweep.systems.values())).parameters]
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
                raise SpecError(f"`{key}` is not a parameter.{validate.did_you_mean(key, names)} ({place})")
        missing = [name for name in names if name not in given]
        if missing:
            raise SpecError(f"`{missing[0]}` must be given, but it is missing ({place}).")
    if block.combine == "sobol" and block.num is None:
        raise SpecError(f'combine = "sobol" must come with `num`, the number of points ({where}).')
    if block.combine != "sobol" and (block.num, block.seed) != (None, None):
        raise SpecError(f'`num` and `seed` of a block must come with combine = "sobol" ({where}).')
    for name, axis in block.axes.items():
        _check_axis(block, name, axis, f"[{prefix}axes.{name}]")
        whole = name in {q.name for q in next(iter(sweep.systems.values())).parameters if q.integer}
        if whole and block.combine == "sobol" and isinstance(axis, Range):
            raise SpecError(f"`{name}` takes whole numbers: list them in a sobol block ([{prefix}axes.{name}]).")

    def places(parameters: tuple[str, ...]) -> str:
        return ", ".join(_place(prefix, block, name) for name in parameters)

    for system in sweep.systems.values():
        for columns in _representatives(block, np.array(sweep.measure.p)):
            validate.rules(system, columns, places)


def _place(prefix: str, block: Block, name: str) -> str:
    if name == "p":
        return "[measure.p]"
    return f"[{prefix}points]" if block.combine == "points" else f"[{prefix}axes.{name}]"


def _check_axis(block: Block, name: str, axis: Range | tuple[float, ...], where: str) -> None:
    if isinstance(axis, Range):
        if block.combine == "sobol" and axis.num is not None:
            raise SpecError(f"`{name}` must not have a `num` of its own in a sobol block ({where}).")
        if block.combine != "sobol" and axis.num is None:
            raise SpecError(f"`{name}` must say how many values it has: add `num` ({where}).")
        if block.combine == "product" and axis.num and len(set(axis.values())) < axis.num:
            raise SpecError(f"`{name}` must not repeat a value, but its range has fewer than {axis.num} ({where}).")
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


def _representatives(block: Block, p: np.ndarray) -> Iterator[Columns]:
    """Columns on which the rules decide for the whole block.

    Every value of each axis, for rules of one parameter; the corners of the grid, for rules that are monotone in each
    parameter; and for rules of two, which ask for signs, the smallest and largest value of each and the one nearest 0.
    """
    if block.combine in ("zip", "points"):
        columns = zipped(block)
        rows = {name: np.repeat(values, len(p)) for name, values in columns.items()}
        yield {**rows, "p": np.tile(p, len(next(iter(columns.values()))))}
        return
    axes = {name: np.array(axis.ends) if block.combine == "sobol" and isinstance(axis, Range) else axis_values(axis)
            for name, axis in block.axes.items()}  # fmt: skip
    yield validate.corners({**axes, "p": p})
    for name, values in {**axes, "p": p}.items():
        yield {name: values}
    ordered = list(axes)
    for i, first in enumerate(ordered):
        for second in ordered[i + 1 :]:
            yield {first: _signs(axes[first])[:, None], second: _signs(axes[second])[None, :]}


def _signs(values: np.ndarray) -> np.ndarray:
    """A few values among which every sign of the axis occurs."""
    return np.array([values.min(), values[np.argmin(np.abs(values))], values.max()])
