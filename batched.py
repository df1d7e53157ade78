"""torchvision transforms on whole batches, and a loader that runs them where the images live.

`DeviceLoader` holds a dataset's uint8 images once, on the training device, and transforms each
batch there: one call for the batch, one independent random draw for each image. The transforms
are torchvision's, classic or v2; `batched_steps` turns each into BatchTransforms.
"""

import math
import operator
from collections.abc import Callable
from functools import singledispatch
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torchvision import datasets
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms import functional as TF
from torchvision.transforms import transforms as T  # the classic classes

# --- From torchvision transforms to BatchTransforms --------------------------------------------


class UnbatchableError(ValueError):
    """A dataset, a transform or one of its settings has no batched equivalent."""


class BatchTransform(NamedTuple):
    """One batched transform: images (N, C, H, W) and a generator in, images out.

    torchvision's pipelines start from PIL images and convert them to tensors: `makes_tensor` marks
    that conversion, `needs_tensor` a step that has an effect only after it.
    """

    apply: Callable[[torch.Tensor, torch.Generator], torch.Tensor]
    random: bool
    needs_tensor: bool = False
    makes_tensor: bool = False


def fixed(function, **settings):
    """Return the steps of a transform without randomness: a function of the images alone."""
    return [BatchTransform(lambda images, generator: function(images), random=False, **settings)]


def steps_of(transform):
    """Return the BatchTransforms that do to a batch what `transform` does to one image.

    Raises UnbatchableError, naming the transform, where that cannot be done exactly. A subclass
    may do anything, so a type counts only if it is itself registered with `batched_steps`.
    """
    if type(transform) not in batched_steps.registry:
        raise UnbatchableError(f"{type(transform).__name__} has no batched equivalent")
    return batched_steps(transform)


@singledispatch
def batched_steps(transform):
    """Return the BatchTransforms of one transform; register a function for your own type:

    @batched_steps.register(Invert)
    def _(transform):
        return fixed(lambda images: 255 - images)
    """
    raise UnbatchableError(f"{type(transform).__name__} has no batched equivalent")


def register(*names):
    """Register a function for the classic and v2 transforms of these names, where they exist."""

    def decorate(function):
        for library in (T, v2):
            for name in names:
                if hasattr(library, name):
                    batched_steps.register(getattr(library, name), function)
        return function

    return decorate


@batched_steps.register(nn.Sequential)
@register("Compose")
def compose(transform):
    parts = transform if isinstance(transform, nn.Sequential) else transform.transforms
    return [step for part in parts for step in steps_of(part)]


@register("RandomApply")
def random_apply(transform):
    inner = steps_of(T.Compose(transform.transforms))

    def apply(images, generator):
        changed = run(inner, images, generator)
        if changed.shape != images.shape or changed.dtype != images.dtype:
            raise UnbatchableError("RandomApply changes the shape or type of some images only")
        chosen = uniform(0, 1, len(images), generator) <= transform.p
        return torch.where(per_image(chosen, images), changed, images)

    needs_tensor = any(step.needs_tensor for step in inner)
    return [BatchTransform(apply, random=True, needs_tensor=needs_tensor)]


def run(steps, images, generator):
    """Apply the steps in turn to images (N, C, H, W)."""
    for step in steps:
        images = step.apply(images, generator)
    return images


# --- Type and value: no randomness -------------------------------------------------------------


@register("PILToTensor", "ToImage")
def to_uint8_tensor(transform):
    return fixed(lambda images: images, makes_tensor=True)  # they are uint8 tensors already


@register("ToTensor")
def to_tensor(transform):
    return fixed(lambda images: images.to(torch.get_default_dtype()).div(255), makes_tensor=True)


@batched_steps.register(T.ConvertImageDtype)
def classic_convert_image_dtype(transform):
    return fixed(lambda images: TF.convert_image_dtype(images, transform.dtype), needs_tensor=True)


