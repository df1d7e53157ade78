"""The tracer against a receptive field that is measured, and the model summary."""

import copy

import pytest
import torch
from torch import nn

import model as networks
import utils


def measured_receptive_field(features):
    """Return how many input rows reach the middle output of a chain of layers.

    All parameters are ones and pooling is averaging, so that no path cancels or loses a contest.
    """
    features = copy.deepcopy(features)
    for module in features.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride))
    features = features.double().eval()
    for parameter in features.parameters():
        nn.init.ones_(parameter)
    images = torch.ones(1, 1, 160, 160, dtype=torch.float64, requires_grad=True)
    outputs = features(images)
    middle = outputs.shape[-1] // 2
    outputs[0, :, middle, middle].sum().backward()
    return (images.grad[0, 0].abs().sum(dim=1) > 0).sum().item()


@pytest.mark.parametrize("net_class", [networks.Net1, networks.Net2, networks.Net4, networks.Net5])
def test_receptive_field_is_what_gradients_reach(net_class):
    net = net_class()
    *_, last = (layer for layer in utils.trace(net) if layer.name.startswith("features"))
    assert measured_receptive_field(net.features) == last.receptive_field


def test_strides_and_dilations():
    chain = nn.Sequential(
        nn.Conv2d(1, 2, 5, stride=2),
        nn.Conv2d(2, 2, 3, dilation=2),
        nn.AvgPool2d(2),
        nn.Conv2d(2, 1, 3),
    )
    traced = list(utils.trace(chain, (1, 40, 40)))
    assert [layer.receptive_field for layer in traced] == [5, 13, 15, 23]
    assert measured_receptive_field(chain) == 23
    assert traced[-1].output_size == (5, 5, 1)


@pytest.mark.parametrize(
    "layer", [nn.Flatten(), nn.Conv2d(1, 1, (3, 5)), nn.AdaptiveAvgPool2d(2)], ids=str
)
def test_layers_it_cannot_trace_are_named(layer):
    with pytest.raises(TypeError, match="expected") as error:
        list(utils.trace(nn.Sequential(layer, nn.Identity())))
    assert type(layer).__name__ in str(error.value)


def test_looking_leaves_model_and_random_numbers_alone(capsys):
    net = networks.Net4()
    before, random = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    utils.modelsummary(net)
    list(utils.trace(net))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert net.training
    assert not any(module._forward_hooks for module in net.modules())
    printed = capsys.readouterr().out
    assert "Total params: 7,216" in printed
    assert "[-1, 12, 10, 10]" in printed
