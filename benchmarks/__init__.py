"""Benchmarks: plain scripts, and what they share."""
