"""Rows that a user asks for, from the command line and from Python, against pandas on the whole table."""

import math
import operator
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stores import LAM, ROWS, assert_same, made

import jepa_sweep as js
from jepa_sweep.analysis.query import matching
from jepa_sweep.layout import laid_out
from jepa_sweep.store import table


@pytest.fixture(scope="module")
def store():
    """Two chunks, one of rows in single precision."""
    halves = [{name: values[part] for name, values in ROWS.items()} for part in (slice(0, 2), slice(2, 6))]
    failed = {"objective": ["mae"], "lam": [0.5], "L": [3], "status": ["max_steps"], "steps": [10]}
    return made(halves, precision="float32", failures=[failed])


@pytest.fixture
def ask(store):
    """The numbers of rows of points that meet a condition, and what was warned."""
    place = {lam: row for row, lam in enumerate(LAM)}

    def call(*where):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            frame, count = matching(store.reader, "points", where, ["lam"], [], 0)
        assert len(frame) == count
        assert {warning.category for warning in told} <= {js.SpecWarning}
        return [place[lam] for lam in frame.lam], [str(warning.message) for warning in told]

    return call


SILENT = {  # a condition -> the rows that meet it
    "lam = 0.19307": [1],  # as it is printed
    "lam = 0.19306977288832497": [1],
    "lam = 1e-1": [0],
    "lam == .1": [0],
    "lam = 1": [4],
    "lam != 0.19307": [0, 2, 3, 4, 5],
    "lam in (0.1, 1.000, 10.3)": [0, 4, 5],
    "lam not in (0.1, 1.000, 10.3)": [1, 2, 3],
    "lam = 0.1 and lam < 5": [0],
    "lam > 0.1 and lam <= 1.0 and L = 2": [1, 2],
    "lam between 0.15 and 0.2 and objective = jepa": [2],
    "lam >= 0.19307 and lam <= 0.19307": [1],  # 0.193069..., which is printed so
    "lam between 0.19307 and 0.195 and L = 2": [1],
    "lam >= 0.19308 and lam < 0.195": [],
    "lam = 0.1 and lam = 1": [],
    "objective = JEPA": [0, 2, 4, 5],
    "objective != 'Mae'": [0, 2, 4, 5],
    "objective in (mae, JEPA)": [0, 1, 2, 3, 4, 5],
    "status not in (learned)": [2, 4],
    "L = 2.0": [1, 2],
    "L in (1, 8)": [0, 4, 5],
    "steps = 9007199254740993": [3],
    "steps > 9007199254740992": [3],
    "steps >= 2.5 and steps <= 9.5": [1, 2, 4],
    "steps > 8.5 and steps < 12.5": [2, 5],
    "steps < 1e30 and steps > -inf": [0, 1, 2, 3, 4, 5],
    "steps > 1e30": [],
    "steps <= -1e30": [],
    "steps < 3.5": [0, 1, 4],
    "t = 0": [4],
    "t = -3.25": [1],
    "t < 0": [1],
    "t = 1e300": [5],
    "t > 1e999": [],
    "t < inf": [0, 1, 3, 4, 5],
    "t is null": [2],
    "t is not null and w is not null": [0, 1, 4, 5],
    "t != 12.5": [1, 2, 3, 4, 5],  # a row that has none has no 12.5
    "t not in (12.5, 12.75)": [1, 2, 4, 5],
    "w = 0.1": [0, 4],  # in single precision
    "w = 0.10000000149011612": [0, 4],
    "w = -0.1": [5],
}


@pytest.mark.parametrize("where", SILENT)
def test_rows_that_meet_a_condition(ask, where):
    assert ask(where) == (SILENT[where], [])


