"""How a training run works: seeds, loaders, the loops over batches and epochs, the history.

A model is anything that maps images (N, 1, 28, 28) to log-probabilities or logits (N, classes).
Losses are means over images, accuracies are percentages. Where the images come from is in data.py,
how batches are made on the device in batched.py, what a checkpoint holds in checkpoints.py.
"""

import math
import random
import sys
import time
import warnings
from collections.abc import Iterator
from operator import length_hint
from typing import NamedTuple

import torch
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from batched import DeviceLoader, UnbatchableError
from checkpoints import (
    RunState,
    check_checkpoint,
    file_path,
    load_checkpoint,
    run_settings,
    save_checkpoint,
)
from checks import (
    check_batch,
    check_integer,
    check_labels,
    check_optimizer,
    check_pair,
    check_parts,
    check_run,
    check_schedule,
    check_step_is_given,
    lacks_statistics,
    scheduler_step,
)
from data import hold_out, load_data, source_mark, source_of
from history import History, epoch_line
from layers import copied, is_ordinary, summary_table
from loader_state import end_workers, loader_parts

# --- Seed and device ---------------------------------------------------------------------------


def set_seed(seed):
    """Seed Python's and torch's random generators, on every device."""
    seed = check_integer("seed", seed, minimum=0)
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
        available = {
            "cpu": 1,
            "cuda": torch.cuda.device_count(),
            "mps": int(torch.backends.mps.is_available()),
        }[device.type]
    except (RuntimeError, KeyError):
        expected = "auto, cpu, cuda, cuda:N or mps"
        raise ValueError(f"expected device {expected}, got {name!r}") from None
    if (device.index or 0) >= available:
        raise RuntimeError(f"expected a device that torch sees, got {name} ({available} available)")
    return device


# --- Training and testing: one pass over the images --------------------------------------------


class Metrics(NamedTuple):
    """Mean loss over the images, and accuracy as a percentage."""

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
    averaged_model=None,
    progress=None,
    leave=True,
):
    """Train for one epoch; return its Metrics, taken while weights change and images are augmented.

    `loss_function` takes outputs (N, classes) and labels and returns their mean loss. Labels are
    class indices (N,) or class probabilities (N, classes). `batch_scheduler` steps, and
    `averaged_model` (torch.optim.swa_utils.AveragedModel) takes in the weights, after every batch.
    A sampler with `set_epoch` gets the epoch. `progress` None shows a bar in terminals and
    notebooks.

    Raises FloatingPointError, with epoch, batch and learning rate, when a loss is not finite;
    ValueError for an empty loader, outputs that are not (N, classes), labels of another shape or
    outside the classes; TypeError for batches that are not (images, labels) and for an optimizer
    whose step needs a closure.
    """
    check_optimizer(optimizer)
    for _, part in loader_parts(train_loader):
        if hasattr(part, "set_epoch"):  # DistributedSampler: another order each epoch
            part.set_epoch(epoch)
    if progress is None:
        progress = sys.stderr.isatty() or "ipykernel" in sys.modules
    model.train()
    losses, correct, sizes, rates = [], [], [], []  # one per batch; the first two stay on device
    next_look = time.monotonic()
    batches, title = length_hint(train_loader) or None, f"Epoch {epoch}{source_mark(train_loader)}"
    with tqdm(total=batches, disable=not progress, leave=leave, unit="batch") as bar:
        for batch in train_loader:
            images, labels = check_pair(batch)
            optimizer.zero_grad(set_to_none=True)
            outputs = model(images.to(device, non_blocking=True))
            outputs, labels = check_batch(outputs, labels)
            if not sizes:  # all at once: a label outside the classes would abort CUDA
                check_held_labels(train_loader, outputs)
            labels = labels.to(device, non_blocking=True)
            loss = loss_function(outputs, labels)
            loss.backward()
            optimizer.step()

            losses.append(loss.detach())
            correct.append(count_correct(outputs, labels))
            sizes.append(len(labels))
            rates.append(optimizer.param_groups[0]["lr"])
            if averaged_model is not None:
                averaged_model.update_parameters(model)
            if batch_scheduler is not None:
                batch_scheduler.step()
            bar.update()
            if time.monotonic() >= next_look:  # seldom: reading a loss waits for the device
                describe(bar, title, len(sizes), mean_metrics(losses, correct, sizes, rates, epoch))
                next_look = time.monotonic() + 0.5
        metrics = mean_metrics(losses, correct, sizes, rates, epoch)
        describe(bar, title, len(sizes), metrics)
    return metrics


