"""Every number of the README against the results it comes from, and its code as it stands."""

import json
import re
import statistics

import pytest
import seeds
import speed
import time_to_target
import torch
from conftest import REPOSITORY
from test_notebooks import committed, own_rows, printed

import model as networks
import utils

README = (REPOSITORY / "README.md").read_text()
RESULTS = REPOSITORY / "benchmarks" / "results"


def table_of(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("name", "title", "images"),
    [
        ("net4-plateau", "Net4, `plateau`: the exercise's", 60_000),
        ("net4-plateau-val-driven", "Net4, `plateau`, driven by validation images", 55_000),
        ("net4-dropout0-tuned_plateau", "Net4 without dropout, `tuned_plateau`", 60_000),
        ("net4-dropout0-best", "Net4 without dropout, `best`", 60_000),
        ("net5-best", "Net5, `best`", 60_000),
        ("net5-width8-best", "Net5 of width 8, `best`", 60_000),
    ],
)
def test_results(name, title, images):
    table = table_of(name)
    assert (table["split"], table["epochs"], table["training_images"]) == ("test", 15, images)
    assert seeds.HEADER in README
    assert seeds.row(title, table) in README


def test_where_the_results_come_from():
    table = table_of("net5-best")
    assert seeds.caption(table) in README
    assert f"reads {table['mean']:.2f} % of MNIST's test images: the mean of twenty seeds" in README
    assert table["seeds"] == list(range(1, 21))
    small = table_of("net5-width8-best")["environment"]
    assert small["hardware"].startswith("Intel(R) Xeon(R)")
    assert small["torch"] == table["environment"]["torch"]
    assert "that of width 8 is of the Xeon." in README
    others = [json.loads(path.read_text())["environment"] for path in RESULTS.glob("net4-*.json")]
    assert {each["hardware"].split(",")[0] for each in others} == {"AMD EPYC"}
    assert {each["torch"].split("+")[0] for each in others} == {"2.15.0"}
    assert "The rows of Net4 are of an AMD EPYC, with torch 2.15.0, " in README


def test_what_the_blurred_poolings_gain():
    rows, text = table_of("ablation"), " ".join(README.split())
    before, after = rows["share-0.8-nearest"], rows["nearest-blur"]
    assert before["seeds"] == after["seeds"] == [1, 2, 3, 4, 5]
    assert all(map(float.__gt__, before["test_loss"], after["test_loss"]))
    losses = (
        "the loss from {:.4f} to {:.4f}, lower with every seed; "
        "the accuracies, {:.2f} % and {:.2f} %"
    ).format(
        *(statistics.mean(row["test_loss"]) for row in (before, after)),
        *(row["mean"] for row in (before, after)),
    )
    assert f"On images held out, over five seeds, that takes {losses}" in text
    tables = [table_of(name) for name in ("net4-dropout0-best", "net5-best")]
    assert tables[0]["seeds"] == tables[1]["seeds"][:10] == list(range(1, 11))
    means = [statistics.mean(table["test_loss"][:10]) for table in tables]
    losses = "from {:.4f} to {:.4f}".format(*means)
    assert f"On the test images, over ten seeds, the loss goes {losses}" in text


def test_why_more_weight_decay_is_not_taken():
    chosen, more = (table_of("ablation")[row] for row in ("nearest-blur", "blur-weight-decay-2e-4"))
    assert chosen["seeds"] == more["seeds"]
    assert statistics.mean(more["test_loss"]) > statistics.mean(chosen["test_loss"])
    assert abs(more["mean"] - chosen["mean"]) < min(more["spread"], chosen["spread"])


def test_what_the_text_says_of_the_plateaus():
    text = " ".join(README.split())
    peers = json.loads((REPOSITORY / "benchmarks" / "peers.json").read_text())
    published = {peer["name"]: peer["accuracy"] for peer in peers}
    assert f"The exercise publishes {published['the exercise']:.2f} %" in text
    files = (RESULTS / "net4-dropout0-tuned_plateau").glob("seed-*.json")
    histories = [json.loads(path.read_text())["history"] for path in files]
    rates = [each["learning_rate"] for each in histories]
    first_cuts = [each.index(next(rate for rate in each if rate < each[0])) for each in rates]
    assert len(first_cuts) == len(table_of("net4-dropout0-tuned_plateau")["seeds"]) == 5
    assert f"first reduced after {min(first_cuts)} to {max(first_cuts)} epochs" in text
    assert f"from a learning rate of {rates[0][0]}," in text
    rows = table_of("ablation")
    names = ("plateau-light", "plateau", "plateau-light-threshold")
    weaker, of_best, guarded = (f"{rows[name]['mean']:.2f} %" for name in names)
    assert f"these warps reach {weaker}, those of `best` {of_best}; with the threshold" in text
    assert f"it is {guarded}, so that it gains nothing there" in text
    held_out = json.loads((RESULTS / "net4-plateau-val-driven" / "seed-1.json").read_text())
    assert f"{held_out['settings']['val_size']:,} training images held out" in text
    assert f"{held_out['settings']['training_images']:,} others" in text


