"""Spec files: TOML to frozen models and back.

A `Sweep` says which points to visit and how to integrate them. It can be written as a TOML file or built in Python
from the same keys. Anything wrong with it is one `SpecError` that names the file and the key path.
"""

import functools
from pathlib import Path
from typing import Annotated, Any

import pydantic
import tomli_w

from jepa_sweep.checks import check_at, check_max_steps, check_one_of, check_tolerance, plain, shown
from jepa_sweep.engine.settings import AUTO, Settings
from jepa_sweep.errors import SpecError
from jepa_sweep.spec.axes import Block, Model, Number, Range, Whole, read_numbers
from jepa_sweep.spec.blocks import FullBlock, check_distinct, complete
from jepa_sweep.spec.text import MOST_PATH, explain, parse_toml, read_spec
from jepa_sweep.systems import registry
from jepa_sweep.systems.system import Measurement, System

MOST_BLOCKS = 1000
MOST_NAME = 200  # bytes; it becomes the name of a folder
MOST_ROWS = 10**12  # of a sweep, samples included: that many points are 75 terabytes of tables
MOST_GROUPS = 100_000  # each has a file of its own at least

Names = Annotated[tuple[str, ...], pydantic.BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)]


def _folder(name: str) -> str:
    if len(name.encode()) > MOST_NAME or not name.isprintable():
        raise ValueError(f"must be the name of a folder, of at most {MOST_NAME} bytes, but it is {shown(name)}")
    return name


class Trajectories(Model):
    """`samples` evenly spaced times of w(t) a point, from 0 to `until` times its own critical time at p[0]."""

    samples: Whole = pydantic.Field(
        default=64,
        ge=2,
        le=100_000,
        description="Samples of a trajectory, evenly spaced in time, both ends included.",
    )
    until: Number = pydantic.Field(
        default=2.0,
        gt=0,
        allow_inf_nan=False,
        description="Where a trajectory ends, in units of the critical time of its own point at the first `p`.",
    )


class Measure(Model):
    """What to measure: thresholds `p` as fractions of the rest point, and trajectories if wanted."""

    p: Annotated[tuple[float, ...], pydantic.BeforeValidator(read_numbers)] = pydantic.Field(
        default=(0.5,),
        description="Thresholds at which a response counts as learned, one or several, as fractions of its rest point.",
    )
    trajectories: Trajectories | None = pydantic.Field(
        default=None, description="Samples over time of each point; without this table only times are kept."
    )


class Solver(Model):
    """How to integrate; see `jepa_sweep.solve`.

    `method = "auto"` is the fastest that keeps its promise, and the store says which that was; `method = "exact"`
    integrates nothing and tabulates the closed form.
    """

    method: str = pydantic.Field(
        default=AUTO,
        description="How points are computed: auto (the fastest that can do what is asked), or one of the system's "
        "methods by name.",
    )
    rtol: Annotated[float, pydantic.Strict(), pydantic.AllowInfNan(False)] = pydantic.Field(
        default=1e-8, description="Relative tolerance of the solver, at most 0.1."
    )
    precision: str = pydantic.Field(
        default="float64", description="Numbers the solver computes in: float64, or float32 (about 7 digits)."
    )
    time: str = pydantic.Field(
        default="paper",
        description="Unit of all times: paper (T = L t, L the encoder layers) or flow (t of plain gradient flow).",
    )
    coordinate: str | None = pydantic.Field(
        default=None, description="The variable that is integrated; the system's best by default."
    )
    max_steps: Annotated[int, pydantic.Strict()] = pydantic.Field(
        default=10_000, description="Steps of the solver after which a point is given up, with a status that says so."
    )