TOLD = {  # a condition -> the rows that meet it, and what is said about it
    "lam = 0.193": ([1], ["`lam` = 0.193 is taken as 0.19307."]),
    "lam = 0.37": ([3], ["`lam` = 0.37 is taken as 0.372759."]),
    "lam != 0.37": ([0, 1, 2, 4, 5], ["`lam` = 0.37 is taken as 0.372759."]),
    "lam in (0.1, 0.7)": ([0], ["No row of points has `lam` = 0.7; the nearest are 0.372759 and 1."]),
    "t = 12.6": ([], ["No row of points has `t` = 12.6; the nearest are 12.5 and 12.75."]),
    "t = 12.7": ([3], ["`t` = 12.7 is taken as 12.75."]),
    "t = 13": ([0, 3], ["`t` = 13 is taken as 12.5, 12.75."]),  # halves are rounded up or down
    "t = 7": ([], ["No row of points has `t` = 7; the nearest are 0 and 12.5."]),
    "t != 7": ([0, 1, 2, 3, 4, 5], ["No row of points has `t` = 7; the nearest are 0 and 12.5."]),
    "lam != 11": ([0, 1, 2, 3, 4, 5], ["No row of points has `lam` = 11; the nearest is 10.3."]),
    "L != 2.5": ([0, 1, 2, 3, 4, 5], ["No row of points has `L` = 2.5; the nearest are 2 and 5."]),
    "lam not in (11, 1)": ([0, 1, 2, 3, 5], ["No row of points has `lam` = 11; the nearest is 10.3."]),
    "objective != jeppa": (
        [0, 1, 2, 3, 4, 5],
        ["No row of points has `objective` = 'jeppa'. Did you mean `jepa`?"],
    ),
    "t = -1e4": ([], ["No row of points has `t` = -1e4; the nearest is -3.25."]),
    "t = inf": ([], ["No row of points has `t` = inf; the nearest is 1e+300."]),
    "steps = 4": ([], ["No row of points has `steps` = 4; the nearest are 3 and 9."]),
    "steps = 2.5": ([], ["No row of points has `steps` = 2.5; the nearest are 0 and 3."]),
    "status = lerned": ([], ["No row of points has `status` = 'lerned'. Did you mean `learned`?"]),
    "status = xyz": (
        [],
        ["No row of points has `status` = 'xyz'. Known are: above_threshold, learned, not_reached."],
    ),
}


@pytest.mark.parametrize("where", TOLD)
def test_values_that_are_taken_for_others_are_told(ask, where):
    assert ask(where) == TOLD[where]


def test_several_values_that_read_alike_all_match():
    lam = [2.0000001, 2.0000002, 2.04, 2.1]
    store = made([{"lam": lam[:3]}, {"lam": lam[3:]}])
    with pytest.warns(js.SpecWarning, match=r"`lam` = 2.00000 is taken as 2.0000001, 2.0000002.\Z"):
        assert sorted(store.select(lam="2.00000").lam) == lam[:2]
    with pytest.warns(js.SpecWarning, match=r"`lam` = 2.0 is taken as 2.0000001, 2.0000002.\Z"):
        assert sorted(store.select(lam="2.0").lam) == lam[:2]  # printed alike, which is closer than reading alike
    many = made([{"lam": np.linspace(3.101, 3.109, 9)}])
    with pytest.warns(js.SpecWarning, match=r"as 3.101, 3.102, 3.103, 3.104, 3.105, 3.106 and 3 more.\Z"):
        assert len(many.select(lam="3.1")) == 9


REFUSED = {
    "lam = 10": "`lam` must be a value that the run has, but it is 10; the nearest are 1 and 10.3.",
    "lam = 0.2": "`lam` must be a value that the run has, but it is 0.2; the nearest are 0.19999 and 0.372759.",
    "lam = 11": "`lam` must be a value that the run has, but it is 11; the nearest is 10.3.",
    "lam in (11, 12)": "`lam` must be a value that the run has, but it is 11; the nearest is 10.3.",
    "lam = inf": "`lam` must be a value that the run has, but it is inf; the nearest is 10.3.",
    "L = 2.5": "`L` must be a value that the run has, but it is 2.5; the nearest are 2 and 3.",  # 3 failed
    "L = 1e30": "`L` must be a value that the run has, but it is 1e30; the nearest is 8.",
    "objective = JEPPA": "`objective` must be a value that the run has, but it is 'JEPPA'. Did you mean `jepa`?",
    "objective = 1": "`objective` must be a value that the run has, but it is '1'. Known are: jepa, mae.",
    "objective > jepa": "`objective` is text: a condition on it must use =, !=, in or is, but it uses >.",
    "lam > x": "`lam` is a number: a condition must compare it with one, but it is 'x'.",
    "lam = '1 000'": "`lam` is a number: a condition must compare it with one, but it is '1 000'.",
    "t = nan": "`t` is a number: a condition must compare it with one, but not with nan; try `is null`.",
    "t = null": "`t` is a number: a condition must compare it with one, but not with null; try `is null`.",
    "t > NaN": "`t` is a number: a condition must compare it with one, but not with NaN; try `is null`.",
    "lamda = 1": "`lamda` is not a column of points. Did you mean `lam`?",
}


