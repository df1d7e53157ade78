"""Where the images come from: MNIST, found or downloaded; other data sets; images held out."""

import contextlib
import copy
import gzip
import hashlib
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
import zlib
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import torch
from torchvision import datasets

from image_dataset import name_classes, read_dataset, resized, statistics_of, with_statistics
from mnist_format import MEAN, STD

HERE = Path(__file__).resolve().parent

IDX_FILES = {  # name: MD5 checksum of MNIST's own, without the header
    "train-images-idx3-ubyte": "6510e85a72c3e9475c492d559d3770d2",
    "train-labels-idx1-ubyte": "e86ee40d66677c011a9abda399ec8c4d",
    "t10k-images-idx3-ubyte": "240610fa99e73bfa49df8e7fc24d3206",
    "t10k-labels-idx1-ubyte": "073c3904dfbd3e141ff8aa01cfde6b15",
}
HOW_TO_GET_MNIST = (
    "With a network, leave root out and MNIST is downloaded into data/. Without one, copy the "
    "four files from a machine that has them to MNIST/raw/ in a folder, and pass that folder as "
    "root or set MNIST_ROOT to it."
)

NAMES = (  # of data sets that torchvision downloads
    *("MNIST", "FashionMNIST", "KMNIST", "QMNIST", "USPS"),
    *(f"EMNIST/{split}" for split in datasets.EMNIST.splits),
)

# --- Any data set ------------------------------------------------------------------------------


def load_data(
    train_transforms,
    test_transforms,
    dataset=None,
    *,
    root=None,
    source="auto",
    resize=True,
    verbose=True,
):
    """Return (train, test) with their transforms, `source` and `classes`.

    `dataset` is one of NAMES (None is MNIST, by `find_mnist` with `root` and `source`), downloaded
    by torchvision into `root` (data/ by default) unless it is there; or a pair of sets of your own,
    which `read_dataset` describes. Images that are not 28x28 are resized unless `resize` is False.
    For data other than MNIST, a Normalize with MNIST's mean and std takes those of the training
    images instead, and `verbose` prints what was found.

    Raises TypeError or ValueError for unusable arguments, OSError for data that cannot be read.
    """
    for name, transform in (("train", train_transforms), ("test", test_transforms)):
        if not callable(transform):
            raise TypeError(f"expected {name}_transforms to be callable, got {transform!r}")
    if dataset is None or (isinstance(dataset, str) and dataset == "MNIST"):
        found = find_mnist(root, source)
        return (
            load_mnist(found, train=True, transform=train_transforms),
            load_mnist(found, train=False, transform=test_transforms),
        )
    if source == "sample":
        raise ValueError("expected source 'sample' with MNIST only, the sample is of MNIST")
    if isinstance(dataset, str):
        train, test = (read_dataset(each) for each in load_by_name(dataset, root))
    elif isinstance(dataset, (tuple, list)) and len(dataset) == 2:
        if root is not None:
            raise ValueError(f"expected root with a data set's name, got {str(root)!r} with a pair")
        train, test = (read_dataset(each) for each in dataset)
    else:
        raise TypeError(f"expected dataset as a name or a pair (train, test), got {dataset!r:.80}")
    if test.source != train.source:
        train.source = f"{train.source}, tested on {test.source}"
    test.source, size = train.source, tuple(train.data.shape[1:])
    name_classes(train, test)
    if resize:
        train.data, test.data = resized(train.data), resized(test.data)
    elif test.data.shape[1:] != size:
        raise ValueError(f"expected test images of {size}, got {tuple(test.data.shape[1:])}")
    train.mean, train.std = test.mean, test.std = statistics_of(train.data)
    train.transform = with_statistics(train_transforms, train.mean, train.std)
    test.transform = with_statistics(test_transforms, train.mean, train.std)
    if verbose:
        replaced = train.transform is not train_transforms or test.transform is not test_transforms
        print(
            f"{train.source}: {len(train):,} training and {len(test):,} test images of "
            f"{size[0]}x{size[1]}{', resized to 28x28' * (train.data.shape[1:] != size)}, "
            f"{len(train.classes)} classes, {'normalised by ' * replaced}"
            f"mean {train.mean:.4f}, std {train.std:.4f}"
        )
    return train, test


