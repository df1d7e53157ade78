"""The networks: parameters, shapes, gradients, and the comments in model.py against the tracer."""

import ast
import inspect
import itertools
import re
import textwrap
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import layers
import model as networks

PARAMETERS = {
    "net1": 257_354,
    "net2": 19_942,
    "net3": 19_942,
    "net4": 7_216,
    "net5": 7_216,
    "net6": 1_938,
    "net7": 7_846,
    "net8": 692,
}

every_net = pytest.mark.parametrize("net_class", networks.NETS.values(), ids=networks.NETS)


def rows_of(net_class):
    """Return the comments of a network's rows as ((height, width, channels), receptive field)."""
    source = next(
        inspect.getsource(vars(owner)["__init__"])
        for owner in net_class.__mro__
        if "__init__" in vars(owner) and "self.features" in inspect.getsource(owner)
    )
    source = textwrap.dedent(source)
    layers = [
        layer
        for line in ast.parse(source).body[0].body
        if isinstance(line, ast.Assign)
        and ast.unparse(line.targets[0]) in ("self.features", "self.classifier")
        for layer in line.value.args
    ]
    lines = [source.splitlines()[layer.end_lineno - 1] for layer in layers]
    rows = [re.search(r",  # (\d+)x(\d+)x(\d+)  RF (\d+)$", line) for line in lines]
    assert all(rows), f"a row without its comment in {net_class.__name__}"
    numbers = [[int(number) for number in row.groups()] for row in rows]
    return [((height, width, channels), field) for height, width, channels, field in numbers]


def test_parameter_counts():
    counts = {
        name: sum(parameter.numel() for parameter in net_class().parameters())
        for name, net_class in networks.NETS.items()
    }
    assert counts == PARAMETERS


@every_net
def test_the_docstring_names_the_parameter_count(net_class):
    count = sum(parameter.numel() for parameter in net_class().parameters())
    for number in re.findall(r"([\d,]+) parameters", net_class.__doc__):
        assert int(number.replace(",", "")) in (count, 8_000)


@pytest.mark.parametrize(("width", "parameters"), [(12, 7_216), (8, 3_534)])
def test_parameter_count_of_a_width(width, parameters):
    assert sum(parameter.numel() for parameter in networks.Net5(width).parameters()) == parameters


WITH_WIDTH = [
    net_class
    for net_class in networks.NETS.values()
    if "width" in inspect.signature(net_class).parameters
]


@pytest.mark.parametrize("width", [2, 3, 7, 20])
def test_every_width_makes_a_net(width):
    for net_class in WITH_WIDTH:
        assert net_class(width=width).eval()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("net_class", WITH_WIDTH)
def test_widths_that_are_refused(net_class):
    for width in (1, 0, -3):
        with pytest.raises(ValueError, match=f"width of at least 2, got {width}"):
            net_class(width=width)
    for width in (12.0, "12", True, None):
        with pytest.raises(TypeError, match=f"width as an integer, got {width!r}"):
            net_class(width=width)


@every_net
@pytest.mark.parametrize("classes", [2, 26, 47])
def test_every_number_of_classes_makes_a_net(net_class, classes):
    net = net_class(classes=classes).eval()
    outputs = net(torch.randn(3, 1, 28, 28))
    assert outputs.shape == (3, classes)
    torch.testing.assert_close(outputs.exp().sum(dim=1), torch.ones(3))
    here, ten = (
        {name: value.shape for name, value in each.state_dict().items()}
        for each in (net, net_class())
    )
    different = {name for name in here | ten if here.get(name) != ten.get(name)}
    assert all(name.startswith("classifier.") for name in different)


@every_net
def test_numbers_of_classes_that_are_refused(net_class):
    for classes in (1, 0, -3):
        with pytest.raises(ValueError, match=f"classes of at least 2, got {classes}"):
            net_class(classes=classes)
    for classes in (10.0, "10", True, None):
        with pytest.raises(TypeError, match=f"classes as an integer, got {classes!r}"):
            net_class(classes=classes)


