"""All that is wrong with a spec is said at once, each thing with its line, and nothing that is right."""

import json
import re

import pytest

import jepa_sweep as js

TEXT = """# nine things wrong, and one more that nobody can tell before `combine` is right
name = "x"
objective = "MAE"
combine = "sobel"
rtol = 3

[axes]
lam = [1.0, "2"]
rho = { linear = [0.5, 1.0] }
lamda = 3
eps = 0.0
L = [
  1,
  1.5,
]
[solver]
rtol = "1e-8"
precision = "float16"
"""
SAID = [
    (3, "objective", r"`objective` must be one of jepa, mae, but it is 'MAE'. Did you mean `mae`\?"),
    (4, "combine", r"`combine` must be one of product, zip, .* 'sobel'. Did you mean `sobol`\?"),
    (5, "rtol", r"`rtol` is not a key here. Did you mean `solver.rtol`\?"),
    (8, "axes.lam", r"`lam` must be a number, a list of numbers or a range, but it has '2'; TOML numbers stand"),
    (10, "axes.lamda", r"`lamda` is not a parameter. Did you mean `lam`\?"),
    (11, "axes.eps", r"`eps` must be finite and positive, but there is eps = 0"),
    (12, "axes.L", r"`L` must be a whole number of layers, 1 or more, but there is L = 1.5"),
    (17, "solver.rtol", r"`rtol` must be a number, but it is '1e-8'"),
    (18, "solver.precision", r"`precision` must be one of float64, float32, .* Did you mean `float64`\?"),
]


def problems_of(text):
    with pytest.raises(js.SpecError) as caught:
        js.Sweep.parse(text, "x.toml")
    return caught.value.problems


def test_all_is_said_at_once_in_the_order_of_the_lines():
    found = problems_of(TEXT)
    assert [(p.line, p.key) for p in found] == [(line, key) for line, key, _ in SAID]
    for problem, (line, key, says) in zip(found, SAID, strict=True):
        assert re.match(rf"{says}.* \(line {line}, \[{key}\]\)", problem.message)


def test_errors_are_a_list_and_in_json_one_with_keys_and_lines(invoke, tmp_path):
    (tmp_path / "x.toml").write_text(TEXT)
    said = invoke("plan", "x.toml", cwd=tmp_path)
    assert said.exit_code == 2
    first, *others = said.stderr.splitlines()
    assert first == "error: 9 things must be put right in x.toml:"
    assert all(re.match(rf"- {says}", line) for line, (_, _, says) in zip(others, SAID, strict=True))
    facts = json.loads(invoke("run", "x.toml", "--json", cwd=tmp_path).stdout)
    assert facts["code"] == 2
    assert [(p["line"], p["key"]) for p in facts["problems"]] == [(line, key) for line, key, _ in SAID]
    assert others == [f"- {p['message']}" for p in facts["problems"]]


def test_what_stands_nowhere_comes_last():
    found = problems_of('objective = "MAE"\n[axes]\nlam = 1.0\nrho = 0.5\nL = 2\neps = -1\n')
    assert [(p.key, p.line) for p in found] == [("objective", 1), ("axes.eps", 6), ("name", None)]


def test_points_that_combine_in_a_misspelt_way_lack_no_axes():
    row = "{ lam = 1.0, rho = 0.5, L = 2, eps = 1e-3 }"
    [problem] = problems_of(f'name = "x"\ncombine = "pionts"\npoints = [{row}]\n')
    assert "Did you mean `points`?" in problem.message


def test_from_python_there_are_no_lines():
    with pytest.raises(js.SpecError, match=r"^2 things must be put right:\n- .*\[axes.rho\]\)\.\n- .*") as caught:
        js.Sweep(name="x", axes={"lam": 1.0, "rho": "x", "L": 1, "eps": -1})
    assert [(p.key, p.line) for p in caught.value.problems] == [("axes.rho", None), ("axes.eps", None)]


def test_broken_toml_has_a_line():
    [problem] = problems_of('name = "x"\n[axes\n')
    assert problem.line == 2


def test_no_more_than_thirty_are_told():
    axes = "\n".join(f"x{n} = {n}" for n in range(34))
    with pytest.raises(js.SpecError, match=r"^38 things .*(\n- .*){30}\n- And 8 more\.$") as caught:
        js.Sweep.parse(f'name = "x"\n[axes]\n{axes}\n', "x.toml")
    assert len(caught.value.problems) == 38


# What is broken -> the only thing that may be said of it.
ALONE = {
    "an axis that cannot be read is not missing": ("lam = 1.0", "lam = []", "axes.lam"),
    "nor is one that was meant": ("lam = 1.0", "lamb = 1.0", "axes.lamb"),
    "nor is a table": ("[axes]", "[axes.lam]\nlinear = 3\n[axes]\n#", None),
    "a tolerance that cannot be read has no bounds": ('"float32"', '"float32"\nrtol = "x"', "solver.rtol"),
    "a system that is not there has no parameters": ('name = "x"', 'name = "x"\nsystem = "redcued"', "system"),
    "ranges that are combined nobody knows how": ("lam = 1.0", "lam = {linear = [1, 2]}\ncombine = 'x'", "combine"),
    "a rule of several waits until each is right": ("lam = 1.0\nrho = 0.5", "lam = -1.0\nrho = 'x'", "axes.rho"),
    "a rule is told once for all thresholds and objectives": ("eps = 1e-3", "eps = -1.0", "axes.eps"),
    "a number without its table": ('"float32"', '"float32"\n[measure]\ntrajectories = 3', "measure.trajectories"),
}  # fmt: skip
FINE = """
name = "x"
[axes]
lam = 1.0
rho = 0.5
L = 2
eps = 1e-3
[solver]
rtol = 1e-5
precision = "float32"
"""


@pytest.mark.parametrize("case", ALONE)
def test_nothing_is_said_that_follows_from_another_fault(case):
    old, new, key = ALONE[case]
    assert old in FINE
    text = FINE.replace(old, new) if "rtol" not in new else FINE.replace("rtol = 1e-5\n", "").replace(old, new)
    if key is None:
        assert len(problems_of(text)) == 1
    else:
        assert [p.key for p in problems_of(text)] == [key]


def test_blocks_are_all_looked_at():
    blocks = [
        "lam = 1.0\nrho = 0.5\nL = 2",
        "lam = 1.0\nrho = 'x'\nL = 2\neps = 1e-3",
        "lam = 1\nrho = 1\nL = 1\neps = -1",
    ]
    text = 'name = "x"\n' + "".join(f"[[block]]\n[block.axes]\n{block}\n" for block in blocks)
    assert [(p.key, p.line) for p in problems_of(text)] == [
        ("block.0.axes", 3),
        ("block.1.axes.rho", 10),
        ("block.2.axes.eps", 18),
    ]
