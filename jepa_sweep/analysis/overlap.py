"""What JEPA and MAE have in common when both are stopped early."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from jepa_sweep.errors import SpecError
from jepa_sweep.store.reader import Reader


def overlap(store: Reader) -> pd.DataFrame:
    r"""Share of the first m features learned that JEPA and MAE have in common, $|J_m \cap M_m| / m$.

    Each objective is stopped when it has learned m features, whenever that is: their clocks differ too much to compare
    times. Chance alone gives m/d.

    Args:
        store: a run of networks of both objectives, the same in everything else.

    Returns:
        One row for each pair of networks, threshold p and m: the parameters that vary, `p`, `learned` (m), `overlap`,
        `chance` (m/d), and the times `t_jepa` and `t_mae` at which m features were learned. m ends with the fewer
        that one of the two has learned.

    Raises:
        SpecError: the store has no networks of both objectives.

    Example:
        >>> import tempfile, jepa_sweep as js
        >>> axes = {"features": 4, "layout": "opposite", "rho_low": 0.5, "lam_high": 1.2}
        >>> axes |= {"L": 4, "scale": 0.3, "t_end": 2400.0}
        >>> sweep = js.Sweep(name="early", system="network", axes=axes)
        >>> js.overlap(js.run(sweep, out=tempfile.mkdtemp())).overlap.round(2).tolist()
        [0.0, 0.0, 0.67, 1.0]
    """
    if "features" not in store.tables or "t_learned" not in store.schema("features").names:
        raise SpecError(f"`store` must hold networks to compare, but {store.path} has the tables {store.tables}.")
    keys = [*(c.name for c in store.parameters), "p"]
    found = store.read("features", columns=["objective", *keys, "feature", "t_learned"])
    both = [found[found["objective"] == objective] for objective in ("jepa", "mae")]
    if any(part.empty for part in both):
        raise SpecError(f"`store` must hold both jepa and mae, but {store.path} lacks one of them.")
    varying = [name for name in keys if name == "p" or len(set(found[name])) > 1]
    jepa, mae = (dict(_networks(pd.DataFrame(part), keys)) for part in both)
    rows = []
    for key in jepa.keys() & mae.keys():
        setting = dict(zip(keys, key, strict=True))
        rows += [{**{name: setting[name] for name in varying}, **row} for row in _pair(jepa[key], mae[key])]
    names = [*varying, "learned", "overlap", "chance", "t_jepa", "t_mae"]
    return pd.DataFrame(rows, columns=names).sort_values([*varying, "learned"], ignore_index=True)


def _networks(found: pd.DataFrame, keys: list[str]) -> Iterator[tuple[tuple, pd.DataFrame]]:
    for key, part in found.groupby(keys, sort=False):
        assert isinstance(key, tuple), "pandas groups by several columns into tuples"
        yield key, pd.DataFrame(part)


def _pair(jepa: pd.DataFrame, mae: pd.DataFrame) -> list[dict[str, float]]:
    """The overlap of two networks, m by m."""
    orders = [part.dropna(subset="t_learned").sort_values("t_learned") for part in (jepa, mae)]
    first, second = (order["feature"].to_numpy() for order in orders)
    times = [order["t_learned"].to_numpy() for order in orders]
    return [
        {
            "learned": m,
            "overlap": len(np.intersect1d(first[:m], second[:m])) / m,
            "chance": m / len(jepa),
            "t_jepa": times[0][m - 1],
            "t_mae": times[1][m - 1],
        }
        for m in range(1, min(len(first), len(second)) + 1)
    ]
