"""What a store writes down about its chunks: claims, commit records, specs, and JSON that carries its own hash."""

import hashlib
import json
import re
from typing import Any, NamedTuple

from jepa_sweep.errors import IntegrityError
from jepa_sweep.store.location import Location

REPAIR = "run `jepa-sweep repair`"  # what damage is mended by, in messages


class File(NamedTuple):
    """A file as its commit record lists it."""

    path: str
    bytes: int
    rows: int
    sha256: str
    footer: int  # bytes at the end that hold ranges and places of columns
    footer_sha256: str

    @property
    def table(self) -> str:
        """The table it is a part of."""
        return self.path.split("/")[0]


class Claim(NamedTuple):
    """Which points of which spec a chunk holds: indices [start, stop) but for those `absent`, stored elsewhere."""

    spec: str  # SHA-256 of its text
    start: int
    stop: int
    absent: tuple[tuple[int, int], ...] = ()  # half-open, in order
    solver: tuple[tuple[str, Any], ...] = ()  # settings in place of the spec's own
    writer: str = ""
    attempt: int = 1  # at its points; a higher one computes again what failed in a lower one

    @property
    def pieces(self) -> list[tuple[int, int]]:
        """The intervals of indices that it holds."""
        edges = [self.start, *(edge for gap in self.absent for edge in gap), self.stop]
        return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]

    def meets(self, other: "Claim") -> bool:
        """True if both are of the same spec and their ranges of indices overlap."""
        return self.spec == other.spec and self.start < other.stop and other.start < self.stop


class Commit(NamedTuple):
    """A commit record."""

    number: str
    claim: Claim
    files: tuple[File, ...]
    environment: str
    work: dict[str, Any]  # what the rows took: seconds, steps, ...
    created: str
    host: str

    def rows(self, name: str) -> int:
        """Rows of one table in this chunk."""
        return sum(f.rows for f in self.files if f.table == name)

    @property
    def bytes(self) -> int:
        """Size of all its files."""
        return sum(f.bytes for f in self.files)


def numbers(location: Location, folder: str, suffix: str = ".json") -> list[str]:
    """Sorted numbers of the chunks that have a file in a folder; other files there are not the store's."""
    names = location.names(folder, suffix)
    return [name.removesuffix(suffix) for name in names if re.fullmatch(r"\d{6,}", name.removesuffix(suffix))]


def commit_of(location: Location, number: str) -> Commit:
    """The commit record of a chunk; raises `IntegrityError` if it is damaged or a copy of another."""
    name = f"commits/{number}.json"
    record = unsealed(location, name, "the commit record")
    if record["number"] != number:
        raise IntegrityError(f"{location.where(name)} is a copy of another record; move it away.")
    files = tuple(File(**file) for file in record["files"])
    fields = {key: record[key] for key in ("environment", "work", "created", "host")}
    return Commit(number, _claim(record["claim"], number), files, **fields)


def claim_of(location: Location, number: str) -> Claim:
    """The claim of a chunk in `claims/`; raises `IntegrityError` if it is damaged or a copy of another."""
    name = f"claims/{number}.json"
    record = unsealed(location, name, "the claim")
    if record.pop("number", None) != number:
        raise IntegrityError(f"{location.where(name)} is a copy of another claim; move it away.")
    return _claim(record, number)


def _claim(record: dict[str, Any], number: str) -> Claim:
    absent, solver = (tuple(tuple(pair) for pair in record[key]) for key in ("absent", "solver"))
    # Format 2 lists the failures that were computed again. Its numbers grow, so they can stand for attempts.
    attempt = int(number) if record.pop("retried", ()) else record.get("attempt", 1)
    return Claim(**{**record, "absent": absent, "solver": solver, "attempt": attempt})


def notes(location: Location, suffix: str) -> dict[str, str]:
    """SHA-256 -> text of the specs (".toml") that were applied to a store, or of the files of their systems (".py").

    Raises:
        IntegrityError: one is damaged.
    """
    out = {}
    for name in location.names("specs", suffix):
        if re.fullmatch(rf"\d+-[0-9a-f]{{8}}\{suffix}", name):
            data = location.read(f"specs/{name}")
            if not name.endswith(f"-{sha256(data)[:8]}{suffix}"):
                raise IntegrityError(
                    f"{location.where(f'specs/{name}')} is damaged: its text does not match its name; put the text "
                    f"of that {'spec' if suffix == '.toml' else 'file'} back from wherever you keep it."
                )
            out[sha256(data)] = data.decode()
    return out


def environments(location: Location) -> dict[str, Any]:
    """Name -> facts about where rows were made; None for a note that is damaged."""
    out = {}
    for name in location.names("environment", ".json"):
        data, key = location.read(f"environment/{name}"), name.removesuffix(".json")
        out[key] = json.loads(data) if sha256(data)[:8] == key else None
    return out


def sha256(data: bytes) -> str:
    """The SHA-256 of some bytes, as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sealed(record: dict[str, Any]) -> bytes:
    """JSON that carries the hash of the rest of itself."""
    return json.dumps({**record, "sha256": _seal(record)}, indent=1).encode()


def unsealed(location: Location, name: str, what: str, remedy: str = REPAIR) -> dict[str, Any]:
    """Read such JSON; raises `IntegrityError` if it is not as it was written."""
    where = location.where(name)
    try:
        record = json.loads(location.read(name))
    except (ValueError, RecursionError):
        raise IntegrityError(f"{where} is damaged: {what} is not readable JSON; {remedy}.") from None
    seal = record.pop("sha256", None) if isinstance(record, dict) else None
    if seal is None or seal != _seal(record):
        raise IntegrityError(f"{where} is damaged: {what} does not match its own hash; {remedy}.")
    return record


def _seal(record: dict[str, Any]) -> str:
    return sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode())