@pytest.mark.parametrize("where", REFUSED)
def test_values_that_the_run_does_not_have_are_refused(ask, where):
    with pytest.raises(js.SpecError) as refused:
        ask(where)
    assert str(refused.value) == REFUSED[where]


def test_a_value_that_the_run_has_elsewhere_is_none_to_refuse(store):
    """No point of depth 3 was finished, and none of jepa failed."""
    with pytest.warns(js.SpecWarning, match=r"No row of points has `L` = 3; the nearest are 2 and 5.\Z"):
        assert store.select(L=3).empty
    with pytest.warns(js.SpecWarning, match=r"No row of failures has `objective` = 'JEPA'. Known are: mae.\Z"):
        assert store.select("failures", objective="JEPA").empty
    with pytest.raises(js.SpecError, match=r"but it is 4; the nearest are 3 and 5.\Z"):
        store.select("failures", L=4)


def test_a_run_without_rows_has_no_rows_of_any_value():
    empty = made([])
    assert empty.select(lam=3, objective="jepa", status="learned").empty


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        ({"lam": 0.19307}, [1]),
        ({"lam": np.float64(0.1)}, [0]),
        ({"lam": np.float32(0.1)}, [0]),  # as short as its own precision
        ({"lam": np.array(10.3)}, [5]),
        ({"lam": 1, "L": np.int64(8)}, [4]),
        ({"L": 2.0}, [1, 2]),
        ({"objective": "MAE"}, [1, 3]),
        ({"lam": "0.1"}, [0]),
        ({}, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_the_same_from_python(store, given, rows):
    whole = store.points()
    assert_same(store.select(**given), whole[whole.lam.isin([LAM[row] for row in rows])].reset_index(drop=True))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (True, "`lam` must be one number or one text, but it is True"),
        ([1, 2], "`lam` must be one number or one text, but it is a list"),
        (math.nan, "not with nan; try `is null`"),
        (1 << 20000, "but it is 'a whole number of 20,001 bits'"),
        (10.0, r"but it is 10; the nearest are 1 and 10.3.\Z"),  # Python cannot tell 10.0 from 10.00
    ],
    ids=["bool", "list", "nan", "huge", "round"],
)
def test_what_is_no_value_is_refused_from_python(store, value, message):
    with pytest.raises(js.SpecError, match=message):
        store.select(lam=value)


TOP = float(np.float32(1e38))  # times 1.000001 it is still a number in single precision
VALUES = st.floats(-TOP, TOP, width=32, allow_subnormal=False) | st.sampled_from([0.1, 1.0, 1 / 3, 2 / 3, 1e-5])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(VALUES, min_size=1, max_size=6).flatmap(
        lambda lam: st.tuples(st.just(lam), st.lists(st.floats(-1e-6, 1e-6), min_size=len(lam), max_size=len(lam)))
    ),
    st.sampled_from(["float32", "float64"]),
)
def test_what_is_printed_can_be_typed_back(drawn, precision):
    """Every value of a column selects rows that have it, as the command prints it in any form.

    But for one that is printed like another value, which is exactly what is typed.
    """
    values = [value * (1 + off) for value, off in zip(*drawn, strict=True)]
    values = np.array(values, precision).astype(float).tolist()
    store = made([{"lam": values, "w": values}], precision=precision)
    whole = store.points()
    for form in ("text", "csv"):
        lines = laid_out(whole[["lam", "w"]], form).splitlines()[1:]
        for row, line in enumerate(lines):
            typed = dict(zip(("lam", "w"), line.replace(",", " ").split(), strict=True))
            for column, text in typed.items():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", js.SpecWarning)  # where several are printed alike
                    found, _ = matching(store.reader, "points", [f"{column} = {text}"], [], [], 0)
                mine = whole[column][row]
                assert mine in {*found[column]} or all(np.isclose(found[column], float(text), rtol=1e-7, atol=0))
                assert len(found)


