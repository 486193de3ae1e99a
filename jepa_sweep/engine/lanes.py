"""Many points at once: arrays in, arrays out, in parts of one shape so that one compile serves a whole sweep.

Solves run in a pool of lanes on every device, each device at its own pace over its own share. But for rounding in how a
compiler groups operations, no result depends on the width of a pool, the number of devices, or the order of the points.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jepa_sweep.engine import cores, dense, devices, dispatch, many, pool, programs, whole
from jepa_sweep.engine.settings import TOLERANCES, Settings
from jepa_sweep.engine.solves import Predicted, Solves, Times, room
from jepa_sweep.physics.dynamics import Coordinate, Dynamics
from jepa_sweep.physics.host import Columns, Status

SOLVES = 1 << 13  # points of one thread at least
SHORT = 1e16  # times the smallest number: a time whose parts may be below it, and matter


def _leaves(dynamics: Dynamics, columns: Columns) -> list[Float[np.ndarray, " n"]]:
    """The point's leaves as float64 rows, after the dynamics have added what their objective implies."""
    point = dynamics.point(**{name: columns[name].astype(float, copy=False) for name in dynamics.parameters})
    return [np.asarray(leaf, dtype=float) for leaf in jax.tree.leaves(point)]


def _treedef(dynamics: Dynamics) -> Any:
    return jax.tree.structure(dynamics.point(**{name: np.ones(1) for name in dynamics.parameters}))


def _predict_one(
    status: Callable, rest: Callable, flow_time: Callable, predict: Callable, names: tuple[str, ...], treedef: Any
) -> Callable:
    of_point = {"w_star": rest, "flow_time": flow_time}

    def one(p, *leaves):
        point = jax.tree.unflatten(treedef, leaves)
        times = predict(point, p, tuple(name for name in names if name not in of_point))
        code = status(point, p).astype(jnp.int8)
        return code, *(of_point[name](point) if name in of_point else times[name] for name in names)

    return one


def _exact_path_one(trajectory: Callable, treedef: Any) -> Callable:
    def one(times, *leaves):
        point = jax.tree.unflatten(treedef, leaves)
        return jax.vmap(trajectory, (None, -1), -1)(point, times)

    return one


def predict(
    dynamics: Dynamics,
    columns: Columns,
    p: Float[np.ndarray, "n ..."],
    *,
    only: tuple[str, ...] | None = None,
    batch: int | None = None,
    device: str = "auto",
) -> Predicted:
    """What theory says of every point and threshold, always in float64: status, rest point, predictions.

    A time beyond the largest number has the status OVERFLOW, one below the smallest UNDERFLOW, if its logarithm is
    among the predictions.

    Args:
        dynamics: the flow.
        columns: parameter name -> values, shape (n,).
        p: thresholds as fractions of the rest point, shape (n,) or (n, thresholds).
        only: names of what to compute beside the status: "w_star", "flow_time", predictions; all of it by default.
        batch: rows of a typical call; calls that name the same number share one program. All of `p` by default.
        device: where to compute, see `devices.pick`.

    Returns:
        Arrays of the shape of `p`.
    """
    known = ("w_star", "flow_time", *(q.name for q in dynamics.predictions))
    names = tuple(name for name in known if only is None or name in only)
    return _predict(dynamics, _leaves(dynamics, columns), p, names, batch, device)


def _predict(
    dynamics: Dynamics,
    leaves: list[np.ndarray],
    p: Float[np.ndarray, "n ..."],
    names: tuple[str, ...],
    batch: int | None,
    device: str,
) -> Predicted:
    """`predict` of what has these names, for points by their leaves."""
    key = (dynamics.status, dynamics.rest, dynamics.flow_time, dynamics.predict, names, _treedef(dynamics))
    rows = [p.ravel(), *(leaf if p[:1].size == 1 else np.repeat(leaf, p[:1].size) for leaf in leaves)]
    found = many.evaluate(_predict_one, key, rows, batch=batch, elementwise=dynamics.elementwise, device=device)
    status, *values = (a.reshape(p.shape) for a in found)
    predicted = Predicted(status, dict(zip(names, values, strict=True)))
    return predicted._replace(status=_judged(dynamics, predicted, "float64"))


