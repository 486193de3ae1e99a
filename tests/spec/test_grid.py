"""Grids: index to point and back, unions without duplicates, plans that want only what is missing."""

import numpy as np
import pytest
from conftest import TINY
from hypothesis import given, settings
from hypothesis import strategies as st

import jepa_sweep as js
from jepa_sweep.running import plan
from jepa_sweep.running.plan import Intervals, Visited
from jepa_sweep.spec.grid import WRITTEN_OUT, Grid

AXES = TINY["axes"]
BLOCKS = {
    "product": {"axes": AXES},
    "zip": {"combine": "zip", "axes": {"lam": [1.0, 2.0, 3.0], "rho": 0.5, "L": [2, 1, 2], "eps": 1e-3}},
    "sobol": {"combine": "sobol", "num": 11, "axes": {"lam": {"geom": [0.1, 10]}, "rho": {"linear": [0.1, 1]},
                                                     "L": [1, 2, 5], "eps": 1e-4}},
    "points": {"combine": "points", "points": [{"lam": 1, "rho": 1, "L": 3, "eps": 1e-2},
                                               {"lam": 2, "rho": 1, "L": 1, "eps": 1e-2}]},
}  # fmt: skip


def sweep_of(*blocks, p=(0.5,), objective=("jepa", "mae")):
    return js.Sweep(name="x", objective=objective, block=blocks, measure={"p": p})


def grid_of(*blocks, **more):
    return Grid(sweep_of(*blocks, **more))


@pytest.fixture(params=[0, 8, WRITTEN_OUT], ids=["apart", "some", "together"])
def written_out(request, monkeypatch):
    """Blocks of how many rows stand together in one table."""
    monkeypatch.setattr("jepa_sweep.spec.grid.WRITTEN_OUT", request.param)


def every_point(grid):
    """(objective, lam, rho, L, eps, p) of every index."""
    out = []
    for start, stop in grid.segments():
        points = grid.take(np.arange(start, stop))
        columns = [points.columns[name] for name in ("lam", "rho", "L", "eps")]
        out += [(points.objective, *map(float, row)) for row in zip(*columns, points.p, strict=True)]
    return out


@pytest.mark.parametrize("kind", BLOCKS)
def test_index_to_point_and_back(kind):
    grid = grid_of(BLOCKS[kind], p=(0.9, 0.5))
    for start, stop in grid.segments():
        index = np.arange(start, stop)
        points = grid.take(index)
        np.testing.assert_array_equal(grid.find(points), index)
        strange = points._replace(columns={**points.columns, "lam": points.columns["lam"] * (1 + 1e-15)})
        assert (grid.find(strange) == -1).all()


@pytest.mark.parametrize("kind", BLOCKS)
def test_segments_cover_the_grid_and_hold_one_objective_and_depth(kind):
    grid = grid_of(BLOCKS[kind], p=(0.5, 0.7))
    segments = grid.segments()
    assert [a for a, _ in segments] == [0, *(b for _, b in segments[:-1])]
    assert segments[-1][1] == grid.size
    for start, stop in segments:
        assert len(np.unique(grid.take(np.arange(start, stop)).columns["L"])) == 1


def test_a_product_is_every_combination():
    points = every_point(grid_of(BLOCKS["product"]))
    assert len(points) == len(set(points)) == 2 * 2 * 3 * 3 * 2
    assert ("mae", 2.0, 0.25, 3.0, 1e-3, 0.5) in points


def test_zip_goes_through_its_axes_together_and_repeats_single_values():
    rows = {p[1:5] for p in every_point(grid_of(BLOCKS["zip"]))}
    assert rows == {(1.0, 0.5, 2.0, 1e-3), (2.0, 0.5, 1.0, 1e-3), (3.0, 0.5, 2.0, 1e-3)}


def test_points_are_taken_as_written():
    rows = {p[1:5] for p in every_point(grid_of(BLOCKS["points"]))}
    assert rows == {(1.0, 1.0, 3.0, 1e-2), (2.0, 1.0, 1.0, 1e-2)}


@pytest.mark.parametrize("seed", [None, 7])
def test_sobol_is_reproducible_and_keeps_its_beginning(seed):
    def rows(num):
        return set(every_point(grid_of({**BLOCKS["sobol"], "num": num, "seed": seed}, objective=("jepa",))))

    assert rows(11) == rows(11)
    assert rows(11) < rows(40)
    assert len(rows(40)) == 40
    values = np.array([row[1:5] for row in rows(40)])
    assert ((values[:, 0] >= 0.1) & (values[:, 0] <= 10)).all()
    assert set(values[:, 2]) == {1.0, 2.0, 5.0}


