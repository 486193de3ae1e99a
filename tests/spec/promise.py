"""The promise about specs: any text is either a sweep that can be run or one clear message, nothing else."""

import itertools
import re

import numpy as np

import jepa_sweep as js
from jepa_sweep.running import plan
from jepa_sweep.running.plan import Intervals
from jepa_sweep.spec.grid import Grid
from jepa_sweep.spec.rules import check_rules

ORIGIN = "sweeps/any.toml"


def assert_sweep_or_message(text):
    """The promise."""
    try:
        sweep = js.Sweep.parse(text, ORIGIN)
    except js.SpecError as error:
        assert_clear(str(error))
        return None
    assert_can_be_run(sweep)
    return sweep


def assert_clear(message):
    """One sentence that ends with the place, or a list of them under a line that names it, fit for a terminal."""
    assert_readable(message)
    first, *sentences = message.splitlines()
    if sentences:
        assert re.fullmatch(rf"[\d,]+( or more)? things must be put right in {ORIGIN}:", first)
        assert all(sentence.startswith("- ") for sentence in sentences)
        assert len(sentences) <= 31
    else:
        assert first.endswith((f"In {ORIGIN}.", f"({ORIGIN})."))
    for sentence in sentences or [first]:
        words = ("must", "is not a", "says nothing", "And ")
        assert any(word in sentence for word in words)


def assert_readable(message):
    for line in message.splitlines():
        assert line.isprintable()
        assert len(line) < 1500
    assert "Traceback" not in message


def assert_can_be_run(sweep):
    assert js.Sweep.parse(sweep.to_toml()) == sweep
    grid = Grid(sweep)
    segments = grid.segments()
    assert isinstance(grid.size, int)
    assert grid.size > 0
    assert [start for start, _ in segments] == [0, *(stop for _, stop in segments[:-1])]
    assert segments[-1][1] == grid.size
    for start, stop in [*segments[:3], *segments[-3:]]:
        assert_points(sweep, grid, np.unique([start, stop - 1]))
    size = plan.points_per_chunk(sweep, grid)
    first = list(itertools.islice(plan.chunks(sweep, grid, Intervals(), size), 3))
    assert [chunk.start for chunk in first] == [0, *(chunk.stop for chunk in first[:-1])]
    assert all(0 < chunk.stop - chunk.start <= size for chunk in first)


def assert_points(sweep, grid, index):
    """Points that keep every rule, and are found where they are, or where an earlier block has them."""
    points = grid.take(index)
    system, columns = sweep.system, {**points.columns, "p": points.p}
    assert set(points.columns) == {q.name for q in system.parameters}
    assert all(np.isfinite(values).all() for values in columns.values())
    binding = [rule for rule in system.rules_of(points.objective) if rule.scope == "every"]
    check_rules(system, binding, columns, str)
    found = grid.find(points)
    assert (found >= 0).all()
    assert (found <= index).all()
    for place, values in zip(found, zip(*columns.values(), strict=True), strict=True):
        there = grid.take(np.array([place]))
        assert there.objective == points.objective
        assert tuple([*there.columns.values(), there.p][i][0] for i in range(len(values))) == values
