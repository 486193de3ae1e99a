"""Points of a block that are written out one by one, and looked up with pandas."""

import functools

import numpy as np
import pandas as pd

from jepa_sweep.physics.host import Columns


class ListedGrid:
    """Rows written out one by one, put into the order of their groups; repeated rows count once."""

    def __init__(self, columns: Columns, groups: int) -> None:
        frame = pd.DataFrame(columns).drop_duplicates(ignore_index=True)
        self._keys = list(columns)[:groups]
        self._frame = frame.sort_values(self._keys, kind="stable", ignore_index=True) if self._keys else frame
        self.size = len(self._frame)

    def take(self, index: np.ndarray) -> Columns:
        """The parameters at the given row numbers."""
        return {str(name): self._frame[name].to_numpy()[index] for name in self._frame}

    @functools.cached_property
    def _lookup(self) -> pd.MultiIndex:
        lookup = pd.MultiIndex.from_frame(self._frame)
        lookup.get_indexer(lookup[:1])  # fills its table, before another thread may look into it
        return lookup

    def find(self, columns: Columns) -> np.ndarray:
        """Row numbers of the given parameters, -1 where there is no such row; values compare exactly."""
        wanted = pd.MultiIndex.from_arrays([columns[str(name)] for name in self._frame])
        return self._lookup.get_indexer(wanted)

    def starts(self) -> np.ndarray:
        """Row numbers at which a new group of files begins, the first being 0."""
        keys = np.stack([self._frame[key].to_numpy() for key in self._keys] or [np.zeros(self.size)])
        changes = np.any(keys[:, 1:] != keys[:, :-1], axis=0)
        return np.flatnonzero(np.concatenate([[True], changes]))
