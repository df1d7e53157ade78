"""Each recipe as its docstring and the README describe it."""

import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchvision import transforms

import batched
import model as networks
import utils
from experiments import prepare
from recipes import RECIPES, moving_average

DIGITS = 160, 60


def made(name, net=None, epochs=15, steps=469):
    """Return a recipe, its optimizer and its scheduler for a network."""
    recipe = RECIPES[name]()
    optimizer = recipe.optimizer((net or networks.Net5()).parameters())
    return recipe, optimizer, recipe.scheduler(optimizer, epochs, steps)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_on_the_device(name, small_loaders):
    torch.manual_seed(0)
    net = networks.Net5()
    recipe = RECIPES[name]()
    train_loader, test_loader = small_loaders(recipe.train_transforms)
    assert isinstance(train_loader, batched.DeviceLoader)
    recipe, optimizer, scheduler = made(name, net, epochs=2, steps=len(train_loader))
    history = utils.fit(
        net,
        "cpu",
        train_loader,
        test_loader,
        optimizer,
        2,
        scheduler,
        averaged_model=recipe.averaged_model(net),
        loss_function=recipe.loss_function,
        progress=False,
        verbose=False,
    )
    assert history.train_loss[1] < history.train_loss[0]


@pytest.mark.parametrize("name", ["baseline", "rotation", "plateau"])
def test_the_exercise_trains_by_plain_sgd(name):
    recipe, optimizer, _ = made(name)
    settings = optimizer.param_groups[0]
    assert type(optimizer) is torch.optim.SGD
    assert (settings["lr"], settings["momentum"], settings["weight_decay"]) == (0.01, 0.9, 0)
    assert (recipe.batch_size, recipe.averaged_model(None)) == (128, None)


def test_what_tells_the_exercise_s_recipes_apart():
    assert made("baseline")[2] is None
    assert made("rotation")[2] is None
    scheduler = made("plateau")[2]
    assert type(scheduler) is ReduceLROnPlateau
    assert (scheduler.patience, scheduler.factor, scheduler.threshold) == (2, 0.1, 1e-4)
    kinds = [type(step) for step in RECIPES["baseline"]().train_transforms.transforms]
    assert kinds == [transforms.ToTensor, transforms.Normalize]
    rotated = RECIPES["rotation"]().train_transforms.transforms[0]
    assert rotated.degrees == [-7.0, 7.0]


def test_the_tuned_plateau_is_the_exercise_s_schedule_on_weaker_warps():
    recipe, optimizer, scheduler = made("tuned_plateau")
    assert type(scheduler) is ReduceLROnPlateau
    assert (scheduler.patience, scheduler.factor, scheduler.threshold) == (2, 0.1, 0.1)
    warps = [RECIPES[name]().train_transforms.transforms[0] for name in ("tuned_plateau", "best")]
    assert [warp.p for warp in warps] == [0.8, 0.8]
    weak, strong = (warp.transforms[0] for warp in warps)
    assert weak.degrees[1] < strong.degrees[1]
    assert weak.translate < strong.translate
    assert weak.scale[1] < strong.scale[1]
    assert weak.shear is None
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert recipe.averaged_model(None) is None


def test_the_best_recipe_goes_up_and_down_once():
    _, optimizer, scheduler = made("best", epochs=3, steps=100)
    rates, momenta = [], []
    for _ in range(300):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        scheduler.step()
    peak = rates.index(max(rates))
    assert peak == 89  # after 30 % of the steps
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[0] == pytest.approx(max(rates) / 25)
    assert [momenta[0], momenta[peak], momenta[-1]] == pytest.approx([0.95, 0.85, 0.95], abs=1e-3)
    assert optimizer.param_groups[0]["lr"] < max(rates) / 1000


def test_no_recipe_augments_the_test_images():
    for recipe in RECIPES.values():
        kinds = [type(step) for step in recipe().test_transforms.transforms]
        assert kinds == [transforms.ToTensor, transforms.Normalize]


@pytest.mark.parametrize("name", RECIPES)
def test_black_and_white_after_normalisation(name):
    for value, expected in ((0, -0.4242), (255, 2.8215)):  # (value / 255 - 0.1307) / 0.3081
        image = Image.new("L", (28, 28), value)
        pixels = RECIPES[name]().test_transforms(image)
        assert pixels.unique().tolist() == pytest.approx([expected], abs=1e-4)


