"""Wrapped networks: what is saved fits the network by itself, and goes on in any wrapper."""

import pytest
import torch
from test_loops import sgd, tensors
from torch import nn
from torch.optim.swa_utils import AveragedModel

import utils
from checkpoints import evaluated_weights, load_checkpoint


class Net(nn.Module):
    """Two parts that can be wrapped one by one, one of them with a name that wrappers use."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 2, 5, stride=5), nn.ReLU(), nn.BatchNorm2d(2))
        self.module = nn.Linear(50, 10)

    def forward(self, images):
        return self.module(self.features(images).flatten(1))


def compiled(net):
    return torch.compile(net, backend="eager")


def layers_wrapped(wrap):
    def wrapped(net):
        net.features, net.module = wrap(net.features), wrap(net.module)
        return net

    return wrapped


WRAPPERS = {
    "none": lambda net: net,
    "compile": compiled,
    "DataParallel": nn.DataParallel,
    "DistributedDataParallel": nn.parallel.DistributedDataParallel,
    "compile of DataParallel": lambda net: compiled(nn.DataParallel(net)),
    "DataParallel of compile": lambda net: nn.DataParallel(compiled(net)),
    "AveragedModel": AveragedModel,
    "compile of AveragedModel": lambda net: compiled(AveragedModel(net)),
    "layers compiled": layers_wrapped(compiled),
    "layers in DataParallel": layers_wrapped(nn.DataParallel),
    "all": lambda net: nn.DataParallel(compiled(layers_wrapped(nn.DataParallel)(net))),
}


def average(model):
    return AveragedModel(model, use_buffers=True)


def compiled_average(model):
    return compiled(average(model))


@pytest.fixture(scope="module", autouse=True)
def _one_process(tmp_path_factory):
    store = tmp_path_factory.mktemp("store") / "store"
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def run(wrap, average, checkpoint, epochs):
    torch.manual_seed(0)
    model = wrap(Net())
    averaged_model = average and average(model)
    loader = [tensors(20, seed) for seed in range(3)]
    history = utils.fit(
        model,
        "cpu",
        loader,
        loader[:1],
        sgd(model),
        epochs,
        averaged_model=averaged_model,
        checkpoint=checkpoint,
        resume=True,
        progress=False,
        verbose=False,
    )
    return model if averaged_model is None else averaged_model, history


@pytest.mark.parametrize(
    ("wrap", "average"),
    [
        *((wrap, None) for wrap in WRAPPERS),
        *(
            (wrap, average)
            for wrap in ("none", "compile", "DataParallel", "layers compiled", "all")
        ),
        ("none", compiled_average),
        ("compile", compiled_average),
    ],
)
def test_saved_weights_fit_the_network_by_itself(wrap, average, tmp_path):
    wrap = WRAPPERS[wrap]
    evaluated, _ = run(wrap, average, tmp_path / "c.pt", 2)
    net, images = Net(), tensors(7)[0]
    net.load_state_dict(evaluated_weights(load_checkpoint(tmp_path / "c.pt")))
    torch.testing.assert_close(net.eval()(images), evaluated.eval()(images))
    again, resumed = run(wrap, average, tmp_path / "c.pt", 3)
    alone, whole = run(wrap, average, tmp_path / "d.pt", 3)
    assert resumed.test_loss == whole.test_loss
    assert all(map(torch.equal, again.state_dict().values(), alone.state_dict().values()))


@pytest.mark.parametrize("wrap", ["compile", "DataParallel", "compile of DataParallel"])
def test_a_run_goes_on_in_another_wrapper(wrap, tmp_path):
    _, history = run(WRAPPERS["none"], average, tmp_path / "c.pt", 3)
    run(WRAPPERS[wrap], average, tmp_path / "d.pt", 1)
    run(WRAPPERS["none"], average, tmp_path / "d.pt", 2)
    _, resumed = run(WRAPPERS[wrap], average, tmp_path / "d.pt", 3)
    assert resumed.test_loss == pytest.approx(history.test_loss, rel=1e-6)
