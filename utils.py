"""MNIST data, training and test loops, history, checkpoints, and a look inside a model.

Nothing here knows a particular network: a model is anything that maps images (N, 1, 28, 28) to
log-probabilities or logits (N, 10). Losses are means over images, accuracies are per cent.
"""

import copy
import ctypes
import hashlib
import io
import json
import math
import os
import platform
import queue
import random
import re
import socket
import struct
import tempfile
import threading
import time
import urllib.request
import warnings
from dataclasses import asdict, dataclass, field
from http.client import HTTPException
from operator import length_hint
from pathlib import Path
from typing import NamedTuple

import torch
import torchsummary
import torchvision
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau
from torch.utils.data import DataLoader
from torchvision import datasets
from tqdm.auto import tqdm

from layers import LayerTrace, trace  # noqa: F401

try:
    import batched
except ModuleNotFoundError:  # utils.py alone in a folder: the ordinary DataLoader serves
    batched = None

HERE = Path(__file__).resolve().parent

# --- Seed and device ---------------------------------------------------------------------------


def set_seed(seed):
    """Seed Python's and torch's random generators, on every device."""
    check_integer("seed", seed, minimum=0)
    random.seed(seed)
    torch.manual_seed(seed)


def get_device(name="auto"):
    """Return a torch.device: the named one, or for "auto" CUDA where there is one, else the CPU.

    Raises ValueError for an unknown name, RuntimeError for a device that torch does not see.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        seen = {
            "cpu": 1,
            "cuda": torch.cuda.device_count(),
            "mps": int(torch.backends.mps.is_available()),
        }[device.type]
    except (RuntimeError, KeyError):
        expected = "auto, cpu, cuda, cuda:N or mps"
        raise ValueError(f"expected device {expected}, got {name!r}") from None
    if (device.index or 0) >= seen:
        raise RuntimeError(f"device {name} asked for, but torch sees {seen} of its kind")
    return device


def to_device(model, device):
    """Move a model to a device and return it.

    On a CPU its weights get channels-last order, which convolutions are faster in. They keep their
    values; results differ by rounding.
    """
    model.to(device)
    if torch.device(device).type == "cpu":
        model.to(memory_format=torch.channels_last)
    return model


def keep_freed_memory():
    """Have this process keep the memory it frees, for the next batch; return whether it could.

    The C library of most Linux systems, glibc, hands large blocks back to the kernel when they are
    freed, so that on a CPU every step of a training fetches its tensors anew, page by page
    (mallopt(3): M_MMAP_THRESHOLD, M_TRIM_THRESHOLD). Results stay the same to the bit; the process
    holds its peak of memory until it ends. Elsewhere nothing is done.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    mmap_threshold, trim_threshold = -3, -1  # of malloc.h
    raised = mallopt(mmap_threshold, 2**30) or mallopt(mmap_threshold, 2**25)  # older glibc's most
    return bool(raised and mallopt(trim_threshold, 2**31 - 1))


