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
from conftest import REPOSITORY, first_digits

import experiments
import recipes
import report
import utils
from history import History
from model import Net1, Net4

RESULTS = REPOSITORY / "benchmarks" / "results"
STEPS = [f"S7_Step{step}.ipynb" for step in (1, 2, 3)]
RUNS = {STEPS[0]: 1, STEPS[1]: 3, STEPS[2]: 5}
TRAINING_IMAGES = {STEPS[0]: 12, STEPS[1]: 34, STEPS[2]: 34}  # 34: a batch of 2 after one of 32
CHOSEN = {"8,000", "4,000", "1,000", "5,000", "10,000", "12,000", "60,000", "0.05"}
DENSE = {"62,730"}  # 7 x 7 x 128 x 10 + 10
FIGURE = re.compile(r"(?<![\d.,])(?:\d+\.\d\d+|\d{1,3}(?:,\d{3})+)(?!\d)")


def committed(name):
    return nbformat.read(REPOSITORY / name, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def written(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def modules(notebook):
    """Return the files that a reader in Colab is asked for."""
    names = re.search(r'MODULES = """(.*?)"""', code_cells(notebook)[0].source, re.DOTALL)[1]
    return [f"{name}.py" for name in names.split()]


def printed(notebook):
    """Return the outputs that are text."""
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    texts = [output.get("text", "") for output in outputs]
    for kind in ("text/plain", "text/markdown"):
        texts += [output.get("data", {}).get(kind, "") for output in outputs]
    return "\n".join(texts)


def rows(text):
    """Return the rows of a table of results: name, parameters, epochs, best, train, test, s."""
    found = re.findall(r"^\| (\d\.\d .*) \|$", text, re.MULTILINE)
    return {row.split(" | ")[0]: row.split(" | ") for row in found}


@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=pytest.mark.long) for name in STEPS[:2]), STEPS[2]]
)
def test_it_runs_with_the_files_that_it_asks_for(name, tmp_path, monkeypatch):
    root = first_digits(tmp_path / "root", train=TRAINING_IMAGES[name], test=10)
    for file in (name, *modules(committed(name))):
        shutil.copy(REPOSITORY / file, tmp_path)
    shutil.copytree(REPOSITORY / "data" / "sample", tmp_path / "data" / "sample")
    monkeypatch.setenv("MNIST_ROOT", str(root))
    monkeypatch.setenv("EPOCHS", "1")
    notebooks.main([str(tmp_path / name)])
    notebook = nbformat.read(tmp_path / name, as_version=4)
    check_outputs(notebook)
    text = printed(notebook)
    assert f"{TRAINING_IMAGES[name]} training and 10 test images (sample MNIST)" in text
    step = re.search(r"\d(?=\.ipynb)", name).group()
    own = [row for row in rows(text) if row.startswith(step)]
    assert len(own) == RUNS[name]
    assert all("(sample)" in row for row in own)
    assert not re.search(r"^(Epoch|Test set)(?!.*\(sample\))", text, re.MULTILINE)


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
        fitted = RUNS[name] - (name == STEPS[2])  # 3.2 is a loop of its own
        assert [int(epoch) for epoch in lines] == [*range(1, 16)] * fitted

    def test_its_table_is_that_of_its_epochs(self, name):
        text = printed(committed(name))
        epochs = re.findall(r"^Epoch.* train \S+ (\S+)%, test \S+ (\S+)%", text, re.MULTILINE)
        step = re.search(r"\d(?=\.ipynb)", name).group()
        own = {row: cells for row, cells in rows(text).items() if row.startswith(step)}
        looped = own.pop("3.2 Net4, plateau", None)
        for cells, start in zip(own.values(), range(0, len(epochs), 15), strict=True):
            train, test = zip(*epochs[start : start + 15], strict=True)
            check_row(cells, test)
            assert cells[4] == train[-1]
        if looped:
            check_row(looped, re.findall(r"^Test set.* \((\S+)%\)$", text, re.MULTILINE)[:15])

    def test_its_results_are_those_in_the_results_folder(self, name):
        step = re.search(r"\d(?=\.ipynb)", name).group()
        expected = rows(report.results_table(RESULTS / "steps"))
        own = rows(printed(committed(name)))
        assert {row: own[row] for row in own if row.startswith(step)} == {
            row: cells for row, cells in expected.items() if row.startswith(step)
        }

    def test_every_figure_of_the_text_is_in_the_outputs_or_the_results(self, name):
        notebook = committed(name)
        known = set(FIGURE.findall(printed(notebook))) | CHOSEN | DENSE | of_the_results()
        assert not set(FIGURE.findall(written(notebook))) - known

    def test_every_run_is_followed_by_a_picture_and_by_what_it_shows(self, name):
        cells = committed(name).cells
        runs = [k for k, cell in enumerate(cells) if "report.save_result(" in cell.source]
        assert len(runs) == RUNS[name]
        for run in runs:
            end = next(k for k in range(run, len(cells)) if cells[k].cell_type == "markdown")
            assert any("plots.plot_" in cell.source for cell in cells[run:end])
            assert cells[end].source.strip()

    def test_short_and_without_definitions(self, name):
        sources = [cell.source for cell in code_cells(committed(name))]
        assert max(source.count("\n") + 1 for source in sources) <= 20
        pattern = r"^\s*(def|class) |lambda|import \*"
        assert not re.search(pattern, "\n".join(sources), re.MULTILINE)
        assert "\n".join(sources).count("data_statistics") <= 1

    def test_nothing_of_the_machine_and_nothing_left_to_write(self, name):
        content = (REPOSITORY / name).read_text()
        assert not re.search(r"/(home|root|tmp|work|usr)/", content)
        assert "TODO" not in content


