"""Generate images of no digit, in MNIST's format: class 10 of networks with 11 classes.

A digit detector proposes much that is no digit: dots, lines, frames, the holes of digits, several
digits at once, letters, scribbles, textures. What looks like a digit is left out: an upright bar is
a 1, a D is a 0.
"""

import numpy as np
from scipy import ndimage

from photo.hands import CANVAS, Draw, arc, curve, digit_inks, drawn, formatted, line, paths, where

NO_DIGIT = 10  # the label
GRID = (np.mgrid[:CANVAS, :CANVAS] + 0.5 - CANVAS / 2) / CANVAS  # y and x, from -0.5 to 0.5

# Polylines in a unit box, strokes separated by spaces, points as two digits in tenths.
LETTERS = {
    "A": "0950 5099 2676",
    "E": "9000 0009 0999 0575",
    "F": "9000 0009 0575",
    "H": "0009 9099 0595",
    "K": "0009 9005 0599",
    "L": "0009 0999",
    "M": "0900 0055 5590 9099",
    "N": "0900 0099 9990",
    "R": "0900 0080 8095 9505 4599",
    "T": "0090 5059",
    "V": "0059 5990",
    "W": "0029 2954 5479 7990",
    "X": "0099 9009",
    "X with serifs": "1089 8019 0020 7090 0929 7999",
    "h": "0009 0535 3577 7779",
    "k": "0009 6305 0569",
    "m": "0309 0533 3346 4649 4673 7396 9699",
    "n": "0309 0634 3464 6496 9699",
    "w": "0319 1945 4579 7993",
    "+": "5059 0595",
    "*": "5059 1388 8318",
    "#": "3029 7069 0393 0797",
    "arrow": "0595 7395 7795",
    "tick": "0539 3990",
    "house": "0409 0999 9994 9450 5004",
    "=": "0393 0797",
    "pi": "0090 2029 7079",
}


def strokes_of(draw, code):
    """Return the strokes that a code of LETTERS stands for, jittered."""
    strokes = []
    for stroke in code.split():
        points = [(int(x) / 9, int(y) / 9) for x, y in zip(stroke[::2], stroke[1::2], strict=True)]
        strokes.append(line(draw, *points, wobble=0.03))
    return strokes


def sketched(strokes, draw, pens=(0.045, 0.2), turned=5):
    """Return strokes as ink, with a random aspect and rotation, of `turned` degrees (std)."""
    points = paths(strokes)
    points = points * np.exp(draw.around(0, 0.2))[:, None, None] ** [1, -1]
    a = np.deg2rad(draw.around(0, turned))
    turn = np.stack([np.cos(a), np.sin(a), -np.sin(a), np.cos(a)], 1).reshape(-1, 2, 2)
    return drawn(points @ turn, draw, pens)


def filled(distance, soft=0.05):
    """Return ink where a distance, in shares of the canvas, is negative."""
    return np.clip(0.5 - distance / soft, 0, 1).astype(np.float32)


def fields(draw, smoothness):
    """Return smooth random fields of mean 0 and std 1, (n, CANVAS, CANVAS)."""
    noise = draw.rng.standard_normal((draw.n, CANVAS, CANVAS)).astype(np.float32)
    noise = ndimage.gaussian_filter(noise, (0, smoothness, smoothness), mode="wrap")
    return noise / noise.std(axis=(1, 2), keepdims=True)


def dots(draw, inks):
    """Blots: about as wide as high, with uneven outlines; also squares and what has corners."""
    y, x = GRID
    a = draw.between(0, np.pi)[:, None, None]
    x, y = x * np.cos(a) + y * np.sin(a), y * np.cos(a) - x * np.sin(a)
    wide, power = (
        draw.between(0.5, 1)[:, None, None],
        draw.rng.choice([2, 2, 4, 10], (draw.n, 1, 1)),
    )
    radius = (np.abs(x) ** power + np.abs(y / wide) ** power) ** (1 / power)
    return filled(
        radius - 0.4 + 0.02 * fields(draw, 5), soft=draw.between(0.02, 0.3)[:, None, None]
    )


