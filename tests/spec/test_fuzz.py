"""Documents and texts of every kind keep the promise about specs.

`JEPA_SWEEP_FUZZ=50000 pytest tests/spec/test_fuzz.py` draws that many of each, other ones every time.
"""

import copy
import datetime
import os
import tomllib

import pytest
import tomli_w
from conftest import ROOT, TINY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from promise import assert_readable, assert_sweep_or_message

import jepa_sweep as js
from jepa_sweep.spec import models
from jepa_sweep.systems.registry import BUILT_IN

ASKED = os.environ.get("JEPA_SWEEP_FUZZ")
fuzz = settings(
    max_examples=int(ASKED or 500),
    derandomize=not ASKED,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

# --- documents, and what may become of them -------------------------------------------------------------------------

RANGES = {"lam": {"geom": [0.1, 10.0], "num": 3}, "rho": {"linear": [0.1, 1.0], "num": 4}, "L": [1, 2, 5], "eps": 1e-3}
FREE = {"lam": {"geom": [0.1, 10.0]}, "rho": {"linear": [0.1, 1.0]}, "L": [1, 2, 5], "eps": [1e-4, 1e-3]}
ROWS = [{"lam": 1.0, "rho": 0.5, "L": 2, "eps": 1e-3}, {"lam": 2.0, "rho": 0.25, "L": 1, "eps": 1e-4}]
NETS = {
    "features": 3,
    "L": [1, 2],
    "t_end": 2.0,
    "layout": ["same", "opposite"],
    "lam_high": {"linear": [1, 2], "num": 2},
}
SERIES = {"log10_T": {"linear": [3, 4], "num": 3}, "features": [2, 3], "seed": [0, 1]}
ZIPPED = {"combine": "zip", "axes": {"lam": [1.0, 2.0, 3.0], "rho": 0.5, "L": [2, 1, 2], "eps": 1e-3}}
SAMPLED = {"p": [0.5, 0.9], "trajectories": {"samples": 4, "until": 1.5}}
BASES = [
    TINY,
    {"name": "x", "objective": ["jepa"], "axes": RANGES, "measure": SAMPLED, "solver": {"rtol": 1e-6, "time": "flow"}},
    {"name": "x", **ZIPPED},
    {"name": "x", "combine": "sobol", "num": 5, "seed": 3, "axes": FREE},
    {"name": "x", "axes": {**FREE, "combine": "sobol", "num": 4}},
    {"name": "x", "combine": "points", "points": ROWS, "solver": {"method": "exact"}},
    {"name": "x", "block": [{"axes": RANGES}, ZIPPED, {"combine": "points", "points": ROWS}]},
    {"name": "x", "axes": {"lam": [-1.0, 1.0], "rho": 0.5, "L": 1, "eps": [0.1, 2.0]}, "measure": {"p": [0.5, 1.5]}},
    {"name": "x", "system": "network", "objective": "ema", "axes": NETS, "measure": {"trajectories": {"samples": 3}}},
    {"name": "x", "system": "training", "axes": {**NETS, "eta": [0.1, 0.2], "batch": 4, "activation": "relu"}},
    {"name": "x", "system": "training", "combine": "sobol", "num": 5, "axes": {**NETS, "lam_high": {"geom": [1, 2]}}},
    {"name": "x", "system": "training", "combine": "points", "points": [{"L": 1, "t_end": 2, "seed": 1}]},
    {"name": "x", "system": "temporal", "axes": SERIES},
    {"name": "x", "system": "temporal", "combine": "zip", "axes": {**SERIES, "seed": [1, 2, 3], "features": 2}},
    *(tomllib.loads(path.read_text()) for path in sorted((ROOT / "sweeps").glob("*.toml"))),
]  # fmt: skip

PARAMETERS = sorted({q.name for system in BUILT_IN.values() for q in system.parameters})
TOP = ["name", "system", "objective", "block", "measure", "solver", "axes", "combine", "num", "seed", "points"]
INNER = ["p", "trajectories", "samples", "until", "method", "rtol", "precision", "time", "coordinate", "max_steps"]
KEYS = [
    *TOP,
    *INNER,
    *PARAMETERS,
    "linear",
    "geom",
    "range",
    "values",
    "self",
    "lambda",
    "L ",
    "",
    "\u200b",
    "a\x1b[31m",
]
WORDS = ["product", "zip", "sobol", "points", "exact", "dopri8", "kvaerno5", "clenshaw_curtis", "tsit5", "sgd", "adam",
         "blocks", "float32", "float64", "paper", "flow", "chi", "w", "log_w", "jepa", "mae", "ema", "nosg", "moments",
         *BUILT_IN, "gaussian", "temporal", "masked", "aligned", "same", "crossed", "linear", "relu", "..", "a/b",
         "x\n",
         "\x00", "\x1b]0;x\x07", "\u202e", "1", "nan", "x" * 5000, "\u00e9t\u00e9", "a\u200db"]  # fmt: skip
EDGES = [0, 1, 2, 3, -1, 5, 64, 65, 1000, 20_000, 10**9, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30,
         10**308, 10**400, -(10**400), 0.0, -0.0, 0.5, 1.0, 1.5, 1 - 2**-53, 1 + 2**-52, 0.9999999999999999, 1e-3, 1e3,
         1e300, 1e-300, 1e308, -1e308, 2.2250738585072014e-308, 1e-310, 5e-324, float("inf"), -float("inf"),
         float("nan"), 1e-200, 1e-16, 0.1, 100_000, 100_001, 1e16]  # fmt: skip
DATES = [datetime.date(1979, 5, 27), datetime.time(7, 32), datetime.datetime(1979, 5, 27, 7, 32, tzinfo=datetime.UTC)]

numbers = st.one_of(st.sampled_from(EDGES), st.integers(), st.floats(), st.floats(0, 2), st.integers(0, 100))
scalars = st.one_of(
    numbers,
    numbers,
    st.booleans(),
    st.sampled_from(WORDS),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.sampled_from(DATES),
)
ends = st.lists(numbers, min_size=1, max_size=3) | st.tuples(numbers, numbers).map(list)
ranges = st.fixed_dictionaries(
    {}, optional={"linear": ends, "geom": ends, "num": st.sampled_from([1, 2, 3, 1000, 20_000, 1e3]) | scalars}
)
lists = st.lists(scalars, max_size=4) | st.lists(numbers, max_size=40) | st.lists(st.floats(0.01, 1), max_size=6)
long_lists = st.sampled_from(
    [[0.5] * 3000, list(range(1, 3000)), [1, 2] * 1500, [[]] * 2000, ["x"] * 2000, [{}] * 1500]
)
keys = st.sampled_from(KEYS) | st.text(st.characters(codec="utf-8"), max_size=8)
nested = st.recursive(
    scalars, lambda some: st.lists(some, max_size=3) | st.dictionaries(keys, some, max_size=3), max_leaves=8
)
anything = st.one_of(scalars, lists, long_lists, ranges, nested).map(copy.deepcopy)  # later changes reach inside


def places(value, path=()):
    """The key paths of everything inside a document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(inside)[:40]:
        yield (*path, key)
        yield from places(inner, (*path, key))


def owner_of(document, path):
    for key in path[:-1]:
        document = document[key]
    return document


@st.composite
def documents(draw):
    """A document that can be run, after some changes: few, so that most get past the first checks."""
    document = copy.deepcopy(draw(st.sampled_from(BASES)))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 2, 3, 5, 0]))):
        known = list(places(document))
        if not known:
            break
        path = draw(st.sampled_from(known))
        owner, key = owner_of(document, path), path[-1]
        change = draw(st.sampled_from(["number", "range", "value", "number", "drop", "key", "add", "repeat", "other"]))
        match change:
            case "value":
                owner[key] = draw(anything)
            case "number":
                owner[key] = draw(numbers)
            case "range":
                owner[key] = draw(ranges.map(copy.deepcopy))
            case "drop":
                del owner[key]
            case "key" if isinstance(owner, dict):
                owner[draw(keys)] = owner.pop(key)
            case "add" if isinstance(owner, dict):
                owner[draw(keys)] = draw(anything)
            case "repeat":
                owner[key] = [copy.deepcopy(owner[key]) for _ in range(draw(st.integers(0, 5)))]
            case "other":
                there = draw(st.sampled_from(known))
                owner[key] = copy.deepcopy(owner_of(document, there)[there[-1]])
    return document


@st.composite
def garbled(draw):
    """The text of a document with lines and characters lost, repeated or put in."""
    text = tomli_w.dumps(draw(st.sampled_from(BASES)))
    for _ in range(draw(st.integers(1, 3))):
        a, b = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
        piece = draw(st.sampled_from(["", "\n", "=", "[", "]", "[[", "{", '"', "'''", ".", ",", "\\u0000", "\x00", "\r",
                                      "\ufeff", "1979-05-27", "0x" + "f" * 5000, "9" * 5000, "[" * 500, "inf", "\\"])
                     | st.text(st.characters(codec="utf-8"), max_size=10))  # fmt: skip
        b = min(b, a + draw(st.sampled_from([0, 1, 10, len(text)])))
        text = draw(st.sampled_from([text[:a] + piece + text[b:], text[:b] + text[a:b] + text[b:]]))
    return text


# --- the promise, over all of them ----------------------------------------------------------------------------------


@pytest.mark.long
@fuzz
@given(documents())
def test_any_document_is_a_sweep_or_a_message(document):
    assert_sweep_or_message(tomli_w.dumps(document))


@pytest.mark.long
@fuzz
@given(garbled() | st.text(st.characters(codec="utf-8"), max_size=60))
def test_any_text_is_a_sweep_or_a_message(text):
    assert_sweep_or_message(text)


@pytest.mark.long
@fuzz
@given(st.binary(max_size=60) | documents().map(lambda document: tomli_w.dumps(document).encode("utf-16")))
def test_any_bytes_are_a_text_or_a_message(tmp_path, content):
    (tmp_path / "any.toml").write_bytes(content)
    try:
        text = models.read_spec(tmp_path / "any.toml")
    except js.SpecError as error:
        assert_readable(str(error))
    else:
        assert_sweep_or_message(text)
