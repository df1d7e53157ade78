"""MNIST data, training and test loops, history, checkpoints, and a look inside a model.

Nothing here knows a particular network: a model is anything that maps images (N, 1, 28, 28) to
log-probabilities or logits (N, 10). Losses are means over images, accuracies are per cent.
"""

import copy
import ctypes
import json
import math
import os
import platform
import random
import re
import time
import warnings
from dataclasses import asdict, dataclass, field
from operator import length_hint
from pathlib import Path
from typing import NamedTuple

import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

import batched
from checkpoints import (
    RunState,
    check_checkpoint,
    load_checkpoint,
    run_settings,
    save_checkpoint,
    tested_weights,  # noqa: F401
    write_atomically,
)
from mnist import find_mnist, hold_out, load_mnist

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
        if on_device:
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


# --- A look inside -----------------------------------------------------------------------------


def modelsummary(model):
    """Print torchsummary's table of a model for an input of (1, 28, 28).

    A copy of the model goes through it, on the CPU, for torchsummary runs it in training mode:
    BatchNorm's statistics and the random generators stay as they are.
    """
    import torchsummary  # here, because nothing else needs it

    with torch.random.fork_rng(devices=[]):
        torchsummary.summary(copy.deepcopy(model).cpu(), (1, 28, 28), device="cpu")


class LayerTrace(NamedTuple):
    """What a layer leaves behind: (height, width, channels), and the receptive field in pixels."""

    name: str
    layer: nn.Module
    output_size: tuple[int, int, int]
    receptive_field: int


def trace(model, input_size=(1, 28, 28)):
    """Yield a LayerTrace for each layer of a chain of square convolutions and poolings, in order.

    The receptive field grows by (kernel size - 1) x jump at every layer, and the jump, the
    distance of neighbouring outputs in input pixels, is multiplied by the stride (Araujo,
    Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019).
    Raises TypeError for a layer that is neither local nor elementwise, and for branches it would
    be wrong without notice.
    """
    model, rows = copy.deepcopy(model).cpu().eval(), []
    names = {module: name for name, module in model.named_modules()}

    def hook(layer, inputs, output):
        rows.append((layer, inputs[0].shape, output.shape))

    for module in names:
        if not any(module.children()):
            module.register_forward_hook(hook)
    with torch.no_grad():
        model(torch.zeros(1, *input_size))

    receptive_field, jump = 1, 1
    for layer, before, after in rows:
        kernel_size, stride = window(layer, before)
        receptive_field += (kernel_size - 1) * jump
        jump *= stride
        _, channels, height, width = after
        yield LayerTrace(names[layer], layer, (height, width, channels), receptive_field)


def window(layer, input_shape):
    """Return the kernel size, dilation included, and the stride of a layer, in pixels."""
    if isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size in (1, (1, 1)):
        return input_shape[-1], 1
    if isinstance(layer, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
        sizes = (layer.kernel_size, layer.stride, getattr(layer, "dilation", 1))
        kernel_size, stride, dilation = (
            size if isinstance(size, tuple) else (size, size) for size in sizes
        )
        if any(height != width for height, width in (kernel_size, stride, dilation)):
            raise TypeError(f"expected square windows, got {layer}")
        return dilation[0] * (kernel_size[0] - 1) + 1, stride[0]
    elementwise = (nn.ReLU, nn.BatchNorm2d, nn.Dropout, nn.Dropout2d, nn.Identity)
    if isinstance(layer, elementwise):
        return 1, 1
    raise TypeError(f"expected a convolution, pooling or elementwise layer, got {layer}")