def test_rotation_fills_the_corners_with_a_pixel_of_1_in_255():
    torch.manual_seed(0)
    black, rotate = Image.new("L", (28, 28), 0), RECIPES["rotation"]().train_transforms
    rotated = torch.stack([rotate(black) for _ in range(5)])
    assert rotated.unique().tolist() == pytest.approx([-0.4242, -0.4115], abs=1e-4)


def test_the_settings_of_best():
    recipe, optimizer, scheduler = made("best")
    group = optimizer.param_groups[0]
    assert (group["max_lr"], group["weight_decay"], scheduler.total_steps) == (0.2, 1e-4, 15 * 469)
    assert recipe.averaged_model(networks.Net5()).multi_avg_fn.decay == 0.998
    assert (recipe.loss_function, recipe.batch_size) == (F.cross_entropy, 128)
    warp = recipe.train_transforms.transforms[0].transforms[0]
    assert (warp.degrees, warp.translate, warp.scale) == ([-10, 10], (0.07, 0.07), (0.9, 1.1))
    assert (warp.shear, warp.interpolation) == ([-6, 6], transforms.InterpolationMode.NEAREST)
    tuned = made("tuned_plateau")[1].param_groups[0]
    assert (tuned["momentum"], tuned["weight_decay"]) == (0.9, 1e-4)


def test_the_average_forgets_the_start_then_keeps_its_decay():
    net = torch.nn.Linear(1, 1, bias=False)
    averaged_model, expected = moving_average(0.5)(net), None
    for n in range(9):
        with torch.no_grad():
            net.weight.fill_(n)
        averaged_model.update_parameters(net)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = n if expected is None else decay * expected + (1 - decay) * n
        assert averaged_model.module.weight.item() == pytest.approx(expected)


def test_the_average_takes_in_batch_norm_s_statistics():
    net = networks.Net5()
    averaged_model, means = moving_average(0.9)(net), []
    for _ in range(2):
        with torch.no_grad():
            net(torch.randn(16, 1, 28, 28) + 3)
        means.append(net.features[0][2].running_mean.clone())
        averaged_model.update_parameters(net)
    decay = 2 / 11  # of the second update: (1 + 1) / (10 + 1)
    expected = decay * means[0] + (1 - decay) * means[1]
    torch.testing.assert_close(averaged_model.module.features[0][2].running_mean, expected)


@pytest.mark.parametrize(("name", "kernels_lr"), [("quick", 0.04), ("small", 0.02)])
def test_muon_takes_the_3x3_kernels_and_sgd_the_rest(name, kernels_lr):
    net = networks.Net5()
    _, optimizer, scheduler = made(name, net, epochs=4, steps=100)
    convolutions = [layer for layer in net.modules() if isinstance(layer, torch.nn.Conv2d)]
    expected = {id(layer.weight) for layer in convolutions if layer.kernel_size == (3, 3)}
    kernels, others = optimizer.param_groups
    assert {id(parameter) for parameter in kernels["params"]} == expected
    assert len(others["params"]) == len(list(net.parameters())) - len(expected)
    assert (kernels["orthogonal"], others["orthogonal"]) == (True, False)
    assert (kernels["weight_decay"], others["weight_decay"]) == (0, 1e-4)
    rates = []
    for _ in range(400):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    assert [max(column) for column in zip(*rates, strict=True)] == pytest.approx([kernels_lr, 0.2])


def test_a_recipe_knows_how_long_it_takes(small_root):
    epochs = {name: make().epochs for name, make in RECIPES.items()}
    assert {epochs[name] for name in ("baseline", "rotation", "plateau", "best")} == {15}
    assert (epochs["quick"], epochs["separable"]) == (3, 5)
    assert min(epochs.values()) >= 1
    settings = {"root": small_root, "device": "cpu"}
    assert prepare(networks.Net5, RECIPES["quick"](), **settings).scheduler.total_steps == 3 * 2
    assert prepare(networks.Net5, RECIPES["quick"](), epochs=2, **settings).epochs == 2
