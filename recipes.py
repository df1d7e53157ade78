"""How to train: augmentation, optimizer, learning rate and EMA, one function per recipe.

Create a new recipe for each run; `RECIPES` holds those that `train.py` offers, by name.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch.nn import functional as F
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from mnist_format import MEAN, STD
from optim import Muon


@dataclass(frozen=True)
class Recipe:
    """Everything that a run needs except a network and data.

    `train_transforms` and `test_transforms` are torchvision's, `optimizer` takes the network's
    parameters, `scheduler` takes the optimizer, the epochs and the steps of an epoch and returns a
    torch scheduler or None, `averaged_model` takes the network and returns an AveragedModel or
    None, `loss_function` takes log-probabilities (N, classes) and labels (N,). `wrap_loader` takes
    the loader of the training images and the seed and returns the loader to train on. `step` says
    when the scheduler steps, "batch" or "epoch"; None leaves it to `utils.fit`.
    """

    train_transforms: Callable
    test_transforms: Callable
    optimizer: Callable
    scheduler: Callable = lambda optimizer, epochs, steps: None
    averaged_model: Callable = lambda net: None
    loss_function: Callable = F.cross_entropy
    wrap_loader: Callable = lambda loader, seed: loader
    batch_size: int = 128
    epochs: int = 15
    step: str | None = None


def normalised(*augmentations):
    """Return a Compose of `augmentations`, ToTensor and Normalize to mean 0 and std 1."""
    return transforms.Compose(
        [*augmentations, transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    )


def augmented(**ranges):
    """Return `normalised` with RandomAffine of these ranges, applied with probability 0.8.

    Nearest interpolation keeps the augmented images as sharp as test images.
    """
    affine = transforms.RandomAffine(**ranges, interpolation=InterpolationMode.NEAREST)
    return normalised(transforms.RandomApply([affine], p=0.8))


def one_cycle(max_lr, pct_start=0.3):
    """Return a schedule: up from max_lr / 25 for `pct_start` of all steps, then down to nearly 0.

    `max_lr` is a number, or one for each of the optimizer's parameter groups. Momentum moves
    the other way, from 0.95 to 0.85 and back, overriding the optimizer's: OneCycleLR's defaults,
    after Smith and Topin, "Super-Convergence", 2018.
    """

    def scheduler(optimizer, epochs, steps):
        return OneCycleLR(
            optimizer, max_lr, epochs=epochs, steps_per_epoch=steps, pct_start=pct_start
        )

    return scheduler


class MovingAverage(AveragedModel):
    """An AveragedModel that FX and torch.export can trace: its forward pass takes images alone."""

    def forward(self, images):
        """Map images to the outputs of the averaged network."""
        return self.module(images)


@dataclass(frozen=True)
class WarmedUpDecay:
    """An update for AveragedModel's `multi_avg_fn`: an EMA whose decay warms up to `decay`.

    After n updates it is at most (1 + n) / (10 + n), as in TensorFlow's
    ExponentialMovingAverage, so the random initial weights are soon forgotten.
    """

    decay: float

    def __call__(self, averages, values, updates):
        """Move `averages`, a list of tensors, towards `values` after `updates` updates."""
        now = min(self.decay, (1 + updates.item()) / (10 + updates.item()))
        get_ema_multi_avg_fn(now)(averages, values, updates)


def moving_average(decay):
    """Return a function of a network: its AveragedModel, an EMA of weights and buffers."""
    return partial(MovingAverage, multi_avg_fn=WarmedUpDecay(decay), use_buffers=True)


def baseline():
    """Steps 1 and 2: the images as they are, SGD with momentum at a constant learning rate."""
    return Recipe(normalised(), normalised(), partial(SGD, lr=0.01, momentum=0.9))


def rotation():
    """Step 3, first experiment: `baseline` with training images rotated by up to 7 degrees."""
    rotated = normalised(transforms.RandomRotation((-7.0, 7.0), fill=(1,)))
    return replace(baseline(), train_transforms=rotated)


def on_plateau(threshold=1e-4):
    """Return a schedule: the rate divided by ten after 3 epochs in a row without an improvement.

    A loss counts as an improvement only if it is below (1 - threshold) x the best so far; 1e-4 is
    torch's default.
    """

    def scheduler(optimizer, epochs, steps):
        return ReduceLROnPlateau(optimizer, patience=2, threshold=threshold)

    return scheduler


def plateau():
    """Step 3: `rotation`, with ReduceLROnPlateau on the test loss, or `fit`'s validation loss."""
    return replace(rotation(), scheduler=on_plateau())


