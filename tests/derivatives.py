"""Derivatives of the exact functions to 25 digits, with their condition numbers, kept in `tests/data/derivatives.csv`.

Closed forms in high precision, moved a little in each parameter: nothing here is how the package computes them. Times
are `T = (L/k) (F(q) - F(r))`, with F the antiderivative of `1 / (z^a (1 - z^m))` by powers and roots of unity. The
condition number of a derivative D is `1 + sum_x |x dD/dx / D|`: what a relative error of each parameter comes to.
The table is written anew, the same to the last digit, by

    python tests/derivatives.py
"""

import csv
import functools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mpmath import mp, mpf

FILE = Path(__file__).parent / "data" / "derivatives.csv"
ROWS = 24  # points of each function and objective in the table
FARTHEST = 200  # in chi, of responses over time
STEP = mpf(10) ** -40  # of ln x, to both sides
FUNCTIONS = {
    "critical_time": ("lam", "rho", "eps", "p"),
    "asymptotic_critical_time": ("lam", "rho", "eps", "p"),
    "leading_critical_time": ("lam", "rho", "eps"),
    "inflection_time": ("lam", "rho", "eps"),
    "trajectory": ("lam", "rho", "eps", "t"),
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


def way(objective: str, L: int, near: mpf | None = None, *, lam: mpf, rho: mpf, eps: mpf, t: mpf) -> tuple[mpf, mpf]:
    """(y, w) where T(w) = t, for a way e^y in chi = ln(z^m / |1 - z^m|): by halves, then by Newton's steps of ln T."""
    a, m = exponents(objective, L)
    w_star = rho ** (mpf(L) / m)
    start = (eps / w_star) ** (mpf(m) / L)
    side = 1 if start < 1 else -1
    chi = mp.log(start / abs(1 - start))

    def power(y: mpf) -> mpf:
        """z^m."""
        return 1 / (1 + side * mp.exp(-chi - mp.exp(y)))

    def time(y: mpf) -> mpf:
        return critical_time(objective, L, lam=lam, rho=rho, eps=eps, p=power(y) ** (mpf(L) / m))

    low, high = mpf(-1600), mp.log(FARTHEST)
    for _ in range(30 if near is None else 0):
        middle = (low + high) / 2
        low, high = (low, middle) if time(middle) > t else (middle, high)
    y = (low + high) / 2 if near is None else near
    for _ in range(100):
        now = time(y)
        slope = L / (lam * rho ** (mpf(a - 1) / m)) * power(y) ** (mpf(1 - a) / m) / m * mp.exp(y) / now
        step = mp.log(t / now) / slope
        y = y + step
        if abs(step) < STEP**2:  # the next would be its square
            return y, w_star * power(y) ** (mpf(L) / m)
    raise ArithmeticError("the root was not found")


def trajectory(objective: str, L: int, near: mpf | None = None, **at: mpf) -> mpf:
    """w(t)."""
    return way(objective, L, near, **at)[1]


def digits_for(function: str, objective: str, L: int, at: dict[str, float]) -> int:
    """Digits that leave 30 after all differences: those of steps, and of the powers of r and q."""
    a, m = exponents(objective, L)
    log_star = L / m * math.log10(at["rho"])
    logs = [(math.log10(at["eps"]) - log_star) / L if "eps" in at else 0.0]
    logs += [math.log10(at["p"]) / L] if "p" in at else []
    more = 2 * (FARTHEST + abs(logs[0]) * m * 3) if function == "trajectory" else 0
    return int(260 + more + (a + m + 3) * (max(0.0, *(-x for x in logs)) + max(0.0, *logs)))


def slopes(function: str, objective: str, L: int, at: dict[str, float]) -> tuple[mpf, dict[str, tuple[mpf, mpf]]]:
    """The value, and the derivative with respect to each parameter with its condition number; inf where that is 0."""
    names, value = FUNCTIONS[function], globals()[function]
    with mp.workdps(digits_for(function, objective, L, at)):
        if function == "trajectory":
            with mp.workdps(mp.dps - 200):
                near, _ = way(objective, L, **{name: mpf(x) for name, x in at.items()})
            value = functools.partial(trajectory, near=near)

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


ADVERSARIAL = {  # lam, rho, L, eps, and p or t
    "critical_time": [
        ("jepa", 1.0, 0.6, 1, 1e-16, 0.5),  # nearly all of T is what rho does not move
        ("mae", 1.0, 0.6, 5, 1e-12, 0.5),
        ("mae", 1.0, 0.6, 5, 1e-12, 0.5001),  # next to where rho does not move it at all
        ("mae", 2.0, 0.9, 3, 1e-200, 0.761),
        ("jepa", 1.0, 0.9, 5, 0.11, 0.5),
        ("jepa", 1.0, 0.5, 1, 1e-300, 1 - 1e-12),
        ("mae", 1.0, 1.2, 30, 1e-300, 1 - 1e-12),
        ("jepa", 1e250, 1e3, 2, 1e-150, 1e-60),
        ("mae", 1e-250, 1e-120, 2, 1e-300, 0.9),
        ("jepa", 1.0, 1.0, 3, 0.5 * (1 - 1e-13), 0.5),  # next to the threshold
        ("mae", 1.0, 1.0, 1, 3.0 * (1 + 1e-13), 3.0),
        ("jepa", 1.0, 0.8, 2, 1e100, 1 + 1e-12),
        ("mae", 1.0, 0.8, 8, 1e300, 1e3),
    ],
    "trajectory": [
        ("jepa", 1.0, 0.6, 1, 1e-16, 1e-3),  # next to the start
        ("mae", 1.0, 0.6, 2, 1e-100, 1e-30),
        ("mae", 1.0, 0.6, 3, 1e-30, 1.4e20),  # before rho matters
        ("jepa", 1.0, 0.6, 2, 1e-4, 666_800.0),  # next to the blow-up of a flow that does not saturate
        ("jepa", 1.0, 0.9, 1, 0.5, 40.0),  # next to the rest point
        ("mae", 1.0, 0.9, 2, 0.9 ** (2 / 3) * (1 - 1e-9), 3.0),
        ("mae", 1.0, 0.9, 2, 0.9 ** (2 / 3) * (1 + 1e-9), 1e-6),
        ("jepa", 1e-3, 0.5, 8, 1e100, 1e5),  # from far above it
        ("mae", 1e200, 1.3, 12, 1e120, 1e-203),
        ("jepa", 848.0, 0.2, 61, 1e199, 6e83),
        ("jepa", 1.1, 2.2, 53, 2.5e-138, 1.1e272),  # after 1e272, before a rise in 1e308
        ("mae", 1e290, 1.0, 100, 1e-300, 0.9e7),  # whose time, but for lam, is no float
    ],
}


def drawn(function: str, objective: str) -> Iterator[tuple[int, dict[str, float]]]:
    """(L, parameters) of points: growth and decay, starts down to 1e-300, thresholds and times of all sizes."""
    rng = np.random.default_rng(list(f"{function} {objective}".encode()))
    for _ in range(ROWS):
        L, grows = int(rng.choice([1, 1, 2, 3, 5, 8, 20])), rng.random() < 0.7 or function[:8] != "critical"
        a, m = exponents(objective, L)
        at = {"lam": 10 ** rng.uniform(-2, 2), "rho": 10 ** rng.uniform(-0.7, 0.2)}
        near, far = rng.uniform(0.02, 0.98), 10 ** rng.uniform(-12, -1)
        at["p"] = (near if rng.random() < 0.6 else 1 - far) if grows else 1 + (3 * near if rng.random() < 0.6 else far)
        if function == "inflection_time":
            at["p"] = (1 - m / (a + L - 1 + m)) ** (L / m)
        w = at["p"] * at["rho"] ** (L / m)
        most = min(250, 280 * L / max(a - 1, 1)) + math.log10(w)  # so that T and its derivatives are floats
        away = 10 ** (rng.uniform(0.01, 3) if rng.random() < 0.6 else rng.uniform(3, max(most, 4)))
        at["eps"] = w / away if grows else w * away**0.3
        if function == "trajectory":  # up to some widths of the rise after its blow-up
            rise = L / (at["lam"] * at["rho"] ** ((a - 1) / m))
            late = rng.uniform(0, 20) / m * rise if rng.random() < 0.5 else 0.0
            start = (at["eps"] / at["rho"] ** (L / m)) ** (1 / L)
            wait = (start ** (1 - a) / (a - 1) if a > 1 else -math.log(start)) * rise
            at["t"] = wait * rng.uniform(0, 1 if late else 0.99) + late
        yield L, {name: float(at[name]) for name in FUNCTIONS[function]}


def rows() -> Iterator[dict[str, str]]:
    """The table: parameters as floats, the value and derivatives to 25 digits."""
    for function, names in FUNCTIONS.items():
        points = [(o, *point) for o in ("jepa", "mae") for point in drawn(function, o)]
        for objective, lam, rho, L, eps, last in ADVERSARIAL.get(function, ()):
            points.append((objective, L, dict(zip(names, (lam, rho, eps, last), strict=True))))
        for objective, L, at in points:
            value, found = slopes(function, objective, L, at)
            row = {"function": function, "objective": objective, "L": str(L), **{n: repr(x) for n, x in at.items()}}
            row["value"] = mp.nstr(value, 25)
            for name, (slope, condition) in found.items():
                row[f"d_{name}"] = mp.nstr(slope, 25)
                row[f"condition_{name}"] = mp.nstr(condition, 6).lstrip("+")
            yield row


if __name__ == "__main__":
    columns = ["function", "objective", "L", "lam", "rho", "eps", "p", "t", "value"]
    columns += [f"{kind}_{name}" for name in ("lam", "rho", "eps", "p", "t") for kind in ("d", "condition")]
    with FILE.open("w", newline="") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(rows())
