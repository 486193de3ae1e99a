"""Spec files: TOML to frozen models and back.

A `Sweep` says which points to visit and how to integrate them. It can be written as a TOML file or built in Python
from the same keys. All that is wrong with it is one `SpecError` that names the file, lines and key paths.
"""

import functools
import inspect
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import pydantic
import tomli_w

from jepa_sweep.checks import shown
from jepa_sweep.engine.settings import AUTO
from jepa_sweep.errors import SpecError
from jepa_sweep.spec import document
from jepa_sweep.spec.axes import Block, Model, Range, one_or_more
from jepa_sweep.spec.blocks import FullBlock
from jepa_sweep.spec.inspection import inspected
from jepa_sweep.spec.lines import Key
from jepa_sweep.spec.problems import MOST_FAULTS, Fault, Source, explained, refusal, under
from jepa_sweep.spec.settings import Measure, Solver, Trajectories, hint, measured, of_settings, of_size
from jepa_sweep.spec.text import parse_toml, read_spec
from jepa_sweep.systems import registry
from jepa_sweep.systems.system import Measurement, System

MOST_BLOCKS = 1000
MOST_NAME = 200  # bytes; it becomes the name of a folder
MOST_RANGED = 10_000_000  # values of all ranges, which are held in memory

Names = Annotated[
    tuple[str, ...],
    pydantic.BeforeValidator(lambda v: (v,) if isinstance(v, str) else v),
    pydantic.WithJsonSchema(one_or_more({"type": "string"})),
]


def _folder(name: str) -> str:
    if len(name.encode()) > MOST_NAME or not name.isprintable():
        raise ValueError(f"must be the name of a folder, of at most {MOST_NAME} bytes, but it is {shown(name)}")
    return name


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
    _blocks: tuple[FullBlock, ...] = pydantic.PrivateAttr()

    def __init__(self, source: Source = Source(), /, **data: Any) -> None:  # noqa: B008, it cannot be changed
        """Check the keys of a spec; raises `SpecError` with all that is wrong with them."""
        given, faults, system = data.get("system", "reduced"), list[Fault](), registry.BUILT_IN["reduced"]
        try:
            system = registry.find(given, source.folder)
        except SpecError as error:
            faults.append(Fault(str(error), (("system",),)))
        data["system"] = given if isinstance(given, str) else system.name
        try:
            super().__init__(**_with_defaults(system, data))
        except pydantic.ValidationError as error:
            wrong = explained(error, functools.partial(_hint, system))
            rest = document.without(data, [key for fault in wrong for key in fault.keys])
            try:
                super().__init__(**_with_defaults(system, {"name": "spec", **rest}))
            except pydantic.ValidationError:
                raise refusal([*faults, *wrong], source) from None
            faults += wrong
        if faults and faults[0].keys == (("system",),):  # nobody knows what it would take
            raise refusal(faults, source)
        if too_many := list(_of_ranges([block for _, block in self._given])):
            raise refusal([*faults, *too_many], source)
        self._system = system
        said = {key for fault in faults for key in fault.keys}
        objectives = [name for name in dict.fromkeys(self.objective) if name in system.objectives]
        blocks, wrong = list[FullBlock](), list[Fault]()
        for at, block in self._given:
            full, here = inspected(system, objectives or self.objective[:1], self.measure.p, block, at, said)
            blocks += [full] if full else []
            wrong += here
            if len(wrong) >= MOST_FAULTS:
                break
        self._blocks = tuple(blocks)
        faults += self._inspected(wrong, said)
        if faults:
            raise refusal(faults, source)

    def _inspected(self, of_blocks: list[Fault], said: set[Key]) -> list[Fault]:
        """What is wrong, also of blocks, but for keys that could not be read, as was said of them."""
        settings = of_settings(self._system, self.objective, self.measure, self.solver)
        faults = list(itertools.islice(settings, MOST_FAULTS))
        own = {"axes", "combine", "num", "seed", "points"} & self.model_fields_set
        if self.block and own:
            faults.append(
                Fault(
                    f"Either the top level or `[[block]]` tables must hold the axes, but both do: `{min(own)}` stands "
                    "beside blocks; move it into a block",
                    ((min(own),),),
                )
            )
        faults = [fault for fault in [*faults, *of_blocks] if not any(under(key, said) for key in fault.keys)]
        if faults or said:
            return faults
        key = ("block" if self.block else "axes",)
        return list(of_size(self._system, self.objective, self.blocks, self.measurement, key))

    @classmethod
    def load(cls, path: str | Path) -> "Sweep":
        """Read a spec file; errors name the file."""
        return cls.parse(read_spec(path), str(path), beside=Path(path).parent)

    @classmethod
    def parse(
        cls,
        text: str,
        origin: str = "spec",
        *,
        beside: Path | None = None,
        system: System | None = None,
        changes: Sequence[str] = (),
    ) -> "Sweep":
        """Read the text of a spec file.

        Args:
            text: TOML.
            origin: what errors call it.
            beside: the folder in which a file of the user's own system is looked for.
            system: the system that the text names, where it is known already.
            changes: what is to be changed first, like "solver.rtol=1e-10", a key path and a TOML value each.
        """
        source = Source(origin, beside, text)
        data = parse_toml(text, source)
        source = source._replace(changed=tuple(document.apply(data, changes)))
        return cls(source, **(data | ({"system": system} if system else {})))

    def to_toml(self) -> str:
        """The same spec as TOML."""
        return tomli_w.dumps(self.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude_none=True))

    @property
    def blocks(self) -> tuple[FullBlock, ...]:
        """The blocks whose union the sweep visits, with a value for every parameter."""
        return self._blocks

    @property
    def _given(self) -> list[tuple[Key, Block]]:
        """The blocks as they were read, and where they stand."""
        return [(("block", n), block) for n, block in enumerate(self.block)] or [((), self)]

    @property
    def system(self) -> System:
        """What is swept."""
        return self._system

    @property
    def measurement(self) -> Measurement:
        """How its points are computed, as its system takes it."""
        return measured(self._system, self.measure, self.solver)

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


