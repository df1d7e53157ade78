"""torch.hub and the shipped weights: every number of their metadata that can be recomputed."""

import hashlib
import json
import shutil
import sys
import types

import pytest
import torch
from conftest import REPOSITORY

import hubconf
import model as networks
import utils
from recipes import normalised

ENTRIES = json.loads((REPOSITORY / "weights" / "metadata.json").read_text())
every_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])


def load(name, folder=REPOSITORY, **arguments):
    return torch.hub.load(str(folder), name, source="local", verbose=False, **arguments)


def test_entry_points():
    names = {name for name in vars(hubconf) if not name.startswith("_")} - {"dependencies"}
    assert names == {"net1", "net2", "net3", "net4", "net5", "net5_small"}


@pytest.mark.parametrize("name", ["net1", "net2", "net3", "net4", "net5"])
def test_every_net_untrained(name):
    net = load(name)
    assert type(net).__name__ == name.capitalize()
    assert net.training


@every_entry
def test_pretrained(entry):
    net = load(entry["name"], pretrained=True)
    assert not net.training
    assert sum(parameter.numel() for parameter in net.parameters()) == entry["parameters"]
    assert type(net).__name__ == entry["net"]
    again = networks.Net5(width=entry["width"])
    again.load_state_dict(
        torch.load(REPOSITORY / "weights" / entry["file"], map_location="cpu", weights_only=True)
    )


def test_two_widths():
    assert {entry["name"]: entry["parameters"] for entry in ENTRIES} == {
        "net5": 7_216,
        "net5_small": 3_534,
    }


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
        normalised(), normalised(), 500, root=real_root, source="full", device="cpu"
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


def test_weights_of_another_net_are_refused_by_name(copy):
    entry = json.loads((copy / "weights" / "metadata.json").read_text())[0]
    (copy / "weights" / "metadata.json").write_text(json.dumps([entry | {"width": 10}]))
    with pytest.raises(ValueError, match=rf"{entry['file']} does not fit Net5 of width 10"):
        load("net5", copy, pretrained=True, width=10)


def test_metadata_that_is_damaged_or_missing(copy):
    path = copy / "weights" / "metadata.json"
    for content in ("{", "[]]", '[{"width": 12}]', "[1]"):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"metadata\.json is damaged"):
            load("net5", copy, pretrained=True)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"metadata\.json"):
        load("net5", copy, pretrained=True)


def test_a_module_of_the_caller_s_named_model_does_no_harm(monkeypatch):
    monkeypatch.setitem(sys.modules, "model", types.ModuleType("model"))
    assert type(load("net4")).__name__ == "Net4"


def test_widths_without_weights():
    held = ", ".join(str(entry["width"]) for entry in ENTRIES)
    with pytest.raises(ValueError, match=f"weights for width {held}, not for 10"):
        load("net5", pretrained=True, width=10)
