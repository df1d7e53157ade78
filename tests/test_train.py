"""The command line as a process."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from conftest import REPOSITORY, first_digits
from test_predict import STYLES, drawn, save

import model as networks
import train
import utils
from history import History

DIGITS = 100, 50


def run(code, cwd=REPOSITORY, **environment):
    """Run Python code in a process of its own; return the finished process."""
    environment = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True
    )


def test_train_leaves_its_results(small_root, tmp_path, capsys):
    out = tmp_path / "run"
    options = ["--root", str(small_root), "--out", str(out), "--net", "net4", "--epochs", "2"]
    assert train.main(options) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "Total params: 7,216" in printed.out
    epochs = [line for line in printed.out.splitlines() if line.startswith("Epoch ")]
    assert len(epochs) == 2
    assert all("(sample)" in line and len(line) <= 80 for line in epochs)
    assert "Test accuracy (sample): last epoch" in printed.out

    history = History.load(out / "history.json")
    assert (len(history), history.source) == (2, "sample")
    settings = json.loads((out / "settings.json").read_text())
    assert settings["source"] == "sample"
    assert settings["torch"] == torch.__version__
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    net = networks.Net4()
    net.load_state_dict(torch.load(out / "weights.pt", weights_only=True))
    _, _, test_loader, _ = utils.data_loader(
        *[train.RECIPES["plateau"]().test_transforms] * 2, 64, root=small_root
    )
    assert utils.test_model(net, "cpu", test_loader).loss == pytest.approx(
        history.test_loss[-1], rel=1e-4
    )


def test_train_falls_back_on_the_sample_and_says_so(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(  # cuts the network off before anything is imported
        "import socket\n"
        "def refuse(*_, **__):\n"
        "    raise socket.gaierror('the network is cut off')\n"
        "socket.getaddrinfo = socket.socket.connect = refuse\n"
    )
    for path in REPOSITORY.glob("*.py"):
        shutil.copy(path, tmp_path)
    first_digits(tmp_path / "data" / "sample", train=34, test=10)
    code = (
        "import runpy, sys\n"
        "for options in (['--epochs', '1'], ['--source', 'full']):\n"
        "    sys.argv = ['train.py', *options]\n"
        "    try:\n"
        "        runpy.run_path('train.py', run_name='__main__')\n"
        "    except SystemExit as end:\n"
        "        print('exit code', end.code, file=sys.stderr)\n"
    )
    done = run(code, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    warned, refused = done.stderr.split("exit code 0\n")
    refused, rest = refused.split("exit code 2\n")
    assert (done.returncode, rest) == (0, "")
    assert "train.py: warning: " in warned
    assert "MNIST could not be downloaded (the network is cut off)" in warned
    assert "34 training images (sample MNIST)" in done.stdout
    assert (tmp_path / "runs" / "net5-best-seed1" / "weights.pt").is_file()
    assert "MNIST_ROOT" in refused
    assert refused.count("\n") == 1


ALONE = """
import sys
import model
print("torchvision" in sys.modules, "matplotlib" in sys.modules)

sys.modules["torchvision"] = None
import predict
predict.main(sys.argv[2:])
del sys.modules["torchvision"]

sys.modules["torchsummary"] = sys.modules["matplotlib"] = None
import torch, utils
from torchvision import transforms
train_loader, train, test_loader, test = utils.data_loader(
    transforms.ToTensor(), transforms.ToTensor(), 64, root=sys.argv[1]
)
net = model.Net4()
optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
utils.train_model(net, "cpu", train_loader, optimizer, 1)
utils.test_model_plateau(net, "cpu", test_loader)
del sys.modules["torchsummary"], sys.modules["matplotlib"]
import train, hubconf
"""


def test_what_is_imported_and_said(small_root, tmp_path):
    """model.py needs torch alone, predict.py no torchvision, the loops neither plots nor tables.

    Importing prints nothing.
    """
    picture = save(drawn(8, *STYLES[0]), tmp_path / "eight.png")
    code = f"import sys; sys.argv = ['', {str(small_root)!r}, {str(picture)!r}]\n{ALONE}"
    done = run(code, PYTHONPATH=str(REPOSITORY))
    assert (done.returncode, done.stderr) == (0, "")
    imported, read, tested = done.stdout.splitlines()
    assert imported == "False False"
    assert read.startswith(f"{picture}: 8 ")
    assert tested.startswith("Test set (sample): Average loss")


def test_the_help_fits_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        train.main(["--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_torchrun_is_warned_once(monkeypatch, small_root, tmp_path, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        out = ["--root", str(small_root), "--out", str(tmp_path), "--epochs", "0"]
        assert train.main(out) == 2
        assert capsys.readouterr().err.count("benchmarks/seeds.py") == (rank == "0")


@pytest.mark.usefixtures("empty_curves")
def test_a_taken_name_gets_a_number_and_a_taken_folder_is_refused(
    small_root, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    arguments = [
        "--root",
        str(small_root),
        "--epochs",
        "1",
        "--net",
        "net5",
        "--recipe",
        "baseline",
    ]
    for expected in ("net5-baseline-seed1", "net5-baseline-seed1-2", "net5-baseline-seed1-3"):
        assert train.main(arguments) == 0
        assert (tmp_path / "runs" / expected / "history.json").is_file()
    capsys.readouterr()
    assert train.main([*arguments, "--out", "runs/net5-baseline-seed1"]) == 2
    assert "is not empty: add --resume, or choose another --out" in capsys.readouterr().err


def test_compiled_training(small_root, tmp_path, monkeypatch):
    compile_eagerly = torch.compile
    monkeypatch.setattr(torch, "compile", lambda net: compile_eagerly(net, backend="eager"))
    out = tmp_path / "run"
    assert (
        train.main(["--root", str(small_root), "--out", str(out), "--epochs", "1", "--compile"])
        == 0
    )
    networks.Net5().load_state_dict(torch.load(out / "weights.pt", weights_only=True))
