"""Small chunks share files across blocks, objectives and depths, and lose nothing by it."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from conftest import KEYS, TINY, paths_of
from hypothesis import given, settings
from hypothesis import strategies as st

import jepa_sweep as js
from jepa_sweep.results import Store
from jepa_sweep.running import compute, plan
from jepa_sweep.running.execute import execute
from jepa_sweep.running.plan import Intervals
from jepa_sweep.running.summary import plan_of, status_of
from jepa_sweep.spec.grid import Grid
from jepa_sweep.systems.system import Cost

MANY = 1000


def block(number):
    """Four points of each of two objectives, of one kind or another; some stand in the block before, too."""
    lam, L = 0.5 + number // 8 / 100, 1 + number % 7
    if number % 4 == 0:
        return {"axes": {"lam": [lam, lam + 10], "rho": [0.4, 0.8], "L": L, "eps": 1e-3}}
    if number % 4 == 1:
        axes = {"lam": [lam, lam + 10, 3.0, 4.0], "rho": 0.4, "L": [L, L, L + 1, L + 2], "eps": 1e-3}
        return {"combine": "zip", "axes": axes}
    if number % 4 == 2:
        return {"combine": "points", "points": [{"lam": lam + k, "rho": 0.7, "L": L, "eps": 1e-3} for k in range(4)]}
    axes = {"lam": {"geom": [0.1, 10.0]}, "rho": {"linear": [0.1, 1.0]}, "L": [L, L + 2], "eps": 1e-3}
    return {"combine": "sobol", "num": 4, "seed": number, "axes": axes}


def spec(blocks, **more):
    return js.Sweep(**{"name": "many", "block": blocks, "solver": {"method": "exact"}, **more})


def rows_of(path, name="points"):
    """A table in an order that does not depend on its files."""
    return pd.read_parquet(path / name).sort_values(KEYS).reset_index(drop=True)


@pytest.fixture(scope="module")
def sweep():
    return spec([block(number) for number in range(MANY)])


@pytest.fixture(scope="module")
def shared(sweep, tmp_path_factory):
    """A run of many small blocks, in chunks of 500 points."""
    return js.run(sweep, tmp_path_factory.mktemp("shared") / "run", chunk_points=500)


@pytest.fixture(scope="module")
def written_out(shared, tmp_path_factory):
    """The same points, written out in one block."""
    listed = rows_of(shared.path).loc[lambda frame: frame.objective == "jepa", KEYS[1:-1]]
    points = listed.astype(float).to_dict("records")
    return js.run(spec([{"combine": "points", "points": points}]), tmp_path_factory.mktemp("listed") / "run")


@pytest.fixture
def cut_apart(monkeypatch):
    """Chunks as earlier versions cut them: none holds points of two segments."""

    def cuts(sweep, grid, size):
        for start, stop in grid.segments():
            yield from itertools.pairwise([*range(start, stop, size), stop])

    with monkeypatch.context() as patch:
        patch.setattr(plan, "cuts", cuts)
        yield patch


def test_files_grow_with_the_points_and_not_with_the_blocks(sweep, shared):
    total = Grid(sweep).unique
    assert total < 8 * MANY
    assert len(shared.points()) == total
    assert len(paths_of(shared, "points")) == len(shared.reader.log.commits()) <= 1 + 8 * MANY / (500 - 8)
    assert len(Grid(sweep).segments()) > 2 * MANY


def test_plan_says_so(sweep, tmp_path):
    """By default all of it is one chunk."""
    facts = plan_of(sweep, tmp_path / "run")
    assert (facts["points"], facts["new"], facts["chunks"]) == (*[Grid(sweep).unique] * 2, 1)


def test_the_tables_are_those_of_the_same_points_in_one_block(shared, written_out):
    pd.testing.assert_frame_equal(rows_of(shared.path), rows_of(written_out.path), check_exact=True)


def test_what_is_looked_for_stands_together(shared, written_out):
    """In each file the rows of one objective and depth are one stretch."""
    for path in [*paths_of(shared, "points"), *paths_of(written_out, "points")]:
        frame = pd.read_parquet(path, columns=["objective", "L"])
        assert frame.sort_values(["objective", "L"], kind="stable").index.tolist() == list(range(len(frame)))


def test_points_of_all_blocks_and_depths_are_computed_together(sweep, monkeypatch, tmp_path):
    """One call of the engine for each objective of a chunk, and one size for all of them."""
    seen = []
    real = sweep.system.compute

    def noted(points, measurement, place):
        seen.append((points.objective, len(points.p), place.batch))
        return real(points, measurement, place)

    monkeypatch.setattr(sweep, "_system", sweep.system._replace(compute=noted))
    report = execute(sweep, tmp_path / "run", chunk_points=4096)
    chunks = len(report.store.log.commits())
    assert len(seen) == 2 * chunks
    assert {batch for _, _, batch in seen} == {plan.longest_call(sweep, Grid(sweep), 4096)}
    assert max(count for _, count, _ in seen) <= seen[0][2] <= 4096


@pytest.mark.usefixtures("shared")
def test_a_store_of_old_cuts_is_gone_on_with(sweep, written_out, cut_apart, tmp_path):
    few = spec([block(number) for number in range(40)])
    seen = iter([False] * 30 + [True])
    execute(few, tmp_path / "run", chunk_points=3, stop=lambda: next(seen))
    old = Store(tmp_path / "run").reader.log.claims()
    cut_apart.undo()
    plan_before = plan_of(few, tmp_path / "run")
    report = execute(few, tmp_path / "run")
    assert report.complete
    assert (report.computed, len(report.store.log.claims()) - len(old)) == (plan_before["new"], plan_before["chunks"])
    assert plan_before["chunks"] == 1
    ours = rows_of(tmp_path / "run")
    assert not ours.duplicated(KEYS).any()
    theirs = rows_of(written_out.path).merge(ours[KEYS], on=KEYS)
    pd.testing.assert_frame_equal(ours, theirs.sort_values(KEYS).reset_index(drop=True), check_exact=True)
    assert len(ours) == Grid(few).unique
    assert status_of(tmp_path / "run")["complete"]


def test_a_longer_spec_computes_its_new_blocks_alone(sweep, tmp_path):
    blocks = [block(number) for number in range(12)]
    first, longer = spec(blocks[3:9]), spec(blocks)
    js.run(first, tmp_path / "run")
    report = execute(longer, tmp_path / "run")
    assert report.computed == Grid(longer).unique - Grid(first).unique
    assert not report.store.read("points").duplicated(KEYS).any()
    assert len(report.store.log.commits()) == 2
    assert execute(longer, tmp_path / "run").computed == execute(first, tmp_path / "run").computed == 0


# --- what is computed again -------------------------------------------------------------------------------------------

FAILING = {**TINY, "measure": {"p": [0.5, 0.9]}, "solver": {"method": "dopri8", "max_steps": 7}}
POINTS = 2 * 2 * 3 * 3 * 2 * 2


@pytest.fixture
def failed(tmp_path):
    """A run in one chunk for both objectives and all depths, of which some points failed."""
    store = js.run(js.Sweep(**FAILING), tmp_path / "run")
    assert len(store.reader.log.commits()) == 1
    assert set(store.failures().objective) == {"jepa", "mae"}
    assert store.failures().L.nunique() > 1
    return store


def test_failures_of_a_shared_chunk_are_tried_again(failed):
    before = failed.failures()
    assert js.retry(failed, max_steps=1000) == {"tried": len(before), "failed": 0, "complete": True}
    store = Store(failed.path)
    assert (len(store.points()), len(store.failures())) == (POINTS, 0)
    assert not store.points().duplicated(KEYS).any()
    assert len(store.reader.log.commits()) == 2
    assert store.damage() == {}


@pytest.mark.parametrize("number", ["000001", "000002"])
def test_a_damaged_shared_chunk_is_computed_again(failed, number):
    js.retry(failed, max_steps=1000)
    before = rows_of(failed.path)
    path = failed.path / f"points/{number}.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    assert list(js.repair(Store(failed.path))) == [number]
    assert Store(failed.path).damage() == {}
    # Steps are those of an integration, which is over sooner where the later of its thresholds stand elsewhere.
    ours, theirs = (frame.drop(columns="steps") for frame in (rows_of(failed.path), before))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


@pytest.mark.parametrize("last", ["claims/", "points/", "commits/"])
def test_a_shared_chunk_whose_writer_dies_is_finished(shared, tmp_path, monkeypatch, last):
    class Died(BaseException):
        pass

    few = spec([block(number) for number in range(40)])
    whole = rows_of(js.run(few, tmp_path / "whole").path)
    location = type(Store(shared.path).reader.location)
    real = location.publish

    def publish(self, name, data):
        made = real(self, name, data)
        if name.startswith(last):
            raise Died
        return made

    with monkeypatch.context() as patch:
        patch.setattr(location, "publish", publish)
        with pytest.raises(Died):
            js.run(few, tmp_path / "run", chunk_points=200)
    js.run(few, tmp_path / "run")
    pd.testing.assert_frame_equal(rows_of(tmp_path / "run"), whole, check_exact=True)
    assert Store(tmp_path / "run").reader.log.pending() == {}


# --- groups of which each is computed alone ---------------------------------------------------------------------------

SERIES = {"name": "series", "system": "temporal", "axes": {"features": [2, 3], "log10_T": 2.0, "seed": [0, 1, 2]}}


def test_groups_that_are_computed_alone_share_files_too(tmp_path, cut_apart):
    sweep = js.Sweep(**SERIES)
    apart = js.run(sweep, tmp_path / "apart")
    cut_apart.undo()
    together = js.run(sweep, tmp_path / "together")
    assert [len(store.reader.log.commits()) for store in (apart, together)] == [2, 1]
    keys = ["features", "seed"]
    for name, within in (("points", []), ("features", ["feature"]), ("covariances", ["row", "column"])):
        ours, theirs = (s.read(name).sort_values([*keys, *within]).reset_index(drop=True) for s in (together, apart))
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    grid = Grid(sweep)
    assert [len(points.p) for points in compute.calls(sweep.system, grid, np.arange(grid.size))] == [3, 3]
    assert plan.longest_call(sweep, grid, 100) == 3


# --- cuts -------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 4)), min_size=1, max_size=12),
    st.integers(1, 60),
    st.sampled_from([1e-9, 0.04, 10.0]),
)
def test_cuts(sizes, size, seconds):
    """Whatever segments there are, and however much work a point is."""
    blocks = [{"axes": {"lam": np.arange(1.0, 1 + n), "rho": 1.0, "L": [*range(1, 1 + d)], "eps": 1e-3}}
              for n, d in sizes]  # fmt: skip
    sweep = spec(blocks, objective="jepa")
    sweep._system = sweep.system._replace(cost=lambda count, columns, measurement: Cost(count * seconds, 0))
    grid = Grid(sweep)
    cuts, segments = [*plan.cuts(sweep, grid, size)], grid.segments()
    assert [start for start, _ in cuts] == [0, *(stop for _, stop in cuts[:-1])]
    assert cuts[-1][1] == grid.size
    borders = {start for start, _ in segments} | {grid.size}
    for start, stop in cuts:
        assert 0 < stop - start <= size
        if borders & {*range(start + 1, stop)}:  # of whole segments that are little work together
            assert {start, stop} <= borders
            assert (stop - start) * seconds <= plan.LITTLE_WORK_S + 1e-9
    for (a, b), (c, d) in itertools.pairwise(cuts):  # nothing that could share a chunk has two
        little = (d - a) * seconds <= plan.LITTLE_WORK_S - 1e-9 and d - a <= size
        assert not ({a, b, c, d} <= borders and little) or max(b - a, d - c) >= size
    for start, stop in segments:
        if stop - start >= size:  # cut as if it was alone
            assert {*range(start, stop, size), stop} == {x for cut in cuts for x in cut if start <= x <= stop}
    assert [*plan.cuts(sweep, Grid(sweep), size)] == cuts
    if seconds < 1e-6:
        assert len(cuts) <= 1 + 3 * grid.size / size


def test_what_many_segments_share_is_found_once(monkeypatch):
    """However often it is asked for; another size, or another sweep on the same grid, has cuts of its own."""
    sweep = spec([block(number) for number in range(40)])
    grid, asked = Grid(sweep), []
    real = plan.cost
    monkeypatch.setattr(plan, "cost", lambda *given: asked.append(1) or real(*given))
    first = [*plan.cuts(sweep, grid, 100)]
    count = len(asked)
    assert count == len(grid.segments())
    assert [*plan.cuts(sweep, grid, 100)] == first
    assert plan.longest_call(sweep, grid, 100) <= 100
    assert len(asked) == count
    assert [*plan.cuts(sweep, grid, 50)] != first
    assert len(asked) > count


def test_whether_points_may_stand_twice_is_found_once(monkeypatch):
    grid = Grid(spec([block(number) for number in range(40)]))
    asked = []
    rivals = type("Rivals", (list,), {"__iter__": lambda self: asked.append(1) or list.__iter__(self)})
    monkeypatch.setitem(grid.__dict__, "_rivals", rivals(grid._rivals))
    for start in range(20):
        list(grid.doubtful(start, start + 20))
    assert len(asked) <= 1


def test_what_is_much_work_shares_no_chunk():
    """Hours of training would be lost with it, and one worker have it all."""
    axes = {"features": 8, "L": [1, 2, 3], "seed": [0, 1], "t_end": 100.0, "eta": 5e-4}
    sweep = js.Sweep(name="x", system="training", axes=axes)
    grid = Grid(sweep)
    assert plan.cost(sweep, grid, range(2)).seconds > plan.LITTLE_WORK_S / 4
    cuts = [*plan.cuts(sweep, grid, plan.points_per_chunk(sweep, grid))]
    assert 1 < len(cuts) <= 6
    for start, stop in cuts:
        inside = [s for s in grid.segments() if start <= s[0] < stop]
        assert len(inside) == 1 or plan.cost(sweep, grid, range(start, stop)).seconds <= plan.LITTLE_WORK_S


def test_large_segments_are_cut_as_they_always_were():
    axes = {"lam": {"geom": [0.1, 10], "num": 1000}, "rho": {"linear": [0.1, 1], "num": 1000}, "L": [1, 2], "eps": 1e-3}
    sweep = js.Sweep(name="x", axes=axes)
    grid = Grid(sweep)
    size = plan.points_per_chunk(sweep, grid)
    cuts = [(chunk.start, chunk.stop) for chunk in plan.chunks(sweep, grid, Intervals(), size)]
    old = [pair for a, b in grid.segments() for pair in itertools.pairwise([*range(a, b, size), b])]
    assert cuts == old
    assert plan.longest_call(sweep, grid, size) == size
    assert math.ceil(grid.size / size) <= len(cuts)
