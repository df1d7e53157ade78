"""Every number of the README against the results it comes from, and its code as it stands."""

import json
import re
import statistics
import sys
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY

import model as networks
import utils

README = (REPOSITORY / "README.md").read_text()
RESULTS = REPOSITORY / "benchmarks" / "results"


def histories_of(name):
    folders = sorted(
        RESULTS.glob(f"{name}-seed*"), key=lambda folder: int(folder.name.split("seed")[1])
    )
    return [utils.History.load(folder / "history.json") for folder in folders]


def test_results():
    histories = histories_of("net4-plateau")
    last = [history.test_accuracy[-1] for history in histories]
    best = [max(history.test_accuracy) for history in histories]
    assert {history.source for history in histories} == {"full"}
    assert {len(history) for history in histories} == {15}
    row = (
        f"| Net4 | 7,216 | `plateau` | {len(last)} | **{statistics.mean(last):.2f}** ± "
        f"{statistics.stdev(last):.2f} | {', '.join(f'{value:.2f}' for value in last)} | "
        f"{', '.join(f'{value:.2f}' for value in best)} |"
    )
    assert row in README
    settings = json.loads((RESULTS / "net4-plateau-seed1" / "settings.json").read_text())
    assert f"{settings['hardware']}, torch {settings['torch']}" in README


def test_speed(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(REPOSITORY / "benchmarks")])
    import speed

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


def test_the_python_runs(small_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MNIST_ROOT", str(small_root))
    monkeypatch.chdir(tmp_path)
    Path("runs/net4-plateau-seed1").mkdir(parents=True)
    torch.save(networks.Net4().state_dict(), "runs/net4-plateau-seed1/weights.pt")
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
