"""What a store writes down about its chunks: claims, commit records, and JSON that carries its own hash."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from jepa_sweep.errors import IntegrityError
from jepa_sweep.store import files, table


class Claim(NamedTuple):
    """Which points of which spec a chunk holds: indices [start, stop) but for those `absent`, stored elsewhere."""

    spec: str  # digest of its text
    start: int
    stop: int
    absent: tuple[tuple[int, int], ...] = ()


class Commit(NamedTuple):
    """A commit record."""

    number: str
    claim: Claim
    files: tuple[dict[str, Any], ...]  # path, bytes, rows, sha256
    environment: str
    work: dict[str, Any]  # what the rows took: seconds, steps, ...
    created: str

    def rows(self, name: str) -> int:
        """Rows of one table in this chunk."""
        return sum(f["rows"] for f in self.files if f["path"].startswith(f"{name}/"))

    @property
    def bytes(self) -> int:
        """Size of all its files."""
        return sum(f["bytes"] for f in self.files)


def numbered(names: list[str]) -> list[str]:
    """The names that belong to chunks; anything else in a folder is none of ours."""
    return [name for name in names if name.split(".")[0].isdigit()]


def claim_of(record: dict[str, Any]) -> Claim:
    """A claim read back from JSON."""
    return Claim(**{**record, "absent": tuple((a, b) for a, b in record["absent"])})


def claim_in_points(root: Path, number: str) -> Claim:
    """The claim in the footer of a points file."""
    path = root / "points" / f"{number}.parquet"
    notes = table.metadata(path)
    if notes.get(b"number") != number.encode():
        raise IntegrityError(f"{path} is a copy, or no file of this store; move it away.")
    return claim_of(json.loads(notes[b"claim"]))


def specs(root: Path) -> dict[str, str]:
    """Digest -> text of every spec that was applied to a store."""
    out = {}
    for name in files.names(root / "specs", ".toml"):
        if re.fullmatch(r"\d+-[0-9a-f]{8}\.toml", name):
            data = files.read(root / "specs" / name)
            if not name.endswith(f"-{files.sha256(data)[:8]}.toml"):
                raise IntegrityError(
                    f"{root / 'specs' / name} is damaged: its text does not match its name; put the text "
                    "of that spec back from wherever you keep it."
                )
            out[files.sha256(data)] = data.decode()
    return out


def canonical(record: dict[str, Any]) -> bytes:
    """The one way to write a record that its hash is taken of."""
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()


def sealed(record: dict[str, Any]) -> bytes:
    """JSON that carries the hash of the rest of itself."""
    return json.dumps({**record, "sha256": files.sha256(canonical(record))}, indent=1).encode()


def unsealed(path: Path, what: str, remedy: str = "run `jepa-sweep repair`") -> dict[str, Any]:
    """Read such JSON; raises `IntegrityError` if it is not as it was written."""
    try:
        record = json.loads(files.read(path))
        seal = record.pop("sha256")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise IntegrityError(f"{path} is damaged: {what} is not readable JSON; {remedy}.") from None
    if files.sha256(canonical(record)) != seal:
        raise IntegrityError(f"{path} is damaged: {what} does not match its own hash; {remedy}.")
    return record
