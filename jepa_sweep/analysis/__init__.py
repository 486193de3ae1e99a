"""Analyses of finished runs: queries, comparisons, overlaps; and of a user's own pairs of data."""