# What pydantic makes of the fields fills a screen with validators before `help` comes to the keys.
Sweep.__signature__ = inspect.Signature([inspect.Parameter("keys", inspect.Parameter.VAR_KEYWORD)])


def _of_ranges(blocks: Sequence[Block]) -> Iterator[Fault]:
    """Whether all ranges together have more values than can be held."""
    ranges = [axis for block in blocks for axis in block.axes.values() if isinstance(axis, Range)]
    values = sum(axis.num or 0 for axis in ranges)
    if values > MOST_RANGED:
        says = f"The ranges of all blocks must have at most {MOST_RANGED:,} values together, but they have {values:,}"
        yield Fault(f"{says}; take fewer values, or several sweeps", (("block",),))


def _with_defaults(system: System, data: dict[str, Any]) -> dict[str, Any]:
    """The keys of a spec, with what the system takes where it says nothing."""
    defaults: dict[str, Any] = {"objective": system.defaults or system.objectives, "solver": {}}
    data = {**defaults, **data}
    measure = data.get("measure", {})
    if system.p != Measure().p and isinstance(measure, dict):
        data["measure"] = {"p": system.p, **measure}
    if isinstance(data["solver"], dict):
        data["solver"] = {"time": system.times[0], **data["solver"]}
    return data


_MODELS = {"block": Block, "measure": Measure, "trajectories": Trajectories, "solver": Solver, "range": Range}


def _hint(system: System, name: str, location: Key) -> str:
    """What may have been meant by an unknown key of the table that is given by its location."""
    model: type[Model] = Sweep
    for part in location[:-1]:
        model = _MODELS.get(part, model) if isinstance(part, str) else model
    return hint(system, name, [field.alias or name for name, field in model.model_fields.items()])
