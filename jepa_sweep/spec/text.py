"""The text of a spec: reading it, and what is wrong with it in plain words."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic

from jepa_sweep.checks import did_you_mean, plain, shown
from jepa_sweep.errors import SpecError

MOST_TEXT = 1 << 25  # characters of a spec file
MOST_LINES = 3  # of complaints about one spec
MOST_PATH = 1000  # characters of a path that messages repeat

Location = tuple[int | str, ...]  # of a key, as pydantic gives it


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML; what is wrong with it becomes a `SpecError`."""
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
    """Read the text of a spec file; raises `SpecError` if it cannot be read."""
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


def _keypath(location: Location) -> str:
    parts = [part for part in location if part not in _KINDS]
    return "[" + ".".join(plain(part) for part in parts) + "]"


def explain(error: pydantic.ValidationError, known_keys: Callable[[Location], list[str]]) -> str:
    """Say in sentences what a validation found wrong: the first few complaints, and how many more there are."""
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
            hint = did_you_mean(name, known_keys(location))
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
