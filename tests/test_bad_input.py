"""Bad input and the message it gets: before any work, naming the value and what was expected."""

import re
import shutil

import pytest
import torch
from test_loops import Linear, loader_of, sgd
from torch.utils.data import DataLoader

import batched
import model as networks
import train
import utils
from checkpoints import load_checkpoint
from recipes import normalised

IMAGES = "train-images-idx3-ubyte"
LABELS = "train-labels-idx1-ubyte"


# --- The library -------------------------------------------------------------------------------


def data(small_root, **changed):
    settings = {"train_transforms": normalised(), "test_transforms": normalised(), "batch_size": 64}
    return utils.data_loader(**(settings | {"root": small_root, "device": "cpu"} | changed))


def fit(epochs=1, net=None, loader=None, **settings):
    net = Linear() if net is None else net
    loader = loader_of() if loader is None else loader
    return utils.fit(net, "cpu", loader, loader, sgd(net), epochs, **settings)


def empty():
    return DataLoader(torch.utils.data.TensorDataset(torch.zeros(0, 1, 28, 28), torch.zeros(0)), 4)


CALLS = [
    (lambda root: data(root, batch_size=0), ValueError, "batch_size of at least 1, got 0"),
    (lambda root: data(root, batch_size=-8), ValueError, "batch_size of at least 1, got -8"),
    (lambda root: data(root, batch_size=64.0), TypeError, "batch_size as an integer, got 64.0"),
    (lambda root: data(root, batch_size=None), TypeError, "batch_size as an integer, got None"),
    (lambda root: data(root, batch_size=True), TypeError, "batch_size as an integer, got True"),
    (
        lambda root: data(root, test_batch_size=0),
        ValueError,
        "test_batch_size of at least 1, got 0",
    ),
    (lambda root: data(root, val_size=0.2), TypeError, "val_size as an integer, got 0.2"),
    (lambda root: data(root, val_size=-5), ValueError, "val_size of at least 1, got -5"),
    (lambda root: data(root, val_size=300), ValueError, "val_size from 1 to 299, got 300"),
    (lambda root: data(root, num_workers=-1), ValueError, "num_workers of at least 0, got -1"),
    (lambda root: data(root, seed=-1), ValueError, "seed of at least 0, got -1"),
    (lambda root: data(root, seed="1"), TypeError, "seed as an integer, got '1'"),
    (lambda root: data(root, source="most"), ValueError, "auto, full or sample, got 'most'"),
    (lambda root: data(root, source="full"), ValueError, "does not hold the full MNIST"),
    (lambda root: data(root, source="sample"), ValueError, "but root"),
    (lambda root: data(root / "nowhere"), FileNotFoundError, "no MNIST in"),
    (
        lambda root: data(root, device="gpu"),
        ValueError,
        "auto, cpu, cuda, cuda:N or mps, got 'gpu'",
    ),
    (lambda root: data(root, device="cuda:77"), RuntimeError, "got cuda:77 (0 available)"),
    (lambda root: data(root, train_transforms=None), TypeError, "train_transforms to be callable"),
    (
        lambda root: data(root, test_transforms=3),
        TypeError,
        "test_transforms to be callable, got 3",
    ),
    (lambda root: utils.set_seed(-1), ValueError, "seed of at least 0, got -1"),
    (lambda root: utils.set_seed(0.5), TypeError, "seed as an integer, got 0.5"),
    (lambda root: fit(epochs=0), ValueError, "epochs of at least 1, got 0"),
    (lambda root: fit(epochs=-1), ValueError, "epochs of at least 1, got -1"),
    (lambda root: fit(epochs=2.5), TypeError, "epochs as an integer, got 2.5"),
    (lambda root: fit(loader=empty()), ValueError, "at least one batch, got none"),
    (lambda root: fit(net=Linear(9)), ValueError, "labels from 0 to 8, as the model has 9 outputs"),
    (lambda root: fit(net=Linear(1)), ValueError, "outputs of shape (64, classes), got (64, 1)"),
    (lambda root: fit(checkpoint=root / "no" / "c.pt"), FileNotFoundError, "expected a folder for"),
    (lambda root: data(root, seed=2**64), ValueError, "seed of at most 9223372036854775807, got"),
    (lambda root: data(root, batch_size=10**30), ValueError, "batch_size of at most 92233720"),
    (lambda root: utils.predict(Linear(), "cpu", empty()), ValueError, "at least one batch"),
    (lambda root: networks.Net1()(torch.zeros(1, 28, 28)), ValueError, "got (1, 28, 28)"),
    (lambda root: networks.Net5()(torch.zeros(2, 1, 28, 28).long()), TypeError, "got torch.int64"),
    (lambda root: networks.Net5()(None), TypeError, "tensor, got NoneType"),
    (lambda root: networks.Net5(width=1), ValueError, "width of at least 2, got 1"),
    (lambda root: networks.Net5(width=12.0), TypeError, "width as an integer, got 12.0"),
    (lambda root: load_checkpoint(root / "none.pt"), FileNotFoundError, "none.pt"),
    (lambda root: batched.steps_of(None), batched.UnbatchableError, "NoneType has no batched"),
]


