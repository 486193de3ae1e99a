"""Boost.odeint, from the small C++ program beside this file, compiled here for this machine; a thread on each core."""

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.common import Points, Run, Times, Way, clock, cores, scaled

SOURCE = Path(__file__).with_name("odeint.cpp")
FLAGS = ["-std=c++17", "-O3", "-march=native", "-ffast-math", "-fopenmp-simd", "-shared", "-fPIC", "-pthread"]


@functools.cache
def missing() -> str:
    """Whether there is a compiler, and the headers."""
    if not shutil.which("g++"):
        return "there is no C++ compiler `g++`"
    header = "#include <boost/numeric/odeint.hpp>"
    found = subprocess.run(["g++", "-E", "-x", "c++", "-"], input=header, capture_output=True, text=True, check=False)
    return "" if found.returncode == 0 else "there are no Boost headers (Debian: `libboost-dev`)"


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled program; once for all of its ways."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "odeint.so"
        subprocess.run(["g++", *FLAGS, str(SOURCE), "-o", str(path)], check=True)
        return ctypes.CDLL(str(path))


def version() -> str:
    """Boost's version."""
    number = library().boost_version()
    return f"{number // 100_000}.{number // 100 % 1000}.{number % 100}"


def _arrays(*values: np.ndarray) -> tuple[list[np.ndarray], list[ctypes.c_void_p]]:
    held = [np.ascontiguousarray(v, dtype=float) for v in values]
    return held, [ctypes.c_void_p(v.ctypes.data) for v in held]


def prepare(points: dict[str, Points], rtol: float, order: int, width: int) -> Run:
    """Over chi (`order` 5: dopri5, 0: bulirsch_stoer), or in u with an event when `width` is 0."""
    call = library()

    def times(objective: str) -> np.ndarray:
        # Points of one depth side by side, because those that share a state share their steps.
        index = np.argsort(points[objective]["L"], kind="stable")
        mine = {name: values[index] for name, values in points[objective].items()}
        count = len(index)
        out = np.empty(count)
        given = clock(objective, mine) if width else scaled(objective, mine)
        held, pointers = _arrays(*given[:4], out)
        tail = (ctypes.c_double(rtol), pointers[4])
        if width:
            call.clock_times(order, width, cores(), ctypes.c_long(count), *pointers[:4], *tail)
        else:
            call.event_times(cores(), ctypes.c_long(count), *pointers[:4], *tail)
        out[index] = given.unit * held[4]
        return out

    def run() -> Times:
        return {objective: times(objective) for objective in points}

    return run


def _way(name: str, order: int, width: int) -> Way:
    return Way(f"Boost.odeint {name}", functools.partial(prepare, order=order, width=width), missing)


WAYS = [
    _way("bulirsch_stoer, over chi, 1 wide", 0, 1),
    _way("bulirsch_stoer, over chi, 16 wide", 0, 16),
    _way("dopri5, over chi, 1 wide", 5, 1),
    _way("dopri5, over chi, 16 wide", 5, 16),
    _way("dopri5, event in u", 5, 0),
]