def bars(draw, inks):
    """Bars near the horizontal."""
    slope = draw.between(-0.45, 0.45)
    return sketched([line(draw, (0, 0.5 - slope / 2), (1, 0.5 + slope / 2))], draw, (0.04, 0.6), 0)


def sides(draw, inks):
    """Frames, and frames without one or two sides; a corner at the top right alone is a 7."""
    w = draw.between(0.45, 1)
    corners = [(0, 0), (w, 0), (w, 1), (0, 1)]
    present = draw.rng.random((draw.n, 4)) < 0.75
    few = present.sum(1) < 2
    present[few] |= np.eye(4, dtype=bool)[draw.rng.integers(2, 4, few.sum())]
    present[few, 3] = True
    present[present.sum(1) < 2, 2] = True
    seven = present[:, 0] & present[:, 1] & (present.sum(1) == 2)
    present[seven, 3] = True
    two = (present.sum(1) == 2) & present[:, 1] & present[:, 3]
    strokes = [
        where(present[:, k], line(draw, corners[k], corners[(k + 1) % 4], wobble=0.01))
        for k in range(4)
    ]
    strokes[0] = where(two, line(draw, corners[0], corners[1]), strokes[0])
    return sketched(strokes, draw, (0.03, 0.12))


def parallels(draw, inks):
    """Two or three lines near the horizontal, or a grid of lines."""
    at = np.sort(draw.rng.uniform(0, 1, (draw.n, 4)), axis=1)
    strokes = [line(draw, (0, at[:, k]), (1, at[:, k]), wobble=0.01) for k in (0, 3)]
    strokes.append(where(draw.chance(0.4), line(draw, (0, at[:, 1]), (1, at[:, 1]), wobble=0.01)))
    upright = [line(draw, (at[:, k], 0), (at[:, k], 1), wobble=0.01) for k in (1, 2)]
    strokes += [where(draw.chance(0.5), stroke) for stroke in upright]
    return sketched(strokes, draw, (0.03, 0.12))


def letters(draw, inks):
    """Letters and signs that look like no digit."""
    codes = list(LETTERS.values())
    chosen = draw.rng.integers(0, len(codes), draw.n)
    result = np.empty((draw.n, CANVAS, CANVAS), dtype=np.float32)
    for k in np.unique(chosen):
        some = Draw(draw.rng, (chosen == k).sum())
        result[chosen == k] = sketched(strokes_of(some, codes[k]), some)
    return result


def scribbles(draw, inks):
    """Curves through random points, and zigzags."""
    many = [draw.rng.random((2, draw.n)) for _ in range(13)]
    curves = curve(draw, *many, wobble=0)
    few = curve(draw, *many[:9], wobble=0)
    zigzag = line(
        draw, *[(k / 8 + 0.1 * x, y * 0.15 + 0.85 * (k % 2)) for k, (x, y) in enumerate(many[:9])]
    )
    kind = draw.between(0, 1)
    return sketched([where(kind < 0.4, curves, where(kind < 0.7, few, zigzag))], draw, turned=60)


def spokes(draw, degrees, start, end):
    """Return straight strokes on the rays at angles (n,) of a circle of radius 0.5."""
    x, y = (0.5 * way(np.deg2rad(degrees)) for way in (np.cos, np.sin))
    return line(draw, (0.5 + start * x, 0.5 + start * y), (0.5 + end * x, 0.5 + end * y))


def rings(draw, inks):
    """Rings with what is no slash in them: a face, two hands of a clock, marks along the rim."""
    kind, turn, mouth = draw.between(0, 1), draw.between(0, 360), draw.between(40, 80)
    eyes = [line(draw, (x, 0.3), (x, draw.between(0.33, 0.45))) for x in (0.33, 0.67)]
    face = [*eyes, arc(draw, (0.5, 0.5), (0.28, 0.26), 90 - mouth, 2 * mouth)]
    hands = [spokes(draw, turn, draw.between(-0.2, 0), draw.between(0.5, 0.95))]
    hands.append(spokes(draw, turn + draw.between(40, 140), 0, draw.between(0.4, 0.8)))
    marks = [spokes(draw, turn + 60 * k, 0.75, 0.95) for k in range(6)]
    return sketched(
        [
            arc(draw, (0.5, 0.5), (0.5, 0.5), turn, 365),
            *(where(kind < 0.4, stroke) for stroke in face),
            *(where((kind > 0.4) & (kind < 0.9), stroke) for stroke in hands),
            *(where(kind > 0.7, stroke) for stroke in marks),
        ],
        draw,
        (0.03, 0.1),
    )


