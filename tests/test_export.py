"""What other tools make of the networks: FX, ONNX, torch.export, pickle, other dtypes, the docs."""

import copy
import inspect
import pickle
import re
import warnings

import numpy as np
import onnxruntime
import pytest
import safetensors.torch as safetensors
import torch
from conftest import REPOSITORY
from torch import fx, nn
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from torch.fx.experimental.optimization import fuse
from torchvision.models.feature_extraction import create_feature_extractor

import model as networks
import recipes

CLASSES = list(networks.NETS.values())
AVERAGED = (networks.Net5, networks.Net6)  # without and with a layer that is called several times
NEW_EXPORTER = "dynamo" in inspect.signature(torch.onnx.export).parameters  # since torch 2.5
by_torch_export = pytest.mark.skipif(not NEW_EXPORTER, reason="torch before 2.5")
every_class = pytest.mark.parametrize("net_class", CLASSES, ids=lambda cls: cls.__name__)


def used(net_class):
    """Return a network in eval mode whose BatchNorm statistics are not the initial ones."""
    torch.manual_seed(0)
    net = net_class()
    with torch.no_grad():
        net(torch.randn(32, 1, 28, 28) * 2 + 1)
    return net.eval()


@pytest.fixture(params=CLASSES, ids=lambda cls: cls.__name__)
def net(request):
    return used(request.param)


@pytest.fixture(
    params=[*CLASSES, *(lambda cls=cls: averaged_model(cls) for cls in AVERAGED)],
    ids=[*(cls.__name__ for cls in CLASSES), *(f"average of {cls.__name__}" for cls in AVERAGED)],
)
def net_or_average(request):
    made = request.param
    return used(made) if isinstance(made, type) else made()


def averaged_model(net_class):
    """Return a recipe's moving average of a network, in eval mode."""
    return recipes.best().averaged_model(used(net_class)).eval()


@pytest.fixture
def images():
    return torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def test_fx(net_or_average, images):
    traced = fx.symbolic_trace(net_or_average)
    assert torch.equal(traced(images), net_or_average(images))
    assert torch.equal(pickle.loads(pickle.dumps(traced))(images), net_or_average(images))
    torch.testing.assert_close(fuse(net_or_average)(images), net_or_average(images))


def test_features(net_or_average, images):
    """Asked for by the name of a block's last layer: Net6 calls one layer under several names."""
    whole = isinstance(net_or_average, networks.DigitNet)
    inner, prefix = (net_or_average, "") if whole else (net_or_average.module, "module.")
    last_layers = {}
    for name, module in inner.features.named_modules(remove_duplicate=False):
        if name and not isinstance(module, (nn.Sequential, networks.BlurPool2d)):
            last_layers[name.split(".")[0]] = f"{prefix}features.{name}"
    asked_for = {name: index for index, name in last_layers.items()}
    features = create_feature_extractor(net_or_average, asked_for)(images)
    expected = images
    for index, layer in enumerate(inner.features):
        expected = layer(expected)
        assert str(index) not in features or torch.equal(features[str(index)], expected)


def check_torch_export(net, images):
    batch = torch.export.Dim("batch")
    program = torch.export.export(net, (images,), dynamic_shapes=({0: batch},))
    for n in (1, 2, 9):
        images = torch.randn(n, 1, 28, 28)
        torch.testing.assert_close(program.module()(images), net(images))


@pytest.mark.parametrize("made", [used, averaged_model])
def test_torch_export(made, images):
    check_torch_export(made(networks.Net6), images)


@pytest.mark.long
def test_torch_export_of_the_others(net_or_average, images):
    check_torch_export(net_or_average, images)


def exported(net, path, dynamo):
    """Export a network to ONNX with a batch of any size and return what runs it there."""
    options = {"dynamic_shapes": ({0: "batch"},)} if dynamo else {"dynamic_axes": {"images": [0]}}
    options |= {"dynamo": dynamo} if NEW_EXPORTER else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (torch.zeros(2, 1, 28, 28),),
            path,
            input_names=["images"],
            verbose=False,
            **options,
        )
    session = onnxruntime.InferenceSession(path)
    return lambda images: session.run(None, {"images": images.numpy()})[0]


def check_exported(net, path, dynamo):
    run = exported(net, path, dynamo)
    for n in (1, 2, 7, 64):
        images = torch.randn(n, 1, 28, 28)
        np.testing.assert_allclose(run(images), net(images).detach(), rtol=1e-4, atol=1e-5)


def test_onnx_by_tracing(net, tmp_path):
    check_exported(net, tmp_path / "net.onnx", dynamo=False)


def test_the_average_in_onnx(tmp_path):
    check_exported(averaged_model(networks.Net6), tmp_path / "traced.onnx", dynamo=False)


@by_torch_export
def test_onnx_by_torch_export(tmp_path):
    check_exported(averaged_model(networks.Net6), tmp_path / "net.onnx", dynamo=True)


@pytest.mark.long
@by_torch_export
def test_onnx_by_torch_export_of_the_others(net_or_average, tmp_path):
    check_exported(net_or_average, tmp_path / "net.onnx", dynamo=True)


def test_copies(net_or_average, images):
    expected = net_or_average(images)
    for again in (
        copy.deepcopy(net_or_average),
        pickle.loads(pickle.dumps(net_or_average)),
    ):
        assert type(again) is type(net_or_average)
        assert torch.equal(again(images), expected)


