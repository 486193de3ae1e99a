"""The text of a spec: reading the file, and the keys and values in it."""

import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

from jepa_sweep.checks import check_path, closest, plain
from jepa_sweep.errors import SpecError
from jepa_sweep.spec import shipped
from jepa_sweep.spec.problems import MOST_PATH, Fault, Source, refusal
from jepa_sweep.store.location import MARK

MOST_TEXT = 1 << 25  # characters of a spec file
MOST_FILES = 1000  # of a folder, among which one with a name like that of a missing file is looked for
MOST_PARTS = 20  # of a key, like solver.rtol, which has two
MOST_DEEP = 1000  # keys of more than four parts, each part of which makes a table that takes a kilobyte
MOST_BARE = 10_000  # characters of a part of a key without quotes, or of a number up to its dot or sign

_BARE = rf"[A-Za-z0-9_-]{{1,{MOST_BARE}}}+(?![A-Za-z0-9_-])"
_PART = rf"""(?:{_BARE}|"(?:\\.|[^"\\\n])*+"|'[^'\n]*+')"""
_LONG = rf"[A-Za-z0-9_-]{{{MOST_BARE + 1}}}"
_DOT = r"[ \t]*+\.[ \t]*+"
_SHALLOW = (  # what has no key of more than four parts
    r"(?:"
    r"#[^\n]*+"
    r'|"""(?:[^"\\]|\\.|"(?!""))*+"{3,5}+'  # two quotes before the end are of the text
    r"|'''(?:[^']|'(?!''))*+'{3,5}+"
    rf"|{_PART}(?:{_DOT}{_PART}){{0,3}}+(?!{_DOT})"
    r"""|[^#"'A-Za-z0-9_-]++"""
    r")*+"
)
_DEEP = rf"{_PART}(?:{_DOT}{_PART}){{4,{MOST_PARTS - 1}}}+(?!{_DOT})"
# As much of a text as has no more than that of any of these, nor what is no TOML.
_USUAL = re.compile(rf"(?:{_SHALLOW}{_DEEP}){{0,{MOST_DEEP}}}+{_SHALLOW}", re.DOTALL)
_UNUSUAL = {
    rf"(?:{_PART}{_DOT})*+{_LONG}": f"Numbers and keys must have at most {MOST_BARE:,} characters",
    rf"{_PART}(?:{_DOT}{_PART}){{{MOST_PARTS}}}": f"Keys must have at most {MOST_PARTS} parts",
    _DEEP: f"Keys of more than four parts must be at most {MOST_DEEP:,}",
}


def parse_toml(text: str, source: Source) -> dict[str, Any]:
    """Parse TOML; what is wrong with it becomes a `SpecError`."""
    try:
        return toml_of(text)
    except tomllib.TOMLDecodeError as error:
        reason = plain(error, 200)
    except RecursionError:
        reason = "tables or lists in it stand too deep in each other"
    except ValueError:  # of Python, which reads no decimals of more than 4300 digits
        reason = "there is a whole number of thousands of digits"
    line = re.search(r"at line (\d+)", reason)
    fault = Fault(f"The spec must be valid TOML, but: {reason}", line=int(line[1]) if line else None)
    raise refusal([fault], source._replace(text=""))


def toml_of(text: str) -> dict[str, Any]:
    """Parse TOML; raises what the parser of the standard library does, too, where that takes more than a text is worth.

    That is for keys of very many parts, time and memory for which grow with the square of their number, for many keys
    of many parts, and for very long numbers, each character of which takes a hundred bytes.
    """
    start = _USUAL.match(text)
    assert start, "an empty text is usual"
    for unusual, says in _UNUSUAL.items():
        if re.compile(unusual, re.DOTALL).match(text, start.end()):
            line = text.count("\n", 0, start.end()) + 1
            raise tomllib.TOMLDecodeError(f"{says} (at line {line})")
    return tomllib.loads(text)


def read_spec(path: str | Path) -> str:
    """Read the text of a spec file; raises `SpecError` if it cannot be read."""
    check_path(path)
    try:
        with Path(path).open(encoding="utf-8-sig") as file:  # editors on Windows begin text with a mark
            text = file.read(MOST_TEXT + 1)
        reason = "" if len(text) <= MOST_TEXT else f"it has more than {MOST_TEXT:,} characters"
    except IsADirectoryError:
        if (Path(path) / MARK).is_file():
            run = plain(path, MOST_PATH)
            raise SpecError(f"The spec must be a file, but {run} is a run; use `jepa-sweep status {run}`.") from None
        text, reason = "", "it is a folder"
    except FileNotFoundError:
        text, reason = "", f"there is no such file; {_instead_of(Path(path))}"
    except OSError as error:
        text, reason = "", str(error.strerror)
    except UnicodeDecodeError:
        text, reason = "", "it is not UTF-8 text"
    if reason:
        raise SpecError(f"The spec file must be readable, but {reason} ({plain(path, MOST_PATH)}).")
    return text


def _instead_of(path: Path) -> str:
    """What may have been meant by a path at which there is no file."""
    known = shipped.specs()
    near = {found.stem: found for folder in (Path("sweeps"), path.parent) for found in _specs_in(folder)}
    meant = closest(path.stem, {**known, **near})
    if meant in near:
        return f"did you mean `{plain(near[meant], MOST_PATH)}`?"
    if meant:
        return f"did you mean the shipped one? `jepa-sweep init --figure {meant}` copies it here"
    return f"`jepa-sweep init` writes one to start from, and those shipped are {', '.join(known)}"


def _specs_in(folder: Path) -> list[Path]:
    try:
        return sorted(itertools.islice(folder.glob("*.toml"), MOST_FILES))
    except (OSError, ValueError):
        return []
