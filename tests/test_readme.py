"""README and docs: figures from results files, links that resolve, code that runs."""

import re

import pytest
import tables
import torch
from conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text()


@pytest.mark.parametrize("page", tables.pages(), ids=lambda page: page.name)
def test_figures_are_those_of_the_results(page):
    text = page.read_text()
    assert tables.fill(text) == text
    assert text.count("<!-- end -->") == len(tables.MARKED.findall(text))


def test_a_stale_figure_is_replaced():
    stale = "<!-- net5-best.mean -->12.34<!-- end --> %, <!-- weights -->\nold\n<!-- end -->"
    filled = tables.fill(stale)
    assert "12.34" not in filled
    assert "old" not in filled
    assert f"{tables.load('net5-best')['mean']:.2f}<!-- end --> %" in filled


@pytest.mark.parametrize("page", tables.pages(), ids=lambda page: page.name)
def test_links_resolve(page):
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    assert [t for t in targets if ":" not in t and not (page.parent / t).exists()] == []


def test_the_python_runs(small_root, monkeypatch):
    monkeypatch.setenv("MNIST_ROOT", str(small_root))
    monkeypatch.chdir(REPOSITORY)  # where torch.hub finds the weights
    train, load, export = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(compile(train.replace("optimizer, 15,", "optimizer, 1,"), "README.md", "exec"), names)
    assert len(names["history"]) == 1
    exec(compile(load, "README.md", "exec"), names)
    torch.testing.assert_close(names["probabilities"].sum(dim=1), torch.ones(4))
    assert "torch.export.export(net, (images,))" in export
    exported = torch.export.export(names["net"], (names["images"],)).module()
    torch.testing.assert_close(exported(names["images"]), names["net"](names["images"]))


@pytest.mark.parametrize("ending", ["train.py", "-m pytest"])
def test_each_command_is_complete(ending):
    command = (
        rf"python3 -m venv \.venv && \.venv/bin/pip install -r \S+ && \.venv/bin/python {ending}"
    )
    assert re.search(rf"^{command}$", README, re.MULTILINE)
