"""The forms in which tables are printed."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_sweep.layout import FORMS, laid_out

FRAME = pd.DataFrame(
    {
        "objective": ["jepa", "mae"],
        "t_exact": [1 / 3, np.nan],
        "L": [2, 10],
        "note": ["50% of a_b | c", None],
        "w": np.array([0.1, 1e10], "float32"),
    }
)


def test_text_has_six_digits_and_words_on_the_left():
    assert laid_out(FRAME, "text").splitlines() == [
        "objective   t_exact   L  note                w",
        "jepa       0.333333   2  50% of a_b | c    0.1",
        "mae             NaN  10  NaN             1e+10",
    ]


def test_csv_and_json_have_all_digits():
    assert laid_out(FRAME, "csv").splitlines() == [
        "objective,t_exact,L,note,w",
        "jepa,0.3333333333333333,2,50% of a_b | c,0.1",
        "mae,,10,,1e+10",
    ]
    told = json.loads(laid_out(FRAME, "json"), parse_constant=pytest.fail)
    assert told[0] == {"objective": "jepa", "t_exact": 1 / 3, "L": 2, "note": "50% of a_b | c", "w": pytest.approx(0.1)}
    assert told[1] == {"objective": "mae", "t_exact": None, "L": 10, "note": None, "w": 1e10}


def test_json_takes_what_a_query_may_return():
    frame = pd.DataFrame(
        {"list": [np.array([1, 2])], "day": [pd.Timestamp("2026-01-02")], "some": [{"a": np.int64(1)}]}
    )
    assert json.loads(laid_out(frame, "json")) == [{"list": [1, 2], "day": "2026-01-02 00:00:00", "some": {"a": 1}}]


def test_markdown_has_a_bar_between_columns_alone():
    head, rule, first, second = laid_out(FRAME, "markdown").splitlines()
    assert [cell.strip() for cell in re.split(r"(?<!\\)\|", first)[1:-1]] == [
        "jepa", "0.333333", "2", r"50% of a_b \| c", "0.1"
    ]  # fmt: skip
    assert [cell[:1] + cell[-1:] for cell in rule.split("|")[1:-1]] == [":-", "-:", "-:", ":-", "-:"]
    assert {len(re.split(r"(?<!\\)\|", line)) for line in (head, rule, first, second)} == {7}


def test_markdown_has_a_line_for_each_row():
    lines = laid_out(pd.DataFrame({"a|b": ["one\ntwo", "c|d"]}), "markdown").splitlines()
    assert [line.strip("| ").replace("  ", "") for line in lines[::2] + lines[3:]] == [r"a\|b", r"one\ntwo", r"c\|d"]


def test_an_end_of_line_in_a_cell_or_name_makes_no_line():
    """Else a stranger's table could show rows that it does not have."""
    told = laid_out(pd.DataFrame({"a\nb": ["one\ntwo\tthree", "four"]}), "text")
    assert told.splitlines() == [r"a\nb", r"one\ntwo\tthree", "four"]


def test_latex_is_escaped_and_has_booktabs():
    lines = laid_out(FRAME, "latex").splitlines()
    assert lines[0] == r"\begin{tabular}{lrrlr}"
    assert [line for line in lines if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert r"t\_exact" in lines[2]
    assert r"50\% of a\_b | c" in lines[4]


@pytest.mark.parametrize("form", FORMS)
def test_a_table_without_rows_has_its_columns(form):
    written = laid_out(FRAME.head(0), form)
    assert (written == "[]") if form == "json" else all(name in written.replace("\\", "") for name in FRAME)
    assert laid_out(FRAME.head(0), form, 10)


# --- on a terminal ----------------------------------------------------------------------------------------------------

COUNT = 6
WIDE = pd.DataFrame(
    {
        "objective": ["jepa"] * COUNT,
        "lam": np.geomspace(0.1, 10, COUNT),
        "L": [5] * COUNT,
        "eps": [1e-4, 1e-3] * (COUNT // 2),
        **{f"column_{number}": np.linspace(number, number + 1, COUNT) for number in range(11)},
        "message": [f"The point {number} did not end: raise `max_steps`, or loosen `rtol`." for number in range(COUNT)],
    }
)
KEYS = ["objective", "lam", "L", "eps"]


def test_a_table_that_fits_is_as_it_is_in_a_file():
    assert laid_out(FRAME, "text", 46) == laid_out(FRAME, "text")


def test_what_is_the_same_in_all_rows_is_said_once():
    assert laid_out(WIDE[KEYS], "text", 20).splitlines()[:4] == [
        "objective = jepa, L", "= 5", "", "     lam     eps"
    ]  # fmt: skip
    assert "L = 5" not in laid_out(WIDE[KEYS].head(1), "text", 20)  # of one row all is the same
    nearly = WIDE[["objective", "lam"]].assign(t=1.0 + 1e-9 * np.arange(COUNT))
    assert "t = 1" not in laid_out(nearly, "text", 15)  # though it is printed the same


@pytest.mark.parametrize("width", [40, 80, 100])
def test_a_table_is_folded_and_each_part_has_the_keys(width):
    told, *parts = laid_out(WIDE, "text", width, KEYS).split("\n\n")
    assert told == "objective = jepa, L = 5"
    assert max(len(line) for part in parts for line in part.splitlines()) <= width
    shown = []
    for part in parts:
        head = part.splitlines()[0].split()
        assert head[:2] == ["lam", "eps"]
        shown += head[2:]
        if "message" not in head:
            cells = pd.read_csv(pd.io.common.StringIO(part), sep=r"\s+")
            pd.testing.assert_frame_equal(cells, WIDE[head], rtol=1e-5)
    assert shown == [name for name in WIDE if name not in KEYS]
    words = " ".join(line[18:].strip() for line in parts[-1].splitlines())
    assert all(message in re.sub(r"^.*?message", "message", words) for message in WIDE["message"]) or width == 100


def test_rows_are_numbered_where_keys_leave_no_room():
    for width, keys in ((20, KEYS), (24, KEYS), (40, [])):
        _, *parts = laid_out(WIDE, "text", width, keys).split("\n\n")
        assert parts[0].splitlines()[1].split()[:2] == ["1", "0.1"]
        assert {part.split()[0] for part in parts} == {"row"}
        assert " ".join(part.splitlines()[0] for part in parts).split().count("lam") == 1


@given(
    st.lists(st.lists(st.text("ab c", max_size=30), min_size=3, max_size=3), min_size=1, max_size=8),
    st.integers(14, 60),
)
def test_nothing_is_cut(columns, width):
    """All words of all columns are there, in lines that fit."""
    frame = pd.DataFrame({f"c{number}": cells for number, cells in enumerate(columns)})
    text = laid_out(frame, "text", width, ["c0"])
    for letter in "ab":
        once = [len({*cells}) == 1 for cells in columns]  # what is the same in all rows may be said once
        assert text.count(letter) >= sum(
            sum(cell.count(letter) for cell in (cells[:1] if same else cells))
            for same, cells in zip(once, columns, strict=True)
        )
    assert max(map(len, text.splitlines()), default=0) <= max(width, 3 + 2 + 12)
