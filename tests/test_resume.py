"""Checkpoints: a run that is cut off and resumed ends as the run that was left alone."""

import errno
import hashlib
import itertools
import json
import os
import pickle
import signal
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR, OneCycleLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import model as networks
import train
import utils
from checkpoints import load_checkpoint, save_checkpoint
from history import History
from recipes import RECIPES, plateau

DIGITS = 75, 30  # steps count here, not images
EPOCHS, BATCH_SIZE = 4, 16  # of 5 steps an epoch

pytestmark = pytest.mark.usefixtures("empty_curves")


class Run:
    """A short run, made the same way every time: `fit` may be called on it once."""

    def __init__(
        self,
        loaders,
        kind="plateau",
        net_class=networks.Net4,
        seed=1,
        patience=0,
        **loader_settings,
    ):
        utils.set_seed(seed)
        loader_settings = {"batch_size": BATCH_SIZE} | loader_settings
        self.loaders = loaders(plateau().train_transforms, seed=seed, **loader_settings)
        self.net, self.averaged_model = net_class(), None
        self.optimizer = plateau().optimizer(self.net.parameters())
        if kind == "plateau":
            self.scheduler = ReduceLROnPlateau(self.optimizer, patience=patience, threshold=0.3)
        elif kind == "one cycle":
            steps = EPOCHS * len(self.loaders[0])
            self.scheduler = OneCycleLR(self.optimizer, max_lr=0.05, total_steps=steps)
        else:
            self.scheduler = CosineAnnealingLR(self.optimizer, T_max=EPOCHS)
            average = get_ema_multi_avg_fn(0.9)
            self.averaged_model = AveragedModel(self.net, multi_avg_fn=average, use_buffers=True)

    def fit(self, checkpoint=None, epochs=EPOCHS, stop_at=None, **settings):
        """Fit; with `stop_at`, break off as by Ctrl-C at that step. Return all that came of it."""
        steps = 0

        def loss_function(outputs, labels):
            nonlocal steps
            steps += 1
            if steps == stop_at:
                raise KeyboardInterrupt
            return F.cross_entropy(outputs, labels)

        history = utils.fit(
            self.net,
            "cpu",
            *self.loaders,
            self.optimizer,
            epochs,
            self.scheduler,
            averaged_model=self.averaged_model,
            loss_function=loss_function,
            checkpoint=checkpoint,
            **settings,
        )
        weights = [*self.net.state_dict().values()]
        if self.averaged_model is not None:
            weights += self.averaged_model.state_dict().values()
        return weights, {name: value for name, value in vars(history).items() if name != "seconds"}


def assert_same(first, second):
    assert first[1] == second[1]
    assert all(torch.equal(one, other) for one, other in zip(first[0], second[0], strict=True))


@pytest.mark.parametrize(
    ("kind", "loader_settings"),
    [
        ("plateau", {}),
        ("one cycle", {}),
        ("averaged_model", {}),
        ("plateau", {"on_device": False}),
        pytest.param(
            "averaged_model", {"on_device": False, "num_workers": 2}, marks=pytest.mark.long
        ),
    ],
    ids=["plateau", "one cycle", "averaged_model", "ordinary loader", "two workers"],
)
def test_resume_is_exact_to_the_bit(small_loaders, tmp_path, kind, loader_settings):
    alone = Run(small_loaders, kind, **loader_settings).fit()
    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        Run(small_loaders, kind, **loader_settings).fit(checkpoint, stop_at=7)
    with pytest.raises(KeyboardInterrupt):
        Run(small_loaders, kind, **loader_settings).fit(checkpoint, resume=True, stop_at=9)
    resumed = Run(small_loaders, kind, **loader_settings).fit(checkpoint, resume=True)
    assert_same(resumed, alone)
    again = Run(small_loaders, kind, **loader_settings).fit(checkpoint, resume=True)
    assert_same(again, alone)  # a finished run stays what it is


