"""What a store writes down about its chunks: claims, commit records, and JSON that carries its own hash."""

import hashlib
import json
import re
from typing import Any, NamedTuple

from jepa_sweep.errors import IntegrityError
from jepa_sweep.store.location import Location

Stretches = tuple[tuple[int, int], ...]  # half-open, in order


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

    spec: str  # digest of its text
    start: int
    stop: int
    absent: Stretches = ()
    retried: tuple[tuple[str, Stretches], ...] = ()  # chunk -> rows of its failures that were computed again
    solver: tuple[tuple[str, Any], ...] = ()  # settings in place of the spec's own
    writer: str = ""


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


def sha256(data: bytes) -> str:
    """The hash by which everything in a store is known."""
    return hashlib.sha256(data).hexdigest()


def numbered(names: list[str]) -> list[str]:
    """The names that belong to chunks; anything else in a folder is none of ours."""
    return [name for name in names if re.fullmatch(r"\d{6,}\.(json|parquet)", name)]


def claim_of(record: dict[str, Any]) -> Claim:
    """A claim read back from JSON."""
    retried = tuple((number, _stretches(rows)) for number, rows in record.get("retried", ()))
    solver = tuple((key, value) for key, value in record.get("solver", ()))
    return Claim(**{**record, "absent": _stretches(record["absent"]), "retried": retried, "solver": solver})


def commit_of(location: Location, name: str) -> Commit:
    """The commit record in a file of `commits/`; raises `IntegrityError` if it is damaged or a copy."""
    record = unsealed(location, f"commits/{name}", "the commit record")
    if f"{record['number']}.json" != name:
        raise IntegrityError(f"{location.where(f'commits/{name}')} is a copy of another record; move it away.")
    fields = {key: record[key] for key in ("number", "environment", "work", "created", "host")}
    return Commit(claim=claim_of(record["claim"]), files=tuple(File(**f) for f in record["files"]), **fields)


def claim_at(location: Location, number: str) -> Claim:
    """The claim in a file of `claims/`; raises `IntegrityError` if it is damaged or a copy."""
    name = f"claims/{number}.json"
    record = unsealed(location, name, "the claim")
    if record.pop("number", None) != number:
        raise IntegrityError(f"{location.where(name)} is a copy of another claim; move it away.")
    return claim_of(record)


def specs(location: Location) -> dict[str, str]:
    """Digest -> text of every spec that was applied to a store."""
    out = {}
    for name in location.names("specs", ".toml"):
        if re.fullmatch(r"\d+-[0-9a-f]{8}\.toml", name):
            data = location.read(f"specs/{name}")
            if not name.endswith(f"-{sha256(data)[:8]}.toml"):
                raise IntegrityError(
                    f"{location.where(f'specs/{name}')} is damaged: its text does not match its name; put the text "
                    "of that spec back from wherever you keep it."
                )
            out[sha256(data)] = data.decode()
    return out


def canonical(record: dict[str, Any]) -> bytes:
    """The one way to write a record that its hash is taken of."""
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()


def sealed(record: dict[str, Any]) -> bytes:
    """JSON that carries the hash of the rest of itself."""
    return json.dumps({**record, "sha256": sha256(canonical(record))}, indent=1).encode()


def unsealed(location: Location, name: str, what: str, remedy: str = "run `jepa-sweep repair`") -> dict[str, Any]:
    """Read such JSON; raises `IntegrityError` if it is not as it was written."""
    try:
        record = json.loads(location.read(name))
    except (ValueError, RecursionError):
        raise IntegrityError(f"{location.where(name)} is damaged: {what} is not readable JSON; {remedy}.") from None
    return _opened(record, location.where(name), what, remedy)


def _opened(record: Any, where: str, what: str, remedy: str) -> dict[str, Any]:
    seal = record.pop("sha256", None) if isinstance(record, dict) else None
    if seal is None or sha256(canonical(record)) != seal:
        raise IntegrityError(f"{where} is damaged: {what} does not match its own hash; {remedy}.")
    return record


def _stretches(listed: Any) -> Stretches:
    return tuple((a, b) for a, b in listed)
