"""Pictures that have nothing to read, or too much: all of them have to be refused.

A kind is called with a Glyph and NumPy's random generator, as in photo_kinds.py.
"""

import numpy as np
from pictures import (
    BLACK,
    BLUE,
    FACES,
    FONTS,
    GREY,
    HEIGHT,
    WHITE,
    WIDTH,
    X,
    Y,
    camera,
    lights,
    page,
    painted,
    ruled,
    set_in,
    smooth_noise,
)
from PIL import Image, ImageDraw, ImageFont


def blank(glyph, rng):
    papers = (WHITE, GREY, (45, 62, 52), (250, 225, 110), (185, 145, 105))
    empty = np.zeros((HEIGHT, WIDTH))
    shades = painted(empty, papers[rng.integers(len(papers))], light=lights(rng))
    return camera(shades, rng, noise=rng.uniform(0, 8), blur=1)


def blank_paper_of_any_kind(glyph, rng):
    choice, light = rng.integers(5), lights(rng)
    ink = np.zeros((HEIGHT, WIDTH))
    if choice == 0:
        ink = ruled(rng, 60, 3, rng.uniform(-3, 3))
    elif choice == 1:
        ink = ruled(rng, 45, 2, rng.uniform(-3, 3), squared=True)
    elif choice == 2:
        light = light * (1 + 0.06 * smooth_noise(ink.shape, 3, rng))
    elif choice == 3:
        for y, x in rng.integers(5, 590, (6, 2)):
            ink[y : y + 3, x : x + 3] = 0.9
    shades = painted(ink, colour=(130, 150, 190), light=light)
    if choice == 4:
        shades[:, : rng.integers(40, 160)] = (70, 50, 40)
    return camera(shades, rng, blur=0.7)


def two_digits(glyph, rng):
    ink = page(glyph(260), 170, 110)
    other = page(set_in("DejaVuSans", rng.integers(10), 260), 170, 430)
    return camera(painted(np.maximum(ink, other), light=1 - 0.3 * X / WIDTH), rng)


def four_small_digits(glyph, rng):
    ink = np.zeros((HEIGHT, WIDTH))
    for k in range(4):
        small = glyph(140) if k == 0 else set_in("DejaVuSerif", rng.integers(10), 140)
        ink = np.maximum(ink, page(small, rng.integers(200, 250), 60 + 180 * k))
    return camera(painted(ink, colour=BLUE), rng)


def drawn(draw_on, rng, side=400):
    """Return a square photograph of what `draw_on(draw, side)` draws."""
    image = Image.new("L", (2 * side, 2 * side))
    draw_on(ImageDraw.Draw(image), 2 * side)
    ink = np.asarray(image.resize((side, side), Image.Resampling.BOX), dtype=float) / 255
    pens = (BLACK, BLUE, (150, 30, 40), (90, 90, 95))
    papers = (WHITE, (255, 255, 255), (200, 200, 196), (250, 225, 110))
    shades = painted(ink, papers[rng.integers(len(papers))], pens[rng.integers(len(pens))])
    return camera(shades, rng, noise=rng.uniform(0, 4), blur=rng.uniform(0.3, 1.5))


def letters(glyph, rng):
    """Letters and signs that look like no digit, one or a word."""
    signs = "AEFHKMNRTWXhkmnrwx&%#@?=+*"
    text = "".join(rng.choice(list(signs), rng.choice([1, 1, 1, 2, 4])))
    font = str(FONTS / f"{FACES[rng.integers(len(FACES))]}.ttf")

    def draw_on(draw, side):
        writing = ImageFont.truetype(font, round(side * rng.uniform(0.3, 0.6) / len(text) ** 0.7))
        draw.text((side / 2, side / 2), text, fill=255, font=writing, anchor="mm")

    return drawn(draw_on, rng)


def scribbles(glyph, rng):
    """A pen that wanders, turns or goes to and fro."""

    def draw_on(draw, side):
        steps = np.arange(rng.integers(60, 160))
        turns = rng.normal(0, 0.5, len(steps)).cumsum() + steps * rng.uniform(-0.3, 0.3)
        kind = rng.integers(3)
        path = np.stack([np.cos(turns), np.sin(turns)], axis=1).cumsum(axis=0)
        if kind == 1:
            path = np.stack([np.cos(steps) * 5 + steps * 0.3, np.sin(1.1 * steps) * 4], axis=1)
        if kind == 2:
            path = np.stack([steps[:14] * 1.0, 8 * (steps[:14] % 2) + rng.normal(0, 1, 14)], axis=1)
        path = (path - path.min(axis=0)) / np.ptp(path, axis=0).max()
        points = [tuple(point) for point in side * (0.2 + 0.6 * path)]
        draw.line(points, fill=255, width=int(rng.integers(8, 40)), joint="curve")

    return drawn(draw_on, rng)


def dots(glyph, rng):
    """One to seven dots, round or square, small or large."""

    def draw_on(draw, side):
        for _ in range(rng.choice([1, 1, 1, 2, 3, 7])):
            radius = side * rng.uniform(0.01, 0.15)
            x, y = rng.uniform(0.2 * side, 0.8 * side, 2)
            shape = draw.ellipse if rng.random() < 0.7 else draw.rectangle
            shape((x - radius, y - radius * rng.uniform(0.8, 1), x + radius, y + radius), fill=255)

    return drawn(draw_on, rng)


