"""How far numbers of two runs differ, and how often their statuses do: counted while their rows go by."""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from jepa_sweep.analysis import joining
from jepa_sweep.analysis.joining import Both
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
        self._groups = ["_column", *(key for key in self._keys if key in ("objective", *words))]
        self._first: dict[str, Any] = {}
        self._varying, self._statuses = set[str](), Counter[tuple[str, str]]()
        self._counts: Any = None  # a histogram of the differences of each column and group
        self._worst: Any = None  # the row of the worst of each
        self.rows = 0

    def add(self, rows: Both) -> None:
        """Take in some more rows."""
        keys, here, there = rows
        self.rows += len(keys)
        self._first = self._first or keys.iloc[0].to_dict()
        self._varying |= {key for key in self._keys if (keys[key] != self._first[key]).any()}
        alike = np.ones(len(keys), bool)
        if "status" in self.columns:
            statuses = [side["status"].to_numpy() for side in (here, there)]
            self._statuses.update(pd.DataFrame(dict(enumerate(statuses))).value_counts().to_dict())
            alike = statuses[0] == statuses[1]
        for number, column in enumerate(self._numbers):
            off, alone = relative(here[column], there[column])
            missing = alone & alike
            place = np.where(missing, MISSING, off.view(np.int64) >> FINE)
            # Names that no parameter can have: none begins with an underscore.
            found = keys.assign(_column=number, _worst=off, _place=place)[missing | ~np.isnan(off)]
            if len(found):
                by = [*self._groups, "_place"]
                counts = found.groupby(by, as_index=False).agg(_size=("_place", "size"))
                self._counts = pd.concat([self._counts, counts]).groupby(by, as_index=False).sum()
                worst: Any = pd.concat([self._worst, found])
                worst = worst.sort_values("_worst", kind="stable", na_position="first")
                self._worst = worst.drop_duplicates(self._groups, keep="last")

    def statuses(self) -> pd.DataFrame:
        """How often rows have one status here and another there."""
        rows = [(self._name, *both, count) for both, count in sorted(self._statuses.items())]
        return pd.DataFrame(rows, columns=["table", "here", "there", "rows"])

    def differences(self) -> pd.DataFrame:
        """One row a column and group."""
        groups, also = self._groups, [key for key in self._keys if key in self._varying and key not in self._groups]
        shown = [key for key in groups if key in ("_column", "objective") or key in self._varying]
        names = [_told(key) for key in (*shown, "_rows", "_missing", "_median", "_p99", "_worst", *also)]
        if self._counts is None:
            return pd.DataFrame(columns=["table", *names])
        counts = self._counts.sort_values([*groups, "_place"])
        lacking = counts[counts["_place"] == MISSING].set_index(groups)["_size"]
        counts = counts[counts["_place"] != MISSING]
        reached, total = (counts.groupby(groups)["_size"].transform(how) for how in ("cumsum", "sum"))
        found = self._worst.set_index(groups)[["_worst", *also]]
        found["_rows"], found["_missing"] = counts.groupby(groups)["_size"].sum(), lacking
        for name, share in (("_median", 0.5), ("_p99", 0.99)):
            place = counts[reached >= share * total].drop_duplicates(groups).set_index(groups)["_place"]
            found[name] = pd.Series((place.to_numpy() << FINE).view(float), place.index)
        counted = {"_rows": 0, "_missing": 0}
        found = found.fillna(counted).astype(dict.fromkeys(counted, int)).sort_index().reset_index()
        found["_column"] = [self._numbers[number] for number in found["_column"]]
        found = found.rename(columns=_told)
        found.insert(0, "table", self._name)
        return found[["table", *names]]


def _told(name: str) -> str:
    """What a column of `differences` is called: a parameter always `at_` it, so that none is called like another."""
    return name.removeprefix("_") if name.startswith("_") or name == "objective" else f"at_{name}"


def relative(one: Any, two: Any) -> tuple[np.ndarray, np.ndarray]:
    """Differences relative to the larger of two numbers, NaN unless both are there; and where one alone is missing."""
    a, b = np.asarray(one, float), np.asarray(two, float)
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs(a - b) / np.maximum(np.abs(a), np.abs(b))
    off[a == b] = 0  # both may be
    return off, np.isnan(a) != np.isnan(b)