def arcs(draw, inks):
    """Parts of a ring, bare, with marks as of a clock, or with legs as of a U, turned.

    One that rounds the top right alone is a 7, and left out.
    """
    kind, ry = draw.between(0, 1), draw.between(0.35, 0.5)
    legged = kind > 0.6
    middle = np.where(legged, 90 * draw.rng.integers(0, 4, draw.n), draw.between(0, 260))
    sweep = np.where(legged, 180, draw.between(120, 230))
    shallow = draw.chance(0.3) & ~legged
    middle = np.where(
        shallow, 45 + 90 * draw.rng.integers(0, 3, draw.n) + draw.around(0, 12), middle
    )
    sweep = np.where(shallow, draw.between(70, 120), sweep)
    start, back, length = middle - sweep / 2, np.deg2rad(middle + 180), draw.between(0, 0.8)
    marks = [spokes(draw, start + sweep * k / 4, 0.75, 0.95) for k in range(5)]
    ring = arc(draw, (0.5, 0.5), (0.5, ry), start, sweep)
    legs = []
    for end in (back - np.pi / 2, back + np.pi / 2):
        x, y = 0.5 + 0.5 * np.cos(end), 0.5 + ry * np.sin(end)
        legs.append(line(draw, (x, y), (x + length * np.cos(back), y + length * np.sin(back))))
    return sketched(
        [
            ring,
            *(where(kind < 0.25, mark) for mark in marks),
            *(where(legged, leg) for leg in legs),
        ],
        draw,
    )


def shapes(draw, inks):
    """A heart, a triangle or a star."""
    dent, tip = draw.between(0.05, 0.3), draw.around(0.5, 0.05)
    left, right = (
        curve(draw, (0.5, dent), (0.5 + s * 0.25, 0.0), (0.5 + s * 0.5, 0.25), (tip, 1))
        for s in (-1, 1)
    )
    triangle = line(draw, (0, 1), (draw.between(0.2, 0.8), 0), (1, 1), (0, 1), wobble=0.04)
    turns = np.deg2rad(144) * np.arange(6)
    star = line(draw, *((0.5 + 0.5 * np.sin(t), 0.5 - 0.5 * np.cos(t)) for t in turns), wobble=0.03)
    kind = draw.between(0, 1)
    first = where(kind < 0.45, left, where(kind < 0.7, triangle, star))
    return sketched([first, where(kind < 0.45, right)], draw, turned=15)


def pairs_of_dots(draw, inks):
    """Two dots, round or square, touching or apart, not one above the other."""
    y, x = GRID
    a, distance = draw.between(0, 1.2), draw.between(0.15, 0.3)
    a = np.where(draw.chance(0.5), a, -a)
    ink = np.zeros((draw.n, CANVAS, CANVAS), dtype=np.float32)
    for side in (-1, 1):
        dx, dy = (side * distance * way(a) for way in (np.cos, np.sin))
        dx, dy = (np.abs(v - d[:, None, None]) for v, d in ((x, dx), (y, dy)))
        power = draw.rng.choice([2, 10], (draw.n, 1, 1))
        radius = draw.between(0.12, 0.22)[:, None, None]
        ink = np.maximum(ink, filled((dx**power + dy**power) ** (1 / power) - radius))
    return ink


def textures(draw, inks):
    """Clouds, fine or coarse, and stripes, in a square."""
    clouds = [fields(draw, smoothness) for smoothness in (1.5, 3, 5)]
    cloud = np.choose(draw.rng.integers(0, 3, (draw.n, 1, 1)), clouds)
    cloud = cloud - draw.between(-0.5, 0.8)[:, None, None]
    y, x = GRID
    a, frequency = draw.between(0, np.pi)[:, None, None], draw.between(20, 60)[:, None, None]
    stripes = np.sin(frequency * (x * np.cos(a) + y * np.sin(a)))
    cloud = np.where(draw.chance(0.25)[:, None, None], stripes, cloud)
    window = filled(np.maximum(np.abs(x), np.abs(y)) - 0.4)
    ink = filled(-cloud, soft=1) * window
    return ink / np.maximum(ink.max(axis=(1, 2), keepdims=True), 1e-6)


