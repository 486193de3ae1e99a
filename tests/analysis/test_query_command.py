"""Rows of tables as the command `query` prints them."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest
from stores import LAM, ROWS, assert_same, made

from jepa_sweep.layout import for_json


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The same rows in a folder."""
    path = tmp_path_factory.mktemp("query") / "run"
    made([ROWS], path)
    return path


@pytest.fixture
def query(run, invoke):
    """What the command does on it."""
    return lambda *words: invoke("query", run, *words)


def rows(done):
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_rows_are_filtered_sorted_and_cut(query):
    found = query("--where", "lam > 0.1", "--where", "objective = jepa", "--columns", "lam,steps", "--sort", "-lam",
                  "--json")  # fmt: skip
    assert rows(found) == [{"lam": 10.3, "steps": 12}, {"lam": 1.0, "steps": 3}, {"lam": 0.19999, "steps": 9}]
    assert found.stderr == ""
    cut = query("--limit", "5")
    assert cut.stderr == "5 of 6 rows; --limit 0 shows all\n"
    assert query().stderr == "6 of 6 rows\n"
    assert len(cut.stdout.splitlines()) == 6


@pytest.mark.parametrize("given", [["lam", "t"], ["lam,t"], [" lam , t ", "lam"], ["lam,,t,"]], ids=str)
def test_columns_may_be_repeated_and_listed(query, given):
    words = [word for columns in given for word in ("--columns", columns)]
    assert list(rows(query(*words, "--json"))[0]) == ["lam", "t"]


@pytest.mark.parametrize(
    "given", [["-L", "objective", "-lam"], ["-L,objective", "-lam"], ["-L,objective,-lam"]], ids=str
)
def test_keys_to_sort_by_may_too(query, given):
    """The first counts most."""
    words = [word for key in given for word in ("--sort", key)]
    found = [row["lam"] for row in rows(query(*words, "--columns", "lam", "--json"))]
    assert found == [10.3, 1.0, 0.372759372031494, 0.19999, 0.19306977288832497, 0.1]


def test_what_is_told_stands_beside_the_rows(query):
    done = query("--where", "lam = 0.193", "--json")
    assert [row["lam"] for row in rows(done)] == [LAM[1]]
    assert done.stderr == "warning: `lam` = 0.193 is taken as 0.19307.\n"
    nothing = query("--where", "status = lerned", "--format", "csv")
    assert (nothing.exit_code, len(nothing.stdout.splitlines())) == (0, 1)
    assert "Did you mean `learned`?" in nothing.stderr


@pytest.mark.parametrize("form", ["csv", "markdown", "latex", "json"])
def test_rows_that_are_left_out_are_told(query, form):
    """Beside what another program reads."""
    assert query("--format", form, "--limit", "3").stderr == "3 of 6 rows; --limit 0 shows all\n"
    assert query("--format", form, "--limit", "0").stderr == ""


def test_csv_and_json_have_all_digits(query, run):
    stored = pd.read_parquet(run / "points")
    query("--limit", "0", "--format", "csv")
    csv = pd.read_csv(pd.io.common.StringIO(query("--format", "csv").stdout))
    assert_same(csv, stored, check_dtype=False)
    assert rows(query("--json")) == rows(query("--format=json")) == for_json(stored)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--json", "--format", "csv"], "Rows must be printed in one form, but --format csv and --json are given;"),
        (["--format", "cvs"], "`--format` must be one of text, csv, markdown, latex, json, but it is 'cvs'. Did you"),
        (["--columns", "lamda"], "`lamda` is not a column of points. Did you mean `lam`?"),
        (["--sort", "tt"], "`tt` is not a column of points. Did you mean `t`?"),
        (["--table", "pointss"], "Did you mean `points`?"),
        (["--where", "lam ~ 1"], "A condition must read like"),
        (["--where", "lam = 10"], "the nearest are 1 and 10.3."),
    ],
)
def test_mistakes_end_with_a_sentence(query, words, message):
    plain = query(*words)
    assert plain.exit_code == 2
    if "--json" not in words:
        assert plain.stdout == ""
        assert message in plain.stderr
        words = [*words, "--format=json"] if "--format" not in words else [*words, "--json"]
    told = query(*words)
    assert (told.exit_code, told.stderr) == (2, "")
    assert message in json.loads(told.stdout)["error"]


@pytest.mark.parametrize("asked", [["--json"], ["--format", "json"], ["--format=json"]], ids=" ".join)
@pytest.mark.parametrize("words", [["--limit", "-1"], ["--fast"], ["--where", "lam = 10"]], ids=" ".join)
def test_errors_are_json_where_json_is_asked_for(query, words, asked):
    """What is typed wrongly, too."""
    told = query(*words, *asked)
    assert (told.exit_code, told.stderr, json.loads(told.stdout)["code"]) == (2, "", 2)


ON_A_TERMINAL = """
import fcntl, os, pty, struct, subprocess, sys, termios
master, slave = pty.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 44, 0, 0))
process = subprocess.Popen(sys.argv[1:], stdout=slave, stderr=subprocess.DEVNULL)
os.close(slave)
told = b""
try:
    while piece := os.read(master, 65536):
        told += piece
except OSError:  # the other end is closed
    pass
sys.exit(process.wait() or sys.stdout.buffer.write(told) < 0)
"""


@pytest.mark.process
def test_a_table_fits_the_terminal(run):
    """A real one, of 44 columns; what is piped is not folded."""
    line = [sys.executable, "-m", "jepa_sweep.cli", "query", str(run), "--where", "objective = mae"]
    env = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    shown = subprocess.run(
        [sys.executable, "-c", ON_A_TERMINAL, *line], env=env, capture_output=True, text=True, check=True
    )
    assert shown.stdout.splitlines() == [
        "objective = mae, status = learned",
        "",
        "     lam  L      t    w             steps",
        " 0.19307  2  -3.25  0.2                 3",
        "0.372759  5  12.75  NaN  9007199254740993",
    ]
    piped = subprocess.run(line, env=env, capture_output=True, text=True, check=True)
    assert [len(text.split()) for text in piped.stdout.splitlines()] == [7, 7, 7]
