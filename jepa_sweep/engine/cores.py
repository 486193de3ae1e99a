"""All cores of a processor that JAX sees as one device: threads call compiled programs for stretches of the rows.

A program runs its loops on one core, and leaves the interpreter to other threads meanwhile, as NumPy does.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

STRETCH = 1 << 16  # rows of one stretch at most: their arrays are not far from a core, and threads end about together

T = TypeVar("T")
_thread = threading.local()


def number() -> int:
    """Cores of the processor that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def stretches(count: int, where: Sequence[Any], least: int) -> list[slice]:
    """Rows for one thread at a time: all together, unless the only device is a processor and they are many.

    `least` is how many rows are worth a thread. A thread of `each` computes what it is given alone.
    """
    if len(where) > 1 or where[0].platform != "cpu" or hasattr(_thread, "of_many"):
        return [slice(0, count)]
    parts = max(-(-count // STRETCH), min(number(), count // least), 1)
    length = -(-count // parts)
    return [slice(start, min(start + length, count)) for start in range(0, count, length)]


def longest(count: int, where: Sequence[Any], least: int) -> int:
    """Rows of the longest stretch of so many."""
    return max(each.stop - each.start for each in stretches(count, where, least))


def each(function: Callable[[slice], T], rows: list[slice]) -> list[T]:
    """What a function returns for each stretch, called from a thread on each core, of which this is one."""
    if len(rows) == 1:
        return [function(rows[0])]
    waiting, others = iter(range(len(rows))), min(number(), len(rows)) - 1

    def take_turns() -> dict[int, T]:
        _thread.of_many = True
        try:
            return {index: function(rows[index]) for index in waiting}
        finally:
            del _thread.of_many

    with ThreadPoolExecutor(max(1, others)) as threads:
        beside = [threads.submit(take_turns) for _ in range(others)]
        found = take_turns()
        for other in beside:
            found |= other.result()
    return [found[index] for index in range(len(rows))]


def together(function: Callable[[slice], Sequence[np.ndarray]], rows: list[slice]) -> list[np.ndarray]:
    """The arrays that a function returns for each stretch, as arrays for all rows.

    The thread that found some copies them to their place: to touch new memory takes longer than to copy.
    """
    room: list[np.ndarray] = []
    lock = threading.Lock()

    def put(stretch: slice) -> None:
        found = function(stretch)
        with lock:
            room.extend(np.empty((rows[-1].stop, *a.shape[1:]), a.dtype) for a in found[len(room) :])
        for whole, part in zip(room, found, strict=True):
            whole[stretch] = part

    each(put, rows)
    return room
