"""`System`: all that the rest of the package needs to know of what it sweeps, as data and functions.

A system is one module that makes one `System`. Whoever plans, computes, stores, compares or draws asks it and
knows nothing of the system itself. Describing a system needs no JAX: what computes its rows stands in a module of its
own, imported when there is something to compute. So plans, and runs with nothing left to do, answer at once.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jepa_sweep.engine.settings import AUTO, TOLERANCES, Settings
from jepa_sweep.physics.host import Columns
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.records import sha256
from jepa_sweep.store.schema import TRY, Column

if TYPE_CHECKING:
    import pandas as pd

Mask = np.ndarray | np.bool_  # the second of a single point


class Parameter(NamedTuple):
    """One axis that may be swept. `partitions_files` marks those whose values stand apart in files.

    A value with many points has files of its own; where they are few, they share one with those of other values.
    `choices` are the words it takes, if not numbers; columns on the host hold their places. `default` is what it is
    where a spec says nothing: a number, one of the choices, or the name of the parameter it then equals. `example` is
    what a spec to begin with writes: a value, or a range as a dict.
    """

    name: str
    meaning: str
    unit: str = "1"
    integer: bool = False
    partitions_files: bool = False
    default: float | str | None = None
    choices: tuple[str, ...] = ()
    example: Any = None

    @property
    def described(self) -> str:
        """Its meaning, with the unit where it has one."""
        return self.meaning if self.unit in ("", "1") else f"{self.meaning}, in {self.unit}"

    @property
    def column(self) -> Column:
        """The same as a column of the tables."""
        dtype = "text" if self.choices else "integer" if self.integer else "exact"
        return Column(self.name, dtype, self.unit, self.meaning)


class Rule(NamedTuple):
    """A condition on parameters and thresholds `p`: `holds(columns)` is true where met, `must` says it in words.

    It binds every point, or with the scope "any" at least one of them: the others then get a status of their own.
    """

    parameters: tuple[str, ...]
    holds: Callable[[Columns], Mask]
    must: str
    scope: str = "every"
    objective: str = ""  # the only one it speaks of; all by default


class Idle(NamedTuple):
    """Where a parameter cannot matter: `holds(columns)` is true of the points to which its value makes no difference.

    Numbers then differ by rounding, or the solver's tolerance, alone.
    """

    parameter: str
    depends: tuple[str, ...]  # the parameters that `holds` looks at
    holds: Callable[[Columns], Mask]
    methods: tuple[str, ...]  # of computing the points, of which this is true
    where: str  # in words: where that is
    instead: str  # what to try where it should matter


class Points(NamedTuple):
    """Some points of one objective."""

    objective: str
    columns: Columns
    p: np.ndarray  # threshold of each
    number: np.ndarray  # of each in its grid, where the threshold varies fastest
    thresholds: np.ndarray  # all there are

    def kept(self, keep: np.ndarray) -> "Points":
        """Some of them: a mask, or their places in any order."""
        columns = {name: values[keep] for name, values in self.columns.items()}
        return self._replace(columns=columns, p=self.p[keep], number=self.number[keep])


class Measurement(NamedTuple):
    """How the points of a sweep are computed, and what is measured at each."""

    solver: Settings
    time: str = "paper"  # the convention of all times, one of `store.schema.TIMES`
    samples: int = 0  # of a trajectory; 0 for none
    until: float = 2.0  # end of a trajectory, in critical times of its own point
    thresholds: int = 1
    rtol: float | None = None  # that times must keep, where it is not that of the solver

    @property
    def within(self) -> float:
        """Relative error that a time may have."""
        return TOLERANCES * (self.rtol or self.solver.rtol)

    def with_solver(self, **settings: Any) -> "Measurement":
        """The same with other settings of the solver."""
        return self._replace(solver=dataclasses.replace(self.solver, **settings))

    def again(self, **settings: Any) -> "Measurement":
        """The same for a second try with other settings of the solver; its times must be as good as before."""
        return self.with_solver(**settings)._replace(rtol=self.rtol or self.solver.rtol)


class Place(NamedTuple):
    """Where and how to compute: the same for all chunks of a run, so that they share their programs."""

    device: str = "auto"
    batch: int | None = None  # solves of a full chunk


class Rows(NamedTuple):
    """Columns of one table, and for each row the place of its point among those computed."""

    columns: Columns
    owner: np.ndarray


class Effort(NamedTuple):
    """What computing took, as far as the system itself counts it."""

    steps: int = 0  # of the solver, accepted and rejected
    lane_steps: int = 0  # paid for on all lanes; what exceeds `steps` was wasted
    rechecked: int = 0  # single-precision times that were solved again in double precision
    recheck_error: float = 0.0  # the worst relative difference among them

    def plus(self, other: "Effort") -> "Effort":
        """Of both together."""
        steps, lane_steps = self.steps + other.steps, self.lane_steps + other.lane_steps
        worst = max(self.recheck_error, other.recheck_error)
        return Effort(steps, lane_steps, self.rechecked + other.rechecked, worst)


class Cost(NamedTuple):
    """What some rows of `points` take, with all that belongs to them in other tables."""

    seconds: float = 0.0  # without compiling
    bytes: float = 0.0  # of files

    def plus(self, other: "Cost") -> "Cost":
        """The cost of both together."""
        return Cost(self.seconds + other.seconds, self.bytes + other.bytes)


class Pair(NamedTuple):
    """A measured column beside the one that predicts it, which is empty where nothing does."""

    title: str
    numeric: str
    predicted: str


class Curves(NamedTuple):
    """What there is to look at: rows as cells, measured columns beside predicted ones, and lines over time."""

    table: str  # its rows are the cells
    noun: str  # what these rows are
    pairs: tuple[Pair, ...]
    keys: tuple[str, ...] = ("p",)  # what tells rows apart, besides objective and parameters
    also: tuple[str, ...] = ()  # further columns of the readout
    lines: tuple[str, ...] = ()  # columns of trajectories drawn over t: the response, and what predicts it
    crossing: str = ""  # column of the time at which the response met its threshold


class System(NamedTuple):
    """What can be swept. `version` changes whenever its results would, so that stores never mix two."""

    name: str
    version: int
    objectives: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    rules: tuple[Rule, ...]
    tables: dict[str, tuple[Column, ...]]  # what is measured; objective and parameters stand before it
    methods: tuple[str, ...]  # of computing it
    compute: Callable[[Points, Measurement, Place], tuple[dict[str, Rows], Effort]]
    # Of some points: how many, and their parameters, which are only looked at where the cost depends on them.
    cost: Callable[[int, Callable[[], Columns], Measurement], Cost]
    # Bytes of memory at the peak: points of a chunk, parameters of one point of each group.
    memory: Callable[[int, Columns, Measurement], float]
    # Points of a chunk: how many there are in all, and the parameters of the first.
    chunk: Callable[[int, Callable[[], Columns], Measurement], int]
    compare: Callable[[Reader], "pd.DataFrame"]  # of a store: measured beside predicted
    curves: Curves
    # Nominal seconds until all programs are compiled, of so many objectives, and groups of one of them.
    compiling: Callable[[int, int, Measurement], float] = lambda objectives, groups, measurement: 5.0 * groups
    most_points: int = 10**12
    p: tuple[float, ...] = (0.5,)  # thresholds of a spec that names none
    defaults: tuple[str, ...] = ()  # objectives of a spec that names none; all by default
    coordinates: tuple[str, ...] = ()  # variables to integrate in; the last is the default
    across_groups: bool = False  # whether `compute` takes points of several groups at once
    precisions: tuple[str, ...] = ("float64", "float32")
    times: tuple[str, ...] = ("paper", "flow")  # conventions of time, the first is the default
    without_rtol: tuple[str, ...] = ()  # methods that keep no relative tolerance
    unused: Mapping[str, str] = MappingProxyType({})  # keys of a spec that say nothing here -> why, in words
    # The method where `method` is "auto"; the first of all by default.
    automatic: Callable[[Measurement], str] | None = None
    check: Callable[[Measurement], None] = lambda measurement: None  # SpecError where settings do not go together
    idle: tuple[Idle, ...] = ()
    # Codes of the statuses with which points will end, where that is known without computing them, and without JAX.
    forecast: Callable[[Points, Measurement], np.ndarray] | None = None
    source: str = ""  # text of the file that a user's own system stands in
    meaning: str = ""  # what is swept, in a few words

    def chosen(self, measurement: Measurement) -> Measurement:
        """The same with a method in the place of "auto"."""
        if measurement.solver.method != AUTO:
            return measurement
        return measurement.with_solver(method=self.automatic(measurement) if self.automatic else self.methods[0])

    @property
    def digest(self) -> str:
        """SHA-256 of the file that it stands in."""
        return sha256(self.source.encode())

    def columns(self) -> dict[str, tuple[Column, ...]]:
        """All columns of every table: objective and parameters, then what is measured."""
        *others, last = self.objectives
        either = f"{', '.join(others)} or {last}" if others else last
        objective = Column("objective", "text", "", "learning objective", either)
        keys = (objective, *(q.column for q in self.parameters))
        tables = {table: (*keys, *measured) for table, measured in self.tables.items()}
        return tables | {"failures": (*tables["failures"], TRY)}

    def rules_of(self, objective: str) -> tuple[Rule, ...]:
        """The rules that bind one objective."""
        return tuple(rule for rule in self.rules if rule.objective in ("", objective))
