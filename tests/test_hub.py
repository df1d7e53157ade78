"""torch.hub and the shipped weights: every number of their metadata that can be recomputed."""

import copy as copy_module
import hashlib
import inspect
import json
import pickle
import shutil
import sys
import types
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY

import hubconf
import model as networks
import recipes
import utils

ENTRIES = [
    entry
    for entry in json.loads((REPOSITORY / "weights" / "metadata.json").read_text())
    if hasattr(hubconf, entry["name"])
]
every_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])


def load(name, folder=REPOSITORY, **arguments):
    return torch.hub.load(str(folder), name, source="local", verbose=False, **arguments)


def test_entry_points():
    names = {name for name in vars(hubconf) if not name.startswith("_")} - {"dependencies"}
    assert names == {*networks.NETS, "net5_hands"}
    assert all(callable(getattr(hubconf, name)) for name in names)


@pytest.mark.parametrize("name", networks.NETS)
def test_every_net_untrained(name):
    net = load(name)
    assert type(net).__name__ == networks.NETS[name].__name__
    assert net.training
    own = inspect.signature(networks.NETS[name]).parameters
    assert list(inspect.signature(getattr(hubconf, name)).parameters) == ["pretrained", *own]
    assert networks.NETS[name].__doc__ in getattr(hubconf, name).__doc__


@every_entry
def test_pretrained(entry):
    net = load(entry["name"], pretrained=True)
    assert not net.training
    assert str(load(entry["name"], pretrained=True, **entry["arguments"])) == str(net)
    assert sum(parameter.numel() for parameter in net.parameters()) == entry["parameters"]
    assert type(net).__name__ == entry["net"]
    again = getattr(networks, entry["net"])(**entry["arguments"])
    again.load_state_dict(
        torch.load(REPOSITORY / "weights" / entry["file"], map_location="cpu", weights_only=True)
    )


@every_entry
def test_accuracy_on_the_sample(entry):
    net = load(entry["name"], pretrained=True)
    *_, test_loader, _ = utils.data_loader(
        recipes.normalised(), recipes.normalised(), 500, source="sample", device="cpu"
    )
    test = utils.test_model(net, "cpu", test_loader, verbose=False)
    assert test.accuracy == pytest.approx(entry["test_accuracy"], abs=1)  # fewer images
    assert test.loss < 0.1


@pytest.mark.parametrize(
    ("name", "arguments", "count"),
    [
        ("net4", {"dropout": 0.0}, 7_216),
        ("net5", {"width": 8}, 3_534),
        ("net6", {}, None),
        ("net1", {"classes": 26}, 275_802),
        ("net5", {"classes": 47}, 7_697),
    ],
)
def test_arguments_reach_the_network(name, arguments, count):
    net = load(name, **arguments)
    assert count in (None, sum(parameter.numel() for parameter in net.parameters()))
    assert {layer.p for layer in net.modules() if isinstance(layer, torch.nn.Dropout)} == set()


def test_arguments_default_to_those_of_the_class():
    for name, network in networks.NETS.items():
        assert str(load(name)) == str(network())


def test_arguments_that_a_network_lacks():
    with pytest.raises(TypeError, match="unexpected keyword argument 'dropout'"):
        load("net5", dropout=0.1)