def environment(device):
    """Return the hardware and the versions that belong beside a result, as a dict."""
    device = torch.device(device)
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    else:
        cpuinfo = Path("/proc/cpuinfo")  # where there is one, it knows better than platform
        names = re.findall(r"model name\s*: (.+)", cpuinfo.read_text() if cpuinfo.exists() else "")
        hardware = f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"
    return {
        "device": str(device),
        "hardware": hardware,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def check_integer(name, value, minimum, maximum=2**63 - 1):
    """Raise TypeError or ValueError unless the value is an integer in a range, ends included."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"expected {name} as an integer, got {value!r}")
    if value < minimum:
        raise ValueError(f"expected {name} of at least {minimum}, got {value}")
    if value > maximum:
        raise ValueError(f"expected {name} of at most {maximum}, got {value}")


# --- Finding MNIST -----------------------------------------------------------------------------

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


# --- Loaders -----------------------------------------------------------------------------------


def data_loader(
    train_transforms,
    test_transforms,
    batch_size,
    *,
    root=None,
    source="auto",
    device="auto",
    seed=None,
    test_batch_size=500,
    drop_last=False,
    val_size=0,
    on_device=True,
    num_workers=0,
):
    """Return `train_loader, train, test_loader, test`: loaders and torchvision datasets of MNIST.

    With `val_size`, that many training images, of every class its share, are held out by the seed,
    for choices that must not be made on the test set: `train_loader, train, val_loader, val,
    test_loader, test`. They take the test transforms.

    All loaders yield images (batch, 1, 28, 28) and labels (batch,). The transforms are
    torchvision's; where `batched` can translate them, the loader is its DeviceLoader on `device`,
    otherwise (or with `on_device=False`) an ordinary DataLoader with `num_workers`. Only the
    training images are shuffled. `seed` decides the order, and a DeviceLoader's draws (those of a
    DataLoader come from torch's generator, or its workers'); None takes one from torch's generator,
    which `set_seed` governs. `root` and `source` are `find_mnist`'s; each dataset's
    `source` says "full" or "sample". `drop_last` leaves out the last short training batch.

    Raises TypeError, ValueError, FileNotFoundError or RuntimeError before any image is read.
    """
    check_integer("batch_size", batch_size, minimum=1)
    check_integer("test_batch_size", test_batch_size, minimum=1)
    check_integer("num_workers", num_workers, minimum=0)
    check_integer("val_size", val_size, minimum=0)
    for name, transform in (("train", train_transforms), ("test", test_transforms)):
        if not callable(transform):
            raise TypeError(f"expected {name}_transforms to be callable, got {transform!r}")
    if seed is None:
        seed = torch.randint(2**31, ()).item()
    check_integer("seed", seed, minimum=0)
    device = get_device(device)
    found = find_mnist(root, source)
    train = load_mnist(found, train=True, transform=train_transforms)
    test = load_mnist(found, train=False, transform=test_transforms)

    def loader(dataset, batch_size, **settings):
        settings |= {"generator": torch.Generator().manual_seed(seed)}
        if on_device and batched is None:
            warn_of_ordinary_loader("there is no batched.py beside utils.py")
        elif on_device:
            try:
                return batched.DeviceLoader(dataset, batch_size, device=device, **settings)
            except batched.UnbatchableError as reason:
                warn_of_ordinary_loader(reason)
        settings |= {"num_workers": num_workers, "pin_memory": device.type == "cuda"}
        return DataLoader(dataset, batch_size, **settings)

    held_out = ()
    if val_size:
        train, val = hold_out(train, val_size, seed)
        val.transform = test_transforms
        held_out = loader(val, test_batch_size), val
    train_loader = loader(train, batch_size, shuffle=True, drop_last=drop_last)
    return train_loader, train, *held_out, loader(test, test_batch_size), test


def warn_of_ordinary_loader(reason):
    """Warn, at the caller of `data_loader`, that its images will go one by one, and why."""
    warnings.warn(f"{reason}: images go through an ordinary DataLoader, one by one", stacklevel=4)


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


def data_statistics(train, train_loader):
    """Print shape, min, max, mean, std and var of the training images on [0, 1]; show a digit."""
    import matplotlib.pyplot as plt  # here, so that training needs no matplotlib

    pixels = train.data / 255
    print(f"[Train{source_mark(train_loader)}]")
    print(f" - Shape: {tuple(pixels.shape)}")
    for name in ("min", "max", "mean", "std", "var"):
        print(f" - {name}: {getattr(pixels, name)().item():.4f}")
    generator = getattr(train_loader, "generator", None)
    before = None if generator is None else generator.get_state()
    with torch.random.fork_rng(devices=[]):  # a look at the data leaves the run as it would be
        images, labels = next(iter(train_loader))
    if generator is not None:
        generator.set_state(before)
    plt.figure(figsize=(2, 2))
    plt.imshow(images[0].squeeze().cpu().numpy(), cmap="gray_r")
    plt.title(f"label {labels[0].item()}")
    plt.axis("off")
    plt.show()


def source_of(loader):
    """Return where a loader's images come from: "full", "sample", or "unknown"."""
    dataset = getattr(loader, "dataset", None)
    while hasattr(dataset, "dataset"):  # a Subset's own
        dataset = dataset.dataset
    return getattr(dataset, "source", "unknown")


