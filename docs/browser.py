"""Open the page in an installed Chromium or Chrome: for its picture, benchmark and tests."""

import shutil
from contextlib import contextmanager

NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def open_browser():
    """Yield a headless Playwright Browser, closed at the end.

    Raises ModuleNotFoundError without Playwright's Python package, FileNotFoundError if no browser
    is installed.
    """
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        raise FileNotFoundError(f"no browser is installed: none of {', '.join(NAMES)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def draw(page, points):
    """Draw a stroke with the mouse through points (x, y), in per cent of the paper's size.

    Yields after every point, once the frame that shows it is painted.
    """
    box = page.locator("#drawing").bounding_box()
    for number, (x, y) in enumerate(points):
        page.mouse.move(box["x"] + x / 100 * box["width"], box["y"] + y / 100 * box["height"])
        if number == 0:
            page.mouse.down()
        settle(page)
        yield
    page.mouse.up()


def settle(page):
    """Wait until the pending frame is painted."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))")
