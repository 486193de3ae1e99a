"""Runs that figures are asked to be drawn from: those that do not fit are told what varies or is missing."""

import pytest

import jepa_sweep as js
from jepa_sweep.view import needs
from jepa_sweep.view.catalog import PICTURES

FLOW = {"name": "flow", "solver": {"method": "tsit5"}, "measure": {"trajectories": {"samples": 2}}}
TIMES = {"name": "times", "solver": {"method": "clenshaw_curtis"}}
FIG4 = {"lam": 1.0, "rho": [0.5, 0.7, 1.0], "L": [2, 3], "eps": 1e-4}
BOTH = {"combine": "zip", "axes": {"lam": [1.0, 1.05, 1.1], "rho": [0.9, 0.8, 0.7], "L": 5, "eps": 1e-3}}
LAM = {"axes": {"lam": [0.8, 0.9, 1.0], "rho": 0.9, "L": [2, 5], "eps": 1e-3}}
RHO = {"axes": {"lam": 1.0, "rho": [0.9, 0.8, 0.7], "L": [2, 5], "eps": 1e-3}}
EPS = {"geom": [1e-7, 0.3], "num": 29}
PAIR = [{"lam": 1.0, "rho": 0.9}, {"lam": 1.2, "rho": 0.4}]
SOBOL = {"lam": {"geom": [0.1, 10.0]}, "rho": {"linear": [0.05, 1.0]}, "L": [1, 2, 5], "eps": {"geom": [1e-6, 1e-2]}}
SERIES = {"name": "series", "system": "temporal", "measure": {"trajectories": {"samples": 2}}}
NETWORK = {"features": 2, "L": 1, "scale": 0.3, "t_end": 0.5, "eta": 0.1, "layout": ["same", "opposite"]}
TRAINED = {"name": "trained", "system": "training", "measure": {"trajectories": {"samples": 2}}}


def inversions(features=PAIR, L=(1, 3, 4), eps=EPS, **spec):
    blocks = [{"axes": {**feature, "L": list(L), "eps": eps}} for feature in features]
    return {**TIMES, "block": blocks, **spec}


def series(**axes):
    return {**SERIES, "axes": {"log10_T": [3.0, 4.0], "seed": list(range(40)), **axes}}


REFUSED = {  # figure, spec, what the message says
    "several p": ("inversion", inversions(measure={"p": [0.3, 0.5]}), r"`p` varies \(0.3, 0.5\) and must be fixed"),
    "no mae": ("fig4", {**FLOW, "axes": FIG4, "objective": "jepa"}, "`objective` must have jepa and mae, .* lacks mae"),
    "no trajectories": ("fig4", {"name": "bare", "axes": FIG4}, "has none of trajectories"),
    "one depth": ("fig4", {**FLOW, "axes": {**FIG4, "L": 3}}, "has learned 1 and 3"),
    "some not learned": ("fig4", {**FLOW, "axes": {**FIG4, "L": [2, 8], "eps": 1e-2}}, "but some are missing"),
    "drawn": ("fig4", {**FLOW, "axes": {**FIG4, "rho": {"linear": [0.5, 1.0]}}, "combine": "sobol", "num": 8},
              "both objectives must have learned every `rho` at every `L`"),
    "a grid": ("fig2", {**FLOW, "axes": {**FIG4, "lam": [1.0, 1.1, 1.2], "L": 2}}, "`rho` must fall as `lam` grows"),
    "not together": ("fig2", {**FLOW, "block": [LAM, RHO]}, "must also vary together"),
    "no lam alone": ("fig2", {**FLOW, "block": [RHO, BOTH]}, "`lam` must have 3 learned values or more where `rho`"),
    "the same rho": ("inversion", inversions([*PAIR, {"lam": 1.1, "rho": 0.9}]), "one feature must have the largest"),
    "too many": ("inversion", inversions([*PAIR, *({"lam": 1.3, "rho": r} for r in (0.3, 0.5, 0.6, 0.7))]), "are 5"),
    "no conflict": ("inversion", inversions([PAIR[0], {"lam": 0.9, "rho": 0.4}]), "must have a larger `lam`"),
    "no shallow encoder": ("inversion", inversions(L=(3, 4)), "`L` must have 1, but it lacks 1"),
    "no edge": ("inversion", inversions(eps={"geom": [1e-3, 0.3], "num": 9}), "must reach beyond both edges"),
    "no pairs": ("inversion", {**TIMES, "axes": SOBOL, "combine": "sobol", "num": 8}, "features must stand beside"),
    "not integrated": ("inversion", inversions(solver={"method": "exact"}), "must have measured `t_numeric`"),
    "not measured": ("critical_times", {**TIMES, "axes": {**FIG4, "eps": [1e-6, 1e-5, 1e-4]},
                     "solver": {"method": "exact"}}, "nothing was integrated"),
    "one eps": ("critical_times", {**TIMES, "axes": FIG4}, "`eps` must have 3 learned values or more"),
    "near eps": ("critical_times", {**TIMES, "axes": {**FIG4, "eps": [1e-5, 3e-5, 1e-4]}}, "over 2 decades or more"),
    "three features": ("fig3", series(features=3), "`features` must be 2, but it is 3"),
    "many": ("fig3", series(gamma_last={"linear": [0.9, 0.96], "num": 7}, log10_T=3.0, seed=[0, 1]),
             r"`gamma_last` varies \(7 values from 0.9 to 0.96\) and must be fixed"),
    "two": ("fig3", series(gamma_last=[0.9, 0.95], noise_last=[0.1, 0.2], log10_T=3.0, seed=[0, 1]),
            r"`gamma_last` varies \(0.9, 0.95\) and must be fixed; `noise_last` varies"),
    "one length": ("fig3", series(log10_T=4.0), "`log10_T` must have values from 3 on that are 1 apart"),
    "few series": ("fig3", series(seed=[0, 1]), "`seed` must have more values"),
    "equal variances": ("fig3", series(gamma_last=0.99, noise_last=1.0), "must differ in their variance"),
    "linear": ("mlp", {**TRAINED, "axes": NETWORK}, "`activation` must be relu, gelu or tanh, but it is linear"),
    "gaussian": ("fig1", {**TRAINED, "axes": {**NETWORK, "start": "gaussian"}}, "`start` must be aligned, but"),
    "samples": ("fig1", {**TRAINED, "axes": {**NETWORK, "batch": 2}}, "`batch` must be 0, but it is 2"),
    "momentum": ("fig1", {**TRAINED, "axes": NETWORK, "solver": {"method": "momentum"}}, "`method` must be sgd, but"),
    "two steps": ("fig1", {**TRAINED, "axes": {**NETWORK, "eta": [0.05, 0.1]}}, "`eta` varies"),
    "unbalanced": ("fig1", {**TRAINED, "axes": {**NETWORK, "predictor_scale": 0.2}},
                   "`predictor_scale` must equal `scale`, but they are 0.2 and 0.3"),
    "one distribution": ("fig1", {**TRAINED, "axes": {**NETWORK, "layout": "same"}}, "lacks opposite"),
    "ragged": ("fig1", {**TRAINED, "combine": "zip", "axes": {**NETWORK, "t_end": [0.5, 1.0]}},
               "must come in all 8 combinations of their values, but 4 are there"),
    "too short": ("fig1", {**TRAINED, "axes": NETWORK},
                  "`t_end` must let a network of jepa learn every feature of the layout opposite"),
    "nothing fitted": ("fig5", {**TRAINED, "axes": {**NETWORK, "start": "gaussian", "scale": 1.0, "t_end": 0.1,
                       "layout": ["opposite", "crossed"]}, "measure": {"p": [0.999], **TRAINED["measure"]}},
                       "`t_end` must let MAE fit some features"),
    "another system": ("loss", {**TRAINED, "axes": NETWORK}, "must hold runs of the system network, .* is training"),
}  # fmt: skip


