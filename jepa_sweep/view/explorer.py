"""One offline HTML page of a store: heat maps over any two axes, trajectories, statuses, provenance.

The page is one file that loads nothing else: styles, scripts, plotly and the numbers are in it. The numbers are bytes
of typed arrays, so that the page shows what the tables hold, to the last bit. Its scripts are in `page/`; `thinning`
chooses its rows.
"""

import base64
import hashlib
import html
import importlib.resources
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from jepa_sweep import output
from jepa_sweep.errors import SpecError, escaped
from jepa_sweep.physics.host import SENTENCES, Status
from jepa_sweep.store.reader import Reader
from jepa_sweep.store.schema import noun_of
from jepa_sweep.systems.system import Curves
from jepa_sweep.view import thinning
from jepa_sweep.view.thinning import Axis, Selection

ROWS = 150_000  # of the table whose rows are cells
SCATTERED = 10_000  # of them where they form no grid: markers cost a browser more than cells
SAMPLES = 200_000  # of trajectories; more than a single one can have
FAILURES = 300  # listed one by one

_SCRIPTS = ("data.js", "numbers.js", "view.js", "map.js", "pointer.js", "path.js", "code.js", "panels.js", "main.js")


def write(store: Reader, curves: Curves, path: str | Path) -> Path:
    """Write the page of a store; the file appears whole or not at all.

    Args:
        store: What to show.
        curves: Which tables and columns to show, from its system.
        path: The HTML file; replaced if it is there. Must lie outside the run directory.

    Returns:
        The path written.

    Raises:
        SpecError: plotly is not installed, or the file would lie inside the store.
        IntegrityError: a file of the store is damaged.
        StorageError: the file cannot be written.
    """
    target = output.place(path)
    if isinstance(store.path, Path) and target.resolve().is_relative_to(store.path.resolve()):
        raise SpecError(f"The page must lie outside the run directory {store.path}, but {target} was given.")
    return output.write(target, render(store, curves).encode())


def render(store: Reader, curves: Curves) -> str:
    """The page of a store as text, named like the run directory; arguments and errors as `write`."""
    page = importlib.resources.files("jepa_sweep.view") / "page"
    scripts = [_plotly(), "\n".join((page / part).read_text("utf-8") for part in _SCRIPTS)]
    # With the hashes of the scripts in the policy, no other script runs; with no source at all, nothing is requested.
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    parts = {
        "title": html.escape(escaped(store.title)),
        "policy": f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:",
        "style": (page / "page.css").read_text("utf-8"),
        # In JSON every < may be written as its escape, so that no text ends the block it stands in.
        "data": json.dumps(payload(store, curves)).replace("<", "\\u003c"),
        "plotly": scripts[0],
        "script": scripts[1],
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda m: parts[m[1]], (page / "page.html").read_text("utf-8"))


def payload(store: Reader, curves: Curves) -> dict[str, Any]:
    """The data of the page, as JSON takes it."""
    described = store.schema(curves.table)
    parameters = [c.name for c in store.parameters]
    keys = ["objective", *parameters, *curves.keys]
    total = store.rows(curves.table)
    numbers = [*dict.fromkeys(c for pair in curves.pairs for c in pair[1:] if c), *curves.also]
    words = [c for c in ("status",) if c in described.names]
    frame, selection = thinning.choose_rows(store, curves.table, keys, [*words, *numbers], ROWS, SCATTERED)
    statuses = thinning.ordered(frame["status"]) if words else ()
    return {
        "name": escaped(store.title),
        "path": _literal(str(store.path)),
        "table": curves.table,
        "time": store.time,
        "pairs": [pair._asdict() for pair in curves.pairs],
        "also": curves.also,
        "crossing": curves.crossing,
        "columns": {c: _notes(described.field(c)) for c in described.names},
        "axes": [_axis(axis) for axis in selection.axes],
        "scattered": sorted(selection.scattered),
        "count": len(frame),
        "total": total,
        "thinned": [axis.name for axis in selection.axes if axis.stride > 1],
        "step": selection.step,
        "sentence": selection.sentence(len(frame), total, curves.noun),
        "codes": {a.name: _packed(_codes(frame[a.name], a.shown)) for a in selection.axes},
        "values": {c: _packed(_floats(frame[c])) for c in numbers},
        "statuses": statuses,
        "status": _packed(_codes(frame["status"], statuses)) if words else None,
        "trajectories": _samples(store, "trajectories", curves.lines, frame, selection, [k for k in keys if k != "p"]),
        "losses": _samples(store, "losses", ("loss",), frame, selection, ["objective", *parameters]),
        "census": _census(store),
        "failures": _failures(store),
        "provenance": _provenance(store),
    }


