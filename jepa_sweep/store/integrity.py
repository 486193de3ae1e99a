"""Is everything as it was committed? Reads every file of a store back and says what is wrong with it."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from jepa_sweep.errors import IntegrityError, JepaSweepError
from jepa_sweep.store import records, table
from jepa_sweep.store.place import DAMAGED, STAGING, WORKING, Missing, Place, sha256
from jepa_sweep.store.table import File


def damage(place: Place, tables: Sequence[str]) -> dict[str, list[str]]:
    """Number of each damaged chunk -> what is wrong with it, file by file; empty if all is well."""
    committed = [n.removesuffix(".json") for n in records.numbered(place.names("commits", ".json"))]
    claimed = [n.removesuffix(".parquet") for n in records.numbered(place.names("points", ".parquet"))]
    pending = sorted(set(claimed) - set(committed))
    checks = [(n, _committed_problems) for n in committed] + [(n, _pending_problems) for n in pending]
    found = table.side_by_side(lambda check: (check[0], check[1](place, check[0], tables)), checks)
    return {number: problems for number, problems in found if problems}


def _committed_problems(place: Place, number: str, _: Sequence[str]) -> list[str]:
    try:
        commit = records.commit_of(place, f"{number}.json")
    except JepaSweepError as error:
        return [str(error)]
    return [problem for file in commit.files if (problem := _problem(place, file))]


def _problem(place: Place, file: File) -> str | None:
    """What is wrong with a file that a commit record lists."""
    where = place.where(file.path)
    try:
        problem = table.problem_of(place.read(file.path), file)
    except Missing:
        return f"{where} is missing"
    except JepaSweepError as error:
        return str(error)
    return f"{where} {problem}" if problem else None


def _pending_problems(place: Place, number: str, tables: Sequence[str]) -> list[str]:
    """Why a chunk without a commit record cannot be finished as it stands."""
    try:
        records.claim_in_points(place, number)
        for name in (f"{t}/{number}.parquet" for t in tables):
            if place.exists(name):
                table.claimed(place.read(name), place.where(name))
    except IntegrityError as error:
        return [str(error)]
    return []


def lost_notes(place: Place, applied: Iterable[str]) -> list[str]:
    """What is wrong with specs and environments, which cannot be computed again; `applied` are digests of specs."""
    found = []
    try:
        missing = set(applied) - records.specs(place).keys()
        found += [f"{place.where('specs')} lacks the spec {name[:8]}, which was run here" for name in missing]
    except IntegrityError as error:
        found.append(str(error))
    for name, facts in environments(place).items():
        if facts is None:
            where = place.where(f"environment/{name}.json")
            found.append(f"{where} is damaged: its text does not match its name")
    return found


def environments(place: Place) -> dict[str, Any]:
    """Name -> facts about where rows were made; None for a note that is damaged."""
    out = {}
    for name in place.names("environment", ".json"):
        data, key = place.read(f"environment/{name}"), name.removesuffix(".json")
        out[key] = json.loads(data) if sha256(data)[:8] == key else None
    return out


def strays(place: Place, tables: Sequence[str]) -> list[str]:
    """Files that are none of the store's."""
    ours = "|".join(
        (
            r"store\.json",
            r"specs/\d+-[0-9a-f]{8}\.toml",
            r"environment/[0-9a-f]{8}\.json",
            r"commits/\d{6,}\.json",
            rf"({'|'.join(tables)})/\d{{6,}}\.parquet",
            rf"({re.escape(STAGING)}|{re.escape(WORKING)}|{re.escape(DAMAGED)})/[^/]+",
        )
    )
    return [place.where(name) for name in place.walk() if not re.fullmatch(ours, name)]