@pytest.mark.figure
@pytest.mark.parametrize(("name", "spec", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_named(tmp_path, name, spec, message):
    store = js.run(js.Sweep(**spec), tmp_path / "run")
    with pytest.raises(js.SpecError, match=f"`{name}` must be drawn from a run .*{message}"):
        js.figure(name, tmp_path / "figures", store.path)
    assert not (tmp_path / "figures").exists()


LOSS = {"features": 2, "layout": "equal_rho", "lam_low": 1.0, "lam_high": 1.0, "rho_low": 0.8, "rho_high": 0.8,
        "target_noise": [0.0, 0.12, 0.13], "L": 1, "scale": 0.2, "t_end": 60.0}  # fmt: skip
FITTING = {  # figure, spec: runs other than the figure's own, of which all that it claims is true
    "sobol": ("critical_times", {**TIMES, "axes": SOBOL, "combine": "sobol", "num": 48}),
    "scrambled": ("critical_times", {**TIMES, "axes": SOBOL, "combine": "sobol", "num": 48, "seed": 9}),
    "several p": ("critical_times", {**TIMES, "axes": {**FIG4, "eps": [1e-6, 1e-4, 1e-3, 5.0]},
                  "measure": {"p": [0.1, 0.9, 1.5]}}),
    "one objective": ("critical_times", {**TIMES, "axes": {**FIG4, "eps": [1e-6, 1e-5, 1e-4]}, "objective": "mae"}),
    "one feature": ("critical_times", {**TIMES, "axes": {"lam": 1.0, "rho": 0.1, "L": 1, "eps": [1e-4, 1e-3, 1e-2]}}),
    "loose": ("inversion", inversions(solver={"method": "tsit5", "rtol": 1e-5})),
    "two pairs of one lam": ("inversion", inversions([*PAIR, {"lam": 1.2, "rho": 0.5}])),
    "few samples": ("loss", {"name": "loss", "system": "network", "axes": LOSS,
                    "measure": {"trajectories": {"samples": 12}}}),
    "no noise": ("loss", {"name": "loss", "system": "network", "measure": {"trajectories": {"samples": 12}},
                 "axes": {**LOSS, "target_noise": 0.0, "t_end": [10.0, 30.0, 60.0]}}),
    "shorter curves": ("fig2", {**FLOW, "block": [LAM, RHO, BOTH],
                       "measure": {"trajectories": {"samples": 16, "until": 1.2}}}),
}  # fmt: skip


@pytest.mark.figure
@pytest.mark.parametrize(("name", "spec"), FITTING.values(), ids=FITTING)
def test_what_fits_is_drawn_and_what_it_claims_is_true(tmp_path, name, spec):
    drawn = js.figure(name, tmp_path / "figures", js.run(js.Sweep(**spec), tmp_path / "run").path)
    assert [claim for claim in drawn.claims if not claim.holds] == []
    assert len(drawn.claims) >= 2


@pytest.mark.figure
def test_networks_that_diverged_are_missed(tmp_path):
    """Their rows stand among the failures, and in no table that is drawn."""
    spec = {**TRAINED, "axes": {**NETWORK, "t_end": 2000.0, "eta": [0.1, 50.0]}}
    store = js.run(js.Sweep(**spec), tmp_path / "run")
    assert len(store.failures())
    steps = PICTURES["fig1"].needs._replace(varies=("eta",))
    with pytest.raises(js.SpecError, match="must come in all 8 combinations of their values, but 4 are there"):
        needs.check("fig1", steps, store, "")
