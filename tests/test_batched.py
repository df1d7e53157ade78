"""Batched transforms against torchvision, image by image, and the loader that runs them."""

import copy
import math
import pickle
import re
import struct

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from PIL import Image
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision import datasets
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms import functional as TF
from torchvision.transforms import transforms as T

import batched
import utils
from data import MNIST, find_mnist, hold_out, load_mnist

MODES = {"nearest": InterpolationMode.NEAREST, "bilinear": InterpolationMode.BILINEAR}
every_mode = pytest.mark.parametrize("mode", MODES)
every_type = pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
every_size = pytest.mark.parametrize(
    "size", [(1, 28, 28), (3, 28, 28), (1, 27, 31), (3, 15, 15)], ids=str
)


def random_images(n, size, dtype):
    """Return uint8 images (n, *size), or the same on [0, 1]."""
    images = torch.randint(0, 256, (n, *size), dtype=torch.uint8)
    return images if dtype == torch.uint8 else images.float() / 255


def random_like_torchvision(low, high, n):
    """Return float32 draws as float64: the numbers that torchvision gets to see."""
    return torch.empty(n).uniform_(low, high).double()


def assert_same(ours, theirs, mode="nearest"):
    """Nearest: not one pixel differs. Bilinear: within 1e-5 on [0, 1], or 1 on uint8."""
    theirs = torch.stack(theirs)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    if mode == "nearest":
        assert (ours != theirs).sum() == 0
    else:
        bound = 1e-5 if ours.is_floating_point() else 1
        assert (ours.double() - theirs.double()).abs().max() <= bound


def run(transform, images, seed=0):
    return batched.run(batched.steps_of(transform), images, torch.Generator().manual_seed(seed))


# --- Rotation and affine -----------------------------------------------------------------------


@every_size
@every_mode
@every_type
@pytest.mark.parametrize("fill", [None, [0.0], [1.0], [0.3]], ids=str)
@pytest.mark.parametrize("center", [None, (3.0, 20.0)], ids=str)
def test_rotation_equals_torchvision(size, mode, dtype, fill, center):
    torch.manual_seed(1)
    images, angle = random_images(30, size, dtype), random_like_torchvision(-180, 180, 30)
    ours = batched.rotate(images, angle, mode, fill, center)
    theirs = [
        TF.rotate(image, degrees.item(), MODES[mode], fill=fill, center=center)
        for image, degrees in zip(images, angle, strict=True)
    ]
    assert_same(ours, theirs, mode)


@every_size
@every_mode
@every_type
@pytest.mark.parametrize("fill", [None, [0.0], [0.7]], ids=str)
@pytest.mark.parametrize("center", [None, (3.0, 20.0)], ids=str)
def test_affine_equals_torchvision(size, mode, dtype, fill, center):
    torch.manual_seed(2)
    n = 30
    images = random_images(n, size, dtype)
    angle, scale = random_like_torchvision(-180, 180, n), random_like_torchvision(0.5, 1.5, n)
    shift_x, shift_y = (random_like_torchvision(-9, 9, n).round() for _ in range(2))
    shear_x, shear_y = (random_like_torchvision(-40, 40, n) for _ in range(2))
    ours = batched.affine(
        images, angle, shift_x, shift_y, scale, shear_x, shear_y, mode, fill, center
    )
    theirs = [
        TF.affine(
            images[k],
            angle[k].item(),
            [int(shift_x[k]), int(shift_y[k])],
            scale[k].item(),
            [shear_x[k].item(), shear_y[k].item()],
            MODES[mode],
            fill=fill,
            center=center,
        )
        for k in range(n)
    ]
    assert_same(ours, theirs, mode)


def test_a_fill_for_each_channel():
    torch.manual_seed(3)
    images, angle = (
        random_images(20, (3, 28, 28), torch.uint8),
        random_like_torchvision(-90, 90, 20),
    )
    fill = [10.0, 20.0, 30.0]
    theirs = [TF.rotate(i, a.item(), fill=fill) for i, a in zip(images, angle, strict=True)]
    assert_same(batched.rotate(images, angle, fill=fill), theirs)


