"""A real browser, for tests of pages."""

import os
import shutil

import pytest

try:
    from playwright.sync_api import Error, expect, sync_playwright
except ImportError:
    sync_playwright = None

SLOWEST = 600_000  # milliseconds: no test fails because a machine is busy


def absent(what):
    """Without it some tests are skipped, unless the environment says that everything is there."""
    if os.environ.get("JEPA_SWEEP_SKIPS") == "none":
        pytest.fail(f"JEPA_SWEEP_SKIPS=none, but {what}")
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
        expect.set_options(timeout=SLOWEST)
        yield running
        running.close()