def test_seeds_differ():
    first, second = (set(every_point(grid_of({**BLOCKS["sobol"], "seed": seed}))) for seed in (1, 2))
    assert first != second


def test_combine_may_stand_inside_the_axes():
    inside = {"axes": {**BLOCKS["sobol"]["axes"], "combine": "sobol", "num": 11}}
    assert every_point(grid_of(inside)) == every_point(grid_of(BLOCKS["sobol"]))


@pytest.mark.usefixtures("written_out")
def test_a_union_counts_shared_points_once():
    overlapping = {"axes": {**AXES, "lam": [2.0, 8.0]}}
    grid = grid_of(BLOCKS["product"], overlapping)
    points = every_point(grid)
    kept = []
    for start, stop in grid.segments():
        kept += plan.fresh(grid, np.arange(start, stop), []).tolist()
    assert len(points) == 144
    assert sum(kept) == len(set(points)) == grid.unique == 108


@pytest.mark.parametrize("rows", [1000, 1100])
def test_many_blocks_that_share_values_take_no_pairs(rows):
    """However many rows each has, short of those that memory is wanted for."""
    shared = np.arange(1.0, rows + 1)
    blocks = [{"axes": {**AXES, "lam": [*shared, 2e3 + k], "rho": 1.0, "L": 1, "eps": 1e-3}} for k in range(100)]
    grid = grid_of(*blocks, objective=("jepa",))
    assert len(grid._tables) == 1
    assert grid.unique == rows + 100


def test_few_large_blocks_are_not_written_out():
    axes = {"lam": np.arange(1.0, 2001), "rho": 1.0, "L": 1, "eps": 1e-3}
    assert len(grid_of({"axes": axes}, {"axes": {**axes, "rho": 0.5}})._tables) == 2


MIXED = [
    BLOCKS["zip"],
    {"axes": {**AXES, "lam": [3.0, 1.0], "rho": [0.5, 1.0]}},
    BLOCKS["sobol"],
    {"combine": "points", "points": [{"lam": 1, "rho": 0.5, "L": 2, "eps": 1e-3},  # as in the zip
                                     {"lam": 9, "rho": 1, "L": 1, "eps": 1e-2}]},
    {"axes": {**AXES, "L": [3, 1, 2]}},
    {"axes": {**AXES, "eps": [1e-3, 1e-6], "L": 2}},
    {"axes": {"lam": 70.0, "rho": 0.5, "L": 4, "eps": 1e-3}},  # whose points no other has
]  # fmt: skip


@pytest.mark.usefixtures("written_out")
@pytest.mark.parametrize("p", [(0.5,), (0.9, 0.5)])
def test_every_way_of_asking_says_the_same_of_blocks_of_all_kinds(p):
    """What a stretch of indices holds, whatever blocks it spans, is what its indices hold one by one."""
    grid = grid_of(*MIXED, p=p)
    ones = [grid.take(np.array([index])) for index in range(grid.size)]
    points = [(q.objective, *(q.columns[name][0] for name in TINY["axes"]), q.p[0]) for q in ones]
    assert points == every_point(grid)
    first = {point: place for place, point in reversed([*enumerate(points)])}
    again = np.array([first[point] < place for place, point in enumerate(points)])
    assert 0 < again.sum() == grid.size - grid.unique < grid.size - len(p)
    rng = np.random.default_rng(0)
    for start, stop in [(0, grid.size), *np.sort(rng.integers(grid.size, size=(20, 2))).tolist()]:
        for index in (np.arange(start, stop + 1), np.unique(rng.integers(start, stop + 1, size=9))):
            index = index[index < grid.size]
            parts = grid.split(index)
            assert sorted(number for q in parts for number in q.number) == index.tolist()
            for q in parts:
                held = zip(*(q.columns[name] for name in TINY["axes"]), q.p, strict=True)
                assert [(q.objective, *row) for row in held] == [points[number] for number in q.number]
                assert grid.find(q).tolist() == [first[points[number]] for number in q.number]
                assert grid.repeated(q).tolist() == again[q.number].tolist()
            assert plan.fresh(grid, index, []).tolist() == (~again[index]).tolist()
            assert grid.columns(index)["lam"].tolist() == [points[number][1] for number in index]
        if start < stop:
            assert grid.unique_in(start, stop) == (~again[start:stop]).sum()
            doubted = {place for low, high in grid.doubtful(start, stop) for place in range(low, high)}
            assert set(start + np.flatnonzero(again[start:stop])) <= doubted <= set(range(start, stop))
    assert not [*grid.doubtful(grid.size - len(p), grid.size)] or len(grid._tables) < len(MIXED)


