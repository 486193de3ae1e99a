"""Many points at once: arrays in, arrays out, in parts of one shape so that one compile serves a whole sweep.

Solves run in a pool of lanes on every device, each device at its own pace over its own share. But for rounding in how a
compiler groups operations, no result depends on the width of a pool, the number of devices, or the order of the points.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jepa_sweep.engine import clock, devices, dispatch, forward, pool, solver
from jepa_sweep.engine.solver import Goal, Settings
from jepa_sweep.physics.dynamics import Columns, Coordinate, Dynamics, Status

Times = Float[np.ndarray, "n s"]


class Predicted(NamedTuple):
    """Theory for a batch of points and thresholds, float64; status codes decided before any integration."""

    status: np.ndarray
    w_star: np.ndarray
    flow_time: np.ndarray  # flow time per unit of the field's time
    values: dict[str, np.ndarray]  # of `Dynamics.predictions`, by name

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> "Predicted":
        """The same with a change to every array."""
        return jax.tree.map(change, self)


class Solves(NamedTuple):
    """Numeric results for n points, in the precision asked for, times in the field's convention."""

    status: np.ndarray  # (n, thresholds)
    time: np.ndarray  # (n, thresholds); NaN unless `status` is LEARNED
    steps: np.ndarray  # (n,), accepted and rejected
    samples: np.ndarray  # (n, times, observables), the response first; NaN from where the solver gave up
    ended: np.ndarray  # (n,), LEARNED, or why the solver gave up
    lane_steps: int  # paid for, on all lanes, whether they had work or not


def unsolved(status: np.ndarray, times: Times | None, coordinate: Coordinate, precision: str, ended: Status) -> Solves:
    """Results of points before any integration: no times, no samples, no steps."""
    count = len(status)
    return Solves(
        status=status,
        time=np.full(status.shape, np.nan, precision),
        steps=np.zeros(count, np.int64),
        samples=np.full((count, 0 if times is None else times.shape[1], coordinate.width), np.nan, precision),
        ended=np.full(count, ended, np.int64),
        lane_steps=0,
    )


def _leaves(dynamics: Dynamics, columns: Columns) -> list[Float[np.ndarray, " n"]]:
    """The point's leaves as float64 rows, after the dynamics have added what their objective implies."""
    point = dynamics.point(**{name: columns[name].astype(float) for name in dynamics.parameters})
    return [np.asarray(leaf, dtype=float) for leaf in jax.tree.leaves(point)]


def _treedef(dynamics: Dynamics) -> Any:
    return jax.tree.structure(dynamics.point(**{name: np.ones(1) for name in dynamics.parameters}))


def _batched(
    one: Callable, key: tuple, args: list[np.ndarray], batch: int | None, row_bytes: int, device: str
) -> list[np.ndarray]:
    """Evaluate a function of one point, without lanes: rows in, rows out, always in float64."""
    where = devices.pick(device)
    with devices.scope("float64", where[0]):
        shape = dispatch.shape_for(batch or len(args[0]), where, row_bytes)
        return dispatch.results(_map, (one, key), args, "float64", shape, where)


def _map(build: Callable[..., Callable], key: tuple, shape: dispatch.Shape) -> Callable:
    def part(count: Any, *args: Any) -> Any:
        del count
        return jax.lax.map(lambda row: build(*key)(*row), args, batch_size=shape.width)

    return part


def _predict_one(
    status: Callable, rest: Callable, flow_time: Callable, predictions: tuple[Callable, ...], treedef: Any
) -> Callable:
    def one(p, *leaves):
        point = jax.tree.unflatten(treedef, leaves)
        return status(point, p), rest(point), flow_time(point), *(value(point, p) for value in predictions)

    return one


def _exact_path_one(trajectory: Callable, condition: Callable, treedef: Any) -> Callable:
    def one(times, *leaves):
        point = jax.tree.unflatten(treedef, leaves)
        return tuple(jax.vmap(f, (None, 0))(point, times) for f in (trajectory, condition))

    return one


def predict(
    dynamics: Dynamics,
    columns: Columns,
    p: Float[np.ndarray, "n ..."],
    *,
    batch: int | None = None,
    device: str = "auto",
) -> Predicted:
    """What theory says of every point and threshold, always in float64: status, rest point, predictions.

    Args:
        dynamics: the flow.
        columns: parameter name -> values, shape (n,).
        p: thresholds as fractions of the rest point, shape (n,) or (n, thresholds).
        batch: rows of a typical call; calls that name the same number share one program. All of `p` by default.
        device: where to compute, see `devices.pick`.

    Returns:
        Arrays of the shape of `p`.
    """
    names, values = [q.name for q in dynamics.predictions], tuple(q.value for q in dynamics.predictions)
    key = (dynamics.status, dynamics.rest, dynamics.flow_time, values, _treedef(dynamics))
    leaves = [np.repeat(leaf, p[:1].size) for leaf in _leaves(dynamics, columns)]
    found = _batched(_predict_one, key, [p.ravel(), *leaves], batch, 1 << 10, device)
    status, rest, flow_time, *others = (a.reshape(p.shape) for a in found)
    return Predicted(status, rest, flow_time, dict(zip(names, others, strict=True)))


