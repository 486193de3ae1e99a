"""The benchmark scripts run, and what they compare is equally right."""

import runpy

from conftest import ROOT


def test_critical_times_benchmark_compares_like_with_like():
    script = runpy.run_path(str(ROOT / "benchmarks" / "critical_times.py"))
    rows = script["main"](small=True)
    assert len(rows) == 4
    assert all(row.points == 256 and row.points_per_second > 0 for row in rows)
    assert all(row.worst_error < 1e-5 for row in rows)
    assert "| closed form, all predictions |" in script["report"](rows)
