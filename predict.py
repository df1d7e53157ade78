"""Read handwritten digits from image files: python predict.py FILE ...

Each image, of any size, ink dark or light, is brought to MNIST's form and read by the pretrained
Net5. --picture FILE keeps what the network saw.
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

import hubconf
import photo
import plots
from options import OneLineParser
from recipes import MEAN, STD

SIDE, BOX = 28, 20  # pixels: MNIST's images, and the box that its digits fit into
UNREADABLE = (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError)  # PIL's


def nearest(number):
    """Round half up: int. What rounding errors keep from a half counts as one."""
    return math.floor(number + 0.5 + 1e-9)


def resampling(pixels, samples):
    """Return the matrix (pixels, samples) that resamples a row of samples to that many pixels.

    A triangle filter, one pixel to each side (one sample where it enlarges); every row sums to 1.
    """
    scale = samples / pixels
    centres = (np.arange(pixels) + 0.5) * scale
    distance = np.abs(np.arange(samples) + 0.5 - centres[:, None]) / max(scale, 1)
    weights = np.maximum(1 - distance, 0)
    return weights / weights.sum(axis=1, keepdims=True)


def mnist_form(ink):
    """Bring ink, float (height, width) in [0, 1], to MNIST's form: uint8 (28, 28), white on black.

    As the makers of the set did (LeCun, Cortes and Burges, "The MNIST database"), in five steps:
    crop to the rows and columns with ink above 0.5; resample, with proportions kept, so that the
    longer side has 20 pixels and the other one max(1, nearest(20 * shorter / longer)); divide by
    the maximum; put the centre of mass as near to pixel (14, 14) as whole pixels allow, without
    leaving the frame; multiply by 255 and round. Raises ValueError without ink above 0.5, or where
    the maximum before the division is below 0.25.
    """
    rows, columns = np.flatnonzero(ink.max(axis=1) > 0.5), np.flatnonzero(ink.max(axis=0) > 0.5)
    if not len(rows):
        raise ValueError("expected a digit, got no ink")
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = (max(1, nearest(BOX * side / max(ink.shape))) for side in ink.shape)
    digit = resampling(height, ink.shape[0]) @ ink @ resampling(width, ink.shape[1]).T
    if digit.max() < 0.25:
        raise ValueError("expected a digit, got specks that vanish at 20x20 pixels")
    digit /= digit.max()
    top = nearest(SIDE / 2 - np.average(np.arange(height), weights=digit.sum(axis=1)))
    left = nearest(SIDE / 2 - np.average(np.arange(width), weights=digit.sum(axis=0)))
    top, left = min(max(top, 0), SIDE - height), min(max(left, 0), SIDE - width)
    framed = np.zeros((SIDE, SIDE), dtype=np.uint8)
    framed[top : top + height, left : left + width] = np.floor(255 * digit + 0.5)
    return framed


def to_mnist(image):
    """Bring a PIL image of one digit to MNIST's form: uint8 tensor (28, 28), white on black.

    Raises ValueError for an image without a digit, or with several.
    """
    digits = photo.find_digits(image)
    if len(digits) > 1:
        raise ValueError(f"found {len(digits)} digits: one per image, or --split")
    return torch.from_numpy(mnist_form(digits[0].ink))


@torch.no_grad()
def read_digits(net, images):
    """Return the probabilities, float (N, 10), of uint8 images (N, 28, 28) in MNIST's form."""
    return net((images[:, None].float() / 255 - MEAN[0]) / STD[0]).exp()


def report(path, error):
    """Print what is wrong with a file, and return True: something failed."""
    reason = getattr(error, "strerror", None) or error
    print(f"predict.py: error: {path}: {reason}", file=sys.stderr)
    return True


def main(arguments=None):
    """Run the command line; return its exit code: 0, or 2 if a file could not be read."""
    parser = OneLineParser(description="Read handwritten digits from image files.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="an image of one digit")
    parser.add_argument("--picture", type=Path, help="keep what the network saw in this file")
    options = parser.parse_args(arguments)
    try:
        net = hubconf.net5(pretrained=True)
    except (OSError, ValueError) as error:
        print(f"predict.py: error: {error}", file=sys.stderr)
        return 2
    paths, images, failed = [], [], False
    for path in options.files:
        try:
            with Image.open(path) as image:
                images.append(to_mnist(image))
            paths.append(path)
        except UNREADABLE as error:
            failed = report(path, error)
    if images:
        confidences, digits = read_digits(net, torch.stack(images)).max(dim=1)
        for path, confidence, digit in zip(paths, confidences, digits, strict=True):
            print(f"{path}: {digit} ({100 * confidence:.1f} %)")
        if options.picture:
            titles = [f"{path.name}\n{digit}" for path, digit in zip(paths, digits, strict=True)]
            try:
                plots.plot_digits(images, titles).savefig(options.picture, dpi=150)
            except (OSError, ValueError) as error:
                failed = report(options.picture, error)
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
