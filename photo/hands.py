"""Generate handwritten digits of shapes that MNIST lacks, in MNIST's format.

MNIST's writers are from one country. Here a 1 has an upstroke and a foot, a 0 a slash, a 7 a bar.
A digit is a few strokes in a unit box, x to the right and y downwards: polylines and splines
through points that vary at random. They are deformed as handwriting varies (aspect, slant, smooth
warp, tremor), drawn with a pen of random width, and brought to MNIST's format. Every function works
on a batch of one class.
"""

from functools import cache

import numpy as np
from scipy import ndimage
from scipy.interpolate import CubicSpline

from mnist_format import to_mnist_format

POINTS = 40  # samples of each stroke
PATH = 120  # samples of a digit, evenly spaced along all its strokes
CANVAS = 48  # pixels: what digits are drawn on before they get MNIST's format


class Draw:
    """Random numbers for `n` digits: every method returns an array (n,)."""

    def __init__(self, rng, n):
        self.rng, self.n = rng, n

    def between(self, low, high):
        """Uniform numbers; the bounds may be arrays (n,)."""
        return self.rng.uniform(low, high, self.n)

    def around(self, middle, std):
        """Normal numbers, at most 2 std from the middle."""
        return middle + std * self.rng.standard_normal(self.n).clip(-2, 2)

    def chance(self, share):
        """True for about this share, bool."""
        return self.rng.random(self.n) < share


# --- Strokes: float (n, POINTS, 2) --------------------------------------------------------------


@cache
def spline_matrix(points):
    """Return the matrix (POINTS, points) of a cubic spline through a number of points."""
    at = np.linspace(0, points - 1, POINTS)
    return CubicSpline(np.arange(points), np.eye(points), bc_type="natural")(at)


@cache
def interpolation(samples, points):
    """Return the matrix (samples, points) of straight lines from point to point."""
    at = np.linspace(0, points - 1, samples)
    return np.maximum(1 - np.abs(at[:, None] - np.arange(points)), 0)


def keys_of(n, points):
    """Return points (x, y), each a number or an array (n,), as an array (n, points, 2)."""
    return np.stack([np.stack(np.broadcast_arrays(*p, np.zeros(n))[:2], 1) for p in points], 1)


def curve(draw, *points, wobble=0.02):
    """Return smooth strokes through points, each a little off its place."""
    keys = keys_of(draw.n, points)
    keys = keys + wobble * draw.rng.standard_normal(keys.shape)
    return spline_matrix(len(points)) @ keys


def line(draw, *points, wobble=0.015):
    """Return strokes of straight lines, each bent a little."""
    keys = keys_of(draw.n, points)
    keys = keys + wobble * draw.rng.standard_normal(keys.shape)
    stroke = interpolation(POINTS, len(points)) @ keys
    bend = draw.around(0, 0.02)[:, None, None] * draw.rng.choice([-1, 1], (draw.n, 1, 2))
    return stroke + bend * np.sin(np.pi * np.linspace(0, 1, POINTS))[:, None]


def arc(draw, centre, radii, start, sweep, wobble=0.04):
    """Return arcs of ellipses: angles in degrees, clockwise from the right.

    The radius varies smoothly along the arc by `wobble`, so that rings are not ellipses.
    """
    t = np.linspace(0, 1, POINTS)
    angles = np.deg2rad(np.reshape(start, (-1, 1)) + np.reshape(sweep, (-1, 1)) * t)
    angles = np.broadcast_to(angles, (draw.n, POINTS))
    swell = 1 + sum(
        draw.around(0, wobble / k)[:, None] * np.sin(k * angles + draw.between(0, 6.3)[:, None])
        for k in (2, 3)
    )
    centres, sizes = keys_of(draw.n, [centre, radii]).swapaxes(0, 1)
    unit = np.stack([np.cos(angles), np.sin(angles)], 2) * swell[:, :, None]
    return centres[:, None] + sizes[:, None] * unit


def where(chosen, stroke, other=None):
    """Return a stroke where chosen (n,), another elsewhere; without another, no stroke (NaN)."""
    return np.where(chosen[:, None, None], stroke, np.nan if other is None else other)


