"""What a store writes down about its chunks: claims, commit records, and JSON that carries its own hash.

What is read has exactly the keys and types given here, whoever wrote it; anything else is an `IntegrityError`.
"""

import hashlib
import json
import re
from collections.abc import Collection
from typing import Annotated, Any, NamedTuple

import pydantic

from jepa_sweep.errors import IntegrityError
from jepa_sweep.store.fitting import CONFIG, Count, Hash, List, Scalar, Text, exactly, fit, unfit
from jepa_sweep.store.location import REPAIR, Location

NUMBER = r"(?:[0-9]{6}|[1-9][0-9]{6,17})"  # of a chunk, in file names
MOST_POINTS = 1 << 28  # of a chunk, whose indices and rows are held in memory at once
MOST_FOOTER, MOST_FILE = 1 << 28, 1 << 36  # bytes, far above what is written: either is read into memory at once
Seconds = Annotated[float, pydantic.Field(ge=0)]


class File(NamedTuple):
    """A file as its commit record lists it."""

    path: Text
    bytes: Count
    rows: Count
    sha256: Hash
    footer: Count  # bytes at the end that hold ranges and places of columns
    footer_sha256: Hash

    @property
    def table(self) -> str:
        """The table it is a part of."""
        return self.path.split("/")[0]


class Claim(NamedTuple):
    """Which points of which spec a chunk holds: indices [start, stop) but for those `absent`, stored elsewhere."""

    spec: Hash  # SHA-256 of its text
    start: Count
    stop: Count
    absent: Annotated[tuple[Annotated[tuple[Count, Count], List], ...], List] = ()  # half-open, in order
    solver: Annotated[tuple[Annotated[tuple[Text, Scalar], List], ...], List] = ()  # in place of the spec's settings
    writer: Text = ""
    attempt: Annotated[Count, pydantic.Field(ge=1)] = 1  # at its points; a higher one computes again what failed

    @property
    def pieces(self) -> list[tuple[int, int]]:
        """The intervals of indices that it holds."""
        edges = self._edges()
        return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]

    @property
    def points(self) -> int:
        """How many points it holds."""
        return self.stop - self.start - sum(b - a for a, b in self.absent)

    def meets(self, other: "Claim") -> bool:
        """True if both are of the same spec and their ranges of indices overlap."""
        return self.spec == other.spec and self.start < other.stop and other.start < self.stop

    def in_order(self) -> "Claim":
        """Itself; raises `ValueError` unless its pieces follow each other and hold as many points as can be."""
        edges = self._edges()
        if self.start >= self.stop or edges != sorted(edges):
            raise ValueError("its stretches of points must follow each other from `start` to `stop`")
        if self.stop - self.start > MOST_POINTS:
            raise ValueError(f"it must stretch over at most {MOST_POINTS:,} points, but it does over more")
        if self.points == 0:
            raise ValueError("it must hold a point, but all from `start` to `stop` are absent")
        return self

    def _edges(self) -> list[int]:
        return [self.start, *(edge for gap in self.absent for edge in gap), self.stop]


class Work(NamedTuple):
    """What the rows of a chunk took."""

    seconds: Seconds = 0.0  # of computing, without compiling
    compile_seconds: Seconds = 0.0  # and of checking what was compiled, where nobody had yet
    steps: Count = 0  # of the solver, accepted and rejected
    lane_steps: Count = 0  # paid for on all lanes; what exceeds `steps` was wasted
    rechecked: Count = 0  # single-precision times that were solved again in double precision
    recheck_error: Annotated[float, pydantic.AllowInfNan(True)] = 0.0  # the worst relative difference among them
    peak_memory_bytes: Count = 0  # of the process, until then

    def plus(self, other: "Work") -> "Work":
        """The work of two chunks together."""
        # To a type checker all that `zip` gives may be a fraction, the counts too.
        both = Work(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))  # type: ignore[arg-type]
        return both._replace(
            recheck_error=max(self.recheck_error, other.recheck_error),
            peak_memory_bytes=max(self.peak_memory_bytes, other.peak_memory_bytes),
        )


_Claim = Annotated[Claim, exactly(*Claim._fields), pydantic.AfterValidator(Claim.in_order)]


