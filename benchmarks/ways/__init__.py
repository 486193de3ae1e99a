"""The ways to compute critical times, a module for each family; each has `WAYS`."""
