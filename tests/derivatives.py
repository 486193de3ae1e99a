"""Derivatives of the exact functions to 25 digits, with their condition numbers, kept in `tests/data/derivatives.csv`.

Closed forms in high precision, moved a little in each parameter: nothing here is how the package computes them. Times
are `T = (L/k) (F(q) - F(r))`, with F the antiderivative of `1 / (z^a (1 - z^m))` by powers and roots of unity. The
condition number of a derivative D is `1 + sum_x |x dD/dx / D|`: as many relative errors as one of each parameter makes.
The table is written anew, the same to the last digit, by

    python tests/derivatives.py
"""

import csv
import functools
import math
from collections.abc import Iterator
from pathlib import Path

import mpmath
import numpy as np
from mpmath import mp, mpf

FILE = Path(__file__).parent / "data" / "derivatives.csv"
ROWS = 24  # points of each function and objective in the table
STEP = mpf(10) ** -40  # of ln x, to both sides
FUNCTIONS = {
    "critical_time": ("lam", "rho", "eps", "p"),
    "asymptotic_critical_time": ("lam", "rho", "eps", "p"),
    "leading_critical_time": ("lam", "rho", "eps"),
    "inflection_time": ("lam", "rho", "eps"),
    "fixed_point": ("rho",),
}
Numbers = dict[str, mpf]


def exponents(objective: str, L: int) -> tuple[int, int]:
    """(a, m) of the law dz/dtau = z^a (1 - z^m)."""
    return (2 * L, 1) if objective == "jepa" else (L, L + 1)