def source_mark(loader):
    """Return " (sample)" for a loader over the sample, "" otherwise."""
    return " (sample)" if source_of(loader) == "sample" else ""


# --- Loops -------------------------------------------------------------------------------------


class Metrics(NamedTuple):
    """Mean loss over the images, and accuracy in per cent."""

    loss: float
    accuracy: float


def train_model(
    model,
    device,
    train_loader,
    optimizer,
    epoch,
    *,
    loss_function=F.cross_entropy,
    batch_scheduler=None,
    averaged=None,
    progress=True,
    leave=True,
):
    """Train for one epoch; return its Metrics, taken while weights move and images are augmented.

    `loss_function` takes outputs (N, 10) and labels (N,) and returns their mean loss.
    `batch_scheduler` steps, and `averaged` (torch.optim.swa_utils.AveragedModel) takes in the
    weights, after every batch. Raises FloatingPointError, with epoch, batch and learning rate,
    when a loss is not finite; ValueError for an empty loader or outputs that are not (N, 10).
    """
    model.train()
    losses, hits, sizes, rates = [], [], [], []  # a value a batch; the first two stay on device
    next_look = time.monotonic()
    batches, title = length_hint(train_loader) or None, f"Epoch {epoch}{source_mark(train_loader)}"
    with tqdm(total=batches, disable=not progress, leave=leave, unit="batch") as bar:
        for images, labels in train_loader:
            images = images.to(device, non_blocking=True)
            labels = labels.to(device, non_blocking=True)
            optimizer.zero_grad(set_to_none=True)
            outputs = checked_outputs(model(images), labels)
            loss = loss_function(outputs, labels)
            loss.backward()
            optimizer.step()

            losses.append(loss.detach())
            hits.append((outputs.argmax(dim=1) == labels).sum())
            sizes.append(len(labels))
            rates.append(optimizer.param_groups[0]["lr"])
            if averaged is not None:
                averaged.update_parameters(model)
            if batch_scheduler is not None:
                batch_scheduler.step()
            bar.update()
            if time.monotonic() >= next_look:  # reading a loss waits for the device: do it seldom
                describe(bar, title, len(sizes), mean_metrics(losses, hits, sizes, rates, epoch))
                next_look = time.monotonic() + 0.5
        metrics = mean_metrics(losses, hits, sizes, rates, epoch)
        describe(bar, title, len(sizes), metrics)
    return metrics


def describe(bar, title, batches, metrics):
    """Write the epoch so far at the head of its progress bar; batches count from 0."""
    bar.set_description(
        f"{title} Loss={metrics.loss:.4f} Batch_id={batches - 1} Accuracy={metrics.accuracy:.2f}"
    )


def mean_metrics(losses, hits, sizes, rates, epoch):
    """Return the Metrics over batches of given sizes, from a loss and a number of hits for each."""
    if not sizes:
        raise ValueError("expected a loader with at least one batch, got none")
    losses, sizes = torch.stack(losses).double().cpu(), torch.tensor(sizes)
    broken = (~losses.isfinite()).nonzero()
    if len(broken):
        batch = broken[0].item()
        raise FloatingPointError(
            f"the loss is {losses[batch].item()} in epoch {epoch}, batch {batch}, at learning "
            f"rate {float(rates[batch]):g}: try a smaller one"
        )
    total = sizes.sum().item()
    accuracy = 100 * torch.stack(hits).sum().item() / total
    return Metrics((losses @ sizes.double()).item() / total, accuracy)


