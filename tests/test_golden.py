"""Results of every system are those kept beside its version: whoever changes them raises it."""

import golden
import pytest
from golden import SWEEPS

from jepa_sweep.systems.registry import BUILT_IN


def test_every_system_and_objective_has_its_tables():
    sweeps = map(golden.sweep, SWEEPS)
    held = {(sweep.system.name, objective) for sweep in sweeps for objective in sweep.objective}
    assert held == {(name, objective) for name, system in BUILT_IN.items() for objective in system.objectives}
    assert {path.stem for path in golden.DATA.iterdir()} == set(SWEEPS)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.long if n in golden.SLOW else ()) for n in SWEEPS])
def test_results_change_with_the_version_alone(name, tmp_path):
    assert golden.trouble(name, golden.read(name), golden.made(name, tmp_path / "run")) == ""


def changed(column, change):
    """The tables of scalar flows with another number in one column, and its row: the first that was learned."""
    kept = golden.read("clock")
    row = kept["points.status"].index("learned") if column.startswith("points.") else 0
    values = list(kept[column])
    values[row] = change(values[row])
    return {**kept, column: values}, row


CHANGES = {
    "points.t_exact": lambda t: t * (1 + 1e-11),
    "points.t_numeric": lambda t: None,
    "points.relative_difference": lambda x: x + 1e-11,
    "points.status": lambda word: "overflow",
    "points.steps": lambda steps: steps + 1,
    "trajectories.w": lambda w: w * (1 + 1e-11),
}


@pytest.mark.parametrize("column", CHANGES)
def test_a_number_that_changed_is_told(column):
    now, row = changed(column, CHANGES[column])
    told = golden.trouble("clock", golden.read("clock"), now)
    what = f"{column} of row {row} is {now[column][row]!r}, not "
    assert told.startswith(f"Results of the system reduced changed, and its `version` did not: {what}")
    assert "`version` must be raised in jepa_sweep/systems; then have the tables written anew" in told


def test_rows_and_columns_that_came_or_went_are_told():
    kept = golden.read("clock")
    for now, phrase in (
        ({**kept, "points.w_star": [1.0]}, "points.w_star has 1 values, not 20 values"),
        ({key: values for key, values in kept.items() if key != "points.steps"}, "points.steps has no values, not 20"),
        ({**kept, "points.new": [1.0]}, "points.new has 1 values, not no values"),
    ):
        assert phrase in golden.trouble("clock", kept, now)


def test_a_rounding_is_no_change():
    kept = golden.read("clock")
    for column in ("points.t_exact", "points.t_numeric", "trajectories.w"):
        assert golden.trouble("clock", kept, changed(column, lambda x: x * (1 + 1e-14))[0]) == ""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"version": 99},
            "`version` of reduced is 99, but the tables kept are of {version}; have the tables written anew",
        ),
        ({"spec": 'name = "clock"'}, "`clock` is another sweep than the one whose tables are kept; have the tables"),
    ],
)
def test_tables_that_are_out_of_date_are_told(change, told):
    kept = golden.read("clock")
    told = told.format(version=BUILT_IN["reduced"].version)
    assert golden.trouble("clock", kept, {**kept, **change}).startswith(told)
