"""MNIST's format: 28x28, white on black, the digit fitted into 20x20 and centred by its mass.

docs/demo/mnist_format.js does the same for the page.
"""

import numpy as np

MEAN, STD = (0.1307,), (0.3081,)  # of the pixels of MNIST's 60,000 training images, on [0, 1]
SIDE, BOX = 28, 20  # pixels: MNIST's images, and the box that its digits fit into
CUBIC_A = -0.75  # Keys' parameter a of cubic convolution


def round_half_up(numbers):
    """Round half up, a number or an array. A value within 1e-9 below a half counts as a half."""
    return np.floor(np.asarray(numbers) + 0.5 + 1e-9).astype(int)


def resampling(pixels, samples):
    """Return the matrix (pixels, samples) that resamples a row of samples to that many pixels.

    Cubic convolution, two pixels to each side (two samples where it enlarges); every row sums to 1.
    After Keys, "Cubic convolution interpolation for digital image processing", 1981. Without
    its negative weights strokes would be softer than MNIST's.
    """
    scale = samples / pixels
    centres = (np.arange(pixels) + 0.5) * scale
    x = np.abs(np.arange(samples) + 0.5 - centres[:, None]) / max(scale, 1)
    near = (CUBIC_A + 2) * x**3 - (CUBIC_A + 3) * x**2 + 1
    far = CUBIC_A * (x**3 - 5 * x**2 + 8 * x - 4)
    weights = np.where(x < 1, near, np.where(x < 2, far, 0))
    return weights / weights.sum(axis=1, keepdims=True)


def to_mnist_format(ink):
    """Bring ink, float (H, W) in [0, 1], to MNIST's format: uint8 (28, 28), white on black.

    After LeCun, Cortes and Burges, "The MNIST database": fitted into 20x20 pixels, and centred by
    its mass. In five steps: crop to the rows and columns with ink above 0.5; resample, with
    proportions kept, so that the longer side has 20 pixels and the other one
    max(1, round_half_up(20 * shorter / longer)), and clip to [0, 1]; divide by the maximum; put the
    centre of mass as near to pixel (14, 14) as whole pixels allow, without leaving the frame;
    multiply by 255 and round. Raises ValueError without ink above 0.5, or where the maximum before
    the division is below 0.25.
    """
    rows, columns = np.flatnonzero(ink.max(axis=1) > 0.5), np.flatnonzero(ink.max(axis=0) > 0.5)
    if not len(rows):
        raise ValueError("expected a digit, got no ink")
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = (max(1, round_half_up(BOX * side / max(ink.shape))) for side in ink.shape)
    digit = resampling(height, ink.shape[0]) @ ink @ resampling(width, ink.shape[1]).T
    digit = np.clip(digit, 0, 1)
    if digit.max() < 0.25:
        raise ValueError("expected a digit, got specks that vanish at 20x20 pixels")
    digit /= digit.max()
    top = round_half_up(SIDE / 2 - np.average(np.arange(height), weights=digit.sum(axis=1)))
    left = round_half_up(SIDE / 2 - np.average(np.arange(width), weights=digit.sum(axis=0)))
    top, left = min(max(top, 0), SIDE - height), min(max(left, 0), SIDE - width)
    framed = np.zeros((SIDE, SIDE), dtype=np.uint8)
    framed[top : top + height, left : left + width] = round_half_up(255 * digit)
    return framed
