"""The explorer in a real browser, without a network: what is under the cursor is what the tables hold."""

import math
import os
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from pages import critical_times, curves, grid, stored

from jepa_sweep.store.schema import Column
from jepa_sweep.view import explorer

try:
    from playwright.sync_api import Error, expect, sync_playwright
except ImportError:
    sync_playwright = None

EXPECTED = os.environ.get("JEPA_SWEEP_BROWSER") == "required"


def absent(what):
    """Without a browser these tests are skipped, unless the environment says that there is one."""
    if EXPECTED:
        pytest.fail(f"JEPA_SWEEP_BROWSER=required, but {what}")
    pytest.skip(what)


@pytest.fixture(scope="module")
def browser():
    if sync_playwright is None:
        absent("playwright is not installed (pip install playwright)")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        absent("no Chromium was found (apt-get install chromium)")
    with sync_playwright() as playwright:
        try:
            running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        except Error as error:
            absent(f"{program} does not start: {error}")
        yield running
        running.close()


@pytest.fixture
def show(browser, tmp_path):
    """Write the page of a store and open it; afterwards nothing may have been asked for or complained about."""
    trouble, contexts = [], []

    def open_page(store, width=1280, height=800, scheme="light", name=None):
        path = explorer.write(store, tmp_path / "report.html", name=name)
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        context.set_offline(True)

        def only_the_file(route):
            if route.request.url == path.as_uri():
                route.continue_()
            else:
                trouble.append(f"request: {route.request.url[:200]}")
                route.abort()

        context.route(re.compile("^(?!data:|blob:)"), only_the_file)
        page = context.new_page()
        page.on("console", lambda message: trouble.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []


def readout(page):
    """What stands beside the map: name -> text."""
    lines = page.locator("#values tr").all()
    return {line.get_attribute("data-name"): line.locator("td").inner_text() for line in lines}


def middle_of(page, across, up, panel=0):
    """Where on the screen a cell lies."""
    box = page.locator("#map .nsewdrag").nth(panel).bounding_box()
    columns, lines = page.evaluate("[lengthOf(state.across), lengthOf(state.up)]")
    return box["x"] + (across + 0.5) / columns * box["width"], box["y"] + (1 - (up + 0.5) / lines) * box["height"]


def hover(page, *cell):
    page.mouse.move(2, 2)
    page.mouse.move(*middle_of(page, *cell))
    expect(page.locator("#readout-title")).to_have_text("Under the pointer")
    return readout(page)


def choose(page, name, value):
    page.locator(f"input[name={name}][value={value}]").check()


def cut(page, axis, place):
    page.locator(f"#cut-{axis}").evaluate(
        "(node, place) => { node.value = place; node.dispatchEvent(new Event('input')); }", str(place)
    )


def shown(page, panel=0):
    """The cells of a panel, row by row from below, as numbers on the colour scale."""
    cells = page.evaluate(f"map.data.filter(t => t.meta)[{panel}].z.map(line => [...line])")
    return np.array([[np.nan if z is None else z for z in line] for line in cells])


def colours(page):
    """Both ends of the colour scale."""
    return page.evaluate("[map.layout.coloraxis.cmin, map.layout.coloraxis.cmax]")


def run_line(page, which="map"):
    """Run what the page says one should run."""
    return eval(page.locator(f"#{which}-line").inner_text().replace("\n", " "), {"pd": pd})


def same(text, number):
    return float(text) == number or (text == "NaN" and math.isnan(number))


def test_value_under_the_pointer_is_that_of_the_table(show, tmp_path):
    points = critical_times(eps=(1e-6, 1.3894954943731374e-3))
    page = show(stored(tmp_path / "run", points=points))
    cut(page, "L", 1)
    cut(page, "eps", 1)
    lam, rho = sorted(points["lam"].unique()), sorted(points["rho"].unique())
    for across, up, panel in [(0, 0, 0), (2, 3, 0), (1, 2, 1), (2, 0, 1)]:
        seen = hover(page, across, up, panel)
        key = {
            "objective": ("jepa", "mae")[panel],
            "lam": lam[across],
            "rho": rho[up],
            "L": 3,
            "eps": points["eps"].max(),
        }
        [row] = points[(points[list(key)] == pd.Series(key)).all(axis=1)].to_dict("records")
        for name in ("objective", "status"):
            assert seen[name] == row[name]
        for name in ("lam", "rho", "L", "eps", "t_numeric", "t_exact", "w_star"):
            assert float(seen[name]) == row[name]
        assert float(seen["t_numeric / t_exact"]) == row["t_numeric"] / row["t_exact"]


def test_clicks_and_keys_draw_the_trajectory_of_the_table(show, tmp_path):
    points = critical_times()
    store = stored(tmp_path / "run", points=points, trajectories=curves(points))
    page = show(store)
    cut(page, "L", 0)

    def drawn():
        line = page.evaluate("path.data.slice(0, 2).map(t => [[...t.x], [...t.y]])")
        return [line[0][0], line[0][1], line[1][1]]

    def stored_at(across, up, objective):
        lam, rho = (sorted(points[name].unique())[place] for name, place in (("lam", across), ("rho", up)))
        rows = store.select("trajectories", rtol=0, objective=objective, lam=lam, rho=rho, L=2).sort_values("t")
        return [rows[name].tolist() for name in ("t", "w", "w_exact")]

    page.mouse.click(*middle_of(page, 2, 1, 1))
    expect(page.locator("#path-of")).to_have_text(re.compile("^mae"))
    assert drawn() == stored_at(2, 1, "mae")
    theirs = run_line(page, "trajectories")
    assert [theirs[name].tolist() for name in ("t", "w", "w_exact")] == drawn()

    page.locator("#map").focus()
    for key in ("ArrowLeft", "ArrowUp", "ArrowLeft", "ArrowLeft"):  # the last one leaves the panel
        page.keyboard.press(key)
    seen = readout(page)
    assert (seen["objective"], float(seen["lam"])) == ("jepa", points["lam"].max())
    assert "objective jepa" in page.locator("#announcer").inner_text()
    assert drawn() == stored_at(2, 1, "mae")  # until asked for
    page.keyboard.press("Enter")
    assert drawn() == stored_at(2, 2, "jepa")
    crossing = page.evaluate("path.data.slice(2).map(t => t.x[0])")
    assert crossing == [float(seen["t_numeric"]), float(seen["t_exact"])]


def test_the_page_works_by_keyboard_alone(show, tmp_path):
    page = show(stored(tmp_path / "run", points=critical_times()))
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.name"))
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert style != "none" or reached[-1] == ""
        if reached[-1] == "map-line":
            break
    assert {"theme", "pair", "show", "scale", "span", "across", "up", "cut-L", "map", "map-line"} <= set(reached)
    page.locator("#cut-L").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert readout(page)["L"] == "2"
    page.keyboard.press("Escape")
    assert page.locator("#map").is_visible()


def test_switches_change_what_is_coloured(show, tmp_path):
    points = critical_times()
    page = show(stored(tmp_path / "run", points=points))
    cut(page, "L", 0)
    np.testing.assert_allclose(colours(page), np.log10(points["t_numeric"][points["L"] == 2]).agg(["min", "max"]))
    choose(page, "span", "all")
    np.testing.assert_allclose(colours(page), np.log10(points["t_numeric"]).agg(["min", "max"]))
    jepa = points[(points["objective"] == "jepa") & (points["L"] == 2)].assign(
        ratio=points["t_numeric"] / points["t_exact"]
    )
    table = {
        name: jepa.pivot(index="rho", columns="lam", values=name).to_numpy()
        for name in ("t_numeric", "t_exact", "ratio")
    }
    np.testing.assert_allclose(shown(page), np.log10(table["t_numeric"]), rtol=1e-14)
    choose(page, "scale", "linear")
    assert (shown(page) == table["t_numeric"]).all()
    choose(page, "show", "predicted")
    assert (shown(page) == table["t_exact"]).all()
    choose(page, "show", "ratio")
    assert (shown(page) == table["ratio"] - 1).all()
    low, high = colours(page)
    assert low == -high  # centred at 1
    choose(page, "scale", "log")
    np.testing.assert_allclose(shown(page), np.log10(table["ratio"]), rtol=1e-14)
    page.locator("#across").select_option("rho")  # the axes change places
    assert page.locator("#up").input_value() == "lam"
    np.testing.assert_allclose(shown(page), np.log10(table["ratio"]).T, rtol=1e-14)
    page.locator("#pair").select_option("1")
    assert page.locator("#map-title").inner_text() == "t_numeric / t_leading"


def test_the_line_of_pandas_gives_what_is_shown_and_can_be_copied(show, tmp_path):
    points = critical_times(eps=(1e-6, 1.3894954943731374e-3), p=(0.2, 0.5))
    page = show(stored(tmp_path / 'a "quoted" λ', points=points))
    choose(page, "scale", "linear")
    page.locator("#up").select_option("eps")
    cut(page, "rho", 2)
    cut(page, "p", 0)
    for mode, name in [("numeric", "t_numeric"), ("predicted", "t_exact"), ("ratio", "t_numeric / t_exact")]:
        choose(page, "show", mode)
        theirs = run_line(page)
        assert theirs.columns.tolist() == sorted(points["lam"].unique())
        for panel, objective in enumerate(["jepa", "mae"]):
            there = theirs.loc[objective]
            assert there.index.tolist() == [1e-6, 1.3894954943731374e-3]
            assert (shown(page, panel) == there.to_numpy() - (mode == "ratio")).all()
        assert float(theirs.loc[("mae", 1e-6)].iloc[0]) == float(hover(page, 0, 0, 1)[name])
    button = page.locator("#lines button").first
    button.click()
    expect(button).not_to_have_text("Copy")
    assert button.inner_text() in ("Copied", "Selected")


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
    assert (run_line(page).to_numpy() == np.vstack([shown(page, 0), shown(page, 1)])).all()


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
    for across, up in [(0, 0), (39, 24), *rng.integers(0, 25, (25, 2))]:
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
    name = "λ<script>alert(1)</script>"
    page = show(stored(tmp_path / "run", parameters=parameters, points=points), name=name)
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
    .filter((e) => e.getBoundingClientRect().right > innerWidth + 1 || (e.tagName === "PRE" && e.scrollWidth > e.clientWidth + 1))
    .map((e) => e.outerHTML.slice(0, 80))"""  # noqa: E501


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


def test_light_and_dark_follow_the_system_and_the_button(show, tmp_path):
    page = show(stored(tmp_path / "run", points=critical_times()), scheme="dark")

    def brightness():
        return sum(map(int, re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))))

    assert brightness() < 150
    assert page.evaluate("map.layout.font.color") == page.evaluate("ink('text')") == "#e8e9eb"
    page.locator("#theme").click()
    assert brightness() > 600
    assert page.evaluate("map.layout.font.color") == "#1c1e21"
    page.emulate_media(color_scheme="light")
    page.emulate_media(color_scheme="dark")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
