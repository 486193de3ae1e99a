"""Spec files to checked models, and models to the points they stand for."""
