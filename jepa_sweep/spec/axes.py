"""The axes of a spec and how they combine."""

import math
import sys
from typing import Annotated, Any, Literal

import numpy as np
import pydantic

from jepa_sweep.checks import has_masked, shown
from jepa_sweep.spec.digits import rounded

MOST_VALUES = 1_000_000  # of one axis, or rows of one block: these are held in memory, unlike products
MOVABLE = ("combine", "num", "seed")  # keys of a block that may also stand inside its [axes]


class Model(pydantic.BaseModel):
    """What all spec models share: no unknown keys, no changes after the fact."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=False)


def _number(given: Any) -> Any:
    """A number, NumPy's included; text that reads like a number is refused."""
    value = given.item() if isinstance(given, np.generic) else given
    if isinstance(value, bool | str):
        hint = "; TOML numbers stand without quotes" if isinstance(value, str) else ""
        raise ValueError(f"must be a number, but it is {shown(value)}{hint}")
    return value


Number = Annotated[float, pydantic.Strict(), pydantic.BeforeValidator(_number)]
Whole = Annotated[int, pydantic.BeforeValidator(_number)]  # 1e3 is one, too
Count = Annotated[int, pydantic.Field(ge=1, le=MOST_VALUES), pydantic.BeforeValidator(_number)]
Seed = Annotated[int, pydantic.Field(ge=0, le=10**18), pydantic.BeforeValidator(_number)]


class Range(Model):
    """Evenly spaced values, `linear` or `geom`(etric), between two endpoints, both included."""

    model_config = pydantic.ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["linear"]}, {"required": ["geom"]}]}  # as `_one_kind` asks
    )

    linear: tuple[Number, Number] | None = pydantic.Field(
        default=None, description="First and last of evenly spaced values, in the unit of the axis."
    )
    geom: tuple[Number, Number] | None = pydantic.Field(
        default=None,
        description="First and last of values of equal ratios, in the unit of the axis, both of one sign.",
    )
    num: Whole | None = pydantic.Field(
        default=None,
        description="How many values there are, both ends included; left out where the block is drawn.",
        json_schema_extra={"minimum": 1, "maximum": MOST_VALUES},  # as `_one_kind` asks, in better words
    )

    @pydantic.model_validator(mode="after")
    def _one_kind(self) -> "Range":
        if (self.linear is None) == (self.geom is None):
            raise ValueError("must have exactly one of `linear = [low, high]` and `geom = [low, high]`")
        low, high = self.ends
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"must have finite endpoints, but they are {low:g} and {high:g}")
        if self.geom and np.sign(low) * np.sign(high) <= 0:  # of the signs: the product itself may underflow
            raise ValueError(f"must have endpoints of one sign for `geom`, but they are {low:g} and {high:g}")
        smallest, span = (sys.float_info.min, abs(high / low)) if self.geom else (0.0, abs(high - low))
        if not smallest <= span < math.inf:
            raise ValueError(
                f"must span what a float can hold, `high {'/' if self.geom else '-'} low`, but it goes from {low:g} to "
                f"{high:g}; split it into two blocks"
            )
        if self.num is not None and not 1 <= self.num <= MOST_VALUES:
            raise ValueError(f"must have `num` of 1 or more and at most {MOST_VALUES:,}, but it is {shown(self.num)}")
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """The two endpoints."""
        return self.linear or self.geom or (0.0, 0.0)

    def at(self, fraction: np.ndarray) -> np.ndarray:
        """Values at fractions 0..1 of the way; 15 digits, so that they do not depend on the machine's `pow`."""
        low, high = self.ends
        values = low + (high - low) * fraction if self.linear else low * (high / low) ** fraction
        return rounded(values).clip(min(low, high), max(low, high))  # what holds at both ends holds between them

    def values(self) -> np.ndarray:
        """All `num` values, the endpoints exactly as given."""
        num = self.num or 1
        inside = self.at(np.arange(num) / max(num - 1, 1))
        inside[0] = self.ends[0]
        return np.concatenate([inside[:-1], [self.ends[1]]]) if num > 1 else inside


