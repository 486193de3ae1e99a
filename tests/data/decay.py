"""A system in one file of which all is known: exponential decay, until it falls to a level."""

import jax.numpy as jnp

from jepa_sweep import flow, parameter

DECAY = flow(
    "decay",
    version=1,
    parameters=[
        parameter("rate", "how fast it decays", rule=lambda r: r > 0, must="be positive", unit="1/s"),
        parameter("level", "where it is learned", rule=lambda x: (x > 0) & (x < 1), must="lie between 0 and 1"),
    ],
    start=lambda q: 1.0,
    field=lambda t, y, q: -q.rate * y,
    response=lambda y, q: y,
    threshold=lambda q: q.level,
    critical_time=lambda q, p: -jnp.log(p * q.level) / q.rate,
    trajectory=lambda q, t: jnp.exp(-q.rate * t),
)