def check_held_labels(loader, outputs):
    """Raise ValueError for a label that a DeviceLoader holds outside the classes of outputs."""
    if isinstance(loader, DeviceLoader):
        check_labels(loader.labels, outputs.shape[1])


def describe(bar, title, batches, metrics):
    """Show the metrics so far in the progress bar; batches count from 0."""
    bar.set_description(
        f"{title} Loss={metrics.loss:.4f} Batch_id={batches - 1} Accuracy={metrics.accuracy:.2f}"
    )


def count_correct(outputs, labels):
    """Return how many outputs (N, classes) are correct for labels, as a tensor on the device."""
    classes = labels if labels.dim() == 1 else labels.argmax(dim=1)
    return (outputs.argmax(dim=1) == classes).sum()


def mean_metrics(losses, correct, sizes, rates, epoch):
    """Return the Metrics over batches of given sizes, from the loss and correct count of each."""
    if not sizes:
        raise ValueError("expected a loader with at least one batch, got none")
    losses = torch.stack(losses).cpu().double()
    sizes = torch.tensor(sizes, dtype=torch.float64, device="cpu")
    broken = (~losses.isfinite()).nonzero()
    if len(broken):
        batch = broken[0].item()
        raise FloatingPointError(
            f"the loss is {losses[batch].item()} in epoch {epoch}, batch {batch}, at learning "
            f"rate {float(rates[batch]):g}: try a smaller one"
        )
    total = sizes.sum().item()
    accuracy = 100 * torch.stack(correct).sum().item() / total
    return Metrics((losses @ sizes).item() / total, accuracy)


@torch.no_grad()
def predict(model, device, loader):
    """Return outputs (N, classes) and labels (N,) of a whole loader, on the device, in its order.

    Leaves the model in eval mode, its weights and buffers unchanged. Raises ValueError and
    TypeError as `train_model` does.
    """
    model.eval()
    batches = []
    for batch in loader:
        images, labels = check_pair(batch)
        outputs = model(images.to(device, non_blocking=True))
        outputs, labels = check_batch(outputs, labels)
        if not batches:
            check_held_labels(loader, outputs)
        batches.append((outputs, labels.to(device, non_blocking=True)))
    if not batches:
        raise ValueError("expected a loader with at least one batch, got none")
    outputs, labels = zip(*batches, strict=True)
    return torch.cat(outputs), torch.cat(labels)


def test_model(model, device, test_loader, *, verbose=True):
    """Evaluate a model on a loader: return its Metrics, and print them if `verbose`.

    Raises ValueError and TypeError as `train_model` does. Leaves the model in eval mode.
    """
    outputs, labels = predict(model, device, test_loader)
    loss = F.cross_entropy(outputs, labels).item()
    correct = count_correct(outputs, labels).item()
    accuracy = 100 * correct / len(labels)
    if verbose:
        print(
            f"Test set{source_mark(test_loader)}: Average loss: {loss:.4f}, "
            f"Accuracy: {correct}/{len(labels)} ({accuracy:.2f}%)"
        )
    return Metrics(loss, accuracy)


def test_model_plateau(model, device, test_loader, *, verbose=True):
    """Return the average test loss as a float, for `scheduler.step(test_loss)`."""
    return test_model(model, device, test_loader, verbose=verbose).loss


test_model.__test__ = test_model_plateau.__test__ = False  # pytest shall not collect them


