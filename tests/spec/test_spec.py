"""Spec files: what they accept, and the sentence for everything they do not."""

import numpy as np
import pytest
from conftest import ROOT, TINY

import jepa_sweep as js
from jepa_sweep.computing import run
from jepa_sweep.spec.grid import Grid

GOOD = """
name = "x"
objective = ["jepa"]
[axes]
lam = [1.0, 2.0]
rho = { linear = [0.5, 1.0], num = 3 }
L = [1, 2]
eps = { geom = [1e-4, 1e-2], num = 3 }
[solver]
rtol = 1e-8
"""


def parse(text, *replacements):
    for old, new in replacements:
        assert old in text, "the test replaces what is there"
        text = text.replace(old, new)
    return js.Sweep.parse(text, "sweeps/x.toml")


def test_a_spec_reads_as_written():
    sweep = parse(GOOD)
    assert (sweep.name, sweep.objective, sweep.solver.rtol) == ("x", ("jepa",), 1e-8)
    assert Grid(sweep).size == 2 * 3 * 2 * 3


def test_python_and_toml_say_the_same():
    sweep = js.Sweep(**TINY, measure={"p": [0.5, 0.9], "trajectories": {"samples": 4}}, solver={"time": "flow"})
    assert js.Sweep.parse(sweep.to_toml()) == sweep


def test_a_range_has_its_endpoints_and_its_neighbours_values():
    axes = parse(GOOD, ("num = 3 }\n[solver]", "num = 5 }\n[solver]")).axes
    values = axes["eps"].values()
    assert values[0] == 1e-4
    assert values[-1] == 1e-2
    np.testing.assert_allclose(np.diff(np.log(values)), np.log(10) / 2, rtol=1e-13)
    # Doubling the resolution keeps every value exactly, so an extended sweep repeats nothing.
    finer = parse(GOOD, ("num = 3 }\n[solver]", "num = 9 }\n[solver]")).axes["eps"].values()
    assert set(values) <= set(finer)


WRONG = {
    "unknown key": (('name = "x"', 'name = "x"\nobjektive = ["jepa"]'), r"Did you mean `objective`\?.*\[objektive\]"),
    "unknown section key": (("rtol = 1e-8", "rtoll = 1e-8"), r"Did you mean `rtol`\?.*\[solver.rtoll\]"),
    "unknown axis": (("lam = [1.0", "lambda = [1.0"), r"Did you mean `lam`\?.*line 5, \[axes.lambda\]"),
    "missing axis": (("L = [1, 2]\n", ""), r"`L` must be given.*\[axes\]"),
    "missing name": (('name = "x"\n', ""), r"`name` must be given.*\[name\]"),
    "name with a slash": (('"x"', '"a/b"'), r"`name` must.*\[name\]"),
    "text for a number": (("[1.0, 2.0]", '[1.0, "2"]'), r"`lam` must be a number.*without quotes.*\[axes.lam\]"),
    "empty axis": (("[1.0, 2.0]", "[]"), r"`lam` must have at least one value.*\[axes.lam\]"),
    "repeated value": (("[1.0, 2.0]", "[1.0, 1.0]"), r"`lam` must not repeat a value.*\[axes.lam\]"),
    "range without num": ((", num = 3 }\nL", " }\nL"), r"`rho` must say how many values.*\[axes.rho\]"),
    "range of two kinds": (("{ linear =", "{ geom = [1, 2], linear ="), r"exactly one of.*\[axes.rho\]"),
    "geom through zero": (("geom = [1e-4,", "geom = [0,"), r"endpoints of one sign.*\[axes.eps\]"),
    "zero num": (("num = 3 }\nL", "num = 0 }\nL"), r"`num` of 1 or more.*\[axes.rho\]"),
    "not a number": (("[1.0, 2.0]", "[nan]"), r"`lam` must be a finite number.*\[axes.lam\]"),
    "infinite": (("[1.0, 2.0]", "[inf]"), r"`lam` must be a finite number.*\[axes.lam\]"),
    "opposite signs": (("[1.0, 2.0]", "[-1.0]"), r"must have the same sign.*\[axes.lam\], \[axes.rho\]"),
    "half a layer": (("[1, 2]", "[1.5]"), r"`L` must be a whole number.*L = 1.5.*\[axes.L\]"),
    "no start": (("{ geom = [1e-4, 1e-2], num = 3 }", "0.0"), r"`eps` must be finite and positive.*\[axes.eps\]"),
    "nothing reachable": (("{ geom = [1e-4, 1e-2], num = 3 }", "5.0"), r"let some point cross.*\[axes.eps\]"),
    "p of one": (("[solver]", "[measure]\np = [1.0]\n[solver]"), r"`p` must be finite, positive.*\[measure.p\]"),
    "p of zero": (("[solver]", "[measure]\np = [0.0]\n[solver]"), r"`p` must be.*\[measure.p\]"),
    "no p": (("[solver]", "[measure]\np = []\n[solver]"), r"`p` must have at least one.*\[measure.p\]"),
    "p of text": (("[solver]", "[measure]\np = 'x'\n[solver]"), r"`p` must be a number.*\[measure.p\]"),
    "name of dots": (('"x"', '".."'), r"`name` must be letters.*not begin with a dot.*\[name\]"),
    "beyond floats": (("[1.0, 2.0]", "1" + 400 * "0"), r"`lam` must be a finite number.*\[axes.lam\]"),
    "a key of Python": (('name = "x"', 'name = "x"\nself = 1'), r"`self` is not a key here.*\[self\]"),
    "a word of our code": (('name = "x"', 'name = "x"\nbeside = "/etc"'), r"`beside` is not a key here.*\[beside\]"),
    "deep nesting": (("[1.0, 2.0]", 5000 * "[" + 5000 * "]"), r"must be valid TOML"),
    "quoted tolerance": (("1e-8", '"1e-8"'), r"`rtol` must be a number.*\[solver.rtol\]"),
    "too many layers": (("[1, 2]", "[1e9]"), r"`L` must be at most 100,000.*\[axes.L\]"),
    "too many values": (("num = 3 }\nL", "num = 100000000000 }\nL"), r"`num` of 1 or more and at most.*\[axes.rho\]"),
    "table for a number": (("rtol = 1e-8", "rtol = {}"), r"`rtol` must be a number.*\[solver.rtol\]"),
    "number for a table": (("[solver]\n", "[measure]\ntrajectories = 3\n[solver]\n"), r"`trajectories` must be a tab"),
    "list for text": (("[solver]\n", "[solver]\nmethod = []\n"), r"`method` must be text in quotes.*\[solver.method\]"),
    "unknown objective": (('["jepa"]', '["japa"]'), r"Did you mean `jepa`.*\[objective\]"),
    "unknown system": (('name = "x"', 'name = "x"\nsystem = "reduce"'), r"Did you mean `reduced`.*\[system\]"),
    "unknown method": (("rtol = 1e-8", 'method = "rk45"'), r"`method` must be one of .*exact.*\[solver.method\]"),
    "no samples": (
        ("rtol = 1e-8", 'method = "clenshaw_curtis"\n[measure.trajectories]'),
        r"steps too far to sample.*\[solver\]",
    ),
    "tolerance too fine": (("rtol = 1e-8", "rtol = 1e-17"), r"`rtol` must lie between.*\[solver.rtol\]"),
    "unknown time": (("rtol = 1e-8", 'time = "wall"'), r"`time` must be one of paper, flow.*\[solver.time\]"),
    "unknown combine": (('name = "x"', 'name = "x"\ncombine = "grid"'), r"`combine` must.*\[combine\]"),
    "zip of unequal lengths": (('name = "x"', 'name = "x"\ncombine = "zip"'), r"Zipped axes must have one length"),
    "sobol without num": (('name = "x"', 'name = "x"\ncombine = "sobol"'), r"sobol.* must come with `num`"),
    "points without points": (('name = "x"', 'name = "x"\ncombine = "points"'), r"must come with `points ="),
    "one sample": (("[solver]", "[measure.trajectories]\nsamples = 1\n[solver]"), r"\[measure.trajectories.samples\]"),
    "axes beside blocks": (("[solver]", "[[block]]\n[block.axes]\nlam = 1\n[solver]"), r"Either the top level or"),
    "broken TOML": (("[axes]", "[axes"), r"must be valid TOML.*sweeps/x.toml"),
}  # fmt: skip