@pytest.mark.parametrize(("call", "error", "message"), CALLS, ids=[row[2] for row in CALLS])
def test_calls(call, error, message, small_root):
    with pytest.raises(error, match=re.escape(message)):
        call(small_root)


# --- Files -------------------------------------------------------------------------------------

FILES = [
    (IMAGES, lambda content: b"", "starts with b''"),
    (IMAGES, lambda content: content[:10], "expected an IDX file of uint8 in 3 dimensions"),
    (IMAGES, lambda content: content[:5000], "expected 235,216 bytes for shape (300, 28, 28), got"),
    (IMAGES, lambda content: content + b"\0", "got 235,217"),
    (IMAGES, lambda content: b"\x1f\x8b" + content, "starts with b'\\x1f\\x8b"),
    (IMAGES, lambda content: content[:4] + bytes(4) + content[8:], "one or more items"),
    (IMAGES, lambda content: content[:4] + b"\xff" * 4 + content[8:], "4294967295"),
    (LABELS, lambda content: content[:-1], "expected 308 bytes for shape (300,), got 307"),
    (LABELS, lambda content: content[:-1] + b"\xff", "expected labels 0 to 9, got 255"),
    (
        LABELS,
        lambda content: content[:4] + (200).to_bytes(4, "big") + content[8:208],
        "train has 300 images, but 200 labels",
    ),
]


@pytest.mark.parametrize(("name", "change", "message"), FILES, ids=[row[2] for row in FILES])
def test_files(name, change, message, small_root, tmp_path, capsys):
    shutil.copytree(small_root, tmp_path / "root")
    path = tmp_path / "root" / "MNIST" / "raw" / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=re.escape(message)):
        data(tmp_path / "root")
    assert command_line("--root", tmp_path / "root", "--out", tmp_path / "out") == 2
    assert message in only_line(capsys)


# --- The command line --------------------------------------------------------------------------


def command_line(*arguments):
    try:
        return train.main([str(argument) for argument in arguments])
    except SystemExit as exit:  # argparse's way
        return exit.code


def only_line(capsys):
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


OPTIONS = [
    (["--epochs", "0"], "--epochs of at least 1, got 0"),
    (["--epochs", "many"], "--epochs: invalid int value: 'many'"),
    (["--batch-size", "0"], "batch_size of at least 1, got 0"),
    (["--batch-size", "1.5"], "--batch-size: invalid int value: '1.5'"),
    (["--seed", "-1"], "seed of at least 0, got -1"),
    (["--net", "resnet"], "--net: invalid choice: 'resnet'"),
    (["--recipe", "magic"], "--recipe: invalid choice: 'magic'"),
    (["--device", "warp"], "expected device auto, cpu, cuda, cuda:N or mps, got 'warp'"),
    (["--device", "meta"], "expected device auto, cpu, cuda, cuda:N or mps, got 'meta'"),
    (["--device", "cuda:9"], "got cuda:9 (0 available)"),
    (["--source", "half"], "--source: invalid choice: 'half'"),
    (["--source", "full"], "does not hold the full MNIST"),
    (["--root", "nowhere"], "no MNIST in nowhere"),
    (["--resume"], "nothing to resume: there is no out/checkpoint.pt"),
    (["--out", "file"], "File exists: 'file'"),
    (["--out", "file/below"], "Not a directory: 'file/below'"),
    (["--out", "results"], "results is not empty: add --resume, or choose another --out"),
    (["--out", "held"], "held is not empty: add --resume, or choose another --out"),
    (["--out", "garbage", "--resume"], "garbage/checkpoint.pt is not a checkpoint, or is damaged"),
    (["--nonsense"], "unrecognized arguments: --nonsense"),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS, ids=[row[1] for row in OPTIONS])
def test_options(options, message, small_root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "weights.pt").touch()
    for folder in ("held", "garbage"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "checkpoint.pt").write_bytes(b"x" * 100)
    monkeypatch.setattr(utils, "fit", lambda *_, **__: pytest.fail("trains"))
    monkeypatch.setattr(utils, "modelsummary", lambda *_: pytest.fail("starts"))
    assert command_line("--root", small_root, "--out", "out", *options) == 2
    assert message in only_line(capsys)
    assert {path.name for path in tmp_path.iterdir()} <= {"file", "held", "garbage", "results"}


def test_the_tables_are_long_enough():
    assert len(CALLS) + len(FILES) + len(OPTIONS) >= 40
