"""Whole networks: what may vary, the records of their two systems, and their rows."""
