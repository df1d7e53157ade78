"""The tracer against a receptive field that is measured, and the model summary."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

import model as networks
import recipes
import utils
from layers import is_ordinary, summary_table, trace

NETS = list(networks.NETS.values())


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


BETWEEN = {
    "pooling": lambda first, second, images: second(F.avg_pool2d(first(images), 2)),
    "pooling of the same size": lambda first, second, images: second(
        F.avg_pool2d(first(images), 3, 1, 1)
    ),
    "relu and pooling": lambda first, second, images: second(
        F.avg_pool2d(F.relu(first(images)), 3, 2)
    ),
    "relu in place": lambda first, second, images: second(torch.relu_(first(images))),
    "padding": lambda first, second, images: second(F.pad(first(images), (1, 1, 1, 1))),
    "residual": lambda first, second, images: second(first(images) + images),
    "longer residual": lambda first, second, images: second(second(first(images)) + first(images)),
    "residual in place": lambda first, second, images: second(
        second(first(images)).add_(first(images))
    ),
    "branches": lambda first, second, images: second(
        F.avg_pool2d(first(images), 2) + F.avg_pool2d(images, 4, 2, 1)
    ),
    "concatenation": lambda first, second, images: second(
        torch.cat([images, F.avg_pool2d(images, 5, 1, 2)], dim=1)
    ),
    "branches that are shifted": lambda first, second, images: second(
        first(images) + first(F.pad(images, (3, -3, 3, -3)))
    ),
    "dropout": lambda first, second, images: second(F.dropout(first(images), 0.1)),
    "scaling": lambda first, second, images: second(2 * first(images) - 1),
    "some channels": lambda first, second, images: second(
        torch.cat([first(images)[:, 1:], F.avg_pool2d(first(images), 3, 1, 1)[:, :1]], dim=1)
    ),
    "split channels": lambda first, second, images: second(
        torch.cat(first(images).split(1, dim=1)[::-1], dim=1)
    ),
    "chunks of channels": lambda first, second, images: second(
        torch.cat(first(images).chunk(2, dim=1)[::-1], dim=1)
    ),
}


@pytest.mark.parametrize("function", BETWEEN.values(), ids=BETWEEN)
def test_operators_between_layers_count(function):
    model = Between(function)
    assert trace(model)[-1].receptive_field == measured_receptive_field(model)


def in_place_in_a_view(first, second, images):
    outputs = first(images)
    outputs.detach().add_(F.avg_pool2d(outputs, 3, 1, 1))
    return second(outputs)


def in_place_in_a_channel(first, second, images):
    outputs = first(images)
    outputs.detach()[:, :1].add_(F.avg_pool2d(outputs, 3, 1, 1)[:, :1])
    return second(outputs)


def padded_by_hand(first, second, images):
    outputs, frame = first(images), torch.zeros(len(images), 2, 30, 30)
    frame[:, :, 2:, 2:] = outputs
    return second(frame[:, :, 1:-1, 1:-1] + outputs)


REFUSED = {
    "upsampling": (
        "upsample",
        lambda first, second, images: second(F.interpolate(first(images), 14)),
    ),
    "cropping": ("slice", lambda first, second, images: second(first(images)[..., 2:-2, 2:-2])),
    "rolling": ("roll", lambda first, second, images: second(first(images).roll(4, 2))),
    "transposing": ("transpose", lambda first, second, images: second(first(images).mT)),
    "image mean": (
        "mean",
        lambda first, second, images: second(first(images) - images.mean((1, 2, 3), keepdim=True)),
    ),
    "squeeze and excitation": (
        "mul",
        lambda first, second, images: second(first(images) * images.mean((2, 3), keepdim=True)),
    ),
    "a number": ("max", lambda first, second, images: second(first(images) / images.max().item())),
    "strides that differ": (
        "add",
        lambda first, second, images: second(
            F.avg_pool2d(first(images), 2) + F.pad(first(images), (-7, -7, -7, -7))
        ),
    ),
    "broadcasting": (
        "add",
        lambda first, second, images: second(first(images) + F.pad(images, (0, -27, 0, -27))),
    ),
    "array": ("second", lambda first, second, images: second(torch.tensor(first(images).numpy()))),
    "in a view": ("second", in_place_in_a_view),
    "in a channel": ("second", in_place_in_a_channel),
    "split rows": (
        "split",
        lambda first, second, images: second(torch.cat(first(images).split(14, dim=2)[::-1], 2)),
    ),
    "by hand": ("copy_", padded_by_hand),
}


@pytest.mark.parametrize(("named", "function"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_receptive_field_is_refused(named, function):
    with pytest.raises(TypeError, match="expected square convolutions") as error:
        trace(Between(function))
    assert named in str(error.value)


@pytest.mark.parametrize(
    "layer",
    [
        *(nn.Flatten(), nn.Conv2d(1, 1, (3, 5)), nn.PixelShuffle(1)),
        *(nn.ConvTranspose2d(1, 1, 3), nn.Upsample(scale_factor=2), nn.AdaptiveAvgPool2d(3)),
        *(nn.GroupNorm(1, 1), nn.LayerNorm([1, 28, 28]), nn.InstanceNorm2d(1), nn.Linear(28, 28)),
        *(nn.BatchNorm2d(1, track_running_stats=False), nn.Softmax(dim=3), nn.Unfold(3)),
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"),
    ],
    ids=str,
)
def test_layers_it_cannot_trace_are_named(layer):
    with pytest.raises(TypeError, match="expected square convolutions") as error:
        trace(nn.Sequential(nn.Identity(), layer, nn.Conv2d(1, 1, 1)))
    assert f"in 1: {type(layer).__name__}" in str(error.value)


def test_what_follows_the_last_layer_does_not_matter():
    model = Between(lambda first, second, images: second(first(images)).flatten(1).roll(1, 0))
    assert [layer.receptive_field for layer in trace(model)] == [3, 5]


def test_an_input_that_is_not_square():
    chain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2))
    assert trace(chain, (1, 28, 20))[-1][2:] == ((13, 9, 2), 4)
    with pytest.raises(TypeError, match="28 x 20 pixels in 2: AdaptiveAvgPool2d"):
        trace(nn.Sequential(*chain, nn.AdaptiveAvgPool2d(1)), (1, 28, 20))


def test_a_layer_called_more_than_once_has_a_row_for_each_call():
    shared = nn.Conv2d(1, 1, 3)
    rows = trace(nn.Sequential(shared, nn.ReLU(), shared))
    assert [(row.name, row.receptive_field) for row in rows] == [("0", 3), ("1", 3), ("2", 5)]
    assert rows[0].layer is rows[2].layer is shared
    again = trace(Between(lambda first, second, images: second(second(first(images)))))
    assert [(row.name, row.receptive_field) for row in again] == [
        ("first", 3),
        ("second", 5),
        ("second", 7),
    ]


@pytest.fixture
def _defaults():
    yield
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("_defaults")
@pytest.mark.parametrize("net_class", NETS)
def test_any_device_and_dtype(net_class):
    expected = [layer[2:] for layer in trace(net_class())]
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        assert [layer[2:] for layer in trace(net_class().to(dtype))] == expected
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    assert [layer[2:] for layer in trace(net_class())] == expected
    with torch.device("cpu"), torch.inference_mode(), torch.autocast("cpu"):
        assert [layer[2:] for layer in trace(net_class())] == expected


@pytest.mark.parametrize("net_class", NETS)
def test_the_average_of_a_recipe(net_class):
    net = net_class()
    averaged_model = trace(recipes.best().averaged_model(net))
    assert [(row.name, *row[2:]) for row in averaged_model] == [
        (f"module.{row.name}", *row[2:]) for row in trace(net)
    ]


def test_looking_leaves_model_and_random_numbers_alone(capsys):
    net = networks.Net4()
    before, random = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    utils.modelsummary(net)
    rows = trace(net)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(row.layer is net.get_submodule(row.name) for row in rows)
    assert torch.equal(random, torch.get_rng_state())
    assert net.training
    assert not any(module._forward_hooks for module in net.modules())
    printed = capsys.readouterr().out
    assert "Total params: 7,216" in printed
    assert "[-1, 12, 10, 10]" in printed


def pruned(net):
    prune.l1_unstructured(net.features[0][0], "weight", 0.3)
    prune.random_unstructured(net.features[0][0], "bias", 0.5)


def pruned_and_evaluated(net):
    pruned(net)
    utils.predict(net, "cpu", [(torch.rand(2, 1, 28, 28), torch.tensor([1, 2]))])


def pruned_in_inference_mode(net):
    pruned(net)
    with torch.inference_mode():
        net(torch.rand(2, 1, 28, 28))


def pruned_after_a_step(net):
    pruned(net)
    net(torch.rand(2, 1, 28, 28)).sum().backward()


def pruned_for_good(net):
    pruned(net)
    for name in ("weight", "bias"):
        prune.remove(net.features[0][0], name)


CHANGED = {  # and how many parameters more there are
    pruned: 0,
    pruned_and_evaluated: 0,
    pruned_in_inference_mode: 0,
    pruned_after_a_step: 0,
    pruned_for_good: 0,
    lambda net: parametrizations.weight_norm(net.features[0][0]): 8,
    lambda net: parametrizations.spectral_norm(net.features[0][0]): 0,
    lambda net: parametrizations.orthogonal(net.classifier[1]): 0,
    lambda net: nn.utils.weight_norm(net.features[0][0]): 8,
    lambda net: nn.utils.spectral_norm(net.features[0][0]): 0,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("change", CHANGED)
def test_pruned_and_parametrized_layers(change, capsys):
    plain, net = networks.Net4(), networks.Net4()
    change(net)
    rows = trace(net)
    assert [(row.name, *row[2:]) for row in rows] == [(row.name, *row[2:]) for row in trace(plain)]
    assert all(row.layer is net.get_submodule(row.name) for row in rows)
    total = 7_216 + CHANGED[change]
    assert total == sum(parameter.numel() for parameter in net.parameters())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for model, expected in ((plain, 7_216), (net, total)):
        utils.modelsummary(model)
        printed = capsys.readouterr().out
        assert f"Total params: {expected:,}\nTrainable params: {expected:,}\n" in printed
        assert printed.count("Conv2d-") == 9
        assert printed.count("\n") == len(rows) + 13
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    net(torch.rand(2, 1, 28, 28)).sum().backward()  # still trains


class Tied(nn.Module):
    """Two layers with one weight, a layer used twice, a parameter by itself, a layer unused."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3, bias=False)
        self.second.weight = self.first.weight
        relu = nn.ReLU()
        self.layers = nn.Sequential(relu, nn.Conv2d(1, 1, 1), relu)
        self.scale = nn.Parameter(torch.ones(3), requires_grad=False)
        self.unused = nn.Linear(4, 5)

    def forward(self, images):
        return self.layers(self.second(self.first(images))) * self.scale.sum()


def test_each_parameter_counts_once(capsys):
    utils.modelsummary(Tied())
    printed = capsys.readouterr().out
    assert "Total params: 40\nTrainable params: 37\nNon-trainable params: 3\n" in printed
    rows = [line.split() for line in printed.splitlines()[3:8]]
    assert [(row[0], row[-1]) for row in rows] == [
        *(("Conv2d-1", "10"), ("Conv2d-2", "0"), ("ReLU-3", "0"), ("Conv2d-4", "2")),
        ("ReLU-5", "0"),
    ]


@pytest.mark.parametrize("net_class", networks.NETS.values())
def test_both_tables_are_the_same_where_torchsummary_counts_right(net_class, capsys):
    net = net_class()
    if is_ordinary(net):
        utils.modelsummary(net)
        assert capsys.readouterr().out.rstrip("\n") == summary_table(net)
    else:
        parameters = list(net.named_parameters(remove_duplicate=False))
        assert len(parameters) > len(list(net.parameters()))  # some are shared


def test_a_layer_that_draws_leaves_the_random_numbers_alone():
    model, random = Between(BETWEEN["dropout"]), torch.get_rng_state()
    trace(model)
    assert torch.equal(random, torch.get_rng_state())
