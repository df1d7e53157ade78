"""Find the handwritten digits in a photograph: where they are, and how much ink is where.

`find_digits` estimates the paper where it is, so that uneven light matters little; takes for ink
what differs from the paper, in whatever colour; and leaves out what is no digit: specks, blots,
ruled lines, frames, and what belongs to the picture's border.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

LARGE, SMALL = 1000, 200  # pixels: longer side of the pictures that are searched
EVERYWHERE = np.ones((3, 3))  # neighbours across corners count


class Found(NamedTuple):
    """A digit: its ink, float (height, width) in [0, 1], and its box in the picture.

    The box is (left, top, right, bottom) in shares of the picture's width and height.
    """

    ink: np.ndarray
    box: tuple


class Part(NamedTuple):
    """A connected part of a mask: its number, slices, mask, area, thickness and contrast."""

    number: int
    place: tuple
    mask: np.ndarray
    area: int
    thick: float  # of its thickest stroke
    contrast: float
    at_border: bool

    @property
    def size(self):
        return max(self.mask.shape)

    @property
    def score(self):
        return np.sqrt(self.area * self.size * self.contrast) * (0.5 if self.at_border else 1)


def shades_of(image):
    """Return the shades of a PIL image upright, float (height, width, 3) in [0, 255].

    Reduced or enlarged so that the longer side has 200 to 1,000 pixels. Raises ValueError for
    shades that are no numbers.
    """
    image = ImageOps.exif_transpose(image)
    factor = -(-max(image.size) // LARGE)
    if image.mode.startswith(("I", "F")):
        shades = np.asarray(image, dtype=np.float64)
        if not np.isfinite(shades).all():
            raise ValueError("expected finite shades, got NaN or infinity")
        shades = shades - min(shades.min(), 0)
        image = Image.fromarray((shades * (255 / (shades.max() or 1))).astype(np.float32))
        bands = [image.reduce(factor)] * 3
    else:
        bands = rgb(image).reduce(factor).split()
    factor = max(1, SMALL // max(image.size))
    if factor > 1:
        size = [side * factor for side in bands[0].size]
        bands = [band.resize(size, Image.Resampling.BICUBIC) for band in bands]
    return np.clip(np.stack([np.asarray(band, dtype=np.float32) for band in bands], axis=2), 0, 255)


def rgb(image):
    """Return a PIL image in RGB, what is transparent on paper."""
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = on_paper(image.convert("RGBA"))
    return image.convert("RGB")


def on_paper(image):
    """Return an RGBA image on white where what is drawn is dark, on black where it is light."""
    *_, alpha = image.split()
    shades = np.asarray(image.convert("L"), dtype=np.float64)
    weights = np.asarray(alpha, dtype=np.float64)
    dark = (shades * weights).sum() <= 127.5 * weights.sum()
    paper = Image.new("RGBA", image.size, "white" if dark else "black")
    return Image.alpha_composite(paper, image)


def without_noise(shades):
    """Return shades smoothed to their level of noise, and the noise's std that is left."""
    for _ in range(3):
        grey = shades.mean(axis=2)
        others = EVERYWHERE.copy()
        others[1, 1] = 0
        high = ndimage.maximum_filter(grey, footprint=others)
        low = ndimage.minimum_filter(grey, footprint=others)
        if ((grey > high + 20) | (grey < low - 20)).mean() < 0.002:
            break
        shades = ndimage.median_filter(shades, (3, 3, 1))
    grey = shades.mean(axis=2)
    checks = grey[1:, 1:] - grey[1:, :-1] - grey[:-1, 1:] + grey[:-1, :-1]
    noise = np.median(np.abs(checks)) / 2 / 0.6745
    width = noise / 8
    if width < 0.4:
        return shades, noise
    return ndimage.gaussian_filter(shades, (width, width, 0)), noise / (2 * np.sqrt(np.pi) * width)


