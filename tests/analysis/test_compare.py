"""Two runs point by point, against what pandas makes of the whole tables at once."""

import itertools
import json
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import TINY, columns_of

import jepa_sweep as js
from jepa_sweep.analysis import joining
from jepa_sweep.store.records import Claim, Work
from jepa_sweep.store.schema import Column
from jepa_sweep.store.writer import Writer

REDUCED = [Column(name, "exact", "1", name) for name in ("lam", "rho", "eps")] + [Column("L", "integer", "1", "layers")]
LAYERED = [Column("L", "integer", "1", "layers"), Column("seed", "integer", "1", "of the weights")]
KEYS = ["objective", "lam", "rho", "eps", "L", "p"]
SOLVER = {"method": "dopri8", "rtol": 1e-8}
_numbers = itertools.count()


def made(
    *chunks,
    of="reduced",
    parameters=REDUCED,
    precision="float64",
    frozen=None,
    spec='name = "made"\n',
    again=(),
    facts=(),
):
    """A store in memory with these chunks: dicts of table -> rows, in which what is left out holds nothing."""
    columns, names = columns_of(of, parameters), [c.name for c in parameters]
    frozen = {"system": of, "version": 1, "solver": SOLVER, "trajectories": None, **(frozen or {})}
    writer = Writer.create(f"memory://compared/{next(_numbers)}", frozen, columns, names, precision, "paper")
    digest = writer.add_spec(spec)
    environments = [writer.add_environment(one) for one in facts or [{"device": "none", "versions": {"jax": "1"}}]]
    for number, chunk in enumerate(chunks):
        rows = {name: _arrow(chunk.get(name), writer.reader.schema(name)) for name in columns}
        count = rows["points"].num_rows + rows["failures"].num_rows
        claim = Claim(digest, 1000 * number, 1000 * number + count, solver=tuple(again))
        environment = environments[number % len(environments)]
        writer.commit(writer.claim(claim, writer.reader.log.claims()), claim, rows, environment, Work(seconds=1.0))
    return js.Store(writer.reader)


def _arrow(rows, schema):
    count = 0 if rows is None else len(rows)
    given = {} if rows is None else rows
    arrays = [
        pa.array([*given[f.name]] if f.name in given else [None] * count, f.type, from_pandas=True) for f in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema.remove_metadata())


def points(lam=(0.5, 1.0, 2.0), L=(1, 2), objective=("jepa", "mae"), **columns):
    rows = pd.DataFrame([*itertools.product(objective, lam, L)], columns=["objective", "lam", "L"])
    usual = {
        "rho": 0.5,
        "eps": 1e-3,
        "p": 0.5,
        "status": "learned",
        "t_numeric": 10.0 + np.arange(len(rows)),
        "steps": 7,
    }
    return rows.assign(**{**usual, **columns})


def apart(first, **columns):
    """The same rows with other numbers."""
    return first.assign(**columns)


# --- against all at once ----------------------------------------------------------------------------------------------


def drawn(rng, count):
    """Some points of a grid, learned or failed, in an order and chunks of their own."""
    rows = points(np.geomspace(0.1, 10, 12), (1, 2, 3)).sample(count, random_state=rng)
    rows["status"] = rng.choice(["learned", "not_reached", "max_steps"], count)
    rows["t_numeric"] = np.where(rows["status"] == "learned", np.exp(rng.normal(0, 3, count)), np.nan)
    rows["w_star"] = rng.choice([0.5, np.nan, 0.0], count)
    failed = rows["status"] == "max_steps"
    cuts = np.sort(rng.integers(0, count, 3))
    chunks = [rows.iloc[a:b] for a, b in itertools.pairwise([0, *cuts, count]) if a < b]
    return rows.assign(w_star=rows["w_star"].where(~failed)), [
        {"points": one[~failed[one.index]], "failures": one[failed[one.index]].assign(message="")} for one in chunks
    ]