@functools.lru_cache(maxsize=256)
def roots(m: int, power: int, digits: int) -> list[tuple[mpf, mpf]]:
    """Of the roots of unity w with positive imaginary part: (w, w^power), to so many digits."""
    unity = [mp.expjpi(mpf(2 * j) / m) for j in range(1, (m + 1) // 2)]
    return [(w, w**power) for w in unity]


@functools.lru_cache(maxsize=4096)
def finite(z: mpf, a: int, m: int, digits: int) -> mpf:
    """The part of F that is finite at z = 0: the integral of z^c / (1 - z^m), c = m - 1 - (a - 1) mod m."""
    power = m - (a - 1) % m  # c + 1
    total = mp.log(abs(1 - z)) + ((-1) ** power * mp.log(1 + z) if m % 2 == 0 else 0)
    return -(total + sum(2 * (v * mp.log(1 - z / w)).real for w, v in roots(m, power, digits))) / m


@functools.lru_cache(maxsize=4096)
def singular(z: mpf, a: int, m: int, digits: int) -> mpf:
    """The rest of F: powers of 1/z, and ln z if there is one of them with the exponent 0."""
    powers = -sum(z**-n / n for n in range(a - 1, 0, -m))
    return powers + (mp.log(z) if (a - 1) % m == 0 else 0)


def critical_time(objective: str, L: int, *, lam: mpf, rho: mpf, eps: mpf, p: mpf, asymptotic: bool = False) -> mpf:
    """T, or for growth its asymptotic form."""
    a, m = exponents(objective, L)
    k, w_star = lam * rho ** (mpf(a - 1) / m), rho ** (mpf(L) / m)
    r, q = (eps / w_star) ** (mpf(1) / L), p ** (mpf(1) / L)
    total = singular(q, a, m, mp.dps) - singular(r, a, m, mp.dps) + finite(q, a, m, mp.dps)
    return L / k * (total if asymptotic else total - finite(r, a, m, mp.dps))


def leading_critical_time(objective: str, L: int, *, lam: mpf, rho: mpf, eps: mpf) -> mpf:
    """As the paper has it, and |ln eps| / lam where that is 0/0."""
    if objective == "jepa":
        return L / lam * sum(eps ** (-mpf(n) / L) / (n * rho ** (2 * L - 1 - n)) for n in range(1, 2 * L))
    return -mp.log(eps) / lam if L == 1 else L / ((L - 1) * lam * eps ** (mpf(L - 1) / L))


def inflection_time(objective: str, L: int, **at: mpf) -> mpf:
    """T at the fraction where growth is fastest."""
    a, m = exponents(objective, L)
    return critical_time(objective, L, **at, p=(mpf(a + L - 1) / (a + L - 1 + m)) ** (mpf(L) / m))


def fixed_point(objective: str, L: int, *, rho: mpf) -> mpf:
    """w*."""
    return rho ** (mpf(L) / exponents(objective, L)[1])


def asymptotic_critical_time(objective: str, L: int, **at: mpf) -> mpf:
    """T without what vanishes with eps."""
    return critical_time(objective, L, **at, asymptotic=True)


def digits_for(function: str, objective: str, L: int, at: dict[str, float]) -> int:
    """Digits that leave 30 after all differences: those of steps, and of the powers of r and q."""
    a, m = exponents(objective, L)
    log_star = L / m * math.log10(at["rho"])
    logs = [(math.log10(at["eps"]) - log_star) / L if "eps" in at else 0.0]
    logs += [math.log10(at["p"]) / L] if "p" in at else []
    return int(260 + (a + m + 3) * (max(0.0, *(-x for x in logs)) + max(0.0, *logs)))


def slopes(function: str, objective: str, L: int, at: dict[str, float]) -> tuple[mpf, dict[str, tuple[mpf, mpf]]]:
    """The value, and the derivative with respect to each parameter with its condition number; inf where that is 0."""
    names, value = FUNCTIONS[function], globals()[function]
    with mp.workdps(digits_for(function, objective, L, at)):

        @functools.cache
        def moved(*steps: int) -> mpf:
            """The value with ln x moved by so many steps."""
            return value(objective, L, **{n: mpf(at[n]) * mp.exp(s * STEP) for n, s in zip(names, steps, strict=True)})

        unit = [tuple(int(i == j) for j in range(len(names))) for i in range(len(names))]

        def by(*steps: tuple[int, ...]) -> mpf:
            return moved(*(sum(s) for s in zip(*steps, strict=True)))

        def less(x: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(-s for s in x)

        first = [(by(x) - by(less(x))) / (2 * STEP) for x in unit]
        second = [
            [(by(x, y) - by(x, less(y)) - by(less(x), y) + by(less(x), less(y))) / (2 * STEP) ** 2 for y in unit]
            for x in unit
        ]
        found = {}
        for i, name in enumerate(names):
            moves = sum(abs(second[i][j] / first[i] - (i == j)) for j in range(len(names))) if first[i] else mp.inf
            found[name] = first[i] / mpf(at[name]), 1 + moves
        return moved(*[0] * len(names)), found


def points(function: str, objective: str) -> Iterator[tuple[int, dict[str, float]]]:
    """Depths and parameters: starts of 1e-300 to next to the threshold, thresholds next to rest, and decay."""
    rng = np.random.default_rng(len(function) + len(objective))
    for row in range(ROWS):
        L = int(rng.choice([1, 2, 3, 5, 12, 40, 100]))
        lam, rho = (10.0**x for x in rng.uniform((-3, -1), (3, 0.5)))
        w_star = float(rho) ** (L / exponents(objective, L)[1])
        falls = row % 4 == 3 and function == "critical_time"
        rest = 10.0 ** rng.uniform(-12, -0.3)
        p = 1 + rest if falls else (1 - rest if row % 2 else rng.uniform(0.01, 0.99))
        far = (10.0 ** rng.uniform(0.01, 6)) if falls else 10.0 ** -rng.uniform(0.01, 300 if row % 3 == 0 else 12)
        at = {"lam": lam, "rho": rho, "eps": max((p if falls else min(p, 0.3)) * w_star * far, 1e-300), "p": p}
        yield L, {name: float(at[name]) for name in FUNCTIONS[function]}


def main() -> None:
    """Write the table."""
    with FILE.open("w", newline="") as sink:
        table = csv.writer(sink, lineterminator="\n")
        table.writerow(["function", "objective", "L", "lam", "rho", "eps", "p", "by", "derivative", "condition"])
        for function in FUNCTIONS:
            for objective in ("jepa", "mae"):
                for L, at in points(function, objective):
                    given = [repr(at[name]) if name in at else "" for name in ("lam", "rho", "eps", "p")]
                    for name, (slope, condition) in slopes(function, objective, L, at)[1].items():
                        if mp.isfinite(condition) and 1e-290 < abs(slope) < 1e290:
                            numbers = mpmath.nstr(slope, 25), mpmath.nstr(condition, 6)
                            table.writerow([function, objective, L, *given, name, *numbers])


if __name__ == "__main__":
    main()
