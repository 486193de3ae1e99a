"""What is said of the physics on the host, in numbers and words: it needs no JAX.

Whoever describes, plans or reads a sweep takes the words from here, and does not wait for what computes.
"""

import enum

import numpy as np

Columns = dict[str, np.ndarray]  # name -> values, one entry per point, on the host

LAYOUTS = ("same", "opposite", "equal_lam", "equal_rho", "crossed")  # of lam and rho over features, see `data.spectrum`
STARTS = ("aligned", "gaussian")  # of the weights of a network


class Status(enum.IntEnum):
    """How the search for one critical time, or one sample of a trajectory, ended; `SENTENCES` says it in words."""

    LEARNED = 0
    ABOVE_THRESHOLD = 1
    AT_FIXED_POINT = 2
    NOT_REACHED = 3
    NO_SIGNAL = 4
    COLLAPSES = 5
    OVERFLOW = 6
    MAX_STEPS = 7
    NON_FINITE = 8
    RESOLVED = 9
    UNRESOLVED = 10
    OOM = 11
    TRAINED = 12
    DIVERGED = 13
    NOT_YET = 14
    ESTIMATED = 15
    UNSTABLE = 16
    UNDERFLOW = 17
    INACCURATE = 18

    @property
    def label(self) -> str:
        """The name as it stands in the tables: `learned`, `max_steps`, ..."""
        return self.name.lower()

    @property
    def failed(self) -> bool:
        """True where the numerics gave up; every other status is an answer about the point."""
        return self in (Status.MAX_STEPS, Status.NON_FINITE, Status.OOM, Status.DIVERGED, Status.INACCURATE)


SENTENCES = {
    Status.LEARNED: "The response crossed its threshold at the time given.",
    Status.ABOVE_THRESHOLD: "The start already lies at or above the threshold p w*, so there is no crossing to time.",
    Status.AT_FIXED_POINT: "The start is the fixed point; nothing moves.",
    Status.NOT_REACHED: "The threshold lies where the flow never goes: growth from below needs p < 1, "
    "decay from above needs 1 < p < eps / w*.",
    Status.NO_SIGNAL: "lam = rho = 0: the feature carries no signal and its response decays to zero.",
    Status.COLLAPSES: "lam < 0: from a positive start the response decays to zero.",
    Status.OVERFLOW: "The critical time is larger than the largest number of this precision; read log_t_exact.",
    Status.MAX_STEPS: "The solver used up its steps; raise `max_steps`, for the points of a run with `retry`, "
    "or loosen `rtol`.",
    Status.NON_FINITE: "The integration produced a number that is not finite.",
    Status.RESOLVED: "The response at this time was computed.",
    Status.UNRESOLVED: "The response changes by more than itself within the rounding of t, so w(t) has no "
    "correct digits; read the time of a response instead.",
    Status.OOM: "Not even the smallest batch with this point fits into the memory of the device; choose another one.",
    Status.TRAINED: "The network was trained to the end.",
    Status.DIVERGED: "Training blew up: the step is far above the stability limit; lower `eta`.",
    Status.UNSTABLE: "The network was trained, but its step is above the stability limit of its rest point, which it "
    "therefore cannot keep; lower `eta`.",
    Status.NOT_YET: "The response had not met its threshold when training ended; raise `t_end` to see it.",
    Status.UNDERFLOW: "The critical time is smaller than the smallest number of this precision; read log_t_exact.",
    Status.INACCURATE: "The critical time that was found is, or may be, more than 100 rtol off; tighten `rtol`, for "
    "the points of a run with `retry`, or integrate in the default coordinate, in float64.",
    Status.ESTIMATED: "The moments of the series were estimated.",
}


def labels(codes: np.ndarray) -> np.ndarray:
    """Status codes as the words of the tables."""
    return np.asarray(np.array([status.label for status in Status])[codes])
