"""Is everything as it was committed? Reads every file of a store back and says what is wrong with it."""

import re
from collections.abc import Callable, Iterable, Sequence

from jepa_sweep.errors import IntegrityError, JepaSweepError
from jepa_sweep.store import records, table
from jepa_sweep.store.location import DAMAGED, STAGING, WORKING, Location


def damage(location: Location, check_pending: Callable[[str], None]) -> dict[str, list[str]]:
    """Number of each damaged chunk -> what is wrong with it, file by file; empty if all is well.

    Chunks without a commit record are given to `check_pending`, which raises an `IntegrityError`.
    """
    committed, claimed = (set(records.numbers(location, folder)) for folder in ("commits", "claims"))
    loose = records.numbers(location, "points", ".parquet")

    def problems(number: str) -> list[str]:
        try:
            if number not in committed:
                check_pending(number)
                return []
            commit = records.commit_of(location, number)
            if number in claimed and records.claim_of(location, number) != commit.claim:
                name = location.where(f"claims/{number}.json")
                return [f"{name} is damaged: the commit record has another claim; run `jepa-sweep repair`."]
        except JepaSweepError as error:
            return [str(error)]
        return [problem for file in commit.files if (problem := _problem(location, file))]

    numbers = sorted({*committed, *claimed, *loose})
    found = zip(numbers, table.side_by_side(problems, numbers), strict=True)
    return {number: listed for number, listed in found if listed}


def _problem(location: Location, file: records.File) -> str | None:
    """What is wrong with a file that a commit record lists."""
    try:
        table.load(location, file)
    except JepaSweepError as error:
        return str(error)
    return None


def lost_notes(location: Location, applied: Iterable[str]) -> list[str]:
    """What is wrong with specs and environments, which cannot be computed again; `applied` are digests of specs."""
    found = []
    try:
        missing = set(applied) - records.specs(location).keys()
        found += [f"{location.where('specs')} lacks the spec {name[:8]}, which was run here" for name in missing]
    except IntegrityError as error:
        found.append(str(error))
    for name, facts in records.environments(location).items():
        if facts is None:
            where = location.where(f"environment/{name}.json")
            found.append(f"{where} is damaged: its text does not match its name")
    return found


def strays(location: Location, tables: Sequence[str]) -> list[str]:
    """Files that are none of the store's."""
    ours = "|".join(
        (
            r"store\.json",
            r"specs/\d+-[0-9a-f]{8}\.toml",
            r"environment/[0-9a-f]{8}\.json",
            r"(commits|claims)/\d{6,}\.json",
            rf"({'|'.join(tables)})/\d{{6,}}\.parquet",
            rf"({re.escape(STAGING)}|{re.escape(WORKING)}|{re.escape(DAMAGED)})/[^/]+",
        )
    )
    return [location.where(name) for name in location.walk() if not re.fullmatch(ours, name)]