def test_rotation_is_close_to_the_pil_path():
    torch.manual_seed(4)
    digits = torch.zeros(300, 1, 28, 28, dtype=torch.uint8)
    digits[:, :, 4:24, 4:24] = random_images(300, (1, 20, 20), torch.uint8)
    angle = random_like_torchvision(-7, 7, 300)
    theirs = torch.stack(
        [
            TF.pil_to_tensor(TF.rotate(TF.to_pil_image(image), degrees.item(), fill=[1]))
            for image, degrees in zip(digits, angle, strict=True)
        ]
    )
    differing = (batched.rotate(digits, angle, fill=[1]) != theirs).float().mean().item()
    assert differing <= 0.001


# --- Crop, pad, erase, normalise ---------------------------------------------------------------


@every_size
@every_type
def test_crop_equals_torchvision(size, dtype):
    torch.manual_seed(5)
    images = random_images(50, size, dtype)
    top, left = (torch.randint(0, 5, (50,)) for _ in range(2))
    theirs = [TF.crop(images[k], int(top[k]), int(left[k]), 10, 11) for k in range(50)]
    assert_same(batched.crop(images, top, left, 10, 11), theirs)


@every_size
@every_type
@pytest.mark.parametrize("value", [0.0, 3.0, [1.0, 2.0, 3.0]], ids=str)
def test_erase_equals_torchvision(size, dtype, value):
    torch.manual_seed(6)
    images = random_images(50, size, dtype)
    value = batched.per_channel(value if isinstance(value, float) else value[: size[0]], images)
    top, left, height, width = (torch.randint(0, 7, (50,)) for _ in range(4))
    theirs = [
        TF.erase(images[k], *(int(edge[k]) for edge in (top, left, height, width)), value)
        for k in range(50)
    ]
    assert_same(batched.erase(images, top, left, height, width, value), theirs)


FIXED = {
    "normalize": [T.ToTensor(), T.Normalize((0.1307,), (0.3081,))],
    "pad": [T.Pad((1, 2, 3, 4), fill=7), T.ToTensor()],
    "pad edge": [T.Pad(3, padding_mode="edge"), T.ToTensor()],
    "pad reflect": [T.Pad(3, padding_mode="reflect"), T.ToTensor()],
    "pad symmetric": [T.Pad(3, padding_mode="symmetric"), T.ToTensor()],
    "center crop": [T.CenterCrop(20), T.ToTensor()],
    "center crop larger": [T.CenterCrop((33, 40)), T.ToTensor()],
    "pil to tensor": [T.PILToTensor(), T.ConvertImageDtype(torch.float32)],
    "v2": [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.1307], [0.3081])],
    "v2 unscaled": [v2.PILToTensor(), v2.ToDtype(torch.float32), v2.CenterCrop(9), v2.Pad(2)],
    "v2 convert": [v2.ToImage(), v2.ConvertImageDtype(torch.float64)],
    "sequential": [nn.Sequential(T.CenterCrop(20), T.Pad(4)), T.ToTensor()],
}


@pytest.mark.parametrize("name", FIXED)
def test_fixed_transforms_equal_torchvision(name):
    torch.manual_seed(7)
    images, transform = random_images(40, (1, 28, 28), torch.uint8), T.Compose(FIXED[name])
    assert not any(step.random for step in batched.steps_of(transform))
    theirs = [transform(Image.fromarray(image[0].numpy())) for image in images]
    assert_same(run(transform, images), theirs)


# --- Draws -------------------------------------------------------------------------------------


def assert_uniform(values, low, high):
    """Kolmogorov-Smirnov: the draws are uniform between low and high (1 in 10,000 fails)."""
    values = values.sort().values.double()
    n = len(values)
    assert low <= values[0]
    assert values[-1] <= high
    expected = (values - low) / (high - low)
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    distance = torch.maximum(steps[1:] - expected, expected - steps[:-1]).max().item()
    assert distance < math.sqrt(math.log(2 / 1e-4) / (2 * n))


@pytest.fixture
def recorded(monkeypatch):
    """Record what `batched.affine` is called with."""
    calls = []

    def record(images, angle, shift_x, shift_y, scale, shear_x, shear_y, *rest, **more):
        calls.append(
            {
                "angle": angle,
                "shift_x": shift_x,
                "shift_y": shift_y,
                "scale": scale,
                "shear_x": shear_x,
                "shear_y": shear_y,
            }
        )
        return images

    monkeypatch.setattr(batched, "affine", record)
    return calls


