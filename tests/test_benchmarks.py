"""The benchmark scripts run, and what they compare is equally right."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT))

from benchmarks import goals, gpu, limits, networks, pages, peers
from benchmarks.common import Row, release
from benchmarks.report import report
from benchmarks.ways import ours, plain


@pytest.mark.long
def test_peers_are_compared_at_equal_accuracy(monkeypatch):
    ways = [way for way in (*ours.WAYS, plain.WAYS[0]) if way.name != ours.SOLVE]  # starts and compiles for long
    monkeypatch.setattr(peers, "WAYS", ways)
    rows = peers.main(small=True)
    release()
    assert len(rows) == len(ways)
    assert all(row.points == 256 and row.points_per_second > 0 for row in rows)
    assert all(row.worst_error < 1e-5 for row in rows)
    assert "jepa_sweep closed form" in report(rows)


@pytest.mark.process
def test_the_gpu_script_says_what_it_needs():
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--device", "tpu"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "JAX sees none here" in done.stderr


@pytest.mark.long
def test_the_tables_of_the_gpu_script_can_be_made_anywhere():
    text = gpu.main("cpu", small=True)
    assert text.count("share of the pool") == 1
    assert text.count("points/s") == 2
    assert text.count("gpu/cpu") + text.count("cpu/cpu") == 2


@pytest.mark.long
def test_networks_are_compared_at_equal_results():
    with jax.numpy_rank_promotion("allow"):  # peers are written as anyone would
        rows, numbers, text = networks.main(small=True, peers=networks.PEERS[:2])
    assert [row.name for row in rows] == ["jepa_sweep", "JAX, loop over networks", "JAX, vmap"]
    assert all(row.steps_per_second > 0 and row.error < 1e-5 for row in rows)
    assert numbers.keys() == {"networks / peer", "networks / products"}
    assert "of the product rate" in text


def test_goals_are_compared_at_equal_accuracy(tmp_path):
    """A way that is faster but wrong does not count, and what was not measured is said to be missing."""
    rows = [
        Row("jepa_sweep engine, dopri8 over chi", 1e-8, 256, 0.0, 8e6, 1e-9, 0.0),
        Row("jepa_sweep engine, dopri8 over chi", 1e-6, 256, 0.0, 9e9, 1e-7, 0.0),
        Row("heyoka, over chi, 64 wide", 1e-8, 256, 0.0, 4e6, 1e-9, 0.0),
        Row("js.critical_time, as it stands", 0.0, 256, 0.0, 16e6, 0.0, 0.0),
    ]
    numbers = goals.of_peers(rows)
    assert numbers == {"heyoka": 4e6, "engine / heyoka": 2.0, "js.critical_time": 16e6}
    goals.record("sweeps", {"compile, cold": 2.0}, "## Whole sweeps", tmp_path)
    table = goals.record("peers", numbers, "## Critical times", tmp_path)
    assert "heyoka's best | at least 3 times | 2 times | no |" in table
    assert "plain Python | at least 15,000,000 points/s | 16,000,000 points/s | yes |" in table
    assert "empty cache | at most 2.5 s | 2 s | yes |" in table
    assert table.count("not measured") == len(goals.GOALS) - 3
    page = (tmp_path / "results.md").read_text()
    assert page.index(table.strip()) < page.index("## Critical times") < page.index("## Whole sweeps")


@pytest.mark.long
def test_limits_are_told_in_the_units_of_the_goals(monkeypatch):
    monkeypatch.setattr(limits, "compiling", lambda: (1.0, 0.5))  # which forgets the programs of other tests
    known = {"heyoka": 4e6, "networks / peer": 1.0, "networks / products": 0.8}
    found = {limit.number: limit for limit in limits.main(known, small=True)}
    assert found.keys() <= {goal.number for goal in goals.GOALS}
    assert "dopri8 / Boost" not in found  # Boost was not measured
    assert found["networks / peer"].value == 1.25
    assert all(np.isfinite(limit.value) and limit.value > 0 for limit in found.values())
    assert limits.table([*found.values()]).count("\n") == len(found) + 2


def test_the_pages_show_what_was_measured_last():
    """`python benchmarks/pages.py` writes them anew."""
    for path, text in pages.pages().items():
        assert path.read_text() == text, path.name


def test_the_table_of_the_readme_has_four_rows_of_the_fastest():
    measured = goals.read()
    found = pages.speeds(pages.tables(measured["peers"]["text"])[0])
    assert found == sorted(found, key=lambda speed: -speed.rate)
    others = [speed for speed in found if not speed.way.startswith(("js.", "jepa_sweep", "C++ by hand", "diffrax"))]
    rows = pages.short(measured).split("|---|---|---|\n")[1].splitlines()
    assert len(rows) == 4
    assert f"{others[0].way} | {pages.rounded(others[0].rate)} |" in rows[2]
    assert rows[3].endswith(" | 1 |")


def test_a_page_without_its_marks_is_refused():
    assert pages.filled("a\n<!-- x -->\nold\n<!-- /x -->\nb", "x", "new") == "a\n<!-- x -->\n\nnew\n\n<!-- /x -->\nb"
    for page in ("a", "<!-- x -->\n", "<!-- x -->\n1\n<!-- /x -->\n<!-- x -->\n2\n<!-- /x -->"):
        with pytest.raises(ValueError, match="must have the marks"):
            pages.filled(page, "x", "new")
