"""C++ by hand: rules for integrals over each point's whole interval, in vector instructions, a thread on each core.

Clenshaw-Curtis of 33 points takes its error from the 17 among them, and halves the interval where that is too large.
Gauss-Legendre of 12 points in a variable y in which the integrand hardly varies (see `rule.cpp`) checks nothing: on the
mixed grid it is right to 5e-10, for which over chi itself Gauss-Legendre needs 19 points and Clenshaw-Curtis 29.
"""

import functools

import numpy as np

from benchmarks.common import Points, Run, Way, clock
from benchmarks.ways import cpp


def clenshaw_curtis(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in [0, 1] and weights of the rule of n + 1 points, n even."""
    angles = np.pi * np.arange(n + 1) / n
    even = np.arange(0, n + 1, 2)
    # The weights integrate the Chebyshev polynomials cos(k angle): over [0, 1] to 1 / (1 - k^2), or 0 for odd k.
    moments = np.zeros(n + 1)
    moments[even] = 1 / (1.0 - even**2)
    return (1 - np.cos(angles)) / 2, np.linalg.solve(np.cos(np.outer(np.arange(n + 1), angles)), moments)


def gauss(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in [0, 1] and weights of the Gauss-Legendre rule of n points."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (1 + nodes) / 2, weights / 2


def prepare(points: dict[str, Points], rtol: float, form: str, rule: tuple[np.ndarray, ...]) -> Run:
    """By the function `form` of `rule.cpp`, with the nodes and weights of `rule`."""
    call = functools.partial(getattr(cpp.compiled("rule.cpp"), form), len(rule[0]), *map(cpp.doubles, rule))
    given = {objective: clock(objective, points[objective]) for objective in points}
    return lambda: {objective: cpp.solve(call, given[objective], rtol) for objective in points}


def nested(n: int) -> tuple[np.ndarray, ...]:
    """Clenshaw-Curtis of 2 n + 1 points: its nodes, its weights, and those of the rule of every second node."""
    nodes, fine = clenshaw_curtis(2 * n)
    rough = np.zeros_like(fine)
    rough[::2] = clenshaw_curtis(n)[1]
    return nodes, fine, rough


def _way(name: str, form: str, rule: tuple[np.ndarray, ...], exact: bool = False) -> Way:
    prepared = functools.partial(prepare, form=form, rule=rule)
    return Way(f"C++ by hand, {name}", prepared, cpp.missing, exact=exact, batch=65_536)


WAYS = [
    _way("Clenshaw-Curtis of 33 points, over chi", "split_times", nested(16)),
    _way("Gauss-Legendre of 12 points, stretched, unchecked", "stretched_times", gauss(12), exact=True),
]