@pytest.mark.usefixtures("written_out")
def test_segments_of_one_kind_share_objective_and_depth():
    grid = grid_of(*MIXED)
    said = {}
    for (start, stop), kind, alike in zip(grid.segments(), grid.kinds(), grid.kinds(groups=False), strict=True):
        points = grid.take(np.arange(start, stop))
        depths = {*points.columns["L"]}
        assert said.setdefault(kind, (points.objective, *depths)) == (points.objective, *depths)
        assert len(depths) == 1
        assert said.setdefault(("alike", alike), points.objective) == points.objective
    assert len(said) == len({*said.values()}) == 2 * len({1, 2, 3, 4, 5}) + 2


# --- plans ----------------------------------------------------------------------------------------------------------

pieces = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda t: tuple(sorted(t))), max_size=8)


@settings(deadline=None)
@given(pieces, st.integers(0, 60), st.integers(0, 60))
def test_intervals_are_sets_of_indices(given_pieces, a, b):
    start, stop = sorted((a, b))
    members = {i for low, high in given_pieces for i in range(low, high)}
    intervals = Intervals(given_pieces)
    assert set(np.flatnonzero(intervals.contains(np.arange(61)))) == members
    outside = [i for low, high in intervals.gaps(start, stop) for i in range(low, high)]
    assert outside == [i for i in range(start, stop) if i not in members]


@settings(deadline=None)
@given(pieces, st.integers(1, 50))
def test_chunks_are_what_is_missing(done, size):
    sweep = sweep_of(BLOCKS["product"], BLOCKS["zip"])
    grid = Grid(sweep)
    chunks = [*plan.chunks(sweep, grid, Intervals(done), size)]
    planned = [i for chunk in chunks for i in chunk.indices]
    members = {i for low, high in done for i in range(low, high)}
    assert planned == [i for i in range(grid.size) if i not in members]
    assert all(chunk.stop - chunk.start <= size for chunk in chunks)
    slots = {chunk.start: chunk.slot for chunk in plan.chunks(sweep, grid, Intervals(), size)}
    starts = np.array([*slots])
    assert [chunk.slot for chunk in chunks] == [
        slots[starts[starts <= chunk.start].max()] for chunk in chunks
    ]  # whatever is done


def test_points_of_another_spec_are_not_wanted_again():
    first = grid_of(BLOCKS["product"])
    extended = grid_of({"axes": {**AXES, "L": [1, 2, 3, 4], "lam": [0.25, 0.5, 2.0]}})
    stored = Visited(first, Intervals([(0, first.size)]))
    new = []
    for start, stop in extended.segments():
        index = np.arange(start, stop)
        fresh = plan.fresh(extended, index, [stored])
        points = extended.take(index[fresh]) if fresh.any() else None
        new += [] if points is None else list(zip(points.columns["lam"], points.columns["L"], strict=True))
    assert len(new) == extended.size - first.size
    assert all(lam == 0.25 or depth == 4 for lam, depth in new)


@pytest.mark.parametrize("size", [10, 10**6, 10**9])
def test_large_sweeps_make_few_files(size):
    axes = {"lam": {"geom": [0.1, 10], "num": 1000}, "rho": {"linear": [0.1, 1], "num": max(1, size // 10_000)},
            "L": [1, 2, 3, 5, 8], "eps": [1e-3]}  # fmt: skip
    spec = js.Sweep(name="x", axes=axes)
    grid = Grid(spec)
    chunks = list(plan.chunks(spec, grid, Intervals(), plan.points_per_chunk(spec, grid)))
    assert len(chunks) <= max(10, 2000 if size > 10**8 else 200)


@pytest.mark.parametrize("p", [[0.5], [0.25, 0.5]])
def test_a_stretch_of_a_product_has_the_rows_that_its_indices_have_one_by_one(p):
    """Whatever axes it begins and ends in the midst of; stretches and scattered indices take different ways."""
    axes = {"lam": [1.0, 2.0, 3.0], "rho": [0.5, 1.0], "L": [1, 2], "eps": [1e-4, 1e-3, 1e-2]}
    grid = Grid(js.Sweep(name="x", axes=axes, measure={"p": p}))
    for low, high in grid.segments():
        for start, stop in ((low, high), (low + 1, high), (low, high - 5), (low + 4, low + 9), (high - 1, high)):
            stretch = grid.take(np.arange(start, stop))
            singles = [grid.take(np.array([index])) for index in range(start, stop)]
            backwards = grid.take(np.arange(start, stop)[::-1])
            for name, values in stretch.columns.items():
                assert values.tolist() == [one.columns[name][0] for one in singles]
                assert values.tolist() == backwards.columns[name][::-1].tolist()
            assert stretch.p.tolist() == [one.p[0] for one in singles]
