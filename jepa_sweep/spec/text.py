"""The text of a spec: reading the file, and the keys and values in it."""

import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

from jepa_sweep.checks import closest, plain
from jepa_sweep.errors import SpecError
from jepa_sweep.spec import shipped
from jepa_sweep.spec.problems import MOST_PATH, Fault, Source, refusal
from jepa_sweep.store.location import MARK

MOST_TEXT = 1 << 25  # characters of a spec file
MOST_FILES = 1000  # of a folder, among which one with a name like that of a missing file is looked for


def parse_toml(text: str, source: Source) -> dict[str, Any]:
    """Parse TOML; what is wrong with it becomes a `SpecError`."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason = plain(error, 200)
    except RecursionError:
        reason = "tables or lists in it stand too deep in each other"
    except ValueError:  # of Python, which reads no decimals of more than 4300 digits
        reason = "there is a whole number of thousands of digits"
    line = re.search(r"at line (\d+)", reason)
    fault = Fault(f"The spec must be valid TOML, but: {reason}", line=int(line[1]) if line else None)
    raise refusal([fault], source._replace(text=""))


def read_spec(path: str | Path) -> str:
    """Read the text of a spec file; raises `SpecError` if it cannot be read."""
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
    except ValueError:
        text, reason = "", "no path may hold a null character"
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