@every_net
def test_ten_classes_are_the_default_bit_for_bit(net_class):
    states = []
    for arguments in ({}, {"classes": 10}):
        torch.manual_seed(7)
        states.append(net_class(**arguments).state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_blurred_pooling_is_a_weighted_average_of_every_second_pixel():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 9, 8)
    averaged_model = networks.BlurPool2d(3)(images)
    assert averaged_model.shape == (2, 3, 5, 4)
    padded = torch.zeros(2, 3, 11, 10)
    padded[:, :, 1:-1, 1:-1] = images
    for y, x in itertools.product(range(5), range(4)):
        expected = sum(
            weight_y * weight_x / 16 * padded[:, :, 2 * y + dy, 2 * x + dx]
            for dy, weight_y in enumerate((1, 2, 1))
            for dx, weight_x in enumerate((1, 2, 1))
        )
        torch.testing.assert_close(averaged_model[:, :, y, x], expected)


def test_net5_is_net4_parameter_for_parameter():
    before, after = (
        [(name.split(".")[-1], value.shape) for name, value in net.named_parameters()]
        for net in (networks.Net4(), networks.Net5())
    )
    assert before == after


def test_net6_uses_one_kernel_four_times():
    net = networks.Net6()
    shared = net.features[5][:2]
    calls = [module for _, module in net.named_modules(remove_duplicate=False)]
    assert [calls.count(layer) for layer in shared] == [4, 4]
    own = sum(parameter.numel() for parameter in shared.parameters())
    unshared = sum(
        parameter.numel() for _, parameter in net.named_parameters(remove_duplicate=False)
    )
    assert unshared - sum(parameter.numel() for parameter in net.parameters()) == 3 * own
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == len(set(norms)) == 7


# The exercise's networks by their steps: 3x3 convolutions with and without padding, 1x1
# convolutions, poolings. All but the last three have a ReLU behind a 3x3 convolution, and a
# BatchNorm except in Net1.
BEFORE = {
    "Net1": "padded padded padded padded max padded padded max plain mean",
    "Net4": "padded padded 1x1 max plain plain padded max plain padded mean 1x1",
    "Net5": "padded padded 1x1 max1 blur plain plain padded max1 blur plain padded mean 1x1",
}
BEFORE |= dict.fromkeys(("Net2", "Net3"), BEFORE["Net1"])
KINDS = {
    nn.ReLU: "relu",
    nn.BatchNorm2d: "norm",
    nn.AdaptiveAvgPool2d: "mean",
    networks.BlurPool2d: "blur",
}


def kind(layer):
    """Return the word for a layer in the steps of a network."""
    if isinstance(layer, nn.Conv2d):
        assert layer.stride == (1, 1)
        names = {((3, 3), (1, 1)): "padded", ((3, 3), (0, 0)): "plain", ((1, 1), (0, 0)): "1x1"}
        return names[layer.kernel_size, layer.padding]
    if isinstance(layer, nn.MaxPool2d):
        assert layer.kernel_size == 2
        return {2: "max", 1: "max1"}[layer.stride]
    return KINDS[type(layer)]


@pytest.mark.parametrize("name", sorted(BEFORE))
def test_the_order_of_the_layers(name):
    net = getattr(networks, name)()
    after = "{} relu" if name == "Net1" else "{} relu norm"
    *steps, last_but_one, last = BEFORE[name].split()
    expected = [after.format(step) if step in ("padded", "plain") else step for step in steps]
    leaves = [layer for layer in net.modules() if not list(layer.children())]
    found = [kind(layer) for layer in leaves if not isinstance(layer, nn.Dropout)]
    assert found == " ".join([*expected, last_but_one, last]).split()


