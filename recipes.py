"""How to train: images, optimizer and learning rate, in one place for all who train.

A recipe is made anew for each run; `RECIPES` names those that `train.py` offers.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch.optim import SGD
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchvision import transforms

MEAN, STD = (0.1307,), (0.3081,)  # of the pixels of MNIST's 60,000 training images, on [0, 1]


@dataclass(frozen=True)
class Recipe:
    """What a run needs beside a network and data.

    `train_transforms` and `test_transforms` are torchvision's, `optimizer` takes the network's
    parameters, `scheduler` takes the optimizer and returns a torch scheduler, or None.
    """

    train_transforms: Callable
    test_transforms: Callable
    optimizer: Callable
    scheduler: Callable = lambda optimizer: None


def normalised(*augmentations):
    """Return a pipeline of augmentations, then a tensor of mean 0 and standard deviation 1."""
    return transforms.Compose(
        [*augmentations, transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    )


def baseline():
    """Steps 1 and 2: the images as they are, SGD with momentum at a constant learning rate."""
    return Recipe(normalised(), normalised(), partial(SGD, lr=0.01, momentum=0.9))


def rotation():
    """Step 3, first experiment: `baseline` with training images rotated by up to 7 degrees."""
    rotated = normalised(transforms.RandomRotation((-7.0, 7.0), fill=(1,)))
    return replace(baseline(), train_transforms=rotated)


def plateau():
    """Step 3: `rotation`, and a tenth of the learning rate after 3 epochs without a better loss."""
    return replace(rotation(), scheduler=partial(ReduceLROnPlateau, patience=2))


RECIPES = {recipe.__name__: recipe for recipe in (baseline, rotation, plateau)}
