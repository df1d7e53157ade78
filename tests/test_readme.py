"""Every number of the README against the results it comes from, and its code as it stands."""

import json
import re

import pytest
import seeds
import speed
import torch
from conftest import REPOSITORY

import model as networks
import utils

README = (REPOSITORY / "README.md").read_text()
RESULTS = REPOSITORY / "benchmarks" / "results"


def table_of(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("net4-plateau", "Net4, `plateau`: the exercise's"),
        ("net5-best", "Net5, `best`"),
        ("net5-width8-best", "Net5 of width 8, `best`"),
    ],
)
def test_results(name, title):
    table = table_of(name)
    assert (table["split"], table["epochs"], table["training_images"]) == ("test", 15, 60_000)
    assert seeds.HEADER in README
    assert seeds.row(title, table) in README


def test_where_the_results_come_from():
    assert seeds.caption(table_of("net5-best")) in README


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


def test_networks():
    for name in ("Net1", "Net2", "Net3", "Net4", "Net5"):
        net = getattr(networks, name)()
        *_, last = utils.trace(net)
        parameters = sum(parameter.numel() for parameter in net.parameters())
        assert re.search(
            rf"\| {name} \|[^|]+\| {parameters:,} \| {last.receptive_field} \|", README
        )


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