def best():
    """Step 3, ours: affine augmentation, one cycle of the learning rate, an EMA.

    What was tried on validation images, and what each choice gains, is in
    benchmarks/results/ablation.md.
    """
    return Recipe(
        augmented(degrees=10, translate=(0.07, 0.07), scale=(0.9, 1.1), shear=6),
        normalised(),
        partial(SGD, lr=0.2, momentum=0.9, weight_decay=1e-4),
        one_cycle(max_lr=0.2),
        moving_average(decay=0.998),
    )


def tuned_plateau():
    """`plateau` from 0.1 with weaker augmentation than `best`, for Net4 without dropout.

    At this rate the loss jumps, and one low loss by chance could postpone the reduction for good.
    So a loss counts as an improvement only if it is below 0.9 x the best so far.
    """
    return Recipe(
        augmented(degrees=7, translate=(0.05, 0.05), scale=(0.95, 1.05)),
        normalised(),
        partial(SGD, lr=0.1, momentum=0.9, weight_decay=1e-4),
        on_plateau(threshold=0.1),
    )


def muon(kernels_lr, others_lr, size=3, weight_decay=1e-4):
    """Return an optimizer and a schedule: Muon for kernels of this size, SGD for everything else.

    Both go through one cycle, each with its own max_lr. For Net5 that is the 3x3 kernels: with
    Muon for its 1x1 convolutions, too, the loss was higher on the one validation seed tried. For
    depthwise-separable networks it is the 1x1 kernels, the only ones that mix channels.
    """

    def optimizer(parameters):
        parameters = list(parameters)
        kernels = [parameter for parameter in parameters if parameter.shape[2:] == (size, size)]
        others = [parameter for parameter in parameters if parameter.shape[2:] != (size, size)]
        groups = [
            {"params": kernels, "lr": kernels_lr, "orthogonal": True},
            {"params": others, "lr": others_lr, "weight_decay": weight_decay},
        ]
        return Muon(groups, lr=others_lr)

    return {"optimizer": optimizer, "scheduler": one_cycle([kernels_lr, others_lr])}


def quick():
    """`best` with Muon, for 3 epochs: the shortest way past 99.4 % with Net5."""
    return replace(best(), **muon(kernels_lr=0.04, others_lr=0.2), epochs=3)


def small():
    """`best` with Muon at a lower rate: for nets of few parameters with 3x3 kernels, 15 epochs."""
    return replace(best(), **muon(kernels_lr=0.02, others_lr=0.2))


def light():
    """`best` with the lighter augmentation of `tuned_plateau`: for networks that underfit."""
    return replace(best(), train_transforms=tuned_plateau().train_transforms)


def separable():
    """`light` with Muon for the 1x1 kernels: 5 epochs for Net7, 15 for Net6."""
    return replace(light(), **muon(kernels_lr=0.03, others_lr=0.2, size=1), epochs=5)


def wide():
    """`best` with Muon for the 1x1 kernels: for wide depthwise-separable networks, 15 epochs."""
    return replace(best(), **muon(kernels_lr=0.03, others_lr=0.2, size=1))


def tiny():
    """`best` with Muon for the 1x1 kernels, for networks that underfit by far, such as Net8.

    It augments less than `light`, its max_lr is higher, and there is no weight decay.
    """
    slightly = augmented(degrees=5, translate=(0.03, 0.03))
    updates = muon(kernels_lr=0.03, others_lr=0.5, size=1, weight_decay=0)
    return replace(best(), train_transforms=slightly, **updates)


def hands():
    """`small` with `light`'s augmentation for 11 classes and 30 epochs, with images added.

    Generated digits and images of no digit are added to each batch. They vary already, so more
    augmentation is not needed.
    """
    from photo.training import weighted_loss, with_generated  # no other recipe needs SciPy

    return replace(
        small(),
        train_transforms=light().train_transforms,
        loss_function=weighted_loss,
        wrap_loader=with_generated,
        epochs=30,
    )


RECIPES = {
    recipe.__name__: recipe
    for recipe in (
        baseline,
        rotation,
        plateau,
        best,
        tuned_plateau,
        quick,
        small,
        light,
        separable,
        wide,
        tiny,
        hands,
    )
}