def load_by_name(name, root=None):
    """Return torchvision's training and test set of a name in NAMES, downloaded if need be.

    Raises ValueError for another name, OSError for what can be neither read nor downloaded.
    """
    if name not in NAMES:
        raise ValueError(f"expected dataset as one of {', '.join(NAMES)}, got {name!r}")
    kind, _, split = name.partition("/")
    folder = HERE / "data" if root is None else Path(root).expanduser()
    options = {"split": split} if split else {}

    def load(download):
        make = getattr(datasets, kind)
        return [make(folder, train=train, download=download, **options) for train in (True, False)]

    try:
        return load(download=False)
    except Exception:  # whatever torchvision raises for a file that is missing or damaged
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with socket_timeout(10):
                return load(download=True)
        except Exception as error:
            reason = " ".join(str(error).split()) or repr(error)
            raise OSError(
                f"{name} can be neither read from {folder} nor downloaded into it ({reason}). "
                "Without a network, copy torchvision's files of it there from a machine that has "
                "them; delete files that are damaged."
            ) from error


# --- MNIST: found, checked, downloaded ---------------------------------------------------------


class MnistFolder(NamedTuple):
    """Where MNIST was found, and its source: "full" (60,000 + 10,000), "sample" or "unknown"."""

    root: Path
    source: str


def find_mnist(root=None, source="auto", data=HERE / "data"):
    """Find MNIST: in `root` or MNIST_ROOT; in `data`; by download; else the shipped sample.

    `root` is a torchvision root, the folder MNIST in it, or the folder of the four files, which may
    be packed (.gz). `source` "full" accepts the full set only, "sample" takes the shipped sample.
    Files that are neither MNIST's, by their checksums, nor the sample's have the source "unknown",
    with a warning.

    Raises FileNotFoundError where there is no MNIST, ValueError for damaged files and contradictory
    arguments.
    """
    if source not in ("auto", "full", "sample"):
        raise ValueError(f"expected source auto, full or sample, got {source!r}")
    if root == "":
        raise ValueError("expected root as a folder, got ''")
    if root is not None and source == "sample":
        raise ValueError(f"source 'sample' is the shipped one, but root {str(root)!r} is given too")
    given = root or os.environ.get("MNIST_ROOT")
    if source == "sample":
        found = identify(Path(data, "sample"))
    elif given:
        found = identify(Path(os.path.expanduser(given)))
    else:
        found = find_or_download(Path(data), source)
    if source == "full" and found.source != "full":
        raise ValueError(f"{found.root} does not hold the full MNIST. {HOW_TO_GET_MNIST}")
    if found.source == "unknown":
        warnings.warn(
            f"the images in {raw_folder(found.root)} are not MNIST's, by their checksums: another "
            "data set, or changed. Their source is 'unknown'.",
            stacklevel=4,  # the caller of data_loader
        )
    return found


def find_or_download(data, source):
    """Return what is in `data`, or download MNIST into it; else warn and return the sample."""
    try:
        found = identify(data)
        reason = f"{raw_folder(data)} holds images of the sample only."
    except (OSError, ValueError) as problem:
        try:
            download_mnist(data)
            return identify(data)
        except OSError as error:
            reason = f"{problem}. MNIST could not be downloaded ({error})."
        if source == "full" or not (data / "sample").exists():
            raise FileNotFoundError(f"{reason} {HOW_TO_GET_MNIST}") from None
        found = identify(data / "sample")
    if found.source == "sample" and source == "auto":
        warnings.warn(
            f"{reason} Results are marked 'sample': they don't compare with those of the full "
            f"60,000 + 10,000 digits. {HOW_TO_GET_MNIST}",
            stacklevel=5,
        )
    return found