class Sweep(Block):
    """A whole spec: which points to visit, what to measure at each, and how to compute it.

    Its keys are those of a spec file; a table of the file is a dict here.

    - `name`: letters, digits, dots, dashes and underscores; the run is kept in `runs/<name>`.
    - `system`: what is swept: "reduced" (the default, one feature as a scalar flow), "network", "training", "temporal";
      your own as "my_flow.py:FLOW", or in Python the `System` itself.
    - `objective`: "jepa", "mae" or whatever else the system has; one or a list, all that it compares by default.
    - `axes`: values of each parameter of the system: a number or a word, a list of them, or a range
      `{"linear": [low, high], "num": N}` or `{"geom": [low, high], "num": N}`, ends included. Those of "reduced" are
      lam and rho of the feature, L encoder layers, and eps, its response at the start.
    - `combine`: "product" (the default) for every combination of the axes, "zip" to go through them in step, "sobol"
      for `num` points drawn between the ends of ranges without a `num` of their own (`seed` scrambles them), "points"
      for those of a list `points` of dicts of parameters, with no axes.
    - `block`: a list of dicts with `axes`, `combine`, `num`, `seed` and `points` of their own, in the place of these at
      the top; the sweep is their union, without duplicates.
    - `measure`: a dict of `p`, thresholds as fractions of the rest point ([0.5] by default), and `trajectories`, a dict
      of `samples` (64 by default) and `until`, in critical times of each point (2.0 by default). No trajectories unless
      it is given; {} takes the defaults.
    - `solver`: a dict of `method` ("auto", or one that the system has, like "dopri8"; "exact" for the closed form),
      `rtol` (1e-8), `precision` ("float64" or "float32"), `time` ("paper" for T = L t, or "flow" for t), `coordinate`
      (the variable that is integrated: the best one by default) and `max_steps` (10000).

    Raises:
        SpecError: anything that cannot be run, with its key path.

    Example:
        >>> import jepa_sweep as js
        >>> sweep = js.Sweep(
        ...     name="tiny",
        ...     axes={"lam": 1.0, "rho": {"linear": [0.5, 1.0], "num": 3}, "L": [1, 2], "eps": 1e-3},
        ...     measure={"p": [0.5, 0.9]},
        ...     solver={"rtol": 1e-9})
        >>> sweep.objective
        ('jepa', 'mae')

        The same as the text of a spec file:

        >>> text = '''
        ... name = "tiny"
        ...
        ... [axes]
        ... lam = 1.0
        ... rho = { linear = [0.5, 1.0], num = 3 }
        ... L = [1, 2]
        ... eps = 1e-3
        ...
        ... [measure]
        ... p = [0.5, 0.9]
        ...
        ... [solver]
        ... rtol = 1e-9
        ... '''
        >>> js.Sweep.parse(text) == sweep
        True
    """

    name: Annotated[str, pydantic.Field(pattern=r"^\w[\w.-]*$"), pydantic.AfterValidator(_folder)] = pydantic.Field(
        description="Name of the sweep, which is kept in runs/<name> unless another place is given."
    )
    system_name: str = pydantic.Field(
        default="reduced",
        alias="system",
        description='What is swept: a system by name, or your own as "file.py:NAME", a path beside the spec.',
    )
    objective: Names = pydantic.Field(
        default=(), description="Learning objectives, one or several; by default those that the system compares."
    )
    block: tuple[Block, ...] = pydantic.Field(
        default=(),
        max_length=MOST_BLOCKS,
        description="Blocks of points, each with axes of its own and none at the top; the sweep is their union.",
    )
    measure: Measure = pydantic.Field(default=Measure(), description="What is measured at each point.")
    solver: Solver = pydantic.Field(default=Solver(), description="How points are computed.")

    _system: System = pydantic.PrivateAttr()

    def __init__(self, beside: Path | None = None, /, **data: Any) -> None:
        given = data.get("system", "reduced")
        system = registry.find(given, beside)
        defaults: dict[str, Any] = {"objective": system.defaults or system.objectives, "solver": {}}
        data = {**defaults, **data, "system": given if isinstance(given, str) else system.name}
        measure = data.get("measure", {})
        if system.p != Measure().p and isinstance(measure, dict):
            data["measure"] = {"p": system.p, **measure}
        if isinstance(data["solver"], dict):
            data["solver"] = {"time": system.times[0], **data["solver"]}
        try:
            super().__init__(**data)
        except pydantic.ValidationError as error:
            raise SpecError(explain(error, _known_keys)) from None
        self._system = system
        _check_settings(self)
        _check_size(self)

    @classmethod
    def load(cls, path: str | Path) -> "Sweep":
        """Read a spec file; errors name the file."""
        return cls.parse(read_spec(path), str(path), beside=Path(path).parent)

    @classmethod
    def parse(
        cls, text: str, origin: str = "spec", *, beside: Path | None = None, system: System | None = None
    ) -> "Sweep":
        """Read the text of a spec file.

        Args:
            text: TOML.
            origin: what errors call it.
            beside: the folder in which a file of the user's own system is looked for.
            system: the system that the text names, where it is known already.
        """
        try:
            return cls(beside, **(parse_toml(text) | ({"system": system} if system else {})))
        except SpecError as error:
            raise SpecError(f"{error} In {plain(origin, MOST_PATH)}.") from None

    def to_toml(self) -> str:
        """The same spec as TOML."""
        return tomli_w.dumps(self.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude_none=True))

    @functools.cached_property
    def blocks(self) -> tuple[FullBlock, ...]:
        """The blocks whose union the sweep visits, with a value for every parameter."""
        given = [(f"block.{n}.", block) for n, block in enumerate(self.block)] or [("", self)]
        return tuple(complete(self._system, self.objective, self.measure.p, block, prefix) for prefix, block in given)

    @property
    def system(self) -> System:
        """What is swept."""
        return self._system

    @property
    def measurement(self) -> Measurement:
        """How its points are computed, as its system takes it."""
        solver, sampled = self.solver, self.measure.trajectories
        samples = {"samples": sampled.samples, "until": sampled.until} if sampled else {}
        settings = Settings(solver.method, solver.rtol, solver.max_steps, solver.precision, solver.coordinate)
        return self._system.chosen(Measurement(settings, solver.time, thresholds=len(self.measure.p), **samples))

    def by(self, method: str) -> "Sweep":
        """The same with this method in the place of "auto"."""
        if self.solver.method != AUTO:
            return self
        return self.model_copy(update={"solver": self.solver.model_copy(update={"method": method})})

    def frozen(self) -> dict[str, Any]:
        """What decides a number in the tables: two sweeps in one store must agree on it."""
        system, solver = self._system, self.solver.model_dump(exclude={"max_steps", "coordinate"})
        solver["method"] = self.measurement.solver.method
        if solver["method"] in system.without_rtol:
            del solver["rtol"]
        elif system.coordinates:
            solver["coordinate"] = self.solver.coordinate or system.coordinates[-1]
        sampled = self.measure.trajectories
        trajectories = {**sampled.model_dump(), "p": self.measure.p[0]} if sampled else None
        frozen = {"system": system.name, "version": system.version, "solver": solver, "trajectories": trajectories}
        return frozen | ({"source": system.digest} if system.source else {})


