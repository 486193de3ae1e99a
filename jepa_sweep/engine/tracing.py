"""What a user gives for numbers, and whether JAX traces it, for functions that have to see it."""

import jax
import jax.core
import jax.typing
from typing_extensions import TypeAliasType

from jepa_sweep.errors import SpecError

# What a user may give for numbers: an alias that prints its name, where JAX's own prints the nine types it stands for.
ArrayLike = TypeAliasType("ArrayLike", jax.typing.ArrayLike)


def is_traced(value: object) -> bool:
    """True of a value, or a list with one in it, that JAX knows by its type only: inside jit, vmap or grad."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))


def refuse_traced(function: str, values: object, instead: str = "") -> None:
    """Raise if JAX traces one of the values, which `function` has to see; `instead` says what to do with such."""
    if is_traced(values):
        raise SpecError(
            f"`{function}` must be called outside functions that JAX traces (jit, vmap, grad), because it works on the "
            f"host and cannot be traced{f'; inside, {instead}' if instead else ''}."
        )
