"""Write docs/demo.gif, the page in action: python docs/make_picture.py

A digit is drawn, the pointer moves over a feature map, the map is opened. Needs the packages of
requirements-dev.txt and an installed Chromium or Chrome.
"""

import io

from browser import draw, open_browser, settle
from make_demo import HERE, PAGE
from PIL import Image

PICTURE = HERE / "demo.gif"
SIZE, COLOURS = (920, 575), 96
FIVE = (  # strokes, points (x, y) in per cent of the paper
    "38,18 37,26 36,34 35,42 42,40 50,40 58,43 64,49 66,57 65,66 60,74 53,80 44,82 36,81 28,77",
    "38,18 46,18 54,17 62,17 70,16",
)
CURVE_IS_DRAWN = """() => {
    const caption = byId("shifts-caption").textContent;
    return caption.startsWith(`Probability of ${byId("first").textContent} `);
}"""
POINTER = """() => {
    const dot = document.createElement("div");
    dot.style = "position: fixed; width: 14px; height: 14px; border-radius: 50%; z-index: 9;"
        + "margin: -7px; background: #c2410c80; border: 2px solid #c2410c; pointer-events: none";
    document.body.append(dot);
    addEventListener("pointermove", ({ clientX, clientY }) => {
        dot.style.left = `${clientX}px`;
        dot.style.top = `${clientY}px`;
    });
}"""


def scenes(page):
    """Act on the page; yield, whenever a picture is due, its duration in milliseconds."""
    yield 900
    for stroke in FIVE:
        points = [tuple(map(int, point.split(","))) for point in stroke.split()]
        for _ in draw(page, points):
            yield 90
    page.wait_for_function(CURVE_IS_DRAWN)
    yield 1500
    box = page.locator(".map[data-column='6'][data-channel='5']").bounding_box()
    for step in range(6):
        share = (step + 1) / 7
        page.mouse.move(box["x"] + share * box["width"], box["y"] + share * box["height"])
        yield 350
    page.mouse.down()
    page.mouse.up()
    yield 1200
    for key in ["ArrowLeft"] * 3 + ["ArrowUp"] * 2:
        page.keyboard.press(key)
        yield 350
    yield 1200


def main():
    """Take the pictures and write them as a GIF."""
    pictures, durations = [], []
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        page.goto(PAGE.as_uri())
        page.evaluate(POINTER)
        for duration in scenes(page):
            settle(page)
            picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            pictures.append(picture.resize(SIZE, Image.Resampling.LANCZOS))
            durations.append(duration)
    varied = Image.new("RGB", (SIZE[0], 3 * SIZE[1]))
    for row, number in enumerate((len(pictures) // 2, -5, -2)):  # one palette for all
        varied.paste(pictures[number], (0, row * SIZE[1]))
    palette = varied.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=4)
    pictures = [picture.quantize(palette=palette, dither=0) for picture in pictures]
    options = {"save_all": True, "append_images": pictures[1:], "loop": 0, "optimize": True}
    pictures[0].save(PICTURE, duration=durations, **options)
    print(f"{PICTURE}: {len(pictures)} pictures, {PICTURE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
