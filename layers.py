"""The layers of a convolutional network: output sizes, receptive fields, parameters."""

import copy
import math
from collections import defaultdict
from contextlib import nullcontext
from functools import reduce
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LayerTrace(NamedTuple):
    """A layer, its output size (height, width, channels) and its receptive field in pixels."""

    name: str
    layer: nn.Module
    output_size: tuple[int, int, int]
    receptive_field: int


def trace(model, input_size=(1, 28, 28)):
    """Return a LayerTrace for each call of a layer, in order, for inputs (N, C, H, W).

    A layer is a module without children. Operations between layers count, too: functional
    pooling adds to the receptive field of the next layer, and after a residual connection it is
    that of the longer branch. A copy of the model runs on the CPU in eval mode; the model and the
    random state stay as they are.

    Raises TypeError, naming operator and layer, where there is no receptive field of one size: an
    operator other than a convolution, pooling, padding or elementwise one; branches of different
    strides; a field that is not square.
    """
    windows, rows = Windows(), []

    def enter(name, layer):
        windows.layer = f" in {name}: {layer}"

    def leave(name, layer, output):
        height, width, channels, field = windows.measure(output)
        rows.append(LayerTrace(name, layer, (height, width, channels), field))
        windows.layer = ""

    run_layers(model, input_size, leave, enter, windows)
    return rows


def run_layers(model, input_size, leave, enter=None, windows=None):
    """Run a copy of a model on the CPU, in eval mode, for two inputs of a size (C, H, W).

    Before each call of a layer comes `enter(name, layer)`, after it `leave(name, layer, output)`,
    with the layer of the model itself. A layer is a module without children; parametrizations, such
    as weight_norm, are part of theirs. `windows` follow the inputs.
    """
    with (
        torch.random.fork_rng(devices=[]),
        torch.device("cpu"),
        torch.inference_mode(False),
        torch.no_grad(),
    ):
        traced = copied(model).to_empty(device="cpu").float().eval()
        names = defaultdict(list)
        for name, module in traced.named_modules(remove_duplicate=False):
            inner = {child for child, _ in module.named_children()}
            if inner <= {"parametrizations"} and "parametrizations" not in name.split("."):
                names[module].append(name)

        def before(module, inputs):
            name = names[module][0]
            enter(name, model.get_submodule(name))

        def after(module, inputs, output):
            name = names[module].pop(0) if len(names[module]) > 1 else names[module][0]
            leave(name, model.get_submodule(name), output)

        for module in names:
            if enter is not None:
                module.register_forward_pre_hook(before)
            module.register_forward_hook(after)
        images = torch.zeros(2, *input_size, dtype=torch.float32)
        with windows.following(images) if windows is not None else nullcontext():
            traced(images)


def copied(model):
    """Return a deep copy of a model.

    Pruning and weight_norm leave computed tensors in it, which copy.deepcopy refuses.
    """
    tensors = [
        value
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, torch.Tensor)
    ]
    return copy.deepcopy(model, {id(tensor): tensor.detach().clone() for tensor in tensors})


def is_ordinary(model, input_size=(1, 28, 28)):
    """Return whether each parameter is the weight or bias of one layer that is called once.

    And whether no module has two names. Pruned, parametrized and shared layers are not ordinary.
    """
    used = []

    def leave(name, layer, output):
        parameters = (layer._parameters.get(kind) for kind in ("weight", "bias"))
        used.extend(id(parameter) for parameter in parameters if parameter is not None)

    run_layers(model, input_size, leave)
    modules = [module for _, module in model.named_modules(remove_duplicate=False)]
    own = sorted(map(id, model.parameters()))
    return len(modules) == len(set(modules)) and sorted(used) == own


