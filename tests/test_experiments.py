"""The paper's experiments and figures: every spec file at reduced size, what its figure claims, and the picture."""

import numpy as np
import pytest
from conftest import ROOT

import jepa_sweep as js
from jepa_sweep.spec.replicates import replicates
from jepa_sweep.store.reader import Reader
from jepa_sweep.view import needs, style
from jepa_sweep.view.catalog import PICTURES
from jepa_sweep.view.figures.times import pairs_of, windows

pytestmark = pytest.mark.figure

SWEEPS = ROOT / "sweeps"

# What each experiment is reduced to: axes in place of its own, and samples of its trajectories.
REDUCED = {
    "fig1": ({"features": 12}, 9),
    "fig2": ({}, None),
    "fig3": ({"log10_T": [3.0, 4.0, 5.0], "seed": list(range(40))}, 20),
    "fig4": ({}, None),
    "fig5": ({"features": 30, "seed": [0], "layout": ["opposite", "crossed"], "eta": 0.05}, 5),
    "mlp": ({"activation": "tanh", "seed": [0]}, 33),
    "loss": ({"features": 2, "L": 2}, 129),
    "inversion": ({}, None),
    "critical_times": ({"lam": [0.1, 1.0, 10.0], "L": [1, 2, 5]}, None),
    "quickstart": ({"lam": [0.1, 1.0]}, 2),
    "early": ({"features": 12}, None),
    "collapse": ({"features": 4, "ema": [0.01, 1.0], "L": 2}, 2),
}


@pytest.fixture(scope="module")
def reduced(tmp_path_factory):
    """Run a shipped spec at reduced size, once for all tests that ask for it."""
    done = {}

    def run(name):
        if name not in done:
            sweep, (axes, samples) = js.Sweep.load(SWEEPS / f"{name}.toml"), REDUCED[name]
            if axes:
                spec = sweep.model_dump(by_alias=True, exclude_defaults=True, exclude_none=True)
                spec["axes"] |= axes
                if samples:
                    spec["measure"]["trajectories"]["samples"] = samples
                sweep = js.Sweep(**spec)
            done[name] = js.run(sweep, tmp_path_factory.mktemp(name))
            assert len(done[name].failures()) == 0
        return done[name]

    return run


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.toml")), ids=lambda p: p.stem)
def test_every_shipped_spec_can_be_read_and_repeats_nothing(path):
    assert replicates(js.Sweep.load(path)) == []


def test_a_figure_its_spec_file_and_its_run_share_their_name():
    names = {path.stem: js.Sweep.load(path).name for path in SWEEPS.glob("*.toml")}
    assert names == {stem: stem for stem in names}
    assert set(PICTURES) <= set(names)


def other_names(frame):
    """The same rows with the two objectives taken for each other."""
    if "objective" in frame:
        swapped = frame["objective"].map(lambda name: {"jepa": "mae", "mae": "jepa"}.get(name, name))
        frame = frame.assign(objective=swapped)
    return frame


def blurred(frame):
    """The same rows with measurements a tenth off."""
    for name in ("t_numeric", "t_learned", "rho_hat", "relative_difference"):
        if name in frame:
            frame = frame.assign(**{name: frame[name] * 1.1 + 0.1})
    return frame


def windows_are_known(store):
    """Edges for rho = 0.4 against 0.9, p = 1/2, to the two digits worked out in high precision."""
    known = {
        1.2: {2: (6.1e-3, 3.2e-2), 3: (5.6e-4, 2.1e-2), 5: (7.1e-6, 4.2e-3), 8: (8.9e-9, 2.9e-4)},
        2.0: {5: (6.4e-4, 3.2e-3), 8: (9.9e-6, 2.6e-4)},
    }
    pairs = pairs_of(store)
    for lam, edges in known.items():
        found = windows(pairs[pairs["lam"] == lam]).set_index("L")
        for depth, expected in edges.items():
            assert found.loc[depth].to_numpy() == pytest.approx(expected, rel=0.02)
        assert not set(found.index) & ({1} if lam == 1.2 else {1, 2, 3, 4})


def no_scalar_law(store):
    """It is one of linear networks."""
    assert store.features()["t_exact"].isna().all()


