"""What several systems share: rules of their parameters, and how much one file of theirs holds."""

from collections.abc import Callable

import numpy as np

from jepa_sweep.physics.host import Columns, Status
from jepa_sweep.systems.system import Mask, Measurement, Rule

MOST_SEED = 2**24 - 1  # the largest that single precision holds with all smaller ones
ROWS_PER_FILE = 1_000_000  # about what one file of trajectories should hold
MOST_RUNS = 256  # of a chunk, where each run is much work
FAILED = tuple(s.label for s in Status if s.failed)  # words of the column `status` where the numerics gave up

THRESHOLD = Rule(("p",), lambda c: np.isfinite(c["p"]) & (c["p"] > 0), "be finite and positive")
FRACTION_OF_REST = Rule(
    ("p",),
    lambda c: THRESHOLD.holds(c) & (c["p"] != 1),
    "be finite, positive and different from 1, because the rest point itself is never reached",
)


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


def chunk_of_runs(total: int, first: Callable[[], Columns], measurement: Measurement) -> int:
    """Points of a chunk where each run is much work and has rows for every feature; its thresholds lie together."""
    del total
    rows = max(1, measurement.samples) * int(first()["features"][0])
    return measurement.thresholds * int(np.clip(ROWS_PER_FILE // rows, 1, MOST_RUNS))