@batched_steps.register(v2.ConvertImageDtype)
@batched_steps.register(v2.ToDtype)
def to_dtype(transform):
    dtype, scale = transform.dtype, getattr(transform, "scale", True)
    if not isinstance(dtype, torch.dtype):
        raise UnbatchableError(f"ToDtype(dtype={dtype}) has no batched equivalent")
    return fixed(lambda images: v2.functional.to_dtype(images, dtype, scale), needs_tensor=True)


@register("Normalize")
def normalize(transform):
    mean, std = transform.mean, transform.std
    return fixed(
        lambda images: (images - per_channel(mean, images)) / per_channel(std, images),
        needs_tensor=True,
    )


# --- Position: rotation and affine -------------------------------------------------------------


@register("RandomRotation")
def random_rotation(transform):
    if transform.expand:
        raise UnbatchableError("RandomRotation(expand=True) has no batched equivalent")
    mode, fill = sampling_settings(transform)

    def apply(images, generator):
        angle = uniform(*transform.degrees, len(images), generator)
        return rotate(images, angle, mode, fill, transform.center)

    return [BatchTransform(apply, random=True)]


@register("RandomAffine")
def random_affine(transform):
    mode, fill = sampling_settings(transform)
    x_share, y_share = transform.translate or (0, 0)  # of the width, of the height
    shear = [*(transform.shear or ()), 0, 0, 0, 0][:4]  # x from, x to, y from, y to

    def apply(images, generator):
        (height, width), n = images.shape[-2:], len(images)
        return affine(
            images,
            angle=uniform(*transform.degrees, n, generator),
            shift_x=uniform(-x_share * width, x_share * width, n, generator).round(),
            shift_y=uniform(-y_share * height, y_share * height, n, generator).round(),
            scale=uniform(*(transform.scale or (1, 1)), n, generator),
            shear_x=uniform(*shear[:2], n, generator),
            shear_y=uniform(*shear[2:], n, generator),
            mode=mode,
            fill=fill,
            center=transform.center,
        )

    return [BatchTransform(apply, random=True)]


def sampling_settings(transform):
    """Return grid_sample's mode, and the fill as a list of numbers, or None for bare zeros."""
    mode, fill = InterpolationMode(transform.interpolation).value, transform.fill
    if mode not in ("nearest", "bilinear") or isinstance(fill, dict):
        settings = f"interpolation={mode}, fill={fill}"
        raise UnbatchableError(f"{type(transform).__name__}({settings}) has no batched equivalent")
    return mode, [fill] if isinstance(fill, (int, float)) else fill


def rotate(images, angle, mode="nearest", fill=None, center=None):
    """Rotate each image (N, C, H, W) by its own angle (N,), in degrees counter-clockwise.

    Equals `torchvision.transforms.functional.rotate` on each image with its angle.
    """
    none = torch.zeros_like(angle)
    return affine(images, -angle, none, none, none + 1, none, none, mode, fill, center)


def affine(
    images, angle, shift_x, shift_y, scale, shear_x, shear_y, mode="nearest", fill=None, center=None
):
    """Transform each image (N, C, H, W) by its own parameters, float64 tensors (N,) on the CPU.

    Angles and shears are in degrees (the angle clockwise), shifts in pixels; `center` is (x, y) in
    pixels from the upper left corner, the middle of the image by default. Equals
    `torchvision.transforms.functional.affine` on each image with its parameters.
    """
    height, width = images.shape[-2:]
    x, y = (0.0, 0.0) if center is None else (center[0] - width / 2, center[1] - height / 2)
    angle, shear_x, shear_y = (torch.deg2rad(degrees) for degrees in (angle, shear_x, shear_y))
    # From output to input pixels: undo the shift, the scale, the shear and the rotation.
    a = torch.cos(angle - shear_y) / torch.cos(shear_y)
    b = torch.sin(angle - shear_y) / torch.cos(shear_y)
    xx = (torch.cos(angle) - b * torch.tan(shear_x)) / scale
    xy = (torch.sin(angle) + a * torch.tan(shear_x)) / scale
    yx, yy = -b / scale, a / scale
    back_x, back_y = -x - shift_x, -y - shift_y
    row_x = torch.stack([xx, xy, xx * back_x + xy * back_y + x], dim=1)  # (N, 3)
    row_y = torch.stack([yx, yy, yx * back_x + yy * back_y + y], dim=1)
    dtype = images.dtype if images.is_floating_point() else torch.float32
    matrix = torch.stack([row_x, row_y], dim=1).to(dtype)  # before the device: MPS has no float64
    return sample(images, affine_grid(matrix, height, width, images.device), mode, fill)


