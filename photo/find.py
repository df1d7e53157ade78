"""Find the handwritten digits in a photograph: where they are, and how much ink is where.

`find_digits` estimates the paper where it is, so that uneven light matters little; takes for ink
what differs from the paper, in whatever colour; and leaves out what is no digit: specks, blots,
ruled lines, frames, and what belongs to the picture's border.
"""

import itertools
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

LARGE, SMALL = 1000, 200  # pixels: the longer side is reduced, or enlarged, to at most these
EVERYWHERE = np.ones((3, 3))  # neighbours across corners count


class Found(NamedTuple):
    """A digit: its ink, float (height, width) in [0, 1], and its box in the picture.

    The box is (left, top, right, bottom) in shares of the picture's width and height.
    """

    ink: np.ndarray
    box: tuple


class Part(NamedTuple):
    """A connected part of a mask."""

    number: int
    place: tuple  # two slices: where it is
    mask: np.ndarray  # bool, of that place
    area: int  # pixels
    thick: float  # pixels, of its thickest stroke
    contrast: float  # mean, in [0, 1]
    touched: tuple  # shares of the picture's top, bottom, left and right border that it covers

    @property
    def size(self):
        return max(self.mask.shape)

    @property
    def score(self):
        """How much of a digit it may be: large, strong, and free of the picture's border."""
        return np.sqrt(self.area * self.size) * self.contrast * (0.5 if any(self.touched) else 1)


class Search(NamedTuple):
    """The digits found in a map of contrast, each a list of Parts, and the lines left out."""

    digits: list
    lines: np.ndarray
    contrast: np.ndarray

    @property
    def score(self):
        return self.digits[0][0].score


def shades_of(image):
    """Return the shades of a PIL image upright, float (height, width, 3) in [0, 255].

    The longer side is reduced to at most 1,000 pixels; one of 100 or less is enlarged by a whole
    factor to at most 200. A JPEG that is not loaded yet is decoded at a lower resolution. Raises
    ValueError for NaN or infinity.
    """
    image.draft(None, (LARGE, LARGE))
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
    noise = np.median(np.abs(checks)) / 2 / 0.6745 if checks.size else 0.0
    width = noise / 8
    if width < 0.4:
        return shades, noise
    return ndimage.gaussian_filter(shades, (width, width, 0)), noise / (2 * np.sqrt(np.pi) * width)