@every_entry
def test_the_files_are_what_the_metadata_says(entry):
    content = (REPOSITORY / "weights" / entry["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    assert len(content) < 100_000


@pytest.mark.real
@every_entry
def test_accuracy_and_loss_on_the_real_test_set(entry, real_root):
    net = load(entry["name"], pretrained=True)
    *_, test_loader, _ = utils.data_loader(
        recipes.normalised(), recipes.normalised(), 500, root=real_root, source="full", device="cpu"
    )
    test = utils.test_model(net, "cpu", test_loader, verbose=False)
    assert test.accuracy == pytest.approx(entry["test_accuracy"], abs=0.011)  # a digit's rounding
    assert test.loss == pytest.approx(entry["test_loss"], rel=1e-4)


@pytest.fixture
def copy(tmp_path):
    """The repository's hub in a folder of its own, to be damaged."""
    for name in ("hubconf.py", "model.py"):
        shutil.copy(REPOSITORY / name, tmp_path)
    shutil.copytree(REPOSITORY / "weights", tmp_path / "weights")
    return tmp_path


def test_damaged_weights_are_refused_by_name(copy):
    path = copy / "weights" / "net5.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"net5\.pt: expected SHA-256 [0-9a-f]{64}, got"):
        load("net5", copy, pretrained=True)
    assert load("net5", copy).training  # untrained needs no weights


def change_metadata(folder, **changes):
    """Change the entry of net5 in a copy's metadata."""
    path = folder / "weights" / "metadata.json"
    entries = {entry["name"]: entry for entry in json.loads(path.read_text())}
    path.write_text(json.dumps([entries["net5"] | changes]))


def test_weights_of_another_net_are_refused_by_name(copy):
    change_metadata(copy, arguments={"width": 10})
    with pytest.raises(ValueError, match=r"net5\.pt does not fit Net5"):
        load("net5", copy, pretrained=True)


def test_arguments_other_than_those_of_the_weights(copy):
    with pytest.raises(
        ValueError, match=r"for \{'width': 12, 'classes': 10\}, got \{'width': 10\}"
    ):
        load("net5", copy, pretrained=True, width=10)
    change_metadata(copy, name="net4", arguments={"dropout": 0.05})
    with pytest.raises(ValueError, match=r"'dropout': 0\.05\}, got \{'dropout': 0\.0\}"):
        load("net4", copy, pretrained=True, dropout=0.0)


@every_entry
def test_weights_are_for_their_number_of_classes(entry):
    own = {"classes": entry["arguments"].get("classes", 10)}
    assert load(entry["name"], pretrained=True, **own).classifier
    with pytest.raises(ValueError, match=rf"{own['classes']}\}}, got \{{'classes': 47\}}"):
        load(entry["name"], pretrained=True, classes=47)


def test_pretrained_takes_the_arguments_of_the_weights(copy):
    weights = networks.Net4().state_dict()
    torch.save(weights, copy / "weights" / "net4.pt")
    digest = hashlib.sha256((copy / "weights" / "net4.pt").read_bytes()).hexdigest()
    changes = {"name": "net4", "file": "net4.pt", "sha256": digest, "arguments": {"dropout": 0.0}}
    change_metadata(copy, **changes)
    net = load("net4", copy, pretrained=True)
    assert not any(isinstance(layer, torch.nn.Dropout) for layer in net.modules())
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())


def test_a_network_without_weights(copy):
    change_metadata(copy)
    with pytest.raises(ValueError, match="weights for net5, not for net4"):
        load("net4", copy, pretrained=True)


def test_metadata_that_is_damaged_or_missing(copy):
    path = copy / "weights" / "metadata.json"
    for content in ("{", "[]]", '[{"name": "net5"}]', "[1]", '{"net5": 1}', "null"):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"metadata\.json is damaged"):
            load("net5", copy, pretrained=True)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"metadata\.json"):
        load("net5", copy, pretrained=True)


def test_a_module_of_the_caller_s_named_model_does_no_harm(monkeypatch):
    theirs = types.ModuleType("model")
    monkeypatch.setitem(sys.modules, "model", theirs)
    path = list(sys.path)
    assert type(load("net4")).__name__ == "Net4"
    assert sys.modules["model"] is theirs
    assert sys.path == path


def test_two_loads_give_one_type_and_two_folders_two(copy):
    assert type(load("net5")) is type(load("net5"))
    assert type(load("net5")) is not type(load("net5", copy))


def test_networks_in_another_process(processes):
    nets = [load(name) for name in ("net4", "net6")]
    nets += [network() for network in networks.NETS.values()]
    nets += [recipes.best().averaged_model(net) for net in nets]
    with ProcessPoolExecutor(1, processes) as pool:
        returned = list(pool.map(torch.nn.Module.eval, nets))
    images = torch.randn(2, 1, 28, 28)
    for net, again in zip(nets, returned, strict=True):
        assert type(again) is type(net)
        assert torch.equal(again(images), net.eval()(images))


def use_saved(folder):
    """Load a network where model.py cannot be imported, and save what it makes of an image."""
    sys.modules.pop("model", None)
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != REPOSITORY]
    net = torch.load(folder / "net.pt", weights_only=False)
    torch.save(net(torch.ones(1, 1, 28, 28)), folder / "outputs.pt")


def test_a_saved_network_where_model_cannot_be_imported(tmp_path, processes):
    net = load("net6").eval()
    torch.save(net, tmp_path / "net.pt")
    process = processes.Process(target=use_saved, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0
    outputs = torch.load(tmp_path / "outputs.pt")
    torch.testing.assert_close(outputs, net(torch.ones(1, 1, 28, 28)))


@pytest.mark.parametrize("name", ["net1", "net5", "net6"])
def test_copies_of_a_network(name):
    net, images = load(name).eval(), torch.randn(3, 1, 28, 28)
    for again in (
        copy_module.deepcopy(net),
        copy_module.copy(net),
        pickle.loads(pickle.dumps(net)),
    ):
        assert type(again) is type(net)
        assert torch.equal(again(images), net(images))
        assert again.state_dict().keys() == net.state_dict().keys()
