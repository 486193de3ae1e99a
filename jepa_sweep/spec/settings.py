"""What is measured and how it is computed: the tables `measure` and `solver` of a spec, and what is wrong with them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

import pydantic

from jepa_sweep.checks import check_max_steps, check_one_of, check_tolerance, did_you_mean, shown
from jepa_sweep.engine.settings import AUTO, Settings
from jepa_sweep.errors import SpecError
from jepa_sweep.spec.axes import Model, Number, Whole, one_or_more, read_numbers
from jepa_sweep.spec.blocks import FullBlock
from jepa_sweep.spec.lines import Key
from jepa_sweep.spec.problems import Fault, faults_of, repeated
from jepa_sweep.systems.system import Measurement, System

MOST_ROWS = 10**12  # of a sweep, samples included: that many points are 75 terabytes of tables
MOST_GROUPS = 100_000  # stretches of indices that stand apart
AGAIN = ("rtol", "max_steps")  # settings of the solver that a second try may change


Numbers = Annotated[
    tuple[float, ...],
    pydantic.BeforeValidator(read_numbers),
    pydantic.WithJsonSchema(one_or_more({"type": "number"})),
]


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

    p: Numbers = pydantic.Field(
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
        default=10_000,
        description="Steps of the solver after which a point is given up, with a status that says so.",
        json_schema_extra={"minimum": 1, "maximum": 2**31 - 1},  # as `check_max_steps` asks
    )


def home(system: System, name: str) -> str:
    """Where in a spec a parameter or a setting by this name belongs; empty if there is none."""
    tables: dict[str, Iterable[str]] = {
        "axes": [q.name for q in system.parameters],
        "measure": Measure.model_fields,
        "measure.trajectories": Trajectories.model_fields,
        "solver": Solver.model_fields,
    }
    return next((f"{table}.{name}" for table, names in tables.items() if name in names), "")


def hint(system: System, name: str, known: Iterable[str]) -> str:
    """What may have been meant by an unknown key: the same in the table that has it, or one known beside it."""
    elsewhere = home(system, name)
    return f" Did you mean `{elsewhere}`?" if elsewhere else did_you_mean(name, known)


def check_measurement(system: System, measurement: Measurement) -> None:
    """Raise a `SpecError` unless these settings can be used for this system."""
    for fault in _measurement(system, measurement):
        raise SpecError(f"{fault.says.removesuffix('.')}{'' if fault.says.endswith('?') else '.'}")


def tried_again(system: System, measurement: Measurement, solver: dict[str, Any]) -> None:
    """Raise a `SpecError` unless a second try can be made with these settings of the solver in place of the first's."""
    for name in solver:
        check_one_of("setting", name, AGAIN)
    if "rtol" in solver:
        check_tolerance(solver["rtol"], measurement.solver.precision)  # also by a method that has no use for it
    check_measurement(system, measurement.with_solver(**solver))


def measured(system: System, measure: Measure, solver: Solver) -> Measurement:
    """How points are computed, as their system takes it."""
    sampled = measure.trajectories
    samples = {"samples": sampled.samples, "until": sampled.until} if sampled else {}
    settings = Settings(solver.method, solver.rtol, solver.max_steps, solver.precision, solver.coordinate)
    return system.chosen(Measurement(settings, solver.time, thresholds=len(measure.p), **samples))


def of_settings(system: System, objectives: Sequence[str], measure: Measure, solver: Solver) -> Iterator[Fault]:
    """What is wrong with all but the points."""
    if not objectives:
        yield Fault("`objective` must name at least one objective, but it is empty", (("objective",),))
    for objective in objectives:
        yield from faults_of(("objective",), check_one_of, "objective", objective, system.objectives)
    yield from repeated("objective", objectives, ("objective",))
    yield from repeated("p", measure.p, ("measure", "p"))
    yield from faults_of(("solver", "time"), check_one_of, "time", solver.time, system.times)
    unknown = list(faults_of(("solver", "method"), check_one_of, "method", solver.method, (AUTO, *system.methods)))
    yield from unknown or _measurement(system, measured(system, measure, solver))
    given = {("measure", key) for key in measure.model_fields_set}
    if measure.trajectories:
        given |= {("measure", "trajectories", key) for key in measure.trajectories.model_fields_set}
    for key in sorted(given):
        if why := system.unused.get(".".join(key)):
            yield Fault(f"`{key[-1]}` says nothing for the system {system.name}: {why}", (key,))


def of_size(
    system: System, objectives: Sequence[str], blocks: Sequence[FullBlock], measurement: Measurement, key: Key
) -> Iterator[Fault]:
    """Whether there are more points, or more groups of them, than can be handled: both are numbered."""
    grouping = [q.name for q in system.parameters if q.partitions_files]
    points = len(objectives) * sum(block.size for block in blocks) * measurement.thresholds
    groups = len(objectives) * sum(block.groups(grouping) for block in blocks)
    most = min(system.most_points, MOST_ROWS // max(1, measurement.samples))
    if points > most:
        sampled = " with as many samples" if most < system.most_points else ""
        yield Fault(
            f"A sweep must have at most {most:,} points{sampled}, but it has {points:.3g}; take fewer values of an "
            'axis, or draw from them: combine = "sobol"',
            (key,),
        )
    if groups > MOST_GROUPS:
        names = ", ".join(f"`{name}`" for name in grouping)
        yield Fault(
            f"A sweep must have at most {MOST_GROUPS:,} combinations of objective, {names}, whose points stand apart, "
            f"but it has {groups:.3g}; take fewer values of one of them",
            (key,),
        )


def _measurement(system: System, measurement: Measurement) -> Iterator[Fault]:
    given = measurement.solver
    found = [
        *faults_of(("solver", "method"), check_one_of, "method", given.method, system.methods),
        *faults_of(("solver", "precision"), check_one_of, "precision", given.precision, system.precisions),
        *faults_of(("solver", "max_steps"), check_max_steps, given.max_steps),
    ]
    if given.method not in system.without_rtol and given.precision in system.precisions:
        found += faults_of(("solver", "rtol"), check_tolerance, given.rtol, given.precision)
    if given.coordinate is not None and not system.coordinates:
        says = f"`coordinate` must be left out: {system.name} has none, but it is {shown(given.coordinate)}"
        found.append(Fault(says, (("solver", "coordinate"),)))
    elif given.coordinate is not None:
        found += faults_of(("solver", "coordinate"), check_one_of, "coordinate", given.coordinate, system.coordinates)
    yield from found or faults_of(("solver",), system.check, measurement)
