"""How the command lines end: closed pipes, full disks, wildcards, runs that still go on."""

import json
import os
import runpy
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from test_predict import STYLES, drawn, save

import model
import predict
from checkpoints import save_checkpoint
from options import run_main

needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")


@pytest.fixture
def exit_code(monkeypatch, capfd):
    """Return the exit code of a `main` in this process, and restore what it writes to."""

    def exit_code(main, stdout=None):
        monkeypatch.setattr(sys, "argv", ["folder/some.py"])
        if stdout is not None:
            monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit) as ending:
            run_main(main)
        return ending.value.code

    return exit_code


def closed_pipe():
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


def printing():
    print("a line")
    return 0


def printing_at_once():
    print("a line", flush=True)
    return 0


@pytest.mark.skipif(os.name == "nt", reason="Windows names another error")
@pytest.mark.parametrize("main", [printing, printing_at_once])
def test_a_closed_pipe_ends_quietly(main, exit_code, capfd):
    with closed_pipe() as stdout:
        assert exit_code(main, stdout) == 141
    assert capfd.readouterr().err == ""


@needs_full
@pytest.mark.parametrize("main", [printing, printing_at_once])
def test_a_full_disk_is_one_line(main, exit_code, capfd):
    with open("/dev/full", "w") as stdout:
        assert exit_code(main, stdout) == 2
    assert capfd.readouterr().err == "some.py: error: [Errno 28] No space left on device\n"


def test_exit_codes_and_warnings(exit_code, capfd):
    def warning():
        sys.stderr.write(warnings.formatwarning("look", UserWarning, "a.py", 3))
        return 0

    def interrupted():
        raise KeyboardInterrupt

    before = warnings.formatwarning
    assert exit_code(warning) == 0
    assert capfd.readouterr().err == "some.py: warning: look\n"
    assert exit_code(lambda: 3) == 3
    assert exit_code(interrupted) == 130
    assert exit_code(lambda: sys.exit("some.py: error: wrong")) == "some.py: error: wrong"
    assert exit_code(printing, stdout=None) == 0
    assert warnings.formatwarning is before


def train_on_a_full_disk(arguments, errors):
    sys.stdout, sys.stderr = open("/dev/full", "w"), open(errors, "w")  # noqa: SIM115
    sys.argv = [str(REPOSITORY / "train.py"), *arguments]
    runpy.run_path(sys.argv[0], run_name="__main__")


@needs_full
def test_predict_and_train_on_a_full_disk(tmp_path, small_root, processes):
    picture = save(drawn(8, *STYLES[1]), tmp_path / "eight.png")
    with open("/dev/full", "w") as full:
        predicted = subprocess.run(
            [sys.executable, "predict.py", picture],
            cwd=REPOSITORY,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert predicted.returncode == 2
    assert predicted.stderr == "predict.py: error: [Errno 28] No space left on device\n"
    errors = tmp_path / "errors.txt"
    options = ["--root", str(small_root), "--epochs", "1", "--out", str(tmp_path / "run")]
    trained = processes.Process(target=train_on_a_full_disk, args=(options, errors))
    trained.start()
    trained.join()
    assert trained.exitcode == 2
    assert errors.read_text() == "train.py: error: [Errno 28] No space left on device\n"


# --- Wildcards -----------------------------------------------------------------------------------


def test_wildcards_are_expanded(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("scans[1]").mkdir()
    drawn(8, *STYLES[1]).save("b.png")
    for name in ("a.png", "c[1].png", "c1.png", "scans[1]/d.png", ".hidden.png"):
        shutil.copy("b.png", name)

    def read(*names):
        code = predict.main(list(names))
        lines = capsys.readouterr().out.splitlines()
        return code, [line.partition(": ")[0] for line in lines]

    assert read("*.png") == (0, ["a.png", "b.png", "c1.png", "c[1].png"])
    assert read("?.png", "scans[1]/*.png") == (0, ["a.png", "b.png", str(Path("scans[1]/d.png"))])
    assert read("c[1].png") == (0, ["c[1].png"])  # a file of that name comes before the wildcard
    assert read("[ab].png") == (0, ["a.png", "b.png"])
    assert read(str(tmp_path / "sc*" / "*.png")) == (0, [str(tmp_path / "scans[1]" / "d.png")])
    assert predict.main(["none*.png"]) == 2
    assert capsys.readouterr().err == "predict.py: error: none*.png: No such file or directory\n"
    assert predict.main(["a.png", "--picture", "b.png", "*.png"]) == 2  # among those to read


# --- A run that goes on, or was cut off ----------------------------------------------------------


def checkpoint_of(net, folder, epochs=3):
    weights = net.state_dict()
    parts = {"model": {name: torch.zeros_like(value) for name, value in weights.items()}}
    parts |= {"averaged_model": {f"module.{name}": value for name, value in weights.items()}}
    parts["averaged_model"]["n_averaged"] = torch.tensor(5)
    history = {"train_loss": [0.1] * epochs}
    state = {"parts": parts, "history": history, "settings": {"net": "net5"}}
    save_checkpoint(folder / "checkpoint.pt", state)


def test_weights_of_a_run_that_goes_on(tmp_path, capsys):
    net, images = model.Net5().eval(), torch.rand(4, 1, 28, 28)
    (tmp_path / "settings.json").touch()  # as a run leaves it before its first epoch
    with pytest.raises(ValueError, match="no epoch is complete yet"):
        predict.network(tmp_path)
    checkpoint_of(net, tmp_path)
    for given in (tmp_path, tmp_path / "checkpoint.pt", tmp_path / "weights.pt"):
        assert torch.equal(predict.network(given)(images), net(images))
        assert "the weights after epoch 3" in capsys.readouterr().err
    other = model.Net5().eval()
    torch.save(other.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "settings.json").write_text(json.dumps({"net": "net5"}))
    os.utime(tmp_path / "checkpoint.pt", (1e9, 1e9))
    for given in (tmp_path, tmp_path / "weights.pt"):  # the run is done
        assert torch.equal(predict.network(given)(images), other(images))
    os.utime(tmp_path / "weights.pt", (0.9e9, 0.9e9))
    assert torch.equal(predict.network(tmp_path)(images), net(images))  # it has been resumed
    assert torch.equal(predict.network(tmp_path / "weights.pt")(images), other(images))
    (tmp_path / "checkpoint.pt").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"checkpoint\.pt is not a checkpoint"):
        predict.network(tmp_path)