# --- The digits: lists of strokes -----------------------------------------------------------------


def zero(draw):
    """A ring, more or less closed; slashed or dotted in 60 %."""
    rx, ry = draw.between(0.26, 0.42), 0.5
    ring = arc(draw, (0.5, 0.5), (rx, ry), draw.around(-80, 25), -draw.around(365, 15))
    kind = draw.between(0, 1)  # slashes lean to the right, are upright or level
    degrees = np.where(kind < 0.4, draw.around(52, 16), draw.between(0, 180))
    degrees = np.where(kind > 0.45, draw.around(90, 14), degrees)
    degrees = np.where(kind > 0.78, draw.around(0, 10), degrees)
    angle = np.deg2rad(degrees)
    reach = draw.between(0.5, 1.5)  # inside the ring, to the ring, beyond
    reach = np.where(draw.chance(0.45), draw.between(1.3, 2.2), reach)
    reach = np.where(draw.chance(0.1), 0.02, reach)  # a dot
    edge = 1 / np.hypot(np.cos(angle) / rx, np.sin(angle) / ry)
    x, y = reach * edge * np.cos(angle), reach * edge * np.sin(angle)
    cx, cy = draw.around(0.5, 0.03), draw.around(0.5, 0.04)
    slash = line(draw, (cx - x, cy + y), (cx + x, cy - y))
    return [ring, where(draw.chance(0.6), slash)]


def one(draw):
    """A stem; with an upstroke in 70 %, a foot in 30 %, a tail in some of the others.

    Some feet continue the stem in a loop.
    """
    lean = draw.around(0, 0.05)
    has_foot = draw.chance(0.3)
    looped = has_foot & draw.chance(0.15)
    stem = line(draw, (0.5 + lean, 0), (0.5 - lean, np.where(looped, 0.85, 1)))
    short = draw.chance(0.4)
    length = np.where(short, draw.between(0.15, 0.4), draw.between(0.15, 0.95))
    length = np.where(looped, draw.between(0, 0.2), length)  # longer ones would be a 2
    angle = np.deg2rad(draw.between(22, np.where(short, 78, 58)))
    length = np.minimum(length, 0.65 / np.sin(angle))
    x, y = length * np.sin(angle), length * np.cos(angle)
    bow = draw.around(0, 0.045) * length
    start = 0.5 + lean - x, y + draw.around(0, 0.02)
    middle = 0.5 + lean - x / 2 + bow, y / 2 + bow
    upstroke = curve(draw, start, middle, (0.5 + lean, draw.around(0.0, 0.01)), wobble=0.01)
    wide = np.where(draw.chance(0.25), 0.75, 0.5)
    left, right = draw.between(0.1, wide), draw.between(0.1, wide)
    level = 1 + np.where(draw.chance(0.3), draw.between(0.03, 0.14), draw.around(0.01, 0.02))
    tilt = draw.around(0, 0.02)
    foot = line(draw, (0.5 - lean - left, level + tilt), (0.5 - lean + right, level - tilt))
    loop = curve(
        draw,
        (0.5 - lean, 0.85),
        (0.42 - lean, 1),
        (0.25 - lean, draw.around(0.98, 0.02)),
        (draw.around(0.2, 0.04) - lean, draw.around(0.86, 0.03)),
        (0.47 - lean, draw.around(0.86, 0.03)),
        (0.5 - lean + right, draw.around(0.9, 0.04)),
    )
    rise = draw.between(0.02, 0.3)
    tail = curve(draw, (0.5 - lean, 0.9), (0.52 - lean, 1), (0.6 - lean + left / 4, 1 - rise))
    return [
        stem,
        where(draw.chance(0.7), upstroke),
        where(has_foot & ~looped, foot),
        where(looped, loop),
        where(draw.chance(0.1) & ~has_foot, tail),
    ]


