"""Small C++ programs beside this file: compiled for this machine when first used, and called with arrays."""

import ctypes
import functools
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.common import Clock, Scaled, cores

# -ffast-math, because only with it g++ takes exp, log and pow of vectors from libmvec; they are five times as fast.
FLAGS = ["-std=c++17", "-O3", "-march=native", "-ffast-math", "-fopenmp-simd", "-shared", "-fPIC", "-pthread"]
if platform.machine() == "x86_64":
    FLAGS.append("-mprefer-vector-width=512")  # where the processor has them; g++ prefers 256 bits


@functools.cache
def missing(header: str = "cmath") -> str:
    """Whether there is a compiler, and a header."""
    if not shutil.which("g++"):
        return "there is no C++ compiler `g++`"
    asked = {"input": f"#include <{header}>", "capture_output": True, "text": True, "check": False}
    found = subprocess.run(["g++", "-E", "-x", "c++", "-"], **asked)
    return "" if found.returncode == 0 else f"there is no C++ header `{header}`"


@functools.cache
def compiled(name: str) -> ctypes.CDLL:
    """The compiled program of a file here; once for all that use it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.so"
        subprocess.run(["g++", *FLAGS, str(Path(__file__).with_name(name)), "-o", str(path)], check=True)
        return ctypes.CDLL(str(path))


def doubles(values: np.ndarray) -> ctypes.Array:
    """An array as an argument of a C++ function, which may write into it if it has no gaps."""
    return np.ctypeslib.as_ctypes(np.ascontiguousarray(values, dtype=float))


def solve(function: Callable[..., None], given: Clock | Scaled, rtol: float) -> np.ndarray:
    """Times by `function(threads, n, four columns, rtol, out)`, a thread on each core."""
    out = np.empty(len(given.unit))
    columns = map(doubles, given[:4])
    function(cores(), ctypes.c_long(len(out)), *columns, ctypes.c_double(rtol), doubles(out))
    out *= given.unit
    return out
