"""Whether what a file says has the keys and types that it must have, whoever wrote it."""

from typing import Annotated, TypeVar

import pydantic

from jepa_sweep.checks import plain
from jepa_sweep.errors import IntegrityError

T = TypeVar("T")
MOST = 1 << 62  # of an index, or a number of rows or bytes: twice as many fit into NumPy's integers

CONFIG = pydantic.ConfigDict(strict=True, allow_inf_nan=False)
List = pydantic.Strict(False)  # of a tuple, which is a list in JSON; what is in it stays strict
Text = Annotated[str, pydantic.Field(max_length=10_000)]
Count = Annotated[int, pydantic.Field(ge=0, le=MOST)]
Hash = Annotated[str, pydantic.Field(pattern="^[0-9a-f]{64}$")]
Scalar = Annotated[int, pydantic.Field(ge=-MOST, le=MOST)] | bool | float | Text | None


def exactly(*keys: str) -> pydantic.BeforeValidator:
    """A table must have all of these keys and no others."""

    def check(value: object) -> object:
        if not isinstance(value, dict) or value.keys() != {*keys}:
            raise ValueError(f"it must have the keys {', '.join(keys)}, and no others")
        return value

    return pydantic.BeforeValidator(check)


def fit(kind: pydantic.TypeAdapter[T], value: object, where: str, what: str, remedy: str) -> T:
    """The value as this kind of record; raises an `IntegrityError` that says where it is not one."""
    try:
        return kind.validate_python(value)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = "".join(f"`{plain('.'.join(map(str, first['loc'])))}`: " * bool(first["loc"]))
        raise unfit(where, what, place + first["msg"].removeprefix("Value error, "), remedy) from None


def unfit(where: str, what: str, reason: str, remedy: str) -> IntegrityError:
    """The error of a file whose hash is right, and which says what it cannot say."""
    return IntegrityError(f"{where} is damaged: {what} is not well-formed ({plain(reason, 300)}); {remedy}.")
