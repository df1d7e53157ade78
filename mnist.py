"""Where the images come from: find MNIST, check its files, download it, hold images out."""

import copy
import math
import os
import queue
import socket
import struct
import tempfile
import threading
import time
import urllib.request
import warnings
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import torch
from torchvision import datasets

HERE = Path(__file__).resolve().parent

IDX_FILES = {  # name: number of dimensions
    "train-images-idx3-ubyte": 3,
    "train-labels-idx1-ubyte": 1,
    "t10k-images-idx3-ubyte": 3,
    "t10k-labels-idx1-ubyte": 1,
}
HOW_TO_GET_MNIST = (
    "With a network, leave root out and MNIST is downloaded into data/. Without one, bring the "
    "four files of a machine that has them to MNIST/raw/ in a folder, and name that folder as "
    "root or in MNIST_ROOT."
)


class MNIST(datasets.MNIST):
    """torchvision's, reading the checked files alone, never an old version's processed/ folder."""

    def _check_legacy_exist(self):
        return False


class Found(NamedTuple):
    """Where MNIST was found: a torchvision root, and "full" (60,000 + 10,000) or "sample"."""

    root: Path
    source: str


def find_mnist(root=None, source="auto", data=HERE / "data"):
    """Find MNIST: in `root` or MNIST_ROOT; in `data`; by download; else the shipped sample.

    `source` "full" refuses the sample, "sample" asks for it. Raises FileNotFoundError where there
    is no MNIST, ValueError for damaged files and contradictory arguments.
    """
    if source not in ("auto", "full", "sample"):
        raise ValueError(f"expected source auto, full or sample, got {source!r}")
    if root is not None and source == "sample":
        raise ValueError(f"source 'sample' is the shipped one, but root {str(root)!r} is given too")
    data = Path(data)
    if source == "sample":
        return identify(data / "sample")
    given = root if root is not None else os.environ.get("MNIST_ROOT")
    if given:
        found = identify(Path(given))
    else:
        try:
            found = identify(data)
        except (FileNotFoundError, ValueError):
            found = download_or_sample(data, source)
    if source == "full" and found.source != "full":
        raise ValueError(f"{found.root} does not hold the full MNIST. {HOW_TO_GET_MNIST}")
    return found


def download_or_sample(data, source):
    """Download MNIST into `data`; where that fails, warn and return the sample there."""
    try:
        download_mnist(data)
        return identify(data)
    except OSError as error:
        reason = f"MNIST could not be downloaded ({error})."
    if source == "full":
        raise FileNotFoundError(f"{reason} {HOW_TO_GET_MNIST}")
    try:
        found = identify(data / "sample")
    except FileNotFoundError:
        raise FileNotFoundError(f"{reason} {HOW_TO_GET_MNIST}") from None
    warnings.warn(
        f"{reason} Using the sample of 4,000 + 1,000 digits: its results are marked 'sample' and "
        f"don't compare with those of the full set. {HOW_TO_GET_MNIST}",
        stacklevel=4,
    )
    return found


def identify(root):
    """Check the four IDX files below a torchvision root, by header and size.

    Raises FileNotFoundError for a missing file, ValueError for a damaged one.
    """
    raw = root / "MNIST" / "raw"
    missing = [name for name in IDX_FILES if not (raw / name).is_file()]
    if missing:
        raise FileNotFoundError(f"no MNIST in {root}: {raw} lacks {', '.join(missing)}")
    counts = [count_idx(raw / name, dimensions) for name, dimensions in IDX_FILES.items()]
    for split, images, labels in (("train", *counts[:2]), ("t10k", *counts[2:])):
        if images != labels:
            raise ValueError(f"{raw}: {split} has {images} images, but {labels} labels")
    train, test = counts[0], counts[2]
    if train < test:
        raise ValueError(f"{raw}: {train} training and {test} test images, are they swapped?")
    return Found(root, "full" if (train, test) == (60_000, 10_000) else "sample")


def count_idx(path, dimensions):
    """Return the number of items in an IDX file, after a check of its header and size."""
    header_size = 4 + 4 * dimensions
    with open(path, "rb") as file:
        header = file.read(header_size)
    expected = f"an IDX file of uint8 in {dimensions} dimension{'s' * (dimensions > 1)}"
    if len(header) < header_size or header[:4] != bytes([0, 0, 8, dimensions]):
        raise ValueError(f"{path}: expected {expected}, got one that starts with {header!r}")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    if shape[0] == 0 or (dimensions == 3 and shape[1:] != (28, 28)):
        raise ValueError(f"{path}: expected one or more items of MNIST's size, got shape {shape}")
    size, needed = path.stat().st_size, header_size + math.prod(shape)
    if size != needed:
        raise ValueError(f"{path}: expected {needed:,} bytes for shape {shape}, got {size:,}")
    return shape[0]