@pytest.mark.parametrize("seed", range(6))
def test_what_is_found_file_by_file_is_found_at_once(seed):
    rng = np.random.default_rng(seed)
    (mine, one), (theirs, two) = drawn(rng, 50), drawn(rng, 60)
    found = made(*one).compare(made(*two))
    both = mine.merge(theirs, on=KEYS, suffixes=("_here", "_there"))
    every = mine.merge(theirs, on=KEYS, how="outer", indicator=True)
    assert found.points == len(both)
    for alone, side in ((found.only_here, "left_only"), (found.only_there, "right_only")):
        assert set(alone[KEYS].itertuples(index=False)) == set(
            every.loc[every["_merge"] == side, KEYS].itertuples(index=False)
        )
    counted = both.groupby(["status_here", "status_there"]).size().to_dict()
    assert {(r.here, r.there): r.rows for r in found.statuses.itertuples()} == counted
    for row in found.differences.itertuples():
        group = both[(both["objective"] == row.objective) & (both["L"] == row.at_L)]
        a, b = group[f"{row.column}_here"], group[f"{row.column}_there"]
        off = ((a - b).abs() / np.maximum(a.abs(), b.abs())).where(a != b, 0.0).dropna()
        alone = (a.isna() != b.isna()) & (group["status_here"] == group["status_there"])
        assert (row.rows, row.missing) == (len(off), alone.sum())
        if row.rows:
            assert row.worst == off.max()
            assert off[group["lam"] == row.at_lam].tolist() == [row.worst]
            for value, share in ((row.median, 0.5), (row.p99, 0.99)):
                exact = np.quantile(off, share, method="inverted_cdf")
                assert exact * (1 - 2**-10) <= value <= exact
    beside = found.rows().sort_values(KEYS).reset_index(drop=True)
    wanted = both.sort_values(KEYS).reset_index(drop=True)
    for column in ("t_numeric_here", "t_numeric_there", "status_here", "steps_there"):
        assert beside[column].equals(wanted[column]), column


def test_a_run_is_equal_to_itself(finished):
    found = finished.compare(str(finished.path))
    assert found.points == len(finished.points())
    assert (found.differences["worst"] == 0).all()
    assert (found.differences["missing"] == 0).all()
    assert found.differences.groupby("column")["rows"].sum()["t_numeric"] == found.points
    assert found.worst == 0
    assert (len(found.settings), len(found.only_here), len(found.only_there)) == (0, 0, 0)
    assert found.statuses.values.tolist() == [["points", "learned", "learned", 72]]
    assert "no setting differs\nno status differs\nequal to 14 digits: w_star, t_numeric, " in repr(found)
    assert repr(found).endswith("worst relative difference between the two: 0.00e+00")


def test_each_file_is_read_for_its_keys_and_for_its_numbers_where_runs_have_the_same_chunks(finished, monkeypatch):
    read = []
    usual = joining.table.rows
    monkeypatch.setattr(joining.table, "rows", lambda *asked: read.append(asked[1].file.path) or usual(*asked))
    finished.compare(finished)
    assert len(read) == 4 * len({*read}) == 4 * len(finished.reader.parts("points"))


def test_files_of_runs_with_nothing_in_common_are_read_once(monkeypatch):
    """However many pairs of them there are, and though all are of the same ranges."""
    lam = np.linspace(1, 2, 12)
    rows, others = (points(values, (1,), ("jepa",)).sample(frac=1, random_state=0) for values in (lam, lam + 1e-3))
    one, two = (made(*({"points": side[n::4]} for n in range(4))) for side in (rows, others))
    read, usual = [], joining.table.rows
    monkeypatch.setattr(joining.table, "rows", lambda *asked: read.append(asked[1].file.path) or usual(*asked))
    assert [*joining.pairs(*(joining.Side(side.reader, "points") for side in (one, two)), ["t_numeric"])] == []
    assert len(read) == 8


# --- which points are the same ----------------------------------------------------------------------------------------


def test_points_are_the_same_but_for_rounding():
    rows = points()
    near = apart(rows, lam=np.nextafter(rows["lam"], 9), eps=1e-3 * (1 - 3e-13))
    found = made({"points": rows}).compare(made({"points": near[:7]}, {"points": near[7:]}))
    assert (found.points, len(found.only_here), len(found.only_there)) == (len(rows), 0, 0)
    assert found.worst == 0
    far = made({"points": apart(rows, lam=rows["lam"] * (1 + 1e-11))})
    with pytest.raises(js.SpecError, match="must have points in common"):
        made({"points": rows}).compare(far)