def sample(images, grid, mode, fill):
    """Sample each image (N, C, H, W) at its own points (N, H, W, 2), in grid_sample's -1 to 1.

    Pixels from outside get `fill`: one number for all channels or one each; None leaves zeros.
    """
    whole = not images.is_floating_point()
    sampled = images.float() if whole else images
    if fill is not None:
        fill = per_channel(fill, sampled)

    if fill is None:
        sampled = F.grid_sample(sampled, grid, mode=mode, align_corners=False)
    elif whole and mode == "nearest":  # shifted so that the fill is zero; exact after rounding
        sampled = F.grid_sample(sampled - fill, grid, mode=mode, align_corners=False) + fill
    else:  # a channel of ones comes back as the share of each pixel that is from inside
        sampled = torch.cat([sampled, torch.ones_like(sampled[:, :1])], dim=1)
        sampled = F.grid_sample(sampled, grid, mode=mode, align_corners=False)
        sampled, inside = sampled[:, :-1], sampled[:, -1:]
        if mode == "nearest":
            sampled = torch.where(inside < 0.5, fill, sampled)
        else:
            sampled = sampled * inside + (1.0 - inside) * fill
    return sampled.round().to(images.dtype) if whole else sampled


def affine_grid(matrix, height, width, device):
    """Return where each output pixel comes from, (N, H, W, 2), in grid_sample's -1 to 1.

    `matrix` (N, 2, 3) maps output to input pixels. Products and sums one at a time, so that every
    device rounds alike; torchvision multiplies matrices, to the same numbers.
    """
    x = torch.arange(width, dtype=matrix.dtype, device=device) - (width - 1) / 2  # (W,)
    y = torch.arange(height, dtype=matrix.dtype, device=device) - (height - 1) / 2  # (H,)
    scaled = matrix / (0.5 * matrix.new_tensor([[width], [height]]))
    per_x, per_y, shift = scaled.to(device, non_blocking=True)[..., None, None].unbind(2)
    return (per_x * x + per_y * y[:, None] + shift).permute(0, 2, 3, 1)


# --- Position: crop, pad, erase ----------------------------------------------------------------


@register("Pad")
def fixed_pad(transform):
    return fixed(lambda images: pad(images, transform, transform.padding))


@register("CenterCrop")
def center_crop(transform):
    return fixed(lambda images: TF.center_crop(images, transform.size))


@register("RandomCrop")
def random_crop(transform):
    crop_height, crop_width = transform.size
    padding = transform.padding
    if isinstance(transform, v2.RandomCrop) and padding is not None and len(padding) == 4:
        left, right, top, bottom = padding  # v2.RandomCrop's order
        padding = [left, top, right, bottom]

    def apply(images, generator):
        if padding is not None:
            images = pad(images, transform, padding)
        height, width = images.shape[-2:]
        if transform.pad_if_needed:
            extra = [max(crop_width - width, 0), max(crop_height - height, 0)]
            images = pad(images, transform, extra)
            height, width = images.shape[-2:]
        if height < crop_height or width < crop_width:
            raise ValueError(
                f"expected images of at least {crop_height}x{crop_width} for RandomCrop, "
                f"got {height}x{width}"
            )
        top = integers(height - crop_height + 1, len(images), generator)
        left = integers(width - crop_width + 1, len(images), generator)
        return crop(images, top, left, crop_height, crop_width)

    return [BatchTransform(apply, random=True)]


