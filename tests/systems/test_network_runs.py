"""Runs of networks go on, grow, are repaired and are asked from the command line."""

import json
import re
import shutil

import pandas as pd
import pytest
from conftest import paths_of
from trained import FLOW, JEPA, SORTED, TRAINING, assert_same, change, finished, table_of

import jepa_sweep as js
from jepa_sweep.computing import repair
from jepa_sweep.results import Store
from jepa_sweep.running.execute import execute

trained = finished(TRAINING)  # eight networks
one_by_one = finished(JEPA, chunk_points=2)  # those of JEPA, each in a chunk of its own
flowed = finished(FLOW)  # the same by gradient flow


@pytest.fixture
def copy(tmp_path, trained):
    """A copy of the trained run, to be damaged or extended."""
    shutil.copytree(trained.path, tmp_path / "run")
    return Store(tmp_path / "run")


# --- again, and on --------------------------------------------------------------------------------------------------


def test_again_computes_and_compiles_nothing(copy, tmp_path, trained, compilations):
    assert execute(js.Sweep(**TRAINING), copy.path).computed == 0
    elsewhere = execute(js.Sweep(**TRAINING), tmp_path / "elsewhere")
    assert elsewhere.computed == 16
    assert not compilations
    assert_same(elsewhere.store, trained)


def test_a_stopped_run_goes_on_where_it_stopped(tmp_path, one_by_one):
    seen = iter([False, True])
    first = execute(js.Sweep(**JEPA), tmp_path, chunk_points=2, stop=lambda: next(seen))
    assert (first.complete, first.computed) == (False, 2)
    assert len(first.store.read("features")) == 6
    second = execute(js.Sweep(**JEPA), tmp_path, chunk_points=2)
    assert (second.complete, second.computed) == (True, 6)
    assert_same(second.store, one_by_one)


def test_chunks_change_no_number(trained, one_by_one, tmp_path):
    """But for the last bits: a compiler adds up a lone network in another order than several side by side."""
    for name in one_by_one.tables:
        whole = table_of(trained, name)
        whole = whole[whole.objective == "jepa"].reset_index(drop=True)
        pd.testing.assert_frame_equal(table_of(one_by_one, name), whole, check_exact=False, rtol=1e-9, atol=1e-11)
    # A network cut in two between its thresholds is trained twice, to the same numbers.
    assert_same(js.run(js.Sweep(**JEPA), tmp_path, chunk_points=1), one_by_one)


@pytest.mark.parametrize(
    ("changed", "new"),
    [
        (change(JEPA, {"eta": [0.01, 0.02, 0.03, 0.04]}), 8),
        (change(JEPA, {"layout": ["crossed", "same"]}), 4),
        (change(JEPA, {"eta": 0.04}), 0),
        (change(JEPA, {"width": 3, "momentum": 0.9}), 0),
        (change(JEPA, name="renamed"), 0),
        (change(JEPA, solver={"max_steps": 77}), 0),
    ],
    ids=["steps", "layouts", "subset", "defaults", "name", "max_steps"],
)
def test_an_edited_spec_computes_only_its_new_networks(tmp_path, one_by_one, changed, new):
    shutil.copytree(one_by_one.path, tmp_path / "run")
    report = execute(js.Sweep(**changed), tmp_path / "run", chunk_points=2)
    assert report.computed == new
    points = report.store.read("points")
    assert len(points) == 8 + new
    assert not points.duplicated(SORTED["points"]).any()
    assert len(report.store.read("trajectories")) == (8 + new) // 2 * 4 * 3


def test_a_threshold_may_be_added_where_nothing_is_sampled(tmp_path):
    bare = change(JEPA, {"layout": "same", "L": 1}, measure={"p": [0.8]})
    run = execute(js.Sweep(**bare), tmp_path)
    more = execute(js.Sweep(**change(bare, measure={"p": [0.5, 0.8]})), tmp_path)
    assert (run.computed, more.computed) == (2, 2)
    assert len(more.store.read("features")) == 4 * 3
    assert len(more.store.read("trajectories")) == 0


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        (change(TRAINING, solver={"method": "adam"}), "method: sgd here, adam asked"),
        (change(TRAINING, solver={"time": "flow"}), "time: paper here, flow asked"),
        (change(TRAINING, solver={"precision": "float32"}), "precision: float64 here, float32 asked"),
        (change(TRAINING, measure={"p": [0.5, 0.8], "trajectories": {"samples": 5}}), "samples: 4 here, 5 asked"),
        (change(TRAINING, measure={"p": [0.5, 0.8]}), "samples: 4 here, none asked"),
        (change(TRAINING, measure={"p": [0.8, 0.5], "trajectories": {"samples": 4}}), "p: 0.5 here, 0.8 asked"),
        (FLOW, "system: training here, network asked"),
    ],
)
def test_numbers_made_in_another_way_are_refused(trained, spec, what):
    with pytest.raises(js.SpecError, match=rf"\(.*{what}.*\); write to another directory with --out"):
        js.run(js.Sweep(**spec), trained.path)