def two(draw):
    """A bow, a diagonal and a base, which is straight, wavy or starts with a loop."""
    low, right = draw.around(0.97, 0.02), draw.between(0.5, 1.0)
    head = [
        (draw.around(0.17, 0.08), draw.around(0.22, 0.08)),
        (draw.around(0.42, 0.06), draw.around(0.0, 0.01)),
        (draw.around(0.78, 0.05), draw.around(0.22, 0.05)),
        (draw.around(0.55, 0.05), draw.around(0.58, 0.05)),
        (draw.around(0.13, 0.04), low),
    ]
    body = curve(draw, *head)
    base = line(draw, (head[-1][0], low), (right, low + draw.around(0, 0.04)))
    loop = [
        (draw.around(0.22, 0.04), draw.around(1.0, 0.01)),
        (draw.around(0.08, 0.03), draw.around(0.86, 0.04)),
        (draw.around(0.28, 0.04), draw.around(0.8, 0.03)),
        (draw.around(0.55, 0.04), draw.around(0.96, 0.03)),
        (right, draw.around(0.94, 0.05)),
    ]
    looped = curve(draw, *head[:-1], *loop)
    angular = line(draw, *head[:1], (draw.around(0.45, 0.05), 0), head[2], head[-1])
    body = where(draw.chance(0.12), angular, body)
    kind = draw.chance(0.3)
    return [where(kind, looped, body), where(~kind, base)]


def three(draw):
    """Two bows with a cusp or a small loop between them; in 20 % a flat top."""
    waist = draw.around(0.45, 0.03)
    inner = draw.around(0.42, 0.08)
    upper = [
        (draw.around(0.16, 0.05), draw.around(0.13, 0.06)),
        (draw.around(0.45, 0.05), draw.around(0.0, 0.01)),
        (draw.around(0.74, 0.05), draw.around(0.2, 0.04)),
        (inner, waist),
    ]
    lower = [
        (inner, waist),
        (draw.around(0.8, 0.05), draw.around(0.7, 0.05)),
        (draw.around(0.45, 0.05), draw.around(1.0, 0.01)),
        (draw.around(0.1, 0.06), draw.around(0.85, 0.07)),
    ]
    flat = line(draw, (draw.around(0.15, 0.04), 0.02), (draw.around(0.75, 0.05), 0), (inner, waist))
    top = where(draw.chance(0.2), flat, curve(draw, *upper))
    return [top, curve(draw, *lower)]


def four(draw):
    """Open in 62 %, closed, or written in one with a loop."""
    level, stem_x = draw.between(0.5, 0.72), draw.between(0.52, 0.75)
    left, right = draw.around(0.08, 0.05), draw.between(0.78, 1.05)
    corner = (left, level + draw.around(0, 0.02))
    bar_end = (right, level + draw.around(-0.01, 0.03))
    top = draw.between(0, 0.3)
    lean = draw.around(0, 0.05)
    stem = line(draw, (stem_x + lean, top), (stem_x - lean, 1))
    start = (draw.between(0.15, 0.42), draw.around(0.0, 0.02))
    sharp = line(draw, start, corner, bar_end)
    round_ = curve(draw, start, (left + 0.06, level - 0.2), (left + 0.1, level), bar_end)
    open_ = where(draw.chance(0.3), round_, sharp)
    short = draw.chance(0.25)  # the bar of some ends at the stem
    closed_start = (stem_x + lean, top * 0.1)
    closed = line(draw, closed_start, corner, bar_end)
    closed_stem = line(draw, closed_start, (stem_x - lean, 1))
    looped = curve(
        draw,
        (stem_x + 0.02, 0.02),
        (draw.around(0.3, 0.04), draw.around(0.35, 0.03)),
        corner,
        (draw.around(0.45, 0.04), level + draw.around(0.0, 0.02)),
        (right, level - draw.between(0.0, 0.15)),
        wobble=0.015,
    )
    kind = draw.between(0, 1)
    is_open, is_loop = kind < 0.62, kind > 0.9
    body = where(is_open, open_, where(is_loop, looped, closed))
    body = np.where((short & is_open)[:, None, None], clipped_right(body, stem_x), body)
    return [body, where(is_open, stem, closed_stem)]