def specks(draw, inks):
    """Two to six small blots."""
    y, x = GRID
    ink = np.zeros((draw.n, CANVAS, CANVAS), dtype=np.float32)
    count = draw.rng.integers(2, 7, draw.n)
    for k in range(6):
        cy, cx = draw.rng.uniform(-0.4, 0.4, (2, draw.n, 1, 1))
        radius = (
            draw.between(0.04, 0.12)[:, None, None] * (k < count)[:, None, None]
            - 0.05 * (k >= count)[:, None, None]
        )
        ink = np.maximum(ink, filled(np.hypot(x - cx, y - cy) - radius))
    return ink


def edges(draw, inks):
    """A desk's edge: half-planes and corners of paper, in a square."""
    y, x = GRID
    ink = np.ones((draw.n, CANVAS, CANVAS), dtype=np.float32)
    for k in range(2):
        a = draw.between(0, 2 * np.pi)[:, None, None]
        half = filled(x * np.cos(a) + y * np.sin(a) - draw.between(-0.1, 0.2)[:, None, None], 0.03)
        ink = np.where((draw.chance(0.5) | (k == 0))[:, None, None], ink * half, ink)
    return ink * (np.maximum(np.abs(x), np.abs(y)) < 0.42)


def wrong_signs(draw, inks):
    """The paper around a digit, in its box or a larger one."""
    digits, y, x = inks(draw), *GRID
    half = draw.between(0.3, 0.48)[:, None, None]
    return (1 - digits) * (np.maximum(np.abs(x), np.abs(y)) < half)


def holes(draw, inks):
    """The areas that a digit's strokes enclose."""
    digits = inks(draw)
    result = np.empty_like(digits)
    for k, digit in enumerate(digits):
        full = ndimage.binary_fill_holes(digit > 0.5)
        inside = full & (digit <= 0.5)
        if inside.sum() < 30:
            inside = ndimage.binary_closing(digit > 0.5, iterations=9) & (digit <= 0.5)
        ys, xs = np.nonzero(inside)
        if len(ys) < 30 or np.ptp(xs) < 0.45 * np.ptp(ys):
            inside = np.hypot(*GRID) < 0.4
        result[k] = inside
    return ndimage.gaussian_filter(result, (0, 0.7, 0.7))


