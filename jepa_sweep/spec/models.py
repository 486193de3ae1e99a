"""Spec files: TOML to frozen models and back.

A `Sweep` says which points to visit and how to integrate them. It can be written as a TOML file or built in Python
from the same keys. Anything wrong with it is one `SpecError` that names the file and the key path.
"""

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Any

import pydantic
import tomli_w

from jepa_sweep.engine.settings import Settings
from jepa_sweep.errors import SpecError
from jepa_sweep.physics.catalog import REDUCED, SYSTEMS
from jepa_sweep.physics.experiments import UNTOLERANT
from jepa_sweep.physics.systems import Experiment, Swept, System
from jepa_sweep.spec import check, validate
from jepa_sweep.spec.axes import Block, Model, Number, Range, Whole, read_numbers
from jepa_sweep.spec.validate import plain, shown

MOST_TEXT = 1 << 25  # characters of a spec file
MOST_BLOCKS = 1000
MOST_LINES = 3  # of complaints about one spec
MOST_PATH = 1000  # characters of a path that messages repeat
MOST_NAME = 200  # bytes; it becomes the name of a folder

Names = Annotated[tuple[str, ...], pydantic.BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)]


def _folder(name: str) -> str:
    if len(name.encode()) > MOST_NAME or not name.isprintable():
        raise ValueError(f"must be the name of a folder, of at most {MOST_NAME} bytes, but it is {shown(name)}")
    return name


class Trajectories(Model):
    """`samples` evenly spaced times of w(t) a point, from 0 to `until` times its own critical time at p[0]."""

    samples: Whole = pydantic.Field(default=64, ge=2, le=100_000)
    until: Number = pydantic.Field(default=2.0, gt=0, allow_inf_nan=False)


class Measure(Model):
    """What to measure: thresholds `p` as fractions of the rest point, and trajectories if wanted."""

    p: Annotated[tuple[float, ...], pydantic.BeforeValidator(read_numbers)] = (0.5,)
    trajectories: Trajectories | None = None


class Solver(Model):
    """How to integrate; see `jepa_sweep.solve`. `method = "exact"` integrates nothing and tabulates the closed form."""

    method: str = "dopri8"
    rtol: Annotated[float, pydantic.Strict(), pydantic.AllowInfNan(False)] = 1e-8
    precision: str = "float64"
    time: str = "paper"
    coordinate: str | None = None
    max_steps: Annotated[int, pydantic.Strict()] = 10_000

    def settings(self) -> Settings:
        """The same for the engine."""
        return Settings(self.method, self.rtol, self.max_steps, self.precision, self.coordinate)


class Sweep(Block):
    """A whole spec: its one block's keys at the top level, or several `[[block]]` tables.

    Raises:
        SpecError: anything that cannot be run, with its key path.

    Example:
        >>> import jepa_sweep as js
        >>> sweep = js.Sweep(name="tiny", axes={"lam": 1.0, "rho": [0.5, 1.0], "L": [1, 2], "eps": 1e-3})
        >>> sweep.objective
        ('jepa', 'mae')
    """

    name: Annotated[str, pydantic.Field(pattern=r"^\w[\w.-]*$"), pydantic.AfterValidator(_folder)]
    system: str = "reduced"
    objective: Names = ()  # both of the paper's, unless the system has others
    block: tuple[Block, ...] = pydantic.Field(default=(), max_length=MOST_BLOCKS)
    measure: Measure = Measure()
    solver: Solver = Solver()

    def __init__(self, /, **data: Any) -> None:
        try:
            super().__init__(**_with_defaults(data))
        except pydantic.ValidationError as error:
            raise SpecError(_explain(error)) from None
        check.sweep(self)

    @classmethod
    def load(cls, path: str | Path) -> "Sweep":
        """Read a spec file; errors name the file."""
        return cls.parse(read_spec(path), str(path))

    @classmethod
    def parse(cls, text: str, origin: str = "spec") -> "Sweep":
        """Read the text of a spec file; errors name `origin`."""
        try:
            return cls(**_tables(text))
        except SpecError as error:
            raise SpecError(f"{error} In {plain(origin, MOST_PATH)}.") from None

    def to_toml(self) -> str:
        """The same spec as TOML."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_defaults=True, exclude_none=True))

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks whose union the sweep visits."""
        return self.block or (self,)

    @property
    def systems(self) -> dict[str, Swept]:
        """Objective -> record of its dynamics."""
        return {objective: SYSTEMS[self.system][objective] for objective in self.objective}

    @property
    def record(self) -> Swept:
        """One of them: parameters, tables and the like are the same for all objectives of a system."""
        return SYSTEMS[self.system][self.objective[0]]

    def frozen(self) -> dict[str, Any]:
        """What decides a number in the tables: two sweeps in one store must agree on it."""
        record = self.record
        solver = self.solver.model_dump(exclude={"max_steps", "coordinate"})
        if self.solver.method in UNTOLERANT:
            del solver["rtol"]
        elif isinstance(record, System):
            solver["coordinate"] = record.coordinate(self.solver.coordinate).name
        sampled = self.measure.trajectories
        trajectories = {**sampled.model_dump(), "p": self.measure.p[0]} if sampled else None
        return {
            "system": self.system,
            "version": record.version,
            "solver": solver,
            "trajectories": trajectories,
        }