@pytest.mark.parametrize("library", [T, v2], ids=["classic", "v2"])
def test_rotation_draws(library, recorded):
    run(library.RandomRotation((-7.0, 12.0)), torch.zeros(5000, 1, 8, 8))
    assert_uniform(-recorded[0]["angle"], -7, 12)


@pytest.mark.parametrize("library", [T, v2], ids=["classic", "v2"])
def test_affine_draws(library, recorded):
    transform = library.RandomAffine(
        degrees=(-10, 20), translate=(0.25, 0.5), scale=(0.9, 1.1), shear=(-3, 4, -5, 6)
    )
    run(transform, torch.zeros(5000, 1, 8, 40))
    draws = recorded[0]
    assert_uniform(draws["angle"], -10, 20)
    assert_uniform(draws["scale"], 0.9, 1.1)
    assert_uniform(draws["shear_x"], -3, 4)
    assert_uniform(draws["shear_y"], -5, 6)
    assert set(draws["shift_x"].tolist()) == set(range(-10, 11))  # a quarter of the width
    assert set(draws["shift_y"].tolist()) == set(range(-4, 5))  # half of the height
    theirs = [
        T.RandomAffine.get_params((0, 0), (0.25, 0.5), None, None, [40, 8])[1] for _ in range(5000)
    ]
    for ours, index in ((draws["shift_x"], 0), (draws["shift_y"], 1)):
        expected = torch.tensor([shift[index] for shift in theirs]).double()
        assert abs(ours.mean() - expected.mean()) < 6 * expected.std() / math.sqrt(2500)
        assert abs(ours.std() / expected.std() - 1) < 0.05


def test_shear_of_two_numbers_leaves_the_other_axis(recorded):
    run(T.RandomAffine(0, shear=10), torch.zeros(100, 1, 8, 8))
    assert_uniform(recorded[0]["shear_x"], -10, 10)
    assert recorded[0]["shear_y"].abs().max() == 0
    assert recorded[0]["angle"].abs().max() == 0
    assert (recorded[0]["scale"] == 1).all()


@pytest.mark.parametrize("library", [T, v2], ids=["classic", "v2"])
def test_random_crop_reaches_every_corner_alike(library):
    position = torch.arange(28 * 28).view(1, 1, 28, 28).float().expand(6000, -1, -1, -1)
    cropped = run(library.RandomCrop(24), position)
    corners = cropped[:, 0, 0, 0].long()
    counts = torch.stack([corners // 28, corners % 28]).flatten().bincount(minlength=5)
    assert len(counts) == 5
    assert (counts - 2400).abs().max() < 6 * math.sqrt(2400)
    assert torch.equal(cropped[:, 0, 1, 1], cropped[:, 0, 0, 0] + 29)


@pytest.mark.parametrize("library", [T, v2], ids=["classic", "v2"])
def test_random_crop_pads_first(library):
    images = random_images(50, (1, 28, 28), torch.uint8)
    transform = library.RandomCrop(28, padding=4, fill=9)
    padded = TF.pad(images, 4, 9)
    windows = padded.unfold(2, 28, 1).unfold(3, 28, 1).flatten(1, 3)  # (N, 81, 28, 28)
    ours = run(transform, images)
    assert (windows == ours).all(dim=-1).all(dim=-1).any(dim=1).all()
    needed = run(library.RandomCrop((40, 20), pad_if_needed=True), images)
    assert needed.shape == (50, 1, 40, 20)


@pytest.mark.parametrize("library", [T, v2], ids=["classic", "v2"])
@pytest.mark.parametrize("padding", [3, (4, 0), (0, 4), (1, 2, 3, 4), (0, 5, 0, 0)], ids=str)
def test_random_crop_reaches_where_torchvision_does(library, padding):
    transform = library.RandomCrop(28, padding=padding)
    position = (1 + torch.arange(28 * 28.0)).view(1, 28, 28)
    torch.manual_seed(10)
    theirs = {tuple(transform(position)[0, 14, 14:16].tolist()) for _ in range(1500)}
    images = run(transform, position.expand(1500, -1, -1, -1))
    assert {tuple(middle) for middle in images[:, 0, 14, 14:16].tolist()} == theirs


def test_random_crop_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match=r"at least 30x30 for RandomCrop, got 28x28"):
        run(T.RandomCrop(30), torch.zeros(2, 1, 28, 28))


@pytest.mark.parametrize("library", [T, v2], ids=["classic", "v2"])
def test_random_erasing_draws_like_torchvision(library):
    transform = library.RandomErasing(p=0.7, scale=(0.05, 0.3), ratio=(0.4, 2.5), value=5)
    images = torch.zeros(3000, 1, 28, 28)
    ours = run(transform, images) == 5
    torch.manual_seed(8)
    theirs = torch.stack([transform(image) for image in images]) == 5
    for measure in (
        lambda erased: erased.flatten(1).any(dim=1),  # how often
        lambda erased: erased.flatten(1).sum(dim=1),  # how large
        lambda erased: erased.any(dim=2).flatten(1).sum(dim=1),  # how wide
        lambda erased: erased[:, 0, 0, 0],  # how often at a corner
        lambda erased: erased[:, 0, 14, 14],  # and in the middle
    ):
        ours_measured, theirs_measured = measure(ours).double(), measure(theirs).double()
        spread = theirs_measured.std() * math.sqrt(2 / 3000)
        assert abs(ours_measured.mean() - theirs_measured.mean()) < 5 * spread


def test_random_erasing_with_noise():
    ours = run(T.RandomErasing(p=1.0, value="random"), torch.zeros(200, 1, 28, 28))
    noise = ours[ours != 0]
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 1) < 0.05


