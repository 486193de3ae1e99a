"""Texts that a store keeps beside its tables: specs, files of users' own systems, and where rows were made.

The beginning of its hash stands in the name of a note. None can be computed again.
"""

import json
import re
from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple

import pydantic
from typing_extensions import TypedDict

from jepa_sweep.errors import IntegrityError
from jepa_sweep.store.fitting import fit
from jepa_sweep.store.location import Location
from jepa_sweep.store.records import sha256


class Kind(NamedTuple):
    """A kind of notes."""

    folder: str
    suffix: str
    remedy: str  # where one is damaged

    def names(self, location: Location) -> list[str]:
        """Those of a store; other files in the folder are not the store's."""
        number = "[0-9]+-" if self.folder == "specs" else ""
        named = re.compile(rf"{number}[0-9a-f]{{8}}{re.escape(self.suffix)}")
        return [f"{self.folder}/{one}" for one in location.names(self.folder, self.suffix) if named.fullmatch(one)]

    def hash_of(self, name: str) -> str:
        """The beginning of the hash that a note of this name must have."""
        return name.removesuffix(self.suffix)[-8:]


SPEC = Kind("specs", ".toml", "run that spec again, which puts it back")
SOURCE = Kind("specs", ".py", "run a spec of that system again, which puts it back")
ENVIRONMENT = Kind("environment", ".json", "put it back from a copy of the run")


def _printable(text: object) -> object:
    """A command may hold bytes that are no text, for which Python has halves of characters: these spelt out."""
    return text.encode("utf-8", "backslashreplace").decode() if isinstance(text, str) else text


Word = Annotated[str, pydantic.BeforeValidator(_printable)]


class Git(TypedDict):
    """The revision of a checkout, and whether it was changed since."""

    revision: Word
    dirty: bool


@pydantic.with_config(pydantic.ConfigDict(strict=True, extra="ignore"))  # a later release may tell more
class Environment(TypedDict, total=False):
    """Where rows were made."""

    versions: dict[Word, Word]
    python: Word
    platform: Word
    cores: int | None
    device: Word
    devices: int
    backend: Word
    precision: Word
    git: Git | None
    argv: list[Word]


_ENVIRONMENT = pydantic.TypeAdapter(Environment)


def texts(location: Location, kind: Kind) -> dict[str, str]:
    """SHA-256 -> text of each note of a kind; raises `IntegrityError` if one is damaged."""
    found = [text(location, kind, name) for name in kind.names(location)]
    return {sha256(one.encode()): one for one in found}


def text(location: Location, kind: Kind, name: str) -> str:
    """One of them; raises `IntegrityError` if it is damaged."""
    where, data = location.where(name), location.read(name)
    if sha256(data)[:8] != kind.hash_of(name):
        raise IntegrityError(f"{where} is damaged: its text does not match its name; {kind.remedy}.")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise IntegrityError(f"{where} is damaged: it is not UTF-8 text; {kind.remedy}.") from None


def environments(location: Location) -> dict[str, Any]:
    """Name -> facts about where rows were made; None for a note that is damaged."""
    broken = damaged(location, [ENVIRONMENT])
    return {
        ENVIRONMENT.hash_of(name): None if name in broken else _facts(location, name)
        for name in ENVIRONMENT.names(location)
    }


def _facts(location: Location, name: str) -> Environment:
    where, said = location.where(name), text(location, ENVIRONMENT, name)
    try:
        facts = json.loads(said)
    except (ValueError, RecursionError):
        raise IntegrityError(f"{where} is damaged: it is not readable JSON; {ENVIRONMENT.remedy}.") from None
    return fit(_ENVIRONMENT, facts, where, "the note of where rows were made", ENVIRONMENT.remedy)


def damaged(location: Location, kinds: Iterable[Kind] = (SPEC, SOURCE, ENVIRONMENT)) -> dict[str, str]:
    """Name of each damaged note -> what is wrong with it."""
    found = {}
    for kind in kinds:
        for name in kind.names(location):
            try:
                _facts(location, name) if kind is ENVIRONMENT else text(location, kind, name)
            except IntegrityError as error:
                found[name] = str(error)
    return found


def missing(location: Location, kind: Kind, wanted: Iterable[str]) -> list[str]:
    """Those of the wanted notes, by their hashes or the beginnings of these, that are not there, sorted."""
    there = {kind.hash_of(name) for name in kind.names(location)}
    return sorted(one for one in set(wanted) if one[:8] not in there)