def clipped_right(stroke, limit):
    """Return a stroke with what is right of x = limit (n,) moved there."""
    return np.stack([np.minimum(stroke[..., 0], limit[:, None]), stroke[..., 1]], axis=2)


def five(draw):
    """A bow below a short stem, with a bar at its top: attached or loose; or like an S."""
    x, neck = draw.around(0.22, 0.04), draw.around(0.42, 0.04)
    top = draw.between(0.0, 0.06)
    bow = [
        (draw.around(0.5, 0.05), neck - draw.between(0.0, 0.08)),
        (draw.around(0.82, 0.05), draw.around(0.66, 0.05)),
        (draw.around(0.5, 0.06), draw.around(1.0, 0.01)),
        (draw.around(0.08, 0.06), draw.around(0.88, 0.06)),
    ]
    stem = line(draw, (x + draw.around(0.03, 0.04), top), (x, neck))
    bowed = curve(draw, (x, neck), *bow)
    gap = np.where(draw.chance(0.35), draw.between(0.02, 0.25), draw.around(0, 0.02))
    rise = np.where(draw.chance(0.3), draw.between(-0.08, 0.1), 0.0)
    end = draw.between(0.6, 1.02)
    bar_y = top + rise
    bar = line(
        draw, (x + gap + draw.around(0, 0.03), bar_y), (end, bar_y - draw.around(0.02, 0.04))
    )
    smooth = curve(
        draw,
        (draw.around(0.82, 0.05), draw.around(0.04, 0.03)),
        (draw.around(0.45, 0.05), draw.around(0.02, 0.02)),
        (draw.around(0.24, 0.04), draw.around(0.25, 0.04)),
        (draw.around(0.5, 0.05), draw.around(0.45, 0.03)),
        *bow[1:],
    )
    kind = draw.chance(0.15)
    return [where(~kind, stem), where(kind, smooth, bowed), where(~kind, bar)]


def six(draw):
    """A bow into a ring: tall and straight, or flat and bent over; rings of all sizes."""
    ry = draw.between(0.17, 0.33)
    rx = draw.between(0.22, 0.38)
    cx, cy = 0.46, 1 - ry
    start_x = draw.between(0.35, 0.95)
    left = cx - rx
    bow = curve(
        draw,
        (start_x, draw.around(0.02, 0.03)),
        (0.35 * start_x + 0.65 * left + draw.around(0.0, 0.03), (0.3 * cy).clip(0.15)),
        (left + draw.around(0.0, 0.02), cy),
        wobble=0.01,
    )
    ring = arc(draw, (cx, cy), (rx, ry), 180, -draw.around(355, 35))
    return [bow, ring]


def seven(draw):
    """A bar and a stem, straight or bent; crossed in 42 %, the bar's start curled in many."""
    left, right = draw.around(0.08, 0.05), draw.around(0.82, 0.06)
    tilt = draw.around(0.0, 0.04)
    foot = draw.between(0.15, 0.6)
    bar = line(draw, (left, 0.03 + tilt), (right, 0.03 - tilt))
    wavy = curve(draw, (left, 0.06), (0.3, 0.0), (0.55, 0.06), (right, 0.02))
    bar = where(draw.chance(0.25), wavy, bar)
    tick = line(draw, (left + draw.around(0.0, 0.04), draw.between(0.1, 0.28)), (left, 0.03 + tilt))
    end = (right, 0.03 - tilt)
    straight = line(draw, end, (foot, 1))
    middle = (right + foot) / 2 - draw.between(0.0, 0.12)
    bent = curve(draw, end, (middle, draw.around(0.42, 0.04)), (foot, 1))
    stem = where(draw.chance(0.5), bent, straight)
    level, half = draw.between(0.38, 0.62), draw.between(0.12, 0.32)
    centre = right + (foot - right) * level - 0.02 + draw.around(0, 0.04)
    slope = draw.around(-0.02, 0.05)
    cross = line(draw, (centre - half, level - slope), (centre + half, level + slope))
    return [bar, stem, where(draw.chance(0.42), cross), where(draw.chance(0.3), tick)]


