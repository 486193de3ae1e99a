"""Rules that several systems share."""

import numpy as np

from jepa_sweep.physics.dynamics import Columns
from jepa_sweep.systems.system import Mask, Rule

MOST_SEED = 2**24 - 1  # the largest that single precision holds with all smaller ones


def whole(low: int, high: int, name: str) -> Rule:
    """A whole number from `low` to `high`, both included."""

    def holds(c: Columns) -> Mask:
        x = c[name]
        return (x >= low) & (x <= high) & (x == np.floor(x))

    return Rule((name,), holds, f"be a whole number from {low} to {high:,}")


def between(low: float, high: float, *names: str, low_included: bool = False) -> list[Rule]:
    """Each of the parameters lies between two numbers, of which `high` is excluded."""

    def rule(name: str) -> Rule:
        def holds(c: Columns) -> Mask:
            return (c[name] < high) & ((c[name] >= low) if low_included else (c[name] > low))

        less = f" and below {high:g}" if np.isfinite(high) else " and finite"
        return Rule((name,), holds, f"be {'at least' if low_included else 'more than'} {low:g}{less}")

    return [rule(name) for name in names]
