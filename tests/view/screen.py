"""What the tests of the explorer do in a browser: point, choose, and read what is shown."""

import re

import numpy as np
import pandas as pd

from jepa_sweep.view import explorer


class Tab:
    """A window of the browser without a network, which notes what pages ask for or complain about.

    All pages are shown in one window and under one name, since a browser is far quicker with scripts that it knows.
    """

    def __init__(self, browser, path):
        self._path = path
        self._context = browser.new_context()
        self._context.set_offline(True)
        self._context.set_default_timeout(0)
        self._context.route(re.compile("^(?!data:|blob:)"), self._only_the_file)
        self._trouble = []
        self.page = self._context.new_page()
        self.page.on("console", lambda message: self._trouble.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self._trouble.append(f"error: {error}"))

    def _only_the_file(self, route):
        if route.request.url == self._path.as_uri():
            route.continue_()
        else:
            self._trouble.append(f"request: {route.request.url[:200]}")
            route.abort()

    def show(self, store):
        explorer.write(store.reader, store.system.curves, self._path)
        self._trouble.clear()
        self.page.set_viewport_size({"width": 1280, "height": 800})
        self.page.mouse.move(2, 2)
        self.page.goto(self._path.as_uri())
        return self.page

    def assert_quiet(self):
        assert self._trouble == []


def readout(page):
    """What stands beside the map: name -> text."""
    lines = page.locator("#values tr").all()
    return {line.get_attribute("data-name"): line.locator("td").inner_text() for line in lines}


def middle_of(page, across, up, panel=0):
    """Where on the screen a cell lies."""
    box = page.locator("#map .bglayer .bg").nth(panel).bounding_box()
    columns, lines = page.evaluate("[lengthOf(state.across), lengthOf(state.up)]")
    return box["x"] + (across + 0.5) / columns * box["width"], box["y"] + (1 - (up + 0.5) / lines) * box["height"]


def hover(page, *cell):
    """Put the pointer on a cell; what the readout says then."""
    from playwright.sync_api import expect  # may be missing: then nothing here is called

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
