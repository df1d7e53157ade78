"""Draw docs/hands.png: generated digits, a row for each class, then images of no digit.

python docs/make_hands.py
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from photo.hands import digits  # noqa: E402
from photo.negatives import KINDS, negatives  # noqa: E402

COLUMNS = 30


def grid(images):
    """Return images (N, 28, 28), COLUMNS a row, as one: ink on paper."""
    rows = images.reshape(-1, COLUMNS, 28, 28).swapaxes(1, 2)
    return 255 - rows.reshape(-1, COLUMNS * 28)


def main():
    """Write the picture."""
    images, labels = digits(12 * COLUMNS, seed=1)
    blanks = negatives(COLUMNS * len(KINDS), seed=1)
    rows = [images[labels == label][:COLUMNS] for label in range(10)]
    rows += [blanks[kind :: len(KINDS)] for kind in range(len(KINDS))]
    picture = np.concatenate([grid(row) for row in rows])
    Image.fromarray(picture).quantize(16).save(HERE / "hands.png", optimize=True)


if __name__ == "__main__":
    main()
