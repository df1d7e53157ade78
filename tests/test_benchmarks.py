"""The other benchmarks: the ablation, the weights that ship, and the time to the target."""

import hashlib
import io
import json
from functools import partial

import ablation
import pytest
import seeds
import ship_weights
import time_to_target
import torch
from conftest import REPOSITORY

import model as networks
from checkpoints import load_checkpoint, save_checkpoint
from experiments import Experiment
from recipes import RECIPES


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A place of its own for what the benchmarks write."""
    monkeypatch.setattr(seeds, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(seeds, "STATES", tmp_path / "states")
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
    return {name: value for name, value in state.items() if name in seeds.SCHEDULE_CONSTANTS}


class Blanks(torch.utils.data.Dataset):
    """A dataset of which only the length and the transform count."""

    def __init__(self, length, transform):
        self.length, self.transform = length, transform

    def __len__(self):
        return self.length


@pytest.mark.parametrize(
    ("sweep", "net", "recipe"),
    [
        ("net4-plateau", networks.Net4, RECIPES["plateau"]),
        ("net4-dropout0-tuned_plateau", partial(networks.Net4, 0.0), RECIPES["tuned_plateau"]),
        ("net5-best", networks.Net5, RECIPES["best"]),
        ("net5-quick", networks.Net5, RECIPES["quick"]),
        *((f"ablation/{name}", row[0].net, row[0].recipe) for name, row in ablation.ROWS.items()),
    ],
)
def test_results_keep_their_fingerprint(sweep, net, recipe):
    result = json.loads((seeds.RESULTS / sweep / "seed-1.json").read_text())
    settings, net, recipe = result["settings"], net(), recipe()
    images = Blanks(settings["training_images"], recipe.train_transforms)
    loader = torch.utils.data.DataLoader(images, settings["batch_size"])
    optimizer = recipe.optimizer(net.parameters())
    epochs = settings["epochs"]
    experiment = Experiment(
        net=net,
        recipe=recipe,
        epochs=epochs,
        device="cpu",
        train_loader=loader,
        test_loader=None,
        val_loader=None,
        optimizer=optimizer,
        scheduler=recipe.scheduler(optimizer, epochs, len(loader)),
        averaged_model=recipe.averaged_model(net),
    )
    assert seeds.fingerprint(experiment) == settings["fingerprint"]


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


def ship(here, small_root, *options):
    command = ["net5", str(here / "states" / "sweep" / "seed-1.pt"), *options]
    ship_weights.main([*command, "--root", str(small_root), "--source", "auto"])


def test_weights_of_a_network_that_ends_in_no_bias_ship(here, small_root):
    run(small_root, "sweep", networks.Net8, RECIPES["tiny"])
    command = ["net8", str(here / "states" / "sweep" / "seed-1.pt"), "--root", str(small_root)]
    ship_weights.main([*command, "--source", "auto"])
    (entry,) = json.loads((here / "weights" / "metadata.json").read_text())
    assert entry["arguments"] == {"width": 21, "classes": 10}


def test_weights_ship_with_what_made_them(here, small_root, capsys):
    result = run(small_root, "sweep", partial(networks.Net5, width=8), RECIPES["best"])
    for _ in range(2):
        ship(here, small_root, "--width", "8")
    (entry,) = json.loads((here / "weights" / "metadata.json").read_text())
    made = {key: entry[key] for key in ("name", "net", "arguments", "parameters", "recipe")}
    assert made == {
        "name": "net5",
        "net": "Net5",
        "arguments": {"width": 8, "classes": 10},
        "parameters": 3_534,
        "recipe": "best",
    }
    assert (entry["seed"], entry["epochs"], entry["training_images"]) == (1, 1, 300)
    assert entry["test_accuracy"] == result["history"]["test_accuracy"][-1]
    content = (here / "weights" / entry["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    networks.Net5(8).load_state_dict(torch.load(io.BytesIO(content), weights_only=True))
    ship(here, small_root, "--width", "8", "--as", "net5_other")
    entries = json.loads((here / "weights" / "metadata.json").read_text())
    assert entries == [entry, entry | {"name": "net5_other", "file": "net5_other.pt"}]


def test_weights_of_another_network_or_loss_are_not_shipped(here, small_root):
    run(small_root, "sweep", networks.Net5, RECIPES["best"])
    with pytest.raises(SystemExit, match="the checkpoint does not fit Net5"):
        ship(here, small_root, "--width", "8")
    path = here / "states" / "sweep" / "seed-1.pt"
    checkpoint = load_checkpoint(path)
    checkpoint["history"]["test_loss"][-1] = 0.5
    save_checkpoint(path, checkpoint)
    with pytest.raises(SystemExit, match=r"expected the run's test loss of 0\.5000, got "):
        ship(here, small_root)
    assert not list((here / "weights").iterdir())


def test_time_to_target(small_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(time_to_target, "HERE", tmp_path)
    monkeypatch.setattr(time_to_target, "TARGETS", (1.0, 2.0))
    monkeypatch.setattr(time_to_target, "TARGET", 1.0)
    arguments = ["--root", str(small_root), "--source", "auto", "--epochs", "2", "--workers", "0"]
    time_to_target.main([*arguments, "--quick-epochs", "1", "--quick-seeds", "2"])
    report = json.loads((tmp_path / "time-to-target-cpu.json").read_text())
    ways = [report[way] for way in ("standard", "quick", "best")]
    assert [len(way["accuracies"]) for way in ways] == [1, 1, 1]
    ratio = ways[0]["seconds"][0] / ways[1]["seconds"][0]
    assert f"1.0 % {ratio:.1f} times as fast" in capsys.readouterr().out


def test_epochs_end_at_the_last_target():
    reached = iter([98.0, 99.4, 99.5, 99.0])
    result = time_to_target.timed(lambda number: next(reached), 4)
    assert result["accuracies"] == [98.0, 99.4, 99.5]
    result = time_to_target.timed(lambda number: 99.3, 2)
    assert len(result["seconds"]) == 2
    result = time_to_target.timed(lambda number: 99.6, 2, stop=False)
    assert result["accuracies"] == [99.6, 99.6]


def test_seeds_count_by_their_mean():
    runs = [
        {"accuracies": [99.0, 99.5], "seconds": [1.0, 2.0]},
        {"accuracies": [99.2, 99.4], "seconds": [2.0, 4.0]},
    ]
    mean = time_to_target.mean(runs)
    assert mean["accuracies"] == pytest.approx([99.1, 99.45])
    assert mean["seconds"] == [1.5, 3.0]
    assert mean["runs"] == runs


def test_times_of_ways_that_reach_a_target_and_that_do_not():
    slow = {"accuracies": [99.0, 99.3], "seconds": [50.0, 100.0]}
    fast = {"accuracies": [99.1, 99.5], "seconds": [5.0, 9.94]}
    quick = fast | {"runs": [fast, fast]}
    report = {"quick": quick, "best": fast, "standard": slow, "targets": [99.0, 99.4]}
    assert "more than 10.0 times as fast" in time_to_target.sentence(report)
    rows = time_to_target.table(report).splitlines()
    assert rows[0] == "| | 99.0 % | 99.4 % |"
    assert rows[2].endswith("| 50 s (epoch 1) | not in 100 s (2 epochs) |")
    assert rows[3] == "| Net5, `best` | 5 s (epoch 1) | 10 s (epoch 2) |"
    assert rows[4].startswith("| Net5, `quick`, mean of 2 seeds |")
    assert "1.0 times" in time_to_target.sentence(report | {"standard": fast})
    assert "did not reach 99.4 %" in time_to_target.sentence(report | {"quick": slow})


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in sorted((REPOSITORY / "benchmarks" / "results").glob("*.json"))
        if path.with_suffix("").is_dir()  # a folder of runs
    ],
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
        source = "usps" if path.stem.endswith("-usps") else "full"
        assert {result["history"]["source"] for result in results} == {source}
        assert len({result["settings"]["fingerprint"] for result in results}) == 1
        for result in results:
            assert len(result["history"]["train_loss"]) == result["settings"]["epochs"]
    text = path.with_suffix(".md").read_text()
    assert (
        text == ablation.table(table)
        if path.stem == "ablation"
        else seeds.sweeps_table({path.stem: table}) in text
    )