# Panels of each figure, and changes of its tables that at least one of its claims must notice.
FIGURES = {
    "fig1": (6, [other_names, blurred]),
    "fig2": (6, [other_names]),
    "fig3": (7, [blurred]),
    "fig4": (8, [other_names]),
    "fig5": (8, [other_names]),
    "mlp": (8, [other_names]),
    "loss": (2, [other_names]),
    "inversion": (2, [other_names]),
    "critical_times": (4, [blurred]),
}


# Figures of the runs of other specs: these are drawn, all others are refused.
DRAWN_TOO = {("critical_times", "quickstart"), ("critical_times", "inversion")}


def other_figures_are_drawn_or_refused(store, spec, folder):
    """The figures that speak of such a run are drawn and hold what they claim; the others leave no trace."""
    for name in PICTURES.keys() - {spec}:
        png = folder / f"{name}.png"
        png.write_bytes(b"drawn before")
        if (name, spec) in DRAWN_TOO:
            assert all(claim.holds for claim in js.figure(name, folder, store.path).claims)
            assert png.read_bytes() != b"drawn before"
            continue
        with pytest.raises(
            js.SpecError, match=rf"`{name}` must be drawn from a run like .* but .* does not fit: .*Try"
        ):
            js.figure(name, folder, store.path)
        assert png.read_bytes() == b"drawn before"
        assert not (folder / f"{name}.pdf").exists()


ALSO = {"inversion": windows_are_known, "mlp": no_scalar_law}


@pytest.mark.parametrize("name", PICTURES)
def test_figures(reduced, name, monkeypatch, tmp_path):
    """What a figure claims holds, and not on other tables; it is drawn with its panels, and labels inside the page."""
    store, (panels, changes) = reduced(name), FIGURES[name]
    needs.check(name, PICTURES[name].needs, store, "")
    for claim in PICTURES[name].claims(store):
        assert claim.holds, claim
    with style.paper():
        figure = PICTURES[name].draw(store)
        figure.draw_without_rendering()
    drawn = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    assert len(drawn) == panels
    labels = [label for ax in figure.axes for label in (ax.xaxis.label, ax.yaxis.label, ax.title) if label.get_text()]
    words = " ".join(label.get_text() for label in labels)
    assert any(word in words for word in ("time", "iteration", "pairs", "epsilon"))
    for ax in drawn:
        assert ax.has_data()
    for label in labels:
        box, page = label.get_window_extent(), figure.bbox
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= page.x1 + 1 and box.y1 <= page.y1 + 1
        assert inside, f"{label.get_text()!r} leaves the page"
    if name in ALSO:
        ALSO[name](store)
    other_figures_are_drawn_or_refused(store, name, tmp_path)
    read = Reader.read
    for change in changes:
        with monkeypatch.context() as patch:
            patch.setattr(Reader, "read", lambda *args, _change=change, **words: _change(read(*args, **words)))
            assert not all(claim.holds for claim in PICTURES[name].claims(store)), change.__name__


def of(frame, **values):
    for name, value in values.items():
        frame = frame[frame[name] == value]
        assert len(frame), f"no row has {name} = {value}"
    return frame


def test_figures_of_the_quickstart(reduced, tmp_path):
    other_figures_are_drawn_or_refused(reduced("quickstart"), "quickstart", tmp_path)


def test_early_stopped_networks_hold_different_features(reduced, tmp_path):
    other_figures_are_drawn_or_refused(reduced("early"), "early", tmp_path)
    found = js.overlap(reduced("early"))
    for _, one in found.groupby(["p"]):
        share = one.set_index("learned")["overlap"]
        assert (share.loc[:6] == 0).all()  # half of all: JEPA has those of large rho, MAE those of large lam
        grows = share.loc[6:].to_numpy()
        assert (np.diff(grows) > 0).all()
        assert grows[-1] == 1
        assert np.allclose(share, np.maximum(0, 2 * share.index - 12) / share.index)


def test_collapse_ends_where_the_theory_says(reduced, tmp_path):
    other_figures_are_drawn_or_refused(reduced("collapse"), "collapse", tmp_path)
    features = reduced("collapse").features()
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
