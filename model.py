"""Net1 to Net8: from a naive convolutional network to small depthwise-separable ones.

Every network maps images of shape (N, 1, 28, 28) to log-probabilities of shape (N, classes);
`classes` is 10 by default. The comment after each layer gives its output size for 10 classes,
height x width x channels, and RF, its receptive field: the side in pixels of the input window
that one output depends on.
"""

from functools import partial
from numbers import Integral

import torch
from torch import fx, nn
from torch.nn import functional as F


def conv_block(in_channels, out_channels, padding=0, batch_norm=True, dropout=0.0):
    """Return a Sequential: 3x3 convolution, ReLU, then optional BatchNorm and Dropout.

    Maps (N, in_channels, H, W) to (N, out_channels, H + 2 * padding - 2, W + 2 * padding - 2).
    """
    layers = [nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=padding), nn.ReLU()]
    if batch_norm:
        layers.append(nn.BatchNorm2d(out_channels))
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


def separable_block(in_channels, out_channels, padding=0, convolution=None):
    """Depthwise-separable 3x3 convolution, ReLU, BatchNorm.

    To share weights between blocks, pass them one `convolution` made by `depthwise_separable`.
    """
    pad = [nn.ZeroPad2d(padding)] if padding else []
    convolution = convolution or depthwise_separable(in_channels, out_channels)
    return nn.Sequential(*pad, *convolution, nn.ReLU(), nn.BatchNorm2d(out_channels))


def depthwise_separable(in_channels, out_channels):
    """Depthwise 3x3 convolution without bias, then a 1x1 convolution, as a list of layers."""
    return [
        nn.Conv2d(in_channels, in_channels, kernel_size=3, groups=in_channels, bias=False),
        nn.Conv2d(in_channels, out_channels, kernel_size=1),
    ]


class BlurPool2d(nn.AvgPool2d):
    """Weighted 3x3 average (1-2-1 in both directions) with stride 2 and zero padding.

    MaxPool2d(2, stride=1) followed by BlurPool2d is an anti-aliased max-pool: it blurs before
    subsampling, so a one-pixel shift changes later activations less. Source: Zhang, "Making
    Convolutional Networks Shift-Invariant Again", ICML 2019.
    """

    def __init__(self, channels):
        super().__init__(kernel_size=3, stride=2, padding=1)
        self.channels = channels
        weights = torch.tensor([1.0, 2.0, 1.0]) / 4
        weights = weights.outer(weights).repeat(channels, 1, 1, 1)  # (C, 1, 3, 3)
        self.register_buffer("weights", weights)  # constant: in the state_dict, not a parameter

    def forward(self, images):
        """Map images (N, C, H, W) to (N, C, (H + 1) // 2, (W + 1) // 2)."""
        stride, padding = (self.stride,) * 2, (self.padding,) * 2
        # Every argument in full, as pairs: FX's int8 mode takes them as they stand.
        return F.conv2d(images, self.weights, None, stride, padding, (1, 1), self.channels)


def check_images(images):
    """Raise TypeError or ValueError unless images are floating-point (N, 1, 28, 28)."""
    if not isinstance(images, torch.Tensor) or not images.is_floating_point():
        got = images.dtype if isinstance(images, torch.Tensor) else type(images).__name__
        raise TypeError(f"expected images as a floating-point tensor, got {got}")
    if images.dim() != 4 or images.shape[1:] != (1, 28, 28):
        raise ValueError(f"expected images of shape (N, 1, 28, 28), got {tuple(images.shape)}")


def check_at_least_2(**sizes):
    """Raise TypeError or ValueError, by name, unless every size is an integer of at least 2."""
    for name, size in sizes.items():
        if not isinstance(size, Integral) or isinstance(size, bool):
            raise TypeError(f"expected {name} as an integer, got {size!r}")
        if size < 2:
            raise ValueError(f"expected {name} of at least 2, got {size}")


class DigitNet(nn.Module):
    """Common forward pass: `features`, `classifier`, log-softmax.

    Subclasses define both in their constructor; `classifier` outputs (N, classes, 1, 1).
    """

    def forward(self, images):
        """Map float images (N, 1, 28, 28) to log-probabilities (N, classes).

        Raises TypeError unless images are a floating-point tensor, ValueError for another shape.
        """
        if not (isinstance(images, fx.Proxy) or torch.jit.is_tracing()):
            check_images(images)
        logits = self.classifier(self.features(images)).flatten(1)  # (N, classes)
        return F.log_softmax(logits, dim=1)