EXPECTED = {  # how many things that makes wrong, if not one
    "zip of unequal lengths": 2,
    "sobol without num": 3,  # its ranges have a `num`, too
    "axes beside blocks": 4,  # of which the one lacks three
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_with_file_and_key_path(case):
    replacement, message = WRONG[case]
    with pytest.raises(js.SpecError, match=message) as caught:
        parse(GOOD, replacement)
    assert "sweeps/x.toml" in str(caught.value)
    assert len(caught.value.problems) == EXPECTED.get(case, 1)


def test_the_same_check_speaks_in_python():
    with pytest.raises(js.SpecError, match=r"Did you mean `axes`"):
        js.Sweep(name="x", axis={})


def test_sobol_takes_whole_numbers_from_a_list():
    axes = {"lam": 1.0, "rho": 1.0, "L": {"linear": [1, 5]}, "eps": 1e-3}
    with pytest.raises(js.SpecError, match=r"`L` must be listed.*whole numbers.*\[axes.L\]"):
        js.Sweep(name="x", combine="sobol", num=4, axes=axes)


# Of the scalar flows; what networks and series are shipped for is tested in test_experiments.
SHIPPED = [path for path in sorted((ROOT / "sweeps").glob("*.toml")) if js.Sweep.load(path).system_name == "reduced"]
SIZES = {
    "quickstart": 5120,
    "critical_times": 655_360,
    "fig4": 2 * 11 * 4,
    "fig2": 2 * (50 + 50 + 10),
    "inversion": 2 * 12 * 529 * 3,
}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_specs_have_the_size_they_say(path):
    sweep = js.Sweep.load(path)
    assert Grid(sweep).size == SIZES[sweep.name]


def two_points(axis):
    """An axis with its first and last value only."""
    values = axis.values() if hasattr(axis, "values") else np.array(axis)
    return sorted({float(values[0]), float(values[-1])})


@pytest.mark.long
@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_specs_run_at_two_points_an_axis(path, tmp_path):
    sweep = js.Sweep.load(path)
    small = [{"combine": b.combine, "axes": {name: two_points(a) for name, a in b.axes.items()}} for b in sweep.blocks]
    trajectories = sweep.measure.trajectories and {"samples": 5, "until": sweep.measure.trajectories.until}
    measure = {"p": sweep.measure.p, **({"trajectories": trajectories} if trajectories else {})}
    shrunk = js.Sweep(name=sweep.name, objective=sweep.objective, measure=measure, solver=sweep.solver,
                      block=small)  # fmt: skip
    store = run(shrunk, tmp_path)
    frame = store.points()
    learned = frame[frame.status == "learned"]
    assert len(learned) > len(frame) / 2
    assert learned.relative_difference.max() <= 1e-7
    if trajectories:
        samples = store.trajectories()
        assert len(samples) == 5 * len(learned)
        error = (samples.w / samples.w_exact - 1).abs()
        # rtol a step, times at most some hundred steps, times the condition of w in t.
        assert (error <= 200 * sweep.solver.rtol * samples.condition.clip(lower=1)).all()