def test_random_apply_applies_to_its_share():
    ours = run(
        T.RandomApply([T.Pad(0), T.RandomErasing(p=1.0, value=1)], p=0.3),
        torch.zeros(5000, 1, 9, 9),
    )
    share = ours.flatten(1).any(dim=1).double().mean().item()
    assert abs(share - 0.3) < 0.03
    with pytest.raises(batched.UnbatchableError, match="RandomApply"):
        run(T.RandomApply([T.Pad(2)]), torch.zeros(2, 1, 9, 9))


@every_type
@pytest.mark.parametrize("size", [(1, 28, 28), (3, 28, 28)], ids=str)
def test_brightness_and_contrast_equal_torchvision(dtype, size):
    torch.manual_seed(9)
    images, factor = random_images(50, size, dtype), random_like_torchvision(0.3, 2, 50)
    tolerance = 1 if dtype == torch.uint8 else 1e-5  # a mean may round otherwise in a batch
    for ours, theirs in (
        (batched.adjust_brightness, TF.adjust_brightness),
        (batched.adjust_contrast, TF.adjust_contrast),
    ):
        expected = torch.stack([theirs(i, f.item()) for i, f in zip(images, factor, strict=True)])
        assert (ours(images, factor).double() - expected.double()).abs().max() <= tolerance


def test_color_jitter_shuffles_its_two_parts():
    image = random_images(1, (1, 8, 8), torch.float32).expand(400, -1, -1, -1)
    ours = run(T.ColorJitter(brightness=(0.5, 0.5), contrast=(3, 3)), image)
    one = TF.adjust_contrast(TF.adjust_brightness(image[0], 0.5), 3)
    other = TF.adjust_brightness(TF.adjust_contrast(image[0], 3), 0.5)
    is_one = ((ours - one).abs() < 1e-5).flatten(1).all(dim=1)
    is_other = ((ours - other).abs() < 1e-5).flatten(1).all(dim=1)
    assert (is_one ^ is_other).all()
    assert 120 < is_one.sum() < 280


def test_classic_and_v2_agree_draw_for_draw():
    images = random_images(64, (1, 28, 28), torch.uint8)
    pipelines = [
        library.Compose(
            [
                library.RandomAffine(10, (0.1, 0.1), (0.9, 1.1), 5, MODES["bilinear"], fill=3),
                library.RandomRotation(7, fill=(1,)),
                library.RandomApply([library.ColorJitter(0.3, 0.2)], p=0.5),
                library.RandomCrop(28, padding=2),
                to_tensor,
                v2.ToDtype(torch.float32, scale=True),
                library.Normalize((0.5,), (0.5,)),
                library.RandomErasing(0.5),
            ]
        )
        for library, to_tensor in ((T, T.PILToTensor()), (v2, v2.ToImage()))
    ]
    first, second = (run(pipeline, images) for pipeline in pipelines)
    assert torch.equal(first, second)
    assert not torch.equal(first, run(pipelines[0], images, seed=1))


# --- What cannot be translated -----------------------------------------------------------------