class Commit(NamedTuple):
    """A commit record."""

    format: Count
    number: Text
    claim: _Claim
    files: Annotated[tuple[Annotated[File, exactly(*File._fields)], ...], List]
    environment: Annotated[str, pydantic.Field(pattern="^[0-9a-f]{8}$")]
    work: Annotated[Work, exactly(*Work._fields)]
    host: Text
    created: Text

    def rows(self, name: str) -> int:
        """Rows of one table in this chunk."""
        return sum(f.rows for f in self.files if f.table == name)

    @property
    def bytes(self) -> int:
        """Size of all its files."""
        return sum(f.bytes for f in self.files)

    def fault(self, tables: Collection[str]) -> str:
        """What it says that cannot be; empty if nothing."""
        own = {file.path for file in self.files if file.path == f"{file.table}/{self.number}.parquet"}
        if len(own) < len(self.files) or not {file.table for file in self.files} <= {*tables}:
            return f"its files must be {self.number}.parquet in some of {', '.join(tables)}, each once"
        if any(not 8 < file.footer <= file.bytes for file in self.files):
            return "a footer must be a part of its file"
        if any(file.footer > MOST_FOOTER or file.bytes > MOST_FILE for file in self.files):
            return f"a file must have at most {MOST_FILE:,} bytes, and a footer {MOST_FOOTER:,}"
        if self.rows("points") + self.rows("failures") != self.claim.points:
            return f"there must be a row for each of its {self.claim.points:,} points"
        return ""


_CLAIM = pydantic.TypeAdapter(_Claim, config=CONFIG)
_COMMIT = pydantic.TypeAdapter(Annotated[Commit, exactly(*Commit._fields)], config=CONFIG)


def numbers(location: Location, folder: str, suffix: str = ".json") -> list[str]:
    """Sorted numbers of the chunks that have a file in a folder; other files there are not the store's."""
    names = location.names(folder, suffix)
    return [name.removesuffix(suffix) for name in names if re.fullmatch(NUMBER, name.removesuffix(suffix))]


def commit_of(location: Location, number: str, tables: Collection[str]) -> Commit:
    """The commit record of a chunk of a store with these tables.

    Raises:
        IntegrityError: it is damaged, a copy of another, or says what cannot be.
    """
    name, what = f"commits/{number}.json", "the commit record"
    record, where = unsealed(location, name, what), location.where(name)
    if record.get("number") != number:
        raise IntegrityError(f"{where} is a copy of another record; move it away.")
    commit = fit(_COMMIT, {**record, "claim": _current(record.get("claim"), number)}, where, what, REPAIR)
    if fault := commit.fault(tables):
        raise unfit(where, what, fault, REPAIR)
    return commit


def claim_of(location: Location, number: str) -> Claim:
    """The claim of a chunk in `claims/`; raises `IntegrityError` if it is damaged, or a copy of another."""
    name, what = f"claims/{number}.json", "the claim"
    record, where = unsealed(location, name, what), location.where(name)
    if record.pop("number", None) != number:
        raise IntegrityError(f"{where} is a copy of another claim; move it away.")
    return fit(_CLAIM, _current(record, number), where, what, REPAIR)


def _current(claim: Any, number: str) -> Any:
    """A claim as it is written now. Format 2 lists the failures that were computed again, where now attempts count."""
    if not isinstance(claim, dict) or "retried" not in claim:
        return claim
    # Its numbers grow, so they can stand for attempts.
    return {**{key: claim[key] for key in claim if key != "retried"}, "attempt": int(number) if claim["retried"] else 1}


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
        record = _DECODER.decode(location.read(name).decode())
        seal = record.pop("sha256", None) if isinstance(record, dict) else None
        right = seal is not None and seal == _seal(record)
    except (ValueError, RecursionError):
        raise IntegrityError(f"{where} is damaged: {what} is not readable JSON; {remedy}.") from None
    if not right:
        raise IntegrityError(f"{where} is damaged: {what} does not match its own hash; {remedy}.")
    return record


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A table of JSON; raises `ValueError` if a key stands in it twice, as readers differ in what that says."""
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a key stands twice")
    return table


_DECODER = json.JSONDecoder(object_pairs_hook=_table)


def _seal(record: dict[str, Any]) -> str:
    return sha256(json.dumps(record, sort_keys=True, separators=(",", ":")).encode())
