"""Every system there is, by name and objective. A new record is added here."""

from jepa_sweep.physics.reduced import JEPA, MAE
from jepa_sweep.physics.systems import System

SYSTEMS: dict[str, dict[str, System]] = {"reduced": {system.objective: system for system in (JEPA, MAE)}}