SIGNS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq, "!=": operator.ne}
NUMBERS = st.sampled_from([value for name in ("lam", "t") for value in ROWS[name] if value is not None])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["lam", "t"]), st.sampled_from(sorted(SIGNS)), NUMBERS), max_size=4))
def test_conditions_are_those_of_pandas(store, conditions):
    kept = [(name, sign, value) for name, sign, value in conditions if sign not in ("=", "!=") or value in ROWS[name]]
    whole = store.points()
    mask = np.logical_and.reduce([np.full(len(whole), True), *(SIGNS[s](whole[n], v) for n, s, v in kept)])
    found, count = matching(store.reader, "points", [f"{n} {s} {v!r}" for n, s, v in kept], [], [], 0)
    assert count == mask.sum()
    assert_same(found, whole[mask].reset_index(drop=True))


@pytest.fixture(scope="module")
def tied():
    """Small files whose rows are told apart by their depth alone; one without rows, one without a time."""
    rng = np.random.default_rng(0)
    sizes = [3, 1, 4, 2, 5]
    starts = np.cumsum(sizes) - sizes
    return made(
        [
            {
                "L": range(start, start + size),
                "lam": rng.choice([1.0, 2.0], size),
                "objective": rng.choice(["jepa", "mae"], size),
                "t": rng.choice([None, 1.0, 2.0], size).tolist() if number else [None] * size,
            }
            for number, (start, size) in enumerate(zip(starts.tolist(), sizes, strict=True))
        ],
        failures=[{"lam": [1.0]}],
    )


KEYS = st.lists(st.sampled_from(["lam", "-lam", "t", "-t", "objective", "-objective"]), max_size=3)


@settings(max_examples=60, deadline=None)
@given(KEYS, st.integers(1, 20), st.sampled_from([None, "lam > 1.5", "t is null", "objective = mae"]))
def test_the_first_rows_are_those_of_the_whole_table(tied, sort, limit, where):
    whole, _ = matching(tied.reader, "points", [where] if where else [], [], [], 0)
    expected = whole
    for key in reversed(sort):  # the first counts most, so it comes last
        expected = expected.sort_values(key.removeprefix("-"), ascending=not key.startswith("-"), kind="stable")
    found, count = matching(tied.reader, "points", [where] if where else [], [], sort, limit)
    assert count == len(whole)
    assert_same(found, expected.head(limit).reset_index(drop=True))


@pytest.fixture
def read(monkeypatch):
    """The files of which more than the footer is read."""
    seen, load = [], table.load

    def noted(location, file):
        seen.append(file.path)
        return load(location, file)

    monkeypatch.setattr(table, "load", noted)
    return seen


def test_only_files_that_may_hold_a_value_are_read(read):
    """Every file has a range of lam of its own, and all have the same depth."""
    store = made([{"lam": [i + 0.25, i + 0.5], "L": [1, 2]} for i in range(1, 41)])
    assert len(store.select(lam=7.25)) == 1
    assert read == ["points/000007.parquet"] * 2  # once to see that it is there, once for the rows
    read.clear()
    with pytest.raises(js.SpecError, match=r"but it is 7.4; the nearest are 7.25 and 7.5.\Z"):
        store.select(lam=7.4)
    assert set(read) == {"points/000007.parquet"}
    read.clear()
    assert len(store.select(L=2)) == 40
    assert len(read) == 40 + 8  # the first files have it


def test_a_few_rows_need_no_more_files_than_they_stand_in(read):
    store = made([{"lam": [i + 0.25, i + 0.5]} for i in range(1, 41)])
    found, count = matching(store.reader, "points", [], ["lam"], [], 3)
    assert (found.lam.tolist(), count) == ([1.25, 1.5, 2.25], 80)
    assert read == ["points/000001.parquet", "points/000002.parquet"]


def test_memory_does_not_grow_with_the_table(monkeypatch):
    store, whole = made([{"lam": [float(i)] * 3} for i in range(1, 41)]), []
    concat = pd.concat
    monkeypatch.setattr(
        pd, "concat", lambda frames, **how: whole.append(sum(map(len, frames))) or concat(frames, **how)
    )
    found, count = matching(store.reader, "points", [], ["lam"], ["-lam"], 2)
    assert (found.lam.tolist(), count) == ([40.0, 40.0], 120)
    assert max(whole) <= 2 * 2 + 3


def test_a_condition_on_text_looks_no_further_than_it_must(read):
    store = made([{"objective": ["jepa", "mae"]} for _ in range(20)])
    assert len(store.select(objective="mae")) == 20
    assert len(read) == 20 + 8
