# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Tutorial: which feature first?
#
# Data have several features, and a network does not learn them all at once. Which comes first, when it is trained as
# a JEPA, which predicts the representation of the target, and when as an MAE, which predicts the target itself? This
# page goes from that question to a figure that answers it.
#
# It is a notebook, `docs/tutorial.py`: VS Code and PyCharm run its cells as they are, Jupyter opens it with jupytext,
# and `python docs/tutorial.py` runs it from end to end. It needs `pip install 'jepa_sweep[plot]'` and half a minute.

# %% [markdown]
# ## Two features
#
# Two numbers decide how a feature is learned: its covariance with the target, $\lambda = E[xy]$, and its regression
# coefficient, $\rho = E[xy] / E[x^2]$. Take one that is loud, and one that is quieter but predicts the target better:

# %%
import jepa_sweep as js

loud = {"lam": 1.2, "rho": 0.4}
clear = {"lam": 1.0, "rho": 0.9}

# %% [markdown]
# In a deep linear network of $L$ layers that starts from small weights, each feature follows one equation of its own
# for the encoder's response $w$ to it, from $w(0) = \varepsilon$ to a rest point. Theory has the time at which a
# feature has half of its final response, in closed form:

# %%
eps = 1e-4
for L in (1, 2, 3, 5):
    for objective in ("jepa", "mae"):
        first = js.critical_time(objective, **loud, L=L, eps=eps)
        second = js.critical_time(objective, **clear, L=L, eps=eps)
        print(f"L = {L}, {objective:4}: loud {first:12,.1f}, clear {second:12,.1f}", end="")
        print("   the clear one first" if second < first else "")

# %% [markdown]
# MAE learns the loud feature first, whatever the depth. So does a shallow JEPA, but a deep one learns the clear feature
# first.

# %% [markdown]
# ## Watch them being learned
#
# `js.run` integrates whatever a spec asks for, with its trajectories if wanted, and leaves Parquet files in a folder.
# Here the spec is a dict; the same keys make a TOML file for `jepa-sweep run`.

# %%
watched = js.run(
    {
        "name": "watched",
        "axes": {
            "combine": "zip",  # the first of each, the second of each
            "lam": [1.2, 1.0],
            "rho": [0.4, 0.9],
            "L": 5,
            "eps": eps,
        },
        "measure": {"trajectories": {"samples": 200, "until": 1.5}},
    },
    out="runs/watched",
)
watched

# %% [markdown]
# The tables are pandas frames, and Parquet for anything else. Each response rises to a rest point of its own, so
# it is drawn here as a share of that; the time that counts is the one at half of it.

# %% Responses over time at L = 5: JEPA learns the clear feature first, MAE the loud one
from matplotlib import pyplot

names = {loud["rho"]: "loud", clear["rho"]: "clear"}
samples = watched.trajectories()
layout = {"figsize": (8, 2.6), "sharey": True, "layout": "constrained"}
figure, panels = pyplot.subplots(1, 2, **layout)
for objective, panel in zip(("jepa", "mae"), panels):
    for rho, line in samples.query("objective == @objective").groupby("rho"):
        rest = js.fixed_point(objective, rho=rho, L=5)
        panel.plot(line["t"], line["w"] / rest, label=names[rho])
    panel.axhline(0.5, color="0.7", linewidth=0.8, zorder=0)
    panel.set(title=objective.upper(), xlabel="paper time")
panels[0].set_ylabel("share of the rest point")
panels[0].legend(frameon=False)

# %% [markdown]
# ## Every feature
#
# Two features may be an accident. A sweep covers a whole range of them, and leaves one row a point. Running it again
# would compute nothing; with more values it would compute those.

# %%
sweep = js.Sweep(
    name="features",
    axes={
        "lam": {"linear": [0.8, 1.4], "num": 25},
        "rho": {"linear": [0.35, 0.95], "num": 25},
        "L": [1, 5],
        "eps": eps,
    },
)
store = js.run(sweep, out="runs/features")
store

# %% [markdown]
# Every row stands beside its prediction. `compare` says how far the two are apart, by objective and depth:

# %%
store.compare()[["objective", "L", "points", "learned", "worst_difference"]]

# %% [markdown]
# What orders the features? Rank correlations of their times with lam and with rho; -1 means that larger ones are always
# learned earlier:

