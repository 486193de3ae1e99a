"""What is wrong with a block: names, values, and the rules of its system, as much of it as can be said at once."""

import itertools
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from jepa_sweep.checks import check_one_of, closest, plain, shown
from jepa_sweep.physics.host import Columns
from jepa_sweep.spec.axes import Axis, Block, Range
from jepa_sweep.spec.blocks import FullBlock, code, complete, keys_of
from jepa_sweep.spec.lines import Key
from jepa_sweep.spec.problems import MOST_FAULTS, Fault, faults_of, repeated, under
from jepa_sweep.spec.rules import broken, corners
from jepa_sweep.spec.settings import hint, home
from jepa_sweep.systems.system import Parameter, Rule, System


def inspected(
    system: System, objectives: Sequence[str], p: Sequence[float], block: Block, at: Key, said: Collection[Key]
) -> tuple[FullBlock | None, list[Fault]]:
    """The block with all that its system decides, if that can be told, and what is wrong with it.

    Args:
        system: whose parameters the block gives.
        objectives: of the sweep.
        p: its thresholds.
        block: as it was read, without what could not be.
        at: where it stands in the spec.
        said: keys that could not be read, of which nothing more is to be said.
    """
    found = (_names(system, block, at, said), _values(system, block, at, said))
    faults = [fault for some in found for fault in itertools.islice(some, MOST_FAULTS)]
    whole = not faults and not any(under(key, [at]) for key in said)
    full = complete(system, block, at) if whole else None
    wrong = {str(key[-1]) for fault in faults for key in fault.keys}  # parameters of which rules need not be asked
    for objective in objectives:
        rules = system.rules_of(objective)
        for columns in _representatives(system, rules, full, np.array(p)) if full else _alone(system, block, wrong, p):
            for rule in rules:
                if wrong.isdisjoint(rule.parameters) and (says := broken(system, rule, columns)):
                    faults.append(Fault(says, keys_of(block.combine, at, rule.parameters)))
                    wrong.update(rule.parameters)
    return full, faults


def _names(system: System, block: Block, at: Key, said: Collection[Key]) -> Iterator[Fault]:
    """Parameters that are missing or unknown, and keys that do not suit the way of combining."""
    axes = (*at, "axes")
    if (*at, "combine") not in said:
        yield from _keys(block, at, said)
    listed = [((*at, "points", place), list(point)) for place, point in enumerate(block.points or ())]
    points = block.combine == "points" or (block.points and (*at, "combine") in said)  # which may be what was meant
    unread: dict[Key, list[str]] = {}
    for key in said:
        unread.setdefault(key[:-1], []).append(str(key[-1]))
    for table, given in listed if points else [(axes, list(block.axes))]:
        yield from _unknown(system, table, given, unread.get(table, ()))


def _keys(block: Block, at: Key, said: Collection[Key]) -> Iterator[Fault]:
    if block.combine == "points":
        if (block.axes or not block.points) and (*at, "points") not in said:
            yield Fault('combine = "points" must come with `points = [{...}, ...]` and no axes', ((*at, "combine"),))
        return
    if block.points is not None:
        says = f'`points` must come with combine = "points", but it is "{block.combine}"'
        yield Fault(says, ((*at, "points"),))
    if block.combine == "sobol" and block.num is None and (*at, "num") not in said:
        yield Fault('combine = "sobol" must come with `num`, the number of points', ((*at, "combine"),))
    for name in ("num", "seed") if block.combine != "sobol" else ():
        if getattr(block, name) is not None:
            yield Fault(f'`{name}` of a block must come with combine = "sobol"', ((*at, name),))


def _unknown(system: System, table: Key, given: Sequence[str], unread: Sequence[str]) -> Iterator[Fault]:
    """Names in a table that are no parameters, and parameters that are neither given nor known by default."""
    names, meant = [q.name for q in system.parameters], set()
    for name in (name for name in given if name not in names):
        if not home(system, name):
            meant.add(closest(name, names))
        yield Fault(f"`{plain(name)}` is not a parameter.{hint(system, name, names)}", ((*table, name),))
    for q in system.parameters:
        if q.default is None and q.name not in (*given, *unread) and q.name not in meant:
            yield Fault(f"`{q.name}` must be given, but it is missing", (table,))


def _values(system: System, block: Block, at: Key, said: Collection[Key]) -> Iterator[Fault]:
    """Axes that have not the right kind of values, or not in a number that the block can combine."""
    parameters = {q.name: q for q in system.parameters}
    for name, axis in block.axes.items():
        if name not in parameters:
            continue
        key = (*at, "axes", name)
        if (*at, "combine") not in said:
            yield from _combined(block, name, axis, key)
        yield from _words(parameters[name], axis, key)
        if parameters[name].integer and block.combine == "sobol" and isinstance(axis, Range):
            yield Fault(f"`{name}` must be listed in a sobol block: it takes whole numbers", (key,))
    for number, point in enumerate(block.points or ()):
        for name, value in point.items():
            if name in parameters:
                yield from _words(parameters[name], (value,), (*at, "points", number, name))


def _combined(block: Block, name: str, axis: Axis, key: Key) -> Iterator[Fault]:
    if isinstance(axis, Range):
        if block.combine == "sobol" and axis.num is not None:
            yield Fault(f"`{name}` must not have a `num` of its own in a sobol block", (key,))
        elif block.combine != "sobol" and axis.num is None:
            yield Fault(f"`{name}` must say how many values it has: add `num`", (key,))
        elif block.combine == "product" and axis.num and len(np.unique(axis.values())) < axis.num:
            yield Fault(f"`{name}` must not repeat a value, but its range has fewer than {axis.num:,}", (key,))
    elif block.combine == "product":
        yield from repeated(name, axis, key)
    if block.combine == "zip":
        sizes = {n: a.num if isinstance(a, Range) else len(a) for n, a in block.axes.items()}
        longest = max(size or 1 for size in sizes.values())
        if sizes[name] not in (None, 1, longest):
            yield Fault(
                f"Zipped axes must have one length or a single value, but `{name}` has {sizes[name]} and the longest "
                f"has {longest}",
                (key,),
            )


def _words(parameter: Parameter, axis: Axis | tuple, key: Key) -> Iterator[Fault]:
    """Words and numbers that do not stand where they are wanted; the first of an axis."""
    for value in axis if isinstance(axis, tuple) else ("a range",):
        fault = None
        if parameter.choices:
            fault = next(faults_of(key, check_one_of, parameter.name, value, parameter.choices), None)
        elif isinstance(value, str) and isinstance(axis, tuple):
            says = f"`{parameter.name}` must be a number, a list of numbers or a range, but it has {shown(value)}"
            fault = Fault(f"{says}; TOML numbers stand without quotes", (key,))
        if fault:
            yield fault
            return


# --- points on which rules are tried ----------------------------------------------------------------------------------


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


def _alone(system: System, block: Block, wrong: set[str], p: Sequence[float]) -> Iterator[Columns]:
    """The values of each parameter by itself, of a block that is not whole: rules of one parameter can be tried."""
    parameters = {q.name: q for q in system.parameters if q.name not in wrong}
    yield {"p": np.array(p)}
    for name in parameters:
        axis = block.axes.get(name, ())
        listed = [*(point[name] for point in block.points or () if name in point)]
        values = axis.ends if isinstance(axis, Range) else [code(parameters, name, value) for value in (*axis, *listed)]
        if len(values):
            yield {name: np.array(values)}
