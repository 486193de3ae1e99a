"""A user's own pairs (x, y): their features, and the order in which JEPA and MAE would learn them."""

import warnings
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jepa_sweep.analysis import pair_files
from jepa_sweep.checks import real_numbers
from jepa_sweep.engine import lanes
from jepa_sweep.engine.tracing import refuse_traced
from jepa_sweep.errors import SpecError, SpecWarning
from jepa_sweep.layout import for_json
from jepa_sweep.physics import moments as physics
from jepa_sweep.physics.host import Status, labels
from jepa_sweep.physics.moments import Estimate
from jepa_sweep.physics.reduced import DYNAMICS
from jepa_sweep.spec.rules import check_arguments
from jepa_sweep.systems.reduced import REDUCED


def moments(x: Any, y: Any = None, *, center: bool = True) -> Estimate:
    r"""From pairs (x, y) to their second moments, the basis of their features, and lam and rho with standard errors.

    $lam_i = E[x_i y_i]$ and $rho_i = lam_i / E[x_i^2]$ in the orthogonal basis that brings E[x x^T] and E[y x^T]
    closest to diagonal; Littwin et al. 2024, section 3. Data may be larger than memory.

    Args:
        x: samples, shape (n, d) or (n,), or the path of a file. Without `y` a file holds the pairs: `.npy` with shape
            (n, 2, d), x before y, or `.parquet` with columns x0, x1, ..., y0, y1, ... or list columns x and y.
        y: the partner of each row of x, as an array of its shape, or the path of a second file. Of two files each
            holds one of them: `.npy` with shape (n, d), or `.parquet` with its half of those columns.
        center: subtract the means of x and of y first; without, the moments are about zero.

    Returns:
        An `Estimate`: `.lam` and `.rho` in the order of falling lam, `.lam_error` and `.rho_error`, `.basis`,
        `.moments`, and `.off_diagonal`, `.mixing` and `.asymmetry`, which say how well single features describe the
        data. Features with lam < 0, which JEPA and MAE cannot learn, are among them.

    Raises:
        SpecError: the file cannot be read, the shapes do not fit, a value is not a finite number, there are fewer
            than 2 d or 10 pairs, d is above 1000, the covariance of x is singular, or lam or rho is beyond the range
            of floats.

    Warns:
        SpecWarning: a second moment is beyond the range of floats, though lam and rho are not.

    Example:
        >>> import jepa_sweep as js
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(10_000, 2)) * [2.0, 1.0]
        >>> found = js.moments(x, [0.5, 0.8] * x)
        >>> found.rho.round(2).tolist(), bool(np.all(abs(found.lam - [2.0, 0.8]) < 3 * found.lam_error))
        ([0.5, 0.8], True)
    """
    refuse_traced("moments", (x, y))
    first, second = pair_files.halves(x, y)
    sums = scatter = None
    for block in pair_files.blocks(first, second):
        sums = physics.add(sums, *block)
    assert sums is not None, "there are at least 10 pairs"
    found = physics.finish(sums, center=center)
    _check_variances(found.estimate, first.name)
    for block in pair_files.blocks(first, second):
        scatter = physics.add_scatter(scatter, found, *block)
    assert scatter is not None, "the second pass reads what the first has read"
    estimate, lost = physics.unscaled(physics.with_errors(found, scatter))
    _check_held(lost, first.name, second.name)
    return estimate


