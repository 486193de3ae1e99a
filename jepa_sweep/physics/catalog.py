"""Everything that can be swept, by name and objective. A new record is added here."""

from jepa_sweep.physics.experiments import NETWORK_FLOWS, TEMPORAL, TRAININGS
from jepa_sweep.physics.reduced import JEPA, MAE
from jepa_sweep.physics.systems import Swept, System

REDUCED: dict[str, System] = {system.objective: system for system in (JEPA, MAE)}
SYSTEMS: dict[str, dict[str, Swept]] = {
    "reduced": {**REDUCED},
    "network": {record.objective: record for record in NETWORK_FLOWS},
    "training": {record.objective: record for record in TRAININGS},
    "temporal": {TEMPORAL.objective: TEMPORAL},
}
