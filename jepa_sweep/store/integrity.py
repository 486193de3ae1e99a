"""Is everything as it was committed? Reads every file of a store back and says what is wrong with it."""

import functools
import re
from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa

from jepa_sweep.errors import IntegrityError, JepaSweepError
from jepa_sweep.store import records, table
from jepa_sweep.store.location import DAMAGED, STAGING, WORKING, Location
from jepa_sweep.store.manifest import Manifest


def damage(location: Location, manifest: Manifest) -> dict[str, list[str]]:
    """Number of each damaged chunk -> what is wrong with it, file by file; empty if all is well."""
    committed, claimed = (set(records.numbers(location, folder)) for folder in ("commits", "claims"))

    def problems(number: str) -> list[str]:
        try:
            if number in committed:
                commit = records.commit_of(location, number)
                if number in claimed and records.claim_of(location, number) != commit.claim:
                    name = location.where(f"claims/{number}.json")
                    return [f"{name} is damaged: the commit record has another claim"]
                checks = [functools.partial(table.load, location, file) for file in commit.files]
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


def _error_of(check: Callable[[], object]) -> str | None:
    try:
        check()
    except JepaSweepError as error:
        return str(error)
    return None


def proved(location: Location, manifest: Manifest, path: str) -> tuple[pa.Table, bytes] | None:
    """The rows and bytes of a file that no commit record lists yet; None if nothing can prove them.

    Without a hash to compare it with, its rows must give its bytes; another release of pyarrow gives others.

    Raises:
        Missing: there is no such file.
        IntegrityError: it is damaged.
    """
    name, where, data = path.split("/")[0], location.where(path), location.read(path)
    rows = table.decoded(data, where).replace_schema_metadata(None)
    if rows.schema == manifest.schema(name).remove_metadata():
        if manifest.encoded(name, rows) == data:
            return rows, data
        if table.by_another_release(data):
            return None
    raise IntegrityError(f"{where} is damaged: its rows do not give its bytes; {records.REPAIR}.")


def lost_notes(
    location: Location, applied: Iterable[str], sources: Iterable[str], environments: Iterable[str]
) -> list[str]:
    """What is wrong with specs, files of systems and environments, none of which can be computed again.

    `applied` and `sources` are the digests of the specs and files that must be there, `environments` their names.
    """
    found = []
    wanted = ((".toml", "the spec {}, which was run here", applied), (".py", "{}, the file of its system", sources))
    for suffix, what, digests in wanted:
        try:
            missing = set(digests) - records.notes(location, suffix).keys()
            found += [f"{location.where('specs')} lacks {what.format(name[:8])}" for name in sorted(missing)]
        except IntegrityError as error:
            found.append(str(error))
    noted = records.environments(location)
    for name in sorted({*noted, *environments}):
        where = location.where(f"environment/{name}.json")
        if name not in noted:
            found.append(f"{where} is missing: it said where committed rows were made")
        elif noted[name] is None:
            found.append(f"{where} is damaged: its text does not match its name")
    return found


def strays(location: Location, tables: Sequence[str]) -> list[str]:
    """Files that are none of the store's."""
    ours = "|".join(
        (
            r"store\.json",
            r"README\.md",  # what `export --to card` says of it
            r"specs/\d+-[0-9a-f]{8}\.(toml|py)",
            r"environment/[0-9a-f]{8}\.json",
            r"(commits|claims)/\d{6,}\.json",
            rf"({'|'.join(tables)})/\d{{6,}}\.parquet",
            rf"({re.escape(STAGING)}|{re.escape(WORKING)}|{re.escape(DAMAGED)})/[^/]+",
        )
    )
    return [location.where(name) for name in location.walk() if not re.fullmatch(ours, name)]
