"""A path that is not what a command wants is told from what it is: a run, a spec, a slip of the finger."""

import re

import pytest
from conftest import TRACKED

import jepa_sweep as js


@pytest.fixture
def place(tmp_path):
    """A folder with a spec like a shipped one, and one of its own."""
    (tmp_path / "sweeps").mkdir()
    for name in ("sweeps/fig2.toml", "mine.toml"):
        (tmp_path / name).write_text("name = 'x'\n")
    return tmp_path


MEANT = {
    "min.toml": r"there is no such file; did you mean `mine.toml`\? \(min.toml\)\.",
    "mine": r"did you mean `mine.toml`\?",
    "fig2.tml": r"did you mean `sweeps/fig2.toml`\?",
    "quickstrat.toml": r"did you mean the shipped one\? `jepa-sweep init --figure quickstart` copies it here",
    "zzz/qqq.toml": r"`jepa-sweep init` writes one to start from, and those shipped are collapse, critical_times, .*",
}


@pytest.mark.parametrize("path", MEANT)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_spec_that_is_not_there_says_what_is(place, invoke, command, path):
    done = invoke(command, path, cwd=place)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: The spec file must be readable, but there is no such file; ")
    assert re.search(MEANT[path], done.stderr)


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_run_is_no_spec(finished, invoke, command):
    done = invoke(command, finished.path)
    assert done.exit_code == 2
    assert f"must be a file, but {finished.path} is a run; use `jepa-sweep status {finished.path}`." in done.stderr


@pytest.mark.parametrize("command", ["status", "query", "compare", "verify", "repair", "retry"])
def test_a_spec_is_no_run(place, invoke, command):
    done = invoke(command, "mine.toml", cwd=place)
    assert done.exit_code == 2
    assert (
        "mine.toml must be a run directory, but it has no store.json: it is a spec; use `jepa-sweep plan" in done.stderr
    )


MIXES = {
    "rtol": (
        {"solver": {"rtol": 1e-10}},
        r"\(rtol: 1e-08 here, 1e-10 asked\); write to another directory with --out, or",
    ),
    "two of them": (
        {"solver": {"rtol": 1e-10, "precision": "float64", "time": "flow"}},
        r"\(rtol: 1e-08 here, 1e-10 asked; time: paper here, flow asked\)",
    ),
    "samples": (
        {"measure": {"trajectories": {"samples": 5, "until": 1.5}}},
        r"\(trajectories.samples: 4 here, 5 asked\)",
    ),
    "no trajectories": (
        {"measure": {}, "solver": {"method": "dopri8"}},
        r"\(trajectories.p: 0.5 here, none asked; trajectories.samples: 4 here, none asked;",
    ),
    "another system": (
        {"system": "temporal", "axes": {"log10_T": 3}, "measure": {}},
        r"\(system: reduced here, temporal asked\)",
    ),
}


@pytest.mark.parametrize("case", MIXES)
def test_settings_that_differ_are_named_with_both_values(finished, case):
    change, message = MIXES[case]
    with pytest.raises(
        js.SpecError, match=f"must only hold numbers made in one way, but the settings differ {message}"
    ):
        js.run({**TRACKED, **change}, finished.path)