class Net1(DigitNet):
    """The skeleton: convolutions, two max-pools, global average pooling for a dense layer."""

    def __init__(self, classes=10):
        super().__init__()
        check_at_least_2(classes=classes)
        block = partial(conv_block, padding=1, batch_norm=False)
        self.features = nn.Sequential(
            block(1, 8),  # 28x28x8  RF 3
            block(8, 16),  # 28x28x16  RF 5
            block(16, 32),  # 28x28x32  RF 7
            block(32, 64),  # 28x28x64  RF 9
            nn.MaxPool2d(2),  # 14x14x64  RF 10
            block(64, 128),  # 14x14x128  RF 14
            block(128, 128),  # 14x14x128  RF 18
            nn.MaxPool2d(2),  # 7x7x128  RF 20
        )
        self.classifier = nn.Sequential(
            nn.Conv2d(128, classes, kernel_size=3),  # 5x5x10  RF 28
            nn.AdaptiveAvgPool2d(1),  # 1x1x10  RF 44
        )


class Net2(DigitNet):
    """Net1 with fewer channels, and BatchNorm after every ReLU."""

    def __init__(self, dropout=0.0, classes=10):
        super().__init__()
        check_at_least_2(classes=classes)
        block = partial(conv_block, padding=1, dropout=dropout)
        self.features = nn.Sequential(
            block(1, 4),  # 28x28x4  RF 3
            block(4, 8),  # 28x28x8  RF 5
            block(8, 12),  # 28x28x12  RF 7
            block(12, 16),  # 28x28x16  RF 9
            nn.MaxPool2d(2),  # 14x14x16  RF 10
            block(16, 32),  # 14x14x32  RF 14
            block(32, 32),  # 14x14x32  RF 18
            nn.MaxPool2d(2),  # 7x7x32  RF 20
        )
        self.classifier = nn.Sequential(
            nn.Conv2d(32, classes, kernel_size=3),  # 5x5x10  RF 28
            nn.AdaptiveAvgPool2d(1),  # 1x1x10  RF 44
        )


class Net3(Net2):
    """Net2 with dropout after every BatchNorm."""

    def __init__(self, dropout=0.05, classes=10):
        super().__init__(dropout, classes)


class Net4(DigitNet):
    """Under 8,000 parameters: a 1x1 transition to few channels, a 1x1 convolution at the end."""

    def __init__(self, dropout=0.05, classes=10):
        super().__init__()
        check_at_least_2(classes=classes)
        block = partial(conv_block, dropout=dropout)
        self.features = nn.Sequential(
            block(1, 8, padding=1),  # 28x28x8  RF 3
            block(8, 12, padding=1),  # 28x28x12  RF 5
            nn.Conv2d(12, 6, kernel_size=1),  # 28x28x6  RF 5
            nn.MaxPool2d(2),  # 14x14x6  RF 6
            block(6, 12),  # 12x12x12  RF 10
            block(12, 12),  # 10x10x12  RF 14
            block(12, 12, padding=1),  # 10x10x12  RF 18
            nn.MaxPool2d(2),  # 5x5x12  RF 20
            block(12, 12),  # 3x3x12  RF 28
            block(12, 12, padding=1),  # 3x3x12  RF 36
        )
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),  # 1x1x12  RF 44
            nn.Conv2d(12, classes, kernel_size=1),  # 1x1x10  RF 44
        )


class Net5(DigitNet):
    """Net4's convolutions with anti-aliased pooling and no dropout: 7,216 parameters.

    `width` is the number of channels of most layers; the sizes below are for the default.
    Raises TypeError or ValueError unless `width` and `classes` are integers of at least 2.
    """

    def __init__(self, width=12, classes=10):
        super().__init__()
        check_at_least_2(width=width, classes=classes)
        self.features = nn.Sequential(
            conv_block(1, 8, padding=1),  # 28x28x8  RF 3
            conv_block(8, width, padding=1),  # 28x28x12  RF 5
            nn.Conv2d(width, width // 2, kernel_size=1),  # 28x28x6  RF 5
            nn.MaxPool2d(2, stride=1),  # 27x27x6  RF 6
            BlurPool2d(width // 2),  # 14x14x6  RF 8
            conv_block(width // 2, width),  # 12x12x12  RF 12
            conv_block(width, width),  # 10x10x12  RF 16
            conv_block(width, width, padding=1),  # 10x10x12  RF 20
            nn.MaxPool2d(2, stride=1),  # 9x9x12  RF 22
            BlurPool2d(width),  # 5x5x12  RF 26
            conv_block(width, width),  # 3x3x12  RF 34
            conv_block(width, width, padding=1),  # 3x3x12  RF 42
        )
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),  # 1x1x12  RF 50
            nn.Conv2d(width, classes, kernel_size=1),  # 1x1x10  RF 50
        )


class Net6(DigitNet):
    """Depthwise-separable convolutions, one of them used four times: 1,938 parameters.

    Each use has its own BatchNorm. `width` is the number of channels of the shared convolution;
    the sizes below are for the default. Raises TypeError or ValueError unless `width` and
    `classes` are integers of at least 2.
    """

    def __init__(self, width=25, classes=10):
        super().__init__()
        check_at_least_2(width=width, classes=classes)
        shared = depthwise_separable(width, width)
        shared_block = partial(separable_block, width, width, convolution=shared)
        self.features = nn.Sequential(
            conv_block(1, 8, padding=1),  # 28x28x8  RF 3
            separable_block(8, 8, padding=1),  # 28x28x8  RF 5
            nn.MaxPool2d(2, stride=1),  # 27x27x8  RF 6
            BlurPool2d(8),  # 14x14x8  RF 8
            separable_block(8, width),  # 12x12x25  RF 12
            shared_block(),  # 10x10x25  RF 16
            shared_block(padding=1),  # 10x10x25  RF 20
            nn.MaxPool2d(2, stride=1),  # 9x9x25  RF 22
            BlurPool2d(width),  # 5x5x25  RF 26
            shared_block(),  # 3x3x25  RF 34
            shared_block(padding=1),  # 3x3x25  RF 42
        )
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),  # 1x1x25  RF 50
            nn.Conv2d(width, classes, kernel_size=1),  # 1x1x10  RF 50
        )