@pytest.mark.long
@pytest.mark.parametrize("solver", [{"method": "dopri5", "rtol": 1e-9}, {"method": "tsit5", "rtol": 1e-8}])
def test_flows_integrated_in_another_way_are_refused(flowed, solver):
    with pytest.raises(
        js.SpecError, match=r"\(.*(method|rtol): .* here, .* asked.*\); write to another directory with --out"
    ):
        js.run(js.Sweep(**change(FLOW, solver=solver)), flowed.path)


# --- damage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["points", "features", "trajectories", "losses"])
def test_damaged_tables_are_found_and_computed_again(command, copy, trained, name):
    path = paths_of(copy, name)[-1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    found = command(None, command="verify")
    assert found.exit_code == 5
    assert f"{name}/{path.name}" in found.output
    assert list(repair(copy)) == [path.stem]
    whole = Store(copy.path)
    assert whole.damage() == {}
    assert command(None, command="verify").exit_code == 0
    assert_same(whole, trained)


# --- the command line -----------------------------------------------------------------------------------------------


def test_status_counts_all_tables(copy, command):
    facts = json.loads(command(None, "--json", command="status").stdout)
    rows = {"points": 16, "features": 48, "trajectories": 96, "losses": 32, "failures": 0}
    assert {name: facts[name] for name in rows} == rows
    assert facts["statuses"] == {"trained": 16}
    [spec] = facts["specs"]
    assert (spec["name"], spec["points"], spec["missing"]) == ("trained", 16, 0)
    assert re.search("samples of losses +32\n", command(None, command="status").stdout)


def test_queries_take_words_and_numbers_of_any_table(copy, command):
    words = ["--table", "features", "--where", "layout = opposite", "--where", "eta = 0.02", "--json", "--limit", "0"]
    rows = json.loads(command(None, *words, "--sort", "t_learned", command="query").stdout)
    assert len(rows) == 2 * 2 * 3
    assert {row["layout"] for row in rows} == {"opposite"}
    times = [row["t_learned"] for row in rows]
    assert times == sorted(times)
    losses = command(
        None, "--table", "losses", "--where", "objective != mae", "--format", "csv", "--limit", "0", command="query"
    )
    assert len(losses.stdout.strip().splitlines()) == 1 + 16
    wrong = command(None, "--table", "feature", command="query")
    assert wrong.exit_code == 2
    assert "Did you mean `features`?" in wrong.output


def test_plans_count_networks(copy, command):
    more = js.Sweep(**change(TRAINING, {"seed": [0, 1, 2]}))
    facts = json.loads(command(more, "--json", command="plan").stdout)
    assert (facts["points"], facts["committed"], facts["new"]) == (48, 16, 32)
    assert facts["measured"]
    assert facts["warnings"]
    assert facts["bytes"] == 2 * sum(commit.bytes for commit in copy.reader.log.commits())


def test_features_next_to_rest_say_that_their_times_are_inaccurate(tmp_path):
    """By the errors of the solver; the closed form, which holds for this start, agrees."""
    near = {"p": [0.5, 1 - 1e-6, 1 - 1e-9]}
    axes = {"features": 3, "L": 2, "width": 4, "data": "gaussian", "layout": "opposite", "start": "aligned"}
    axes |= {"lam_low": 1.0, "lam_high": 1.3, "rho_low": 0.4, "rho_high": 0.9, "scale": 0.15, "t_end": 500.0}
    store = js.run(js.Sweep(name="near", system="network", objective="jepa", axes=axes, measure=near), tmp_path)
    features = store.read("features")
    assert set(features.status) == {"learned", "inaccurate"}
    learned = features[features.status == "learned"]
    assert (learned.relative_difference <= 100 * store.frozen["solver"]["rtol"]).all()
    assert set(learned.p) >= {0.5}
