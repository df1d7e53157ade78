"""Data sets other than MNIST, in one form: uint8 images in memory, with the names of their classes.

`data.load_data` builds a training and a test set from these.
"""

import operator
import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset, Subset, TensorDataset
from torchvision import datasets, transforms
from torchvision.transforms import v2
from torchvision.transforms.functional import resize as resize_images

from mnist_format import MEAN, SIDE, STD


@dataclass(eq=False)
class ImageDataset(Dataset):
    """Images in memory: uint8 `data` (N, H, W), int64 `targets` (N,), and the names of `classes`.

    `source` names the data set; `mean` and `std` are those of its training pixels on [0, 1].
    """

    data: torch.Tensor
    targets: torch.Tensor
    classes: list
    source: str
    mean: float = 0.0
    std: float = 1.0
    transform: object = None

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        image = Image.fromarray(self.data[index].numpy())
        image = image if self.transform is None else self.transform(image)
        return image, self.targets[index].item()


def read_dataset(dataset):
    """Return an ImageDataset with the images and labels of a data set, without its transforms.

    Takes torchvision's data sets in memory, a TensorDataset, a tuple (images, labels) of tensors or
    arrays, a Subset of these, the path of an .npz file with arrays `images` and `labels` (and
    `classes`, if you like), and any dataset of pairs (PIL image in mode L, label). Images are uint8
    (N, H, W) or (N, 1, H, W), light on dark, labels class indices (N,). EMNIST's images come out
    upright, and its letters with labels from 0. The source of usps-train.npz is "usps".

    Raises TypeError or ValueError for anything else, OSError for a file that cannot be read.
    """
    if isinstance(dataset, Subset):
        whole, chosen = read_dataset(dataset.dataset), np.asarray(dataset.indices, dtype=np.int64)
        images, labels = whole.data.numpy()[chosen], whole.targets.numpy()[chosen]
        return ImageDataset(*as_tensors(images, labels), whole.classes, whole.source)
    names, source = getattr(dataset, "classes", None), getattr(dataset, "source", "own data")
    if isinstance(dataset, (str, os.PathLike)):
        images, labels, names = read_npz(Path(dataset).expanduser())
        source = re.sub(r"[-_. ]*(train|test)$", "", Path(dataset).stem) or "own data"
    elif isinstance(dataset, tuple) and len(dataset) == 2:
        images, labels = dataset
    elif isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        images, labels = dataset.tensors
    elif hasattr(dataset, "data") and hasattr(dataset, "targets"):
        images, labels = dataset.data, dataset.targets
        if getattr(dataset, "target_transform", None) is not None:
            raise ValueError("expected a dataset without target_transform: pass (images, labels)")
        if type(dataset).__module__.startswith("torchvision."):
            source = type(dataset).__name__
    else:
        images, labels = read_items(dataset)
    if isinstance(dataset, datasets.EMNIST):
        images, source = images.transpose(1, 2), f"EMNIST/{dataset.split}"
        if dataset.split == "letters":  # in the files they start at 1, below a class "N/A"
            labels, names = labels - 1, names[1:]
    if isinstance(dataset, datasets.QMNIST):
        labels = labels[:, 0]  # the other seven numbers say who wrote the digit
    names = [re.sub(r"^(\d) - \w+$", r"\1", str(name)) for name in names or []]  # "0 - zero"
    return ImageDataset(*as_tensors(images, labels), names, source)


def read_npz(path):
    """Return the arrays `images`, `labels` and `classes` (or None) of an .npz file."""
    try:
        with np.load(path) as arrays:
            names = arrays["classes"].tolist() if "classes" in arrays else None
            return arrays["images"], arrays["labels"], names
    except (KeyError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"expected arrays images and labels in {path}: {error}") from error