def order(estimate: Estimate, L: int = 3, eps: float = 1e-3, p: float = 0.5) -> pd.DataFrame:
    """When JEPA and MAE of a given depth learn each feature, and which comes first: exact critical times, paper time.

    Args:
        estimate: what `moments` found.
        L: encoder layers.
        eps: initial response of every feature.
        p: fraction of the rest point at which a feature counts as learned.

    Returns:
        One row per feature, by falling lam: `feature`, `lam`, `lam_error`, `rho`, `rho_error`; for JEPA the
        critical time `t_jepa`, its standard error `t_jepa_error`, its place in the order `rank_jepa` (1 is first) and
        `status_jepa`, and the same for MAE. Times and ranks are missing where there is nothing to time; the status says
        why (lam < 0: collapses).

    Raises:
        SpecError: L is not a whole number, or eps or p cannot be used.

    Example:
        >>> import jepa_sweep as js
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(10_000, 2)) * [1.7, 1.1]
        >>> table = js.order(js.moments(x, [0.4, 0.9] * x), L=5, eps=1e-3)
        >>> table["rank_jepa"].tolist(), table["rank_mae"].tolist()
        ([2, 1], [1, 2])
    """
    refuse_traced("order", (estimate.lam, estimate.rho, L, eps, p), "use `critical_time`")
    table = {
        "feature": np.arange(len(estimate.lam)),
        "lam": estimate.lam, "lam_error": estimate.lam_error,
        "rho": estimate.rho, "rho_error": estimate.rho_error,
    }  # fmt: skip
    for objective in DYNAMICS:
        table |= _times(objective, estimate, L, eps, p)
    return pd.DataFrame(table)


def inversions(table: pd.DataFrame) -> pd.DataFrame:
    """Pairs of features that JEPA and MAE learn in opposite orders, with their numbers in `jepa_first`, `mae_first`.

    Features without a time are left out.

    Args:
        table: what `order` made.

    Returns:
        One row per pair. `resolved` is true where both orders stand two standard errors of ln t clear of a tie, with
        the errors of different features taken as independent.

    Raises:
        SpecError: the table has no ranks.

    Example:
        >>> import jepa_sweep as js
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(10_000, 2)) * [1.7, 1.1]
        >>> js.inversions(js.order(js.moments(x, [0.4, 0.9] * x), L=5)).to_dict("records")
        [{'jepa_first': 1, 'mae_first': 0, 'resolved': True}]
    """
    if not {"rank_jepa", "rank_mae"} <= set(table.columns):
        raise SpecError(
            f"`table` must be what `order` makes, but its columns are {', '.join(map(str, table.columns))}."
        )
    timed = table.dropna(subset=["rank_jepa", "rank_mae"])
    lead, clear = [], []
    for objective in DYNAMICS:
        rank = timed[f"rank_{objective}"].to_numpy(int)
        log = np.log(timed[f"t_{objective}"].to_numpy(float))
        spread = timed[f"t_{objective}_error"].to_numpy(float) / np.exp(log)
        lead.append(rank[:, None] < rank)
        clear.append(np.abs(log[:, None] - log) > 2 * np.hypot(spread[:, None], spread))
    first, second = np.nonzero(lead[0] & ~lead[1] & ~np.eye(len(timed), dtype=bool))
    names = timed["feature"].to_numpy(int)
    resolved = (clear[0] & clear[1])[first, second]
    return pd.DataFrame({"jepa_first": names[first], "mae_first": names[second], "resolved": resolved})


class Account(NamedTuple):
    """What the command `moments` prints of a file."""

    facts: dict[str, Any]
    table: pd.DataFrame  # the features
    parts: list[str | pd.DataFrame]  # sentences and tables, in their order


def account(x: Any, y: Any, L: int, eps: float, p: float, top: int) -> Account:
    """What there is to say of a file of pairs, in tables of at most `top` rows."""
    found = moments(x, y)
    table = order(found, L, eps, p)
    pairs = inversions(table)
    facts = {name: getattr(found, name) for name in ("pairs", "off_diagonal", "mixing", "asymmetry")}
    facts["off_diagonal"] = found.off_diagonal if np.isfinite(found.off_diagonal) else None  # as JSON takes it
    facts |= {"L": L, "eps": eps, "p": p, "features": for_json(table), "inversions": for_json(pairs)}
    shown = table.sort_values("rank_jepa", na_position="last", kind="stable").head(top)
    text = [
        f"{found.pairs:,} pairs of {len(table)} features\n"
        f"mixing {found.mixing:.2g} (rms correlation of different features; {found.pairs**-0.5:.1g} by chance), "
        f"asymmetry of E[y x^T] {found.asymmetry:.2g}, off-diagonal measure {found.off_diagonal:.2g}\n"
        f"critical times in paper time for L = {L}, eps = {eps:g}, p = {p:g}:"
    ]
    after = []
    if len(shown) < len(table):
        after.append(f"... and {len(table) - len(shown)} more features; --top {len(table)} shows all")
    for objective in DYNAMICS:
        for status, group in table[table[f"rank_{objective}"].isna()].groupby(f"status_{objective}"):
            some = ", ".join(map(str, group["feature"].tolist()[:12])) + (", ..." if len(group) > 12 else "")
            after.append(f"{objective} does not learn {len(group)} ({status}): features {some}")
    after.append(
        f"JEPA and MAE learn {len(pairs):,} pairs of features in opposite orders, {pairs['resolved'].sum():,} of them "
        "clear of a tie by two standard errors"
    )
    parts = [*text, shown.drop(columns=["status_jepa", "status_mae"]), "\n".join(after)]
    if len(pairs):
        parts.append(pairs.sort_values("resolved", ascending=False, kind="stable").head(top))
    return Account(facts, table, parts)


