"""Parameters that cannot matter: what the records say of them is so, and sweeps that vary them are warned of."""

import json
import re
import warnings

import numpy as np
import pytest
from conftest import TINY

import jepa_sweep as js
from jepa_sweep.spec.replicates import replicates

AXES = {"features": 2, "layout": "opposite", "L": 2, "scale": 0.3, "t_end": 20.0, "seed": [0, 1]}
ALL = ["jepa", "mae", "nosg", "ema"]
RTOL, STEPS = 1e-8, 400  # of the flow, of descent
ROUNDING = 100 * STEPS * np.finfo(float).eps  # some hundred operations a number and step


def network(method="tsit5", **axes):
    objective = axes.pop("objective", ALL)
    solver = {"method": method, "rtol": RTOL}
    return js.Sweep(name="x", system="network", objective=objective, axes={**AXES, **axes}, solver=solver)


def training(method="sgd", **axes):
    objective = axes.pop("objective", ALL)
    axes = {**AXES, "eta": AXES["t_end"] / STEPS, **axes}
    return js.Sweep(name="x", system="training", objective=objective, axes=axes, solver={"method": method})


CASES = {  # sweep, and how far numbers of two seeds may differ where the seed cannot matter
    "flow": (network(), 100 * RTOL),
    "flow, gaussian": (network(start="gaussian", objective="jepa"), None),
    "descent": (training(), ROUNDING),
    "descent, wide": (training(width=3, objective="mae"), ROUNDING),
    "descent, masked": (training(data="masked", objective="jepa"), ROUNDING),
    "descent, crossed": (training(layout="crossed", features=4, objective="jepa"), ROUNDING),
    "descent, gaussian": (training(start="gaussian", objective="jepa"), None),
    "descent, samples": (training(batch=4, objective="jepa"), None),
    "momentum": (training("momentum", momentum=0.5, objective=["jepa", "ema"]), ROUNDING),
    "adam": (training("adam", objective="jepa"), None),
}


@pytest.mark.long
@pytest.mark.parametrize(("sweep", "tolerance"), CASES.values(), ids=CASES)
def test_seeds_matter_where_the_record_says_so(tmp_path, sweep, tolerance):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", js.SpecWarning)
        features = js.run(sweep, tmp_path).features()
    assert bool(told) is (tolerance is not None)
    numbers = ["t_learned", "t_fitted", "t_exact", "w_start", "w_end", "v_end"]
    first, second = (features[features["seed"] == seed][numbers].to_numpy() for seed in (0, 1))
    assert np.isfinite(first[:, 3:]).all()
    if tolerance is None:
        assert np.nanmax(np.abs(first / second - 1)) > 1e-3
    else:
        np.testing.assert_allclose(first, second, rtol=tolerance, atol=tolerance)


POINT = {"features": 2, "L": 1, "t_end": 1.0}
BLOCKS = {"name": "x", "system": "training", "objective": "jepa"}


def listed(*points, **others):
    points = [{**POINT, **point} for point in points]
    return js.Sweep(**BLOCKS, combine="points", points=points, **others)


@pytest.mark.parametrize(
    ("sweep", "sentences"),
    [
        (training(seed=[0, 1, 5], batch=[0, 8]), [r"3 values of it give the same numbers 3 times, .* \(.axes.seed.\)"]),
        (training(seed=3), []),
        (training(seed=[0, 1], batch=[4, 8]), []),
        (network(start=["gaussian", "aligned"]), ['where start = "aligned": 2 values .* try start = "gaussian"']),
        (listed({"seed": 1}, {"seed": 2}, {"seed": 2, "scale": 0.5}), [r"2 values .* \(.points.\)"]),
        (listed({"seed": 1}, {"seed": 2, "scale": 0.5}), []),
        (listed({"seed": 1, "batch": 2}, {"seed": 2, "batch": 2}), []),
        (js.Sweep(**BLOCKS, combine="zip", axes={**POINT, "seed": [0, 1], "eta": [0.1, 0.2]}), []),
        (js.Sweep(**BLOCKS, combine="zip", axes={**POINT, "seed": [0, 1]}), ["2 values"]),
        (js.Sweep(**BLOCKS, combine="sobol", num=8, axes={**POINT, "seed": [0, 1], "eta": {"geom": [0.1, 0.2]}}), []),
        (
            js.Sweep(**BLOCKS, block=[{"axes": POINT}, {"axes": {**POINT, "seed": [4, 5]}}]),
            [r"\(.block.1.axes.seed.\)"],
        ),
        (js.Sweep(name="x", system="temporal", axes={"log10_T": 1.0, "seed": [0, 1]}), []),
        (js.Sweep(**TINY), []),
    ],
)
def test_a_sweep_is_told_what_repeats(sweep, sentences):
    found = replicates(sweep)
    assert len(found) == len(sentences)
    for ours, expected in zip(found, sentences, strict=True):
        assert re.search(expected, ours), ours


def test_python_warns_the_line_that_runs_the_sweep(tmp_path):
    with pytest.warns(js.SpecWarning, match="`seed` cannot matter") as told:
        js.run(training(t_end=1.0, objective="jepa"), tmp_path)
    assert [one.filename for one in told] == [__file__]


@pytest.mark.parametrize("name", ["plan", "run"])
def test_the_command_line_warns_and_goes_on(command, name):
    sweep = training(t_end=1.0, objective="jepa")
    done = command(sweep, "--json", command=name)
    assert done.exit_code == 0
    [warning] = json.loads(done.stdout)["warnings"]
    assert f"warning: {warning}" in done.stderr
    assert "try start" in warning
    quiet = command(training(t_end=1.0, objective="jepa", seed=0), "--json", command=name)
    assert json.loads(quiet.stdout)["warnings"] == []
    assert "warning" not in quiet.stderr
