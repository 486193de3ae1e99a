"""The difference of two runs, point by point."""

import dataclasses
import html
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from jepa_sweep.analysis import joining
from jepa_sweep.analysis.differences import Tally
from jepa_sweep.analysis.joining import Both
from jepa_sweep.errors import SpecError
from jepa_sweep.layout import for_json, told
from jepa_sweep.spec.models import Solver
from jepa_sweep.store.overview import Values, listed, written
from jepa_sweep.store.reader import Reader

SHOWN = 5  # points that only one run has, and values, in print
EQUAL = 1e-14  # a difference of rounding, in print


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Two runs, `here` and `there`, point by point; `store.compare(other)` makes it.

    Attributes:
        here: the one run.
        there: the other.
        points: how many points both have.
        settings: one row a setting, version or device that differs: `setting`, `here`, `there`.
        only_here: the points that only this run has: their parameters and status.
        only_there: the points that only the other has.
        values: under "here" and "there", the values of each parameter that the other run has nowhere; without
            parameters of more than a thousand values.
        statuses: how often rows of a `table` have one status `here` and another, or the same, `there`.
        differences: one row a column of numbers and group, a group being an objective and what else varies in whole
            numbers or words: `rows` that have the number in both runs; `missing`, those that have it in one alone
            though their status is the same; `median`, `p99` (the 99th percentile) and `worst` of the relative
            differences; and the parameters of the group and of the worst in it, `at_L`, `at_lam` and so on. A
            difference is relative to the larger of the two numbers; median and percentile are rounded down by at most
            0.1 %.
    """

    here: Reader
    there: Reader
    points: int
    settings: pd.DataFrame
    only_here: pd.DataFrame
    only_there: pd.DataFrame
    values: dict[str, dict[str, tuple]]
    statuses: pd.DataFrame
    differences: pd.DataFrame

    @property
    def worst(self) -> float | None:
        """The largest relative difference of all; None where no number stands in both runs."""
        return max(self.differences["worst"].dropna().tolist(), default=None)

    def rows(self, table: str = "points") -> pd.DataFrame:
        """Rows that both runs have side by side: parameters, then each column as `<column>_here` and `<column>_there`.

        All of them in memory; `table` may be any but those of samples.
        """
        known = joining.tables_of(self.here)
        if table not in known:
            raise SpecError(f"Rows of {', '.join(known)} can stand side by side, but `{table}` was asked for.")
        sides = joining.Side(self.here, table), joining.Side(self.there, table)
        common = self.there.schema(table).names
        columns = [name for name in self.here.schema(table).names if name in common and name not in sides[0].columns]
        found = [_side_by_side(both) for both in joining.pairs(*sides, columns)]
        return pd.concat(found, ignore_index=True)

    def text(self) -> str:
        """All `parts` as text, which printing it shows, too."""
        return told(self.parts())

    def parts(self) -> Iterator[str | pd.DataFrame]:
        """What is printed: sentences and tables, without columns that are equal, and differences in two digits."""
        yield f"here   {self.here.path}"
        yield f"there  {self.there.path}"
        yield f"{self.points:,} points in both, {len(self.only_here):,} only here, {len(self.only_there):,} only there"
        for where, points in self._alone.items():
            yield from _told(where, points, self.values[where])
        yield "no setting differs" if self.settings.empty else "settings that differ:"
        yield from [] if self.settings.empty else [self.settings]
        changed = self.statuses.query("here != there")
        yield "no status differs" if changed.empty else "statuses that differ:"
        yield from [] if changed.empty else [changed]
        columns = self.differences.groupby("column", sort=False).agg({"rows": "sum", "missing": "sum", "worst": "max"})
        for name, count in columns.query("missing > 0")["missing"].items():
            yield f"only one of them has {name}: {count:,} rows"
        if equal := columns.query("rows > 0 and worst <= @EQUAL").index.tolist():
            yield f"equal to 14 digits: {', '.join(equal)}"
        unequal = columns.query("worst > @EQUAL").index.tolist()
        if unequal:
            yield "relative differences:"
            shown = self.differences.loc[self.differences["column"].isin(unequal)]
            yield shown.assign(**{name: shown[name].map(_in_two_digits) for name in ("median", "p99", "worst")})
        yield f"worst relative difference between the two: {'none' if self.worst is None else f'{self.worst:.2e}'}"

    def facts(self) -> dict[str, Any]:
        """The same for JSON; of the points that only one run has, their number, and the first few."""
        facts: dict[str, Any] = {"here": str(self.here.path), "there": str(self.there.path), "points": self.points}
        for where, points in self._alone.items():
            others = for_json(_others(points, self.values[where]).head(SHOWN))
            facts[f"only_{where}"] = {"points": len(points), "values": self.values[where], "others": others}
        facts |= {name: for_json(getattr(self, name)) for name in ("settings", "statuses", "differences")}
        return facts | {"worst_difference": self.worst}

    @property
    def _alone(self) -> dict[str, pd.DataFrame]:
        return {"here": self.only_here, "there": self.only_there}

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return "".join(
            f"<div>{html.escape(part)}</div>"
            if isinstance(part, str)
            else part.to_html(index=False, float_format=written)
            for part in self.parts()
        )


def comparison(here: Reader, there: Reader) -> Comparison:
    """Two runs of one system point by point: of two tolerances, devices or versions, say.

    Memory: some 200 bytes for each row of both runs, a file of each, and the points that only one of them has. Time:
    goes with the rows, and with the pairs of files that have some in common.

    Raises:
        SpecError: the runs are of different systems, conventions of time or parameters, or have no point in common.
    """
    _check(here, there)
    tallies, alone = [], (pd.DataFrame(), pd.DataFrame())
    for name in joining.tables_of(here):
        if name not in there.tables:
            continue
        sides = joining.Side(here, name), joining.Side(there, name)
        tally = Tally(here, there, name)
        for both in joining.pairs(*sides, tally.columns):
            tally.add(both)
        tallies.append(tally)
        if name == "points":
            alone = sides[0].alone(["status"]), sides[1].alone(["status"])
    values = _values(here, there) if any(map(len, alone)) else {"here": {}, "there": {}}
    count = tallies[0].rows
    if not count:
        raise SpecError(
            f"Two runs must have points in common to be compared, but {here.path} and {there.path} have none"
            f"{_apart(values)}; run the same axes with another `rtol` or `coordinate`."
        )
    statuses, differences = (_together(of(t) for t in tallies) for of in (Tally.statuses, Tally.differences))
    return Comparison(here, there, count, _settings(here, there), *alone, values, statuses, differences)


def _side_by_side(both: Both) -> pd.DataFrame:
    sides = ("_here", both.here), ("_there", both.there)
    columns = [side[[name]].add_suffix(suffix) for name in both.here for suffix, side in sides]
    return pd.concat([both.keys, *columns], axis=1)


def _check(here: Reader, there: Reader) -> None:
    systems = here.frozen["system"], there.frozen["system"]
    if systems[0] != systems[1]:
        raise SpecError(
            f"Two runs must be of one system to be compared, but {here.path} is of {systems[0]} and {there.path} of "
            f"{systems[1]}."
        )
    if here.time != there.time:
        raise SpecError(
            f"Two runs must have one convention of time to be compared, but {here.path} is in {here.time} time and "
            f"{there.path} in {there.time} time; run one of them with the other's `time`."
        )
    keys, others = here.manifest.keys, there.manifest.keys
    if set(keys) != set(others):
        raise SpecError(
            f"Two runs must have the same parameters to be compared, but {here.path} has {', '.join(keys)} and "
            f"{there.path} has {', '.join(others)}."
        )


def _together(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    first, *others = frames
    return pd.concat([first, *(frame for frame in others if len(frame))], ignore_index=True)


# --- settings ---------------------------------------------------------------------------------------------------------


def _settings(here: Reader, there: Reader) -> pd.DataFrame:
    """What differs in how the numbers were made; several values where rows of one run were made in several ways."""
    one, two = _made_by(here), _made_by(there)
    names = [name for name in dict.fromkeys([*one, *two]) if one.get(name) != two.get(name)]
    rows = [(name, *(", ".join(made[name]) if name in made else None for made in (one, two))) for name in names]
    return pd.DataFrame(rows, columns=["setting", "here", "there"])


def _made_by(store: Reader) -> dict[str, list[str]]:
    """Each setting, version and device, in words -> its values."""
    found: dict[str, set[str]] = {}
    steps = (tomllib.loads(text).get("solver", {}).get("max_steps") for text in store.specs().values())
    solver = [{"max_steps": Solver().max_steps if most is None else most} for most in steps]
    again = [dict(commit.claim.solver) for commit in store.log.commits()]
    noted = [{**facts, "argv": None, "precision": None} for facts in store.environments().values() if facts]
    for facts in (store.frozen, *({"solver": settings} for settings in (*solver, *again)), *noted):
        for name, value in _flat(facts):
            found.setdefault(name, set()).add(value)
    return {name: sorted(values) for name, values in found.items()}


def _flat(facts: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of nested facts, without those that are None: `solver.rtol`, `versions.jax`."""
    for name, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        elif value is not None:
            yield f"{before}{name}", str(value)