def ink_direction(logs, shades):
    """Return the direction, (3,), in which ink differs from paper, of logarithms of shades.

    The first principal component of the differences from the local mean. Ink covers less than
    paper does, so it lies further from that mean: the skewness along the axis gives the sign. What
    is near the border counts little.
    """
    step = max(1, max(logs.shape) // 300)
    side = 0.3 * max(logs.shape) / step
    window = np.outer(*(np.hanning(n + 2)[1:-1] ** 2 for n in logs[::step, ::step].shape[:2]))

    def away(values):
        values = values[::step, ::step]
        return values - ndimage.uniform_filter(values, (side, side, 0), mode="nearest")

    moments = np.einsum("yx,yxi,yxj->ij", window, away(logs), away(logs))
    direction = np.linalg.eigh(moments)[1][:, -1]
    along = away(shades) @ direction
    return direction / np.abs(direction).sum() * (np.sign((window * along**3).sum()) or 1)


def contrast_of(signal, width, darker):
    """Return how far a signal of logarithms rises above the paper, and the contrast in [0, 1].

    The paper is the opening of the signal by a square: what is wider than that is paper. `darker`
    says that ink is darker than the paper.
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


def borders_at(place, shape):
    """Return whether slices start or end at the top, bottom, left and right of a shape."""
    (rows, columns), (height, width) = place, shape
    return rows.start == 0, rows.stop == height, columns.start == 0, columns.stop == width


def parts_of(mask, contrast):
    """Return the connected parts of a mask that are more than specks."""
    numbers, _ = ndimage.label(mask, EVERYWHERE)
    parts = []
    for number, place in enumerate(ndimage.find_objects(numbers), start=1):
        own = numbers[place] == number
        if max(own.shape) < 4:
            continue
        thick = 2 * ndimage.distance_transform_edt(np.pad(own, 1)).max() - 1
        strength = contrast[place][own].mean()
        ends = (own[0], own[-1], own[:, 0], own[:, -1])
        touched = tuple(
            end.sum() / across if at_border else 0.0
            for end, across, at_border in zip(
                ends, np.repeat(mask.shape[::-1], 2), borders_at(place, mask.shape), strict=True
            )
        )
        parts.append(Part(number, place, own, int(own.sum()), thick, strength, touched))
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


def belongs_to_the_border(part, side):
    """Say whether a part is of the picture's border: a desk, a scan's edge, a line across."""
    top, bottom, left, right = part.touched
    across = (top and bottom) or (left and right)
    thin = part.thick < 0.05 * side
    return max(part.touched) > 0.8 or bool(across and (thin or np.count_nonzero(part.touched) > 2))


def is_a_blot(part):
    """Say whether a part is about as wide as long, without strokes."""
    return part.area < 1.12 * part.thick**2


def within(place, outer):
    """Return slices relative to other slices."""
    return tuple(
        slice(inner.start - around.start, inner.stop - around.start)
        for inner, around in zip(place, outer, strict=True)
    )


def encloses(outer, inner):
    """Say whether a part is a frame around another one of some size."""
    if outer.number == inner.number or inner.size < 0.15 * outer.size:
        return False
    edges = zip(outer.place, inner.place, strict=True)
    if not all(a.start < b.start and b.stop < a.stop for a, b in edges):
        return False
    filled = ndimage.binary_fill_holes(outer.mask)[within(inner.place, outer.place)]
    return (filled & inner.mask).sum() > 0.9 * inner.area


def belongs(part, main, away):
    """Say whether a part is a piece of a digit, such as the bar of a five.

    `away` is the least distance between the two, in pixels.
    """
    (height, width), columns, others = part.mask.shape, part.place[1], main.place[1]
    shared = min(columns.stop, others.stop) - max(columns.start, others.start)
    another = height > 0.6 * main.mask.shape[0] and shared < 0.3 * width  # beside it
    large = part.size > 0.15 * main.size and not is_a_blot(part)
    return away < 0.2 * main.size and large and not another


def joins(part, other, away):
    """Say whether a part goes on where another one ends, as the halves of a broken stroke do."""
    return away < max(0.6 * other.thick, 0.04 * other.size) and part.size > other.thick


def is_of_the_pen(part, main):
    """Say whether a part has about the contrast and the stroke of a digit."""
    return part.contrast > 0.5 * main.contrast and 0.3 < part.thick / main.thick < 1.6


def distances_from(other, limit):
    """Return a function: the least distance of a part from another one, in pixels.

    Infinity for a part that is wholly beyond the limit, up and down or to the side.
    """
    margin = int(limit) + 2
    away = ndimage.distance_transform_edt(~np.pad(other.mask, margin))
    top, left = (piece.start - margin for piece in other.place)

    def distance(part):
        ys, xs = np.nonzero(part.mask)
        ys, xs = ys + part.place[0].start - top, xs + part.place[1].start - left
        near = (ys >= 0) & (xs >= 0) & (ys < away.shape[0]) & (xs < away.shape[1])
        return away[ys[near], xs[near]].min() if near.any() else np.inf

    return distance


def grouped(parts, side):
    """Return lists of parts, a list for each digit, the most likely digit first.

    `side` is the picture's longer side.
    """
    parts = [part for part in parts if not belongs_to_the_border(part, side)]
    likely = [part for part in parts if part.size >= max(10, 0.025 * side) and not is_a_blot(part)]
    likely = [part for part in likely if not any(encloses(part, other) for other in likely)]
    groups, taken = [], set()
    for main in sorted(likely, key=lambda part: -part.score):
        if main.number in taken:
            continue
        group = [main]
        taken.add(main.number)
        for member in group:  # which grows
            distance = distances_from(member, limit=0.3 * main.size)
            for part in parts:
                if part.number in taken or part.size > 1.5 * main.size:
                    continue
                away = distance(part)
                piece = member is main and belongs(part, main, away)
                if is_of_the_pen(part, main) and (piece or joins(part, member, away)):
                    group.append(part)
                    taken.add(part.number)
        groups.append(group)
    return groups


def candidates(contrast, level):
    """Return the groups of parts above a level of contrast, and the mask of lines left out."""
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
    return grouped(parts, max(mask.shape)), lines


def stands_on_paper(part, signal, rise, lines):
    """Say whether a part ends where its ink does, and not only because the paper is misjudged.

    That happens where a stroke is too wide for the paper's estimate, and in a hole of a digit: ink
    goes on along more of the outline than half the thickness of a stroke.
    """
    place = tuple(slice(max(piece.start - 3, 0), piece.stop + 3) for piece in part.place)
    own = np.zeros(signal[place].shape, dtype=bool)
    own[within(part.place, place)] = part.mask
    around = ndimage.binary_dilation(own, EVERYWHERE, iterations=3) & ~own & ~lines[place]
    least = np.median(signal[place][own]) - 0.3 * np.median(rise[place][own])
    runs, _ = ndimage.label(around & (signal[place] > least), EVERYWHERE)
    return np.bincount(runs.flat)[1:].max(initial=0) / 3 < 0.5 * part.thick


def is_ink(part, contrast, rise, side):
    """Say whether a part is too dark for a shadow, or has sharper edges than a shadow has.

    What touches the picture's border, where the paper is known worst, has to be large and dark;
    what is faint and small may be the grain of the paper.
    """
    height = np.median(rise[part.place][part.mask])
    faint = height < 0.7  # as shadows are, that halve the light
    if sum((any(part.touched), faint, part.size < 0.1 * side)) > 1:
        return False
    if height > 1.2:
        return True
    rows, columns = np.gradient(np.pad(contrast[part.place], 1, mode="edge"))
    edge = part.mask & ~ndimage.binary_erosion(part.mask, EVERYWHERE)
    slope = np.median(np.hypot(rows, columns)[1:-1, 1:-1][edge]) / part.contrast
    profile = slope * part.thick / 2  # half a stroke's width against that of its edge
    if height > 0.4 and profile > 0.85 and part.area > 4.5 * part.thick**2:
        return True  # a long stroke, out of focus
    if faint:
        sharp = slope > 1 / 4 or (slope > 1 / 6 and profile > 2.2)
        return sharp and part.area > 3 * part.thick**2
    return slope > 1 / 6 or profile > 1.1


def search(signal, width, darker, floor):
    """Return the best Search of a signal over several levels of contrast, or None.

    `width` is of the square that estimates the paper; a rise below `floor` is noise. The grain
    of the paper is noise too: five times the upper quartile, which is about 3.4 std.
    """
    rise, contrast = contrast_of(signal, width, darker)
    floor = max(floor, min(5 * np.quantile(rise[::3, ::3], 0.75), 0.3))
    if rise.max() < floor:
        return None
    least, best = min(contrast[rise >= floor].min(), 0.5 * contrast.max()), None
    for level in contrast.max() * np.array([0.5, 0.25, 0.12]):
        if level < least:
            break
        digits, lines = candidates(contrast, level)
        digits = [
            group
            for group in digits
            if is_ink(group[0], contrast, rise, max(signal.shape))
            and stands_on_paper(group[0], signal, rise, lines)
        ]
        found = Search(digits, lines, contrast)
        if digits and (best is None or found.score > 1.15 * best.score):
            best = found
    return best


def is_like(part, first):
    """Say whether a part may be a digit beside a first one: of its size, stroke and ink."""
    return (
        part.size > 0.5 * first.size
        and part.area > 0.2 * first.area
        and 0.4 < part.thick / first.thick < 2.5
        and part.contrast > 0.65 * first.contrast
        and not any(part.touched)
    )


def find_digits(image):
    """Return the digits of a PIL image as a list of Found, from left to right.

    The paper is estimated finely first, which follows the edges of shadows, then coarsely, for
    small pictures and wide strokes; ink lies in the likelier direction of the two from the paper,
    or in the other.
    Raises ValueError for an image without a digit.
    """
    shades, noise = without_noise(shades_of(image))
    logs = np.log(shades + 16)
    direction = ink_direction(logs, shades)
    floor = max(0.04, 4 * noise / (np.median(shades) + 16))
    if max(np.ptp(logs, axis=(0, 1))) < floor:
        raise ValueError("expected a digit, got an image of one shade")
    if max(image.size) < 8:
        raise ValueError(f"expected a digit, got {image.width}x{image.height} pixels")
    shares = (0.12, 0.3, 0.6) if max(image.size) > SMALL / 2 else (0.3, 0.6)
    for way, share in itertools.product((direction, -direction), shares):
        width = round(share * max(shades.shape))
        found = search(logs @ way, width, way.sum() < 0, floor)
        if found:
            first, *others = found.digits
            others = [group for group in others if is_like(group[0], first[0])]
            digits = sorted([first, *others], key=lambda group: group[0].place[1].start)
            return [digit_of(group, found) for group in digits]
    raise ValueError("expected a digit, got nothing that looks like one")


def digit_of(group, found):
    """Return a group of parts as Found: its ink, thin strokes thickened, and its box."""
    _, lines, contrast = found
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
