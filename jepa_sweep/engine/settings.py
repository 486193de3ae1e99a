"""What decides how points are computed, for those who plan without computing: importing it starts no engine."""

import importlib.metadata
import os
from dataclasses import dataclass
from pathlib import Path

AUTO = "auto"  # stands for the method that is best for what is asked
METHODS = ("clenshaw_curtis", "tsit5", "dopri5", "dopri8", "kvaerno5")  # of one solve
IMPLICIT = ("kvaerno5",)  # among them
NETWORK_SOLVERS = ("dopri8", "dopri5", "tsit5")  # of the gradient flow of networks
OPTIMIZERS = ("sgd", "momentum", "adam")  # of their training
GROUP = 4  # networks that advance together on a core
TOLERANCES = 100  # times rtol that a time may be off, relative to itself, and still count as found: more is INACCURATE
COPIES = 12  # of its weights that a network may need at once: gradients, products, the optimiser, stages


def usual_programs_folder() -> Path:
    """Where commands keep compiled programs unless the user has said where.

    Each release has a folder of its own: of the programs of another JAX would take most from its cache, and what it
    took from there `programs` cannot keep.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "jepa_sweep" / "compiled" / importlib.metadata.version("jepa_sweep")


@dataclass(frozen=True)
class Settings:
    """How to integrate. Every field is a compile key; `coordinate` None means the system's best."""

    method: str = "dopri8"
    rtol: float = 1e-8
    max_steps: int = 10_000
    precision: str = "float64"
    coordinate: str | None = None

    @property
    def explicit(self) -> bool:
        """True for explicit Runge-Kutta methods."""
        return self.method not in IMPLICIT

    @property
    def integrates(self) -> bool:
        """True for a rule for integrals, which may step far."""
        return self.method == "clenshaw_curtis"