@register("RandomErasing")
def random_erasing(transform):
    def apply(images, generator):
        n, (height, width) = len(images), images.shape[-2:]
        # torchvision draws a box up to ten times, until one fits.
        area = uniform(*transform.scale, (n, 10), generator) * height * width
        aspect = uniform(*map(math.log, transform.ratio), (n, 10), generator).exp()
        box_height = (area * aspect).sqrt().round().long()
        box_width = (area / aspect).sqrt().round().long()
        fits = (box_height < height) & (box_width < width)
        first = fits.int().argmax(dim=1, keepdim=True)
        box_height, box_width = (box.gather(1, first)[:, 0] for box in (box_height, box_width))
        top = integers(height - box_height + 1, n, generator)
        left = integers(width - box_width + 1, n, generator)
        chosen = fits.any(dim=1) & (uniform(0, 1, n, generator) < transform.p)
        box_height = box_height * chosen  # a box without height erases nothing
        if transform.value in ("random", None):
            noise = torch.randn(
                images.shape, generator=generator, dtype=torch.float32, device="cpu"
            )
            value = send(noise, images)
        else:
            value = per_channel(transform.value, images)
        return erase(images, top, left, box_height, box_width, value)

    return [BatchTransform(apply, random=True, needs_tensor=True)]


def pad(images, transform, padding):
    """Pad images (N, C, H, W), as `torchvision.transforms.functional.pad`, in a transform's way."""
    fill = transform.fill
    if isinstance(fill, (list, tuple)) and len(fill) == 1:
        fill = fill[0]
    if not isinstance(fill, (int, float, type(None))):
        raise UnbatchableError(f"{type(transform).__name__}(fill={fill}) has no batched equivalent")
    return TF.pad(images, padding, fill or 0, transform.padding_mode)