def test_time_to_target():
    report = json.loads((REPOSITORY / "benchmarks" / "time-to-target-cpu.json").read_text())
    assert report["source"] == "full"
    assert time_to_target.sentence(report) in " ".join(README.split())


def test_trained_weights():
    for entry in json.loads((REPOSITORY / "weights" / "metadata.json").read_text()):
        assert (
            f"| `{entry['name']}` | {entry['parameters']:,} | {entry['test_accuracy']:.2f} % | "
            f"{entry['test_loss']:.4f} |"
        ) in README


def test_speed():
    report = json.loads((REPOSITORY / "benchmarks" / "speed-cpu.json").read_text())
    assert (report["source"], report["rounds"] >= 3) == ("full", True)
    assert speed.table(report) in README


@pytest.mark.parametrize("step", [1, 2, 3])
def test_the_steps(step):
    """The rows of the table are those of the notebooks, and of the networks themselves."""
    rows = own_rows(f"S7_Step{step}.ipynb")
    for row in rows:
        experiment, parameters, epochs, _, best, _, last = row.strip("| ").split(" | ")
        net = getattr(networks, re.search(r"Net\d", experiment).group())()
        *_, layer = utils.trace(net)
        assert parameters == f"{sum(parameter.numel() for parameter in net.parameters()):,}"
        link = rf"\[Step {step}\]\(S7_Step{step}\.ipynb\)"
        figures = f"{parameters} | {layer.receptive_field} | {last} | {best}"
        assert re.search(
            rf"^\| {link} \| {experiment} \|[^|]+\| {re.escape(figures)} \|$", README, re.M
        )
        assert epochs == "15"
    assert README.count(f"(S7_Step{step}.ipynb) | {step}.") == len(rows) > 0


def test_the_receptive_field_of_the_networks_with_results():
    fields = [
        list(utils.trace(net))[-1].receptive_field
        for net in (networks.Net4(), networks.Net5(), networks.Net5(width=8))
    ]
    assert fields == [44, 50, 50]
    text = " ".join(README.split())
    assert "Net4 has a receptive field of 44 pixels, Net5 of 50" in text


def test_how_long_the_notebooks_take():
    minutes, processors = [], ("AMD EPYC", "AMD EPYC", "Intel(R) Xeon(R)")
    for step, processor in enumerate(processors, 1):
        text = printed(committed(f"S7_Step{step}.ipynb"))
        assert f"'hardware': '{processor}" in text
        assert "'threads': 1," in text
        seconds = re.findall(r"^Epoch .* \| ([\d.]+) s$", text, re.MULTILINE)
        minutes.append(round(sum(map(float, seconds)) / 60))
    text = " ".join(README.split())
    assert "trained for {}, {} and {} minutes on one core".format(*minutes) in text
    assert "Steps 1 and 2 on an AMD EPYC, Step 3 on an Intel Xeon" in text


def test_links_lead_somewhere():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    assert all((REPOSITORY / target).exists() for target in targets if ":" not in target)


def test_the_python_runs(small_root, monkeypatch, capsys):
    monkeypatch.setenv("MNIST_ROOT", str(small_root))
    monkeypatch.chdir(REPOSITORY)  # where torch.hub finds the weights
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 4
    shorter = (
        "\n".join(blocks).replace("optimizer, 15,", "optimizer, 1,").replace("(1, 16)", "(1, 2)")
    )
    names = {}
    exec(compile(shorter, "README.md", "exec"), names)
    assert "Test set (sample)" in capsys.readouterr().out
    torch.testing.assert_close(names["probabilities"].sum(dim=1), torch.ones(4))
    inverted = names["transforms"].RandomInvert(p=1.0)
    step = names["batched"].steps_of(inverted)[0]
    images = torch.arange(28 * 28 * 2).remainder(256).to(torch.uint8).view(2, 1, 28, 28)
    assert torch.equal(step.apply(images, torch.Generator()), 255 - images)


@pytest.mark.parametrize("ending", ["train.py", "-m pytest"])
def test_each_command_is_complete(ending):
    command = (
        rf"python3 -m venv \.venv && \.venv/bin/pip install -r \S+ && \.venv/bin/python {ending}"
    )
    assert re.search(rf"^{command}$", README, re.MULTILINE)