def _values(here: Reader, there: Reader) -> dict[str, dict[str, tuple]]:
    """The values of each parameter that only one of two runs has."""
    found: dict[str, dict[str, tuple]] = {"here": {}, "there": {}}
    one, two = here.overview().axes, there.overview().axes
    for key in here.manifest.keys:
        for where, mine, others in (("here", one, two), ("there", two, one)):
            if key in mine and key in others and (alone := _alone(mine[key], others[key])):
                found[where][key] = alone
    return found


def _alone(values: Values, others: Values) -> tuple:
    """Those of one parameter's values that are not among others, but for rounding; none where they are too many."""
    if values.distinct is None or others.distinct is None:
        return ()
    mine, theirs = sorted(values.distinct), sorted(others.distinct)
    if not isinstance(mine[0], float):
        return tuple(value for value in mine if value not in theirs)
    numbers = joining.numbered(np.array([*mine, *theirs]))
    known = set(numbers[len(mine) :].tolist())
    return tuple(value for value, number in zip(mine, numbers.tolist(), strict=False) if number not in known)


# --- printed ----------------------------------------------------------------------------------------------------------


def _told(where: str, points: pd.DataFrame, values: dict[str, tuple]) -> Iterator[str | pd.DataFrame]:
    """Which points only one run has: those of some values, and the first few of the others."""
    for name, alone in values.items():
        if count := len(points[points[name].isin(alone)]):
            yield f"only {where}: {count:,} points of {name} = {listed(alone, SHOWN)}"
    others = _others(points, values)
    if len(others):
        yield f"only {where}: {len(others):,} points of values that both have, such as:"
        yield others.head(SHOWN)


def _others(points: pd.DataFrame, values: dict[str, tuple]) -> pd.DataFrame:
    """The points that none of these values has."""
    explained = np.zeros(len(points), bool)
    for name, alone in values.items():
        explained |= points[name].isin(alone).to_numpy()
    return points.loc[~explained]


def _apart(values: dict[str, dict[str, tuple]]) -> str:
    """Which parameters keep two runs apart, for a message."""
    said = [
        f"{name} is {listed(alone, SHOWN)} in the one and {listed(values['there'][name], SHOWN)} in the other"
        for name, alone in values["here"].items()
        if name in values["there"]
    ]
    return f": {'; '.join(said)}" if said else ""


def _in_two_digits(difference: float) -> float:
    return float(f"{difference:.1e}")