def _times(objective: str, estimate: Estimate, L: int, eps: float, p: float) -> dict[str, Any]:
    """The columns of one objective in `order`."""
    lam, rho, d = estimate.lam, estimate.rho, len(estimate.lam)
    given = {"lam": lam, "rho": rho, "L": L, "eps": eps, "p": p}
    arrays = {name: real_numbers(name, value) for name, value in given.items()}
    check_arguments(REDUCED, objective, arrays)
    for name in ("L", "eps", "p"):
        if arrays[name].shape not in ((), (1,), (d,)):
            raise SpecError(
                f"`{name}` must be one number, or one for each of {d} features, but its shape is {arrays[name].shape}; "
                "try a call for each value."
            )
    # t is proportional to 1 / lam; how it answers to rho is read from one error up and down, on a log scale.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        step = np.minimum(estimate.rho_error / np.abs(rho), 1)
        columns = {name: np.tile(np.broadcast_to(array.astype(float), d), 3) for name, array in arrays.items()}
        columns["rho"] = np.concatenate([rho, rho * np.exp(step), rho * np.exp(-step)])
        thresholds = columns.pop("p")
        found = lanes.predict(DYNAMICS[objective], columns, thresholds, device="cpu")
        t, up, down = found.values["t_exact"].reshape(3, d)
        error = t * np.hypot(estimate.lam_error / lam, (np.log(up) - np.log(down)) / 2)
    learned = found.status[:d] == Status.LEARNED
    times = pd.Series(np.where(learned, t, np.nan))
    return {
        f"t_{objective}": times,
        f"t_{objective}_error": np.where(learned, error, np.nan),
        f"rank_{objective}": times.rank(method="first").astype("Int64"),
        f"status_{objective}": labels(found.status[:d]),
    }


def _check_held(lost: dict[str, int], x: str, y: str) -> None:
    """Raise where floats cannot hold lam, rho or their errors; warn where they cannot hold another result."""
    wanted = [name for name in ("lam", "rho", "lam_error", "rho_error") if name in lost]
    told = ", ".join(f"{name} is up to 1e{lost[name]:+}" for name in wanted or lost)
    units = f"try other units: lam grows with `{x}` and `{y}`, rho with `{y}` / `{x}`"
    if wanted:
        raise SpecError(f"lam, rho and their errors must be numbers that floats can hold, but {told}; {units}.")
    if lost:
        warnings.warn(
            f"Floats cannot hold every result: {told}, so these read inf or 0, or have lost digits. All others are "
            f"right, lam and rho among them; to have these, too, {units}.",
            SpecWarning,
            stacklevel=3,
        )


def _check_variances(found: Estimate, name: str) -> None:
    """Raise unless every direction of x varies."""
    variances = np.linalg.eigvalsh(found.moments.xx)
    flat = int(np.sum(variances <= 1e-12 * max(variances[-1], np.finfo(float).tiny)))
    if flat:
        raise SpecError(
            f"The covariance of `{name}` must be regular, but {flat} of its {len(variances)} directions do not vary, "
            "so they have no rho; try dropping constant or repeated columns, or the leading principal components."
        )
