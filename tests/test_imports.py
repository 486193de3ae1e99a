"""Commands that compute nothing import nothing that computes, so that they answer at once."""

import subprocess
import sys

import pytest
from conftest import ROOT

SPEC = """
name = "small"
[axes]
lam = [0.5, 2.0]
rho = [0.5, 1.0]
L = [1, 3]
eps = [1e-3]
[measure.trajectories]
samples = 4
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, invoke):
    """A directory with a spec and its finished run."""
    here = tmp_path_factory.mktemp("imports")
    (here / "small.toml").write_text(SPEC)
    assert invoke("run", "small.toml", cwd=here).exit_code == 0
    return here


def imported_by(words, where):
    """What a command prints and the packages it imports, which tell how long it takes, on any machine."""
    code = """
import sys
from jepa_sweep import cli
try:
    cli.app(sys.argv[1:])
finally:
    print(*sys.modules, file=sys.stderr)
"""
    line = [sys.executable, "-c", code, *words]
    done = subprocess.run(line, cwd=where, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert "typer" in loaded
    return done.stdout, loaded


@pytest.mark.process
def test_help_waits_for_no_library_that_computes(tmp_path):
    text, loaded = imported_by(["--help"], tmp_path)
    assert "compare" in text
    assert loaded.isdisjoint({"jax", "numpy", "pandas", "pyarrow", "scipy", "diffrax", "pydantic"})


LIGHT = {  # what is typed -> part of what is printed
    "run small.toml": "nothing to do: all 16 points are there",
    "run small.toml --json": '"computed": 0',
    "status runs/small": "points                   16",
    "list": "complete",
    "plan small.toml": "16 points, 16 there already, 0 new",
    "plan fresh.toml": "In closed form 16 learned",
    "plan fig1.toml": "fig1: ",  # training
    "plan fig3.toml": "fig3: ",  # temporal
    "plan network.toml": "network: ",
    "schema": '"title": "A spec of jepa_sweep"',
    "init mine": "Wrote mine.toml and spec.schema.json.",
}


@pytest.mark.process
@pytest.mark.parametrize("words", LIGHT)
def test_whoever_computes_nothing_waits_for_no_library_that_computes(place, words):
    """A finished run says so, and a spec is checked and planned, without JAX, which takes longer than all of it."""
    for name in ("fig1", "fig3"):
        (place / f"{name}.toml").write_text((ROOT / "sweeps" / f"{name}.toml").read_text())
    (place / "fresh.toml").write_text(SPEC.replace("small", "fresh"))
    (place / "network.toml").write_text('name = "network"\nsystem = "network"\n[axes]\nL = 2\nt_end = 1.0\n')
    text, loaded = imported_by(words.split(), place)
    assert LIGHT[words] in text
    assert loaded.isdisjoint({"jax", "jaxlib", "diffrax", "optax", "pandas", "scipy"})


@pytest.mark.process
def test_rows_are_shown_without_jax(place):
    text, loaded = imported_by(["query", "runs/small"], place)
    assert "learned" in text
    assert loaded.isdisjoint({"jax", "jaxlib", "diffrax", "optax", "scipy"})
