"""Points of a sweep that differ in nothing that matters, and would pass for independent runs."""

import numpy as np
import pandas as pd

from jepa_sweep.physics.systems import Idle
from jepa_sweep.spec.axes import Block, axis_values, completed
from jepa_sweep.spec.check import place_of
from jepa_sweep.spec.grid import rows_of
from jepa_sweep.spec.models import Sweep


def replicates(sweep: Sweep) -> list[str]:
    """A sentence on each parameter of a block whose values give the same numbers again; empty if there is none."""
    found = []
    for number, block in enumerate(sweep.blocks):
        prefix = f"block.{number}." if sweep.block else ""
        for idle in dict.fromkeys(idle for record in sweep.systems.values() for idle in record.idle):
            count = _count(sweep, block, idle) if sweep.solver.method in idle.methods else 1
            if count > 1:
                found.append(
                    f"`{idle.parameter}` cannot matter {idle.where}: {count:,} values of it give the same numbers "
                    f"{count:,} times, but for rounding or the solver's tolerance; leave it out, or try {idle.instead} "
                    f"({place_of(prefix, block, idle.parameter)})."
                )
    return found


def _count(sweep: Sweep, block: Block, idle: Idle) -> int:
    """How many points of a block differ in an idle parameter alone, at most."""
    parameters = sweep.record.parameters
    if block.combine == "product":
        axes = {name: axis_values(axis) for name, axis in completed(block, parameters)[0].axes.items()}
        mesh = np.meshgrid(*(axes[name] for name in idle.depends))
        holds = idle.holds(dict(zip(idle.depends, mesh, strict=True)))
        return len(axes[idle.parameter]) if holds.any() else 1
    rows = rows_of(block, parameters)
    columns = pd.DataFrame(rows.take(np.arange(rows.size)))
    same = columns[idle.holds({str(name): columns[name].to_numpy() for name in columns})].drop(columns=idle.parameter)
    return int(same.value_counts().max()) if len(same) else 1
