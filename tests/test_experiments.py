"""The paper's experiments on whole networks: every spec file at reduced size, and in its tables what it says."""

import numpy as np
import pytest
from conftest import ROOT

import jepa_sweep as js

SWEEPS = ROOT / "sweeps"


@pytest.fixture(scope="module")
def reduced(tmp_path_factory):
    """Run a shipped spec with some axes replaced, once for all tests that ask for the same."""
    done = {}

    def run(name, samples=None, **axes):
        key = (name, samples, repr(axes))
        if key not in done:
            spec = js.Sweep.load(SWEEPS / f"{name}.toml").model_dump(exclude_none=True)
            changes = {"axes": spec["axes"] | axes}
            if samples:
                changes["measure"] = spec["measure"] | {"trajectories": {"samples": samples}}
            elif "measure" in spec:
                sampled = spec["measure"].get("trajectories")
                kept = {"trajectories": {"samples": sampled["samples"]}} if sampled else {}
                changes["measure"] = {"p": spec["measure"]["p"], **kept}
            if spec["system"] == "temporal":
                del changes["measure"]
            spec = {k: v for k, v in spec.items() if k not in ("measure", "block", "combine")}
            done[key] = js.run(js.Sweep(**spec | changes), tmp_path_factory.mktemp(name))
            assert len(done[key].failures()) == 0
        return done[key]

    return run


def of(frame, **values):
    for name, value in values.items():
        frame = frame[frame[name] == value]
        assert len(frame), f"no row has {name} = {value}"
    return frame


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.toml")), ids=lambda p: p.stem)
def test_every_shipped_spec_can_be_read(path):
    assert js.Sweep.load(path).name


def test_fig1_one_order_on_the_first_distribution_and_two_on_the_second(reduced):
    points = reduced("fig1", samples=9, features=12, seed=[0]).points()
    same, opposite = of(points, layout="same"), of(points, layout="opposite")
    assert (same["learned"] == 12).all()
    # Here lam and rho rank the features alike: both objectives learn from the largest down.
    assert (same["order_lam"] < -0.999).all()
    jepa, mae = of(opposite, objective="jepa"), of(opposite, objective="mae")
    assert (mae["order_lam"] < -0.999).all()
    assert (jepa["order_rho"] < -0.999).all()
    assert (jepa["order_lam"] > 0.999).all()


def test_fig1_is_the_scalar_law_but_for_the_step(reduced):
    features = reduced("fig1", samples=9, features=12, seed=[0]).features()
    # First order in eta: (eta/2) ln(f_end / f_0) with a growth f of less than e^10 from start to threshold.
    assert (features["t_learned"] - features["t_exact"]).abs().max() < 0.2 / 2 * 10 * 4  # paper time is 4 times as long
    assert of(features, objective="jepa")["relative_difference"].max() < 1e-3


def test_fig3_estimates_lie_in_their_bands_and_the_off_diagonal_error_falls_as_one_over_T(reduced):
    store = reduced("fig3", log10_T=[3.0, 4.0, 5.0], seed=list(range(40)))
    features = store.features()
    for name in ("lam", "rho"):
        score = (features[f"{name}_hat"] - features[name]) / features[f"{name}_std"]
        long = score[features["log10_T"] >= 4]
        # Of 160 scores 95.4 % are expected within 2; fewer than 88 % has odds of 1e-4.
        assert (long.abs() < 2).mean() > 0.88
        assert long.std() == pytest.approx(1, abs=4 / np.sqrt(2 * 80))  # features of one run are independent
    means = store.points().groupby("log10_T")[["off_diagonal", "off_diagonal_exact"]].mean()
    slope = np.polyfit(means.index.to_numpy(), np.log10(means["off_diagonal"].to_numpy()), 1)[0]
    assert slope == pytest.approx(-1, abs=0.2)
    assert (means["off_diagonal"] / means["off_diagonal_exact"]).iloc[1:].between(0.4, 1.8).all()


