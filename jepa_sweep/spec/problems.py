"""What is wrong with a spec, in plain words: all of it at once, each with its place."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pydantic

from jepa_sweep.checks import check_one_of, plain, shown
from jepa_sweep.errors import Problem, SpecError
from jepa_sweep.spec.lines import Key, line_of, lines_of

MOST = 30  # problems of one spec that a message tells
MOST_FAULTS = 1000  # after which no more are looked for: a spec of so many is no spec with mistakes
MOST_PATH = 1000  # characters of a path that messages repeat


class Fault(NamedTuple):
    """What must hold, what was given and what to try, and the keys it speaks of."""

    says: str
    keys: tuple[Key, ...] = ()
    line: int | None = None  # where it is known without a key


class Source(NamedTuple):
    """Where a spec comes from."""

    name: str = ""  # as errors call it; empty if it was made in Python
    folder: Path | None = None  # in which a file of the user's own system is looked for
    text: str = ""
    changed: tuple[Key, ...] = ()  # keys given beside the text, by `--set`


def refusal(faults: Iterable[Fault], source: Source) -> SpecError:
    """The error that tells these faults, each once, in the order of the lines they stand on."""
    lines = lines_of(source.text) if source.text else {}
    once = itertools.islice(dict.fromkeys(faults), MOST_FAULTS)
    problems = [_problem(fault, source, lines) for fault in once]
    problems.sort(key=lambda problem: problem.line or math.inf)
    name = plain(source.name, MOST_PATH)
    if len(problems) == 1:
        return SpecError(f"{problems[0].message}{f' In {name}.' if name else ''}", problems)
    told = [f"- {problem.message}" for problem in problems[:MOST]]
    more = [f"- And {len(problems) - MOST:,} more."] if len(problems) > MOST else []
    many = " or more" if len(problems) == MOST_FAULTS else ""
    head = f"{len(problems):,}{many} things must be put right{f' in {name}' if name else ''}:"
    return SpecError("\n".join([head, *told, *more]), problems)


def faults_of(key: Key, check: Callable[..., None], *args: Any) -> Iterator[Fault]:
    """What a check raises, as a fault of this key."""
    try:
        check(*args)
    except SpecError as error:
        yield Fault(str(error), (key,))


def repeated(name: str, values: Sequence, key: Key) -> Iterator[Fault]:
    """A fault if a value stands twice."""
    twice = [shown(value) for value, count in Counter(values).items() if count > 1]
    if twice:
        yield Fault(f"`{name}` must not repeat a value, but it repeats {', '.join(twice[:3])}", (key,))


def key_path(key: Key) -> str:
    """A key path as messages show it."""
    return ".".join(plain(part) for part in key)


def under(key: Key, others: Container[Key]) -> bool:
    """True if the key is one of the others, or stands inside one of them."""
    return any(key[:length] in others for length in range(len(key) + 1))


def _problem(fault: Fault, source: Source, lines: dict[Key, int]) -> Problem:
    line, places = fault.line, list[str]()
    if fault.keys:
        key = fault.keys[0]
        inside = any(under(other, [key]) for other in source.changed)  # what is there may be of the text, too
        if not under(key, source.changed) and (key in lines or not inside):
            line = line or line_of(key, lines)
        places += [f"line {line}"] if line else []
        places += ["--set"] if inside or under(key, source.changed) else []
    places += [f"[{key_path(key)}]" for key in fault.keys]
    says = fault.says.removesuffix(".")
    where = f" ({', '.join(places)})" if places else ""
    return Problem(
        f"{says}{where}{'' if says.endswith('?') else '.'}", key_path(fault.keys[0]) if fault.keys else "", line
    )


# --- what pydantic finds ----------------------------------------------------------------------------------------------

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


def explained(error: pydantic.ValidationError, hint: Callable[[str, Key], str]) -> list[Fault]:
    """What a validation found wrong; `hint(name, key)` says what may have been meant by an unknown key."""
    faults = []
    for problem in error.errors(include_url=False):
        if len(faults) == MOST_FAULTS:
            break
        location = problem["loc"]
        if "points" in location and location[-1] in ("float", "str"):  # neither a number nor a word: said once
            if location[-1] == "str":
                continue
            location = location[:-1]
            problem = {**problem, "type": "cell"}
        key = tuple(part for part in location if part not in _KINDS)
        faults.append(Fault(_sentence(problem, location, hint), (key,) if key else ()))
    return faults


def _sentence(problem: Any, location: Key, hint: Callable[[str, Key], str]) -> str:
    kind, given = problem["type"], problem["input"]
    name = plain(location[-1]) if location else "spec"
    if kind == "extra_forbidden":
        return f"`{name}` is not a key here.{hint(str(location[-1]), location)}"
    if kind == "missing":
        return (
            f"`{plain(location[-2])}` must have more entries"
            if isinstance(location[-1], int)
            else (f"`{name}` must be given")
        )
    if kind == "literal_error":
        [fault] = faults_of((), check_one_of, name, given, re.findall(r"'(\w+)'", problem["ctx"]["expected"]))
        return fault.says
    but = f", but it is {shown(given)}" if isinstance(given, int | float | str | bool) else ""
    message = problem["msg"].removeprefix("Value error, ")
    if kind in _MUST:
        message = _MUST[kind].format(**problem.get("ctx", {}))
    message = message if message.startswith("must") else f"must be right: {message[0].lower()}{message[1:]}"
    owner = next((plain(p) for p in reversed(location) if isinstance(p, str) and p not in _KINDS), "spec")
    return f"`{owner}` {message}{'' if ', but' in message else but}"
