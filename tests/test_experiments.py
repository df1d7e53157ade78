"""An experiment is its parts put together: nothing forgotten, nothing seeded otherwise."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR

import model as networks
import utils
from experiments import prepare, run
from hardware import to_device
from recipes import RECIPES, on_plateau

DIGITS = 160, 60


@pytest.mark.parametrize("val_size", [0, 60])
def test_a_run_is_its_parts_put_together(val_size, small_root):
    recipe = replace(
        RECIPES["best"](),
        loss_function=partial(F.cross_entropy, label_smoothing=0.1),
        batch_size=64,
    )
    if val_size:  # steered by the images held out
        recipe = replace(recipe, scheduler=on_plateau(threshold=0.9))
    experiment = run(
        networks.Net4, recipe, seed=5, epochs=5, val_size=val_size, root=small_root, device="cpu"
    )
    utils.set_seed(5)
    transforms = (recipe.train_transforms, recipe.test_transforms, 64)
    loader = partial(utils.data_loader, *transforms, root=small_root, device="cpu", seed=5)
    train_loader, _, test_loader, _ = loader()
    val_loader = None
    if val_size:
        train_loader, _, val_loader, _ = loader(val_size=val_size)
    net = to_device(networks.Net4(), "cpu")
    optimizer = recipe.optimizer(net.parameters())
    averaged_model = recipe.averaged_model(net)
    by_hand = utils.fit(
        net,
        "cpu",
        train_loader,
        test_loader,
        optimizer,
        5,
        recipe.scheduler(optimizer, 5, len(train_loader)),
        val_loader=val_loader,
        averaged_model=averaged_model,
        loss_function=recipe.loss_function,
    )
    by_hand.seconds = experiment.history.seconds
    assert experiment.history == by_hand
    assert len(by_hand.val_loss) == (5 if val_size else 0)
    assert len(set(by_hand.learning_rate)) > 1
    for mine, theirs in zip(
        experiment.evaluated.parameters(), averaged_model.parameters(), strict=True
    ):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("step", ["batch", "epoch"])
def test_a_recipe_says_when_its_schedule_steps(step, small_root):
    recipe = replace(
        RECIPES["baseline"](),
        scheduler=lambda optimizer, epochs, steps: CosineAnnealingLR(optimizer, epochs * steps),
        step=step,
    )
    experiment = run(networks.Net5, recipe, epochs=2, root=small_root, device="cpu")
    batches = len(experiment.train_loader)
    expected = 0.005 if step == "batch" else 0.01 * (1 + math.cos(math.pi / (2 * batches))) / 2
    assert experiment.history.learning_rate == [0.01, pytest.approx(expected)]
    with pytest.raises(ValueError, match="step='batch' or step='epoch'"):
        run(networks.Net5, replace(recipe, step=None), epochs=2, root=small_root, device="cpu")


def test_without_the_test_split_there_is_no_test_loader(small_root):
    experiment = prepare(
        networks.Net5,
        RECIPES["plateau"](),
        val_size=60,
        split="validation",
        root=small_root,
        device="cpu",
    )
    assert experiment.test_loader is None
    assert (len(experiment.train_loader.dataset), len(experiment.val_loader.dataset)) == (100, 60)
