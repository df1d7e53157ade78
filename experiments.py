"""One experiment: a network, a recipe, a seed and data, put together and trained.

`run` is the one place that does it, for the notebooks, the command lines and the benchmarks.
"""

from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from itertools import chain, repeat

import torch
from torch import nn

import utils
from checks import check_integer
from data import hold_out, load_data
from hardware import keep_freed_memory, to_device
from history import History
from recipes import Recipe

TEST_BATCH_SIZE = 500


@dataclass
class Experiment:
    """A network with everything that trains it; `fit` fills the `history`.

    `test_loader` or `val_loader` is None if that set is not evaluated, `scheduler` and
    `averaged_model` (the EMA, a torch AveragedModel) if the recipe has none.
    """

    net: nn.Module
    recipe: Recipe
    epochs: int
    device: torch.device
    train_loader: object
    test_loader: object
    val_loader: object
    optimizer: torch.optim.Optimizer
    scheduler: object
    averaged_model: nn.Module | None
    history: History = field(default_factory=History)

    @property
    def evaluated(self):
        """The network whose weights are evaluated: the EMA if there is one."""
        return self.net if self.averaged_model is None else self.averaged_model

    @property
    def parameters(self):
        """The number of the network's parameters."""
        return sum(parameter.numel() for parameter in self.net.parameters())

    def fit(self, compile=False, **options):
        """Train, through torch.compile if asked; `options` are those of `utils.fit`."""
        utils.fit(
            torch.compile(self.net) if compile else self.net,
            self.device,
            self.train_loader,
            self.test_loader,
            self.optimizer,
            self.epochs,
            self.scheduler,
            val_loader=self.val_loader,
            averaged_model=self.averaged_model,
            loss_function=self.recipe.loss_function,
            step=self.recipe.step,
            history=self.history,
            **options,
        )


def prepare(
    net,
    recipe,
    *,
    dataset=None,
    seed=1,
    epochs=None,
    batch_size=None,
    val_size=0,
    split="test",
    root=None,
    source="auto",
    device="auto",
    verbose=True,
):
    """Return an Experiment that is ready to train. Everything random in it follows from `seed`.

    `net` is a class or function that returns a network, such as `Net5` or `partial(Net5, width=8)`;
    it is called with `classes=` unless the data has ten. `recipe` is a Recipe. `dataset` (None is
    MNIST), `root`, `source`, `device` and `verbose` are those of `utils.data_loader`. `val_size`
    training images are held out, and their loss steps ReduceLROnPlateau; with `split` "validation"
    they alone are evaluated. `epochs` and `batch_size` default to the recipe's.

    Raises TypeError, ValueError, FileNotFoundError or RuntimeError for unusable arguments or data.
    """
    epochs = recipe.epochs if epochs is None else epochs
    epochs = check_integer("epochs", epochs, minimum=1)
    batch_size = recipe.batch_size if batch_size is None else batch_size
    batch_size = check_integer("batch_size", batch_size, minimum=1)
    val_size = check_integer("val_size", val_size, minimum=0)
    if split not in ("test", "validation"):
        raise ValueError(f"expected split 'test' or 'validation', got {split!r}")
    if split == "validation" and not val_size:
        raise ValueError("expected val_size of at least 1 for split 'validation', got 0")
    device = utils.get_device(device)
    keep_freed_memory()
    utils.set_seed(seed)
    transforms = recipe.train_transforms, recipe.test_transforms
    train, test = load_data(*transforms, dataset, root=root, source=source, verbose=verbose)
    classes, val = len(train.classes), None
    if val_size:
        train, val = hold_out(train, val_size, seed)
        val.transform = test.transform
    loader = partial(utils.make_loader, seed=seed, device=device)
    train_loader = recipe.wrap_loader(loader(train, batch_size, shuffle=True), seed)
    val_loader = loader(val, TEST_BATCH_SIZE) if val_size else None
    test_loader = loader(test, TEST_BATCH_SIZE) if split == "test" else None
    classes += len(getattr(train_loader, "extra_classes", ()))
    net = to_device(make_net(net, classes), device)
    optimizer = recipe.optimizer(net.parameters())
    return Experiment(
        net=net,
        recipe=recipe,
        epochs=epochs,
        device=device,
        train_loader=train_loader,
        test_loader=test_loader,
        val_loader=val_loader,
        optimizer=optimizer,
        scheduler=recipe.scheduler(optimizer, epochs, len(train_loader)),
        averaged_model=recipe.averaged_model(net),
    )


def make_net(net, classes):
    """Return `net()`, or `net(classes=classes)` unless that is ten or already set in a partial."""
    fixed = getattr(net, "keywords", {})  # of a partial
    if classes != 10 and "classes" not in fixed and "classes" in signature(net).parameters:
        return net(classes=classes)
    return net()


def run(net, recipe, *, progress=None, verbose=True, **settings):
    """Train a network by a recipe and return the Experiment; `settings` are those of `prepare`."""
    experiment = prepare(net, recipe, verbose=verbose, **settings)
    experiment.fit(progress=progress, verbose=verbose)
    return experiment


def range_test(net, recipe, *, lowest=1e-3, highest=10.0, steps=80, **settings):
    """Return learning rates and the training loss of a batch at each, as the rate rises.

    The rate rises from `lowest` to `highest` by the same factor after every batch; the test ends
    early at a loss that is not finite. `net`, `recipe` and `settings` are those of `prepare`; the
    trained network is discarded. Raises what `prepare` raises, and ValueError for rates that do not
    rise.

    Source: Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017.
    """
    steps = check_integer("steps", steps, minimum=2)
    if not 0 < lowest < highest:
        raise ValueError(f"expected 0 < lowest < highest, got {lowest!r} and {highest!r}")
    experiment = prepare(net, recipe, **settings)
    batches = chain.from_iterable(repeat(experiment.train_loader))
    factor, rates, losses = (highest / lowest) ** (1 / (steps - 1)), [], []
    for step in range(steps):
        for group in experiment.optimizer.param_groups:
            group["lr"] = lowest * factor**step
        batch = [next(batches)]
        try:
            metrics = utils.train_model(
                experiment.net,
                experiment.device,
                batch,
                experiment.optimizer,
                1,
                loss_function=recipe.loss_function,
                progress=False,
            )
        except FloatingPointError:
            break
        rates.append(lowest * factor**step)
        losses.append(metrics.loss)
    return rates, losses