def _check_settings(sweep: Sweep) -> None:
    """Raise unless objectives, measure and solver suit the system."""
    system, solver = sweep.system, sweep.solver
    if not sweep.objective:
        raise SpecError("`objective` must name at least one objective, but it is empty ([objective]).")
    for objective in sweep.objective:
        check_at("[objective]", check_one_of, "objective", objective, system.objectives)
    check_distinct("objective", sweep.objective, "[objective]")
    check_distinct("p", sweep.measure.p, "[measure.p]")
    check_at("[solver.time]", check_one_of, "time", solver.time, system.times)
    check_at("[solver]", check_one_of, "method", solver.method, (AUTO, *system.methods))
    check_at("[solver]", check_measurement, system, sweep.measurement)
    given = {f"measure.{key}" for key in sweep.measure.model_fields_set}
    if sweep.measure.trajectories:
        given |= {f"measure.trajectories.{key}" for key in sweep.measure.trajectories.model_fields_set}
    for key in sorted(given & system.unused.keys()):
        name = key.rpartition(".")[2]
        raise SpecError(f"`{name}` says nothing for the system {system.name}: {system.unused[key]} ([{key}]).")
    own = {"axes", "combine", "num", "seed", "points"} & sweep.model_fields_set
    if sweep.block and own:
        raise SpecError(
            f"Either the top level or `[[block]]` tables must hold the axes, but both do: `{min(own)}` stands beside "
            f"blocks ([{min(own)}]); move it into a block."
        )


def check_measurement(system: System, measurement: Measurement) -> None:
    """Raise unless these settings can be used for this system."""
    given = measurement.solver
    check_one_of("method", given.method, system.methods)
    check_one_of("precision", given.precision, system.precisions)
    if given.method not in system.without_rtol:
        check_tolerance(given.rtol, given.precision)
    check_max_steps(given.max_steps)
    if given.coordinate is not None:
        if not system.coordinates:
            raise SpecError(
                f"`coordinate` must be left out: {system.name} has none, but it is {shown(given.coordinate)}."
            )
        check_one_of("coordinate", given.coordinate, system.coordinates)
    system.check(measurement)


def _check_size(sweep: Sweep) -> None:
    """Raise if there are more points, or more files, than can be handled: both are numbered."""
    grouping = [q.name for q in sweep.system.parameters if q.partitions_files]
    points = len(sweep.objective) * sum(block.size for block in sweep.blocks) * len(sweep.measure.p)
    files = len(sweep.objective) * sum(block.groups(grouping) for block in sweep.blocks)
    where, samples = "[block]" if sweep.block else "[axes]", sweep.measurement.samples
    most = min(sweep.system.most_points, MOST_ROWS // max(1, samples))
    if points > most:
        sampled = " with as many samples" if most < sweep.system.most_points else ""
        raise SpecError(
            f"A sweep must have at most {most:,} points{sampled}, but it has {points:.3g} ({where}); take fewer values "
            'of an axis, or draw from them: combine = "sobol".'
        )
    if files > MOST_GROUPS:
        names = ", ".join(f"`{name}`" for name in grouping)
        raise SpecError(
            f"A sweep must have at most {MOST_GROUPS:,} combinations of objective, {names}, which have files of their "
            f"own, but it has {files:.3g} ({where}); take fewer values of one of them."
        )


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys allowed beside the one at `location`."""
    parents = [part for part in location[:-1] if isinstance(part, str)]
    model: type[Model] = Sweep
    named = {"block": Block, "measure": Measure, "trajectories": Trajectories, "solver": Solver, "range": Range}
    for part in parents:
        model = named.get(part, model)
    return [field.alias or name for name, field in model.model_fields.items()]
