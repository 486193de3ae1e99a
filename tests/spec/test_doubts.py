"""What can be computed and is hardly wanted is said before it is computed, and nothing is said of other sweeps."""

import json
import re

import pytest
from conftest import ROOT, TINY, TRACKED

import jepa_sweep as js
from jepa_sweep.spec import doubts as module
from jepa_sweep.spec.doubts import doubts
from jepa_sweep.spec.forecast import forecast
from jepa_sweep.spec.grid import Grid

AXES = TINY["axes"]
FINE = {"geom": [1e-8, 1e-2], "num": 100_000}
SINGLE = {"precision": "float32", "rtol": 1e-5}


def doubts_of(sweep):
    grid = Grid(sweep)
    return doubts(sweep, grid, forecast(sweep, grid))


def sampled(**trajectories):
    return {"measure": {"trajectories": trajectories}}


DOUBTFUL = {
    "late samples": (sampled(until=1e6), r"`until` = 1e\+06 puts every sample but the first after .*; try 2"),
    "loose": (
        {"solver": {"rtol": 0.05}},
        r"`rtol` = 0.05 leaves times so few digits .*; try 1e-08 \(\[solver.rtol\]\)",
    ),
    "close to 1": (
        {"solver": {**SINGLE, "method": "dopri8"}, "measure": {"p": [0.5, 0.9999999]}},
        r"`p` = 0.9999999 is so close to 1 that rounding in float32 decides .*; try 0.99, or precision = \"float64\"",
    ),
    "never met": (
        {"measure": {"p": [0.5, 1.5]}},
        r"No point with `p` = 1.5 is learned, most are not_reached: .*measure.p",
    ),
    "eps above": (
        {"axes": {**AXES, "eps": [1e-3, 5.0, 7.0]}},
        r"No point with `eps` = 5 is learned, nor with 1 more of its values, most are not_reached: .*\(\[axes.eps\]\)",
    ),
    "large": (
        {"axes": {**AXES, "eps": FINE}, **sampled(samples=1000)},
        r"Trajectories take about 97\.\d GB of files; leave",
    ),
    "few": (
        {
            "axes": {**AXES, "rho": [0.05, 0.1], "L": [7, 8], "eps": {"geom": [1e-9, 1e-2], "num": 40}},
            "objective": "jepa",
        },
        r"\d% of the points are learned, and \d\d% are not_reached: ",
    ),
}


@pytest.mark.parametrize("case", DOUBTFUL)
def test_what_is_hardly_wanted_is_told_with_what_to_try(case):
    change, said = DOUBTFUL[case]
    found = doubts_of(js.Sweep(**{**TINY, **change}))
    assert any(re.search(said, sentence) for sentence in found), found
    assert len(found) == 1
    assert all("; " in sentence and re.search(r"\(\[[\w.]+\]\)\.$", sentence) for sentence in found)


FINE_SWEEPS = {
    "tiny": {},
    "tracked": TRACKED,
    "long trajectories of many samples": sampled(until=50.0, samples=400),
    "two samples": sampled(samples=2),
    "decay and growth": {"axes": {**AXES, "eps": [1e-3, 5.0]}, "measure": {"p": [0.5, 1.5]}},
    "collapse": {"combine": "zip", "axes": {"lam": [-1.0, 0.0], "rho": [-1.0, 0.0], "L": 1, "eps": 1e-3}},
    "collapse beside growth": {"combine": "zip", "axes": {"lam": [-1.0, 1.0], "rho": [-1.0, 1.0], "L": 1, "eps": 1e-3}},
    "one of three points": {
        "combine": "zip",
        "axes": {"lam": 1.0, "rho": [0.5, 0.7, 0.9], "L": 2, "eps": [1e-3, 0.5, 2.0]},
    },
    "single": {"solver": SINGLE, "measure": {"p": [0.999]}},
    "exact": {"solver": {"method": "exact", "precision": "float32"}, "measure": {"p": [0.9999999]}},
    "series": {"system": "temporal", "axes": {"log10_T": 2.0}, **sampled(samples=2)},
}


@pytest.mark.parametrize("case", FINE_SWEEPS)
def test_of_what_may_well_be_wanted_nothing_is_said(case):
    assert doubts_of(js.Sweep(**{**TINY, **FINE_SWEEPS[case]})) == []


@pytest.mark.parametrize("path", sorted((ROOT / "sweeps").glob("*.toml")), ids=lambda path: path.stem)
def test_nothing_is_said_of_the_specs_that_are_shipped(path):
    assert doubts_of(js.Sweep.load(path)) == []


def test_of_points_drawn_from_many_only_what_is_sure_is_told(monkeypatch):
    sweep = js.Sweep(**{**TINY, "axes": {**AXES, "eps": {"geom": [1e-6, 0.9], "num": 100}}})
    assert "nor with" in " ".join(doubts_of(sweep))
    monkeypatch.setattr("jepa_sweep.spec.forecast.MOST", 500)  # some five points a value
    assert doubts_of(sweep) == []
    assert module.SURE > 5


@pytest.mark.parametrize("name", ["plan", "run"])
def test_commands_warn_and_go_on(command, name):
    solver = {"solver": {"method": "exact"}, "measure": {"p": [0.5, 1.5]}}
    done = command(js.Sweep(**{**TINY, **solver}), "--json", command=name)
    assert done.exit_code == 0
    [warning] = json.loads(done.stdout)["warnings"]
    assert f"warning: {warning}" in done.stderr.replace("\n", " ").replace("  ", " ")
