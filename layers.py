"""A look inside a network: output size and receptive field after each layer."""

import copy
from typing import NamedTuple

import torch
from torch import nn


class LayerTrace(NamedTuple):
    """What a layer leaves behind: (height, width, channels), and the receptive field in pixels."""

    name: str
    layer: nn.Module
    output_size: tuple[int, int, int]
    receptive_field: int


def trace(model, input_size=(1, 28, 28)):
    """Yield a LayerTrace for each layer of a chain of square convolutions and poolings, in order.

    The receptive field grows by (kernel size - 1) x jump at every layer, and the jump, the
    distance of neighbouring outputs in input pixels, is multiplied by the stride (Araujo,
    Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019).
    Raises TypeError for a layer that is neither local nor elementwise, and for branches it would
    be wrong without notice.
    """
    model, rows = copy.deepcopy(model).cpu().eval(), []
    names = {module: name for name, module in model.named_modules()}

    def hook(layer, inputs, output):
        rows.append((layer, inputs[0].shape, output.shape))

    for module in names:
        if not any(module.children()):
            module.register_forward_hook(hook)
    with torch.no_grad():
        model(torch.zeros(1, *input_size))

    receptive_field, jump = 1, 1
    for layer, before, after in rows:
        kernel_size, stride = window(layer, before)
        receptive_field += (kernel_size - 1) * jump
        jump *= stride
        _, channels, height, width = after
        yield LayerTrace(names[layer], layer, (height, width, channels), receptive_field)


def window(layer, input_shape):
    """Return the kernel size, dilation included, and the stride of a layer, in pixels."""
    if isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size in (1, (1, 1)):
        return input_shape[-1], 1
    if isinstance(layer, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
        sizes = (layer.kernel_size, layer.stride, getattr(layer, "dilation", 1))
        kernel_size, stride, dilation = (
            size if isinstance(size, tuple) else (size, size) for size in sizes
        )
        if any(height != width for height, width in (kernel_size, stride, dilation)):
            raise TypeError(f"expected square windows, got {layer}")
        return dilation[0] * (kernel_size[0] - 1) + 1, stride[0]
    elementwise = (nn.ReLU, nn.BatchNorm2d, nn.Dropout, nn.Dropout2d, nn.Identity)
    if isinstance(layer, elementwise):
        return 1, 1
    raise TypeError(f"expected a convolution, pooling or elementwise layer, got {layer}")