# %%
times = store.points(columns=["objective", "L", "lam", "rho", "t_numeric"])
for (objective, L), part in times.groupby(["objective", "L"]):
    ranks = part[["lam", "rho", "t_numeric"]].corr("spearman")["t_numeric"]
    print(f"{objective:4} L = {L}: lam {ranks['lam']:+.2f}, rho {ranks['rho']:+.2f}")

# %% [markdown]
# ## The answer
#
# Which features are learned before the loud one? Those that are shaded:

# %% Features learned before the loud one: for MAE those of larger lam, for a deep JEPA those of larger rho as well
layout = {"figsize": (7, 5.2), "sharex": True, "sharey": True, "layout": "constrained"}
figure, panels = pyplot.subplots(2, 2, **layout)
for row, L in zip(panels, (1, 5)):
    for objective, panel in zip(("jepa", "mae"), row):
        part = times.query("objective == @objective and L == @L")
        grid = part.pivot(index="rho", columns="lam", values="t_numeric")
        share = grid / js.critical_time(objective, **loud, L=L, eps=eps)
        panel.contourf(grid.columns, grid.index, share, levels=[0, 1], colors=["#9ecae1"])
        for name, feature in (("loud", loud), ("clear", clear)):
            panel.plot(*feature.values(), "ko")
            panel.annotate(f" {name}", feature.values(), va="bottom")
        panel.set_title(f"{objective.upper()}, L = {L}")
        panel.set(xlabel="lam", ylabel="rho")
        panel.label_outer()

# %% [markdown]
# **MAE asks how much a feature varies with the target, $\lambda$; a deep JEPA asks for $\rho$ as well**, and prefers
# the clear feature, and all others above the curve, though their $\lambda$ is smaller. Shallow ones hardly differ.
#
# Why? The two equations, in the paper's time, differ by one power of $w$:
#
# $$\dot w = \lambda\, w^{3 - 1/L} \Bigl(1 - \frac{w^{1/L}}{\rho}\Bigr) \quad \text{(JEPA)}, \qquad
# \dot w = \lambda\, w^{2 - 1/L} \Bigl(1 - \frac{w^{1 + 1/L}}{\rho}\Bigr) \quad \text{(MAE)}.$$
#
# $\lambda$ only sets the pace. $\rho$ is in the brake, the bracket. That of MAE is not felt before the feature is
# nearly learned, because $w^{1 + 1/L}$ is about as small as $w$. JEPA predicts a representation that is as small as
# its own, so its brake lacks one power of $w$, and in a deep encoder $w^{1/L}$ is not small even at the start:

# %%
for name, feature in (("loud", loud), ("clear", clear)):
    jepa, mae = (eps**power / feature["rho"] for power in (1 / 5, 1 + 1 / 5))
    print(f"{name:5}: at the start {jepa:.0%} is braked away for JEPA, {mae:.3%} for MAE")

# %% [markdown]
# The clear feature takes off while the loud one is held back.

# %% [markdown]
# ## In a whole network
#
# The law of one feature assumes small aligned weights. The system `training` trains whole networks by gradient
# descent and puts each feature's learning time beside that law. Here rho falls as lam grows, over eight features:

# %%
trained = js.run(
    {
        "name": "trained",
        "system": "training",
        "axes": {
            "features": 8,
            "layout": "opposite",
            "lam_low": 1.0,
            "lam_high": 1.2,
            "rho_low": 0.4,
            "rho_high": 0.9,
            "L": 3,
            "scale": 0.2,
            "t_end": 1500.0,
            "eta": 0.1,
        },
    },
    out="runs/trained",
)
columns = ["objective", "feature", "lam", "rho", "t_learned", "t_exact"]
trained.features(columns).query("feature in (0, 7)")

# %% Places of eight features in the orders of JEPA and MAE, which are each other's reverse
trained.plot.order()

# %% [markdown]
# JEPA and MAE learn the same eight features in opposite orders, as the law says.
#
# ## Further
#
# - `jepa-sweep explore runs/features` writes a page to look through such a sweep with: both objectives side by side,
#   the trajectory behind every cell, all of it offline.
# - The [gallery](gallery.md) has the paper's figures with what they claim; its `inversion` shows for which `eps` and
#   depth two features change places.
# - [Your own data](how-to/own-data.md) have a lam and a rho for each feature, too.
# - What a spec may say stands in the [reference](reference/spec.md), and why all this holds in the
#   [theory](theory.md).
