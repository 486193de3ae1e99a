"""Whole networks, many at once: gradient flow by diffrax, training by optax."""