class Net7(DigitNet):
    """Depthwise-separable convolutions without sharing: 7,846 parameters.

    `width` is the number of channels of most layers; the sizes below are for the default.
    Raises TypeError or ValueError unless `width` and `classes` are integers of at least 2.
    """

    def __init__(self, width=36, classes=10):
        super().__init__()
        check_at_least_2(width=width, classes=classes)
        self.features = nn.Sequential(
            conv_block(1, 8, padding=1),  # 28x28x8  RF 3
            nn.MaxPool2d(2, stride=1),  # 27x27x8  RF 4
            BlurPool2d(8),  # 14x14x8  RF 6
            separable_block(8, width),  # 12x12x36  RF 10
            separable_block(width, width),  # 10x10x36  RF 14
            separable_block(width, width, padding=1),  # 10x10x36  RF 18
            nn.MaxPool2d(2, stride=1),  # 9x9x36  RF 20
            BlurPool2d(width),  # 5x5x36  RF 24
            separable_block(width, width),  # 3x3x36  RF 32
            separable_block(width, width, padding=1),  # 3x3x36  RF 40
        )
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),  # 1x1x36  RF 48
            nn.Conv2d(width, classes, kernel_size=1),  # 1x1x10  RF 48
        )


class FirstChannels(nn.Module):
    """Keeps the first `channels` channels of (N, C, H, W)."""

    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def extra_repr(self):
        return f"{self.channels}"

    def forward(self, images):
        """Map images (N, C, H, W) to (N, channels, H, W)."""
        return images[:, : self.channels]


class Net8(DigitNet):
    """One depthwise-separable convolution in place of every layer: 692 parameters.

    For the image, which has one channel, the depthwise kernels are an ordinary convolution. All
    BatchNorms but the last share their weights. The last block keeps the first `classes` channels,
    whose means are the logits; more classes than channels get a 1x1 convolution. `width` is the
    number of channels; the sizes below are for the default. Raises TypeError or ValueError unless
    `width` and `classes` are integers of at least 2.
    """

    def __init__(self, width=21, classes=10):
        super().__init__()
        check_at_least_2(width=width, classes=classes)
        kernels = nn.Conv2d(1, width, kernel_size=3).weight  # (width, 1, 3, 3)
        mixing = nn.Conv2d(width, width, kernel_size=1).weight
        scale, shift = nn.BatchNorm2d(width).parameters()

        def convolutions(in_channels=width, padding=0):
            pad = [nn.ZeroPad2d(padding)] if padding else []
            depthwise = nn.Conv2d(in_channels, width, 3, groups=in_channels, bias=False)
            pointwise = nn.Conv2d(width, width, kernel_size=1, bias=False)
            depthwise.weight, pointwise.weight = kernels, mixing
            return [*pad, depthwise, pointwise]

        def block(*arguments, **named):
            norm = nn.BatchNorm2d(width)
            norm.weight, norm.bias = scale, shift
            return nn.Sequential(*convolutions(*arguments, **named), norm, nn.SiLU())

        def last_block(padding):
            chosen = FirstChannels(classes) if classes <= width else nn.Conv2d(width, classes, 1)
            norm = nn.BatchNorm2d(classes)
            return nn.Sequential(*convolutions(padding=padding), chosen, norm, nn.SiLU())

        self.features = nn.Sequential(
            block(1, padding=1),  # 28x28x21  RF 3
            nn.MaxPool2d(2, stride=1),  # 27x27x21  RF 4
            BlurPool2d(width),  # 14x14x21  RF 6
            block(),  # 12x12x21  RF 10
            block(),  # 10x10x21  RF 14
            block(padding=1),  # 10x10x21  RF 18
            nn.MaxPool2d(2, stride=1),  # 9x9x21  RF 20
            BlurPool2d(width),  # 5x5x21  RF 24
            block(),  # 3x3x21  RF 32
        )
        self.classifier = nn.Sequential(
            last_block(padding=1),  # 3x3x10  RF 40
            nn.AdaptiveAvgPool2d(1),  # 1x1x10  RF 48
        )


NETS = {net.__name__.lower(): net for net in (Net1, Net2, Net3, Net4, Net5, Net6, Net7, Net8)}
