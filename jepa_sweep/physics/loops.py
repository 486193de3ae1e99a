"""Loops over arrays of points, each of which needs its own number of turns."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jepa_sweep.physics.dynamics import Flags, Numbers


def each_while(going: Callable[[Any], Flags], turn: Callable[[Any], Any], start: Any) -> Any:
    """`lax.while_loop` for each element of arrays: those that are done wait as they are for the others."""

    def turn_or_wait(carry: Any) -> Any:
        goes = going(carry)
        return jax.tree.map(lambda new, old: jnp.where(goes, new, old), turn(carry), carry)

    return lax.while_loop(lambda carry: jnp.any(going(carry)), turn_or_wait, start)


def where_any(needed: Flags, function: Callable[[Numbers], Numbers], x: Numbers, otherwise: Numbers) -> Numbers:
    """function(x) where needed, else otherwise; unlike with `jnp.where`, a batch without such rows pays nothing for it.

    A loop of one turn, and x is what it carries, because XLA computes all that does not depend on that before the loop.
    """

    def once(carry: tuple[Flags, Numbers]) -> tuple[Flags, Numbers]:
        return jnp.zeros_like(needed), function(carry[1])

    return jnp.where(needed, each_while(lambda carry: carry[0], once, (needed, x))[1], otherwise)