def eight(draw):
    """Written in one from the top, closed or open there or with its ends crossed, or two rings."""
    waist = draw.between(0.4, 0.54)
    upper, lower = draw.between(0.2, 0.34), draw.between(0.26, 0.42)
    a, b = draw.around(0.0, 0.04), draw.around(0.0, 0.04)
    kind = draw.between(0, 1)
    start = (0.5 + upper * draw.between(0.4, 1.0), draw.between(0.02, 0.15))
    x = np.where(kind < 0.6, -draw.between(0, 0.08), draw.between(0, 0.1))  # closed, or open
    y = np.where(kind < 0.6, -draw.between(-0.03, 0.05), draw.between(0, 0.1))
    crossed = kind > 0.85
    x = np.where(crossed, draw.between(0.05, 0.25), x)
    y = np.where(crossed, -draw.between(0, 0.15), y)
    end = start[0] + x, start[1] + y
    written = curve(
        draw,
        start,
        (0.5, 0.0),
        (0.5 - upper, waist * 0.45 + a),
        (0.5 + a, waist),
        (0.5 + lower, (1 + waist) / 2 + b),
        (0.5, 1.0),
        (0.5 - lower, (1 + waist) / 2 - b),
        (0.5 - a, waist + 0.02),
        (0.5 + upper * 0.9, waist * 0.5),
        end,
        wobble=0.012,
    )
    gap = draw.around(0.0, 0.02)
    top = arc(draw, (0.5 + a, waist / 2), (upper, waist / 2 - gap), draw.between(0, 360), 365)
    low = arc(draw, (0.5, (1 + waist) / 2), (lower, (1 - waist) / 2), draw.between(0, 360), 365)
    rings = draw.chance(0.3)
    return [where(rings, low, written), where(rings, top)]


def nine(draw):
    """A ring and a stem, straight, bent or hooked at its foot; or in one stroke.

    In 15 % the stem hangs from the lower right of the ring, not from its side. In a third of those
    with a hook the ring is open at its upper right.
    """
    kind, open_ = draw.between(0, 1), draw.between(0, 1)
    ry, rx = draw.between(0.15, 0.3), draw.between(0.22, 0.42)
    cx, right = 0.45, 0.45 + rx
    opening = np.where((kind > 0.7) & (open_ < 0.35), draw.between(20, 70), 0)
    start = draw.around(-20, 15) - opening
    ring = arc(draw, (cx, ry), (rx, ry), start, opening - draw.around(350, 20))
    foot = draw.between(0.2, 0.95)
    foot = np.where(draw.chance(0.4), right + draw.around(0.0, 0.04), foot)
    hangs, angle = draw.chance(0.15), np.deg2rad(draw.between(15, 75))
    top = np.where(hangs, ry + ry * np.sin(angle), ry - draw.between(0.0, 0.8) * ry)
    right = np.where(hangs, cx + rx * np.cos(angle), right)
    straight = line(draw, (right, top), (foot, 1))
    bent = curve(draw, (right, top), (right + draw.around(-0.02, 0.06), 0.55), (foot, 1))
    hooked = curve(
        draw,
        (right, top),
        (right + draw.around(0.01, 0.04), 0.6),
        (right - 0.06, draw.around(0.9, 0.03)),
        (cx, draw.around(1.0, 0.01)),
        (draw.around(0.15, 0.05), draw.around(0.86, 0.05)),
    )
    stem = where(kind < 0.4, straight, where(kind < 0.7, bent, hooked))
    bulging = curve(  # written in one, like an S whose top is closed
        draw,
        (draw.around(0.49, 0.02), 0.5),
        (0.68, 0.24),
        (0.45, 0.0),
        (0.17, draw.around(0.18, 0.03)),
        (draw.around(0.36, 0.03), draw.around(0.4, 0.02)),
        (draw.around(0.68, 0.04), draw.around(0.62, 0.04)),
        (draw.around(0.6, 0.05), 0.87),
        (draw.around(0.4, 0.08), draw.around(0.98, 0.03)),
        wobble=0.01,
    )
    in_one = draw.chance(0.1)
    return [where(in_one, bulging, ring), where(~in_one, stem)]