# --- The whole run -----------------------------------------------------------------------------


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
    averaged_model=None,
    loss_function=F.cross_entropy,
    step=None,
    checkpoint=None,
    resume=False,
    settings=None,
    history=None,
    progress=None,
    verbose=True,
):
    """Train for a number of epochs, evaluate after each, and return the History.

    `test_loader` or `val_loader` may be None. With `averaged_model`, an AveragedModel of `model`,
    its weights are the ones evaluated. One without `use_buffers` has no BatchNorm statistics of its
    own: before each evaluation they are measured on the training images, by torch's `update_bn`.

    When a torch scheduler steps: ReduceLROnPlateau after every epoch, with the loss of
    `test_model_plateau` in mode "min", with the accuracy in mode "max", over `val_loader` if there
    is one, else over `test_loader`; OneCycleLR and CyclicLR after every batch, also inside a
    SequentialLR or ChainedScheduler; any other after every epoch. `step="batch"` or `step="epoch"`
    overrides this, and has to be given for a schedule that would step per epoch, but whose length
    is a multiple of the batches of an epoch.

    With a `checkpoint` file the whole state is saved after every epoch, and `resume=True` continues
    from the file, or starts anew if there is none. `settings`, a dict of plain values, is saved in
    it; resuming with other settings raises an error that names them. A `history` passed in is
    filled epoch by epoch, so that it keeps the epochs of an interrupted run.

    Raises what `train_model` raises, FloatingPointError for an evaluated loss that is not finite,
    FileExistsError for an existing checkpoint without `resume`, ValueError for one of another run,
    for parts that don't belong together and for a schedule that ends before the run.
    """
    history = History() if history is None else history
    loaders = {"train_loader": train_loader, "test_loader": test_loader, "val_loader": val_loader}
    epochs = check_run(epochs, loaders, history)
    check_parts(model, optimizer, averaged_model, scheduler)
    if lacks_statistics(averaged_model) and isinstance(train_loader, Iterator):
        raise ValueError(
            "train_loader: expected one that can be read twice, for the BatchNorm statistics of "
            "averaged_model, got an iterator; AveragedModel(..., use_buffers=True) needs no second"
        )
    given, step = step, scheduler_step(scheduler, step)
    if step == "epoch" and given is None:
        check_step_is_given(scheduler, epochs, length_hint(train_loader))
    state = RunState(model, averaged_model, optimizer, scheduler, loaders, history)

    steps_per_epoch = length_hint(train_loader) if step == "batch" else 1

    def check_rest():
        check_schedule(scheduler, (epochs - len(history)) * steps_per_epoch)

    if checkpoint is not None:
        checkpoint = file_path(checkpoint)
        steps = epochs * steps_per_epoch
        settings = run_settings(state, loss_function, step, steps) | (settings or {})
        check_checkpoint(checkpoint, resume, state.collect() | {"settings": settings})
        if checkpoint.exists():
            saved = load_checkpoint(checkpoint)
            settings = state.restore(saved, settings, epochs, check_rest)
    elif resume:
        raise ValueError("expected a checkpoint file to resume from, got checkpoint=None")
    check_rest()
    history.source = source_of(train_loader)

    for epoch in range(len(history) + 1, epochs + 1):
        start, learning_rate = time.perf_counter(), float(optimizer.param_groups[0]["lr"])
        end_workers(loaders)
        train = train_model(
            model,
            device,
            train_loader,
            optimizer,
            epoch,
            loss_function=loss_function,
            batch_scheduler=scheduler if step == "batch" else None,
            averaged_model=averaged_model,
            progress=progress,
            leave=False,
        )
        if lacks_statistics(averaged_model):
            update_bn(train_loader, averaged_model, device)
        evaluated, tested = {}, model if averaged_model is None else averaged_model
        for name, loader in (("test", test_loader), ("val", val_loader)):
            if loader is not None:
                evaluated[name] = test_model(tested, device, loader, verbose=False)
                if not math.isfinite(evaluated[name].loss):
                    raise FloatingPointError(
                        f"the {name} loss is {evaluated[name].loss} after epoch {epoch}, at "
                        f"learning rate {learning_rate:g}: try a smaller one"
                    )
        if step == "plateau":
            metrics = evaluated.get("val", evaluated.get("test"))
            scheduler.step(metrics.loss if scheduler.mode == "min" else metrics.accuracy)
        elif step == "epoch":
            scheduler.step()
        seconds = time.perf_counter() - start
        history.append(train, evaluated.get("test"), learning_rate, seconds, evaluated.get("val"))
        if checkpoint is not None:
            save_checkpoint(checkpoint, state.collect() | {"settings": settings})
        if verbose:  # last: an epoch that is printed is an epoch that is saved
            print(epoch_line(history, epochs), flush=True)
    return history


