"""Is everything as it was committed? Reads every file of a store back and says what is wrong with it."""

import functools
import re
from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa

from jepa_sweep.errors import IntegrityError, JepaSweepError
from jepa_sweep.store import notes, parquet, records, table
from jepa_sweep.store.location import DAMAGED, FOLDERS, REPAIR, STAGING, WORKING, Location, TooLarge
from jepa_sweep.store.manifest import Manifest
from jepa_sweep.store.records import Commit


def misplaced(location: Location, manifest: Manifest) -> dict[str, list[str]]:
    """Name of each folder of a store in whose place something else is -> what is wrong."""
    found = location.misplaced((*FOLDERS, *manifest.tables, DAMAGED))
    return {name: [problem] for name, problem in found.items()}


def damage(location: Location, manifest: Manifest) -> dict[str, list[str]]:
    """Number of each damaged chunk -> what is wrong with it, file by file; empty if all is well.

    Where something else is in place of a folder, the names of such folders alone: nothing in them is looked at.
    """
    if found := misplaced(location, manifest):
        return found
    schemas = {name: manifest.schema(name) for name in manifest.tables}
    committed, claimed = (set(records.numbers(location, folder)) for folder in ("commits", "claims"))

    def problems(number: str) -> list[str]:
        try:
            if number in committed:
                commit = records.commit_of(location, number, manifest.tables)
                if number in claimed and records.claim_of(location, number) != commit.claim:
                    name = location.where(f"claims/{number}.json")
                    return [f"{name} is damaged: the commit record has another claim"]
                checks = [functools.partial(table.check, location, f, schemas[f.table]) for f in commit.files]
            else:
                records.claim_of(location, number)
                paths = (f"{name}/{number}.parquet" for name in manifest.tables)
                checks = [functools.partial(proved, location, manifest, p) for p in paths if location.exists(p)]
        except JepaSweepError as error:
            return [str(error)]
        return [error for check in checks if (error := _error_of(check))]

    numbers = sorted({*committed, *claimed, *records.numbers(location, "points", ".parquet")})
    found = zip(numbers, table.side_by_side(problems, numbers), strict=True)
    return {number: listed for number, listed in found if listed}


def gone(location: Location, commits: Iterable[Commit]) -> list[str]:
    """The files that commit records list and that are not there. Nothing is read."""
    # A listing on a network may be old, so what is not in it is asked for by name.
    listed = [file for commit in commits for file in commit.files]
    there = {name: {f"{name}/{one}" for one in location.names(name)} for name in {file.table for file in listed}}
    unseen = (file.path for file in listed if file.path not in there[file.table])
    return [path for path in unseen if not location.exists(path)]


def _error_of(check: Callable[[], object]) -> str | None:
    try:
        check()
    except JepaSweepError as error:
        return str(error)
    return None


def proved(location: Location, manifest: Manifest, path: str) -> tuple[pa.Table, bytes] | None:
    """The rows and bytes of a file that no commit record lists yet; None if nothing can prove them.

    Without a hash to compare it with, its rows must give its bytes; another release of pyarrow gives others, and more
    rows than fit into memory are none that could be looked at.

    Raises:
        Missing: there is no such file.
        IntegrityError: it is damaged.
    """
    name, where = path.split("/")[0], location.where(path)
    try:
        data = location.read(path, parquet.PROVABLE)
    except TooLarge:
        return None
    rows = parquet.decoded(data, where)
    if rows is None:
        return None
    if rows.schema == manifest.schema(name).remove_metadata():
        if manifest.encoded(name, rows) == data:
            return rows, data
        if parquet.by_another_release(data):
            return None
    raise IntegrityError(f"{where} is damaged: its rows do not give its bytes; {REPAIR}.")


def lost_notes(
    location: Location, applied: Iterable[str], sources: Iterable[str], environments: Iterable[str]
) -> list[str]:
    """What is wrong with specs, files of systems and environments, none of which can be computed again.

    `applied` and `sources` are the digests of the specs and files that must be there, `environments` their names.
    """
    found, specs = list(notes.damaged(location).values()), location.where("specs")
    for digest in notes.missing(location, notes.SPEC, applied):
        found.append(f"{specs} lacks the spec {digest[:8]}, which was run here; {notes.SPEC.remedy}")
    for digest in notes.missing(location, notes.SOURCE, sources):
        found.append(f"{specs} lacks {digest[:8]}, the file of its system; {notes.SOURCE.remedy}")
    for name in notes.missing(location, notes.ENVIRONMENT, environments):
        where = location.where(f"environment/{name}.json")
        found.append(f"{where} is missing: it said where committed rows were made; {notes.ENVIRONMENT.remedy}")
    return found


def strays(location: Location, tables: Sequence[str]) -> list[str]:
    """Files that are none of the store's."""
    ours = "|".join(
        (
            r"store\.json",
            r"README\.md",  # what `export --to card` says of it
            r"specs/[0-9]+-[0-9a-f]{8}\.(toml|py)",
            r"environment/[0-9a-f]{8}\.json",
            rf"(commits|claims)/{records.NUMBER}\.json",
            rf"({'|'.join(tables)})/{records.NUMBER}\.parquet",
            rf"({re.escape(STAGING)}|{re.escape(WORKING)})/[^/]+",
            rf"{re.escape(DAMAGED)}(/.+|\.[0-9a-f]{{8}}\.damaged)",  # the latter was in place of that folder
        )
    )
    return [location.where(name) for name in location.walk() if not re.fullmatch(ours, name)]
