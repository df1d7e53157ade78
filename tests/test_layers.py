"""The tracer against a receptive field that is measured, and the model summary."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import model as networks
import recipes
import utils
from layers import trace

NETS = [getattr(networks, f"Net{number}") for number in range(1, 7)]


def measured_receptive_field(model, channels=1):
    """Return how many input rows reach the middle output of a model.

    All parameters are ones and pooling is averaging, so that no path cancels or loses a contest.
    """
    model = copy.deepcopy(model)
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
    model = model.double().eval()
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    images = torch.ones(1, channels, 160, 160, dtype=torch.float64, requires_grad=True)
    outputs = model(images)
    middle = outputs.shape[-1] // 2
    outputs[0, :, middle, middle].sum().backward()
    return (images.grad[0].abs().sum(dim=(0, 2)) > 0).sum().item()


class Between(nn.Module):
    """Two convolutions, and whatever a function does with them and an input."""

    def __init__(self, function):
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3, padding=1)
        self.second = nn.Conv2d(2, 2, 3, padding=1)
        self.function = function

    def forward(self, images):
        return self.function(self.first, self.second, images)


@pytest.mark.parametrize("net_class", NETS)
def test_receptive_field_is_what_gradients_reach(net_class):
    net = net_class()
    *_, last = (layer for layer in trace(net) if layer.name.startswith("features"))
    assert measured_receptive_field(net.features) == last.receptive_field


def test_strides_and_dilations():
    chain = nn.Sequential(
        nn.Conv2d(1, 2, 5, stride=2),
        nn.Conv2d(2, 2, 3, dilation=2),
        nn.AvgPool2d(2),
        nn.Conv2d(2, 1, 3),
    )
    traced = trace(chain, (1, 40, 40))
    assert [layer.receptive_field for layer in traced] == [5, 13, 15, 23]
    assert measured_receptive_field(chain) == 23
    assert traced[-1].output_size == (5, 5, 1)


@pytest.mark.parametrize(
    ("layer", "size", "field"),
    [
        (nn.Conv2d(2, 4, 3, dilation=3, groups=2), 22, 9),
        (nn.Conv2d(2, 2, 5, padding="same"), 28, 7),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), 28, 5),
        (nn.MaxPool2d(3, stride=2, padding=1), 14, 5),
        (nn.MaxPool2d(3, ceil_mode=True), 10, 5),
        (nn.MaxPool2d(2, stride=1, dilation=4), 24, 7),
        (nn.AvgPool2d(4), 7, 6),
        (nn.LPPool2d(2, 2), 14, 4),
        (nn.AdaptiveAvgPool2d(7), 7, 6),
        (nn.AdaptiveAvgPool2d(1), 1, 30),
        (nn.AdaptiveMaxPool2d(1), 1, 30),
        (nn.ZeroPad2d((2, 1, 2, 1)), 31, 3),
        (networks.BlurPool2d(2), 14, 5),
    ],
    ids=str,
)
def test_a_layer_after_a_convolution(layer, size, field):
    chain = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), layer)
    last = trace(chain)[-1]
    assert last.output_size[:2] == (size, size)
    assert last.receptive_field == field
    if size > 7:  # the others depend on the size of their input
        assert measured_receptive_field(chain) <= field
    assert trace(nn.Sequential(*chain, nn.Conv2d(last.output_size[2], 1, 1)))[-1][2:] == (
        (size, size, 1),
        field,
    )


@pytest.mark.parametrize(
    "layer",
    [
        *(nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.LeakyReLU(), nn.PReLU(), nn.ELU()),
        *(nn.SiLU(), nn.SiLU(inplace=True), nn.GELU(), nn.GELU("tanh"), nn.Mish(), nn.Hardswish()),
        *(nn.Sigmoid(), nn.Tanh(), nn.Softplus(), nn.Hardtanh(), nn.Threshold(0, 1), nn.CELU()),
        *(nn.Softmax(dim=1), nn.LogSoftmax(dim=1), nn.Softmax2d(), nn.Softsign()),
        *(nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout(), nn.Identity(), nn.BatchNorm2d(2)),
    ],
    ids=str,
)
def test_elementwise_layers_leave_the_receptive_field(layer):
    *_, before, last, after = trace(nn.Sequential(nn.Conv2d(1, 2, 3), layer, nn.Conv2d(2, 1, 3)))
    assert (before.receptive_field, last.receptive_field, after.receptive_field) == (3, 3, 5)
    assert last.output_size == (26, 26, 2)


def test_layers_on_one_pixel():
    head = nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10)),
        *(nn.BatchNorm1d(10), nn.LogSoftmax(dim=-1)),
    )
    traced = trace(head)
    assert [layer.output_size for layer in traced[1:3]] == [(1, 1, 6)] * 2
    assert [layer.output_size for layer in traced[3:]] == [(1, 1, 10)] * 3
    assert {layer.receptive_field for layer in traced[1:]} == {28}


@pytest.mark.parametrize(
    "function",
    [
        lambda first, second, images: second(F.avg_pool2d(first(images), 2)),
        lambda first, second, images: second(F.avg_pool2d(first(images), 3, 1, 1)),
        lambda first, second, images: second(F.avg_pool2d(F.relu(first(images)), 3, 2)),
        lambda first, second, images: second(torch.relu_(first(images))),
        lambda first, second, images: second(F.pad(first(images), (1, 1, 1, 1))),
        lambda first, second, images: second(images + first(images).repeat_interleave(1)[:0].sum())
        if False
        else second(first(images) + images),
        lambda first, second, images: second(second(first(images)) + first(images)),
        lambda first, second, images: second(second(first(images)).add_(first(images))),
        lambda first, second, images: second(
            F.avg_pool2d(first(images), 2) + F.avg_pool2d(images, 4, 2, 1)
        ),
        lambda first, second, images: second(F.dropout(first(images), 0.1)),
    ],
)
def test_operators_between_layers_count(function):
    model = Between(function)
    assert trace(model)[-1].receptive_field == measured_receptive_field(model)
