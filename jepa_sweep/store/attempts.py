"""The latest attempt at a point wins: which rows of `failures` still stand."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from jepa_sweep.store import table
from jepa_sweep.store.location import Location
from jepa_sweep.store.manifest import Manifest
from jepa_sweep.store.records import Commit, File
from jepa_sweep.store.table import Part


class Attempts:
    """Compares failures with the chunks that compute them again. Reads nothing where there is no such chunk."""

    def __init__(self, location: Location, manifest: Manifest) -> None:
        failures = manifest.schema("failures")
        self._location, self._keys = location, pa.schema([failures.field(name) for name in manifest.keys])
        self._known: dict[tuple[str, ...], np.ndarray] = {}  # hashes of a file and of later ones -> its rows that stand

    def standing(self, commits: Sequence[Commit], again: Sequence[Commit]) -> list[Part]:
        """The files of failures of some chunks; a row stands unless its point is in a later attempt among `again`."""
        parts = []
        for commit in commits:
            for file in (file for file in commit.files if file.table == "failures"):
                later = [c for c in again if c.claim.attempt > commit.claim.attempt and c.claim.meets(commit.claim)]
                holding = [f for c in later for f in c.files if f.table in ("points", "failures")]
                parts.append(Part(file, self._stands(file, holding) if holding else None))
        return parts

    def _stands(self, file: File, later: list[File]) -> np.ndarray:
        key = (file.sha256, *(f.sha256 for f in later))
        if key not in self._known:
            self._known[key] = ~self._points([file]).isin(self._points(later))
        return self._known[key]

    def _points(self, files: list[File]) -> pd.MultiIndex:
        parts = [Part(file) for file in files]
        return pd.MultiIndex.from_frame(table.read(self._location, parts, self._keys, None, None))
