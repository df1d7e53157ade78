"""The networks: parameters, shapes, gradients, and the comments in model.py against the tracer."""

import inspect
import itertools
import re
import warnings

import pytest
import torch
from torch import nn

import model as networks
import utils

NETS = [networks.Net1, networks.Net2, networks.Net3, networks.Net4, networks.Net5]
PARAMETERS = {"Net1": 257_354, "Net2": 19_942, "Net3": 19_942, "Net4": 7_216, "Net5": 7_216}

every_net = pytest.mark.parametrize("net_class", NETS, ids=lambda net_class: net_class.__name__)


def rows_of(net_class):
    """Return the comments of a network's rows as ((height, width, channels), receptive field)."""
    source = next(
        inspect.getsource(vars(owner)["__init__"])
        for owner in net_class.__mro__
        if "__init__" in vars(owner) and "self.features" in inspect.getsource(owner)
    )
    row = r"\s+((conv_)?block\(|BlurPool2d\(|nn\.(?!Sequential))"
    lines = [line for line in source.splitlines() if re.match(row, line)]
    rows = [re.search(r",  # (\d+)x(\d+)x(\d+)  RF (\d+)$", line) for line in lines]
    assert all(rows), f"a row without its comment in {net_class.__name__}"
    numbers = [[int(number) for number in row.groups()] for row in rows]
    return [((height, width, channels), field) for height, width, channels, field in numbers]


@every_net
def test_parameter_count(net_class):
    trainable = [parameter for parameter in net_class().parameters() if parameter.requires_grad]
    assert sum(parameter.numel() for parameter in trainable) == PARAMETERS[net_class.__name__]


@pytest.mark.parametrize("net_class", [networks.Net4, networks.Net5])
def test_the_last_two_stay_below_8000_parameters(net_class):
    assert sum(parameter.numel() for parameter in net_class().parameters()) < 8_000


@pytest.mark.parametrize(("width", "parameters"), [(12, 7_216), (8, 3_534)])
def test_widths_that_the_docstring_names(width, parameters):
    assert sum(parameter.numel() for parameter in networks.Net5(width).parameters()) == parameters
    assert f" {width} it has {parameters:,}" in " ".join(networks.Net5.__doc__.split())


@pytest.mark.parametrize("width", [2, 3, 7, 20])
def test_every_width_makes_a_net(width):
    outputs = networks.Net5(width).eval()(torch.zeros(2, 1, 28, 28))
    assert outputs.shape == (2, 10)


def test_a_blurred_pooling_is_a_weighted_average_of_every_second_pixel():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 9, 8)
    averaged = networks.BlurPool2d()(images)
    assert averaged.shape == (2, 3, 5, 4)
    padded = torch.zeros(2, 3, 11, 10)
    padded[:, :, 1:-1, 1:-1] = images
    for y, x in itertools.product(range(5), range(4)):
        expected = sum(
            weight_y * weight_x / 16 * padded[:, :, 2 * y + dy, 2 * x + dx]
            for dy, weight_y in enumerate((1, 2, 1))
            for dx, weight_x in enumerate((1, 2, 1))
        )
        torch.testing.assert_close(averaged[:, :, y, x], expected)


def test_net5_is_net4_parameter_for_parameter():
    before, after = (
        [(name.split(".")[-1], value.shape) for name, value in net.state_dict().items()]
        for net in (networks.Net4(), networks.Net5())
    )
    assert before == after  # BlurPool2d's weights are no parameters, and not kept


def test_a_shift_by_a_pixel_changes_a_blurred_pooling_less():
    torch.manual_seed(0)
    images = torch.randn(50, 4, 28, 28)
    plain = nn.MaxPool2d(2)
    blurred = nn.Sequential(nn.MaxPool2d(2, stride=1), networks.BlurPool2d())

    def change(pooling):
        before, after = (pooling(images[..., k : k + 26])[..., 1:-1, 1:-1] for k in (0, 1))
        return ((after - before).std() / before.std()).item()

    assert change(blurred) < 0.8 * change(plain)


@every_net
@pytest.mark.parametrize("n", [1, 2, 7])
def test_log_probabilities_without_warning(net_class, n):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outputs = net_class().eval()(torch.randn(n, 1, 28, 28))
    assert outputs.shape == (n, 10)
    assert outputs.dtype == torch.float32
    torch.testing.assert_close(outputs.exp().sum(dim=1), torch.ones(n))


@every_net
def test_every_parameter_gets_a_gradient(net_class):
    torch.manual_seed(0)
    net = net_class()
    net(torch.randn(8, 1, 28, 28))[:, 3].sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, f"no gradient for {name}"
        assert parameter.grad.abs().sum() > 0, f"a gradient of zeros for {name}"


@every_net
def test_an_image_does_not_see_its_batch_in_eval_mode(net_class):
    torch.manual_seed(0)
    net, images = net_class().eval(), torch.randn(6, 1, 28, 28)
    alone = torch.cat([net(image[None]) for image in images])
    torch.testing.assert_close(net(images), alone, rtol=1e-4, atol=1e-5)


@every_net
@pytest.mark.parametrize(
    "shape", [(28, 28), (1, 28, 28), (4, 28, 28), (4, 3, 28, 28), (4, 1, 32, 32)]
)
def test_wrong_shape_is_refused(net_class, shape):
    with pytest.raises(ValueError, match=re.escape(f"(N, 1, 28, 28), got {shape}")):
        net_class()(torch.zeros(shape))


@every_net
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_integer_images_are_refused(net_class, dtype):
    with pytest.raises(TypeError, match=f"floating-point tensor, got {dtype}"):
        net_class()(torch.zeros(4, 1, 28, 28, dtype=dtype))


def test_something_that_is_no_tensor_is_refused():
    with pytest.raises(TypeError, match="floating-point tensor, got list"):
        networks.Net4()([[0.0]])


@every_net
def test_comments_against_the_tracer(net_class):
    traced = {}
    for layer in utils.trace(net_class()):  # the last layer of a row says what the row leaves
        traced[layer.name.split(".")[0], layer.name.split(".")[1]] = (
            layer.output_size,
            layer.receptive_field,
        )
    assert rows_of(net_class) == list(traced.values())
    assert rows_of(net_class)[-1] == ((1, 1, 10), 50 if net_class is networks.Net5 else 44)


@every_net
def test_dropout_as_the_class_says(net_class):
    rates = {layer.p for layer in net_class().modules() if isinstance(layer, nn.Dropout)}
    assert rates == ({0.05} if net_class in (networks.Net3, networks.Net4) else set())


@every_net
def test_weights_go_from_one_instance_to_another(net_class):
    first, second, images = net_class().eval(), net_class().eval(), torch.randn(2, 1, 28, 28)
    second.load_state_dict(first.state_dict(), strict=True)
    assert torch.equal(first(images), second(images))


@every_net
def test_a_compiled_network_agrees(net_class):
    net, images = net_class().eval(), torch.randn(3, 1, 28, 28)
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), net(images))