def ink_direction(logs):
    """Return the direction, (3,), in which ink differs from paper, of logarithms of shades.

    The main axis of the differences from the mean around. Ink being less than paper, its
    differences are the larger ones, which gives the sign. What is near the border counts little.
    """
    step = max(1, max(logs.shape) // 300)
    logs = logs[::step, ::step]
    side = 0.3 * max(logs.shape)
    away = logs - ndimage.uniform_filter(logs, (side, side, 0), mode="nearest")
    window = np.outer(*(np.hanning(length + 2)[1:-1] ** 2 for length in logs.shape[:2]))
    moments = np.einsum("yx,yxi,yxj->ij", window, away, away)
    direction = np.linalg.eigh(moments)[1][:, -1]
    along = away @ direction
    return direction / np.abs(direction).sum() * (np.sign((window * along**3).sum()) or 1)


def contrast_of(signal, width, darker):
    """Return how far a signal of logarithms rises above the paper, and the contrast in [0, 1].

    The paper is the opening of the signal by a square: what is wider than that is paper.
    """
    paper = ndimage.grey_opening(signal, (width, width), mode="nearest")
    rise = signal - paper
    rise = np.maximum(rise - np.median(rise[::3, ::3]), 0)
    if darker:
        return rise, 1 - np.exp(-rise)
    return rise, np.expm1(rise) / max(np.expm1(rise.max()), 1e-6)


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
    thin = lengths <= max(2, 0.03 * max(height, width))
    columns, starts, ends, lengths = (part[thin] for part in (columns, starts, ends, lengths))
    lines = np.zeros_like(mask)
    if not len(columns):
        return lines
    middles = (starts + ends) / 2
    best = None
    for slope in np.arange(-0.12, 0.12, 2 / width):
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
    for column, start, end in zip(columns[on_line], starts[on_line], ends[on_line], strict=True):
        lines[start:end, column] = True
    return lines


def all_lines(mask, share):
    """Return the mask of the lines near the horizontal and the vertical, each searched alone."""
    return lines_in(mask, share), lines_in(mask.T, share).T


def parts_of(mask, contrast):
    """Return the connected parts of a mask that are more than specks."""
    numbers, _ = ndimage.label(mask, EVERYWHERE)
    parts = []
    least = max(4, 0.004 * max(mask.shape))
    for number, place in enumerate(ndimage.find_objects(numbers), start=1):
        own = numbers[place] == number
        if max(own.shape) < least:
            continue
        thick = 2 * ndimage.distance_transform_edt(np.pad(own, 1)).max() - 1
        at_border = any(
            piece.start == 0 or piece.stop == side
            for piece, side in zip(place, mask.shape, strict=True)
        )
        strength = contrast[place][own].mean()
        parts.append(Part(number, place, own, int(own.sum()), thick, strength, at_border))
    return parts


def is_a_box(part):
    """Say whether a part has straight thin lines on at least three of its four sides."""
    height, width = part.mask.shape
    if min(height, width) < 20:
        return False
    flat, steep = all_lines(part.mask, 0.8)
    y, x = max(3, 0.12 * height), max(3, 0.12 * width)
    sides = flat[: int(y)], flat[-int(y) :], steep[:, : int(x)], steep[:, -int(x) :]
    covered = [side.any(axis=k // 2).mean() > 0.7 for k, side in enumerate(sides)]
    return sum(covered) >= 3


def belongs_to_the_border(part, shape):
    """Say whether a part is of the picture's border: a desk, a scan's edge, a line across."""
    touched = []
    for axis in (0, 1):
        for end in (0, -1):
            at_border = (
                part.place[axis].start == 0 if end == 0 else part.place[axis].stop == shape[axis]
            )
            along = part.mask.take(end, axis=axis)
            touched.append(along.sum() / shape[1 - axis] if at_border else 0)
    top, bottom, left, right = touched
    across = (top > 0 and bottom > 0) or (left > 0 and right > 0)
    thin = part.thick < 0.05 * max(shape)
    return max(touched) > 0.8 or (across and (thin or sum(t > 0 for t in touched) > 2))


def is_a_blot(part):
    """Say whether a part is about as wide as long, without strokes."""
    return part.area < 1.6 * part.thick**2


def digits_among(parts, shape):
    """Return the parts that look like digits, the most likely first."""
    side = max(shape)
    likely = [
        part
        for part in parts
        if part.size >= max(10, 0.025 * side)
        and not is_a_blot(part)
        and not belongs_to_the_border(part, shape)
    ]
    kept = [part for part in likely if not any(encloses(part, other) for other in likely)]
    return sorted(kept, key=lambda part: -part.score)


def encloses(outer, inner):
    """Say whether a part is a frame around another one of some size."""
    if outer.number == inner.number or inner.size < 0.15 * outer.size:
        return False
    if not all(
        a.start < b.start and b.stop < a.stop for a, b in zip(outer.place, inner.place, strict=True)
    ):
        return False
    filled = ndimage.binary_fill_holes(outer.mask)
    place = tuple(
        slice(b.start - a.start, b.stop - a.start)
        for a, b in zip(outer.place, inner.place, strict=True)
    )
    return (filled[place] & inner.mask).sum() > 0.9 * inner.area


def belongs(part, main, away):
    """Say whether a part is a piece of a digit: the bar of a five, the other half of a stroke.

    `away` is the least distance between the two, in pixels.
    """
    if part.contrast < 0.5 * main.contrast or not 0.3 < part.thick / main.thick < 1.6:
        return False
    if away < 0.6 * main.thick and part.size > main.thick:
        return True
    across = min(part.place[1].stop, main.place[1].stop) - max(
        part.place[1].start, main.place[1].start
    )
    side_by_side = (
        part.mask.shape[0] > 0.6 * main.mask.shape[0] and across < 0.3 * part.mask.shape[1]
    )
    return (
        away < 0.2 * main.size
        and part.size > 0.15 * main.size
        and not is_a_blot(part)
        and not side_by_side
    )


def grouped(parts, shape):
    """Return lists of parts, a list for each digit, the most likely digit first."""
    groups, taken = [], set()
    parts = [part for part in parts if not belongs_to_the_border(part, shape)]
    for main in digits_among(parts, shape):
        if main.number in taken:
            continue
        group, margin = [main], int(0.3 * main.size) + 2
        taken.add(main.number)
        top, left = (piece.start - margin for piece in main.place)
        away = ndimage.distance_transform_edt(~np.pad(main.mask, margin))
        for part in sorted(parts, key=lambda part: -part.area):
            if part.number in taken or part.size > 1.5 * main.size:
                continue
            ys, xs = np.nonzero(part.mask)
            ys, xs = ys + part.place[0].start - top, xs + part.place[1].start - left
            inside = (ys >= 0) & (xs >= 0) & (ys < away.shape[0]) & (xs < away.shape[1])
            if inside.any() and belongs(part, main, away[ys[inside], xs[inside]].min()):
                group.append(part)
                taken.add(part.number)
        groups.append(group)
    return groups


def candidates(contrast, level):
    """Return groups of parts above a level of contrast, and the mask of the lines left out."""
    mask = contrast > level
    flat, steep = all_lines(mask, 0.8)
    lines = flat | steep
    parts = parts_of(mask & ~lines, contrast)
    boxes = [part for part in parts if part.size > 0.05 * max(mask.shape) and is_a_box(part)]
    if boxes:
        for part in boxes:
            flat, steep = all_lines(part.mask, 0.8)
            lines[part.place] |= part.mask & (flat | steep)
        parts = parts_of(mask & ~lines, contrast)
    return lines, grouped(parts, mask.shape)


def stands_on_paper(part, signal, rise):
    """Say whether what surrounds a part is on the whole its paper, and not ink around a hole."""
    margin = max(3, int(0.5 * part.size))
    place = tuple(slice(max(piece.start - margin, 0), piece.stop + margin) for piece in part.place)
    outside = np.ones(signal[place].shape, dtype=bool)
    inner = tuple(
        slice(b.start - a.start, b.stop - a.start) for a, b in zip(place, part.place, strict=True)
    )
    outside[inner] = False
    if not outside.any():
        return True
    own, own_rise = signal[part.place][part.mask], rise[part.place][part.mask]
    around = signal[place][outside]
    return np.mean(around < np.median(own) - 0.5 * np.median(own_rise)) > 0.5


def find_digits(image):
    """Return the digits of a PIL image as a list of Found, from left to right.

    Raises ValueError for an image without any.
    """
    shades, noise = without_noise(shades_of(image))
    logs = np.log(shades + 16)
    direction = ink_direction(logs)
    signal = logs @ direction
    floor = max(0.04, 4 * noise / (np.median(shades) + 16))
    flat = True
    for sign in (1, -1):
        darker = sign * direction.sum() < 0
        for share in (0.12, 0.3):
            width = round(share * max(signal.shape))
            rise, contrast = contrast_of(sign * signal, width, darker)
            if rise.max() < floor:
                continue
            flat = False
            least = contrast[rise >= floor].min()
            best = None
            for level in (0.5, 0.25, 0.12):
                level *= contrast.max()
                if level < least:
                    continue
                lines, groups = candidates(contrast, level)
                groups = [
                    group for group in groups if stands_on_paper(group[0], sign * signal, rise)
                ]
                if groups and (best is None or groups[0][0].score > 1.15 * best[1][0][0].score):
                    best = lines, groups
            if best and (share == 0.3 or best[1][0][0].thick < 0.75 * width):
                lines, groups = best
                first = groups[0][0]
                alike = [groups[0]] + [
                    group
                    for group in groups[1:]
                    if group[0].size > 0.5 * first.size
                    and group[0].area > 0.2 * first.area
                    and 0.4 < group[0].thick / first.thick < 2.5
                    and group[0].contrast > 0.65 * first.contrast
                    and not group[0].at_border
                ]
                alike.sort(key=lambda group: group[0].place[1].start)
                return [found(group, lines, contrast) for group in alike]
    got = "an image of one shade" if flat else "nothing that looks like one"
    raise ValueError(f"expected a digit, got {got}")


def found(group, lines, contrast):
    """Return a group of parts as a digit."""
    own = np.zeros_like(lines)
    for part in group:
        own[part.place] |= part.mask
    full = np.quantile(contrast[own], 0.75)
    ys, xs = (np.flatnonzero(own.any(axis=axis)) for axis in (1, 0))
    size = max(ys[-1] - ys[0], xs[-1] - xs[0]) + 1
    margin = int(0.1 * size) + 2
    y0, x0 = max(ys[0] - margin, 0), max(xs[0] - margin, 0)
    place = np.s_[y0 : ys[-1] + margin + 1, x0 : xs[-1] + margin + 1]
    own = own[place]
    faint = (contrast[place] > 0.25 * full) & ~ndimage.binary_dilation(lines[place], iterations=2)
    grown = ndimage.binary_propagation(own, EVERYWHERE, mask=faint | own)
    if grown.sum() < 1.7 * own.sum():
        own = grown
    stroke = 4 * ndimage.distance_transform_edt(np.pad(own, 1)).sum() / own.sum()
    near = ndimage.binary_dilation(own, EVERYWHERE, iterations=max(1, round(stroke / 4)))
    ink = np.clip((contrast[place] / full - 0.2) / 0.7, 0, 1) * near
    if stroke < 0.06 * size:
        radius = round((0.09 * size - stroke) / 2)
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        ink = ndimage.grey_dilation(np.pad(ink, radius), footprint=x**2 + y**2 <= radius**2 + 1)
    height, width = contrast.shape
    box = (xs[0] / width, ys[0] / height, (xs[-1] + 1) / width, (ys[-1] + 1) / height)
    return Found(ink, box)
