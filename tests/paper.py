"""Draw on the page, by hand or at once, and read its answer: for the tests of the page."""

import json
from pathlib import Path

import make_demo
import numpy as np
from browser import settle

HANDWRITING = json.loads((Path(__file__).parent / "handwriting.json").read_text())
EVERY_DIGIT = [(hand, digit) for hand in HANDWRITING for digit in range(10)]
LAPTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
PAGE = make_demo.PAGE.as_uri()


def written(hand, digit):
    """Return a digit's strokes: points (x, y) in per cent of the paper, smooth between knots."""
    strokes = []
    for text in HANDWRITING[hand][digit].split(";"):
        knots = np.array([[float(n) for n in knot.split(",")] for knot in text.split()])
        padded = np.concatenate([knots[:1], knots, knots[-1:]])
        stroke = [knots[0]]
        for before, start, end, after in zip(
            *(padded[n : n - 3 or None] for n in range(4)), strict=True
        ):
            for t in (1 / 2, 1):  # Catmull and Rom's cubic
                stroke.append(
                    start
                    + t / 2 * (end - before)
                    + t**2 / 2 * (2 * before - 5 * start + 4 * end - after)
                    + t**3 / 2 * (3 * start - before - 3 * end + after)
                )
        strokes.append(np.array(stroke))
    return strokes


def units(strokes):
    """Return strokes as the page holds them: whole numbers from 0 to 252."""
    return [np.rint(stroke * 2.52).clip(0, 252).astype(int).tolist() for stroke in strokes]


def put(page, strokes):
    """Show a drawing of these strokes, as a link does, at once."""
    page.evaluate(
        """(strokes) => {
            change(() => {
                start();
                drawing.strokes = strokes;
            });
            frame();
        }""",
        units(strokes),
    )


def draw(page, strokes):
    """Draw strokes with the mouse."""
    box = page.locator("#drawing").bounding_box()
    for stroke in strokes:
        points = np.array([box["x"], box["y"]]) + stroke / 100 * box["width"]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
        page.mouse.up()
    settle(page)


def draw_by_touch(page, strokes):
    """Draw strokes with a finger."""
    session = page.context.new_cdp_session(page)
    box = page.locator("#drawing").bounding_box()

    def touch(kind, points):
        points = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    for stroke in strokes:
        points = np.array([box["x"], box["y"]]) + stroke / 100 * box["width"]
        touch("touchStart", points[:1].tolist())
        for point in points[1:].tolist():
            touch("touchMove", [point])
        touch("touchEnd", [])
    settle(page)


def answer(page):
    """Return what the page reads, and the probabilities that it shows as bars."""
    first, shares = page.evaluate(
        """() => {
            frame();
            const shown = [...document.querySelectorAll("#bars output")];
            return [byId("first").textContent, shown.map((output) => output.textContent)];
        }"""
    )
    return first, shares
