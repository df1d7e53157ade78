"""Batched transforms against torchvision, image by image."""

import math

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms import functional as TF
from torchvision.transforms import transforms as T

import batched

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
    batched.translate.register(Invert)(lambda transform: batched.fixed(lambda images: 255 - images))
    images = random_images(3, (1, 5, 5), torch.uint8)
    assert torch.equal(run(T.Compose([Invert(), T.PILToTensor()]), images), 255 - images)


@pytest.mark.cuda
@every_mode
def test_cuda_draws_and_warps_like_the_cpu(mode):
    images = random_images(500, (1, 28, 28), torch.uint8)
    transform = T.Compose(
        [T.RandomAffine(10, (0.1, 0.1), (0.9, 1.1), 5, MODES[mode]), T.ToTensor()]
    )
    on_cpu, on_cuda = run(transform, images), run(transform, images.cuda()).cpu()
    assert ((on_cpu - on_cuda).abs() > 1.5 / 255).double().mean() < 1e-4
