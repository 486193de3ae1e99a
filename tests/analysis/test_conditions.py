"""How conditions are read."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jepa_sweep as js
from jepa_sweep.analysis.conditions import SIGNS, Condition, parse

READ = {
    "lam > 1": [("lam", ">", ("1",))],
    "lam>=-1.5e-3": [("lam", ">=", ("-1.5e-3",))],
    "L == 3": [("L", "=", ("3",))],
    "L<>3": [("L", "!=", ("3",))],
    "objective = jepa": [("objective", "=", ("jepa",))],
    "message = 'not > (reached), and'": [("message", "=", ("not > (reached), and",))],
    'objective="JEPA"': [("objective", "=", ("JEPA",))],
    "L in (1,2 , 3)": [("L", "=", ("1", "2", "3"))],
    "objective not in (jepa, 'mae')": [("objective", "!=", ("jepa", "mae"))],
    "t is null": [("t", "null", ())],
    "t IS NOT NULL": [("t", "not null", ())],
    "lam between 1 and 2 and L = 3": [("lam", ">=", ("1",)), ("lam", "<=", ("2",)), ("L", "=", ("3",))],
    "lam > 1 AND L In (2)and t is null": [("lam", ">", ("1",)), ("L", "=", ("2",)), ("t", "null", ())],
    " in = 1 and is is null and and != and": [("in", "=", ("1",)), ("is", "null", ()), ("and", "!=", ("and",))],
}


@pytest.mark.parametrize("text", READ)
def test_conditions_are_read(text):
    assert parse(text) == [Condition(*one) for one in READ[text]]


REFUSED = {
    "": "does not at its end: the name of a column",
    "lam": "does not at its end: a comparison is expected there: =, !=",
    "lam ~ 1": "does not from '~ 1' on: a comparison",
    "lam > 1 L = 2": "does not from 'L = 2' on: `and` or the end",
    "lam > 1, L = 2": "does not from ', L = 2' on: `and` or the end",
    "lam = 1 or lam = 2": "does not from 'or lam = 2' on: .* `in \\(1, 2\\)`, and else needs --sql",
    "lam >": "does not at its end: a number or word",
    "lam > > 1": "does not from '> 1' on: a number or word",
    "L in 1, 2": "does not from '1, 2' on: a list like `\\(1, 2\\)`",
    "L in (1 2)": "does not from '2\\)' on: a comma or the closing parenthesis",
    "L in ()": "does not from '\\)' on: a number or word",
    "L in (1, 2": "does not at its end: a comma or the closing",
    "L not 3": "does not from '3' on: a comparison",
    "t is 3": "does not from '3' on: `null` or `not null`",
    "t is not 3": "does not from '3' on: `null` or `not null`",
    "lam between 1": "does not at its end: `and` and the upper end",
    "objective = 'jepa": "does not from .*jepa.* on: a quote or sign",
    "lam ! 1": "does not from '! 1' on: a quote or sign",
    "lam > 1 and": "does not at its end: the name of a column",
    "(lam > 1)": "does not from .* on: the name of a column",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_does_not_read_is_pointed_at(text):
    with pytest.raises(js.SpecError, match=f"must read like `lam > 1`.*{REFUSED[text]}"):
        parse(text)


NAMES = st.sampled_from(["lam", "L", "t_exact", "or"])
VALUES = st.from_regex(r"[a-z0-9_.+-]{1,8}", fullmatch=True)
QUOTED = st.text(st.characters(exclude_characters="'", exclude_categories=["Cs"]), max_size=8)


@given(st.lists(st.tuples(NAMES, st.sampled_from(SIGNS), VALUES | QUOTED.map(lambda text: f"'{text}'")), min_size=1))
def test_whatever_is_put_together_is_taken_apart(parts):
    text = " and ".join(f"{name}{sign}{value}" for name, sign, value in parts)
    assert parse(text) == [Condition(name, sign, (value.strip("'"),)) for name, sign, value in parts]


@given(st.text())
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(js.SpecError):
        assert parse(text)