def checked_outputs(outputs, labels):
    """Return a model's outputs as float32 (or wider); ValueError unless they are (N, 10)."""
    if outputs.shape != (len(labels), 10):
        raise ValueError(
            f"expected model outputs of shape ({len(labels)}, 10), got {tuple(outputs.shape)}"
        )
    return outputs.float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs


@torch.no_grad()
def infer(model, device, loader):
    """Return outputs (N, 10) and labels (N,) of a whole loader, on the device, in its order.

    Leaves the model in eval mode, its weights and buffers as they were.
    """
    model.eval()
    outputs, labels = [], []
    for images, batch_labels in loader:
        labels.append(batch_labels.to(device, non_blocking=True))
        outputs.append(checked_outputs(model(images.to(device, non_blocking=True)), labels[-1]))
    if not outputs:
        raise ValueError("expected a loader with at least one batch, got none")
    return torch.cat(outputs), torch.cat(labels)


def test_model(model, device, test_loader, *, verbose=True):
    """Return the Metrics of a model over a loader, and print them."""
    outputs, labels = infer(model, device, test_loader)
    loss = F.cross_entropy(outputs, labels).item()
    correct = (outputs.argmax(dim=1) == labels).sum().item()
    accuracy = 100 * correct / len(labels)
    if verbose:
        print(
            f"Test set{source_mark(test_loader)}: Average loss: {loss:.4f}, "
            f"Accuracy: {correct}/{len(labels)} ({accuracy:.2f}%)"
        )
    return Metrics(loss, accuracy)


def test_model_plateau(model, device, test_loader, *, verbose=True):
    """Return the average test loss as a float: what ReduceLROnPlateau's `step` takes."""
    return test_model(model, device, test_loader, verbose=verbose).loss


# --- The whole run -----------------------------------------------------------------------------


@dataclass
class History:
    """A run, epoch by epoch, in plain floats; `learning_rate` is that of an epoch's first batch.

    `val_loss` and `val_accuracy` stay empty without validation images.
    """

    source: str = "unknown"
    train_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __len__(self):
        return len(self.test_loss)

    def append(self, train, test, learning_rate, seconds, val=None):
        """Add an epoch: its Metrics, the learning rate, and the time that it took."""
        self.train_loss.append(train.loss)
        self.train_accuracy.append(train.accuracy)
        self.test_loss.append(test.loss)
        self.test_accuracy.append(test.accuracy)
        if val is not None:
            self.val_loss.append(val.loss)
            self.val_accuracy.append(val.accuracy)
        self.learning_rate.append(learning_rate)
        self.seconds.append(seconds)

    @property
    def best_epoch(self):
        """The first epoch, counted from 1, with the highest test accuracy."""
        return 1 + self.test_accuracy.index(max(self.test_accuracy))

    def save(self, path):
        """Write the history as JSON, whole or not at all."""
        write_atomically(path, json.dumps(asdict(self), indent=1).encode() + b"\n")

    @classmethod
    def load(cls, path):
        """Read what `save` wrote."""
        return cls(**json.loads(Path(path).read_text()))


