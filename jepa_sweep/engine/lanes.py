"""Many solves at once: points in, arrays out, in batches of one shape so that one compile serves a whole sweep.

A batch runs until its slowest row ends, so callers hand points over sorted by predicted cost.
"""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jepa_sweep.engine import devices, solver
from jepa_sweep.engine.solver import Settings
from jepa_sweep.physics.systems import Columns, Coordinate, Prediction, Status, System

LANES = 4096  # rows of one batch: enough to fill vector units, few enough to stay in cache


class Predictions(NamedTuple):
    """Theory for a batch of points, float64, in paper time; status codes decided before any integration."""

    status: np.ndarray
    w_star: np.ndarray
    flow: np.ndarray  # flow time per unit of paper time
    time: np.ndarray
    log_time: np.ndarray
    leading: np.ndarray
    asymptotic: np.ndarray
    inflection: np.ndarray


class Solves(NamedTuple):
    """Numeric results for a batch of points, in the precision asked for, in paper time."""

    status: np.ndarray
    time: np.ndarray
    steps: np.ndarray


class Paths(NamedTuple):
    """The response at requested times, shape (points, samples)."""

    w: np.ndarray
    steps: np.ndarray


class Compiled:
    """Seconds and number of the compilations of this process, for reports and for tests."""

    seconds = 0.0
    count = 0


def width_for(count: int) -> int:
    """The batch width for `count` points: a power of two, at most `LANES`."""
    return min(LANES, 1 << max(3, (count - 1).bit_length()))


@functools.lru_cache(maxsize=64)
def _program(build: Callable[..., Callable], key: tuple, shapes: tuple, precision: str, device: devices.Device) -> Any:
    """The compiled batch of a one-point function; `shapes` are those of the whole batch, argument by argument."""
    began = time.perf_counter()
    args = [jax.ShapeDtypeStruct(shape, np.dtype(precision)) for shape in shapes]
    program = jax.jit(jax.vmap(build(*key))).lower(*args).compile()
    Compiled.seconds += time.perf_counter() - began
    Compiled.count += 1
    return program


def _batched(
    build: Callable[..., Callable],
    key: tuple,
    args: list[np.ndarray],
    precision: str,
    width: int,
    device: devices.Device,
) -> list[np.ndarray]:
    """Run a one-point function over rows, in batches of exactly `width`, and check the precision that comes back."""
    count = len(args[0])
    outputs: list[list[np.ndarray]] = []
    with devices.scope(precision, device):
        shapes = tuple((width, *a.shape[1:]) for a in args)
        program = _program(build, key, shapes, precision, device)
        for start in range(0, count, width):
            rows = [a[start : start + width].astype(precision) for a in args]
            rows = [np.concatenate([r, np.repeat(r[-1:], width - len(r), axis=0)]) for r in rows]
            outputs.append([np.asarray(out)[: count - start] for out in program(*rows)])
    joined = [np.concatenate(parts) for parts in zip(*outputs, strict=True)]
    for array in joined:
        assert array.dtype.kind != "f" or array.dtype == precision, (
            f"the engine was asked for {precision} and computed {array.dtype}; refusing to pass it on"
        )
    return joined


def _rows(system: System, columns: Columns) -> list[np.ndarray]:
    """The point's leaves as float64 rows, after the system has added what its objective implies."""
    point = system.point(**{q.name: columns[q.name].astype(float) for q in system.parameters})
    return [np.asarray(leaf, dtype=float) for leaf in jax.tree.leaves(point)]


def _treedef(system: System) -> Any:
    return jax.tree.structure(system.point(**{q.name: np.ones(1) for q in system.parameters}))


def _predict_one(prediction: Prediction, status: Callable, rest: Callable, flow: Callable, treedef: Any) -> Callable:
    def one(p, *leaves):
        point = jax.tree.unflatten(treedef, leaves)
        return (  # the fields of `Predictions`
            status(point, p),
            rest(point),
            flow(point),
            prediction.critical_time(point, p),
            prediction.log_critical_time(point, p),
            prediction.leading_critical_time(point),
            prediction.asymptotic_critical_time(point, p),
            prediction.inflection_time(point),
        )

    return one


def _solve_one(coordinate: Coordinate, settings: Settings, treedef: Any) -> Callable:
    def one(p, target, ready, *leaves):
        point = jax.tree.unflatten(treedef, leaves)
        out = solver.critical_time(coordinate, point, p, target, ready.astype(int), settings)
        return out.status, out.time, out.steps

    return one


def _path_one(coordinate: Coordinate, settings: Settings, treedef: Any) -> Callable:
    def one(times, *leaves):
        return solver.response(coordinate, jax.tree.unflatten(treedef, leaves), times, settings)

    return one


def _exact_path_one(prediction: Prediction, treedef: Any) -> Callable:
    def one(times, *leaves):
        point = jax.tree.unflatten(treedef, leaves)
        w = jax.vmap(prediction.trajectory, (None, 0))(point, times)
        return w, jax.vmap(prediction.condition, (None, 0))(point, times)

    return one


def predict(
    system: System, columns: Columns, p: np.ndarray, *, width: int | None = None, device: str = "auto"
) -> Predictions:
    """The closed form of every point, always in float64.

    Args:
        system: the dynamics.
        columns: parameter name -> values, shape (n,).
        p: thresholds as fractions of the rest point, shape (n,).
        width: rows of a batch; from `n` by default.
        device: where to compute, see `devices.pick`.
    """
    key = (system.prediction, system.status, system.rest, system.flow, _treedef(system))
    args = [p, *_rows(system, columns)]
    return Predictions(*_batched(_predict_one, key, args, "float64", width or width_for(len(p)), devices.pick(device)))


def solve(
    system: System,
    columns: Columns,
    p: np.ndarray,
    predicted: Predictions,
    settings: Settings,
    *,
    width: int | None = None,
    device: str = "auto",
) -> Solves:
    """Critical times by integration, for the points whose status says there is one to find."""
    limit = np.log(np.finfo(settings.precision).max)
    too_late = (predicted.status == Status.LEARNED) & (predicted.log_time > limit)
    ready = np.where(too_late, Status.OVERFLOW, predicted.status)
    key = (system.coordinate(settings.coordinate), settings, _treedef(system))
    args = [p, p * predicted.w_star, ready, *_rows(system, columns)]
    status, times, steps = _batched(
        _solve_one, key, args, settings.precision, width or width_for(len(p)), devices.pick(device)
    )
    return Solves(status, times, steps)


def paths(
    system: System,
    columns: Columns,
    times: np.ndarray,
    settings: Settings,
    *,
    width: int | None = None,
    device: str = "auto",
) -> Paths:
    """The response at `times`, shape (points, samples), increasing paper times, by integration."""
    key = (system.coordinate(settings.coordinate), settings, _treedef(system))
    args = [times, *_rows(system, columns)]
    width = width or width_for(len(times))
    return Paths(*_batched(_path_one, key, args, settings.precision, width, devices.pick(device)))


def exact_paths(
    system: System, columns: Columns, times: np.ndarray, *, width: int | None = None, device: str = "auto"
) -> tuple[np.ndarray, np.ndarray]:
    """The closed form of `paths` and its condition number |d ln w / d ln T|, always in float64."""
    args = [times, *_rows(system, columns)]
    w, condition = _batched(
        _exact_path_one,
        (system.prediction, _treedef(system)),
        args,
        "float64",
        width or width_for(len(times)),
        devices.pick(device),
    )
    return w, condition
