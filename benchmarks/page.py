"""Time a frame of docs/index.html in a browser: python benchmarks/page.py

A digit is drawn with the mouse. Each movement makes a frame: the drawing is converted to MNIST's
format and goes through the network, then drawing, feature maps and answer are painted. The page
times its own frames; this script prints their median.
"""

import platform
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "docs"))

from browser import draw, open_browser
from make_demo import PAGE

FRAMES = 30


def time_frames(net):
    """Return the milliseconds of the last 30 frames of a drawing, for a network by its name."""
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"{PAGE.as_uri()}#net={net}")
        points = [(30 + step, 30 + 25 * (step % 7) / 7) for step in range(2 * FRAMES)]
        for _ in draw(page, points):
            pass  # every point is a frame
        return page.evaluate("times")[-FRAMES:]


def main():
    """Print each network's median, fastest and slowest frame."""
    print(f"{FRAMES} frames each, {platform.machine()}, in milliseconds")
    for net in ("Net5", "Net4"):
        times = time_frames(net)
        middle = statistics.median(times)
        print(f"{net}: median {middle:.1f}, fastest {min(times):.1f}, slowest {max(times):.1f}")


if __name__ == "__main__":
    main()