def _judged(dynamics: Dynamics, predicted: Predicted, precision: str) -> np.ndarray:
    """Status codes, OVERFLOW or UNDERFLOW where a time would be found that is predicted to be out of range."""
    its, status = np.finfo(precision), predicted.status
    for name in _logarithms(dynamics):
        if name in predicted.values:
            log_time = predicted.values[name]
            for beyond, code in (
                (log_time > np.log(its.max), Status.OVERFLOW),
                (log_time < np.log(its.tiny), Status.UNDERFLOW),
            ):
                if beyond.any():
                    status = np.where((status == Status.LEARNED) & beyond, code, status)
    return status


def _logarithms(dynamics: Dynamics) -> tuple[str, ...]:
    """Names of the predictions that tell which times are out of range."""
    return tuple(q.name for q in dynamics.predictions if q.logarithm)


def exact_paths(
    dynamics: Dynamics, columns: Columns, times: Times, *, batch: int | None = None, device: str = "auto"
) -> tuple[Times, Times]:
    """w at `times`, shape (n, samples), in closed form, and its condition number |d ln w / d ln T|; float64."""
    key, args = (dynamics.trajectory, _treedef(dynamics)), [times, *_leaves(dynamics, columns)]
    row_bytes, elementwise = times.shape[1] << 8, dynamics.elementwise
    w, condition = many.evaluate(
        _exact_path_one, key, args, batch=batch, row_bytes=row_bytes, elementwise=elementwise, device=device
    )
    return w, condition


def course_of(coordinate: Coordinate, settings: Settings) -> pool.Course:
    """The functions of one solve: those of `clock` where the coordinate only grows, else those of `forward`.

    An implicit method has nothing to gain from an integral, which is never stiff, and goes forward.
    """
    from jepa_sweep.engine import clock, forward  # not at the top: a program that is kept needs no diffrax

    by_clock = coordinate.span is not None and settings.explicit
    return (clock if by_clock else forward).course(coordinate, settings)


def _pool_of(coordinate: Coordinate, settings: Settings, treedef: Any, shape: programs.Shape) -> Callable:
    from jepa_sweep.engine.solver import Goal  # not at the top, see `course_of`

    course = course_of(coordinate, settings)

    def part(count, p, target, wanted, times, *leaves):
        goals = Goal(jax.tree.unflatten(treedef, leaves), p, target, wanted > 0, times)
        found = pool.run(course, goals, count[0], shape.width)
        # Lane steps are trips times width: too large to multiply here.
        paid = jnp.full((shape.rows, 2), jnp.stack([found.trips, jnp.asarray(shape.width)]))
        return (*found.results, paid)

    return part


def _lane_bytes(coordinate: Coordinate, settings: Settings, treedef: Any, inner: tuple) -> int:
    """About what one lane and its results take in memory; `inner` are the shapes of one row's arguments.

    An estimate: to know it, a lane would have to be traced, which takes longer than to load its program.
    """
    _, _, _, (samples,), *leaves = inner
    given = sum(map(math.prod, inner))  # noted twice: what is asked, and what was found
    like = (jax.ShapeDtypeStruct(shape, settings.precision) for shape in leaves)
    start = jax.eval_shape(coordinate.start, jax.tree.unflatten(treedef, like))
    state = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(start))
    noted = dense.KNOTS * (12 + 8 * state) if samples else 0
    return (2 * given + 12 + 4 * state + noted) * np.dtype(settings.precision).itemsize


def _cheap_first(dynamics: Dynamics, columns: Columns) -> np.ndarray:
    """An order in which lanes that start together end about together; in coarse steps, which sort fast."""
    cost = np.nan_to_num(dynamics.cost(columns))
    low, high = cost.min(), cost.max()
    return np.argsort(((cost - low) * (1000 / max(high - low, 1e-300))).astype(np.int16), kind="stable")


def _where(device: str, settings: Settings) -> tuple[devices.Device, ...]:
    """The devices to integrate on: one for an implicit method, whose linear solves cannot be traced in `shard_map`."""
    picked = devices.pick(device)
    return picked if settings.explicit else picked[:1]


