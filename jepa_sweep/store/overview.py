"""What a store holds in a few numbers, and how it prints itself."""

import html as markup
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from jepa_sweep.checks import size_of
from jepa_sweep.errors import on_one_line
from jepa_sweep.store import table
from jepa_sweep.store.location import Location
from jepa_sweep.store.manifest import Manifest
from jepa_sweep.store.schema import noun_of, unit_of_time
from jepa_sweep.store.table import Part, Question

MANY = 1000  # values of one parameter that are told apart
LISTED = 6  # that are printed one by one
DIGITS = 6  # significant ones, of a number that is printed
WORST = "relative_difference"


class Values(NamedTuple):
    """What stands in one column: its range, and the values themselves unless they are too many to tell apart."""

    low: Any
    high: Any
    distinct: frozenset[Any] | None

    def plus(self, other: "Values") -> "Values":
        """The values of two columns together."""
        distinct = None if self.distinct is None or other.distinct is None else self.distinct | other.distinct
        few = distinct is not None and len(distinct) <= MANY
        return Values(min(self.low, other.low), max(self.high, other.high), distinct if few else None)


class Overview(NamedTuple):
    """What a store holds: settings that all its rows share, and what was found in its committed chunks."""

    system: str
    method: str
    rtol: float | None
    precision: str
    time: str
    rows: dict[str, int]
    bytes: int
    axes: dict[str, Values]  # objective, parameters and p, of points and failures
    statuses: dict[str, int]  # of points and failures, most frequent first
    worst: float | None  # relative difference from the closed form; None where there is none

    def plus(self, other: "Overview") -> "Overview":
        """What two parts of one store hold together."""
        axes = {name: values.plus(self.axes.get(name, values)) for name, values in other.axes.items()}
        return self._replace(
            rows={name: count + other.rows[name] for name, count in self.rows.items()},
            bytes=self.bytes + other.bytes,
            axes=self.axes | axes,
            statuses=dict((Counter(self.statuses) + Counter(other.statuses)).most_common()),
            worst=max((worst for worst in (self.worst, other.worst) if worst is not None), default=None),
        )


def blank(manifest: Manifest) -> Overview:
    """The settings of a store, and nothing found yet."""
    frozen, solver = manifest.frozen, manifest.frozen.get("solver") or {}
    method, rtol = solver.get("method", "?"), solver.get("rtol")
    settings = frozen.get("system", "?"), method, rtol, manifest.precision, manifest.time
    return Overview(*settings, dict.fromkeys(manifest.tables, 0), 0, {}, {}, None)


def of_chunk(location: Location, manifest: Manifest, parts: Sequence[Part]) -> Overview:
    """What the files of one chunk hold; raises `IntegrityError` if one is damaged or missing."""
    found = nothing = blank(manifest)
    for part in parts:
        name, described = part.file.table, manifest.schema(part.file.table)
        found = found.plus(nothing._replace(rows=nothing.rows | {name: part.rows}, bytes=part.file.bytes))
        telling = (*manifest.keys, "status", WORST) if name in ("points", "failures") else (WORST,)
        columns = [column for column in telling if column in described.names]
        if not columns or not part.rows:
            continue
        # A column with one value, and the largest number of any, are told by the footer: most columns are not read.
        ends = table.ends(location, part, described, columns) if part.stands is None else {}
        known = {name: _single(high) for name, (low, high) in ends.items() if low == high}
        axes = {key: known[key] for key in manifest.keys if key in known}
        statuses = {known["status"].low: part.rows} if "status" in known else {}
        found = found.plus(nothing._replace(axes=axes, statuses=statuses, worst=ends.get(WORST, (None, None))[1]))
        unknown = [column for column in columns if column not in (ends if column == WORST else known)]
        for rows in table.pieces(location, part, described, Question(unknown), table.LARGE_BATCH) if unknown else ():
            axes = {key: _values(rows[key]) for key in manifest.keys if key in unknown and rows.num_rows}
            statuses = table.counted(rows["status"]) if "status" in unknown else {}
            worst = pc.call_function("max", [rows[WORST]]).as_py() if WORST in unknown else None
            found = found.plus(nothing._replace(axes=axes, statuses=statuses, worst=worst))
    return found._replace(axes={key: found.axes[key] for key in manifest.keys if key in found.axes})


def _single(value: Any) -> Values:
    return Values(value, value, frozenset([value]))


def _values(column: pa.ChunkedArray) -> Values:
    values = column.unique().sort()
    distinct = frozenset(values.to_pylist()) if len(values) <= MANY else None
    return Values(values[0].as_py(), values[-1].as_py(), distinct)


# --- printed ----------------------------------------------------------------------------------------------------------


def text(path: Path | str, held: Overview, problem: str = "") -> str:
    """A few aligned lines; `problem` says why they do not tell what is in the files."""
    pairs = _pairs(held)
    width = max((len(label) for label, _ in pairs), default=0)
    lines = [f"Store({str(path)!r}): {on_one_line(problem) or _size(held)}", f"  {_settings(held)}"]
    return "\n".join(lines + [f"  {label:{width}}  {value}" for label, value in pairs])


def html(path: Path | str, held: Overview, problem: str = "") -> str:
    """The same as a table without colours of its own, so that it suits light and dark pages."""
    left = 'style="text-align: left"'
    caption = f"<code>{markup.escape(str(path))}</code>: {markup.escape(problem or _size(held))}"
    rows = "".join(
        f'<tr><th scope="row" {left}>{markup.escape(label)}</th><td {left}>{markup.escape(value)}</td></tr>'
        for label, value in [("made by", _settings(held)), *_pairs(held)]
    )
    return f"<table><caption {left}>{caption}</caption><tbody>{rows}</tbody></table>"


def _size(held: Overview) -> str:
    return ", ".join([*(f"{count:,} {noun_of(name)}" for name, count in held.rows.items()), size_of(held.bytes)])


def _settings(held: Overview) -> str:
    tolerance = "" if held.rtol is None else f" at rtol {held.rtol:g}"
    time = "" if held.time == "own" else f", {unit_of_time(held.time)}"
    return on_one_line(f"{held.system}, {held.method}{tolerance}, {held.precision}{time}")


def _pairs(held: Overview) -> list[tuple[str, str]]:
    """Labels and what they say, each on one line whatever a stranger's store holds."""
    pairs = [(name, ranged(values)) for name, values in held.axes.items()]
    if held.statuses:
        pairs.append(("status", ", ".join(f"{status} {count:,}" for status, count in held.statuses.items())))
    if held.worst is not None:
        pairs.append(("difference", f"{held.worst:.1e} at worst, relative to the closed form"))
    return [(on_one_line(label), on_one_line(value)) for label, value in pairs]


def ranged(values: Values, most: int = LISTED) -> str:
    """What stands in a column: all values where they are words or at most so many, else their range and number."""
    ends = f"{written(values.low)} to {written(values.high)}"
    if values.distinct is None:
        return f"{ends} (more than {MANY:,} values)"
    if len(values.distinct) <= most or isinstance(values.low, str):
        return listed(sorted(values.distinct), len(values.distinct))
    return f"{ends} ({len(values.distinct):,} values)"


def listed(values: Sequence[Any], most: int = LISTED) -> str:
    """The first of the values, in the digits that are printed, or in all where these do not tell them apart."""
    texts = [written(value) for value in values[:most]]
    texts = texts if len({*texts}) == len(texts) else [repr(value) for value in values[:most]]
    more = len(values) - len(texts)
    return ", ".join(texts) + (f" and {more:,} more" if more else "")


def written(value: Any) -> str:
    """A value as it is printed, floats in six significant digits."""
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)
