"""Sweeps over seeds: their figures, their tables, and that nothing is trained twice."""

import argparse
import json
import os
import runpy
import socket
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
import seeds
import torch
from conftest import REPOSITORY
from torch.nn import functional as F
from torchvision import transforms

import model as networks
import utils
from checkpoints import evaluated_weights, load_checkpoint
from experiments import prepare
from history import History
from recipes import RECIPES, moving_average, normalised, one_cycle

DIGITS = 120, 50


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A place of its own for results and checkpoints."""
    monkeypatch.setattr(seeds, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(seeds, "STATES", tmp_path / "states")
    return tmp_path


@pytest.fixture
def run_of(here, small_root):
    """Make a run of two epochs on the small set: `run_of(seed, ...)`."""

    def make(seed=1, recipe="best", net=networks.Net5, **settings):
        settings = {"epochs": 2, "root": str(small_root), "name": "sweep"} | settings
        return seeds.Run(net=net, recipe=RECIPES[recipe], seed=seed, **settings)

    return make


def results_of(*accuracies):
    """Return results of made-up runs, one for each list of test accuracies."""
    settings = {"parameters": 7_216, "split": "test", "training_images": 60_000, "epochs": 2}
    settings |= {"device": "cpu", "hardware": "a computer", "threads": 1, "python": "3"}
    settings |= {"torch": "2.15.0", "torchvision": "0.29.2", "source": "full"}
    return [
        {
            "settings": settings | {"seed": seed},
            "history": {
                "test_accuracy": values,
                "test_loss": [0.02] * len(values),
                "seconds": [10.0] * len(values),
            },
        }
        for seed, values in enumerate(accuracies, 1)
    ]


def test_the_figures_of_a_table():
    table = seeds.summary(results_of([99.3, 99.5], [99.4, 99.1], [99.0, 99.6]))
    assert table["mean"] == pytest.approx(99.4)
    assert table["std"] == pytest.approx(0.2645751)  # of a sample: divided by n - 1
    assert (table["minimum"], table["best_accuracy"]) == (99.1, [99.5, 99.4, 99.6])
    assert (table["best_epoch"], table["first_at_target"]) == ([2, 1, 2], [2, 1, 2])
    assert table["seconds"] == [20.0] * 3
    row = seeds.row("Net5", table)
    assert row == ("Net5", "7,216", 3, "99.40 ± 0.26", "99.10", "99.60", "epoch 1 to 2", "20")
    assert "60,000 images" in seeds.caption(table)
    assert "a computer" in seeds.caption(table)


def test_a_target_that_not_all_reach():
    assert "never" in seeds.row("", seeds.summary(results_of([98.0, 99.0])))
    some = seeds.row("", seeds.summary(results_of([98.0, 99.0], [99.0, 99.4])))
    assert "epoch 2, 1 of 2" in some


def test_a_table_of_runs_on_different_machines_says_so():
    results = results_of([99.0], [99.0])
    results[1]["settings"]["threads"] = 2
    assert "1 or 2 threads" in seeds.caption(seeds.summary(results))


@pytest.mark.parametrize("text, expected", [("1-3", [1, 2, 3]), ("7", [7]), ("1,4-5", [1, 4, 5])])
def test_seeds_by_name(text, expected):
    assert seeds.seed_list(text) == expected


@pytest.mark.parametrize("text", ["3-1", "1,1", "one", ""])
def test_seeds_that_are_none(text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"each once, got {text!r}"):
        seeds.seed_list(text)


def test_a_run_keeps_what_it_came_to(run_of, small_loaders):
    run = run_of()
    result = seeds.train(run, threads=1)
    assert json.loads(run.result.read_text()) == result
    assert result["settings"]["parameters"] == 7_216
    assert result["settings"]["source"] == "sample"
    assert len(result["history"]["test_accuracy"]) == 2
    net = networks.Net5()
    net.load_state_dict(evaluated_weights(load_checkpoint(run.state)))
    test = utils.test_model(net, "cpu", small_loaders()[1], verbose=False)
    assert test.accuracy == pytest.approx(result["history"]["test_accuracy"][-1])
    assert set(result["without_ema"]) == {"loss", "accuracy"}


def test_a_run_that_is_done_is_not_done_again(run_of, monkeypatch):
    first = seeds.train(run_of(), threads=1)
    monkeypatch.setattr(utils, "fit", None)
    assert seeds.train(run_of(), threads=1) == first
    for other, named in (
        ({"recipe": "plateau"}, "recipe is 'plateau', was 'best'"),
        ({"net": networks.Net4}, "net is 'Net4', was 'Net5'"),
        ({"epochs": 3}, "epochs is 3, was 2"),
        ({"val_size": 10}, "val_size is 10, was 0"),
    ):
        with pytest.raises(ValueError, match=named):
            seeds.train(run_of(**other), threads=1)


def test_a_fingerprint_tells_what_names_do_not(small_root):
    def of(recipe):
        return seeds.fingerprint(prepare(networks.Net5, recipe, epochs=2, root=small_root))

    best = RECIPES["best"]()
    augmented = normalised(transforms.RandomAffine(5))
    others = [
        best,
        replace(best, scheduler=one_cycle(0.1)),
        replace(best, scheduler=one_cycle(0.2, pct_start=0.2)),
        replace(best, averaged_model=moving_average(0.99)),
        replace(best, averaged_model=lambda net: None),
        replace(best, optimizer=partial(torch.optim.SGD, lr=0.2, momentum=0.8)),
        replace(best, loss_function=partial(F.cross_entropy, label_smoothing=0.1)),
        replace(best, train_transforms=augmented),
    ]
    assert len({of(recipe) for recipe in others}) == len(others)
    assert of(best) == of(RECIPES["best"]())


def test_what_cannot_be_is_said_at_once(small_root, capsys):
    root = ["--root", str(small_root), "--source", "auto"]
    for options, message in (
        (["--width", "1"], "width of at least 2, got 1"),
        (["--val-size", "-5"], "--val-size of at least 0, got -5"),
        (["--processes", "0"], "--processes of at least 1, got 0"),
        (["--epochs", "0"], "--epochs of at least 1, got 0"),
    ):
        with pytest.raises(SystemExit, match=message):
            seeds.main([*root, *options])


def test_a_network_as_asked_for_has_a_name_of_its_own(small_root, here, monkeypatch):
    asked = []

    def train_all(runs, processes):
        asked.extend(runs)
        sys.exit()

    monkeypatch.setattr(seeds, "train_all", train_all)
    root = ["--root", str(small_root), "--source", "auto", "--seeds", "1"]
    for options in (
        ["--net", "net4", "--dropout", "0", "--recipe", "tuned_plateau"],
        ["--width", "8"],
        ["--net", "net3", "--split", "validation"],
    ):
        with pytest.raises(SystemExit):
            seeds.main([*root, *options])
    assert [run.name for run in asked] == [
        "net4-dropout0-tuned_plateau",
        "net5-width8-best",
        "net3-best-validation",
    ]
    assert not any(isinstance(layer, torch.nn.Dropout) for layer in asked[0].net().modules())
    assert sum(parameter.numel() for parameter in asked[1].net().parameters()) == 3_534


def test_an_interrupted_run_goes_on(run_of, monkeypatch):
    whole = seeds.train(run_of(), threads=1)
    replace_file, replaced = os.replace, []

    def replace_once(*paths):
        if replaced:
            raise KeyboardInterrupt
        replaced.append(paths)
        replace_file(*paths)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", replace_once)
        seeds.train(run_of(name="again"), threads=1)
    assert not run_of(name="again").result.exists()
    again = seeds.train(run_of(name="again"), threads=1)
    for name in ("train_loss", "test_loss", "test_accuracy"):
        assert again["history"][name] == whole["history"][name]


def test_validation_leaves_the_test_set_out(run_of):
    result = seeds.train(run_of(split="validation", val_size=20), threads=1)
    assert result["settings"]["training_images"] == 100
    assert len(result["history"]["val_loss"]) == 2
    assert result["history"]["test_loss"] == []
    assert History(**result["history"]).split == "validation"


def test_held_out_images_beside_the_test_set(run_of):
    result = seeds.train(run_of(val_size=20), threads=1)
    assert len(result["history"]["val_accuracy"]) == len(result["history"]["test_accuracy"]) == 2


OPTIONS = [
    *("--source", "auto", "--epochs", "1", "--seeds", "1-2"),
    *("--net", "net4", "--recipe", "plateau", "--processes", "2"),
]


def table_in(folder):
    return json.loads((folder / "results" / "net4-plateau.json").read_text())


def sweep(folder, root, *command):
    """Run seeds.py from a copy of the repository's code; return its table."""
    script = folder / "benchmarks" / "seeds.py"
    done = subprocess.run(
        [sys.executable, *command, script, "--root", root, "--device", "cpu", *OPTIONS],
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return table_in(folder / "benchmarks")


def as_script(folder, root):
    """Run seeds.py from a copy of the repository's code, in this process."""
    script = folder / "benchmarks" / "seeds.py"
    sys.argv = [str(script), "--root", str(root), "--device", "cpu", *OPTIONS]
    runpy.run_path(script, run_name="__main__")


def as_rank(rank, port, root, folder):
    """Run seeds.py as torchrun would: as one of two ranks on this machine."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    seeds.RESULTS, seeds.STATES = folder / "results", folder / "states"
    seeds.main(["--root", str(root), "--device", "cpu", *OPTIONS])


@pytest.fixture
def code(tmp_path):
    """Copy what a sweep needs to a folder of its own; return a maker of such folders."""

    def make(name):
        folder = tmp_path / name
        (folder / "benchmarks").mkdir(parents=True)
        for file in (*REPOSITORY.glob("*.py"), REPOSITORY / "benchmarks" / "seeds.py"):
            target = folder / file.relative_to(REPOSITORY)
            target.write_bytes(file.read_bytes())
        return folder

    return make


def check_alike(table, other):
    for name in ("last_epoch", "loss", "parameters"):
        assert table[name] == other[name]


@pytest.mark.long
def test_processes_and_ranks_come_to_the_same(code, small_root, processes, tmp_path):
    folder = code("processes")
    process = processes.Process(target=as_script, args=(folder, small_root))
    process.start()
    process.join()
    by_processes = table_in(folder / "benchmarks")
    assert by_processes["seeds"] == [1, 2]
    threads = max(1, len(os.sched_getaffinity(0)) // 2)  # of two runs side by side
    assert by_processes["environment"]["threads"] == str(threads)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [
        processes.Process(target=as_rank, args=(rank, port, small_root, tmp_path))
        for rank in range(2)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    assert [rank.exitcode for rank in ranks] == [0, 0]
    check_alike(table_in(tmp_path), by_processes)


@pytest.mark.long
def test_torchrun(code, small_root):
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    by_torchrun = sweep(code("ranks"), small_root, *torchrun)
    check_alike(by_torchrun, sweep(code("processes"), small_root))


@pytest.mark.parametrize(
    "options, message",
    [
        (["--width", "8", "--net", "net4"], "--width is of net5"),
        (["--dropout", "0"], "--dropout is of net2, net3, net4"),
        (["--dropout", "1", "--net", "net4"], "--dropout from 0 to less than 1, got 1.0"),
        (["--dropout", "nan", "--net", "net4"], "--dropout from 0 to less than 1, got nan"),
        (["--split", "validation", "--val-size", "0"], "needs --val-size of at least 1"),
        (["--seeds", "3-1"], "expected seeds such as 1-10, each once, got '3-1'"),
    ],
)
def test_options_that_do_not_go_together(options, message, capsys):
    with pytest.raises(SystemExit):
        seeds.parse_arguments(options)
    assert message in capsys.readouterr().err