def _with_defaults(data: dict[str, Any]) -> dict[str, Any]:
    """What a spec does not say and its system decides: objectives, and the method."""
    records = SYSTEMS.get(data.get("system", "reduced")) if isinstance(data.get("system", ""), str) else None
    if not records:
        return data
    data = {"objective": [name for name in records if name in REDUCED] or list(records), **data}
    solver, first = data.get("solver", {}), next(iter(records.values()))
    if isinstance(solver, dict) and isinstance(first, Experiment):
        data = {**data, "solver": {"method": first.methods[0], **solver}}
    return data


def _tables(text: str) -> dict[str, Any]:
    """What TOML makes of the text."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason = plain(error, 200)
    except RecursionError:
        reason = "tables or lists in it stand too deep in each other"
    except ValueError:  # of Python, which reads no decimals of more than 4300 digits
        reason = "there is a whole number of thousands of digits"
    raise SpecError(f"The spec must be valid TOML, but: {reason}.")


def read_spec(path: str | Path) -> str:
    """The text of a spec file, or a sentence on why it cannot be had."""
    try:
        with Path(path).open(encoding="utf-8-sig") as file:  # editors on Windows begin text with a mark
            text = file.read(MOST_TEXT + 1)
        reason = "" if len(text) <= MOST_TEXT else f"it has more than {MOST_TEXT:,} characters"
    except OSError as error:
        text, reason = "", str(error.strerror)
    except UnicodeDecodeError:
        text, reason = "", "it is not UTF-8 text"
    except ValueError:
        text, reason = "", "no path may hold a null character"
    if reason:
        raise SpecError(f"The spec file must be readable, but {reason} ({plain(path, MOST_PATH)}).")
    return text


def digest(text: str) -> str:
    """What names a spec in a store: the SHA-256 of its text."""
    return hashlib.sha256(text.encode()).hexdigest()


# What must hold, for pydantic's types of errors whose own words speak of Python.
_MUST = {
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "string_type": "must be text in quotes",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "int_parsing_size": "must be a smaller whole number",
    "too_long": "must have at most {max_length:,} entries",
    "greater_than": "must be more than {gt:,.0f}",
    "greater_than_equal": "must be at least {ge:,.0f}",
    "less_than_equal": "must be at most {le:,.0f}",
    "cell": "must be a number, or a word in quotes",
    "string_pattern_mismatch": "must be letters, digits, dots, dashes and underscores, and not begin with a dot",
}

_KINDS = ("range", "values")  # of axes, which pydantic takes for parts of a key path


def _keypath(location: tuple[int | str, ...]) -> str:
    parts = [part for part in location if part not in _KINDS]
    return "[" + ".".join(plain(part) for part in parts) + "]"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys allowed beside the one at `location`."""
    parents = [part for part in location[:-1] if isinstance(part, str)]
    model: type[Model] = Sweep
    named = {"block": Block, "measure": Measure, "trajectories": Trajectories, "solver": Solver, "range": Range}
    for part in parents:
        model = named.get(part, model)
    return list(model.model_fields)


def _explain(error: pydantic.ValidationError) -> str:
    """The first complaints of a validation as sentences in our grammar, and how many more there are."""
    lines = []
    for problem in error.errors():
        location = problem["loc"]
        if "points" in location and location[-1] in ("float", "str"):  # neither a number nor a word: said once
            if location[-1] == "str":
                continue
            location = location[:-1]
            problem = {**problem, "type": "cell"}
        name = plain(location[-1]) if location else "spec"
        where = f"({_keypath(location)})" if location else "(top level)"
        if problem["type"] == "extra_forbidden":
            hint = validate.did_you_mean(name, _known_keys(location))
            lines.append(f"`{name}` is not a key here.{hint} {where}")
        elif problem["type"] == "missing" and isinstance(location[-1], int):
            lines.append(f"`{plain(location[-2])}` must have more entries. {where}")
        elif problem["type"] == "missing":
            lines.append(f"`{name}` must be given. {where}")
        else:
            given = problem["input"]
            but = f", but it is {shown(given)}" if isinstance(given, int | float | str | bool) else ""
            message = problem["msg"].removeprefix("Value error, ")
            if problem["type"] in _MUST:
                message = _MUST[problem["type"]].format(**problem.get("ctx", {}))
            message = message if message.startswith("must") else f"must be right: {message[0].lower()}{message[1:]}"
            owner = next((plain(p) for p in reversed(location) if isinstance(p, str) and p not in _KINDS), "spec")
            lines.append(f"`{owner}` {message}{'' if ', but' in message else but}. {where}")
    more = f" And {len(lines) - MOST_LINES:,} more." if len(lines) > MOST_LINES else ""
    return " ".join(lines[:MOST_LINES]) + more
