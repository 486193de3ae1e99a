"""The latest attempt at a point wins: which rows of `failures` still stand."""

from collections.abc import Sequence

import numpy as np

from jepa_sweep.store import table
from jepa_sweep.store.location import Location
from jepa_sweep.store.manifest import Manifest
from jepa_sweep.store.records import Commit, File
from jepa_sweep.store.table import Part, Question


def standing(location: Location, manifest: Manifest, commits: Sequence[Commit], number: str | None) -> list[Part]:
    """The files of failures, or that of one chunk, without the points that a chunk of a higher attempt holds.

    Nothing is read unless there is such a chunk.
    """
    again = [commit for commit in commits if commit.claim.attempt > 1]
    parts = []
    for commit in commits:
        for file in (f for f in commit.files if f.table == "failures" and number in (None, commit.number)):
            later = [c for c in again if c.claim.attempt > commit.claim.attempt and c.claim.meets(commit.claim)]
            holding = [f for c in later for f in c.files if f.table in ("points", "failures")]
            parts.append(Part(file, _missing(location, manifest, file, holding) if holding else None))
    return parts


def _missing(location: Location, manifest: Manifest, file: File, others: list[File]) -> np.ndarray:
    """True for the rows of a file whose points are not in the others."""
    import pandas as pd  # not at the top: few stores have points that were tried again

    def points(one: File) -> pd.DataFrame:
        return table.read(location, [Part(one)], manifest.schema(one.table), Question(manifest.keys))

    mine, theirs = (pd.MultiIndex.from_frame(pd.concat(map(points, files))) for files in ([file], others))
    return ~mine.isin(theirs)
