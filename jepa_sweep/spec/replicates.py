"""Points of a sweep that differ in nothing that matters, and would pass for independent runs."""

import numpy as np

from jepa_sweep.spec.axes import Range
from jepa_sweep.spec.blocks import FullBlock
from jepa_sweep.spec.grid import rows_of
from jepa_sweep.spec.models import Sweep
from jepa_sweep.systems.system import Idle, Parameter


def replicates(sweep: Sweep) -> list[str]:
    """A sentence on each parameter of a block whose values give the same numbers again; empty if there is none."""
    found = []
    for block in sweep.blocks:
        for idle in sweep.system.idle:
            method = sweep.measurement.solver.method
            count = _count(block, sweep.system.parameters, idle) if method in idle.methods else 1
            if count > 1:
                found.append(
                    f"`{idle.parameter}` cannot matter {idle.where}: {count:,} values of it give the same numbers "
                    f"{count:,} times, but for rounding or the solver's tolerance; leave it out, or try {idle.instead} "
                    f"({block.place(idle.parameter)})."
                )
    return found


def _count(block: FullBlock, parameters: tuple[Parameter, ...], idle: Idle) -> int:
    """How many points of a block differ in an idle parameter alone, at most."""
    if block.combine == "product":
        axes = {name: axis for name, axis in block.axes.items() if not isinstance(axis, Range)}
        mesh = np.meshgrid(*(axes[name] for name in idle.depends))
        holds = idle.holds(dict(zip(idle.depends, mesh, strict=True)))
        return len(axes[idle.parameter]) if holds.any() else 1
    import pandas as pd  # not at the top: products, most of all sweeps, do without

    rows = rows_of(block, parameters)
    columns = pd.DataFrame(rows.take(np.arange(rows.size)))
    same = columns[idle.holds({str(name): columns[name].to_numpy() for name in columns})].drop(columns=idle.parameter)
    return int(same.value_counts().max()) if len(same) else 1
