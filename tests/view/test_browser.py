"""The explorer in a real browser, without a network: what is under the cursor is what the tables hold."""

import contextlib
import math
import re

import numpy as np
import pandas as pd
import pytest
from pages import critical_times, curves, grid, stored
from screen import Tab, choose, colours, cut, hover, middle_of, readout, run_line, shown

from jepa_sweep.store.schema import Column
from jepa_sweep.view import explorer

pytestmark = pytest.mark.browser

with contextlib.suppress(ImportError):  # without it there is no browser, and none of these tests runs
    from playwright.sync_api import expect


@pytest.fixture(scope="module")
def tab(browser, tmp_path_factory):
    return Tab(browser, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture
def show(tab):
    """Open the page of a store; in the end nothing may have been asked for or complained about."""
    yield tab.show
    tab.assert_quiet()


POINTS = critical_times(eps=(1e-6, 1.3894954943731374e-3), p=(0.2, 0.5))
LAM, RHO = (sorted(POINTS[name].unique()) for name in ("lam", "rho"))


@pytest.fixture(scope="module")
def usual_store(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("a") / 'a "quoted" λ', points=POINTS, trajectories=curves(POINTS))


@pytest.fixture
def usual(show, usual_store):
    """The page of that store at L = 2, eps = 1e-6, p = 0.2."""
    page = show(usual_store)
    for axis in ("L", "eps", "p"):
        cut(page, axis, 0)
    return page


def same(text, number):
    return float(text) == number or (text == "NaN" and math.isnan(number))


def test_value_under_the_pointer_is_that_of_the_table(usual):
    cut(usual, "L", 1)
    cut(usual, "eps", 1)
    at = POINTS[(POINTS["L"] == 3) & (POINTS["eps"] > 1e-6) & (POINTS["p"] == 0.2)]
    for across, up, panel in [(0, 0, 0), (2, 3, 0), (1, 2, 1), (2, 0, 1)]:
        seen = hover(usual, across, up, panel)
        objective = ("jepa", "mae")[panel]
        [row] = at[(at["objective"] == objective) & (at["lam"] == LAM[across]) & (at["rho"] == RHO[up])].to_dict(
            "records"
        )
        for name in ("objective", "status"):
            assert seen[name] == row[name]
        for name in ("lam", "rho", "L", "eps", "p", "t_numeric", "t_exact", "w_star"):
            assert float(seen[name]) == row[name]
        assert float(seen["t_numeric / t_exact"]) == row["t_numeric"] / row["t_exact"]


def test_clicks_and_keys_draw_the_trajectory_of_the_table(usual, usual_store):
    def drawn():
        lines = usual.evaluate("path.data.slice(0, 2).map(t => [[...t.x], [...t.y]])")
        return [lines[0][0], lines[0][1], lines[1][1]]

    def stored_at(across, up, objective):
        keys = {"objective": objective, "lam": LAM[across], "rho": RHO[up], "L": 2, "eps": 1e-6}
        rows = usual_store.select("trajectories", rtol=0, **keys).sort_values("t")
        return [rows[name].tolist() for name in ("t", "w", "w_exact")]

    usual.mouse.click(*middle_of(usual, 2, 1, 1))
    expect(usual.locator("#path-of")).to_have_text("mae · lam = 10, rho = 0.4, L = 2, eps = 1e\u22126, p = 0.2")
    assert drawn() == stored_at(2, 1, "mae")
    theirs = run_line(usual, "trajectories")
    assert [theirs[name].tolist() for name in ("t", "w", "w_exact")] == drawn()

    usual.locator("#map").focus()
    for key in ("ArrowLeft", "ArrowUp", "ArrowLeft", "ArrowLeft"):  # the last one leaves the panel
        usual.keyboard.press(key)
    seen = readout(usual)
    assert (seen["objective"], float(seen["lam"]), float(seen["rho"])) == ("jepa", LAM[2], RHO[2])
    assert "objective jepa" in usual.locator("#announcer").inner_text()
    assert drawn() == stored_at(2, 1, "mae")  # until asked for
    assert run_line(usual, "trajectories").equals(theirs)
    usual.keyboard.press("Enter")
    assert drawn() == stored_at(2, 2, "jepa")
    crossings = usual.evaluate("path.data.slice(2).map(t => t.x[0])")
    assert crossings == [float(seen["t_numeric"]), float(seen["t_exact"])]


def test_the_page_works_by_keyboard_alone(usual):
    usual.locator("h1").click()
    reached = []
    while not reached or (reached[-1] != "map-line" and len(reached) < 40):
        usual.keyboard.press("Tab")
        reached.append(usual.evaluate("document.activeElement.id || document.activeElement.name"))
        assert usual.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert {"theme", "pair", "show", "scale", "span", "across", "up", "cut-L", "map", "map-line"} <= set(reached)
    usual.locator("#cut-L").focus()
    usual.keyboard.press("ArrowRight")
    assert readout(usual)["L"] == "3"
    usual.keyboard.press("Escape")
    assert usual.locator("#map").is_visible()


def test_switches_change_what_is_coloured(usual):
    there = POINTS[(POINTS["L"] == 2) & (POINTS["eps"] == 1e-6) & (POINTS["p"] == 0.2)]
    there = there.assign(ratio=there["t_numeric"] / there["t_exact"])
    jepa = there[there["objective"] == "jepa"]
    names = ("t_numeric", "t_exact", "ratio")
    table = {name: jepa.pivot(index="rho", columns="lam", values=name).to_numpy() for name in names}
    np.testing.assert_allclose(shown(usual), np.log10(table["t_numeric"]), rtol=1e-14)
    np.testing.assert_allclose(colours(usual), np.log10(there["t_numeric"]).agg(["min", "max"]))
    choose(usual, "span", "all")
    np.testing.assert_allclose(colours(usual), np.log10(POINTS["t_numeric"]).agg(["min", "max"]))
    choose(usual, "scale", "linear")
    assert (shown(usual) == table["t_numeric"]).all()
    choose(usual, "show", "predicted")
    assert (shown(usual) == table["t_exact"]).all()
    choose(usual, "show", "ratio")
    assert (shown(usual) == table["ratio"] - 1).all()
    low, high = colours(usual)
    assert low == -high  # centred at 1
    choose(usual, "scale", "log")
    np.testing.assert_allclose(shown(usual), np.log10(table["ratio"]), rtol=1e-14)
    usual.locator("#across").select_option("rho")  # the axes change places
    assert usual.locator("#up").input_value() == "lam"
    np.testing.assert_allclose(shown(usual), np.log10(table["ratio"]).T, rtol=1e-14)
    usual.locator("#pair").select_option("1")
    assert usual.locator("#map-title").inner_text() == "t_numeric / t_leading"


def test_the_line_of_pandas_gives_what_is_shown_and_can_be_copied(usual):
    choose(usual, "scale", "linear")
    usual.locator("#up").select_option("eps")
    cut(usual, "rho", 2)
    cut(usual, "p", 1)
    for mode, name in [("numeric", "t_numeric"), ("predicted", "t_exact"), ("ratio", "t_numeric / t_exact")]:
        choose(usual, "show", mode)
        theirs = run_line(usual)
        assert theirs.columns.tolist() == LAM
        for panel, objective in enumerate(["jepa", "mae"]):
            there = theirs.loc[objective]
            assert there.index.tolist() == [1e-6, 1.3894954943731374e-3]
            assert (shown(usual, panel) == there.to_numpy() - (mode == "ratio")).all()
        assert theirs.loc[("mae", 1e-6)].iloc[0] == float(hover(usual, 0, 0, 1)[name])
    button = usual.locator("#lines button").first
    button.click()
    expect(button).not_to_have_text("Copy")
    assert button.inner_text() in ("Copied", "Selected")


def test_light_and_dark_follow_the_system_and_the_button(usual):
    def brightness():
        return sum(map(int, re.findall(r"\d+", usual.evaluate("getComputedStyle(document.body).backgroundColor"))))

    usual.emulate_media(color_scheme="dark")
    expect(usual.locator("html")).to_have_attribute("data-theme", "dark")
    assert brightness() < 150
    assert usual.evaluate("map.layout.font.color") == usual.evaluate("ink('text')") == "#e8e9eb"
    usual.locator("#theme").click()
    assert brightness() > 600
    assert usual.evaluate("map.layout.font.color") == "#1c1e21"
    usual.emulate_media(color_scheme="light")
    expect(usual.locator("html")).to_have_attribute("data-theme", "light")


def test_a_thinned_page_says_so_and_its_line_gives_the_same(show, tmp_path, monkeypatch):
    monkeypatch.setattr(explorer, "ROWS", 100)
    points = critical_times(lam=12, rho=8, L=(2,))
    page = show(stored(tmp_path / "run", points=points))
    choose(page, "scale", "linear")
    assert re.match(r"\d+ of 192 points are shown: every ", page.locator("#sentence").inner_text())
    theirs = run_line(page)
    assert (shown(page, 1) == theirs.loc["mae"].to_numpy()).all()
    assert theirs.size <= 100
    page.locator("#whole").check()
    assert run_line(page).size == 192


def test_without_rows_there_is_nothing_to_draw(show, tmp_path):
    page = show(stored(tmp_path / "run", chunks=0))
    assert "holds no rows" in page.locator("#nothing").inner_text()
    assert page.locator("#explorer").is_hidden()
    assert "made up" in page.locator("#provenance").inner_text()


def test_one_row_is_one_cell(show, tmp_path):
    points = critical_times(lam=1, rho=1, L=(2,), objective=("jepa",))
    page = show(stored(tmp_path / "run", points=points, trajectories=curves(points)))
    seen = hover(page, 0, 0)
    assert float(seen["t_numeric"]) == points["t_numeric"][0]
    assert "lam = 0.1" in page.locator("#constants").inner_text()
    assert run_line(page).to_dict() == {"jepa": points["t_numeric"][0]}
    page.locator("#map").focus()
    for key in ("ArrowRight", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    assert readout(page) == seen


def test_one_axis_is_a_row_of_cells(show, tmp_path):
    points = critical_times(lam=5, rho=1, L=(2,))
    page = show(stored(tmp_path / "run", points=points))
    choose(page, "scale", "linear")
    assert shown(page).shape == (1, 5)
    assert page.locator("#legend").inner_text() == ""
    assert (run_line(page).to_numpy() == np.vstack([shown(page, 0), shown(page, 1)])).all()


def test_rows_that_share_a_cell_are_counted(show, tmp_path):
    points = critical_times(lam=2, rho=2, L=(2,))
    page = show(stored(tmp_path / "run", points=pd.concat([points, points.tail(1).assign(t_numeric=7.0)])))
    assert page.locator("#legend").inner_text() == "Rows not shown, since another has the same cell: 1."
    assert sorted(run_line(page)["t_numeric"]) == sorted([*points["t_numeric"], 7.0])


def test_a_hundred_thousand_rows_with_numbers_of_every_kind(show, tmp_path):
    points = critical_times(lam=40, rho=25, L=(1, 2, 3, 5, 8), eps=tuple(np.geomspace(1e-6, 1e-2, 10)))
    assert len(points) == 100_000
    rng = np.random.default_rng(0)
    odd = rng.integers(0, 6, len(points))
    for kind, value in enumerate([np.nan, np.inf, -1.0]):
        points.loc[odd == kind, "t_numeric"] = value
    points.loc[odd == 0, "status"] = "above_threshold"
    page = show(stored(tmp_path / "run", points=points, chunks=3))
    assert "All 100,000 points are shown" in page.locator("#sentence").inner_text()
    for words in ("no number", "infinite", "not above 0"):
        assert words in page.locator("#legend").inner_text()
    at = page.evaluate("[state.place.L, state.place.eps]")
    there = points[(points["L"] == (1, 2, 3, 5, 8)[at[0]]) & (points["eps"] == np.geomspace(1e-6, 1e-2, 10)[at[1]])]
    table = there[there["objective"] == "mae"].pivot(index="rho", columns="lam", values=["t_numeric", "status"])
    kinds = set()
    for across, up in [(0, 0), (39, 24), *rng.integers(0, 25, (12, 2))]:
        seen = hover(page, int(across), int(up), 1)
        value, status = (table[name].iloc[up, across] for name in ("t_numeric", "status"))
        assert same(seen["t_numeric"], value)
        assert seen["status"] == status
        kinds.add(seen["t_numeric"] if not math.isfinite(value) else "finite")
    assert kinds == {"finite", "NaN", "inf"}
    choose(page, "scale", "linear")
    finite = np.where(np.isfinite(table["t_numeric"].to_numpy(float)), table["t_numeric"].to_numpy(float), np.nan)
    np.testing.assert_array_equal(shown(page, 1), finite)


def test_names_and_words_are_shown_as_they_are(show, tmp_path):
    word = "<b>ö & λ</b>"
    parameters = (
        Column("layout", "text", "", "words <i>"),
        Column("lam", "exact", "1", ""),
        Column("width", "exact", "1", "may be missing"),
    )
    points = grid(objective=["jepa", "<u>"], layout=[word, "same"], lam=[0.1, 1.0], width=[2.0, None], p=[0.5])
    points = points.astype({"width": object}).where(points.notna(), None)
    points = points.assign(t_numeric=np.arange(16.0) + 1, t_exact=1.0, status="learned")
    name = "λ<script>alert(1)<"  # a folder's, so without a slash
    page = show(stored(tmp_path / name, parameters=parameters, points=points))
    assert page.title() == page.locator("h1").inner_text() == name
    page.locator("#across").select_option("layout")
    page.locator("#up").select_option("width")
    choose(page, "scale", "linear")
    assert word in page.locator("#map").inner_html().replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert page.locator("#map svg b, #map svg u").count() == 0
    page.locator("#across").select_option("lam")
    page.locator("#cut-layout").select_option(label=word)
    theirs = run_line(page)
    assert hover(page, 1, 1, 0)["width"] == "none"
    panel = page.evaluate("OBJECTIVES.indexOf('jepa')")
    assert sorted(shown(page, panel).ravel()) == sorted(theirs.loc["jepa"].to_numpy().ravel()) == [1, 2, 3, 4]
    page.locator("#up").select_option("layout")
    cut(page, "width", 1)
    assert (shown(page, panel) == run_line(page).loc["jepa"].to_numpy()).all()


def test_points_off_a_grid_are_drawn_as_points(show, tmp_path, monkeypatch):
    monkeypatch.setattr(explorer, "SCATTERED", 300)
    rng = np.random.default_rng(2)
    points = critical_times(lam=400, rho=1, L=(2,), objective=("jepa",))
    points = points.assign(rho=rng.uniform(0.1, 1, 400), L=rng.choice([2, 3], 400))
    points = pd.concat([points, points.assign(objective="mae")], ignore_index=True)
    points.loc[::7, "t_numeric"] = np.nan
    page = show(stored(tmp_path / "run", points=points))
    assert "every 3rd row in stored order" in page.locator("#sentence").inner_text()
    cut(page, "L", 1)
    rows = page.evaluate("map.data.flatMap(t => t.customdata).sort((a, b) => a - b)")
    theirs = run_line(page)
    assert len(theirs) == len(rows)
    values = page.evaluate("map.data.flatMap(t => t.customdata).map(row => String(valueOf(row)))")
    np.testing.assert_array_equal(np.sort([float(value) for value in values]), np.sort(theirs["t_numeric"]))
    under = page.evaluate("map.data.findLast(t => t.meta.panel === 1).customdata[5]")  # the last layer has the colours
    box = page.locator("#map .subplot.x2y2 .scatterlayer .trace").last.locator("path.point").nth(5).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    seen = readout(page)
    row = page.evaluate(f"AXES.map(axis => literalOf(axis.name, {under}))")
    assert [seen[name] for name in page.evaluate("AXES.map(axis => axis.name)")] == row
    assert seen["objective"] == "mae"
    page.mouse.move(2, 2)
    page.locator("#map").focus()
    first = readout(page)
    page.keyboard.press("ArrowRight")
    assert float(readout(page)["lam"]) > float(first["lam"])
    page.locator("#whole").check()
    assert len(run_line(page)) == (points["L"] == 3).sum()


def test_networks_show_their_features_and_losses(show, tmp_path):
    parameters = (Column("layout", "text", "", "layout"), Column("L", "integer", "layers", "depth"))
    keys = grid(objective=["jepa", "ema"], layout=["same", "opposite"], L=[1, 2])
    features = keys.merge(grid(p=[0.3, 0.5], feature=[0, 1, 2]), how="cross")
    features = features.assign(status="learned", t_learned=np.arange(48.0) + 1, t_exact=np.arange(48.0) + 2, w_star=0.7)
    samples = keys.merge(grid(t=[0.0, 1.0, 2.0]), how="cross").assign(step=0)
    losses = samples.assign(loss=np.arange(24.0))
    samples = samples.merge(grid(feature=[0, 1, 2]), how="cross").assign(w=np.arange(72.0))
    store = stored(
        tmp_path / "run", "networks", parameters,
        points=keys.assign(p=0.5, status="trained"), features=features, trajectories=samples, losses=losses,
    )  # fmt: skip
    page = show(store)
    assert page.locator("#path-of").inner_text().count("feature") == 1
    loss = page.evaluate("path.data.filter(t => t.name === 'loss').map(t => [...t.y])[0]")
    assert run_line(page, "losses")["loss"].tolist() == loss
    w = page.evaluate("[...path.data[0].y]")
    assert run_line(page, "trajectories")["w"].tolist() == w
    assert run_line(page).to_numpy().size


def test_estimates_have_no_trajectories(show, tmp_path):
    parameters = (Column("log10_T", "exact", "1", "length"), Column("seed", "integer", "", "seed"))
    keys = grid(objective=["moments"], log10_T=[3.0, 3.5], seed=[0, 1, 2])
    features = keys.merge(grid(feature=[0, 1]), how="cross").assign(rho=0.5, rho_hat=np.linspace(0.4, 0.6, 12))
    page = show(
        stored(tmp_path / "run", "estimates", parameters, points=keys.assign(status="estimated"), features=features)
    )
    assert "stores no trajectories" in page.locator("#path-of").inner_text()
    assert (shown(page) == run_line(page).loc["moments"].to_numpy()).all()
    assert "no point failed" in page.locator("#failures").inner_text().lower()


CLIPPED = """() => [...document.querySelectorAll("h1, h2, p, label, td, th, pre, button, .main-svg")]
    .filter((e) => e.getClientRects().length && !e.closest(".hidden, .scroll"))
    .filter((e) => e.getBoundingClientRect().right > innerWidth + 1
        || (e.tagName === "PRE" && e.scrollWidth > e.clientWidth + 1))
    .map((e) => e.outerHTML.slice(0, 80))"""


def test_nothing_is_wider_than_the_window(show, tmp_path):
    points = critical_times(lam=30, rho=30, objective=("ema", "jepa", "mae", "nosg"))
    lost = points.head(5).assign(status="max_steps", message="too long to say " * 20, steps=3)
    page = show(stored(tmp_path / "run", points=points, trajectories=curves(points.head(20)), failures=lost))
    for width, height in [(1280, 800), (1920, 1080), (1024, 700), (390, 800)]:
        page.set_viewport_size({"width": width, "height": height})
        expect(page.locator("#map .main-svg").first).to_have_attribute(
            "width", page.locator("#map").evaluate("e => String(e.clientWidth)")
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(CLIPPED) == []