def check_row(cells, accuracies):
    """Compare a row of a table with the accuracies of its 15 epochs."""
    best = max(accuracies, key=float)
    assert len(accuracies) == 15
    assert cells[3] == f"{best} (epoch {accuracies.index(best) + 1})"
    assert cells[5] == accuracies[-1]


def of_the_results():
    """Return what the tables over seeds and the ablation say, as a text quotes it."""
    tables = [json.loads(path.read_text()) for path in RESULTS.glob("*.json")]
    sweeps = [table for table in tables if "mean" in table]
    said = {f"{table[key]:.2f}" for table in sweeps for key in ("mean", "std", "minimum")}
    said |= {f"{value:.2f}" for table in sweeps for value in table["last_epoch"]}
    said |= {f"{table['parameters']:,}" for table in sweeps}
    for _, parameters, history in report.load_results(RESULTS / "steps"):
        said.add(f"{parameters:,}")
        said |= {f"{value:.2f}" for value in history.accuracy + history.train_accuracy}
    ablation = json.loads((RESULTS / "ablation.json").read_text())
    for row in ablation.values():
        said |= {f"{abs(row[key]):.2f}" for key in ("gain", "gain_error")}
    return said


def test_the_targets():
    """What each step sets out to reach with its one seed."""
    found = {}
    for name in STEPS:
        found |= rows(printed(committed(name)))
    assert found["1.1 Net1"][1] == "257,354"
    assert float(found["1.1 Net1"][5]) >= 99.1
    assert [found[name][1] for name in ("2.1 Net2", "2.2 Net3")] == ["19,942", "19,942"]
    assert float(found["2.3 Net4"][3].split()[0]) >= 99.2
    for name, target in (("3.3 Net4, tuned plateau", 99.4), ("3.5 Net5, best", 99.5)):
        assert found[name][1] == "7,216"
        assert float(found[name][5]) >= target


