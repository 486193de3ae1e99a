"""The axes of a spec and how they combine."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pydantic

from jepa_sweep.physics.systems import Columns, Parameter

MOST_VALUES = 10_000_000  # of one axis, or one sobol block: these are held in memory, unlike products
_MOVABLE = ("combine", "num", "seed")  # keys of a block that may also stand inside its [axes]


class Model(pydantic.BaseModel):
    """What all spec models share: no unknown keys, no changes after the fact."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=False)


class Range(Model):
    """Evenly spaced values, `linear` or `geom`(etric), between two endpoints, both included."""

    linear: tuple[float, float] | None = None
    geom: tuple[float, float] | None = None
    num: int | None = None

    @pydantic.model_validator(mode="after")
    def _one_kind(self) -> "Range":
        if (self.linear is None) == (self.geom is None):
            raise ValueError("must have exactly one of `linear = [low, high]` and `geom = [low, high]`")
        low, high = self.ends
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"must have finite endpoints, but they are {low:g} and {high:g}")
        if self.geom and low * high <= 0:
            raise ValueError(f"must have endpoints of one sign for `geom`, but they are {low:g} and {high:g}")
        if self.num is not None and not 1 <= self.num <= MOST_VALUES:
            raise ValueError(f"must have `num` of 1 or more and at most {MOST_VALUES:,}, but it is {self.num}")
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """The two endpoints."""
        return self.linear or self.geom or (0.0, 0.0)

    def at(self, fraction: np.ndarray) -> np.ndarray:
        """Values at fractions 0..1 of the way; 15 digits, so that they do not depend on the machine's `pow`."""
        low, high = self.ends
        values = low + (high - low) * fraction if self.linear else low * (high / low) ** fraction
        return np.array([float(f"{v:.15g}") for v in values])

    def values(self) -> np.ndarray:
        """All `num` values, the endpoints exactly as given."""
        num = self.num or 1
        inside = self.at(np.arange(num) / max(num - 1, 1))
        inside[0] = self.ends[0]
        return np.concatenate([inside[:-1], [self.ends[1]]]) if num > 1 else inside


def _read_axis(given: Any) -> Any:
    """A number or word, a list of either, or a table become a tuple or a `Range`."""
    if isinstance(given, dict | Range):
        return given
    values = given if isinstance(given, list | tuple | np.ndarray) else [given]
    if len(values) and all(isinstance(value, str) for value in values):
        return tuple(values)
    return read_numbers(given)


def read_numbers(given: Any) -> tuple[float, ...]:
    """A number or a list of numbers as a tuple of floats."""
    values = given if isinstance(given, list | tuple | np.ndarray) else [given]
    numbers = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            hint = "; TOML numbers stand without quotes" if isinstance(value, str) else ""
            raise ValueError(f"must be a number, a list of numbers or a range, but it has {value!r}{hint}")
        try:
            numbers.append(float(value))
        except OverflowError:
            raise ValueError("must be a finite number, but it has one beyond the largest float") from None
    if not numbers:
        raise ValueError("must have at least one value, but the list is empty")
    return tuple(numbers)


def _axis_kind(given: Any) -> str:
    return "range" if isinstance(given, dict | Range) else "values"


Axis = Annotated[
    Annotated[Range, pydantic.Tag("range")] | Annotated[tuple[float, ...] | tuple[str, ...], pydantic.Tag("values")],
    pydantic.Discriminator(_axis_kind),
    pydantic.BeforeValidator(_read_axis),
]


class Block(Model):
    """Some axes and how they combine; the points of a sweep are the union of its blocks."""

    axes: dict[str, Axis] = {}
    combine: Literal["product", "zip", "sobol", "points"] = "product"
    num: int | None = pydantic.Field(default=None, ge=1, le=MOST_VALUES)  # sobol: how many points
    seed: int | None = pydantic.Field(default=None, ge=0)  # sobol: scrambled with this seed, or unscrambled
    points: tuple[dict[str, Annotated[float, pydantic.Strict()] | str], ...] | None = None  # points: one table each

    @pydantic.model_validator(mode="before")
    @classmethod
    def _lift(cls, data: Any) -> Any:
        axes = data.get("axes") if isinstance(data, dict) else None
        if not isinstance(axes, dict):
            return data
        # A seed is that of the sequence where there is one; elsewhere networks have an axis of that name.
        drawn = "sobol" in (axes.get("combine"), data.get("combine")) and not isinstance(axes.get("seed"), list | dict)
        movable = _MOVABLE if drawn else tuple(key for key in _MOVABLE if key != "seed")
        lifted = {key: axes[key] for key in movable if key in axes}
        rest = {key: value for key, value in axes.items() if key not in movable}
        return {**data, **lifted, "axes": rest}


def completed(block: Block, parameters: Sequence[Parameter]) -> tuple[Block, dict[str, str]]:
    """A block with numbers for words, and defaults for what it leaves out.

    Also which parameters equal another one that has several values.
    """

    def coded(name: str, value: Any) -> Any:
        choices = known[name].choices
        return float(choices.index(value)) if choices and isinstance(value, str) else value

    known = {q.name: q for q in parameters}
    named = {q.name: q.default for q in parameters if not q.choices and isinstance(q.default, str)}
    plain = {q.name: coded(q.name, q.default) for q in parameters if q.default is not None and q.name not in named}
    if block.points is not None:
        points = []
        for point in block.points:
            row = {**plain, **{name: coded(name, value) for name, value in point.items()}}
            points.append({**{name: row[other] for name, other in named.items() if other in row}, **row})
        return block.model_copy(update={"points": tuple(points)}), {}
    given = {
        name: tuple(coded(name, v) for v in axis) if isinstance(axis, tuple) else axis
        for name, axis in block.axes.items()
    }
    axes = {**{name: (value,) for name, value in plain.items()}, **given}
    same = {}
    for name, other in named.items():
        if name not in axes and other in axes:
            axis = axes[other]
            if isinstance(axis, tuple) and len(axis) == 1:
                axes[name] = axis
            else:
                same[name] = other
    return block.model_copy(update={"axes": axes}), same


def axis_values(axis: Axis) -> np.ndarray:
    """All values of one axis."""
    return axis.values() if isinstance(axis, Range) else np.array(axis)


def zipped(block: Block) -> Columns:
    """The rows of a `zip` or `points` block, column by column."""
    if block.points is not None:
        return {name: np.array([point[name] for point in block.points]) for name in block.points[0]}
    columns = {name: axis_values(axis) for name, axis in block.axes.items()}
    count = max(len(v) for v in columns.values())
    return {name: np.resize(v, count) if len(v) == 1 else v for name, v in columns.items()}