def fit(
    model,
    device,
    train_loader,
    test_loader,
    optimizer,
    epochs,
    scheduler=None,
    *,
    val_loader=None,
    averaged=None,
    loss_function=F.cross_entropy,
    checkpoint=None,
    resume=False,
    settings=None,
    history=None,
    progress=True,
    verbose=True,
):
    """Train for a number of epochs, test after each, and return the History.

    A torch scheduler is stepped as its kind asks, see `scheduler_step`; ReduceLROnPlateau gets the
    loss that `test_model_plateau` returns: over `val_loader`, images held out of training, where
    there is one, else over the test set, as the exercise does. With `averaged`, an AveragedModel
    of `model`, its weights are the ones tested.

    With a `checkpoint` file the whole state is saved after every epoch, and `resume=True` goes on
    where the file stops, or starts if there is none. `settings`, a dict of plain values, is kept
    in it: a checkpoint with other settings is refused by name. A `history` given is filled as the
    run goes, so that an interrupted run leaves what it had.

    Raises what `train_model` raises, FloatingPointError for a tested loss that is not finite,
    FileExistsError for a checkpoint that is there without `resume`, ValueError for one that does
    not fit.
    """
    history = History() if history is None else history
    check_run(epochs, train_loader, test_loader, val_loader, scheduler, history)
    history.source = source_of(train_loader)
    state = RunState(
        model, averaged, optimizer, scheduler, train_loader, test_loader, history, val_loader
    )
    if checkpoint is not None:
        checkpoint, settings = (
            Path(checkpoint),
            run_settings(state, loss_function) | (settings or {}),
        )
        check_checkpoint(checkpoint, resume, state.collect() | {"settings": settings})
        if checkpoint.exists():
            state.restore(load_checkpoint(checkpoint), settings, epochs)

    step = scheduler_step(scheduler)
    for epoch in range(len(history) + 1, epochs + 1):
        start, learning_rate = time.perf_counter(), float(optimizer.param_groups[0]["lr"])
        train = train_model(
            model,
            device,
            train_loader,
            optimizer,
            epoch,
            loss_function=loss_function,
            batch_scheduler=scheduler if step == "batch" else None,
            averaged=averaged,
            progress=progress,
            leave=False,
        )
        tested = model if averaged is None else averaged
        test = test_model(tested, device, test_loader, verbose=False)
        val = None
        if val_loader is not None:
            val = test_model(tested, device, val_loader, verbose=False)
        for name, loss in (("test", test.loss), ("validation", val.loss if val else 0.0)):
            if not math.isfinite(loss):
                raise FloatingPointError(
                    f"the {name} loss is {loss} after epoch {epoch}, at learning rate "
                    f"{learning_rate:g}: try a smaller one"
                )
        if step == "plateau":
            scheduler.step((val or test).loss)
        elif step == "epoch":
            scheduler.step()
        history.append(train, test, learning_rate, time.perf_counter() - start, val)
        if checkpoint is not None:
            save_checkpoint(checkpoint, state.collect() | {"settings": settings})
        if verbose:  # last: an epoch that is printed is an epoch that is kept
            print(epoch_line(history, epochs, source_mark(test_loader)), flush=True)
    return history


def check_run(epochs, train_loader, test_loader, val_loader, scheduler, history):
    """Raise TypeError or ValueError for a run that could not come to its end."""
    check_integer("epochs", epochs, minimum=1)
    loaders = {"train_loader": train_loader, "test_loader": test_loader, "val_loader": val_loader}
    for name, loader in loaders.items():
        if hasattr(loader, "__len__") and len(loader) == 0:
            raise ValueError(f"expected {name} with at least one batch, got none")
    steps, total_steps = epochs * length_hint(train_loader), getattr(scheduler, "total_steps", None)
    if total_steps is not None and steps > total_steps:
        raise ValueError(f"expected a scheduler over {steps} steps, got total_steps {total_steps}")
    if len(history):
        raise ValueError(f"expected an empty history, got one of {len(history)} epochs")


def scheduler_step(scheduler):
    """Say when a scheduler steps: after a "batch", after an "epoch", or with the "plateau" loss."""
    if scheduler is None:
        return None
    if isinstance(scheduler, ReduceLROnPlateau):
        return "plateau"
    return "batch" if isinstance(scheduler, (OneCycleLR, CyclicLR)) else "epoch"