# --- Data and model: what goes in --------------------------------------------------------------


def data_loader(
    train_transforms,
    test_transforms,
    batch_size,
    *,
    dataset=None,
    val_size=None,
    root=None,
    source="auto",
    device="auto",
    seed=None,
    test_batch_size=500,
    drop_last=False,
    on_device=True,
    num_workers=0,
    resize=True,
    verbose=True,
):
    """Return `train_loader, train, test_loader, test`: loaders and their datasets.

    They hold MNIST, or `dataset`: a name such as "FashionMNIST" or "EMNIST/balanced", or a pair
    (train, test) of your own. `data.load_data` describes it, `root`, `source`, `resize`, `verbose`.

    With `val_size`, for choices that must not be made on the test set: `train_loader, train,
    val_loader, val`, a stratified split of the training images in which `val` has `val_size`.

    Loaders yield images (batch, 1, 28, 28) and labels (batch,). The transforms are torchvision's;
    where `batched` has equivalents, a loader is its DeviceLoader on `device`, otherwise (or with
    `on_device=False`) a DataLoader with `num_workers`. Only training images are shuffled. `seed`
    decides the split, the order and a DeviceLoader's draws (those of a DataLoader come from torch's
    generator, or its workers'); None draws a seed from torch's generator. A dataset's `source`
    names the data set. `drop_last` leaves out the last short training batch.

    Raises TypeError, ValueError, FileNotFoundError or RuntimeError for unusable arguments or data.
    """
    batch_size = check_integer("batch_size", batch_size, minimum=1)
    test_batch_size = check_integer("test_batch_size", test_batch_size, minimum=1)
    num_workers = check_integer("num_workers", num_workers, minimum=0)
    if val_size is not None:
        val_size = check_integer("val_size", val_size, minimum=1)
    if seed is None:
        seed = torch.randint(2**31, (), device="cpu").item()
    seed = check_integer("seed", seed, minimum=0)
    device = get_device(device)
    where = {"root": root, "source": source, "resize": resize, "verbose": verbose}
    train, test = load_data(train_transforms, test_transforms, dataset, **where)
    if val_size is not None:
        train, held_out = hold_out(train, val_size, seed)
        held_out.transform, test = test.transform, held_out
    settings = {"device": device, "on_device": on_device, "num_workers": num_workers}
    train_loader = make_loader(
        train, batch_size, seed, shuffle=True, drop_last=drop_last, **settings
    )
    return train_loader, train, make_loader(test, test_batch_size, seed, **settings), test


def make_loader(dataset, batch_size, seed, *, device, on_device=True, num_workers=0, **settings):
    """Return a DeviceLoader of a dataset, or a DataLoader where there must be one, with a warning.

    `settings` are `shuffle` and `drop_last`, which both loaders take.
    """
    settings |= {"generator": torch.Generator().manual_seed(seed)}
    if on_device:
        try:
            return DeviceLoader(dataset, batch_size, device=device, **settings)
        except UnbatchableError as reason:
            about = "images go through an ordinary DataLoader, one by one"
            warnings.warn(f"{reason}: {about}", stacklevel=3)
    settings |= {"num_workers": num_workers, "pin_memory": device.type == "cuda"}
    return DataLoader(dataset, batch_size, **settings)


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
    with torch.random.fork_rng(devices=[]):  # looking at the data changes no later draw
        images, labels = next(iter(train_loader))
    if generator is not None:
        generator.set_state(before)
    plt.figure(figsize=(2, 2))
    plt.imshow(images[0].squeeze().cpu().numpy(), cmap="gray_r")
    names, label = getattr(train, "classes", None), labels[0].item()
    plt.title(f"label {names[label] if names else label}")
    plt.axis("off")
    plt.show()


def modelsummary(model):
    """Print torchsummary's table of a model for a (1, 28, 28) input.

    Where torchsummary would count wrongly, because a layer or a parameter is shared, pruned or
    parametrized, the table is made from the calls of layers: each parameter counts once.
    """
    import torchsummary  # here, because nothing else needs it

    if not is_ordinary(model):
        print(summary_table(model))
        return
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torchsummary.summary(copied(model).cpu().float(), (1, 28, 28), device="cpu")
