"""What one would write with diffrax: `jit(vmap(diffeqsolve))` in w, from eps until an event at p w*."""

import functools
from typing import Any

import numpy as np

from benchmarks.common import P, Points, Run, Times, Way

WIDTH = 2048  # rows of one batch; it runs until its slowest row ends, and points come sorted


@functools.cache
def program(objective: str, solver: str, rtol: float) -> Any:
    """The jitted batch."""
    import diffrax as dfx
    import jax
    import jax.numpy as jnp
    import optimistix as optx

    power = 3.0 if objective == "jepa" else 2.0

    def one(lam: Any, rho: Any, L: Any, eps: Any) -> Any:
        target = P * (rho**L if objective == "jepa" else rho ** (L / (L + 1)))
        sol = dfx.diffeqsolve(
            dfx.ODETerm(lambda t, w, _: lam * (w ** (power - 1 / L) - w**3 / rho)),
            getattr(dfx, solver)(),
            0.0,
            jnp.inf,
            None,
            eps,
            stepsize_controller=dfx.PIDController(rtol=rtol, atol=rtol * eps),
            event=dfx.Event(
                lambda t, y, args, **_: y / target - 1,
                root_finder=optx.Bisection(rtol=1e-2 * rtol, atol=1e-2 * rtol, flip=False),
            ),
            max_steps=10_000,
            adjoint=dfx.ForwardMode(),
            throw=False,
        )
        assert sol.ts is not None, "saved at the end"
        return sol.ts[-1]

    return jax.jit(jax.vmap(one))


def prepare(points: dict[str, Points], rtol: float, solver: str) -> Run:
    """Batches of one shape, so that one compile serves them all."""
    import jax

    def times(objective: str) -> np.ndarray:
        columns = [points[objective][name] for name in ("lam", "rho", "L", "eps")]
        count = len(columns[0])
        padded = [np.pad(c, (0, -count % WIDTH), mode="edge") for c in columns]
        batch = program(objective, solver, rtol)
        rows = range(0, len(padded[0]), WIDTH)
        return np.concatenate([np.asarray(batch(*(c[i : i + WIDTH] for c in padded))) for i in rows])[:count]

    def run() -> Times:
        with jax.enable_x64(True):
            return {objective: times(objective) for objective in points}

    return run


WAYS = [
    Way(f"diffrax {solver.lower()}, vmap, event in w", functools.partial(prepare, solver=solver), batch=WIDTH)
    for solver in ("Tsit5", "Dopri5", "Dopri8")
]
