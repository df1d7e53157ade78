"""Views: hypotheses of which pixels of a picture are ink.

No single estimate of paper fits every picture. So there are several: the shade of the picture's
border, local medians at two scales, and an opening. Each of them, with ink darker or lighter than
paper and at three levels of contrast, is a view; so is each without straight lines, and without
frames. A view that takes most of the picture, or of its border, for ink is left out.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

LEVELS = (0.5, 0.25, 0.12)  # of the largest contrast
EVERYWHERE = np.ones((3, 3))  # neighbours across corners count


def signals(shades):
    """Return one or two grey images of a picture, float (height, width), in logarithms of shades.

    The mean of red, green and blue, and, if it differs from that, the direction in which colours
    vary most around their local mean (the first principal component).
    """
    logs = np.log(shades + 16)
    step = max(1, max(logs.shape) // 200)
    few = logs[::step, ::step]
    side = 0.3 * max(few.shape)
    away = few - ndimage.uniform_filter(few, (side, side, 0), mode="nearest")
    window = np.outer(*(np.hanning(n + 2)[1:-1] ** 2 for n in few.shape[:2]))
    moments = np.einsum("yx,yxi,yxj->ij", window, away, away)
    direction = np.linalg.eigh(moments)[1][:, -1]
    direction = direction / np.abs(direction).sum()
    ways = [np.ones(3) / 3] + ([direction] if abs(direction.sum()) < 0.9 else [])
    return [logs @ way.astype(np.float32) for way in ways]


def papers(signal):
    """Yield estimates of paper: of the border, and of the surroundings, near and far."""
    yield np.median(border_of(signal))
    for share, side in ((0.15, 80), (0.4, 48)):
        step = max(1, -(-max(signal.shape) // side))
        few = ndimage.uniform_filter(signal, step, mode="nearest")
        few = few[step // 2 :: step, step // 2 :: step]
        few = ndimage.median_filter(few, max(3, round(share * max(few.shape))), mode="nearest")
        yield np.asarray(Image.fromarray(few).resize(signal.shape[::-1], Image.Resampling.BILINEAR))


def border_of(values):
    """Return the values (height, width) along the border, in one row."""
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def rises(signal):
    """Yield (sign, rise): how far each pixel may differ from paper, darker (-1) or lighter (1).

    The last estimate of paper is an opening: what is wider than it is paper. Between strokes the
    paper is narrow, too, so what has the border's shade is left out there.
    """
    for paper in papers(signal):
        for sign in (-1, 1):
            yield sign, np.maximum(sign * (signal - paper), 0)
    width = round(0.25 * max(signal.shape))
    border = np.median(border_of(signal))
    for sign in (-1, 1):
        opened = ndimage.grey_opening(sign * signal, (width, width), mode="nearest")
        yield sign, np.clip(sign * (signal - border), 0, sign * signal - opened)


class View(NamedTuple):
    """A hypothesis of which pixels are ink."""

    margin: int  # pixels added around the picture
    sign: int  # of ink: -1 darker than paper, 1 lighter
    contrast: np.ndarray  # float (height, width), proportional to the light that ink takes or adds
    rise: np.ndarray  # float (height, width), in logarithms
    ink: np.ndarray  # float (height, width): contrast where there is any
    left_out: np.ndarray  # bool (height, width): the lines or frames that are left out
    numbers: np.ndarray  # int (height, width): the parts that are connected, 0 for paper
    places: list  # of the parts: slices
    amounts: np.ndarray  # of the parts: the sum of contrast


def views_of(shades, noise, margin=0):
    """Yield Views of shades, float (height, width, 3), of a picture with a margin around it."""
    floor = max(0.03, 4 * noise / (np.median(shades) + 16))
    for sign, rise in (pair for signal in signals(shades) for pair in rises(signal)):
        least = max(floor, min(5 * np.quantile(rise[::3, ::3], 0.75), 0.3))
        if rise.max() < least:
            continue
        contrast = 1 - np.exp(-rise) if sign < 0 else np.expm1(rise)
        levels = [level * contrast.max() for level in LEVELS]
        ink = contrast * ((contrast > levels[-1]) & (rise > least))
        for level in levels:
            mask = (contrast > level) & (rise > least)
            if mask.mean() > 0.5 or border_of(mask).mean() > 0.5:
                continue
            for lines in lines_to_leave_out(mask):
                numbers, count = ndimage.label(mask & ~lines, EVERYWHERE)
                amounts = np.bincount(numbers.flat, contrast.flat, count + 1)[1:]
                places = ndimage.find_objects(numbers)
                yield View(
                    margin, sign, contrast, rise, ink, mask & lines, numbers, places, amounts
                )


def lines_to_leave_out(mask):
    """Yield masks of what may be no part of a digit: nothing, straight lines, and frames."""
    yield np.zeros_like(mask)
    lines = lines_in(mask, 0.8) | lines_in(mask.T, 0.8).T
    if lines.any():
        yield lines
    frames = frames_in(mask)
    if frames.any():
        yield frames


def frames_in(mask):
    """Return the mask of what lies around the holes of the largest parts of a mask.

    If a digit touches its frame, the frame has several holes, and the digit is inside their box. If
    what is there is much smaller than the frame, it belongs to the frame.
    """
    numbers, _ = ndimage.label(mask, EVERYWHERE)
    places = ndimage.find_objects(numbers)
    frames = np.zeros_like(mask)
    for k in sorted(range(len(places)), key=lambda k: -size_of(places[k]))[:3]:
        part = numbers[places[k]] == k + 1
        holes = ndimage.binary_fill_holes(part) & ~part
        if holes.any():
            inner = most_of(holes.sum(axis=1)), most_of(holes.sum(axis=0))
            inside, _ = ndimage.label(part[inner], EVERYWHERE)
            sizes = map(size_of, ndimage.find_objects(inside) if inside.any() else ())
            if max(sizes, default=0) > 0.3 * size_of(places[k]):
                part[inner] = False
            frames[places[k]] |= part
    return frames


def most_of(counts):
    """Return the slice between the first and the last of counts above half of the largest one."""
    high = np.flatnonzero(counts > counts.max() / 2)
    return slice(high[0] + 1, high[-1])


def size_of(place):
    """Return the longer side of slices."""
    return max(piece.stop - piece.start for piece in place)


def lines_in(mask, share):
    """Return the mask of straight thin lines, near the horizontal, that cross a mask.

    The middles of short vertical runs vote for lines (Hough's transform). A line has votes in that
    share of the columns, or there are three that are parallel and have half of it. Where a stroke
    crosses a line, the run is longer, and stays.
    """
    height, width = mask.shape
    padded = np.zeros((height + 2, width), dtype=np.int8)
    padded[1:-1] = mask
    steps = np.diff(padded, axis=0).T
    columns, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    lengths = ends - starts
    thin = lengths <= max(3, 0.05 * max(height, width))
    columns, starts, ends, lengths = (part[thin] for part in (columns, starts, ends, lengths))
    lines = np.zeros_like(mask)
    if not len(columns):
        return lines
    middles = (starts + ends) / 2
    best = None
    for slope in np.arange(-0.12, 0.12, 3 / width):
        levels = np.round((middles - slope * (columns - width / 2)) / 2).astype(int)
        levels -= levels.min()
        votes = np.bincount(levels)
        votes[1:] += votes[:-1].copy()
        strong = votes >= share * width
        half = votes >= share * width / 2
        if half.sum() >= 6:
            strong = half
        total = (votes[strong].astype(float) ** 2).sum()
        if strong.any() and (best is None or total > best[0]):
            best = total, strong[levels] | np.append(strong, False)[levels + 1]
    if best is None:
        return lines
    on_line = best[1]
    usual = np.median(lengths[on_line])
    on_line &= lengths <= 1.5 * usual + 1
    np.add.at(
        steps := np.zeros((height + 1, width), dtype=int), (starts[on_line], columns[on_line]), 1
    )
    np.add.at(steps, (ends[on_line], columns[on_line]), -1)
    return steps[:-1].cumsum(axis=0) > 0