def frames(glyph, rng):
    """An empty box of a form, or three sides of it, or two boxes, or a table."""

    def draw_on(draw, side):
        left, top, right, bottom = side * np.array([0.2, 0.2, 0.8, 0.8]) + rng.uniform(-100, 100, 4)
        width, kind = int(rng.integers(4, 30)), rng.integers(4)
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        draw.line(corners[: 4 if kind == 1 else 5], fill=255, width=width)
        if kind > 1:
            draw.line([(left, (top + bottom) / 2), (right, (top + bottom) / 2)], 255, width)
        if kind > 2:
            draw.line([((left + right) / 2, top), ((left + right) / 2, bottom)], 255, width)

    return drawn(draw_on, rng)


def textures(glyph, rng):
    """Cloth, wood, clouds and grain."""
    grain = smooth_noise((HEIGHT, WIDTH), rng.choice([2, 6, 20, 50]), rng)
    kind, turn = rng.integers(4), rng.uniform(0, np.pi)
    along = X * np.cos(turn) + Y * np.sin(turn)
    if kind == 1:
        grain = np.sin(along / rng.uniform(5, 20) + 2 * grain)
    if kind == 2:
        grain = np.sin(X / rng.uniform(4, 15)) * np.sin(Y / rng.uniform(4, 15))
    if kind == 3:
        grain = (grain > 0.5).astype(float)
    light = 1 + rng.uniform(0.05, 0.3) * grain
    paper = (WHITE, (185, 145, 105), (90, 110, 90))[rng.integers(3)]
    return camera(painted(np.zeros((HEIGHT, WIDTH)), paper, light=light), rng, blur=1)


def part_of_a_clock(glyph, rng):
    """A part of the face of a clock: its rim, marks of the hours, both hands."""

    def draw_on(draw, side):
        middle, radius = rng.uniform(-0.2, 1.2, 2) * side, side * rng.uniform(0.5, 0.8)
        angles = np.pi * np.arange(12) / 6

        def spoke(angle, start, end, width):
            way = np.array([np.cos(angle), np.sin(angle)]) * radius
            draw.line([tuple(middle + start * way), tuple(middle + end * way)], 255, width)

        box = (*(middle - radius), *(middle + radius))
        draw.ellipse(box, outline=255, width=int(rng.integers(6, 30)))
        for angle in angles:
            spoke(angle, 0.84, 0.95, int(rng.integers(6, 16)))
        for length in (0.5, 0.75):
            spoke(rng.uniform(0, 2 * np.pi), -0.1, length, int(rng.integers(10, 30)))

    return drawn(draw_on, rng)


def shapes(glyph, rng):
    """A star, a heart, a house, an arrow, a smiling face, a triangle."""
    kind, turn = rng.integers(6), rng.uniform(-0.2, 0.2)

    def draw_on(draw, side):
        width, angles = int(rng.integers(10, 40)), np.linspace(0, 2 * np.pi, 60)
        paths = {
            0: [[(np.sin(0.8 * np.pi * k), -np.cos(0.8 * np.pi * k)) for k in range(6)]],
            1: [
                np.stack([np.sin(angles) ** 3, -0.8 * np.cos(angles) + 0.3 * np.cos(2 * angles)], 1)
            ],
            2: [[(-1, 1), (-1, 0), (0, -1), (1, 0), (1, 1), (-1, 1)], [(-1, 0), (1, 0)]],
            3: [[(-1, 0), (1, 0)], [(0.4, -0.6), (1, 0), (0.4, 0.6)]],
            4: [
                np.stack([np.cos(angles), np.sin(angles)], 1),
                0.6 * np.stack([np.cos(angles[5:25]), np.sin(angles[5:25])], 1),
                [(-0.35, -0.4), (-0.35, -0.2)],
                [(0.35, -0.4), (0.35, -0.2)],
            ],
            5: [[(-1, 1), (0, -1), (1, 1), (-1, 1)]],
        }[int(kind)]
        turned = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        for path in paths:
            points = side / 2 + side * 0.3 * np.array(path) @ turned
            draw.line([tuple(point) for point in points], fill=255, width=width, joint="curve")

    return drawn(draw_on, rng)


def half_a_zero(glyph, rng):
    """The upper or the lower half of a zero, of any width."""
    ink = set_in(FACES[rng.integers(len(FACES))], 0, 300)
    middle = np.flatnonzero(ink.max(axis=1) > 0.5).mean().astype(int)
    ink = ink[:middle] if rng.random() < 0.5 else ink[middle:]
    return camera(painted(page(ink, rng.integers(50, 400), rng.integers(50, 450))), rng)


MADE = [letters, scribbles, dots, frames, textures, part_of_a_clock, shapes, half_a_zero]
BLANK = [blank, blank_paper_of_any_kind]
NOTHING = [*BLANK, two_digits, four_small_digits, *MADE]