def test_fig5_rho_orders_what_jepa_holds_and_lam_what_mae_fits_first(reduced):
    points = reduced("fig5", samples=5, features=30, seed=[0], layout=["opposite", "crossed"], eta=0.05).points()
    jepa, mae = of(points, objective="jepa"), of(points, objective="mae")
    assert (jepa["strength_rho"] > 0.85).all()
    assert (of(jepa, layout="opposite")["strength_lam"] < -0.85).all()
    assert of(jepa, layout="crossed")["strength_lam"].abs().max() < 0.35
    assert (mae["fit_order_lam"] < -0.5).all()
    crossed = of(mae, layout="crossed")
    assert (crossed["fit_order_rho"].abs() < crossed["fit_order_lam"].abs()).all()


def test_mlp_rho_orders_jepa_and_lam_mae_on_both_distributions(reduced):
    store = reduced("mlp", samples=33, activation="tanh", seed=[0])
    points, features = store.points(), store.features()
    jepa, mae = of(points, objective="jepa"), of(points, objective="mae")
    assert (jepa["strength_rho"] > 0.8).all()
    assert (mae["fit_order_lam"] < -0.6).all()
    assert (of(jepa, layout="opposite")["strength_lam"] < -0.8).all()
    assert features["t_exact"].isna().all()  # the scalar law is for linear networks


def test_early_stopped_networks_hold_different_features(reduced):
    found = js.overlap(reduced("early", features=12, seed=[0]))
    for _, one in found.groupby(["p"]):
        share = one.set_index("learned")["overlap"]
        assert (share.loc[:6] == 0).all()  # half of all: JEPA has those of large rho, MAE those of large lam
        grows = share.loc[6:].to_numpy()
        assert (np.diff(grows) > 0).all()
        assert grows[-1] == 1
        assert np.allclose(share, np.maximum(0, 2 * share.index - 12) / share.index)


def test_collapse_ends_where_the_theory_says(reduced):
    features = reduced("collapse", samples=2, features=4, ema=[0.01, 1.0], L=2).features()
    s0, v0, rho, L = (features[name].to_numpy() for name in ("scale", "predictor_scale", "rho", "L"))
    delta = v0**2 - s0**2
    kept = np.where(delta < rho**2, np.maximum(rho**2 - delta, 0) ** (L / 2), 0.0)
    for objective in ("jepa", "ema"):
        here = features["objective"] == objective
        if objective == "ema":  # the averaged target moves the way there, so that only kept balances are compared
            here &= (features["predictor_scale"] <= 0.4) & (features["ema"] > 0.1)
        kept_ones = here & (kept > 0)
        assert features["w_end"][kept_ones].to_numpy() == pytest.approx(kept[kept_ones], rel=1e-4)
        assert features["v_end"][kept_ones].to_numpy() == pytest.approx(rho[kept_ones], rel=1e-4)
    jepa = of(features, objective="jepa")
    lost = jepa[kept[features["objective"] == "jepa"] == 0]
    assert len(lost)
    assert (lost["w_end"] < 1e-2).all()
    assert (of(features, objective="nosg")["w_end"] < 2e-3).all()
    assert (of(features, objective="nosg")["w_start"] > 0.08).all()


def test_loss_of_jepa_rises_as_its_condition_says_and_that_of_mae_falls(reduced):
    losses = reduced("loss", features=3, samples=257, L=2).losses()
    for (objective, noise, L), one in losses.groupby(["objective", "target_noise", "L"]):
        change = np.diff(one.sort_values("t")["loss"].to_numpy())
        small = 1e-7 * one["loss"].max()  # of the solver, whose rtol is 1e-9
        if objective == "mae":
            assert (change <= small).all()
        else:
            assert (change >= -small).all() == (noise >= 1 / (4 * L * (L + 1))), (noise, L)