class Inverted(T.RandomRotation):
    """A subclass that does something else."""

    def forward(self, image):
        return 255 - image


@pytest.mark.parametrize(
    ("transform", "named"),
    [
        (T.RandomRotation(7, expand=True), "RandomRotation(expand=True)"),
        (v2.RandomRotation(7, interpolation=InterpolationMode.BICUBIC), "RandomRotation"),
        (T.RandomPerspective(), "RandomPerspective"),
        (T.Lambda(lambda image: image), "Lambda"),
        (lambda image: image, "function"),
        (T.ColorJitter(hue=0.1), "ColorJitter"),
        (T.Compose([T.ToTensor(), T.RandomApply([T.GaussianBlur(3)])]), "GaussianBlur"),
        (v2.ToDtype({torch.Tensor: torch.float32}), "ToDtype"),
        (v2.RandomAffine(3, fill={torch.Tensor: 1}), "RandomAffine"),
        (Inverted(7), "Inverted"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_translated_is_named(transform, named):
    with pytest.raises(batched.UnbatchableError) as error:
        batched.steps_of(transform)
    assert str(error.value).startswith(named)


def test_others_can_register_their_own():
    class Invert(nn.Module):
        def forward(self, image):
            return TF.invert(image)

    with pytest.raises(batched.UnbatchableError, match="Invert"):
        batched.steps_of(Invert())
    batched.batched_steps.register(Invert)(
        lambda transform: batched.fixed(lambda images: 255 - images)
    )
    images = random_images(3, (1, 5, 5), torch.uint8)
    assert torch.equal(run(T.Compose([Invert(), T.PILToTensor()]), images), 255 - images)


def test_the_transform_of_the_page_is_taught():
    code = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "loader.md").read_text(), re.S)
    exec(compile(code[0], "docs/loader.md", "exec"), {})
    images = random_images(400, (1, 5, 5), torch.uint8)
    inverted = (run(T.RandomInvert(0.3), images) == 255 - images).flatten(1).all(dim=1)
    assert torch.equal(run(T.RandomInvert(0.3), images)[~inverted], images[~inverted])
    assert 80 < inverted.sum() < 160


@pytest.mark.cuda
@every_mode
def test_cuda_draws_and_warps_like_the_cpu(mode):
    images = random_images(500, (1, 28, 28), torch.uint8)
    transform = T.Compose(
        [T.RandomAffine(10, (0.1, 0.1), (0.9, 1.1), 5, MODES[mode]), T.ToTensor()]
    )
    on_cpu, on_cuda = run(transform, images), run(transform, images.cuda()).cpu()
    assert ((on_cpu - on_cuda).abs() > 1.5 / 255).double().mean() < 1e-4


# --- The loader --------------------------------------------------------------------------------


PLAIN = T.Compose([T.ToTensor(), T.Normalize((0.1307,), (0.3081,))])
TURNED = T.Compose([T.RandomRotation((90, 90)), T.ToTensor()])  # "random", but always the same
EVERYTHING = T.Compose(
    [
        T.RandomApply([T.RandomAffine(10, (0.1, 0.1), (0.9, 1.1), 5)], p=0.8),
        T.RandomRotation(7, fill=(1,)),
        T.RandomCrop(28, padding=2),
        T.ColorJitter(0.3, 0.2),
        T.ToTensor(),
        T.Normalize((0.5,), (0.5,)),
        T.RandomErasing(0.5, value="random"),
        T.RandomErasing(0.5, value=2),
    ]
)


@pytest.fixture
def digits(small_root):
    """Load the 150 small test digits, with a transform."""
    return lambda transform=PLAIN: load_mnist(find_mnist(small_root), False, transform)


def collect(loader):
    """Return all images and labels of one iteration."""
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


def assert_serves(loader, dataset):
    """One iteration of the loader has the dataset's items, in their order."""
    images, labels = collect(loader)
    assert len(loader) == math.ceil(len(dataset) / loader.batch_size)
    assert torch.allclose(images, torch.stack([image for image, _ in dataset]), atol=1e-6)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [label for _, label in dataset]


def shorten(dataset):
    dataset.data, dataset.targets = dataset.data[:100], dataset.targets[:100]


def replace_transform(dataset):
    dataset.transform = T.Compose([T.CenterCrop(20), T.ToTensor()])


CHANGES = {
    "shorter": shorten,
    "other images": lambda dataset: setattr(dataset, "data", 255 - dataset.data),
    "other labels": lambda dataset: setattr(dataset, "targets", 9 - dataset.targets),
    "images in place": lambda dataset: dataset.data[7].fill_(3),
    "labels in place": lambda dataset: dataset.targets.sub_(9).neg_(),
    "a view in place": lambda dataset: dataset.data[:50].flip(0)[0].zero_(),
    "another transform": replace_transform,
    "a transform taken away": lambda dataset: dataset.transform.transforms.pop(0),
    "a longer transform": lambda dataset: dataset.transform.transforms.append(T.Normalize(2, 3)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("transform", [PLAIN, TURNED], ids=["fixed", "random"])
def test_a_changed_dataset_is_read_again(change, transform, digits):
    if change == "a transform taken away":
        transform = T.Compose([T.Pad(1), *transform.transforms])
    dataset = digits(T.Compose(list(transform.transforms)))
    loader = batched.DeviceLoader(dataset, 64)
    assert_serves(loader, dataset)
    CHANGES[change](dataset)
    assert_serves(loader, dataset)
    assert_serves(loader, dataset)


def test_a_running_iteration_is_left_as_it_was(digits):
    dataset = digits()
    loader = batched.DeviceLoader(dataset, 64)
    before, running = collect(loader), iter(loader)
    first = next(running)
    shorten(dataset)
    assert len(loader) == 2
    rest = list(running)
    for whole, parts in zip(before, zip(first, *rest, strict=True), strict=True):
        assert torch.equal(whole, torch.cat(parts))


def test_reading_a_dataset_draws_nothing(digits):
    before = torch.get_rng_state()
    batched.DeviceLoader(digits(EVERYTHING), 64, generator=torch.Generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unchanged_dataset_is_read_once(digits):
    loader = batched.DeviceLoader(digits(), 64)
    images = loader.images
    collect(loader)
    assert loader.images is images


def test_a_change_that_only_an_ordinary_loader_serves_is_refused(digits):
    dataset = digits()
    loader = batched.DeviceLoader(dataset, 64)
    dataset.transform = T.Compose([T.ToTensor(), T.Lambda(torch.neg)])
    with pytest.raises(batched.UnbatchableError, match="Lambda"):
        iter(loader)
    dataset.transform, dataset.target_transform = PLAIN, str
    with pytest.raises(batched.UnbatchableError, match="target_transform"):
        len(loader)


@pytest.mark.parametrize("n", [0, 1, 149, 151])
def test_a_label_for_each_image(n, digits):
    dataset = digits()
    loader = batched.DeviceLoader(dataset, 64)
    dataset.targets = torch.arange(n) % 10
    message = f"expected a label for each image, got {n} labels and 150 images"
    with pytest.raises(ValueError, match=message):
        iter(loader)
    with pytest.raises(ValueError, match=message):
        batched.DeviceLoader(dataset, 64)


def test_no_images_are_refused(digits):
    dataset = digits()
    dataset.data, dataset.targets = dataset.data[:0], dataset.targets[:0]
    with pytest.raises(ValueError, match="got 0 labels and 0 images"):
        batched.DeviceLoader(dataset, 64)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.float32], ids=str)
def test_labels_of_any_dtype_become_int64(dtype, digits):
    dataset = digits()
    dataset.targets = dataset.targets.to(dtype)
    assert_serves(batched.DeviceLoader(dataset, 64), dataset)


class Renumbered(MNIST):
    """A dataset whose items differ from what it holds."""

    def __getitem__(self, k):
        image, label = super().__getitem__(k)
        return image, 9 - label


class Doubled(MNIST):
    """A dataset with more items than it holds."""

    def __len__(self):
        return 2 * super().__len__()


@pytest.mark.parametrize(
    ("targets", "kind", "named"),
    [
        (lambda t: t.tolist(), MNIST, "labels as a tensor of shape"),
        (lambda t: t.numpy(), MNIST, "labels as a tensor of shape"),
        (lambda t: torch.nn.functional.one_hot(t, 10), MNIST, "of shape"),
        (lambda t: t, Renumbered, "Renumbered gives other"),
        (lambda t: t, Doubled, "Doubled gives other"),
    ],
    ids=["list", "array", "one-hot", "other labels", "other length"],
)
def test_labels_of_another_kind_are_left_to_an_ordinary_loader(targets, kind, named, small_root):
    dataset = kind(small_root, transform=PLAIN)
    dataset.targets = targets(dataset.targets)
    with pytest.raises(batched.UnbatchableError, match=named):
        batched.DeviceLoader(dataset, 64)


# MNIST's relatives


def write_relative(kind, root, images, labels):
    """Write a set as torchvision's class of this name wants it, and return that."""
    raw = root / kind.__name__ / "raw"
    raw.mkdir(parents=True)
    prefix = {"EMNIST": "emnist-digits-train", "QMNIST": "qmnist-train"}.get(kind.__name__, "train")
    files = {f"{prefix}-images-idx3-ubyte": images.numpy().astype(">u1")}
    if kind is datasets.QMNIST:
        origin = labels[:, None] + torch.arange(8) * 100
        files[f"{prefix}-labels-idx2-int"] = origin.numpy().astype(">i4")
    else:
        files[f"{prefix}-labels-idx1-ubyte"] = labels.numpy().astype(">u1")
        for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
            (raw / name).write_bytes(b"0")  # they only have to exist
    for name, array in files.items():
        code = 8 if array.itemsize == 1 else 12
        header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        (raw / name).write_bytes(header + array.tobytes())
    return kind


RELATIVES = [datasets.FashionMNIST, datasets.KMNIST, datasets.EMNIST, datasets.QMNIST]


@pytest.mark.parametrize("kind", RELATIVES, ids=lambda kind: kind.__name__)
def test_relatives_of_mnist_train(kind, tmp_path, digits):
    write_relative(kind, tmp_path, digits().data, digits().targets)
    more = {"split": "digits"} if kind is datasets.EMNIST else {}
    dataset = kind(tmp_path, transform=PLAIN, **more)
    loader = batched.DeviceLoader(dataset, 64)
    assert_serves(loader, dataset)
    assert torch.equal(collect(loader)[1], digits().targets)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    history = utils.fit(net, "cpu", loader, loader, optimizer, 2, progress=False, verbose=False)
    assert history.train_loss[1] < history.train_loss[0]
    assert history.source == "unknown"


def test_qmnist_with_all_its_labels_is_left_to_an_ordinary_loader(tmp_path, digits):
    write_relative(datasets.QMNIST, tmp_path, digits().data, digits().targets)
    dataset = datasets.QMNIST(tmp_path, transform=PLAIN, compat=False)
    with pytest.raises(batched.UnbatchableError, match="QMNIST holds no labels"):
        batched.DeviceLoader(dataset, 64)


# Settings of torch


@pytest.fixture
def restored():
    """Restore torch's global settings."""
    yield
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(False)


def epochs(dataset):
    """Return two shuffled iterations of a loader that torch's own generator seeds."""
    torch.manual_seed(6)
    loader = batched.DeviceLoader(dataset, 64, shuffle=True)
    return [tensor for _ in range(2) for tensor in collect(loader)]


SETTINGS = {
    "meta": lambda: torch.set_default_device("meta"),
    "float16": lambda: torch.set_default_dtype(torch.float16),
    "float64": lambda: torch.set_default_dtype(torch.float64),
    "deterministic": lambda: torch.use_deterministic_algorithms(True),
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("transform", [PLAIN, EVERYTHING], ids=["fixed", "random"])
def test_torchs_global_settings_change_no_draw(setting, transform, digits, restored):
    transform = T.Compose(  # ToTensor takes the default dtype, here as in torchvision
        [
            part
            for step in transform.transforms
            for part in (
                (T.PILToTensor(), T.ConvertImageDtype(torch.float32))
                if isinstance(step, T.ToTensor)
                else (step,)
            )
        ]
    )
    expected = epochs(digits(transform))
    SETTINGS[setting]()
    found = epochs(digits(transform))
    assert all(tensor.device.type == "cpu" for tensor in found)
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64], ids=str)
def test_to_tensor_takes_the_default_dtype_as_torchvision_does(dtype, digits, restored):
    torch.set_default_dtype(dtype)
    dataset = digits()
    images, _ = collect(batched.DeviceLoader(dataset, 64))
    theirs = torch.stack([image for image, _ in dataset])
    assert images.dtype == theirs.dtype == dtype
    assert torch.allclose(images, theirs, atol=1e-2 if dtype == torch.float16 else 1e-6)


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_the_held_out_images_do_not_depend_on_the_default_device(device, digits, restored):
    expected = hold_out(digits(), 50, seed=1)
    torch.set_default_device(device)
    for ours, theirs in zip(hold_out(digits(), 50, seed=1), expected, strict=True):
        assert torch.equal(ours.data, theirs.data)
        assert torch.equal(ours.targets, theirs.targets)


class NoDoubles(TorchDispatchMode):
    """Refuses float64 on the meta device: a stand-in for MPS, which has none."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "meta":
                assert tensor.dtype != torch.float64, function
        return result


@pytest.mark.parametrize("transform", [PLAIN, EVERYTHING], ids=["fixed", "random"])
def test_nothing_is_float64_on_the_device(transform, digits):
    with NoDoubles():
        loader = batched.DeviceLoader(digits(transform), 64, shuffle=True, device="meta")
        images, labels = collect(loader)
    assert images.device.type == labels.device.type == "meta"
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)


# Copies, iterators, arguments


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"]
)
def test_a_copy_goes_on_as_the_loader_does(duplicate, shuffle, digits):
    loader = batched.DeviceLoader(digits(EVERYTHING), 64, shuffle=shuffle)
    collect(loader)
    again = duplicate(loader)
    assert len(again) == len(loader)
    for _ in range(2):
        assert all(map(torch.equal, collect(again), collect(loader)))
    again.dataset.targets = 9 - again.dataset.targets
    assert not torch.equal(collect(again)[1], collect(loader)[1])


def test_iterators_at_once_are_independent(digits):
    def loader():
        generator = torch.Generator().manual_seed(3)
        return batched.DeviceLoader(digits(EVERYTHING), 64, shuffle=True, generator=generator)

    one, other = loader(), loader()
    pairs = zip(iter(one), iter(one), strict=True)
    first, second = zip(*((a[0], b[0]) for a, b in pairs), strict=True)
    assert torch.equal(torch.cat(first), collect(other)[0])
    assert torch.equal(torch.cat(second), collect(other)[0])


@pytest.mark.parametrize("size", [np.int64(64), np.uint8(64), torch.tensor(64)], ids=repr)
def test_any_integer_is_a_batch_size(size, digits):
    loader = batched.DeviceLoader(digits(), size)
    assert (type(loader.batch_size), loader.batch_size) == (int, 64)


@pytest.mark.parametrize("size", [0, -1, 1.5, 64.0, True, "64", None, np.float64(64)], ids=repr)
def test_other_batch_sizes_are_refused(size, digits):
    with pytest.raises(ValueError, match="batch_size as a positive integer, got"):
        batched.DeviceLoader(digits(), size)


@pytest.mark.parametrize(
    "transform",
    [
        T.RandomRotation(40),
        T.RandomAffine(0, translate=(0.3, 0)),
        T.RandomAffine(0, translate=(0, 0.3)),
        T.RandomAffine(0, scale=(0.5, 1.5)),
        T.RandomAffine(0, shear=(-40, 40, 0, 0)),
        T.RandomAffine(0, shear=(0, 0, -40, 40)),
        T.RandomCrop(16),
        T.ColorJitter(brightness=0.9),
        T.ColorJitter(contrast=0.9),
        T.Compose([T.ToTensor(), T.RandomErasing(1.0)]),
        T.Compose([T.ToTensor(), T.RandomErasing(1.0, (0.9, 0.91), (1, 1), "random")]),
    ],
    ids=str,
)
def test_every_image_has_draws_of_its_own(transform):
    image = random_images(1, (1, 28, 28), torch.uint8)
    images = run(transform, image.expand(64, -1, -1, -1))
    assert len(images.flatten(1).unique(dim=0)) > 10


@every_mode
@pytest.mark.parametrize("library", [T, v2], ids=["classic", "v2"])
def test_an_affine_without_a_choice_equals_torchvision(library, mode):
    settings = {"interpolation": MODES[mode], "fill": 40}
    images = random_images(5, (1, 28, 28), torch.uint8)
    for transform in (
        library.RandomAffine((25, 25), scale=(1.2, 1.2), shear=(12, 12, -7, -7), **settings),
        library.RandomRotation((30, 30), **settings),
    ):
        assert_same(run(transform, images), [transform(image) for image in images], mode)
