# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # A tour: from a sweep to a picture
#
# This file is a notebook: VS Code and PyCharm run its cells as they are, Jupyter opens it with the jupytext extension,
# `jupytext --to ipynb sweeps/tour.py` turns it into one, and `python sweeps/tour.py` runs it from end to end.
# It needs `pip install 'jepa_sweep[plot]'` and half a minute.

# %%
import jepa_sweep as js

# %% [markdown]
# ## Two features, two objectives
#
# One feature varies more (larger lam), the other is predicted better (larger rho). MAE learns the first one first. JEPA
# does so in shallow encoders and learns the second one first in deep ones.

# %%
for L in (1, 2, 3, 5, 8):
    jepa, mae = (js.critical_time(name, lam=[1.2, 1.0], rho=[0.4, 0.9], L=L, eps=1e-4) for name in ("jepa", "mae"))
    print(f"L = {L}: JEPA {'large lam' if jepa[0] < jepa[1] else 'large rho'} first, ", end="")
    print(f"MAE {'large lam' if mae[0] < mae[1] else 'large rho'} first")

# %% [markdown]
# ## A sweep
#
# Every point of the grid is integrated and stands beside its closed form. Running the cell again computes nothing;
# adding values computes those.

# %%
sweep = js.Sweep(
    name="tour",
    axes={
        "lam": {"geom": [0.5, 2.0], "num": 7},
        "rho": {"linear": [0.5, 1.0], "num": 6},
        "L": [2, 5],
        "eps": [1e-4, 1e-3],
    },
    measure={"trajectories": {"samples": 200, "until": 1.5}},
)
store = js.run(sweep, out="runs/tour")
store

# %% [markdown]
# The tables are pandas frames, and Parquet files for anything else.

# %%
store.points(columns=["objective", "L", "lam", "rho", "t_numeric", "t_exact", "relative_difference"]).head()

# %% [markdown]
# ## Pictures
#
# Dots are integrated, lines are the closed form. JEPA's times depend on rho, MAE's hardly do.

# %%
store.plot.critical_times("lam", by="rho", L=5, eps=1e-3)

# %%
store.plot.trajectories("rho", lam=1.0, L=5, eps=1e-3, objective="jepa")

# %% [markdown]
# Below the diagonal JEPA learns a feature later than MAE does; those are the features of small rho.

# %%
store.plot.order(L=5, eps=1e-3)

# %% [markdown]
# ## A network
#
# The scalar law assumes small aligned weights. Here is a whole network trained by gradient descent, its learning times
# beside that law; rho falls as lam grows, so the two objectives disagree.

# %%
network = js.Sweep(
    name="tour-network",
    system="training",
    axes={
        "features": 10,
        "layout": "opposite",
        "lam_low": 1.0,
        "lam_high": 1.2,
        "rho_low": 0.5,
        "rho_high": 0.9,
        "L": 3,
        "scale": 0.2,
        "t_end": 1500.0,
        "eta": 0.1,
    },
    measure={"trajectories": {"samples": 50}},
)
trained = js.run(network, out="runs/tour-network")
trained.features(columns=["objective", "feature", "lam", "rho", "t_learned", "t_exact", "relative_difference"]).head()

# %%
trained.plot.order()

# %% [markdown]
# ## Further
#
# `jepa-sweep explore runs/tour` writes a page with all of this to click through; `jepa-sweep reproduce` draws the
# figures of the paper.