def test_no_two_points_are_matched_with_one():
    """Where rounding alone tells points of one run apart, only equal ones are the same."""
    lam, next_lam, last_lam = 0.5, np.nextafter(0.5, 1), 0.5 * (1 + 4e-13)
    one, two = points((lam, next_lam), (1,), ("jepa",)), points((lam,), (1,), ("jepa",))
    for first, second in ((one, two), (one[::-1], two)):
        found = made({"points": first[:1]}, {"points": first[1:]}).compare(made({"points": second}))
        assert (found.points, len(found.only_here), len(found.only_there)) == (1, 1, 0)
        assert found.only_here["lam"].tolist() == [next_lam]
        back = made({"points": second}).compare(made({"points": first}))
        assert (back.points, back.only_there["lam"].tolist()) == (1, [next_lam])
    neither = made({"points": points((last_lam, 2.0), (1,), ("jepa",))})
    found = made({"points": points((lam, next_lam, 2.0), (1,), ("jepa",))}).compare(neither)
    assert (found.points, len(found.only_here), len(found.only_there)) == (1, 2, 1)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_chunks_do_not_decide_which_points_are_the_same(size):
    """Two points within rounding of one are left without a partner, wherever they lie."""
    here, there = (points(lam, (1,), ("jepa",)) for lam in ((1.0, 2.0, 1 + 2e-13), (1 + 1e-13, 2.0)))
    found = made(*({"points": here[n : n + size]} for n in range(0, 3, size))).compare(made({"points": there}))
    assert (found.points, len(found.only_here), len(found.only_there)) == (1, 2, 1)


def test_rows_find_their_partners_in_any_order_of_any_chunks():
    rows = points(np.linspace(1, 2, 10))
    rows["w_star"] = rows["t_numeric"]
    order = np.random.default_rng(0).permutation(len(rows))
    one, two = (
        [{"points": r[n : n + size]} for n in range(0, len(r), size)] for r, size in ((rows, 7), (rows.iloc[order], 11))
    )
    found = made(*one).compare(made(*two))
    assert (found.points, found.worst) == (len(rows), 0)
    assert (found.rows()["t_numeric_there"] == found.rows()["w_star_here"]).all()


def test_values_and_points_that_only_one_run_has_are_named():
    here = points((0.5, 1.0), (1, 2, 8))
    there = points((0.5, np.nextafter(1.0, 2), 3.0), (1, 2))[1:]
    found = made({"points": here}).compare(made({"points": there}))
    assert found.values == {"here": {"L": (8,)}, "there": {"lam": (3.0,)}}
    said = found.text()
    assert "7 points in both, 5 only here, 4 only there" in said
    assert "only here: 4 points of L = 8\nonly here: 1 points of values that both have, such as:" in said
    assert "only there: 4 points of lam = 3\n" in said
    facts = found.facts()["only_here"]
    assert (facts["points"], facts["values"], len(facts["others"])) == (5, {"L": (8,)}, 1)
    assert (facts["others"][0]["objective"], facts["others"][0]["lam"], facts["others"][0]["L"]) == ("jepa", 0.5, 1)


def test_runs_without_a_common_point_say_what_keeps_them_apart():
    one, two = made({"points": points((0.5, 1.0))}), made({"points": points((0.7, 2.0))})
    with pytest.raises(js.SpecError, match=r"have none: lam is 0\.5, 1 in the one and 0\.7, 2 in the other; run the"):
        one.compare(two)
    with pytest.raises(js.SpecError, match=r"have none; run the same axes"):
        one.compare(made())


# --- statuses and numbers ---------------------------------------------------------------------------------------------