def test_checkpoints_cost_nothing_but_time(small_loaders, tmp_path):
    alone = Run(small_loaders).fit()
    assert_same(Run(small_loaders).fit(tmp_path / "checkpoint.pt"), alone)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_run_can_be_made_longer(small_loaders, tmp_path):
    alone = Run(small_loaders).fit(epochs=EPOCHS + 1)
    Run(small_loaders).fit(tmp_path / "checkpoint.pt")
    longer = Run(small_loaders).fit(tmp_path / "checkpoint.pt", epochs=EPOCHS + 1, resume=True)
    assert_same(longer, alone)


def test_resume_without_a_checkpoint_starts(small_loaders, tmp_path):
    assert_same(Run(small_loaders).fit(tmp_path / "c.pt", resume=True), Run(small_loaders).fit())


def test_a_checkpoint_is_not_overwritten_by_accident(small_loaders, tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    Run(small_loaders).fit(checkpoint, epochs=1)
    before = checkpoint.read_bytes()
    with pytest.raises(FileExistsError, match="holds a run: resume it, or choose another file"):
        Run(small_loaders).fit(checkpoint)
    assert checkpoint.read_bytes() == before


@pytest.mark.parametrize(
    ("other", "fit_settings", "message"),
    [
        ({"batch_size": 32}, {}, "batch_size is 32, the checkpoint's 16"),
        ({"net_class": networks.Net2}, {}, "model is 'Net2', the checkpoint's 'Net4'"),
        ({"net_class": partial(networks.Net4, dropout=0.1)}, {}, "layers is"),
        ({"drop_last": True}, {}, "drop_last is True, the checkpoint's False"),
        ({"patience": 3}, {}, "the scheduler's patience is 3, the checkpoint's 0"),
        ({"kind": "averaged_model"}, {}, "averaged_model is True, the checkpoint's False"),
        ({"on_device": False}, {}, "loader is 'DataLoader', the checkpoint's 'DeviceLoader'"),
        ({}, {"settings": {"seed": 2}}, "seed is 2, the checkpoint's None"),
        ({}, {"epochs": 1}, "epochs is 1, the checkpoint has done 2"),
    ],
    ids=[
        *("batch size", "net", "dropout", "last batch", "patience", "averaging", "loader"),
        *("own setting", "fewer epochs"),
    ],
)
def test_another_runs_checkpoint_is_refused(small_loaders, tmp_path, other, fit_settings, message):
    checkpoint = tmp_path / "checkpoint.pt"
    Run(small_loaders).fit(checkpoint, epochs=2)
    before, run = checkpoint.read_bytes(), Run(small_loaders, **other)
    weights = [value.clone() for value in run.net.state_dict().values()]
    with pytest.raises(ValueError, match="this checkpoint is of another run") as error:
        run.fit(checkpoint, resume=True, **fit_settings)
    assert message in str(error.value)
    assert checkpoint.read_bytes() == before
    assert all(
        torch.equal(one, other)
        for one, other in zip(weights, run.net.state_dict().values(), strict=True)
    )


def test_a_schedule_of_another_length_is_refused(small_loaders, tmp_path, monkeypatch):
    checkpoint = tmp_path / "checkpoint.pt"
    Run(small_loaders, "one cycle").fit(checkpoint, epochs=1)
    monkeypatch.setattr(sys.modules[__name__], "EPOCHS", 6)
    with pytest.raises(ValueError, match="the scheduler's total_steps is 30, the checkpoint's 20"):
        Run(small_loaders, "one cycle").fit(checkpoint, epochs=6, resume=True)


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("make", ["torch.save", "pickle", "with a digest"])
def test_a_file_that_carries_code_is_refused(small_loaders, tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "checkpoint.pt"
    if make == "torch.save":
        torch.save(Malicious(), path)
    elif make == "pickle":
        path.write_bytes(pickle.dumps(Malicious()))
    else:
        torch.save({"parts": Malicious()}, path)
        path.write_bytes(path.read_bytes() + hashlib.sha256(path.read_bytes()).digest())
    with pytest.raises(ValueError, match=r"checkpoint\.pt is not a checkpoint"):
        Run(small_loaders).fit(path, resume=True)
    assert not (tmp_path / "executed").exists()


def test_a_signed_file_of_something_else_is_refused(tmp_path):
    save_checkpoint(tmp_path / "c.pt", {"parts": {}})
    with pytest.raises(ValueError, match="not a checkpoint of fit"):
        load_checkpoint(tmp_path / "c.pt")


def test_numbers_of_numpy_and_counters_can_be_kept(small_loaders, tmp_path):
    def new_run():
        run = Run(small_loaders)
        run.optimizer.param_groups[0]["lr"] = np.logspace(-2, -1, 3)[0]
        run.scheduler = MultiStepLR(run.optimizer, milestones=[1, 3])
        return run

    alone = new_run().fit()
    new_run().fit(tmp_path / "c.pt", epochs=2)
    assert_same(new_run().fit(tmp_path / "c.pt", resume=True), alone)


def test_what_cannot_be_kept_is_refused_before_any_work(small_loaders, tmp_path):
    with pytest.raises(TypeError, match=r"checkpoint\['settings'\]\['root'\] is PosixPath"):
        Run(small_loaders).fit(tmp_path / "c.pt", settings={"root": tmp_path}, stop_at=1)
    with pytest.raises(FileNotFoundError, match=r"expected a folder for c\.pt"):
        Run(small_loaders).fit(tmp_path / "none" / "c.pt", stop_at=1)
    run = Run(small_loaders, "one cycle")
    with pytest.raises(ValueError, match="25 steps to go, got OneCycleLR at step 0 of 20"):
        run.fit(tmp_path / "c.pt", epochs=5, stop_at=1)
    with pytest.raises(ValueError, match="an empty history, got one of 1 epochs"):
        run.fit(history=History(train_loss=[0.1]), stop_at=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_last_checkpoint(small_loaders, tmp_path, monkeypatch, call):
    checkpoint = tmp_path / "checkpoint.pt"
    Run(small_loaders).fit(checkpoint, epochs=2)
    before = checkpoint.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(os, call, full)
        Run(small_loaders).fit(checkpoint, resume=True)
    assert checkpoint.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert_same(Run(small_loaders).fit(checkpoint, resume=True), Run(small_loaders).fit())


def test_a_loss_that_breaks_keeps_the_last_good_checkpoint(small_loaders, tmp_path):
    checkpoint, run = tmp_path / "checkpoint.pt", Run(small_loaders)
    run.fit(checkpoint, epochs=2)
    before, run = checkpoint.read_bytes(), Run(small_loaders)
    with torch.no_grad():
        run.net.features[0][0].weight.fill_(float("nan"))
    run.optimizer.param_groups[0]["lr"] = 1e30
    history = History()
    with pytest.raises(FloatingPointError, match=r"the loss is nan in epoch 1, batch 0"):
        run.fit(tmp_path / "other.pt", history=history)
    assert len(history) == 0
    assert not (tmp_path / "other.pt").exists()
    assert checkpoint.read_bytes() == before


# --- The command line --------------------------------------------------------------------------


def arguments(small_root, out, **options):
    options = {"net": "net5", "recipe": "plateau", "batch-size": 8} | options  # of 10 steps
    options |= {"root": small_root, "out": out}
    return [text for name, value in options.items() for text in (f"--{name}", str(value))]


def breaking(recipe, step, how):
    """Return what makes this recipe, its loss function doing something else at this step."""
    steps = itertools.count(1)

    def loss_function(outputs, labels):
        return how(outputs) if next(steps) == step else F.cross_entropy(outputs, labels)

    return lambda: replace(recipe, loss_function=loss_function)


def nan(outputs):
    return outputs.sum() * float("nan")


def stop(outputs):
    raise KeyboardInterrupt


def results_of(folder):
    history = json.loads((folder / "history.json").read_text())
    del history["seconds"]
    return history, torch.load(folder / "weights.pt", weights_only=True)


def test_train_resumes_and_extends(small_root, tmp_path, capsys):
    assert train.main(arguments(small_root, tmp_path / "alone", epochs=3)) == 0
    assert train.main(arguments(small_root, tmp_path / "cut", epochs=1)) == 0
    assert train.main([*arguments(small_root, tmp_path / "cut", epochs=3), "--resume"]) == 0
    alone, cut = results_of(tmp_path / "alone"), results_of(tmp_path / "cut")
    assert alone[0] == cut[0]
    assert all(torch.equal(alone[1][name], cut[1][name]) for name in alone[1])


def test_one_cycle_cannot_be_made_longer(small_root, tmp_path, capsys):
    out = tmp_path / "run"
    assert train.main(arguments(small_root, out, recipe="best", epochs=1)) == 0
    assert train.main([*arguments(small_root, out, recipe="best", epochs=2), "--resume"]) == 2
    assert "the scheduler's total_steps is 20, the checkpoint's 10" in capsys.readouterr().err


def test_train_holds_images_out(small_root, tmp_path, capsys):
    out = tmp_path / "run"
    assert train.main(arguments(small_root, out, epochs=1, **{"val-size": 25})) == 0
    history = History.load(out / "history.json")
    assert len(history.val_accuracy) == len(history.test_accuracy) == 1
    assert json.loads((out / "settings.json").read_text())["val_size"] == 25
    printed = capsys.readouterr().out
    assert "50 training images" in printed
    assert f"val {history.val_loss[0]:.4f} {history.val_accuracy[0]:.2f}%" in printed
    assert train.main([*arguments(small_root, out, epochs=2), "--resume"]) == 2
    assert "val_size is 0, the checkpoint's 25" in capsys.readouterr().err


def test_train_keeps_the_average_where_the_recipe_takes_one(small_root, tmp_path):
    out = tmp_path / "run"
    assert train.main(arguments(small_root, out, recipe="best", epochs=2)) == 0
    history, weights = results_of(out)
    net = networks.Net5()
    net.load_state_dict(weights)
    *_, test_loader, _ = utils.data_loader(
        *[RECIPES["best"]().test_transforms] * 2, 64, root=small_root, device="cpu"
    )
    test = utils.test_model(net, "cpu", test_loader, verbose=False)
    assert test.loss == pytest.approx(history["test_loss"][-1], rel=1e-4)


def test_train_keeps_the_weights_of_the_last_whole_epoch(small_root, tmp_path, monkeypatch):
    assert train.main(arguments(small_root, tmp_path / "alone", epochs=1)) == 0
    monkeypatch.setitem(RECIPES, "plateau", breaking(plateau(), step=15, how=nan))  # of 10 an epoch
    assert train.main(arguments(small_root, tmp_path / "broken", epochs=3)) == 1
    alone, broken = results_of(tmp_path / "alone"), results_of(tmp_path / "broken")
    assert alone[0] == broken[0]
    assert all(torch.equal(alone[1][name], broken[1][name]) for name in alone[1])


def test_train_refuses_to_resume_another_run_and_leaves_it(small_root, tmp_path, capsys):
    out = tmp_path / "run"
    assert train.main(arguments(small_root, out, epochs=1)) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    capsys.readouterr()
    assert train.main([*arguments(small_root, out, epochs=2, seed=5), "--resume"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("train.py: error: this checkpoint is of another run: seed is 5")
    assert error.count("\n") == 1
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_stopped_before_anything_is_kept(small_root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--root", str(small_root), "--epochs", "2"]
    assert train.main(options) == 0
    with monkeypatch.context() as patched:
        patched.setitem(RECIPES, "best", breaking(RECIPES["best"](), step=1, how=stop))
        assert train.main(options) == 130
    assert "nothing is kept" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["net5-best-seed1"]
    assert train.main([*options, "--resume"]) == 0
    assert "runs/net5-best-seed1\n" in capsys.readouterr().out.replace("/\n", "\n")


def test_ctrl_c_keeps_the_history_and_says_how_to_go_on(small_root, tmp_path, monkeypatch, capsys):
    out, evaluate, epochs = tmp_path / "run", utils.test_model, itertools.count(1)

    def interrupted(*arguments, **options):
        if next(epochs) == 4:
            signal.raise_signal(signal.SIGINT)
        return evaluate(*arguments, **options)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(utils, "test_model", interrupted)
            assert train.main(arguments(small_root, out, epochs=500)) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "keeps 3 epochs; add --resume" in printed.out
    assert len(History.load(out / "history.json")) == 3
    assert train.main([*arguments(small_root, out, epochs=4), "--resume"]) == 0
    assert len(History.load(out / "history.json")) == 4