def download_mnist(data, silence=10):
    """Download MNIST into `data` by torchvision, or raise OSError.

    A mirror that says nothing for `silence` seconds is given up for the next. The files arrive in a
    folder of their own and move into place whole, so that a download that breaks off, or runs twice
    at once, never leaves half a file behind.
    """
    raw, reasons = data / "MNIST" / "raw", []
    for mirror in answering_mirrors(silence):
        raw.mkdir(parents=True, exist_ok=True)
        from_mirror = type("MNIST", (MNIST,), {"mirrors": [mirror]})
        silence_before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(silence)
        try:
            with tempfile.TemporaryDirectory(dir=data, prefix=".download-") as folder:
                from_mirror(folder, download=True)
                for name in IDX_FILES:
                    os.replace(Path(folder, "MNIST", "raw", name), raw / name)
            return
        except (OSError, RuntimeError, EOFError, HTTPException) as error:
            reasons.append(f"{mirror}: {str(error).splitlines()[0] if str(error) else error!r}")
        finally:
            socket.setdefaulttimeout(silence_before)
    raise OSError("; ".join(reasons))


def answering_mirrors(silence):
    """Return torchvision's mirrors, those first that answered first; OSError if none does in time.

    In threads, because looking up a host's name has no timeout of its own.
    """
    mirrors, reasons, answers = datasets.MNIST.mirrors, [], queue.Queue()
    name = datasets.MNIST.resources[0][0]

    def ask(mirror):
        try:
            urllib.request.urlopen(mirror + name, timeout=silence).close()
            answers.put(mirror)
        except (OSError, HTTPException) as error:
            reasons.append(str(getattr(error, "reason", error)))
            answers.put(None)

    for mirror in mirrors:
        threading.Thread(target=ask, args=(mirror,), daemon=True).start()
    deadline, first = time.monotonic() + silence, None
    for _ in mirrors:
        try:
            first = answers.get(timeout=max(deadline - time.monotonic(), 0.001))
        except queue.Empty:
            break
        if first is not None:
            return [first, *(mirror for mirror in mirrors if mirror != first)]
    raise OSError("; ".join(dict.fromkeys(reasons)) or f"no answer in {silence} s")


def load_mnist(found, train, transform):
    """Return one of MNIST's two sets, with its `source`; ValueError for a label outside 0 to 9."""
    dataset = MNIST(found.root, train=train, transform=transform)
    if dataset.targets.max() > 9:
        raise ValueError(f"{found.root}: expected labels 0 to 9, got {dataset.targets.max()}")
    dataset.source = found.source
    return dataset


def hold_out(dataset, size, seed):
    """Split a dataset in two, the second of this size, with every class in its proportion.

    Raises ValueError unless both parts get an image.
    """
    n = len(dataset)
    if not 0 < size < n:
        raise ValueError(f"expected val_size from 1 to {n - 1}, got {size}")
    shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    by_class = shuffled[dataset.targets[shuffled].argsort(stable=True)]
    held_out = torch.zeros(n, dtype=torch.bool)
    held_out[by_class[torch.arange(size) * n // size]] = True  # evenly spaced over the classes
    parts = []
    for chosen in (~held_out, held_out):
        part = copy.copy(dataset)
        part.data, part.targets = dataset.data[chosen], dataset.targets[chosen]
        parts.append(part)
    return parts


def source_of(loader):
    """Return where a loader's images come from, such as "full" or "sample"; else "unknown".

    Of several datasets together one source counts if all have it, or if it is "sample".
    """
    found, datasets = set(), [getattr(loader, "dataset", None)]
    for dataset in datasets:  # grows as it goes: Subset and ConcatDataset hold others
        inner = [dataset.dataset] if hasattr(dataset, "dataset") else []
        inner += getattr(dataset, "datasets", [])
        datasets += inner
        if not inner:
            found.add(getattr(dataset, "source", "unknown"))
    return "sample" if "sample" in found else found.pop() if len(found) == 1 else "unknown"


def source_mark(loader):
    """Return " (sample)" for a loader over the sample, "" otherwise."""
    return " (sample)" if source_of(loader) == "sample" else ""