def identify(root):
    """Check the four files in `root` and return a MnistFolder with their source.

    The first images of the sample's files count as the sample.

    Raises FileNotFoundError for a missing file, ValueError for a damaged one.
    """
    raw = raw_folder(root)
    files = {name: read_idx(raw, name) for name in IDX_FILES}
    train, train_labels, test, test_labels = files.values()
    for split, images, labels in (("train", train, train_labels), ("t10k", test, test_labels)):
        if len(images) != len(labels):
            raise ValueError(f"{raw}: {split} has {len(images)} images, but {len(labels)} labels")
        if labels.max() > 9:
            raise ValueError(f"{raw}: expected labels 0 to 9, got {labels.max()}")
    if len(train) < len(test):
        raise ValueError(
            f"{raw}: {len(train)} training and {len(test)} test images, are they swapped?"
        )
    md5s = [hashlib.md5(file.numpy(), usedforsecurity=False).hexdigest() for file in files.values()]
    if md5s == list(IDX_FILES.values()):
        return MnistFolder(root, "full")
    sample = HERE / "data" / "sample" / "MNIST" / "raw"
    from_sample = sample.exists() and all(
        torch.equal(file, read_idx(sample, name)[: len(file)]) for name, file in files.items()
    )
    return MnistFolder(root, "sample" if from_sample else "unknown")


def raw_folder(root):
    """Return the folder of the four files: `root`/MNIST/raw as in torchvision, or nearer.

    Raises FileNotFoundError, naming what is missing and what is there instead.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no MNIST in {root}: there is no such folder")
    folders = [folder for folder in (root / "MNIST" / "raw", root / "raw", root) if folder.is_dir()]
    lacking = {
        folder: [n for n in IDX_FILES if not candidate_files(folder, n)] for folder in folders
    }
    raw = min(folders, key=lambda folder: len(lacking[folder]))
    if lacking[raw]:
        held = sorted(path.name for path in raw.iterdir())[:10]
        raise FileNotFoundError(
            f"no MNIST in {root}: {raw} lacks {', '.join(lacking[raw])} "
            f"and holds {', '.join(held) or 'nothing'}"
        )
    return raw


def candidate_files(raw, name):
    """Return the files that may hold `name`: gzipped, spelled with a dot, or a folder deeper."""
    pattern = name.replace("-idx", "[-.]idx") + "*"
    return sorted(
        path
        for glob in (pattern, f"{pattern}/{pattern}")
        for path in raw.glob(glob)
        if path.is_file()
    )


def read_idx(raw, name):
    """Return the items of one of the four files as a uint8 tensor, from its first intact copy."""
    problems = []
    for path in candidate_files(raw, name):
        content = path.read_bytes()
        try:
            if content.startswith(b"\x1f\x8b"):
                content = gzip.decompress(content)
            return idx_items(content, dimensions=3 if "images" in name else 1)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            problems.append(f"{path} cannot be unpacked ({error}), starts with {content[:4]!r}")
        except ValueError as error:
            problems.append(f"{path}: {error}")
    raise ValueError(problems[0])


def idx_items(content, dimensions):
    """Return the uint8 tensor (N, 28, 28) or (N,) in an IDX file; ValueError for a damaged one."""
    size = 4 + 4 * dimensions
    header = content[:size]
    if len(header) < size or header[:4] != bytes([0, 0, 8, dimensions]):
        expected = f"an IDX file of uint8 in {dimensions} dimension{'s' * (dimensions > 1)}"
        raise ValueError(f"expected {expected}, got one that starts with {header!r}")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    if shape[0] == 0 or (dimensions == 3 and shape[1:] != (28, 28)):
        raise ValueError(f"expected one or more items of MNIST's size, got shape {shape}")
    if len(content) != (needed := size + math.prod(shape)):
        raise ValueError(f"expected {needed:,} bytes for shape {shape}, got {len(content):,}")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=size).view(shape)


def download_mnist(data, silence=10):
    """Download MNIST into `data` by torchvision, or raise OSError.

    If a mirror sends nothing for `silence` seconds, the next one is tried. Files are downloaded
    into a temporary folder and moved when they are complete, so that interrupted or simultaneous
    downloads never leave half a file.
    """
    raw, reasons = data / "MNIST" / "raw", []
    for mirror in answering_mirrors(silence):
        raw.mkdir(parents=True, exist_ok=True)
        from_mirror = type("MNIST", (datasets.MNIST,), {"mirrors": [mirror]})
        try:
            with (
                socket_timeout(silence),
                tempfile.TemporaryDirectory(dir=data, prefix=".download-") as folder,
            ):
                from_mirror(folder, download=True)
                for name in IDX_FILES:
                    os.replace(Path(folder, "MNIST", "raw", name), raw / name)
            return
        except (OSError, RuntimeError, EOFError, HTTPException) as error:
            reasons.append(f"{mirror}: {str(error).splitlines()[0] if str(error) else error!r}")
    raise OSError("; ".join(reasons))


@contextlib.contextmanager
def socket_timeout(seconds):
    """Within the block, give up connections that send nothing for `seconds`."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def answering_mirrors(silence):
    """Return torchvision's mirrors, the first to answer first; OSError if none answers in time.

    Uses threads, because looking up a host's name has no timeout.
    """
    mirrors, answers, reasons = datasets.MNIST.mirrors, queue.Queue(), []
    name = datasets.MNIST.resources[0][0]

    def ask(mirror):
        try:
            urllib.request.urlopen(mirror + name, timeout=silence).close()
            answers.put((mirror, None))
        except (OSError, HTTPException) as error:
            answers.put((None, str(getattr(error, "reason", error))))

    for mirror in mirrors:
        threading.Thread(target=ask, args=(mirror,), daemon=True).start()
    deadline = time.monotonic() + silence
    try:
        for _ in mirrors:
            first, reason = answers.get(timeout=max(deadline - time.monotonic(), 0.001))
            if first:
                return [first, *(mirror for mirror in mirrors if mirror != first)]
            reasons.append(reason)
    except queue.Empty:
        reasons.append(f"no answer in {silence} s")
    raise OSError("; ".join(dict.fromkeys(reasons)))