DIGITS = (zero, one, two, three, four, five, six, seven, eight, nine)


# --- From strokes to images -----------------------------------------------------------------------


def paths(strokes):
    """Return the samples (n, PATH, 2) of strokes, spaced evenly along all of them.

    What lies between two strokes has no length, nor has a stroke that is NaN.
    """
    points = np.concatenate(strokes, axis=1)  # (n, S, 2)
    steps = np.linalg.norm(np.diff(points, axis=1), axis=2)
    steps[:, POINTS - 1 :: POINTS] = 0
    along = np.cumsum(np.nan_to_num(steps), axis=1)
    wanted = along[:, -1:] * np.linspace(0, 1, PATH).clip(1e-6, 1 - 1e-6)
    n, rows = len(points), np.arange(len(points))[:, None]
    offsets = 2 * np.arange(n)[:, None]  # rows made one rising row: one search for all of them
    scaled = along / along[:, -1:] + offsets
    after = np.searchsorted(scaled.ravel(), (wanted / along[:, -1:] + offsets).ravel())
    after = after.reshape(n, PATH) - rows * along.shape[1]
    start = along[rows, after] - steps[rows, after]
    share = ((wanted - start) / np.maximum(steps[rows, after], 1e-9))[:, :, None]
    return points[rows, after] * (1 - share) + points[rows, after + 1] * share


