"""Specs, files and points that once broke the promise, or would: what is said of each."""

import datetime
import re
import tracemalloc

import numpy as np
import pytest
import tomli_w
from promise import ORIGIN, assert_clear, assert_sweep_or_message

import jepa_sweep as js
from jepa_sweep.spec.grid import Grid

ONE = {"lam": 1.0, "rho": 0.5, "L": 1, "eps": 1e-3}
WIDE = {"linear": [0.5, 0.9], "num": 20_000}
NET = {"L": 1, "t_end": 1.0}
BROAD = dict.fromkeys(("lam_low", "lam_high", "rho_low", "rho_high", "scale"), WIDE)
HALVES = [i / 4000 for i in range(1, 2000)]


def spec(axes=None, /, **others):
    """The text of a spec of one point, or of what it has instead."""
    return tomli_w.dumps({"name": "x", "axes": {**ONE, **(axes or {})}, **others})


def network(**axes):
    return tomli_w.dumps({"name": "x", "system": "network", "objective": "jepa", "axes": {**NET, **axes}})


REFUSED = {
    "more points than int64 counts": (network(**BROAD), r"at most 1,000,000,000 points, but it has 3.2e\+21"),
    "more points than disks hold": (spec(dict.fromkeys(("lam", "rho", "eps"), WIDE)), r"at most 1,000,000,000,000 po"),
    "more samples than that": (
        spec(dict.fromkeys(("lam", "rho"), WIDE), measure={"trajectories": {"samples": 20_000}}),
        r"at most 50,000,000 points with as many samples, but it has 8e\+08"),
    "more files than a disk holds": (
        network(features={"linear": [2, 1001], "num": 1000}, width={"linear": [1001, 2000], "num": 1000}),
        r"at most 100,000 combinations of objective, `data`, `features`, .*but it has 1e\+06"),
    "an axis beyond memory": (spec({"lam": {**WIDE, "num": 10**7}}), r"`lam` must have `num` .* at most 1,000,000"),
    "a difference beyond floats": (spec({"lam": {"linear": [-1e308, 1e308], "num": 3}}), r"`lam` must span .* - .*two"),
    "a ratio beyond floats": (spec({"lam": {"geom": [1e-300, 1e300], "num": 3}}), r"`lam` must span .*`high / low`"),
    "a ratio below floats": (spec({"lam": {"geom": [1e300, 1e-300], "num": 3}}), r"`lam` must span .*`high / low`"),
    "ends in quotes": (spec({"lam": {"linear": ["1", "2"], "num": 3}}), r"`linear` must be a number, but it is '1';"),
    "num in quotes": (spec({"lam": {"linear": [1, 2], "num": "3"}}), r"`num` must be a number.*without quotes"),
    "num of truth": (spec({"lam": {"linear": [1, 2], "num": True}}), r"`num` must be a number, but it is True"),
    "one end": (spec({"lam": {"linear": [1], "num": 3}}), r"`linear` must have more entries.*linear.1\]"),
    "a range of thresholds": (spec(measure={"p": WIDE}), r"`p` must be a number or a list of numbers, but it has a t"),
    "a thousand equal thresholds": (spec(measure={"p": [0.5] * 1001}), r"it repeats 0.5 \(line 10, \[measure.p\]\)"),
    "num twice": (spec({"num": 4}, num=3), r"must say `num` once"),
    "a tolerance of nan": (spec(solver={"method": "exact", "rtol": float("nan")}), r"`rtol` must be a finite number"),
    "steps of 20,000 bits": (f"{spec()}[solver]\nmax_steps = 0x{'f' * 5000}", r"`max_steps` .* number of 20,000 bits"),
    "a seed of 20,000 bits": (f"seed = 0x{'f' * 5000}\n{spec(combine='sobol', num=4)}", r"`seed` must be at most"),
    "digits beyond Python": (f"seed = {'9' * 5000}", r"there is a whole number of thousands of digits"),
    "a name longer than folders": (spec().replace("x", "x" * 300), r"`name` must be .* at most 200 bytes"),
    "an invisible name": (spec().replace('"x"', '"a\u200db"'), r"`name` must be the name of a folder.*'a\\u200db'"),
    "a key that steers terminals": ('"a\\n\\u001b[31m" = 1', r"`a\\n\\u001b\[31m` is not a key here"),
    "ten million letters": (spec(solver={"method": "x" * 10**7}), r"it is 'x{30} \.\.\. x{20}' \(line 10, \[solver.m"),
    "a key of nine thousand letters": (f"{'k' * 9000} = 1", r"`k{30} \.\.\. k{20}` is not a key here"),
    "a key of a million letters": (f"{'k' * 10**6} = 1", r"must have at most 10,000 characters \(at line 1\)"),
    "thousands of faults": (tomli_w.dumps({"name": "x", "combine": "points", "points": [{"lam": []}] * 5000}),
                            r"1,000 or more things (.|\n)*line 6, \[points.2.lam\]\)\.(.|\n)*And 970 more"),
    "a date": (spec({"lam": datetime.date(1979, 5, 27)}), r"`lam` must be a number.*it has 1979-05-27"),
    "whole numbers drawn": (spec({"L": {"linear": [1, 3]}}, combine="sobol", num=4), r"`L` must be listed in a sobol"),
    "more blocks than anyone writes": (tomli_w.dumps({"name": "x", "block": [{}] * 1001}), r"at most 1,000 entries"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_once_failed_is_a_message(case):
    text, message = REFUSED[case]
    with pytest.raises(js.SpecError, match=message) as caught:
        js.Sweep.parse(text, ORIGIN)
    assert_clear(str(caught.value))


ACCEPTED = {
    "a product of ends below floats": (spec({"eps": {"geom": [1e-200, 1e-150], "num": 3}}), 6),
    "thresholds on both sides of 1": (spec({"eps": 2.0}, measure={"p": [0.1, 1.5, 300.0]}), 6),
    "num as a float": (spec({"lam": {"linear": [1, 2], "num": 1e1}}), 20),
    "draws that round up to an end": (
        spec({"rho": {"linear": [0.5, 0.9999999999999999]}}, combine="sobol", num=1 << 10), 1 << 11),
    "hundreds of blocks": (tomli_w.dumps({"name": "x", "block": [{"axes": ONE}] * 300}), 600),
}  # fmt: skip


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_was_once_refused_can_be_run(case):
    text, size = ACCEPTED[case]
    assert Grid(assert_sweep_or_message(text)).size == size


def test_draws_stay_between_their_ends():
    """15 digits round 1 - 1e-16 to 1, where a probability may not be."""
    ends = [0.9999999999999990, 0.9999999999999999]
    axes = {**NET, "keep": {"linear": ends}}
    sweep = js.Sweep(name="x", system="network", objective="jepa", combine="sobol", num=64, axes=axes)
    grid = Grid(sweep)
    keep = grid.take(np.arange(grid.size)).columns["keep"]
    assert keep.max() <= ends[1] < 1


@pytest.mark.long
@pytest.mark.parametrize(
    "text",
    [
        REFUSED["more points than int64 counts"][0],
        REFUSED["more files than a disk holds"][0],
        spec({"lam": {"linear": [1, 2], "num": 20_000}}, combine="zip", measure={"p": HALVES}),
    ],
    ids=["points", "files", "rows by thresholds"],
)
def test_what_a_spec_describes_is_not_held_in_memory(text):
    tracemalloc.start()
    try:
        assert_sweep_or_message(text)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


# --- files ----------------------------------------------------------------------------------------------------------

TEXT = spec().encode()
FILES = {
    "a mark of the byte order": (b"\xef\xbb\xbf" + TEXT, None),
    "lines of Windows": (TEXT.replace(b"\n", b"\r\n"), None),
    "nothing": (b"", r"`name` must be given \(\[name\]\)\."),
    "zero bytes": (TEXT + b"\0", r"must be valid TOML"),
    "bytes of no text": (b"\xff\xfe" + TEXT, r"must be readable, but it is not UTF-8 text"),
    "Latin-1": ("# \u00e9\n".encode("latin-1") + TEXT, r"must be readable, but it is not UTF-8 text"),
    "a Parquet file": (b"PAR1\x15\x04\x15", r"must be valid TOML"),
    "a broken table": (TEXT + b"[solver", r"must be valid TOML, but: Expected"),
    "an axis in quotes": (TEXT.replace(b"0.5", b"'\xe2\x80\xae'"), r"`rho` must be a number.*'\\u202e'"),
}


@pytest.mark.parametrize("case", FILES)
def test_files_are_planned_or_refused_in_plain_words(invoke, tmp_path, case):
    content, message = FILES[case]
    path = tmp_path / "any.toml"
    path.write_bytes(content)
    assert_command(invoke("plan", path, "--out", tmp_path / "run"), message, path.name)


def assert_command(done, message, name):
    """The command did its work, or says what is wrong with the file, each thing on one line, and exits with 2."""
    if message is None:
        assert (done.exit_code, done.stderr) == (0, "")
        return
    assert done.exit_code == 2
    assert re.match(rf"error: (.|\n)*{message}", done.stderr)
    first, *others = done.stderr.splitlines()
    assert all(line.isprintable() for line in (first, *others))
    assert first.endswith(f"{name}:" if others else (f"{name}.", f"{name})."))


@pytest.mark.parametrize(
    ("name", "reason"),
    [("", "it is a folder"), ("gone.toml", "there is no such"), ("a\x1b[31m.toml", "there is no such")],
)
def test_what_is_no_file_is_refused_in_one_line(invoke, tmp_path, name, reason):
    shown = (tmp_path / name).name.replace("\x1b", "\\u001b")
    assert_command(invoke("plan", tmp_path / name), f"must be readable, but {reason}", shown)


def test_no_file_is_read_without_end():
    with pytest.raises(js.SpecError, match=r"readable, but it has more than 33,554,432 characters \(/dev/zero\)"):
        js.Sweep.load("/dev/zero")


def test_a_path_with_a_zero_byte_is_a_message():
    with pytest.raises(js.SpecError, match=r"names of files may have, but it is 'a\\u0000b'"):
        js.Sweep.load("a\0b")


# --- points that cannot be ------------------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")
IMPOSSIBLE = [("lam", NAN), ("lam", INF), ("lam", -1.0), ("lam", 0.0), ("rho", NAN), ("rho", -INF), ("rho", -0.5),
              ("rho", 0.0), ("L", NAN), ("L", INF), ("L", 0.0), ("L", -1.0), ("L", 1.5), ("eps", NAN), ("eps", INF),
              ("eps", 0.0), ("eps", -1e-3), ("p", NAN), ("p", INF), ("p", 0.0), ("p", -0.5), ("p", 1.0)]  # fmt: skip
WAYS = {
    "list": lambda name, x: {"axes": {**ONE, name: [ONE[name], x]}},
    "zip": lambda name, x: {"combine": "zip", "axes": {**ONE, name: [ONE[name], x, ONE[name]]}},
    "range": lambda name, x: {"axes": {**ONE, name: {"linear": [ONE[name], x], "num": 3}}},
    "sobol": lambda name, x: {"combine": "sobol", "num": 4, "axes": {**ONE, name: [ONE[name], x]}},
    "points": lambda name, x: {"combine": "points", "points": [ONE, {**ONE, name: x}]},
    "block": lambda name, x: {"block": [{"axes": ONE}, {"axes": {**ONE, name: x}}]},
}


@pytest.mark.parametrize("way", WAYS)
def test_no_way_of_giving_a_point_lets_an_impossible_one_pass(way):
    for name, x in IMPOSSIBLE:
        given = {"axes": ONE, "measure": {"p": [0.5, x]}} if name == "p" else WAYS[way](name, x)
        with pytest.raises(js.SpecError, match=rf"`{name}`.* must .*\[(.*{name}|points|block.1.axes.{name})\]"):
            js.Sweep.parse(tomli_w.dumps({"name": "x", **given}), ORIGIN)


@pytest.mark.parametrize(("name", "x"), IMPOSSIBLE)
def test_nor_does_a_call(name, x):
    for function in (js.solve, js.critical_time):
        with pytest.raises(js.SpecError, match=rf"`{name}`.* must "):
            function("jepa", **{**ONE, "p": 0.5, name: [x]})


def test_what_is_never_reached_has_a_status(invoke, tmp_path):
    """Next to a point that can be learned, others end in a word, with no time and no failure."""
    points = [ONE, {**ONE, "lam": -1.0, "rho": -0.5}, {**ONE, "lam": 0.0, "rho": 0.0}, {**ONE, "eps": 0.4}]
    points += [{**ONE, "eps": 1.0}, {**ONE, "eps": 1e-300, "L": 8}]
    document = {"name": "x", "objective": "jepa", "combine": "points", "points": points, "measure": {"p": [0.5, 1.5]}}
    document["solver"] = {"method": "exact"}
    (tmp_path / "any.toml").write_text(tomli_w.dumps(document))
    assert invoke("run", tmp_path / "any.toml", "--out", tmp_path / "run").exit_code == 0
    table = js.Store(tmp_path / "run").points().sort_values(["L", "lam", "eps", "p"])
    assert table.status.tolist() == ["collapses", "collapses", "no_signal", "no_signal", "learned", "not_reached",
                                     "above_threshold", "not_reached", "not_reached", "learned", "overflow",
                                     "not_reached"]  # fmt: skip
    np.testing.assert_array_equal(np.isfinite(table.t_exact), table.status == "learned")
