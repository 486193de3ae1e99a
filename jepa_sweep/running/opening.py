"""Reading a spec, and opening the store it is computed into."""

import warnings
from pathlib import Path

from jepa_sweep.errors import SpecWarning
from jepa_sweep.spec.models import Sweep
from jepa_sweep.spec.replicates import replicates
from jepa_sweep.spec.text import read_spec
from jepa_sweep.store.store import Store


def load(spec: str | Path | Sweep) -> tuple[Sweep, str]:
    """A sweep and the text to keep of it; warns of points that only seem to be independent."""
    if isinstance(spec, Sweep):
        sweep, text = spec, spec.to_toml()
    else:
        text = read_spec(spec)
        sweep = Sweep.parse(text, str(spec), beside=Path(spec).parent)
    for sentence in replicates(sweep):
        warnings.warn(sentence, SpecWarning, stacklevel=4)  # the line that called `run`
    return sweep, text


def default_path(sweep: Sweep) -> Path:
    """Where a sweep is stored unless another place is given."""
    return Path("runs") / sweep.name


def open_for(sweep: Sweep, out: str | Path | None) -> Store:
    """The store of a sweep, created if need be."""
    columns, solver = [q.column for q in sweep.record.parameters], sweep.solver
    return Store.create(
        out or default_path(sweep), sweep.frozen(), columns, solver.precision, solver.time, sweep.record.name
    )
