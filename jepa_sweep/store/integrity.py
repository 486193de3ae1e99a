"""Is everything as it was committed? Reads every file of a store back and says what is wrong with it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jepa_sweep.errors import IntegrityError, JepaSweepError
from jepa_sweep.store import files, records, table


def damage(root: Path, tables: Sequence[str]) -> dict[str, list[str]]:
    """Number of each damaged chunk -> what is wrong with it, file by file; empty if all is well."""
    found: dict[str, list[str]] = {}
    committed = records.numbered(files.names(root / "commits", ".json"))
    for name in committed:
        number = name.removesuffix(".json")
        try:
            record = records.unsealed(root / f"commits/{name}", "the commit record")
        except JepaSweepError as error:
            found.setdefault(number, []).append(str(error))
            continue
        for entry in record["files"]:
            problem = _problem(root, entry)
            if problem:
                found.setdefault(number, []).append(problem)
    for name in records.numbered(files.names(root / "points", ".parquet")):
        if f"{name.removesuffix('.parquet')}.json" not in committed:
            try:
                _check_pending(root, name.removesuffix(".parquet"), tables)
            except IntegrityError as error:
                found.setdefault(name.removesuffix(".parquet"), []).append(str(error))
    return found


def lost_notes(root: Path, applied: Iterable[str]) -> list[str]:
    """What is wrong with specs and environments, which cannot be computed again; `applied` are digests of specs."""
    found = []
    try:
        missing = set(applied) - records.specs(root).keys()
        found += [f"{root / 'specs'} lacks the spec {name[:8]}, which was run here" for name in missing]
    except IntegrityError as error:
        found.append(str(error))
    for name in files.names(root / "environment", ".json"):
        if files.sha256(files.read(root / "environment" / name))[:8] != name.removesuffix(".json"):
            found.append(f"{root / 'environment' / name} is damaged: its text does not match its name")
    return found


def _problem(root: Path, entry: dict[str, Any]) -> str | None:
    """What is wrong with a file that a commit record lists."""
    path = root / entry["path"]
    try:
        if not files.exists(path):
            return f"{path} is missing"
        data = files.read(path)
        if len(data) != entry["bytes"]:
            return f"{path} has {len(data)} bytes, not the {entry['bytes']} committed"
        if files.sha256(data) != entry["sha256"]:
            return f"{path} is damaged: its SHA-256 is not the one committed"
        table.check(path)
    except JepaSweepError as error:
        return str(error)
    return None


def _check_pending(root: Path, number: str, tables: Sequence[str]) -> None:
    """Raise an `IntegrityError` if a chunk without a commit record cannot be finished as it stands."""
    records.claim_in_points(root, number)
    for name in tables:
        path = root / name / f"{number}.parquet"
        if files.exists(path):
            table.check(path)