def read_items(dataset):
    """Return the images (N, H, W) and the list of labels of a dataset of pairs (image, label)."""
    images, labels = [], []
    try:
        for k in range(len(dataset)):
            image, label = dataset[k]
            images.append(np.asarray(image))
            labels.append(operator.index(label))
    except (TypeError, ValueError, KeyError) as error:
        name = type(dataset).__name__
        raise TypeError(
            f"expected a dataset of pairs (image, label), got {name}: {error}"
        ) from error
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        raise ValueError(f"expected images of one size, got {sorted(sizes)[:3]}: use Resize")
    return np.stack(images) if images else np.zeros((0, SIDE, SIDE), np.uint8), labels


def as_tensors(images, labels):
    """Return images (N, H, W) as uint8 and labels (N,) as int64, on the CPU.

    Raises ValueError for another type or shape, a negative label, and images without labels.
    """
    images, labels = (
        part.cpu().numpy() if isinstance(part, torch.Tensor) else np.asarray(part)
        for part in (images, labels)
    )
    if images.ndim == 4 and images.shape[1] == 1:
        images = images[:, 0]
    if images.dtype != np.uint8 or images.ndim != 3 or not images.size:
        expected = "grey images as uint8 (N, H, W), 0 for dark to 255 for light"
        raise ValueError(f"expected {expected}, got {images.dtype} {images.shape}")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        expected = f"labels as integers ({len(images)},), one for each image"
        raise ValueError(f"expected {expected}, got {labels.dtype} {labels.shape}")
    if labels.min() < 0:
        raise ValueError(f"expected labels from 0, got {labels.min()}")
    images = np.require(images, requirements=["C", "W"])
    return torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))


def name_classes(train, test):
    """Give two sets the same `classes`: their names, or "0", "1", ... up to the largest label.

    Raises ValueError for names that differ, or are fewer than the labels need.
    """
    if train.classes and test.classes and train.classes != test.classes:
        raise ValueError(f"expected the classes {train.classes} in test, got {test.classes}")
    number = 1 + max(train.targets.max().item(), test.targets.max().item())
    names = train.classes or test.classes or [str(label) for label in range(number)]
    if number > len(names):
        raise ValueError(f"expected labels from 0 to {len(names) - 1}, got {number - 1}")
    train.classes = test.classes = names


def resized(images):
    """Return uint8 images (N, H, W) as (N, 28, 28): bilinear, antialiased where they shrink."""
    if images.shape[1:] == (SIDE, SIDE):
        return images
    parts = images.unsqueeze(1).split(1000)  # each needs memory for floats
    return torch.cat([resize_images(part, [SIDE, SIDE], antialias=True) for part in parts])[:, 0]


def statistics_of(images):
    """Return mean and standard deviation of uint8 images on [0, 1], to four digits as MNIST's."""
    counts = sum(part.flatten().bincount(minlength=256) for part in images.split(10_000)).double()
    shares, values = counts / counts.sum(), torch.arange(256, device="cpu") / 255
    mean = (shares * values).sum()
    std = (shares * (values - mean) ** 2).sum().sqrt()
    if std < 5e-5:
        raise ValueError(f"expected images that differ, got one value, {255 * mean.item():.0f}")
    return round(mean.item(), 4), round(std.item(), 4)


def with_statistics(transform, mean, std):
    """Return a pipeline whose Normalize has this mean and std where it had MNIST's.

    Looks into Compose and Sequential; a pipeline without MNIST's Normalize is returned unchanged.
    """
    if isinstance(transform, (transforms.Normalize, v2.Normalize)):
        given = [
            torch.as_tensor(values).flatten().tolist() for values in (transform.mean, transform.std)
        ]
        mnist = [torch.as_tensor(values).tolist() for values in (MEAN, STD)]
        return type(transform)((mean,), (std,)) if given == mnist else transform
    if not isinstance(transform, (transforms.Compose, v2.Compose, nn.Sequential)):
        return transform
    steps = list(transform if isinstance(transform, nn.Sequential) else transform.transforms)
    changed = [with_statistics(step, mean, std) for step in steps]
    if all(map(operator.is_, steps, changed)):
        return transform
    if isinstance(transform, nn.Sequential):
        return nn.Sequential(*changed)
    return type(transform)(changed)
