"""Whole networks: what may vary, their two systems, and their rows."""
