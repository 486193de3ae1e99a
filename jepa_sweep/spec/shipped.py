"""The specs that come with the package."""

import importlib.resources
from pathlib import Path

SCHEMA = "spec.schema.json"  # of all specs, beside them


def folder() -> Path:
    """Where they are: beside the package in a checkout, inside it when installed."""
    package = Path(str(importlib.resources.files("jepa_sweep")))
    beside = package.parent / "sweeps"
    return beside if (beside / "quickstart.toml").exists() else package / "sweeps"


def specs() -> dict[str, Path]:
    """Name -> file of each."""
    return {path.stem: path for path in sorted(folder().glob("*.toml"))}