class _Call(NamedTuple):
    """What is computed, where, and in what portions, by all programs of one call of `solve`."""

    coordinate: Coordinate
    settings: Settings
    treedef: Any
    where: tuple
    batch: int
    width: int | None
    leaves: list[np.ndarray]  # of the points
    p: np.ndarray
    target: Callable[[np.ndarray], np.ndarray]  # rows -> p as responses
    wanted: np.ndarray
    times: np.ndarray
    within: float  # relative error that a time may have

    def by_rule(self, solves: Solves, prospect: Callable | None) -> None:
        """Note the times that rules over whole intervals, or parts of them, find where a threshold is met.

        Which are met is known of those that are wanted, or `prospect` says so.
        """
        key = (self.coordinate, self.settings, self.treedef, self.where, self.batch * self.p.shape[1], prospect)

        def found(points: np.ndarray | slice) -> tuple[np.ndarray, ...]:
            p = self.p.ravel() if isinstance(points, slice) else self.p[self.wanted]
            return whole.solve(*key, p, *(leaf[points] for leaf in self.leaves))

        if self.p.shape[1] == 1:
            here = slice(None) if self.wanted.all() else np.flatnonzero(self.wanted)
            solves.time[here, 0], solves.steps[here], solves.ended[here], solves.status[here, 0] = found(here)
        else:
            points, _ = np.nonzero(self.wanted)
            solves.time[self.wanted], steps, ended, solves.status[self.wanted] = found(points)
            for noted, of_each in ((solves.steps, steps), (solves.ended, ended)):
                np.maximum.at(noted, points, of_each)  # what the threshold says that took most

    def in_lanes(self, rows: np.ndarray, solves: Solves) -> int:
        """Note what lanes find at these points, in the order given; the steps paid."""
        key, paid = (self.coordinate, self.settings, self.treedef), 0
        args = [self.p[rows], self.target(rows), self.wanted[rows].astype(float), self.times[rows]]
        args += [leaf[rows] for leaf in self.leaves]
        lane_bytes = _lane_bytes(*key, tuple(a.shape[1:] for a in args))
        shape = dispatch.shape_for(self.batch, self.where, lane_bytes, self.width)
        for part, found in dispatch.parts(_pool_of, key, args, self.settings.precision, shape, self.where):
            here = rows[part]
            if found is None:
                solves.ended[here] = Status.OOM
                continue
            solves.time[here], errors, solves.samples[here], solves.ended[here], steps, trips = found
            with np.errstate(invalid="ignore"):  # of points without a time
                kept = errors <= self.within * solves.time[here]  # not so where an error is no number
                off = self.wanted[here] & np.isfinite(solves.time[here]) & ~kept & np.isfinite(self.within)
            solves.status[here] = np.where(off, Status.INACCURATE, solves.status[here])
            solves.steps[here] += steps
            paid += int(trips[: len(self.where)].astype(np.int64).prod(axis=1).sum())
        return paid


def solve(
    dynamics: Dynamics,
    columns: Columns,
    p: Float[np.ndarray, "n p"],
    predicted: Predicted | None,
    settings: Settings,
    *,
    times: Times | None = None,
    batch: int | None = None,
    width: int | None = None,
    device: str = "auto",
    within: float | None = None,
) -> Solves:
    """Integrate every point once: its critical times at all its thresholds, and samples at given times.

    A time that is farther off than it may be is INACCURATE: by the closed form, if the flow has one and it is among the
    predictions, else by the solver's own estimate.

    Args:
        dynamics: the flow.
        columns: parameter name -> values, shape (n,).
        p: thresholds as fractions of the rest point, shape (n, thresholds).
        predicted: `predict` of each point and threshold, each array of shape (n, thresholds); only thresholds whose
            status there is LEARNED are looked for. Its `w_star` is needed unless a rule is to find all; then it may be
            left out, and the status alone is found on the way.
        settings: how to integrate.
        times: increasing times in the field's convention, shape (n, samples); NaN for points without samples.
        batch: points of a typical call; calls that name the same number share one program. n by default.
        width: lanes of one device; chosen from its memory by default.
        device: where to compute, see `devices.pick`.
        within: relative error that a time may have, `TOLERANCES` times the rtol of `settings` by default.

    Returns:
        Results in the order of the points. Points that fit into no memory end as OOM.
    """
    where = _where(device, settings)
    batch = cores.longest(batch or len(p), where, SOLVES)
    times = np.zeros((len(p), 0)) if times is None else times

    solves = room(p.shape, times.shape[1], dynamics.coordinate(settings.coordinate), settings.precision)
    leaves = _leaves(dynamics, columns)
    may_be_off = TOLERANCES * settings.rtol if within is None else within

    def some(rows: slice) -> int:
        own, mine = {name: values[rows] for name, values in columns.items()}, [leaf[rows] for leaf in leaves]
        known = None if predicted is None else predicted.map(lambda a: a[rows])
        noted = solves.rows(rows)
        return _solve(
            dynamics, own, mine, p[rows], known, settings, times[rows], batch, width, device, may_be_off, noted
        )

    return solves._replace(lane_steps=sum(cores.each(some, cores.stretches(len(p), where, SOLVES))))


