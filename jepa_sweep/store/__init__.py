"""Parquet on disk: tables and files. Knows nothing of the physics and does not import JAX."""
