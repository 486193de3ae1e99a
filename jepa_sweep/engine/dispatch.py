"""Rows of arrays through one compiled program, in parts of one shape that are split over the devices."""

import collections
import functools
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from jepa_sweep.engine import devices, programs
from jepa_sweep.engine.programs import Compiled, Program, Shape

MIN_ROWS = 64  # fewer are computed as if they were so many, so that calls of any small size share one program
MAX_ROWS_PER_LANE = 64  # of one part on one device: so many that the last, half-empty trips of a pool hardly count


def shape_for(
    count: int, where: tuple, lane_bytes: int, width: int | None = None, most: int = MAX_ROWS_PER_LANE
) -> Shape:
    """The shape of the parts for `count` rows on these devices; a lane gets `most` rows of one part at most."""
    device = where[0]
    share = -(-count // len(where))
    if width is None:
        width = min(devices.lanes_that_fit(device, lane_bytes), max(MIN_ROWS, 1 << (share - 1).bit_length()))
    rows = width * min(most, 1 << max(0, (-(-share // width) - 1).bit_length()))
    return Shape(rows, width)


def parts(
    build: Callable[..., Callable], key: tuple, args: list[np.ndarray], precision: str, shape: Shape, where: tuple
) -> Iterator[tuple[slice, list[np.ndarray] | None]]:
    """Results part by part, with the rows they belong to; None for rows that fit into no memory.

    Parts are dispatched ahead, so that devices need not wait for the host.
    """
    count, number = len(args[0]), len(where)
    inner = tuple(a.shape[1:] for a in args)
    start, under_way, ahead = 0, collections.deque(), 2
    while start < count or under_way:
        try:
            if start < count and len(under_way) < ahead:
                stop = min(count, start + number * shape.rows)
                with Compiled.lock:  # or two threads would compile the same
                    program = programs.compiled(Program(build, key, shape, inner, precision, where))
                shares = np.array([len(range(start + d, stop, number)) for d in range(number)], np.int32)
                with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and a status says so
                    narrow = [a[start:stop].astype(precision, copy=False) for a in args]
                dealt = [_dealt(a, shape.rows, number) for a in narrow]
                under_way.append((slice(start, stop), program(shares, *dealt)))
                start = stop
                continue
            rows, found = under_way[0]
            collected = [
                checked(_collected(np.asarray(out), rows.stop - rows.start, number), precision) for out in found
            ]
            under_way.popleft()
            yield rows, collected
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            # What is under way is lost: go back to the first row without a result, in smaller parts,
            # one at a time.
            start = under_way[0][0].start if under_way else start
            under_way.clear()
            if shape.halved() == shape and ahead == 1:
                stop = min(count, start + number * shape.rows)
                yield slice(start, stop), None
                start = stop
            shape, ahead = shape.halved(), 1


def results(
    build: Callable[..., Callable], key: tuple, args: list[np.ndarray], precision: str, shape: Shape, where: tuple
) -> list[np.ndarray]:
    """Results of all rows; the arguments are those of `parts`.

    Raises:
        MemoryError: there are rows that fit into no memory.
    """
    done = []
    for rows, found in parts(build, key, args, precision, shape, where):
        if found is None:
            raise MemoryError(f"rows {rows.start} to {rows.stop} do not fit into the memory of {where[0]}")
        done.append(found)
    return [joined(columns) for columns in zip(*done, strict=True)]


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays one after the other; a single one as it is."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _dealt(rows: np.ndarray, each: int, number: int) -> np.ndarray:
    """Rows split over `number` devices in turn, `each` to one; the last row is repeated until all have as many."""
    missing = each * number - len(rows)
    if missing:
        rows = np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])
    return np.ascontiguousarray(rows.reshape(each, number, *rows.shape[1:]).swapaxes(0, 1)).reshape(rows.shape)


def _collected(dealt: np.ndarray, count: int, number: int) -> np.ndarray:
    """The first `count` rows in the order they had before `_dealt`."""
    shares = dealt.reshape(number, len(dealt) // number, *dealt.shape[1:])
    return shares.swapaxes(0, 1).reshape(dealt.shape)[:count]


def checked(array: np.ndarray, precision: str) -> np.ndarray:
    """The same array, if its numbers have the precision that was asked for."""
    assert array.dtype.kind != "f" or array.dtype == precision, (
        f"the engine was asked for {precision} and computed {array.dtype}; refusing to pass it on"
    )
    return array


def any_of(flags: np.ndarray) -> np.ndarray:
    """True for the rows with a flag in some column; NumPy's own takes long over one column."""
    return functools.reduce(np.logical_or, flags.T) if flags.shape[1] else np.zeros(len(flags), bool)