def test_a_point_that_failed_here_and_was_learned_there_is_a_point_of_both():
    rows = points()
    failed = apart(rows[:2], status="max_steps", message="").drop(columns="t_numeric")
    one, two = made({"points": rows[2:], "failures": failed}), made({"points": rows})
    found = one.compare(two)
    assert (found.points, len(found.only_here), len(found.only_there)) == (12, 0, 0)
    assert found.statuses.values.tolist() == [
        ["points", "learned", "learned", 10], ["points", "max_steps", "learned", 2]
    ]  # fmt: skip
    times = found.differences[found.differences["column"] == "t_numeric"]
    assert (times["rows"].sum(), times["missing"].sum(), times["worst"].max()) == (10, 0, 0)
    assert "points  max_steps  learned     2" in found.text()
    both = one.compare(made({"failures": apart(rows[:2], status="non_finite", message="")}))
    assert (both.points, both.worst, len(both.differences)) == (2, None, 0)
    assert both.text().endswith("worst relative difference between the two: none")
    json.dumps(both.facts(), allow_nan=False)


def test_what_no_run_has_is_equal_and_what_one_lacks_is_no_number():
    rows = points((0.5, 1.0), (1,), ("jepa",))
    here = made({"points": apart(rows, t_numeric=[np.nan, 0.0], w_star=[np.nan, 1.0])})
    there = made({"points": apart(rows, t_numeric=[np.nan, 0.0], w_star=[2.0, 4.0])})
    columns = ["column", "rows", "missing", "worst"]
    found = here.compare(there).differences[columns].values.tolist()
    assert found == [["w_star", 1, 1, 0.75], ["t_numeric", 1, 0, 0.0]]  # relative to the larger, and 0 equals 0
    assert there.compare(here).differences[columns].values.tolist() == found
    assert "only one of them has w_star: 1 rows\n" in here.compare(there).text()


def test_single_precision_is_compared_with_double():
    rows = points(t_numeric=10 / 3)
    single = made({"points": rows}, precision="float32")
    found = made({"points": rows}).compare(single)
    assert 0 < found.worst == abs(float(np.float32(10 / 3)) - 10 / 3) / max(float(np.float32(10 / 3)), 10 / 3) < 1e-7
    assert found.rows()["t_numeric_there"].dtype == np.float32


def test_features_are_told_apart_within_their_network():
    networks = pd.DataFrame({"objective": "jepa", "L": [2, 2], "seed": [0, 1], "p": 0.5, "status": "trained"})
    features = networks.merge(pd.DataFrame({"feature": [0, 1, 2], "t_learned": [1.0, 2.0, 4.0]}), how="cross")
    features = apart(features, status="learned", lam=1.0)
    changed = apart(features, t_learned=features["t_learned"] * np.where(features["feature"] == 2, 1 + 1e-6, 1))
    changed.loc[0, ["status", "t_learned"]] = "not_yet", np.nan
    of = {"of": "training", "parameters": LAYERED}
    one, two = (
        made({"points": networks, "features": features}, **of),
        made({"points": networks, "features": changed}, **of),
    )
    found = one.compare(two)
    [times] = found.differences[found.differences["column"] == "t_learned"].to_dict("records")
    assert (times["table"], times["rows"], times["missing"], times["at_feature"]) == ("features", 5, 0, 2)
    assert times["worst"] == pytest.approx(1e-6, rel=1e-5)
    assert "seed" not in times  # groups are of what is no repetition
    assert ["features", "learned", "not_yet", 1] in found.statuses.values.tolist()
    assert len(found.rows("features")) == 6
    with pytest.raises(js.SpecError, match=r"Rows of points, features can stand .* but `trajectories` was asked for"):
        found.rows("trajectories")


TAKEN = ("worst", "place", "size", "column", "feature", "missing", "rows", "status_here", "at_rows", "median")


def test_a_parameter_may_be_called_like_what_is_told_of_numbers():
    parameters = [Column(name, "integer", "1", name) for name in TAKEN]
    rows = pd.DataFrame([*itertools.product((0, 1), repeat=3)], columns=TAKEN[:3]).assign(**dict.fromkeys(TAKEN[3:], 3))
    rows = rows.assign(objective="jepa", feature=[0, 1] * 4, p=0.5, status="learned", t_numeric=1.0, w_star=1.0)
    off = rows.assign(t_numeric=1 + 1e-6 * (1 + np.arange(8)), w_star=[np.nan, *[1.0] * 7])
    found = made({"points": rows}, parameters=parameters).compare(made({"points": off}, parameters=parameters))
    told = found.differences[found.differences["column"] == "t_numeric"].to_dict("records")
    assert [(one["rows"], one["missing"]) for one in told] == [(1, 0)] * 8
    assert [one["worst"] for one in told] == pytest.approx(1e-6 * (1 + np.arange(8)), rel=1e-4)
    assert [tuple(one[f"at_{name}"] for name in TAKEN[:3]) for one in told] == [*itertools.product((0, 1), repeat=3)]
    assert found.differences.query("missing == 1")[["column", "at_worst", "at_place"]].values.tolist() == [
        ["w_star", 0, 0]
    ]
    assert found.rows()["worst"].tolist() == rows["worst"].tolist()
    assert found.text()
    assert found.facts()


