"""A system in one file: predator and prey, whose predators reach a level; nothing about it is known in closed form."""

import jax.numpy as jnp

from jepa_sweep import flow, parameter

PREDATOR = flow(
    "predator",
    version=1,
    parameters=[
        parameter("rate", "death rate of predators over birth rate of prey", rule=lambda r: r > 0, must="be positive"),
        parameter("prey", "prey at the start", default=2.0, rule=lambda x: x > 1, must="be more than 1, to feed them"),
        parameter("level", "predators to be reached", default=1.0, rule=lambda x: x > 0.1, must="be more than 0.1"),
        parameter("herds", "how many times all that", default=1, integer=True),
    ],
    start=lambda q: (q.herds * q.prey, q.herds * 0.1),
    field=lambda t, y, q: (y[0] * (1 - y[1] / q.herds), q.rate * y[1] * (y[0] / q.herds - 1)),
    response=lambda y, q: y[1] / q.herds,
    threshold=lambda q: q.level,
    observables={"x": lambda y, q: y[0] / q.herds},
    conserved={
        "energy": lambda y, q: (
            q.rate * (y[0] / q.herds - jnp.log(y[0] / q.herds)) + y[1] / q.herds - jnp.log(y[1] / q.herds)
        )
    },
)