def exact_paths(
    dynamics: Dynamics, columns: Columns, times: Times, *, batch: int | None = None, device: str = "auto"
) -> tuple[Times, Times]:
    """w at `times`, shape (n, samples), in closed form, and its condition number |d ln w / d ln T|; float64."""
    key = (dynamics.trajectory, dynamics.condition, _treedef(dynamics))
    args = [times, *_leaves(dynamics, columns)]
    w, condition = _batched(_exact_path_one, key, args, batch, times.shape[1] << 8, device)
    return w, condition


def course_of(coordinate: Coordinate, settings: Settings) -> pool.Course:
    """The functions of one solve: those of `clock` where the coordinate only grows, else those of `forward`.

    An implicit method has nothing to gain from an integral, which is never stiff, and goes forward.
    """
    by_clock = coordinate.span is not None and solver.is_explicit(settings)
    return (clock if by_clock else forward).course(coordinate, settings)


def _pool_of(coordinate: Coordinate, settings: Settings, treedef: Any, shape: dispatch.Shape) -> Callable:
    course = course_of(coordinate, settings)

    def part(count, p, target, wanted, times, *leaves):
        goals = Goal(jax.tree.unflatten(treedef, leaves), p, target, wanted > 0, times)
        found = pool.run(course, goals, count[0], shape.width)
        # Lane steps are trips times width: too large to multiply here.
        paid = jnp.full((shape.rows, 2), jnp.stack([found.trips, jnp.asarray(shape.width)]))
        return (*found.results, paid)

    return part


@functools.lru_cache(maxsize=64)
def _lane_bytes(coordinate: Coordinate, settings: Settings, treedef: Any, inner: tuple) -> int:
    """Memory of one lane and its results; `inner` are the shapes of one row's arguments."""

    def lane(p: Any, target: Any, wanted: Any, times: Any, *leaves: Any) -> Any:
        goal = Goal(jax.tree.unflatten(treedef, leaves), p, target, wanted > 0, times)
        course = course_of(coordinate, settings)
        return course.start(goal, jnp.zeros((), int)), course.blank(goal)

    found = jax.eval_shape(lane, *(jax.ShapeDtypeStruct(s, settings.precision) for s in inner))
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(found))


def _cheap_first(dynamics: Dynamics, columns: Columns) -> np.ndarray:
    """An order in which lanes that start together end about together; in coarse steps, which sort fast."""
    cost = np.nan_to_num(dynamics.cost(columns))
    low, high = cost.min(), cost.max()
    return np.argsort(((cost - low) * (1000 / max(high - low, 1e-300))).astype(np.int16), kind="stable")


def solve(
    dynamics: Dynamics,
    columns: Columns,
    p: Float[np.ndarray, "n p"],
    predicted: Predicted,
    settings: Settings,
    *,
    times: Times | None = None,
    batch: int | None = None,
    width: int | None = None,
    device: str = "auto",
) -> Solves:
    """Integrate every point once: its critical times at all its thresholds, and samples at given times.

    Args:
        dynamics: the flow.
        columns: parameter name -> values, shape (n,).
        p: thresholds as fractions of the rest point, shape (n, thresholds).
        predicted: `predict` of each point and threshold, each field of shape (n, thresholds); only thresholds whose
            status there is LEARNED are looked for.
        settings: how to integrate.
        times: increasing times in the field's convention, shape (n, samples); NaN for points without samples.
        batch: points of a typical call; calls that name the same number share one program. n by default.
        width: lanes of one device; chosen from its memory by default.
        device: where to compute, see `devices.pick`.

    Returns:
        Results in the order of the points. Points that fit into no memory end as OOM.
    """
    limit = np.log(np.finfo(settings.precision).max)
    logarithms = [predicted.values[prediction.name] for prediction in dynamics.predictions if prediction.logarithm]
    too_late = (predicted.status == Status.LEARNED) & np.any([log > limit for log in logarithms], axis=0)
    ready = np.where(too_late, Status.OVERFLOW, predicted.status)
    wanted = ready == Status.LEARNED
    cheap = _cheap_first(dynamics, columns)
    times = np.zeros((len(p), 0)) if times is None else times
    args = [a[cheap] for a in (p, p * predicted.w_star, wanted.astype(float), times, *_leaves(dynamics, columns))]
    coordinate, where = dynamics.coordinate(settings.coordinate), devices.pick(device)
    if not solver.is_explicit(settings):
        where = where[:1]  # the linear solves of lineax cannot be traced inside `shard_map`
    key = (coordinate, settings, _treedef(dynamics))
    solves, lane_steps = unsolved(ready, times, coordinate, settings.precision, Status.OOM), 0
    with devices.scope(settings.precision, where[0]):
        shape = dispatch.shape_for(batch or len(p), where, _lane_bytes(*key, tuple(a.shape[1:] for a in args)), width)
        for rows, found in dispatch.parts(_pool_of, key, args, settings.precision, shape, where):
            if found is not None:
                here = cheap[rows]
                solves.time[here], solves.samples[here], solves.ended[here], solves.steps[here], paid = found
                lane_steps += int(paid[: len(where)].astype(np.int64).prod(axis=1).sum())
    gave_up = np.where(solves.ended == Status.LEARNED, Status.NON_FINITE, solves.ended)[:, None]
    status = np.where(wanted, np.where(np.isfinite(solves.time), Status.LEARNED, gave_up), ready)
    time = np.where(status == Status.LEARNED, solves.time, np.nan)
    return solves._replace(status=status, time=time, lane_steps=lane_steps)