def by_hand(layer, images):
    """Compute a layer in eval mode with torch's functions, from its weights and settings alone."""
    if isinstance(layer, nn.Sequential):
        for each in layer:
            images = by_hand(each, images)
        return images
    if isinstance(layer, nn.Conv2d):
        settings = (layer.stride, layer.padding, layer.dilation, layer.groups)
        return F.conv2d(images, layer.weight, layer.bias, *settings)
    if isinstance(layer, nn.BatchNorm2d):
        shift, scale = layer.running_mean, layer.weight * (layer.running_var + 1e-5).rsqrt()
        shift, scale, bias = (value[:, None, None] for value in (shift, scale, layer.bias))
        return (images - shift) * scale + bias
    if isinstance(layer, networks.BlurPool2d):
        kernel = images.new_tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
        kernels = kernel.expand(images.shape[1], 1, 3, 3)
        return F.conv2d(images, kernels, stride=2, padding=1, groups=images.shape[1])
    if isinstance(layer, nn.MaxPool2d):
        return F.max_pool2d(images, layer.kernel_size, layer.stride)
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return images.mean((2, 3), keepdim=True)
    if isinstance(layer, nn.ReLU):
        return images.clamp(min=0)
    return images if isinstance(layer, nn.Dropout) else layer(images)


@every_net
def test_every_network_step_by_step(net_class):
    torch.manual_seed(0)
    net, images = net_class().double(), torch.randn(20, 1, 28, 28, dtype=torch.float64)
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 1.0  # the statistics of the next batch
                layer.weight.uniform_(-2, 2)
                layer.bias.uniform_(-1, 1)
        net.train()(images * 3 + 1)
        outputs = net.eval()(images)
        logits = by_hand(net.classifier, by_hand(net.features, images))[:, :, 0, 0]
    assert outputs.std(dim=0).min() > 1e-5  # they depend on the images
    logits -= logits.max(dim=1, keepdim=True).values  # so that no exponential overflows
    expected = logits - logits.exp().sum(dim=1, keepdim=True).log()
    torch.testing.assert_close(outputs, expected, rtol=1e-9, atol=1e-9)


def test_dropout_comes_last_in_a_block():
    block = networks.conv_block(1, 4, dropout=0.5).train()
    nn.init.zeros_(block[2].weight)  # BatchNorm's output is its bias, whatever comes in
    nn.init.ones_(block[2].bias)
    assert set(block(torch.randn(2, 1, 9, 9)).unique().tolist()) == {0, 2}


def test_a_shift_by_a_pixel_changes_a_blurred_pooling_less():
    torch.manual_seed(0)
    images = torch.randn(50, 4, 28, 28)
    plain = nn.MaxPool2d(2)
    blurred = nn.Sequential(nn.MaxPool2d(2, stride=1), networks.BlurPool2d(4))

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
    for layer in layers.trace(net_class()):  # the last layer of a row says what the row leaves
        traced[layer.name.split(".")[0], layer.name.split(".")[1]] = (
            layer.output_size,
            layer.receptive_field,
        )
    assert rows_of(net_class) == list(traced.values())
    assert rows_of(net_class)[-1][0] == (1, 1, 10)


@every_net
def test_dropout_as_the_signature_says(net_class):
    own = inspect.signature(net_class).parameters
    default = own["dropout"].default if "dropout" in own else 0
    rates = {layer.p for layer in net_class().modules() if isinstance(layer, nn.Dropout)}
    assert rates == ({default} if default else set())


def test_the_rates_of_dropout():
    assert "Dropout" not in str(networks.Net2())
    for net in (networks.Net3(), networks.Net4()):
        assert {layer.p for layer in net.modules() if isinstance(layer, nn.Dropout)} == {0.05}


@every_net
def test_weights_go_from_one_instance_to_another(net_class):
    first, second, images = net_class().eval(), net_class().eval(), torch.randn(2, 1, 28, 28)
    second.load_state_dict(first.state_dict(), strict=True)
    assert torch.equal(first(images), second(images))


@every_net
def test_a_compiled_network_agrees(net_class):
    torch.compiler.reset()  # what other tests compiled counts against a limit
    net, images = net_class().eval(), torch.randn(3, 1, 28, 28)
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), net(images))
