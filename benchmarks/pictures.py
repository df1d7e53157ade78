"""What pictures of digits are made of: a digit, a paper, an ink, a light and a camera."""

import io
import itertools
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")
FACES = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "DejaVuSans-Bold", "STIXGeneral", "cmss10")
HEIGHT, WIDTH = 600, 800
Y, X = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
WHITE, GREY, BLACK, BLUE = (235, 232, 225), (200, 200, 196), (45, 45, 60), (40, 60, 150)


# A digit as ink on a page: coverage in [0, 1]


def enlarged(digit, size, low=0.35, high=0.55):
    """Enlarge one of MNIST's digits; `low` and `high` set the width and edges of its strokes."""
    large = Image.fromarray(digit).resize((size, size), Image.Resampling.BICUBIC)
    return np.clip((np.asarray(large, dtype=float) / 255 - low) / (high - low), 0, 1)


def set_in(face, digit, size):
    """Draw a digit of a font in the middle of a square."""
    image = Image.new("L", (size, size))
    font = ImageFont.truetype(str(FONTS / f"{face}.ttf"), round(0.95 * size))
    draw = ImageDraw.Draw(image)
    draw.text((size / 2, size / 2), str(digit), fill=255, font=font, anchor="mm")
    return np.asarray(image, dtype=float) / 255


class Glyph:
    """A digit that can be drawn at any size: glyph(size) is its ink, float (size, size)."""

    def __init__(self, label, pixels=None, face=None):
        self.label, self.pixels, self.face = label, pixels, face

    def __call__(self, size, **stroke):
        if self.face:
            return set_in(self.face, self.label, size)
        return enlarged(self.pixels, size, **stroke)

    def line(self, size, width):
        """Draw the digit with a pen of that many pixels: along the middle of its strokes."""
        middle = thinned(ndimage.gaussian_filter(self(size), 2) > 0.5)
        return np.clip(width / 2 + 0.5 - ndimage.distance_transform_edt(~middle), 0, 1)


def glyphs_of(data, labels, rng):
    """Yield digits without end: three of the set, then one of a font."""
    for k, index in enumerate(itertools.cycle(rng.permutation(len(data)))):
        if k % 4 == 3:
            yield Glyph(int(rng.integers(10)), face=FACES[rng.integers(len(FACES))])
        else:
            yield Glyph(int(labels[index]), data[index].numpy())


def thinned(mask):
    """Thin a mask to lines of one pixel (Zhang and Suen, 1984)."""
    mask = np.pad(mask, 1).astype(np.uint8)
    around = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]
    while True:
        before = mask.sum()
        for first, second in (((0, 2, 4), (2, 4, 6)), ((0, 2, 6), (0, 4, 6))):
            p = np.stack([np.roll(mask, (-y, -x), (0, 1)) for y, x in around])
            turns = ((p == 0) & (np.roll(p, -1, axis=0) == 1)).sum(axis=0)
            count = p.sum(axis=0)
            ends = (p[list(first)].prod(axis=0) == 0) & (p[list(second)].prod(axis=0) == 0)
            mask[(count >= 2) & (count <= 6) & (turns == 1) & ends] = 0
        if mask.sum() == before:
            return mask[1:-1, 1:-1].astype(bool)


def disc(radius):
    """Return the footprint of a round pen."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return x**2 + y**2 <= radius**2


def page(ink, y=150, x=250, shape=(HEIGHT, WIDTH)):
    """Put ink on an empty page, at a place that may lie partly outside."""
    padded = np.zeros([side + 2 * max(ink.shape) for side in shape])
    top, left = y + max(ink.shape), x + max(ink.shape)
    padded[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return padded[max(ink.shape) : -max(ink.shape), max(ink.shape) : -max(ink.shape)]


def somewhere(glyph, rng, size=300):
    """Put a digit anywhere on a page."""
    return page(glyph(size), rng.integers(0, HEIGHT - size), rng.integers(0, WIDTH - size))


def ruled(rng, distance, width, turn=0.0, squared=False):
    """Return the coverage of ruled, or squared, paper turned by some degrees."""
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    ways = [Y * cos + X * sin, X * cos - Y * sin][: 1 + squared]
    shift = rng.uniform(0, distance)
    return np.max([((way + shift) % distance < width).astype(float) for way in ways], axis=0)


def outline(top, bottom, left, right, width):
    """Return the coverage of a box's outline on a page; its sides and their width in pixels."""
    box = np.zeros((HEIGHT, WIDTH))
    box[top:bottom, left:right] = 1
    return box - ndimage.binary_erosion(box, iterations=int(width))


# Paper, light and camera: float (height, width, 3) of shades in [0, 255]


def painted(ink, paper=WHITE, colour=BLACK, light=1.0):
    """Paint ink of a colour on paper of a colour, under light that falls unevenly."""
    paper = np.broadcast_to(np.asarray(paper, dtype=float), (*ink.shape, 3))
    shades = paper * (1 - ink[..., None]) + np.asarray(colour, dtype=float) * ink[..., None]
    return shades * np.broadcast_to(light, ink.shape)[..., None]


def lights(rng):
    """Return light that falls unevenly, of one of seven kinds: float (height, width)."""
    y, x = rng.uniform(0, HEIGHT), rng.uniform(0, WIDTH)
    depth, choice = rng.uniform(0.1, 0.5), rng.integers(7)
    if choice < 2:
        return 1 - 1.4 * depth * (X / WIDTH if choice else Y / HEIGHT)
    if choice == 2:
        return 1 - 1.6 * depth * ((X / WIDTH - 0.5) ** 2 + (Y / HEIGHT - 0.5) ** 2) / 0.5
    if choice == 3:
        return 1 - depth * np.clip((X - x + rng.uniform(-1, 1) * Y) / 60, 0, 1)
    if choice == 4:
        return 1 - depth * ndimage.gaussian_filter((x < X + 0.3 * Y).astype(float), 1)
    if choice == 5:
        return 0.3 + 0.7 * np.exp(-((X - x) ** 2 + (Y - y) ** 2) / (2 * 260**2))
    return 1 - depth * ndimage.gaussian_filter((smooth_noise(X.shape, 70, rng) > 0.4) * 1.0, 6)


def smooth_noise(shape, size, rng):
    """Return noise of a grain of that many pixels, with std 1."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), size)
    return (noise - noise.mean()) / noise.std()


def camera(shades, rng, noise=3.0, colour_noise=0.0, blur=0.0):
    """Photograph shades: blurred by the lens, with the sensor's noise."""
    shades = ndimage.gaussian_filter(shades, (blur, blur, 0)) if blur else shades
    shades = shades + rng.normal(0, noise, shades.shape[:2])[..., None]
    shades = shades + (rng.normal(0, colour_noise, shades.shape) if colour_noise else 0)
    return Image.fromarray(np.clip(shades, 0, 255).astype(np.uint8))


def jpeg(image, quality):
    """Return an image as it comes back from a JPEG file."""
    file = io.BytesIO()
    image.save(file, "jpeg", quality=quality)
    return Image.open(file)


def seen_askew(image, rng, share):
    """Return an image as a camera that is not above the paper sees it."""
    (width, height), move = image.size, rng.uniform(0, share, 8)
    x, y = width * np.abs([0, 0, 1, 1] - move[:4]), height * np.abs([0, 1, 1, 0] - move[4:])
    corners = tuple(np.stack([x, y], axis=1).ravel())
    return image.transform(image.size, Image.Transform.QUAD, corners, Image.Resampling.BICUBIC)
