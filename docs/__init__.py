"""The documentation site: its pages, and what builds, generates and checks them."""

from pathlib import Path

ROOT = Path(__file__).parent.parent  # of the repository