def _axis(axis: Axis) -> dict[str, Any]:
    """An axis with its values as Python writes them: text that both pandas and a browser read exactly."""
    shown = [v if axis.words or v is None else repr(v) for v in axis.shown]
    return {"name": axis.name, "words": axis.words, "values": shown}


def _samples(
    store: Reader, name: str, lines: tuple[str, ...], frame: pd.DataFrame, selection: Selection, keys: list[str]
) -> dict[str, Any] | None:
    """Samples over time: for each row of the page the number of its curve, and where each curve begins."""
    if name not in store.tables or not lines:
        return None
    total, columns = store.rows(name), ("t", *lines)
    points = frame[keys].drop_duplicates()
    points = points.assign(row=np.arange(len(points)))
    found, thin = thinning.choose_samples(store, name, columns, points, selection, SAMPLES)
    curves, begins = np.unique(found["row"].to_numpy(np.int64), return_index=True)
    number = pd.Series(np.arange(len(curves)), curves).reindex(frame[keys].merge(points, on=keys, how="left")["row"])
    return {
        "lines": lines,
        "keys": keys,
        "sentence": thin.sentence(len(found), total, noun_of(name)),
        "thinned": len(found) < total,
        "columns": {c: _notes(store.schema(name).field(c)) for c in columns},
        "curve": _packed(number.fillna(-1).to_numpy(np.int32)),
        "begins": _packed(np.append(begins, len(found)).astype(np.uint32)),
        "values": {c: _packed(_floats(found[c])) for c in columns},
    }


def _census(store: Reader) -> list[dict[str, Any]]:
    """How many rows of each table have which status, counted over the whole store, with the sentence of each."""
    sentences = {status.label: SENTENCES[status] for status in Status}
    return [
        {"table": name, "status": label, "count": count, "meaning": sentences.get(label, "")}
        for name in store.tables
        if "status" in store.schema(name).names
        for label, count in store.counts(name, "status").items()
    ]


def _failures(store: Reader) -> dict[str, Any]:
    """The first failed points as text, and how many there are in all."""
    frames = []
    for frame in store.batches("failures"):
        frames.append(frame)
        if sum(map(len, frames)) >= FAILURES:
            break
    frame = pd.concat([f for f in frames if len(f)] or frames)
    telling = ("objective", "status", "message")
    columns = [c for c in frame.columns if c in telling or len(pd.unique(np.asarray(frame[c]))) > 1]
    shown = frame.head(FAILURES)[columns]
    lines = [["" if pd.isna(v) else str(v) for v in row] for row in shown.itertuples(index=False)]
    return {"total": store.rows("failures"), "columns": columns, "rows": lines}


def _provenance(store: Reader) -> dict[str, Any]:
    """What decided the numbers, where they were made, and the specs that asked for them.

    Environments come in the order of how many rows they made; the note of one may be damaged.
    """
    commits, noted = store.log.commits(), store.environments()
    made: Counter[str] = Counter()
    for commit in commits:
        made[commit.environment] += commit.rows("points") + commit.rows("failures")
    return {
        "settings": store.frozen,
        "environments": [noted.get(name) or {"damaged": f"{name}.json"} for name, _ in made.most_common()],
        "specs": list(store.specs().values()),
        "first": min((c.created for c in commits), default=None),
        "last": max((c.created for c in commits), default=None),
        "commits": len(commits),
        "rows": {noun_of(name): store.rows(name) for name in store.tables},
        "bytes": sum(c.bytes for c in commits),
    }


def _notes(field: pa.Field) -> dict[str, str]:
    """Unit, meaning and equation of a column."""
    return {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}


def _codes(values: pd.Series, shown: tuple[Any, ...]) -> np.ndarray:
    """The place of each value among those of its axis."""
    there = [v for v in shown if v is not None]
    places = pd.Index(there).get_indexer(pd.Index(values)) if there else np.full(len(values), -1)
    codes = np.where(places < 0, len(there), places)
    return codes.astype(np.min_scalar_type(max(len(shown) - 1, 0)))


def _floats(values: pd.Series) -> np.ndarray:
    """Numbers as float32 if they are stored so, else as float64."""
    return values.to_numpy(np.float32 if values.dtype == np.float32 else np.float64)


def _packed(values: np.ndarray) -> dict[str, str]:
    """The bytes of an array, the least significant first."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return {"type": f"{values.dtype.kind}{values.dtype.itemsize}", "data": base64.b64encode(little.tobytes()).decode()}


def _literal(path: str) -> str:
    """A path as a Python literal, all of it escaped where some must be."""
    return json.dumps(path, ensure_ascii=escaped(path) != path)


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise SpecError(
            "The explorer page needs plotly, which is not installed; run `pip install 'jepa_sweep[report]'`."
        ) from error
    script = get_plotlyjs().replace("\r\n", "\n")
    assert "</script" not in script.lower(), "this plotly.js ends the block it is put into"
    return script
