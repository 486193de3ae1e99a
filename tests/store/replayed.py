"""The run that tests replay: small, so that it can be killed at each of its operations."""

import jepa_sweep as js
from jepa_sweep.running.execute import execute
from jepa_sweep.store import writer_names

# Two chunks, each with a file of points, one of trajectories and a record; what is written matters here, not what
# is integrated.
SPEC = {
    "name": "replayed",
    "objective": "jepa",
    "axes": {"lam": [0.5, 2.0], "rho": [0.5, 1.0], "L": 2, "eps": 1e-3},
    "measure": {"trajectories": {"samples": 2}},
    "solver": {"method": "exact"},
}


def go(path, chunk_points=2):
    """Run it, or continue it."""
    return execute(js.Sweep(**SPEC), path, chunk_points=chunk_points)


def another_process():
    """Count all writers of this process as dead."""
    writer_names._enlisted.clear()
    writer_names.process.cache_clear()