def _listed(given: Any) -> list | tuple | range:
    """The values as a list: a single value becomes a list of one, NumPy's numbers become Python's."""
    if has_masked(given):
        raise ValueError("must be numbers, but some are masked; try `.compressed()`")
    if isinstance(given, np.ndarray | np.generic):
        given = given.tolist()
    values = given if isinstance(given, list | tuple | range) else [given]
    if not len(values):
        raise ValueError("must have at least one value, but the list is empty")
    if len(values) > MOST_VALUES:
        raise ValueError(f"must have at most {MOST_VALUES:,} values, but the list has {len(values):,}")
    return values


def _read_axis(given: Any) -> Any:
    """Turn a number, a word, a list of either, or a table into a tuple or a `Range`."""
    if isinstance(given, dict | Range):
        return given
    values = _listed(given)
    if all(isinstance(value, str) for value in values):
        return tuple(values)
    return read_numbers(values, "a number, a list of numbers or a range")


def read_numbers(given: Any, wanted: str = "a number or a list of numbers") -> tuple[float, ...]:
    """A number or a list of numbers as a tuple of floats."""
    numbers = []
    for value in _listed(given):
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            hint = "; TOML numbers stand without quotes" if isinstance(value, str) else ""
            raise ValueError(f"must be {wanted}, but it has {shown(value)}{hint}")
        try:
            numbers.append(float(value))
        except OverflowError:
            raise ValueError("must be a finite number, but it has one beyond the largest float") from None
    return tuple(numbers)


def _axis_kind(given: Any) -> str:
    return "range" if isinstance(given, dict | Range) else "values"


def one_or_more(*kinds: dict[str, Any], also: dict[str, Any] | None = None) -> dict[str, Any]:
    """The JSON schema of a value of one of these kinds, of a list of several of the same, or of something else."""
    lists = [{"type": "array", "items": kind, "minItems": 1, "maxItems": MOST_VALUES} for kind in kinds]
    return {"anyOf": [*kinds, *lists, *([also] if also else [])]}


Axis = Annotated[
    Annotated[Range, pydantic.Tag("range")] | Annotated[tuple[float, ...] | tuple[str, ...], pydantic.Tag("values")],
    pydantic.Discriminator(_axis_kind),
    pydantic.BeforeValidator(_read_axis),
    pydantic.WithJsonSchema(one_or_more({"type": "number"}, {"type": "string"}, also=Range.model_json_schema())),
]


class Block(Model):
    """Some axes and how they combine; the points of a sweep are the union of its blocks."""

    axes: dict[str, Axis] = pydantic.Field(
        default={},
        description="Values of each parameter of the system: one, a list of them, or a range like "
        "{ geom = [0.1, 10.0], num = 64 }; parameters with a default may be left out.",
    )
    combine: Literal["product", "zip", "sobol", "points"] = pydantic.Field(
        default="product",
        description="How axes make points: every combination of them (product), all of them in step (zip), points "
        "drawn evenly between their ends (sobol), or no axes but points written out (points).",
    )
    num: Count | None = pydantic.Field(
        default=None, description="How many points a sobol block draws; more keep the first ones."
    )
    seed: Seed | None = pydantic.Field(
        default=None,
        description="What the points of a sobol block are scrambled with; without it they are the plain sequence.",
    )
    points: tuple[dict[str, Annotated[float, pydantic.Strict()] | str], ...] | None = pydantic.Field(
        default=None,
        max_length=MOST_VALUES,
        description='The points of a block with combine = "points": one table of parameters each.',
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _lift(cls, data: Any) -> Any:
        axes = data.get("axes") if isinstance(data, dict) else None
        if not isinstance(axes, dict):
            return data
        # A seed is that of the sequence where there is one; elsewhere networks have an axis of that name.
        drawn = "sobol" in (axes.get("combine"), data.get("combine")) and not isinstance(axes.get("seed"), list | dict)
        movable = MOVABLE if drawn else tuple(key for key in MOVABLE if key != "seed")
        lifted = {key: axes[key] for key in movable if key in axes}
        twice = [key for key in lifted if key in data]
        if twice:
            raise ValueError(f"must say `{twice[0]}` once, but it stands both inside [axes] and beside it")
        rest = {key: value for key, value in axes.items() if key not in movable}
        return {**data, **lifted, "axes": rest}
