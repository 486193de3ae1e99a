"""The benchmark scripts run, and what they compare is equally right."""

import subprocess
import sys

import jax
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT))

from benchmarks import gpu, networks, peers
from benchmarks.common import release
from benchmarks.report import report
from benchmarks.ways import ours, plain


@pytest.mark.long
def test_peers_are_compared_at_equal_accuracy(monkeypatch):
    monkeypatch.setattr(peers, "WAYS", [*ours.WAYS, plain.WAYS[0]])
    rows = peers.main(small=True)
    release()
    assert len(rows) == len(ours.WAYS) + 1
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
    assert text.count("share of the pool") == 2


@pytest.mark.long
def test_networks_are_compared_at_equal_results():
    with jax.numpy_rank_promotion("allow"):  # peers are written as anyone would
        rows, text = networks.main(small=True, peers=networks.PEERS[:2])
    assert [row.name for row in rows] == ["jepa_sweep", "JAX, loop over networks", "JAX, vmap"]
    assert all(row.steps_per_second > 0 and row.error < 1e-5 for row in rows)
    assert "of the product rate" in text