def several(draw, inks):
    """Two digits side by side, touching or apart, or one above the other; some cut at the side."""
    one, other = inks(draw), inks(draw)
    stacked = draw.chance(0.15)
    one[stacked], other[stacked] = (ink[stacked].swapaxes(1, 2) for ink in (one, other))
    pairs = np.zeros((draw.n, 2 * CANVAS, 2 * CANVAS), dtype=np.float32)
    gaps, sizes, seen = draw.between(-0.2, 0.4), draw.between(0.7, 1.0), draw.between(0.4, 1)
    cut = draw.chance(0.2)
    for k in range(draw.n):
        left, right = (ink[k][:, (ink[k] > 0.5).any(axis=0)] for ink in (one, other))
        right = ndimage.zoom(right, sizes[k], order=1)
        if cut[k]:
            right = right[:, : round(seen[k] * right.shape[1])]
        start = left.shape[1] + round(gaps[k] * CANVAS)
        start = max(start, left.shape[1] // 2)
        end = min(2 * CANVAS, start + right.shape[1])
        top = round(draw.rng.uniform(0, CANVAS - right.shape[0]))
        pairs[k, :CANVAS, : left.shape[1]] = left
        place = np.s_[k, top : top + right.shape[0], start:end]
        pairs[place] = np.maximum(pairs[place], right[:, : end - start])
    pairs[stacked] = pairs[stacked].swapaxes(1, 2)
    return pairs


def framed(draw, inks):
    """A digit in a frame or a circle, which it may touch, or with a long ruled line beside it.

    No circle around a narrow digit: a 1 in a circle is a slashed 0.
    """
    digits = inks(draw)
    big = np.zeros((draw.n, 2 * CANVAS, 2 * CANVAS), dtype=np.float32)
    middle = slice(CANVAS // 2, CANVAS // 2 + CANVAS)
    big[:, middle, middle] = digits
    y, x = np.mgrid[: 2 * CANVAS, : 2 * CANVAS] + 0.5
    kind, widths = draw.between(0, 1), draw.rng.integers(1, 5, draw.n)
    gaps = draw.rng.uniform(-0.12, 0.45, (draw.n, 4)) * CANVAS / 2
    for k, (w, rng) in enumerate(zip(widths, draw.rng.spawn(draw.n), strict=True)):
        ys, xs = (np.flatnonzero((digits[k] > 0.5).any(axis=axis)) for axis in (1, 0))
        margins = np.maximum(gaps[k], 0) if kind[k] > 0.7 else gaps[k]
        edges = np.array([ys[0], xs[0], ys[-1], xs[-1]]) + margins * [-1, -1, 1, 1]
        top, left, bottom, right = np.round(edges + CANVAS / 2).astype(int)
        if kind[k] < 0.25 and np.ptp(xs) > 0.65 * np.ptp(ys):
            radii = np.array([bottom - top, right - left]) / 2 * rng.uniform(1.1, 1.4)
            from_centre = (y - (top + bottom) / 2) / radii[0], (x - (left + right) / 2) / radii[1]
            big[k][np.abs(np.hypot(*from_centre) - 1) * radii.min() < w / 2] = 1
        elif kind[k] < 0.7:
            sides = (
                np.s_[top - w : top, left - w : right + w],
                np.s_[bottom : bottom + w, left - w : right + w],
                np.s_[top - w : bottom + w, left - w : left],
                np.s_[top - w : bottom + w, right : right + w],
            )
            present = rng.random(4) < 0.9
            for side in range(4):
                if present[side] or present.sum() < 2:
                    big[k][sides[side]] = 1
        else:
            wide = max(bottom - top, right - left) * rng.uniform(0.65, 0.9)
            along = slice(max(0, round(CANVAS - wide)), min(2 * CANVAS, round(CANVAS + wide)))
            if rng.random() < 0.7:  # through the middle, it may be a slash
                level = rng.choice([top - w, bottom])
                big[k, level : level + w, along] = 1
            else:
                level = rng.choice([left, right])
                big[k, along, level : level + w] = 1
    return big


KINDS = (
    *(dots, bars, sides, parallels, letters, letters, scribbles, textures, specks, edges),
    *(wrong_signs, holes, several, several, framed, rings, arcs, shapes, pairs_of_dots),
)


def negatives(n, seed, images=None):
    """Return `n` images that are no digit, uint8 (n, 28, 28), all kinds in turn.

    Digits in them are generated; with `images`, uint8 (N, 28, 28), half of them are from there.
    """
    rng, kinds = np.random.default_rng(seed), np.arange(n) % len(KINDS)

    def inks(draw):
        labels = draw.rng.integers(0, 10, draw.n)
        result = np.zeros((draw.n, CANVAS, CANVAS), dtype=np.float32)
        for label in range(10):
            some = Draw(draw.rng, (labels == label).sum())
            if some.n:
                result[labels == label] = digit_inks(label, some)
        if images is not None:
            for k in np.flatnonzero(draw.chance(0.5)):
                one = images[draw.rng.integers(len(images))][4:24, 4:24] / np.float32(255)
                result[k] = np.pad(one.repeat(2, axis=0).repeat(2, axis=1), 4)
        return result

    result = np.empty((n, 28, 28), dtype=np.uint8)
    for k, kind in enumerate(KINDS[:n]):
        chosen = kinds == k
        ink = kind(Draw(rng, chosen.sum()), inks)
        most = ink.max(axis=(1, 2), keepdims=True)
        result[chosen] = formatted(np.where(most > 0.1, ink / np.maximum(most, 0.1), 1))
    return result