def _solve(
    dynamics: Dynamics,
    columns: Columns,
    leaves: list[np.ndarray],
    p: Float[np.ndarray, "n p"],
    predicted: Predicted | None,
    settings: Settings,
    times: Times,
    batch: int,
    width: int | None,
    device: str,
    within: float,
    solves: Solves,
) -> int:
    """`solve` for rows that go through each program together; it notes what it finds, and returns the steps paid."""
    where, lane_steps, prospect = _where(device, settings), 0, None
    if predicted is None and settings.precision == "float64":  # as all predictions are found
        predicted, prospect = Predicted(np.full(p.shape, Status.LEARNED, np.int8), {}), dynamics.status
    predicted = predicted or _predict(dynamics, leaves, p, (), batch, device)
    ready = _judged(dynamics, predicted, settings.precision)
    wanted, coordinate = ready == Status.LEARNED, dynamics.coordinate(settings.coordinate)
    treedef = _treedef(dynamics)

    def target(rows: np.ndarray) -> np.ndarray:
        return p[rows] * predicted.w_star[rows]

    truth = predicted.values.get(dynamics.exact)
    estimated = within if truth is None else np.inf
    call = _Call(coordinate, settings, treedef, where, batch, width, leaves, p, target, wanted, times, estimated)
    solves.clear(ready, Status.LEARNED)
    by_rule = settings.integrates and not times.shape[1]
    with devices.scope(settings.precision, where[0]):
        if by_rule and wanted.any():
            call.by_rule(solves, prospect)
            wanted = solves.status == Status.LEARNED
            lane_steps = int(solves.steps.sum())
        elif not by_rule and (asked := wanted.any(axis=1) | np.isfinite(times[:, :1]).any(axis=1)).any():
            left = np.flatnonzero(asked)
            some = {name: values[left] for name, values in columns.items()}
            lane_steps = call.in_lanes(left[_cheap_first(dynamics, some)], solves)
    solves.time[~wanted] = np.nan
    if truth is None and dynamics.exact:
        truth = _told(dynamics, leaves, p, wanted, settings.precision, device, solves)
    if truth is not None:
        with np.errstate(invalid="ignore"):  # of points without a time
            off = np.abs(solves.time - truth) > within * truth
        solves.status[(solves.status == Status.LEARNED) & off] = Status.INACCURATE
    row, column = np.nonzero((solves.status == Status.LEARNED) & ~np.isfinite(solves.time))
    ended = solves.ended[row]
    solves.status[row, column] = np.where(ended == Status.LEARNED, Status.NON_FINITE, ended)
    solves.time[solves.status != Status.LEARNED] = np.nan
    return lane_steps


def _told(
    dynamics: Dynamics,
    leaves: list[np.ndarray],
    p: np.ndarray,
    wanted: np.ndarray,
    precision: str,
    device: str,
    solves: Solves,
) -> np.ndarray | None:
    """Closed forms of times that are missing, or so short that rates may have been too fast to be numbers; else NaN.

    Whoever asked for no predictions has not been told which of them are out of range: their status says so now.
    """
    doubtful = wanted & ~(solves.time >= SHORT * np.finfo(precision).tiny)
    if not doubtful.any():
        return None
    rows = np.flatnonzero(dispatch.any_of(doubtful))
    names, here = (dynamics.exact, *_logarithms(dynamics)), doubtful[rows]
    told = _predict(dynamics, [leaf[rows] for leaf in leaves], p[rows], names, None, device)
    told = told._replace(status=np.where(here, Status.LEARNED, solves.status[rows]))
    solves.status[rows] = _judged(dynamics, told, precision)
    truth = np.full(p.shape, np.nan)
    truth[rows] = np.where(here, told.values[dynamics.exact], np.nan)
    return truth