def deformed(points, draw):
    """Return points (n, PATH, 2) deformed at random: warp, aspect, slant, rotation, tremor."""
    x, y = points[..., 0] - 0.5, points[..., 1] - 0.5
    column = (slice(None), None)
    for _ in range(2):
        frequency, phase = draw.between(1, 4)[column], draw.between(0, 6.3)[column]
        direction = draw.between(0, 6.3)[column]
        wave = 0.02 * np.sin(
            frequency * (x * np.cos(direction) + y * np.sin(direction)) * 2 + phase
        )
        turn = draw.between(0, 6.3)[column]
        x, y = x + wave * np.cos(turn), y + wave * np.sin(turn)
    x = x * np.exp(draw.around(-0.08, 0.26))[column]
    x = x - draw.around(0.08, 0.16)[column] * y
    angle = np.deg2rad(draw.around(0, 5))[column]
    x, y = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
    points = np.stack([x, y], axis=2)
    tremor = (
        draw.rng.standard_normal((draw.n, PATH // 4, 2)) * draw.between(0, 0.012)[:, None, None]
    )
    return points + 0.75 * np.repeat(tremor, 4, axis=1)


def inked(points, radius, soft):
    """Return the ink, float32 (n, CANVAS, CANVAS), of pens along points (n, PATH, 2).

    Points, radius (n,) and soft (n,), the width of the ink's edge, are in pixels.
    """
    side = np.arange(CANVAS, dtype=np.float32) + 0.5
    pixels = np.stack(np.broadcast_arrays(side, side[:, None]), 2).reshape(-1, 2)
    left = np.concatenate(
        [pixels, (pixels**2).sum(1, keepdims=True), np.ones_like(pixels[:, :1])], 1
    )
    points = points.astype(np.float32)
    right = np.stack(
        [
            -2 * points[..., 0],
            -2 * points[..., 1],
            np.ones_like(points[..., 0]),
            (points**2).sum(2),
        ],
        axis=1,
    )  # (n, 4, PATH)
    distance = np.empty((len(points), len(pixels)), dtype=np.float32)
    for k in range(len(points)):
        distance[k] = (left @ right[k]).min(axis=1)
    distance = np.sqrt(np.maximum(distance, 0))
    ink = (radius[:, None] - distance) / soft[:, None] + 0.5
    return np.clip(ink, 0, 1).reshape(-1, CANVAS, CANVAS).astype(np.float32)


def drawn(points, draw, pens=(0.045, 0.2)):
    """Return points (n, PATH, 2) drawn with pens of random width: ink (n, CANVAS, CANVAS).

    `pens` bounds the width as a share of the drawing's longer side.
    """
    low, high = points.min(axis=1), points.max(axis=1)
    size = (high - low).max(axis=1)
    width = np.exp(draw.between(*np.log(pens)))
    reach = 0.9 * CANVAS
    radius = np.maximum(width * reach / 2, 0.6)
    scale = (reach - 2 * radius) / np.maximum(size, 1e-6)
    centre = (low + high)[:, None] / 2
    points = (points - centre) * scale[:, None, None] + CANVAS / 2
    ink = inked(points, radius, soft=draw.between(1, np.minimum(1 + 2 * radius, 6)))
    return uneven(ink, draw)


def uneven(ink, draw):
    """Return ink (n, height, width), paler in places for some, as of a pen that runs dry."""
    rng, (n, height, width) = draw.rng, ink.shape
    coarse = rng.uniform(-1, 1, (n, 4, 4))
    fine = interpolation(height, 4) @ coarse @ interpolation(width, 4).T
    depth = draw.between(0, 0.5) * draw.chance(0.4)
    return ink * (1 - depth[:, None, None] * np.abs(fine)).astype(np.float32)


def restyled(images, draw):
    """Return the ink (n, CANVAS, CANVAS) of MNIST's images (n, 28, 28) with another pen and aspect.

    They are stretched and slanted, enlarged to the canvas, and cut at a random level, which makes
    strokes thinner or thicker.
    """
    stretch = np.exp(draw.around(0, 0.2))
    x_scale, y_scale = np.maximum(1, 1 / stretch), np.maximum(1, stretch)
    slant = draw.around(0, 0.12)
    side = (np.arange(CANVAS) + 0.5 - CANVAS / 2) * (28 / CANVAS)  # pixels of the image
    result = np.empty((draw.n, CANVAS, CANVAS), dtype=np.float32)
    for k, image in enumerate(images):
        matrix = [[y_scale[k], 0], [slant[k], x_scale[k]]]
        start = np.array([13.5, 13.5]) + np.array(matrix) @ [side[0], side[0]]
        step = np.array(matrix) * (side[1] - side[0])
        shape = (CANVAS, CANVAS)
        result[k] = ndimage.affine_transform(
            image / np.float32(255), step, start, shape, order=1, prefilter=False
        )
    blur = draw.rng.choice([0.5, 1, 1.6])
    result = ndimage.gaussian_filter(result, (0, blur, blur))
    level = draw.between(0.2, 0.6)
    soft = draw.between(0.25, np.minimum(1, 2 * level))  # so that paper stays paper
    ink = np.clip((result - level[:, None, None]) / soft[:, None, None] + 0.5, 0, 1)
    return uneven(ink / ink.max(axis=(1, 2), keepdims=True), draw)


def formatted(inks):
    """Return inks (n, height, width) in MNIST's format, uint8 (n, 28, 28)."""
    return np.stack([to_mnist_format(ink) for ink in inks])


def digit_inks(label, draw):
    """Return the ink of generated digits of one class, float32 (n, CANVAS, CANVAS)."""
    return drawn(deformed(paths(DIGITS[label](draw)), draw), draw)


def digits(n, seed):
    """Return `n` generated digits, uint8 (n, 28, 28), and their labels, int64 (n,).

    0 and 1, whose shapes differ most between writers, are twice as frequent as each of the others.
    """
    rng, labels = np.random.default_rng(seed), np.resize([*range(10), 0, 1], n)
    images = np.empty((n, 28, 28), dtype=np.uint8)
    for label in np.unique(labels):
        chosen = labels == label
        images[chosen] = formatted(digit_inks(label, Draw(rng, chosen.sum())))
    return images, labels


def restyled_digits(n, seed, images, labels):
    """Return `n` of MNIST's images, uint8 (N, 28, 28), restyled, and their labels."""
    rng = np.random.default_rng(seed)
    chosen, done = rng.integers(0, len(images), n), []
    for some in np.array_split(chosen, -(-n // 500)):
        done.append(formatted(restyled(images[some], Draw(rng, len(some)))))
    return np.concatenate(done), labels[chosen]