def epoch_line(history, epochs, mark=""):
    """Return the line that an epoch leaves."""
    val = ""
    if history.val_loss:
        val = f"val loss {history.val_loss[-1]:.4f}, accuracy {history.val_accuracy[-1]:.2f}% | "
    return (
        f"Epoch {len(history):2}/{epochs}: "
        f"train loss {history.train_loss[-1]:.4f}, accuracy {history.train_accuracy[-1]:.2f}% | "
        f"{val}"
        f"test{mark} loss {history.test_loss[-1]:.4f}, "
        f"accuracy {history.test_accuracy[-1]:.2f}% | "
        f"learning rate {history.learning_rate[-1]:.3g} | {history.seconds[-1]:.1f} s"
    )


# --- Checkpoints -------------------------------------------------------------------------------

SCHEDULE_CONSTANTS = (  # of torch's schedulers: what they were made with, not where they are
    *("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lrs", "eps"),
    *("total_steps", "T_max", "T_0", "T_mult", "eta_min", "gamma", "step_size", "milestones"),
    "base_lrs",
)
CHECKPOINT_KEYS = {
    "parts",
    "generators",
    "python_random",
    "torch_random",
    "cuda_random",
    "history",
    "settings",
}


@dataclass
class RunState:
    """Everything that decides how a run goes on."""

    model: nn.Module
    averaged: nn.Module | None
    optimizer: torch.optim.Optimizer
    scheduler: object
    train_loader: object
    test_loader: object
    history: History
    val_loader: object = None

    def parts(self):
        """Return the parts that have a state_dict, by name; a compiled model counts as itself."""
        parts = {"model": getattr(self.model, "_orig_mod", self.model)}
        parts |= {"optimizer": self.optimizer, "scheduler": self.scheduler}
        parts |= {"averaged": self.averaged}
        return {name: part for name, part in parts.items() if part is not None}

    def generators(self):
        """Return the loaders' own random generators, by name."""
        names = ("train_loader", "test_loader", "val_loader")
        generators = {name: getattr(getattr(self, name), "generator", None) for name in names}
        return {name: generator for name, generator in generators.items() if generator is not None}

    def collect(self):
        """Return the state as plain values and tensors."""
        parts = {name: part.state_dict() for name, part in self.parts().items()}
        if "scheduler" in parts:  # some keep functions in it, which their constructors bring anyway
            parts["scheduler"] = {k: v for k, v in parts["scheduler"].items() if not callable(v)}
        return {
            "parts": parts,
            "generators": {name: g.get_state() for name, g in self.generators().items()},
            "python_random": random.getstate(),
            "torch_random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "history": asdict(self.history),
        }

    def restore(self, saved, settings, epochs):
        """Take over a saved state; ValueError, with nothing changed, if it is of another run."""
        mine = plain(self.collect())
        compared = [
            (name, settings.get(name), saved["settings"].get(name))
            for name in settings | saved["settings"]
        ]
        compared += [
            (name, sorted(mine[name]), sorted(saved[name])) for name in ("parts", "generators")
        ]
        schedules = [state["parts"].get("scheduler", {}) for state in (mine, saved)]
        compared += [
            (f"the scheduler's {name}", *(schedule.get(name) for schedule in schedules))
            for name in SCHEDULE_CONSTANTS
        ]
        differing = [
            f"{name} is {now!r}, the checkpoint's {then!r}"
            for name, now, then in compared
            if now != then
        ]
        done = len(saved["history"]["test_loss"])
        if epochs < done:
            differing.append(f"epochs is {epochs}, the checkpoint has done {done}")
        if differing:
            raise ValueError("this checkpoint is of another run: " + "; ".join(differing))
        for name, part in self.parts().items():
            part.load_state_dict(saved["parts"][name])
        for name, generator in self.generators().items():
            generator.set_state(saved["generators"][name])
        random.setstate(saved["python_random"])
        torch.set_rng_state(saved["torch_random"])
        if saved["cuda_random"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(saved["cuda_random"])
        vars(self.history).update(saved["history"])


def run_settings(state, loss_function):
    """Return what tells one run from another, as plain values."""
    loader, model = state.train_loader, state.parts()["model"]
    dataset, sampler = getattr(loader, "dataset", None), getattr(loader, "sampler", None)
    settings = {
        "model": type(model).__name__,
        "layers": str(model),
        "averaged": state.averaged is not None,
        "validation": state.val_loader is not None,
        "optimizer": f"{type(state.optimizer).__name__} {state.optimizer.defaults}",
        "scheduler": type(state.scheduler).__name__,
        "loss_function": getattr(loss_function, "__qualname__", repr(loss_function)),
        "loader": type(loader).__name__,
        "batch_size": getattr(loader, "batch_size", None),
        "drop_last": getattr(loader, "drop_last", None),
        "shuffle": getattr(loader, "shuffle", type(sampler).__name__),
        "images": length_hint(dataset),
        "transforms": str(getattr(dataset, "transform", None)),
    }
    return {
        name: re.sub(r" at 0x\w+", "", value) if isinstance(value, str) else value
        for name, value in settings.items()
    }


def plain(value, name="checkpoint"):
    """Return a value of the plain types that a checkpoint may hold; TypeError names any other."""
    if value is None or isinstance(value, (bool, str, torch.Tensor)):
        return value
    for kind in (int, float):  # numpy's numbers among them
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, dict):
        return {plain(k, name): plain(v, f"{name}[{k!r}]") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        items = [plain(item, f"{name}[{k}]") for k, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    raise TypeError(f"expected numbers, strings and tensors for a checkpoint, {name} is {value!r}")


def checkpoint_bytes(state):
    """Return a state as the bytes of a checkpoint, its SHA-256 behind it."""
    buffer = io.BytesIO()
    torch.save(plain(state), buffer)
    return buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest()


def check_checkpoint(path, resume, state):
    """Raise TypeError or OSError if a state cannot be kept, or not in this file."""
    checkpoint_bytes(state)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"expected a folder for {path.name}, there is no {path.parent}")
    if path.exists() and not resume:
        raise FileExistsError(f"{path} holds a run: resume it, or choose another file")


def save_checkpoint(path, state):
    """Write a state of plain values and tensors by one replacement of the file."""
    write_atomically(path, checkpoint_bytes(state))


def load_checkpoint(path):
    """Read what `save_checkpoint` wrote; ValueError for anything else. Runs no code in the file."""
    content = Path(path).read_bytes()
    payload, digest = content[:-32], content[-32:]
    if hashlib.sha256(payload).digest() != digest:
        raise ValueError(f"{path} is not a checkpoint, or a damaged one: its SHA-256 is wrong")
    try:
        state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch makes of bytes that are no checkpoint
        reason = f"{type(error).__name__} in reading it"  # torch's own words fill a screen
        raise ValueError(f"{path} is not a checkpoint: {reason}") from error
    if not isinstance(state, dict) or state.keys() != CHECKPOINT_KEYS:
        raise ValueError(f"{path} is not a checkpoint of fit: it lacks its parts")
    return state


def tested_weights(state):
    """Return the weights that `fit` tested, by name, from a checkpoint: the average if it took one.

    They fit a network of the kind that was trained.
    """
    averaged = state["parts"].get("averaged")
    if averaged is None:
        return state["parts"]["model"]
    weights = {name.removeprefix("module."): tensor for name, tensor in averaged.items()}
    del weights["n_averaged"]
    return weights


def write_atomically(path, content):
    """Write bytes to a file so that a crash at any instant leaves the old content or the new."""
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


# --- A look inside -----------------------------------------------------------------------------


def modelsummary(model):
    """Print torchsummary's table of a model for an input of (1, 28, 28).

    A copy of the model goes through it, on the CPU, for torchsummary runs it in training mode:
    BatchNorm's statistics and the random generators stay as they are.
    """
    with torch.random.fork_rng(devices=[]):
        torchsummary.summary(copy.deepcopy(model).cpu(), (1, 28, 28), device="cpu")
