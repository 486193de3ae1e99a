"""What the tests of the explorer do in a browser: point, choose, and read what is shown."""

import numpy as np
import pandas as pd


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
