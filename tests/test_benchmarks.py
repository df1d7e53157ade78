"""The other benchmarks: the ablation, the weights that ship, and the time to the target."""

import hashlib
import json
from functools import partial

import ablation
import accuracy
import pytest
import seeds
import ship_weights
import time_to_target
import torch
from conftest import REPOSITORY

import model as networks
import utils
from checkpoints import SCHEDULE_CONSTANTS
from recipes import RECIPES


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A place of its own for what the benchmarks write."""
    for module in (seeds, ship_weights):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
        monkeypatch.setattr(module, "STATES", tmp_path / "states")
    monkeypatch.setattr(ship_weights, "WEIGHTS", tmp_path / "weights")
    (tmp_path / "weights").mkdir()
    return tmp_path


def run(small_root, name, net, recipe, **settings):
    settings = {"seed": 1, "epochs": 1, "root": str(small_root)} | settings
    return seeds.train(seeds.Run(name, net, recipe, **settings), threads=1)


@pytest.mark.parametrize(
    ("row", "net", "recipe"),
    [
        (ablation.CHOSEN, networks.Net5, "best"),
        ("plateau-light-threshold", partial(networks.Net4, dropout=0.0), "tuned_plateau"),
    ],
)
def test_our_recipes_are_rows_of_the_ablation(row, net, recipe, here, small_root):
    chosen = ablation.ROWS[row][0]
    by_choices = run(small_root, "choices", chosen.net, chosen.recipe)
    by_name = run(small_root, "names", net, RECIPES[recipe])
    for kept in ("train_loss", "test_loss", "learning_rate"):
        assert by_choices["history"][kept] == by_name["history"][kept]
    steered = [scheduler_of(choices()) for choices in (chosen.recipe, RECIPES[recipe])]
    assert steered[0] == steered[1]


def scheduler_of(recipe):
    optimizer = recipe.optimizer(networks.Net5().parameters())
    state = recipe.scheduler(optimizer, 15, 469).state_dict()
    return {name: value for name, value in state.items() if name in SCHEDULE_CONSTANTS}


@pytest.mark.parametrize("name", ablation.ROWS)
def test_every_row_differs_from_the_start_in_something(name):
    choices, sentence = ablation.ROWS[name]
    assert sentence.endswith(".")
    assert (choices == ablation.START) == (name == "start")
    net = choices.net()
    assert sum(parameter.numel() for parameter in net.parameters()) == 7_216
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    recipe = choices.recipe()
    optimizer = recipe.optimizer(net.parameters())
    recipe.scheduler(optimizer, 1, 10)
    assert recipe.loss_function(net(torch.zeros(2, 1, 28, 28)), torch.tensor([1, 2])) > 0


def test_a_row_under_way_stays_out_of_the_table():
    rows = {"start": [1, 2, 3, 4, 5], "whole": [1, 2, 3], "under way": [1, 2], "to do": []}
    assert ablation.whole(rows).keys() == {"start", "whole"}
    assert ablation.whole({"start": [1], "whole": [2], "to do": []}).keys() == {"start", "whole"}


def test_rows_of_choices_that_show():
    assert ablation.ROWS["padding"][0].net().features[5][0].padding == (1, 1)
    norm_first = ablation.ROWS["batch-norm-first"][0].net().features[0]
    assert [type(layer).__name__ for layer in norm_first] == ["Conv2d", "BatchNorm2d", "ReLU"]
    assert "Dropout(p=0.05" in str(ablation.ROWS["nearest-dropout"][0].net())
    images = {name: str(row[0].recipe().train_transforms) for name, row in ablation.ROWS.items()}
    assert "Elastic" in images["elastic"]
    assert "p=0.8" in images["share-0.8"].replace("    ", "")
    assert "translate" not in images["rotation"]


def test_weights_are_chosen_by_validation_alone(here, small_root, capsys):
    for seed in (1, 2, 3):
        settings = {"seed": seed, "val_size": 50}
        result = run(small_root, "sweep", networks.Net5, RECIPES["best"], **settings)
        path = here / "results" / "sweep" / f"seed-{seed}.json"
        result["history"]["val_accuracy"][-1] = {1: 90.0, 2: 95.0, 3: 95.0}[seed]
        result["history"]["val_loss"][-1] = {1: 0.1, 2: 0.3, 3: 0.2}[seed]
        result["history"]["test_accuracy"][-1] = 100.0 - seed
        path.write_text(json.dumps(result))
    ship_weights.main(["net5", "--sweep", "sweep", "--root", str(small_root), "--source", "auto"])
    entry = json.loads((here / "weights" / "metadata.json").read_text())[0]
    assert (entry["name"], entry["seed"], entry["seeds_chosen_from"]) == ("net5", 3, 3)
    assert (entry["parameters"], entry["width"], entry["recipe"]) == (7_216, 12, "best")
    content = (here / "weights" / "net5.pt").read_bytes()
    assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    net = networks.Net5()
    net.load_state_dict(torch.load(here / "weights" / "net5.pt", weights_only=True))
    ship_weights.main(["net5", "--sweep", "sweep", "--root", str(small_root), "--source", "auto"])
    assert len(json.loads((here / "weights" / "metadata.json").read_text())) == 1


def test_weights_of_another_run_are_not_shipped(here, small_root):
    run(small_root, "sweep", networks.Net5, RECIPES["best"], val_size=50)
    command = ["net5", "--sweep", "sweep", "--root", str(small_root), "--source", "auto"]
    with pytest.raises(SystemExit, match="Net5 with 3,534 parameters, got Net5 with 7,216"):
        ship_weights.main([*command, "--width", "8"])
    path = here / "results" / "sweep" / "seed-1.json"
    result = json.loads(path.read_text())
    result["history"]["test_loss"][-1] += 0.1
    path.write_text(json.dumps(result))
    with pytest.raises(SystemExit, match=r"seed-1\.pt is not the run that results/ has"):
        ship_weights.main(command)
    assert not list((here / "weights").iterdir())


def test_a_sweep_without_validation_ships_no_weights(here, small_root):
    run(small_root, "sweep", networks.Net5, RECIPES["best"])
    with pytest.raises(SystemExit, match=r"expected runs with validation images in .*sweep"):
        ship_weights.main(
            ["net5", "--sweep", "sweep", "--root", str(small_root), "--source", "auto"]
        )


def test_time_to_target(small_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(time_to_target, "HERE", tmp_path)
    monkeypatch.setattr(time_to_target, "TARGET", 1.0)
    arguments = ["--root", str(small_root), "--source", "auto", "--epochs", "2", "--workers", "0"]
    time_to_target.main(arguments)
    report = json.loads((tmp_path / "time-to-target-cpu.json").read_text())
    assert (report["ours"]["epoch"], report["standard"]["epoch"]) == (1, 1)
    seconds = [report[way]["seconds"][-1] for way in ("standard", "ours")]
    assert report["ratio"] == pytest.approx(seconds[0] / seconds[1])
    assert not report["lower_bound"]
    assert "1.0 % after" in capsys.readouterr().out


def test_epochs_end_at_the_target(monkeypatch):
    reached = iter([98.0, 99.4, 99.0])
    result = time_to_target.timed(lambda number: next(reached), 3)
    assert (result["accuracies"], result["epoch"]) == ([98.0, 99.4], 2)
    result = time_to_target.timed(lambda number: 99.3, 2)
    assert (len(result["seconds"]), result["epoch"]) == (2, None)


def test_a_target_that_one_way_never_reaches():
    way = {"accuracies": [99.0, 99.3], "seconds": [50.0, 100.0], "epoch": None}
    other = {"accuracies": [99.5], "seconds": [10.0], "epoch": 1}
    report = {"ours": other, "standard": way, "target": 99.4, "epochs": 2, "ratio": 10.06}
    said = time_to_target.sentence(report | {"lower_bound": True})
    assert "did not reach it in 2 epochs and 100 s: more than 10.0 times as long" in said


def test_the_points_of_the_picture():
    ours, peers = accuracy.points()
    assert all(len(accuracies) >= 3 for _, _, accuracies in ours)
    assert ("the exercise", 7_216, 99.45) in peers


@pytest.mark.parametrize(
    "path",
    sorted((REPOSITORY / "benchmarks" / "results").glob("*.json")),
    ids=lambda path: path.stem,
)
def test_every_table_is_that_of_its_runs(path):
    table = json.loads(path.read_text())
    if path.stem == "ablation":
        assert table.keys() == {folder.name for folder in path.with_suffix("").iterdir()}
    for name, summary in table.items() if path.stem == "ablation" else [(path.stem, table)]:
        folder = path.with_suffix("") / (name if path.stem == "ablation" else "")
        results = [json.loads(file.read_text()) for file in folder.glob("seed-*.json")]
        results.sort(key=lambda result: result["settings"]["seed"])
        expected = seeds.summary(results)
        assert {key: summary[key] for key in expected} == json.loads(json.dumps(expected))
        assert {result["history"]["source"] for result in results} == {"full"}
        assert len({result["settings"]["fingerprint"] for result in results}) == 1
        assert all(len(utils.History(**result["history"])) == 15 for result in results)
    text = path.with_suffix(".md").read_text()
    assert (
        text == ablation.table(table)
        if path.stem == "ablation"
        else seeds.row("", table)[3:] in text
    )
