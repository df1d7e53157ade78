"""Prepare the shades of a picture: upright, reduced to a moderate size, without noise."""

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

LARGE, SMALL = 1000, 200  # pixels, of the longer side: see shades_of and enlarged


def shades_of(image):
    """Return the shades of a PIL image upright, float (height, width, 3) in [0, 255].

    The longer side is reduced to at most 1,000 pixels. A JPEG that is not loaded yet is decoded at
    a lower resolution. Raises ValueError for NaN or infinity.
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
    return np.stack([np.asarray(band, dtype=np.float32) for band in bands], axis=2)


def rgb(image):
    """Return a PIL image in RGB, its transparent parts replaced by paper."""
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = on_paper(image.convert("RGBA"))
    return image.convert("RGB")


def on_paper(image):
    """Return an RGBA image on white if the drawing is dark, on black if it is light."""
    *_, alpha = image.split()
    shades = np.asarray(image.convert("L"), dtype=np.float64)
    weights = np.asarray(alpha, dtype=np.float64)
    dark = (shades * weights).sum() <= 127.5 * weights.sum()
    paper = Image.new("RGBA", image.size, "white" if dark else "black")
    return Image.alpha_composite(paper, image)


def without_border(shades):
    """Return shades with paper instead of a dark or light border, as a scanner or a frame leaves.

    Takes and returns float (height, width, 3). Each side of a border is a strip of at most 15 % of
    the picture, nine tenths of which are about twice as dark or light as the picture's median, and
    it ends within three pixels. All four sides have to have one: one alone may be the bar of a 7.
    """
    grey = shades.mean(axis=2) + 16
    covered = np.abs(np.log(grey / np.median(grey))) > np.log(2)
    widths = []
    for turn in range(4):
        along = np.rot90(covered, turn).mean(axis=1)
        width, end = np.argmax(along < 0.9), np.argmax(along < 0.3)
        if not 0 < width <= end <= min(width + 3, 0.15 * len(along)):
            return shades
        widths.append(end + 1)
    top, right, bottom, left = widths
    inner = shades[top:-bottom, left:-right]
    return np.pad(inner, ((top, bottom), (left, right), (0, 0)), mode="edge")


def resized(shades, size):
    """Resize shades, float (height, width, 3), to `size`, (height, width)."""
    bands = [
        Image.fromarray(band).resize(size[::-1], Image.Resampling.BICUBIC, reducing_gap=3)
        for band in np.moveaxis(shades, 2, 0)
    ]
    return np.clip(np.stack([np.asarray(band) for band in bands], axis=2), 0, 255)


def enlarged(shades):
    """Return small shades enlarged with a margin of paper, and the margin's width in pixels."""
    margin = max(2, round(0.15 * max(shades.shape)))
    around = ((margin, margin), (margin, margin), (0, 0))
    paper = ndimage.median_filter(
        shades, (*(side // 2 for side in shades.shape[:2]), 1), mode="nearest"
    )
    padded = np.pad(paper, around, mode="edge")
    padded[margin:-margin, margin:-margin] = shades
    factor = max(1, SMALL // max(padded.shape))
    return resized(padded, (padded.shape[0] * factor, padded.shape[1] * factor)), margin * factor


def without_noise(shades):
    """Return shades smoothed according to their noise, and the std of the noise that is left."""
    for _ in range(3):
        grey = shades.mean(axis=2)
        others = np.ones((3, 3))
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
