"""Seconds of a call while nothing else computes on the machine."""

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import timed

UNDISTURBED = 0.08  # cores that other processes may use during a call that counts


def _cpu_seconds() -> tuple[float, float]:
    """Processor time so far of all processes, and of this one with its children; zero where there is no /proc."""
    if not Path("/proc/stat").exists():
        return 0.0, 0.0
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    ours = sum(os.times()[:2])
    for child in multiprocessing.active_children():
        after_name = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        ours += sum(map(int, after_name[11:13])) / os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK"), ours


def _share_of_others(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of a call, and how much of a core other processes used meanwhile."""
    everything, ours = _cpu_seconds()
    took, _ = timed(call)
    everything_after, ours_after = _cpu_seconds()
    return took, max(0.0, everything_after - everything - (ours_after - ours)) / took


def alone(call: Callable[[], Any], seconds: float) -> tuple[float, float]:
    """Seconds of the least disturbed of some calls, and how many cores other processes used meanwhile.

    Waits until the machine is idle and calls again, for so many seconds at most.
    """
    tried, until = [], time.monotonic() + seconds
    while True:
        while _share_of_others(lambda: time.sleep(0.2))[1] > UNDISTURBED and time.monotonic() < until:
            pass
        tried.append(_share_of_others(call))
        if tried[-1][1] < UNDISTURBED or time.monotonic() > until:
            return min(tried, key=lambda one: one[1])