def test_a_saved_average_goes_on_averaging(tmp_path):
    net, average = used(networks.Net6), averaged_model(networks.Net6)
    average.update_parameters(net)
    torch.save(average, tmp_path / "average.pt")
    again = torch.load(tmp_path / "average.pt", weights_only=False)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1)
    for model in (average, again):
        model.update_parameters(net)
    for (name, value), other in zip(
        average.state_dict().items(), again.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name


def test_the_meta_device(net, images):
    with torch.device("meta"):
        assigned, filled = type(net)(), type(net)()
    assert assigned(images.to("meta")).shape == (5, 10)
    assigned.load_state_dict(net.state_dict(), assign=True)
    filled = filled.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*filled.parameters(), *filled.buffers()):
            tensor.fill_(7)  # whatever is in the memory
    filled.load_state_dict(net.state_dict())
    for again in (assigned, filled):
        assert torch.equal(again.eval()(images), net(images))
    if isinstance(net, networks.Net6):
        assert assigned.features[10][1].weight is assigned.features[5][0].weight
        assert filled.features[10][1].weight is filled.features[5][0].weight


def test_traced_by_jit(net, images):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit is deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("error", torch.jit.TracerWarning)
        traced = torch.jit.trace(net, images)
    assert torch.equal(traced(images[:2]), net(images[:2]))


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.float16, 0.02), (torch.bfloat16, 0.2)]
)
def test_other_dtypes(net_or_average, images, dtype, tolerance):
    expected = net_or_average(images)
    outputs = copy.deepcopy(net_or_average).to(dtype)(images.to(dtype))
    assert outputs.dtype == dtype
    torch.testing.assert_close(outputs.float(), expected, atol=tolerance, rtol=0.05)


def test_autocast(net_or_average, images):
    expected = net_or_average(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = net_or_average(images)
    torch.testing.assert_close(outputs.float(), expected, atol=0.2, rtol=0.05)


@every_class
def test_default_dtype_and_device(net_class, images):
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        net = net_class()
        assert {tensor.dtype for tensor in net.parameters()} == {torch.float64}
        assert net(images.double().to("meta")).shape == (5, 10)
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)


def test_net6_shares_one_kernel_in_every_copy():
    net = used(networks.Net6)
    average = averaged_model(networks.Net6).module
    for again in (net, copy.deepcopy(net), pickle.loads(pickle.dumps(net)), average, net.double()):
        kernels = {layer.weight.data_ptr() for layer in again.modules() if is_3x3(layer)}
        assert len(kernels) == 4  # three of their own, and one used four times
        assert sum(is_3x3(layer) for layer in calls(again)) == 7
    state = net.state_dict()
    again = networks.Net6().double()
    again.load_state_dict(state, strict=True)
    assert all(torch.equal(state[name], value) for name, value in again.state_dict().items())


def is_3x3(layer):
    return isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)


def calls(net):
    """Return the layers of a network in the order of their calls, one for each call."""
    return [layer for _, layer in net.features.named_modules(remove_duplicate=False)]


def test_the_average_of_a_shared_kernel_is_taken_once_an_update():
    net = networks.Net6()
    average = recipes.moving_average(0.5)(net)
    first, second = torch.full((25, 1, 3, 3), 1.0), torch.full((25, 1, 3, 3), 2.0)
    shared = net.features[5][0].weight
    expected = None
    for number, value in enumerate((first, second, first)):
        with torch.no_grad():
            shared.copy_(value)
        average.update_parameters(net)
        decay = min(0.5, (1 + number) / (10 + number))
        expected = value if expected is None else decay * expected + (1 - decay) * value
        torch.testing.assert_close(average.module.features[5][0].weight, expected)
        assert average.module.features[10][1].weight is average.module.features[5][0].weight


@pytest.mark.parametrize("net_class", [networks.Net5, networks.Net6])
def test_safetensors(net_class, images, tmp_path):
    net, again = used(net_class), net_class().eval()
    safetensors.save_model(net, tmp_path / "net.safetensors")
    safetensors.load_model(again, tmp_path / "net.safetensors")
    assert torch.equal(again(images), net(images))


@pytest.mark.parametrize("net_class", [networks.Net5, networks.Net6])
@pytest.mark.parametrize("made", [used, averaged_model])
def test_int8_by_fx(net_class, made):
    net, images = made(net_class), torch.randn(16, 1, 28, 28) * 2 + 1
    mapping = get_default_qconfig_mapping(torch.backends.quantized.engine)
    expected = net(images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao.quantization is deprecated
        prepared = prepare_fx(copy.deepcopy(net), mapping, (images,))
        prepared(images)  # calibrates
        outputs = convert_fx(prepared)(images)
    assert (outputs - expected).norm() < 0.1 * (expected - expected.mean()).norm()


def test_images_of_another_dtype_than_the_network_are_refused():
    for dtype in (torch.float64, torch.float16):
        with pytest.raises(RuntimeError, match=r"(?i)double|half|float16|float64"):
            networks.Net4()(torch.zeros(1, 1, 28, 28, dtype=dtype))


@by_torch_export
def test_the_code_of_the_docs(tmp_path, monkeypatch):
    """Run the blocks of docs/api.md one after the other, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    text = (REPOSITORY / "docs" / "api.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) >= 8
    names = {}
    for block in blocks:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(block.replace('folder = "."', f"folder = {str(REPOSITORY)!r}"), names)
    images, net = names["images"], names["net"]
    assert names["probabilities"].shape == names["digits"].shape == (2,)
    assert names["history"].test_accuracy[-1] > 98
    torch.testing.assert_close(names["again"](images), net(images))
    shapes = {name: tuple(value.shape) for name, value in names["features"].items()}
    assert shapes == {"small": (2, 6, 14, 14), "last": (2, 12, 3, 3)}
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (outputs,) = session.run(["log_probabilities"], {"images": images[:1].numpy()})
    np.testing.assert_allclose(outputs, net(images[:1]).detach(), rtol=1e-4, atol=1e-5)
    program = torch.export.load(tmp_path / "net.pt2")
    torch.testing.assert_close(program.module()(images[:1]), net(images[:1]))