class TestColab:
    @pytest.fixture
    def cell(self):
        cells = {code_cells(committed(name))[0].source for name in STEPS}
        assert len(cells) == 1
        return cells.pop().replace('REPOSITORY = ""', 'REPOSITORY = os.environ["ADDRESS"]')

    @pytest.fixture
    def done(self, monkeypatch, tmp_path):
        """Run in an empty folder, where Colab would be; return what was run or uploaded."""
        done, needed = [], modules(committed(STEPS[0]))

        def run(command, check):
            done.append(" ".join(command[1:]))
            if command[0] == "git":
                self.bring(tmp_path / command[-1], needed)

        def upload():
            done.append("upload")
            half = len(needed) // 2
            self.bring(tmp_path, needed[:half] if done.count("upload") == 1 else needed[half:])

        files = types.SimpleNamespace(upload=upload)
        monkeypatch.setitem(sys.modules, "google.colab", types.SimpleNamespace(files=files))
        monkeypatch.setattr("subprocess.run", run)
        monkeypatch.setenv("ADDRESS", "")
        monkeypatch.chdir(tmp_path)
        return done

    @staticmethod
    def bring(folder, names):
        folder.mkdir(exist_ok=True)
        for name in names:
            (folder / name).touch()

    INSTALL = "-m pip install -q torchsummary"
    CLONE = "clone -q https://example.com/r mnist-steps"

    def test_nothing_elsewhere(self, cell, done, monkeypatch):
        monkeypatch.delitem(sys.modules, "google.colab")
        exec(cell, {})
        assert done == []

    def test_it_asks_until_every_file_is_there(self, cell, done, capsys):
        exec(cell, {})
        assert done == [self.INSTALL, "upload", "upload"]
        first, second = capsys.readouterr().out.splitlines()
        needed = modules(committed(STEPS[0]))
        assert all(name in first for name in needed)
        assert [name for name in needed if name in second] == needed[len(needed) // 2 :]

    def test_clone_and_again_after_a_restart(self, cell, done, monkeypatch, tmp_path):
        monkeypatch.setenv("ADDRESS", "https://example.com/r")
        exec(cell, {})
        assert Path.cwd() == tmp_path / "mnist-steps"
        monkeypatch.chdir(tmp_path)
        exec(cell, {})
        assert Path.cwd() == tmp_path / "mnist-steps"
        assert done == [self.INSTALL, self.CLONE, self.INSTALL]

    def test_the_files_are_there_already(self, cell, done, tmp_path):
        self.bring(tmp_path, modules(committed(STEPS[0])))
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
    history = History(source=source)
    for accuracy in accuracies:
        history.append(utils.Metrics(0.1, accuracy - 1), utils.Metrics(0.1, accuracy), 0.01, 1.0)
    return history


class TestExperiments:
    def test_what_is_kept_comes_back_in_order(self, tmp_path):
        first, second = history_of(98.0, 99.5, 99.25), history_of(97.0, source="sample")
        report.save_result("2.1 Net4", Net4(), second, tmp_path / "steps")
        report.save_result("1.1 Net4, first", Net4(), first, tmp_path / "steps")
        assert report.load_results(tmp_path / "steps") == [
            ("1.1 Net4, first", 7_216, first),
            ("2.1 Net4", 7_216, second),
        ]
        assert report.results_table(tmp_path / "steps").splitlines()[2:] == [
            "| 1.1 Net4, first | 7,216 | 3 | 99.50 (epoch 2) | 98.25 | 99.25 | 1.0 |",
            "| 2.1 Net4 (sample) | 7,216 | 1 | 97.00 (epoch 1) | 96.00 | 97.00 | 1.0 |",
        ]

    def test_the_last_run_counts_among_equals(self, tmp_path):
        for accuracy in (98.0, 99.0):
            report.save_result("1.1 Net4", Net4(), history_of(accuracy), tmp_path)
        report.save_result("1.1 Net4", Net4(), history_of(97.0, source="sample"), tmp_path)
        report.save_result("1.1 Net4", Net4(), history_of(96.0, 98.5), tmp_path)
        last = [history.test_accuracy[-1] for *_, history in report.load_results(tmp_path)]
        assert sorted(last) == [97.0, 98.5, 99.0]  # a short run or the sample replaces nothing

    def test_nothing_kept_yet(self, tmp_path):
        assert report.load_results(tmp_path / "none") == []
        assert len(report.results_table(tmp_path / "none").splitlines()) == 2

    @pytest.mark.parametrize("name", ["", "../above", "a/b"])
    def test_a_name_that_is_no_files(self, name, tmp_path):
        with pytest.raises(ValueError, match="expected a name that can be a file's"):
            report.save_result(name, Net4(), history_of(98.0), tmp_path / "steps")
        assert not list(tmp_path.iterdir())

    def test_an_empty_history(self, tmp_path):
        with pytest.raises(ValueError, match=r"at least one epoch for '1\.1 Net4', got none"):
            report.save_result("1.1 Net4", Net4(), History(), tmp_path)


class TestPublish:
    def test_whole_runs_on_the_full_set_alone(self, tmp_path):
        whole = history_of(*[98.0] * 14, 99.0)
        report.save_result("2.3 Net4", Net4(), whole, tmp_path / "kept")
        report.save_result("2.1 Net2", Net4(), history_of(98.0), tmp_path / "kept")
        sample = history_of(*[90.0] * 15, source="sample")
        report.save_result("2.2 Net3", Net4(), sample, tmp_path / "kept")
        notebooks.publish(tmp_path / "kept", tmp_path / "steps")
        assert [path.name for path in (tmp_path / "steps").iterdir()] == ["2.3-net4.json"]
        assert report.load_results(tmp_path / "steps") == [("2.3 Net4", 7_216, whole)]


class TestRangeTest:
    def test_rates_rise_by_a_factor(self, small_root):
        def network():
            made.append(Net4())
            return made[-1]

        made, options = [], {"root": small_root, "batch_size": 64, "epochs": 1, "device": "cpu"}
        rates, losses = experiments.range_test(
            network, recipes.baseline(), lowest=0.001, highest=0.1, steps=5, **options
        )
        assert rates == pytest.approx([0.001, 0.00316228, 0.01, 0.0316228, 0.1], rel=1e-5)
        assert len(losses) == 5
        assert len(made) == 1  # trained, and dropped

    def test_it_ends_where_the_loss_is_not_finite(self, small_root):
        options = {"root": small_root, "batch_size": 64, "device": "cpu"}
        rates, losses = experiments.range_test(
            Net1, recipes.baseline(), lowest=1.0, highest=1e30, steps=8, **options
        )
        assert 1 <= len(rates) == len(losses) < 8

    @pytest.mark.parametrize(
        "settings, expected",
        [
            ({"steps": 1}, "expected steps"),
            ({"steps": 2.5}, "expected steps"),
            ({"lowest": 0.0}, "expected 0 < lowest < highest, got 0.0 and 10.0"),
            ({"lowest": 1.0, "highest": 0.1}, "expected 0 < lowest < highest, got 1.0 and 0.1"),
        ],
    )
    def test_bad_settings(self, settings, expected):
        with pytest.raises((TypeError, ValueError), match=expected):
            experiments.range_test(Net4, recipes.baseline(), **settings)


class TestCommittedResults:
    def test_a_sweep_by_seed(self):
        runs = report.load_sweep("net4-plateau")
        assert list(runs) == [1, 2, 3, 4, 5]
        table = json.loads((RESULTS / "net4-plateau.json").read_text())
        assert [round(each.accuracy[-1], 2) for each in runs.values()] == table["last_epoch"]

    def test_gains_of_the_ablation(self):
        (title, gain, error), *none = report.load_ablation(
            {"elastic": "a title", "no such row": ""}
        )
        row = json.loads((RESULTS / "ablation.json").read_text())["elastic"]
        assert (title, gain, error, none) == ("a title", row["gain"], row["gain_error"], [])

    def test_where_there_are_none(self, tmp_path):
        assert report.load_sweep("net4-plateau", tmp_path) == {}
        assert report.load_ablation({"elastic": "a title"}, tmp_path) == []

    def test_code(self):
        text = report.source_markdown(Net1, Net4)
        assert text.startswith("```python\nclass Net1(DigitNet):")
        assert "class Net4(DigitNet):" in text
        assert text.endswith("```")