def test_entries_of_a_matrix_are_told_apart_by_row_and_column():
    rows = pd.DataFrame([*itertools.product((2.0, 3.0), (0, 1), (0, 1))], columns=["gamma_first", "row", "column"])
    parameters = [Column("gamma_first", "exact", "1", "")]
    number = columns_of("temporal", parameters)["covariances"][-1].name
    rows = rows.assign(objective="jepa", **{number: 1.0})
    off = rows.assign(
        **{number: np.where((rows["row"] == 0) & (rows["column"] == 1) & (rows["gamma_first"] == 3), 2, 1)}
    )
    points = rows[:1].assign(p=0.5, status="learned")
    of = {"of": "temporal", "parameters": parameters}
    one, two = (made({"points": points, "covariances": matrices}, **of) for matrices in (rows, off))
    [told] = one.compare(two).differences.query("table == 'covariances' and column == @number").to_dict("records")
    assert (told["rows"], told["worst"]) == (8, 0.5)
    assert (told["at_gamma_first"], told["at_row"], told["at_column"]) == (3.0, 0, 1)


# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_that_differ_are_named():
    rows = points()
    chunks = {"points": rows[:6]}, {"points": rows[6:]}
    usual = {"python": "3", "cores": 2, "git": None, "argv": ["a"], "versions": {"jax": "1", "numpy": "2"}}
    one = made(*chunks, facts=[usual])
    frozen = {"solver": {**SOLVER, "rtol": 1e-10}, "trajectories": {"samples": 4, "until": 1.5, "p": 0.5}}
    facts = [{**usual, "argv": ["b"], "versions": {"jax": version, "numpy": "2"}} for version in ("2", "3")]
    two = made(
        *chunks, frozen=frozen, facts=facts, spec='name = "made"\n[solver]\nmax_steps = 99\n', again=[("rtol", 1e-12)]
    )
    assert one.compare(two).settings.fillna("-").values.tolist() == [
        ["solver.rtol", "1e-08", "1e-10, 1e-12"],
        ["solver.max_steps", "10000", "99"],
        ["versions.jax", "1", "2, 3"],
        ["trajectories.samples", "-", "4"],
        ["trajectories.until", "-", "1.5"],
        ["trajectories.p", "-", "0.5"],
    ]


# --- real runs --------------------------------------------------------------------------------------------------------


def test_times_of_two_conventions_are_not_compared(tmp_path, finished):
    flow = js.run({**TINY, "solver": {"method": "exact", "time": "flow"}}, tmp_path / "flow")
    with pytest.raises(js.SpecError, match=r"one convention of time .* is in paper time and .*flow in flow time"):
        finished.compare(flow)


def test_python_prints_what_the_command_prints(finished, tmp_path, invoke):
    other = js.run({**TINY, "solver": {"method": "exact"}}, tmp_path / "other")
    told = invoke("compare", finished.path, other.path).stdout
    assert f"{finished.compare(other)!r}\n" == told
    assert re.search(r"^trajectories.samples +4 +NaN$", told, re.M)


def test_a_notebook_shows_tables(tmp_path, finished):
    other = js.run({**TINY, "solver": {"method": "exact"}}, tmp_path / "<other>")
    found = finished.compare(other)
    shown, tables = found._repr_html_(), [part for part in found.parts() if isinstance(part, pd.DataFrame)]
    assert shown.count("<table") == len(tables) == 1
    assert "<td>dopri8</td>" in shown
    assert "&lt;other&gt;" in shown
    assert "<other>" not in shown
