"""Whether parameters obey the rules of their system."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from jepa_sweep.errors import SpecError
from jepa_sweep.physics.host import Columns
from jepa_sweep.systems.system import Rule, System

Where = Callable[[tuple[str, ...]], str]  # parameters -> where they are set, for messages


def check_arguments(system: System, objective: str, columns: Columns) -> None:
    """Raise unless every value can be a parameter of the system; the arrays may broadcast against each other.

    What must hold of any one point is not asked: each point gets its status, be it alone or one of many.
    """
    try:
        np.broadcast_shapes(*(np.shape(v) for v in columns.values()))
    except ValueError:
        shapes = ", ".join(f"`{name}` {np.shape(v)}" for name, v in columns.items())
        raise SpecError(f"The shapes of the arguments must broadcast together, but they are {shapes}.") from None
    floats = {name: value.astype(float, copy=False) for name, value in columns.items()}
    binding = [rule for rule in system.rules_of(objective) if rule.scope == "every"]
    check_rules(system, binding, floats, lambda names: "argument " + ", ".join(f"`{n}`" for n in names))


def check_rules(system: System, rules: Sequence[Rule], columns: Columns, where: Where) -> None:
    """Raise unless the rules hold over columns that broadcast together; `where` names their place."""
    for rule in rules:
        if says := broken(system, rule, columns):
            raise SpecError(f"{says} ({where(rule.parameters)}).")


def broken(system: System, rule: Rule, columns: Columns) -> str:
    """What must hold and does not, as a sentence; empty if it holds, or speaks of what there is no column of."""
    if not all(name in columns for name in rule.parameters):
        return ""
    columns = {name: columns[name] for name in rule.parameters}
    with np.errstate(all="ignore"):
        holds = np.asarray(rule.holds(columns))
    if holds.size == 0 or (holds.any() if rule.scope == "any" else holds.all()):
        return ""
    words = {q.name: q.choices for q in system.parameters if q.choices}
    first = np.unravel_index(int(np.argmin(holds)), holds.shape)
    *most, last = (f"`{n}`" for n in rule.parameters)
    names = f"{', '.join(most)} and {last}" if most else last
    values = {n: float(np.broadcast_to(v, holds.shape)[first]) for n, v in columns.items()}
    given = [f"{n} = {words[n][int(v)] if n in words else f'{v:.12g}'}" for n, v in values.items()]
    example = "no point does; the first has" if rule.scope == "any" else "there is"
    return f"{names} must {rule.must}, but {example} {', '.join(given)}"


def corners(columns: Columns, words: Iterable[str] = ()) -> Columns:
    """Smallest and largest value of each column, all of `words`, as axes that broadcast to all their combinations."""
    ends = [v if name in words else np.unique([np.min(v), np.max(v)]) for name, v in columns.items()]
    return dict(zip(columns, np.ix_(*ends), strict=True))