def summary_table(model, input_size=(1, 28, 28)):
    """Return torchsummary's table of a model, with a row for each call of a layer.

    The parameters of a layer that is called again, or shares them, are counted once.
    """
    counted, rows, shapes = set(), [], []

    def leave(name, layer, output):
        new = set(layer.parameters()) - counted
        counted.update(new)
        shapes.append([-1, *tree_leaves(output)[0].shape[1:]])
        title = f"{type_before_parametrizations(layer).__name__}-{len(shapes)}"
        rows.append(f"{title:>20}  {shapes[-1]!s:>25} {sum(p.numel() for p in new):>15,}")

    run_layers(model, input_size, leave)
    total = sum(parameter.numel() for parameter in model.parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    outputs = sum(-math.prod(shape) for shape in shapes)
    sizes = [4 * number / 2**20 for number in (math.prod(input_size), 2 * outputs, total)]
    thin, thick = 64 * "-", 64 * "="
    lines = [thin, f"{'Layer (type)':>20}  {'Output Shape':>25} {'Param #':>15}", thick]
    lines += [*rows, thick, f"Total params: {total:,}", f"Trainable params: {trainable:,}"]
    lines += [f"Non-trainable params: {total - trainable:,}", thin]
    lines += [f"Input size (MB): {sizes[0]:.2f}"]
    lines += [f"Forward/backward pass size (MB): {sizes[1]:.2f}"]
    lines += [f"Params size (MB): {sizes[2]:.2f}"]
    lines += [f"Estimated Total Size (MB): {sum(sizes):.2f}", thin]
    return "\n".join(lines)


class Window(NamedTuple):
    """The pixels that output i depends on, along one axis: `field` of them, from start + i * jump.

    Source: Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks",
    Distill 2019.
    """

    start: int = 0
    field: int = 1
    jump: int = 1

    def after(self, kernel, stride, padding, dilation):
        """Return the window after a kernel has moved along the axis."""
        field = self.field + dilation * (kernel - 1) * self.jump
        return Window(self.start - padding * self.jump, field, self.jump * stride)

    def union(self, other):
        """Return the smallest window that covers this one and another of the same jump."""
        start = min(self.start, other.start)
        end = max(self.start + self.field, other.start + other.field)
        return Window(start, end - start, self.jump)


# Elementwise operators that not every version of torch tags as such.
ELEMENTWISE = {"_prelu_kernel", "_to_copy", "alias", "celu", "channel_shuffle", "clone", "detach"}
ELEMENTWISE |= {"elu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu"}
ELEMENTWISE |= {"log_sigmoid_forward", "mish", "softplus", "softshrink", "threshold"}


class Windows(TorchDispatchMode):
    """Follows the windows of all tensors computed from images (N, C, H, W), operator by operator.

    The output of an unknown operator, and everything computed from it, has none.
    """

    def __init__(self):
        super().__init__()
        self.of = {}  # windows along height and width by tensor, None where they are not known
        self.layer, self.unknown = "", ""  # the layer that runs, the first unknown operator
        self.lost = False  # whether an unknown value may have got into any tensor

    def following(self, images):
        """Follow images, and return this."""
        self.of[images] = Window(), Window()
        return self

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        output = operator(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs))
        sources = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf in self.of]
        name = str(operator).split(".")[1]
        if not sources or name.endswith("_like"):  # empty_like reads nothing but the shape
            return output
        results = tree_leaves(output)
        windows = self.after(operator, name, args, sources, results[0])
        if windows is None:
            self.unknown = self.unknown or f"the operator {name}{self.layer}"
        if operator._schema.is_mutable:  # views of the same memory keep what they have
            self.lost |= windows is None or self.of.get(results[0]) != windows
        self.lost |= not isinstance(results[0], torch.Tensor)  # a number, no longer followed
        self.of |= dict.fromkeys(results, windows)
        return output

    def after(self, operator, name, args, sources, output):
        """Return the windows of an operator's output, None where they are not known."""
        if not isinstance(output, torch.Tensor) or any(
            self.of[source] is None for source in sources
        ):
            return None
        if torch.Tag.pointwise in operator.tags or name.rstrip("_") in ELEMENTWISE:
            return self.merged(sources, output)
        return self.moved(name, args, sources, output)

    def merged(self, sources, output):
        """Return the windows where each pixel depends on the sources' pixels at its own place."""
        axes = list(zip(*(self.of[source] for source in sources), strict=True))
        aligned = all(len({window.jump for window in axis}) == 1 for axis in axes)
        if not aligned or any(source.shape[2:] != output.shape[2:] for source in sources):
            return None
        return tuple(reduce(Window.union, axis) for axis in axes)

    def moved(self, name, args, sources, output):
        """Return the windows after an operator that is not elementwise, None for an unknown one."""
        images, *others = sources
        size, output_size = images.shape[2:], output.shape[2:]
        one_pixel = set(size) | set(output_size) <= {1}
        match name:
            case "cat" | "glu" | "_softmax" | "_log_softmax":
                over_channels = len(args) > 1 and args[1] % output.dim() == 1
                return self.merged(sources, output) if over_channels else None
            case "addmm" if one_pixel and images is args[1] and not others:
                return self.of[images]
            case _ if others or images is not args[0]:
                return None
            case "mm" if one_pixel:
                return self.of[images]
            case "slice" if output.shape == images.shape:  # all of it: [:, 1:] in older torch
                return self.of[images]
            case "slice" if len(args) > 1 and args[1] % images.dim() == 1:  # some of the channels
                return self.of[images]
            case "split" | "split_with_sizes" if len(args) > 2 and args[2] % images.dim() == 1:
                return self.of[images]
            case "native_batch_norm" if not args[5]:  # with its running statistics
                return self.of[images]
            case "view" | "_unsafe_view" | "squeeze" | "unsqueeze" if one_pixel:
                same = (len(images), images.numel()) == (len(output), output.numel())
                return self.of[images] if same else None
            case _ if images.dim() != 4:
                return None
            case "convolution" if not args[6]:
                return self.slide(images, args[1].shape[2:], *args[3:6])
            case "max_pool2d_with_indices":
                return self.slide(*args[:5])
            case "avg_pool2d":
                return self.slide(*args[:4])
            case "mean" | "amax" if len(args) > 1 and {axis % 4 for axis in args[1] or ()} == {
                2,
                3,
            }:
                return self.slide(images, size)
            case "_adaptive_avg_pool2d" | "adaptive_max_pool2d":
                kernel = [side // pixels for side, pixels in zip(size, output_size, strict=True)]
                even = all(
                    side % pixels == 0 for side, pixels in zip(size, output_size, strict=True)
                )
                return self.slide(images, kernel) if even else None
            case "constant_pad_nd" | "reflection_pad2d" | "replication_pad2d" if len(args[1]) == 4:
                left, _, top, _ = args[1]
                return self.slide(images, (1, 1), (1, 1), (top, left))
        return None

    def slide(self, images, kernel, stride=(), padding=(0, 0), dilation=(1, 1)):
        """Return the windows after a kernel has moved over images; its settings are per axis."""
        settings = zip(kernel, stride or kernel, padding, dilation, strict=True)
        return tuple(map(lambda window, axis: window.after(*axis), self.of[images], settings))

    def measure(self, output):
        """Return height, width, channels and receptive field of an output (N, C, H, W) or (N, C).

        Raises TypeError, naming operator and layer, where they are not known.
        """
        known = isinstance(output, torch.Tensor) and self.of.get(output) and not self.lost
        if known and output.dim() in (2, 4):
            rows, columns = self.of[output]
            _, channels, height, width = (*output.shape, 1, 1)[:4]
            if rows.field == columns.field:
                return height, width, channels, rows.field
            self.unknown = f"{rows.field} x {columns.field} pixels{self.layer}"
        raise TypeError(
            "expected square convolutions and poolings, padding and elementwise layers, "
            f"got {self.unknown or 'another output' + self.layer}"
        )