def crop(images, top, left, height, width):
    """Cut a window of one size from each image (N, C, H, W), at its own corner (N,), (N,)."""
    device = images.device
    rows = send(top, images)[:, None] + torch.arange(height, device=device)  # (N, height)
    columns = send(left, images)[:, None] + torch.arange(width, device=device)  # (N, width)
    image = torch.arange(len(images), device=device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=device)[:, None, None]
    return images[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def erase(images, top, left, height, width, value):
    """Fill a box in each image (N, C, H, W); corner and size of the boxes are (N,) each.

    `value` is a tensor that broadcasts to the images.
    """
    y = torch.arange(images.shape[-2], device=images.device)
    x = torch.arange(images.shape[-1], device=images.device)
    edges = (top, top + height, left, left + width)
    top, bottom, left, right = (send(edge, images)[:, None] for edge in edges)
    rows, columns = (top <= y) & (y < bottom), (left <= x) & (x < right)  # (N, H), (N, W)
    box = rows[:, None, :, None] & columns[:, None, None, :]
    return torch.where(box, value.to(images.dtype), images)


# --- Light -------------------------------------------------------------------------------------


@register("ColorJitter")
def color_jitter(transform):
    if transform.saturation is not None or transform.hue is not None:
        raise UnbatchableError("ColorJitter with saturation or hue has no batched equivalent")

    brightness, contrast = transform.brightness or (1, 1), transform.contrast or (1, 1)
    if brightness == contrast == (1, 1):
        return []

    def apply(images, generator):
        n = len(images)
        bright, sharp = uniform(*brightness, n, generator), uniform(*contrast, n, generator)
        first = uniform(0, 1, n, generator) < 0.5  # torchvision shuffles the two
        one = adjust_contrast(adjust_brightness(images, bright), sharp)
        other = adjust_brightness(adjust_contrast(images, sharp), bright)
        return torch.where(per_image(first, images), one, other)

    return [BatchTransform(apply, random=True)]


def adjust_brightness(images, factor):
    """Scale each image (N, C, H, W) by its factor (N,), within the range of its type."""
    return blend(images, torch.zeros_like(images), factor)


def adjust_contrast(images, factor):
    """Scale each image's distance from its own mean grey by its factor (N,)."""
    grey = TF.rgb_to_grayscale(images) if images.shape[1] == 3 else images
    dtype = images.dtype if images.is_floating_point() else torch.float32
    return blend(images, grey.to(dtype).mean(dim=(1, 2, 3), keepdim=True), factor)


def blend(images, other, factor):
    """Mix images with others, factor (N,) to 1 - factor, clamped to the range of the type."""
    bound = 1.0 if images.is_floating_point() else 255.0
    factor = per_image(factor.float(), images)
    return (factor * images + (1.0 - factor) * other).clamp(0, bound).to(images.dtype)


# --- Random draws, on the CPU, so that a seed gives the same numbers on every device -------------


def uniform(low, high, size, generator):
    """Draw float64 numbers between low and high, of shape `size`, on the CPU."""
    return low + (high - low) * torch.rand(
        size, generator=generator, dtype=torch.float64, device="cpu"
    )


def integers(end, n, generator):
    """Draw n whole numbers from 0 up to, not including, `end`: an int or a tensor (n,)."""
    return (uniform(0, 1, n, generator) * end).long()


def send(values, images):
    """Copy a tensor to the images' device without synchronising."""
    return values.to(images.device, non_blocking=True)


def per_image(values, images):
    """Copy values (N,) to the images' device, shaped to broadcast to images (N, C, H, W)."""
    return send(values, images).view(-1, 1, 1, 1)


def per_channel(values, images):
    """Return a number, or one per channel, as a tensor that broadcasts to images (N, C, H, W)."""
    return send(torch.as_tensor(values, dtype=images.dtype, device="cpu").view(-1, 1, 1), images)


# --- The loader --------------------------------------------------------------------------------


class DeviceLoader:
    """Batches of a dataset whose images stay on the device, transformed there batch by batch.

    Takes a torchvision dataset with uint8 images `data` (N, H, W), labels `targets` (N,) and a
    `transform`: MNIST or one of its relatives. Iterates over images (batch, C, H', W') and labels
    (batch,), int64. With `shuffle`, each iteration draws a new order from `generator`, on the CPU:
    order and augmentation depend on the seed alone, not on the device. Without a generator, torch's
    seeds one. A transform without randomness is run once and its result kept.

    A dataset that was changed, by replacing `data`, `targets` or `transform` or by torch's in-place
    operations, is read again for the next iteration or `len()`.

    Raises ValueError for a batch size that is no positive integer and for data and targets that
    differ in length, UnbatchableError for a dataset or a transform that needs a DataLoader.
    """

    def __init__(
        self, dataset, batch_size, shuffle=False, drop_last=False, device="cpu", generator=None
    ):
        if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__") or batch_size < 1:
            raise ValueError(f"expected batch_size as a positive integer, got {batch_size!r}")
        if generator is None:
            seed = torch.randint(2**62, (), device="cpu").item()
            generator = torch.Generator().manual_seed(seed)
        self.dataset = dataset
        self.batch_size = operator.index(batch_size)
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.device = device
        self.generator = generator
        self._parts, self._versions = [], None
        self._refresh()

    def _refresh(self):
        """Read the dataset, unless it is as it was when it was read last."""
        names = ("data", "targets", "transform", "target_transform")
        parts = [getattr(self.dataset, name, None) for name in names]
        versions = [version(part) for part in parts]
        same = self._parts and all(map(operator.is_, parts, self._parts))
        if same and versions == self._versions:
            return
        self.steps, images, labels = read_dataset(self.dataset)
        self.images, self.labels = images.to(self.device), labels.to(self.device)
        if not any(step.random for step in self.steps):
            self.images = run_in_chunks(self.steps, self.images)
            self.steps = []
        self._parts, self._versions = parts, versions

    def __getstate__(self):  # without the steps, which can't be pickled and are read again
        missing = {"steps": [], "images": None, "labels": None, "_parts": []}
        return self.__dict__ | missing | {"generator": self.generator.get_state()}

    def __setstate__(self, state):
        self.__dict__ |= state | {"generator": torch.Generator()}
        self.generator.set_state(state["generator"])

    def __len__(self):
        self._refresh()
        n = len(self.labels)
        return n // self.batch_size if self.drop_last else math.ceil(n / self.batch_size)

    def __iter__(self):
        # Both are drawn here, so that an interrupted iteration does not change the next one.
        self._refresh()
        n, generator = len(self.labels), self.generator
        if self.shuffle:
            order = torch.randperm(n, generator=generator, device="cpu")
        else:
            order = torch.arange(n, device="cpu")
        seed = torch.randint(2**62, (), generator=generator, device="cpu").item()
        indices = order.to(self.device).split(self.batch_size)[: len(self)]
        draws = torch.Generator().manual_seed(seed)
        return batches(self.steps, self.images, self.labels, indices, draws)


def batches(steps, images, labels, indices, generator):
    """Yield transformed images and labels for each tensor of indices."""
    for index in indices:
        yield run(steps, images.index_select(0, index), generator), labels[index]


def version(part):
    """Return a value that changes when a tensor or transform is changed in place."""
    if isinstance(part, torch.Tensor):
        return None if part.is_inference() else part._version
    return repr(part)


def read_dataset(dataset):
    """Return a dataset's steps, images (N, 1, H, W) and labels (N,).

    The steps are compared with torchvision's transform on the first image: the two results must
    have the same shape and type, and the same values where nothing is random.
    """
    name = type(dataset).__name__
    data, labels = getattr(dataset, "data", None), getattr(dataset, "targets", None)
    if not isinstance(data, torch.Tensor) or data.dtype != torch.uint8 or data.dim() != 3:
        raise UnbatchableError(f"{name} holds no uint8 images of shape (N, H, W)")
    if isinstance(dataset, datasets.QMNIST) and dataset.compat:
        labels = labels[:, 0]  # the other seven numbers say who wrote the digit
    if not isinstance(labels, torch.Tensor) or labels.dim() != 1:
        raise UnbatchableError(f"{name} holds no labels as a tensor of shape (N,)")
    if not len(data) == len(labels) > 0:
        counts = f"{len(labels)} labels and {len(data)} images"
        raise ValueError(f"expected a label for each image, got {counts}")
    if getattr(dataset, "target_transform", None) is not None:
        raise UnbatchableError("target_transform has no batched equivalent")
    steps, images, labels = steps_of(dataset.transform), data.unsqueeze(1), labels.long()
    check_conversion(steps)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        image, label = dataset[0]
    if not isinstance(image, torch.Tensor):
        raise UnbatchableError(f"the pipeline ends in a {type(image).__name__}, not in a tensor")
    ours = run(steps, images[:1], torch.Generator().manual_seed(0))[0]
    if ours.shape != image.shape or ours.dtype != image.dtype:
        raise UnbatchableError(
            f"the pipeline makes {image.dtype} {tuple(image.shape)} of an image, "
            f"its batched form {ours.dtype} {tuple(ours.shape)}"
        )
    if not any(step.random for step in steps) and not torch.allclose(ours, image, atol=1e-6):
        raise UnbatchableError("the pipeline makes other values of an image than its batched form")
    if label != labels[0] or len(dataset) != len(data):
        raise UnbatchableError(f"{name} gives other labels, or more or fewer, than its targets")
    return steps, images, labels


def check_conversion(steps):
    """Raise UnbatchableError unless images become tensors once, before what needs tensors."""
    are_tensors = False
    for step in steps:
        if step.makes_tensor and are_tensors:
            raise UnbatchableError("the pipeline turns images into tensors twice")
        if step.needs_tensor and not are_tensors:
            raise UnbatchableError("the pipeline works on tensors before images become tensors")
        are_tensors = are_tensors or step.makes_tensor


def run_in_chunks(steps, images, size=1000):
    """Apply steps without randomness to all images, with memory for one more chunk at a time."""
    result = None
    for start in range(0, len(images), size):
        chunk = run(steps, images[start : start + size], generator=None)
        if result is None:
            result = chunk.new_empty(len(images), *chunk.shape[1:])
        result[start : start + size] = chunk
    return result
