"""How far numbers of two runs differ, and how often their statuses do: counted while their rows go by."""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from jepa_sweep.analysis import joining
from jepa_sweep.store.overview import WORST
from jepa_sweep.store.reader import Reader

MISSING = -1  # the place of a number that only one run has, and not for its status
FINE = 42  # bits of a float that its place in the histogram of differences leaves out: 10 of the fraction stay


class Tally:
    """What has been found so far in rows of one table that have found their partners."""

    def __init__(self, here: Reader, there: Reader, name: str) -> None:
        schema, other = here.schema(name), there.schema(name)
        self._name, self._keys = name, joining.keys_of(here, name)
        measured = [f.name for f in schema if f.name in other.names and f.name not in self._keys]
        self._numbers = [n for n in measured if pa.types.is_floating(schema.field(n).type) and n != WORST]
        self.columns = [*self._numbers, *(n for n in measured if n == "status")]
        words = [c.name for c in here.parameters if c.dtype in ("text", "integer") and c.name != "seed"]
        self._groups = ["column", *(key for key in self._keys if key in ("objective", *words))]
        self._first: dict[str, Any] = {}
        self._varying, self._statuses = set[str](), Counter[tuple[str, str]]()
        self._counts: Any = None  # a histogram of the differences of each column and group
        self._worst: Any = None  # the row of the worst of each
        self.rows = 0

    def add(self, frame: pd.DataFrame) -> None:
        """Take in some more rows."""
        self.rows += len(frame)
        self._first = self._first or frame[self._keys].iloc[0].to_dict()
        self._varying |= {key for key in self._keys if (frame[key] != self._first[key]).any()}
        alike = np.ones(len(frame), bool)
        if "status" in self.columns:
            self._statuses.update(frame.value_counts(["status_here", "status_there"]).to_dict())
            alike = (frame["status_here"] == frame["status_there"]).to_numpy()
        for number, column in enumerate(self._numbers):
            off, alone = relative(frame[f"{column}_here"], frame[f"{column}_there"])
            missing = alone & alike
            place = np.where(missing, MISSING, off.view(np.int64) >> FINE)
            rows = frame[self._keys].assign(column=number, worst=off, place=place)[missing | ~np.isnan(off)]
            if len(rows):
                by = [*self._groups, "place"]
                counts = rows.groupby(by, as_index=False).agg(size=("place", "size"))
                self._counts = pd.concat([self._counts, counts]).groupby(by, as_index=False).sum()
                worst: Any = pd.concat([self._worst, rows])
                worst = worst.sort_values("worst", kind="stable", na_position="first")
                self._worst = worst.drop_duplicates(self._groups, keep="last")

    def statuses(self) -> pd.DataFrame:
        """How often rows have one status here and another there."""
        rows = [(self._name, *both, count) for both, count in sorted(self._statuses.items())]
        return pd.DataFrame(rows, columns=["table", "here", "there", "rows"])

    def differences(self) -> pd.DataFrame:
        """One row a column and group."""
        groups, also = self._groups, [key for key in self._keys if key in self._varying and key not in self._groups]
        shown = ["column", *(key for key in groups[1:] if key == "objective" or key in self._varying)]
        names = [*shown, "rows", "missing", "median", "p99", "worst", *(f"at_{key}" for key in also)]
        if self._counts is None:
            return pd.DataFrame(columns=["table", *names])
        counts = self._counts.sort_values([*groups, "place"])
        lacking = counts[counts["place"] == MISSING].set_index(groups)["size"]
        counts = counts[counts["place"] != MISSING]
        reached, total = (counts.groupby(groups)["size"].transform(how) for how in ("cumsum", "sum"))
        found = self._worst.set_index(groups)[["worst", *also]].rename(columns={key: f"at_{key}" for key in also})
        found["rows"], found["missing"] = counts.groupby(groups)["size"].sum(), lacking
        for name, share in (("median", 0.5), ("p99", 0.99)):
            place = counts[reached >= share * total].drop_duplicates(groups).set_index(groups)["place"]
            found[name] = pd.Series((place.to_numpy() << FINE).view(float), place.index)
        found = found.fillna({"rows": 0, "missing": 0}).astype({"rows": int, "missing": int}).sort_index().reset_index()
        found["column"] = [self._numbers[number] for number in found["column"]]
        found.insert(0, "table", self._name)
        return found[["table", *names]]


def relative(one: Any, two: Any) -> tuple[np.ndarray, np.ndarray]:
    """Differences relative to the larger of two numbers, NaN unless both are there; and where one alone is missing."""
    a, b = np.asarray(one, float), np.asarray(two, float)
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs(a - b) / np.maximum(np.abs(a), np.abs(b))
    off[a == b] = 0  # both may be
    return off, np.isnan(a) != np.isnan(b)
