"""The three notebooks: they run from top to bottom, and what is committed came from such a run."""

import json
import re
import shutil
import sys
import types
from pathlib import Path

import nbformat
import notebooks
import pytest
from conftest import REPOSITORY

import experiments
import utils
from model import Net4

PUBLISHED = {"99.37", "99.15", "99.03", "99.28", "99.19", "99.45"}  # by the exercise
CHOSEN = {"8,000", "5,000", "10,000", "0.05"}  # target, sample, validation images, dropout
FIGURE = re.compile(r"(?<![\d.,])(?:\d+\.\d\d+|\d{1,3}(?:,\d{3})+)(?!\d)")
STEPS = [f"S7_Step{step}.ipynb" for step in (1, 2, 3)]


def committed(name):
    return nbformat.read(REPOSITORY / name, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def written(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def setup(notebook):
    """Return the text that says what a reader in Colab has to bring."""
    return next(c.source for c in notebook.cells if c.source.startswith("## Setup"))


def printed(notebook):
    """Return the outputs that are text."""
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    texts = [output.get("text", "") for output in outputs]
    for kind in ("text/plain", "text/markdown"):
        texts += [output.get("data", {}).get(kind, "") for output in outputs]
    return "\n".join(texts)


@pytest.mark.parametrize("name", STEPS)
def test_it_runs_with_the_files_that_it_names_alone(name, small_root, tmp_path, monkeypatch):
    needed = re.findall(r"`(\w+\.py)`", setup(committed(name)))
    for file in (name, *needed):
        shutil.copy(REPOSITORY / file, tmp_path)
    monkeypatch.setenv("MNIST_ROOT", str(small_root))
    monkeypatch.setenv("EPOCHS", "2")
    notebooks.main([str(tmp_path / name)])
    notebook = nbformat.read(tmp_path / name, as_version=4)
    check_outputs(notebook)
    results = re.findall(r"^(?:Epoch|Test set|\| [\d.]+ Net).*", printed(notebook), re.MULTILINE)
    assert len(results) == len(own_rows(name)) * 3 + 1
    assert all("(sample)" in line for line in results)


def check_outputs(notebook):
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for output in (output for cell in cells for output in cell.outputs):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text
        assert notebooks.WIDGET not in output.get("data", {})
    assert "warning" not in printed(notebook).lower()


@pytest.mark.parametrize("name", STEPS)
class TestCommitted:
    def test_one_clean_run_on_the_full_set(self, name):
        notebook = committed(name)
        check_outputs(notebook)
        text = printed(notebook)
        assert "60,000 training and 10,000 test images (full MNIST)" in text
        assert "sample" not in text
        lines = re.findall(r"^Epoch +(\d+)/15", text, re.MULTILINE)
        runs = text.count("Total params:") + (name == STEPS[2])  # two of Net4 there
        assert [int(epoch) for epoch in lines] == [*range(1, 16)] * runs

    def test_its_table_is_that_of_its_epochs(self, name):
        text = printed(committed(name))
        epochs = re.findall(r"train loss \S+ accuracy (\S+)% .* accuracy (\S+)% \|", text)
        runs = [epochs[start : start + 15] for start in range(0, len(epochs), 15)]
        rows = own_rows(name)
        assert len(rows) == len(runs)
        for row, run in zip(rows, runs, strict=True):
            train, test = ([pair[side] for pair in run] for side in (0, 1))
            cells = [cell.strip() for cell in row.strip("| ").split("|")]
            for best, accuracies in ((cells[3], train), (cells[4], test)):
                accuracy, epoch = re.fullmatch(r"(\S+) \(epoch (\d+)\)", best).groups()
                assert accuracy == max(accuracies, key=float) == accuracies[int(epoch) - 1]
            assert cells[5:] == [train[-1], test[-1]]

    def test_every_figure_of_the_text_is_in_the_outputs(self, name):
        notebook = committed(name)
        known = set(FIGURE.findall(printed(notebook))) | CHOSEN | over_seeds()
        for paragraph in written(notebook).split("\n\n"):
            published = PUBLISHED if "exercise publishes" in paragraph else set()
            assert not set(FIGURE.findall(paragraph)) - known - published

    def test_target_results_analysis(self, name):
        text = written(committed(name))
        assert re.search(r"\*\*Target\.\*\*.*\*\*Results\.\*\*.*\*\*Analysis\.\*\*", text, re.S)
        assert all(row in text for row in own_rows(name))

    def test_short_and_without_definitions(self, name):
        cells = code_cells(committed(name))
        assert len(cells) <= 12
        source = "\n".join(cell.source for cell in cells)
        assert not re.search(r"^\s*(def|class) |lambda|import \*", source, re.MULTILINE)

    def test_nothing_of_the_machine(self, name):
        content = (REPOSITORY / name).read_text()
        assert not re.search(r"/(home|root|tmp|work|usr)/", content)


def over_seeds():
    """Return what Step 3 quotes of benchmarks/results/: mean, spread and minimum."""
    tables = [
        json.loads((REPOSITORY / "benchmarks" / "results" / f"{name}.json").read_text())
        for name in ("net5-best", "net4-plateau", "net4-dropout0-best")
    ]
    return {f"{table[name]:.2f}" for table in tables for name in ("mean", "spread", "minimum")}


def own_rows(name):
    """Return the rows of the last table that this notebook's own experiments made."""
    step = re.search(r"\d(?=\.ipynb)", name).group()
    return re.findall(rf"^\| {step}\.\d .*\|$", printed(committed(name)), re.MULTILINE)


def test_the_results_of_earlier_steps_are_theirs():
    last = printed(committed(STEPS[2]))
    for name in STEPS:
        assert all(row in last for row in own_rows(name))


def test_the_mean_over_seeds_is_that_of_its_file():
    table = json.loads((REPOSITORY / "benchmarks/results/net5-best.json").read_text())
    expected = (
        f"{len(table['seeds'])} seeds: mean {table['mean']:.2f} %, standard deviation "
        f"{table['spread']:.2f}, lowest {table['minimum']:.2f} %"
    )
    assert expected in " ".join(written(committed(STEPS[2])).split())


def test_what_step_3_says_of_its_runs():
    text, outputs = " ".join(written(committed(STEPS[2])).split()), printed(committed(STEPS[2]))
    epochs = re.findall(r"^Epoch (.*) \| [\d.]+ s$", outputs, re.MULTILINE)
    assert epochs[:15] == epochs[15:30]  # the scheduler did not act: "the same to the last digit"
    accuracies = re.findall(r"test loss \S+ accuracy (\S+)%", "\n".join(epochs[30:]))
    first = next(n for n, accuracy in enumerate(accuracies, 1) if float(accuracy) >= 99.4)
    assert f"It passes the target at epoch {first}, with {accuracies[first - 1]}, and stays" in text
    assert all(float(accuracy) >= 99.4 for accuracy in accuracies[first:])
    correct = int(re.search(r"Accuracy: (\d+)/10000", outputs).group(1))
    assert f"Of the 10,000 test images {10_000 - correct} are misread" in text
    results = (REPOSITORY / "benchmarks" / "results" / "net4-plateau").glob("seed-*.json")
    rates = [json.loads(path.read_text())["history"]["learning_rate"] for path in results]
    assert sum(len(set(each)) > 1 for each in rates) == 4
    assert "the scheduler acted in four of them" in text


def test_the_bars():
    """What each step sets out to reach with its one seed."""
    best = {}
    for name in STEPS:
        for row in own_rows(name):
            cells = [cell.strip() for cell in row.strip("| ").split("|")]
            best[cells[0]] = cells[1], float(cells[4].split()[0]), float(cells[6])
    assert best["1.1 Net1"][0] == "257,354"
    assert best["1.1 Net1"][1] >= 99.1
    assert [best[name][0] for name in ("2.1 Net2", "2.2 Net3")] == ["19,942", "19,942"]
    assert best["2.3 Net4"][0] == best["3.3 Net5, best"][0] == "7,216"
    assert best["2.3 Net4"][1] >= 99.2
    assert best["3.3 Net5, best"][2] >= 99.4  # the target of the title, in the last epoch


class TestColab:
    @pytest.fixture
    def cell(self):
        cells = {code_cells(committed(name))[0].source for name in STEPS}
        assert len(cells) == len({setup(committed(name)) for name in STEPS}) == 1
        return cells.pop().replace('REPOSITORY = ""', 'REPOSITORY = os.environ["ADDRESS"]')

    @pytest.fixture
    def done(self, monkeypatch, tmp_path):
        """Run in an empty folder, where Colab would be; return what was run or uploaded."""
        done = []

        def run(command, check):
            done.append(" ".join(command[1:]))
            if command[0] == "git":
                (tmp_path / command[-1]).mkdir()

        files = types.SimpleNamespace(upload=lambda: done.append("upload"))
        monkeypatch.setitem(sys.modules, "google.colab", types.SimpleNamespace(files=files))
        monkeypatch.setattr("subprocess.run", run)
        monkeypatch.setenv("ADDRESS", "")
        monkeypatch.chdir(tmp_path)
        return done

    INSTALL = "-m pip install -q torchsummary"
    CLONE = "clone -q https://example.com/r step-by-step-mnist"

    def test_nothing_elsewhere(self, cell, done, monkeypatch):
        monkeypatch.delitem(sys.modules, "google.colab")
        exec(cell, {})
        assert done == []

    def test_upload(self, cell, done):
        exec(cell, {})
        assert done == [self.INSTALL, "upload"]

    def test_clone_and_again_after_a_restart(self, cell, done, monkeypatch, tmp_path):
        monkeypatch.setenv("ADDRESS", "https://example.com/r")
        exec(cell, {})
        assert Path.cwd() == tmp_path / "step-by-step-mnist"
        monkeypatch.chdir(tmp_path)
        exec(cell, {})
        assert Path.cwd() == tmp_path / "step-by-step-mnist"
        assert done == [self.INSTALL, self.CLONE, self.INSTALL]

    def test_the_files_are_there_already(self, cell, done, tmp_path):
        (tmp_path / "model.py").touch()
        exec(cell, {})
        assert done == [self.INSTALL]


def test_a_notebook_that_breaks_stays_as_it_was(tmp_path):
    cell = nbformat.v4.new_code_cell("1 / 0")
    path = tmp_path / "broken.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    before = path.read_bytes()
    with pytest.raises(SystemExit, match="ZeroDivisionError"):
        notebooks.main([str(path)])
    assert path.read_bytes() == before


def history_of(*accuracies, source="full"):
    history = utils.History(source=source)
    for accuracy in accuracies:
        history.append(utils.Metrics(0.1, accuracy - 1), utils.Metrics(0.1, accuracy), 0.01, 1.0)
    return history


class TestExperiments:
    def test_what_is_kept_comes_back_in_order(self, tmp_path):
        first, second = history_of(98.0, 99.5, 99.25), history_of(97.0, source="sample")
        experiments.keep("2.1 Net4", Net4(), second, tmp_path / "steps")
        experiments.keep("1.1 Net4, first", Net4(), first, tmp_path / "steps")
        assert experiments.kept(tmp_path / "steps") == [
            ("1.1 Net4, first", 7_216, first),
            ("2.1 Net4", 7_216, second),
        ]
        assert experiments.results_table(tmp_path / "steps").splitlines()[2:] == [
            "| 1.1 Net4, first | 7,216 | 3 | 98.50 (epoch 2) | 99.50 (epoch 2) | 98.25 | 99.25 |",
            "| 2.1 Net4 (sample) | 7,216 | 1 | 96.00 (epoch 1) | 97.00 (epoch 1) | 96.00 | 97.00 |",
        ]

    def test_the_last_run_counts_among_equals(self, tmp_path):
        for accuracy in (98.0, 99.0):
            experiments.keep("1.1 Net4", Net4(), history_of(accuracy), tmp_path)
        experiments.keep("1.1 Net4", Net4(), history_of(97.0, source="sample"), tmp_path)
        experiments.keep("1.1 Net4", Net4(), history_of(96.0, 98.5), tmp_path)
        last = [history.test_accuracy[-1] for *_, history in experiments.kept(tmp_path)]
        assert sorted(last) == [97.0, 98.5, 99.0]  # a short run or the sample replaces nothing

    def test_nothing_kept_yet(self, tmp_path):
        assert experiments.kept(tmp_path / "none") == []
        assert len(experiments.results_table(tmp_path / "none").splitlines()) == 2

    @pytest.mark.parametrize("name", ["", "../above", "a/b"])
    def test_a_name_that_is_no_files(self, name, tmp_path):
        with pytest.raises(ValueError, match="expected a name that can be a file's"):
            experiments.keep(name, Net4(), history_of(98.0), tmp_path / "steps")
        assert not list(tmp_path.iterdir())

    def test_an_empty_history(self, tmp_path):
        with pytest.raises(ValueError, match=r"at least one epoch for '1\.1 Net4', got none"):
            experiments.keep("1.1 Net4", Net4(), utils.History(), tmp_path)