class MNIST(datasets.MNIST):
    """torchvision's, over the files that `find_mnist` accepts, never an old processed/ folder."""

    classes = tuple("0123456789")
    mean, std = MEAN[0], STD[0]

    def _check_legacy_exist(self):
        return False

    def _check_exists(self):
        return True

    def _load_data(self):
        raw, split = raw_folder(Path(self.root)), "train" if self.train else "t10k"
        labels = read_idx(raw, f"{split}-labels-idx1-ubyte").long()
        return read_idx(raw, f"{split}-images-idx3-ubyte"), labels


def load_mnist(found, train, transform):
    """Return one of MNIST's two sets as a torchvision dataset, with its `source`."""
    dataset = MNIST(found.root, train=train, transform=transform)
    dataset.source = found.source
    return dataset


# --- Parts of a data set -----------------------------------------------------------------------


def hold_out(dataset, size, seed):
    """Stratified split into (rest, held_out); `held_out` has `size` images.

    Raises ValueError unless both parts get an image.
    """
    n = len(dataset)
    if not 0 < size < n:
        raise ValueError(f"expected val_size from 1 to {n - 1}, got {size}")
    shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(seed), device="cpu")
    by_class = shuffled[dataset.targets[shuffled].argsort(stable=True)]
    held_out = torch.zeros(n, dtype=torch.bool, device="cpu")
    evenly_spaced = torch.arange(size, device="cpu") * n // size
    held_out[by_class[evenly_spaced]] = True
    parts = []
    for chosen in (~held_out, held_out):
        part = copy.copy(dataset)
        part.data, part.targets = dataset.data[chosen], dataset.targets[chosen]
        parts.append(part)
    return parts


def source_of(loader):
    """Return where a loader's images come from: "full", "sample", "USPS", ...; else "unknown".

    A loader over several datasets has their source if it is the same, or "sample" if any has it.
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
