"""The features that JEPA and MAE have in common when both are stopped early."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jepa_sweep.errors import SpecError
from jepa_sweep.store.reader import Reader


def overlap(store: Any) -> pd.DataFrame:
    r"""Share of the first m features learned that JEPA and MAE have in common, $|J_m \cap M_m| / m$.

    Each objective is stopped when it has learned m features, whenever that is: their clocks differ too much to compare
    times. Chance alone gives m/d.

    Args:
        store: a run of networks of both objectives, the same in everything else; or its path.

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
    store = Reader(store) if isinstance(store, str | Path) else store
    if "features" not in store.tables or "t_learned" not in store.schema("features").names:
        raise SpecError(f"`store` must hold networks to compare, but {store.path} has the tables {store.tables}.")
    keys = [*(c.name for c in store.parameters), "p"]
    found = store.read("features", columns=["objective", *keys, "feature", "t_learned"])
    if not {"jepa", "mae"} <= set(found["objective"]):
        raise SpecError(f"`store` must hold both jepa and mae, but {store.path} lacks one of them.")
    varying = [name for name in keys if name == "p" or len(set(found[name])) > 1]
    rows = []
    for _, pair in found.groupby(keys):
        setting = pair.iloc[0][varying].to_dict()
        rows += [setting | row for row in _overlaps(pd.DataFrame(pair))]
    names = [*varying, "learned", "overlap", "chance", "t_jepa", "t_mae"]
    return pd.DataFrame(rows, columns=names).sort_values([*varying, "learned"], ignore_index=True)


def _overlaps(pair: pd.DataFrame) -> list[dict[str, float]]:
    """The overlap of two networks, m by m; none where one of them is missing."""
    jepa, mae = (pair.loc[pair["objective"] == name].sort_values("t_learned") for name in ("jepa", "mae"))
    learned = min(int(part["t_learned"].notna().sum()) for part in (jepa, mae))
    first, second = jepa["feature"].to_numpy(), mae["feature"].to_numpy()
    return [
        {
            "learned": m,
            "overlap": len(np.intersect1d(first[:m], second[:m])) / m,
            "chance": m / len(jepa),
            "t_jepa": jepa["t_learned"].iloc[m - 1],
            "t_mae": mae["t_learned"].iloc[m - 1],
        }
        for m in range(1, learned + 1)
    ]
