"""Reading a spec, and opening the store it is computed into."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jepa_sweep.checks import shown
from jepa_sweep.errors import SpecError, SpecWarning
from jepa_sweep.spec import document
from jepa_sweep.spec.doubts import doubts
from jepa_sweep.spec.forecast import Forecast, forecast
from jepa_sweep.spec.grid import Grid
from jepa_sweep.spec.models import Sweep
from jepa_sweep.spec.text import read_spec
from jepa_sweep.store.writer import Writer


class Loaded(NamedTuple):
    """A spec that has been read."""

    sweep: Sweep
    text: str  # to be kept of it
    grid: Grid
    expected: Forecast | None


def load(spec: str | Path | Sweep | Mapping[str, Any], changes: Sequence[str] = ()) -> Loaded:
    """Read a spec and make its grid, once; warns of what is hardly wanted.

    `changes` to a spec file are made first, like "solver.rtol=1e-10"; the text then is that of the changed spec.
    """
    if not isinstance(spec, str | Path | Sweep | Mapping):
        raise SpecError(f"A spec must be a file, a `Sweep` or a dict of its keys, but it is {shown(spec)}.")
    if isinstance(spec, Mapping) and (odd := [key for key in spec if not isinstance(key, str)]):
        raise SpecError(
            f"The keys of a spec must be words, but one is {shown(odd[0])}; try name, axes, measure, solver."
        )
    if isinstance(spec, Sweep | Mapping):
        sweep = spec if isinstance(spec, Sweep) else Sweep(**spec)
        text = sweep.to_toml()
    else:
        text = read_spec(spec)
        sweep = Sweep.parse(text, str(spec), beside=Path(spec).parent, changes=changes)
        text = document.changed(text, changes) if changes else text
    grid = Grid(sweep)
    expected = forecast(sweep, grid)
    for sentence in doubts(sweep, grid, expected):
        warnings.warn(sentence, SpecWarning, stacklevel=4)  # the line that called `run`
    return Loaded(sweep, text, grid, expected)


def default_path(sweep: Sweep) -> Path:
    """Where a sweep is stored unless another place is given."""
    return Path("runs") / sweep.name


def open_for(sweep: Sweep, out: str | Path | None) -> Writer:
    """The store of a sweep, created if need be."""
    tables, names, solver = sweep.system.columns(), [q.name for q in sweep.system.parameters], sweep.solver
    path = default_path(sweep) if out is None else out
    writer = Writer.create(path, sweep.frozen(), tables, names, solver.precision, solver.time)
    if sweep.system.source:
        writer.add_source(sweep.system.source)
    return writer
