"""What the notebooks save and show: results, tables, and sweeps and ablations read back."""

import inspect
import json
from dataclasses import asdict
from pathlib import Path

from checkpoints import write_atomically
from history import History

HERE = Path(__file__).resolve().parent
SAVED, RESULTS = Path("runs", "steps"), HERE / "benchmarks" / "results"


def markdown_table(align, header, rows):
    """Return a Markdown table; `align` has a letter for each column, "l" or "r"."""
    rules = [{"l": "---", "r": "---:"}[letter] for letter in align]
    lines = [[str(cell) for cell in cells] for cells in (header, rules, *rows)]
    return "\n".join("".join(f"| {cell} " if cell else "| " for cell in c) + "|" for c in lines)


def source_markdown(*definitions):
    """Return the source of classes and functions as a Markdown block."""
    sources = (inspect.getsource(definition) for definition in definitions)
    return "```python\n" + "\n\n".join(sources) + "```"


def load_sweep(name, folder=RESULTS):
    """Return {seed: History} of a sweep in benchmarks/results/, empty if it is missing."""
    contents = [json.loads(path.read_text()) for path in Path(folder, name).glob("seed-*.json")]
    runs = {each["settings"]["seed"]: History(**each["history"]) for each in contents}
    return dict(sorted(runs.items()))


def load_ablation(choices, folder=RESULTS):
    """Return (title, gain, standard error) of rows of the ablation, in percentage points.

    `choices` is {row's name: title}, see benchmarks/results/ablation.md. Returns an empty list if
    the ablation is missing.
    """
    path = Path(folder, "ablation.json")
    rows = json.loads(path.read_text()) if path.exists() else {}
    return [
        (title, rows[name]["gain"], rows[name]["gain_error"])
        for name, title in choices.items()
        if name in rows
    ]


def save_result(name, net, history, folder=SAVED):
    """Save an experiment's result, replacing one of the same name, data and number of epochs.

    Experiments are sorted by name, such as "2.1 Net2". Raises ValueError for a history without an
    epoch, or a name that cannot be a file's.
    """
    if len(history) == 0:
        raise ValueError(f"expected a history of at least one epoch for {name!r}, got none")
    source = history.suffix[1:] or history.source
    path = Path(folder, f"{name}, {source}, {len(history)} epochs.json")
    if not name or path.parent != Path(folder):
        raise ValueError(f"expected a name that can be a file's, got {name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    content = {"name": name, "parameters": parameters, "history": asdict(history)}
    write_atomically(path, json.dumps(content, indent=1).encode() + b"\n")


def load_results(folder=SAVED):
    """Return the saved experiments, sorted by name, as a list of (name, parameters, History)."""
    contents = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))]
    return [
        (content["name"], content["parameters"], History(**content["history"]))
        for content in contents
    ]


def results_table(folder=SAVED):
    """Return the saved experiments as a Markdown table, accuracies as percentages.

    The seconds are the median over epochs; results on the sample or other data say so.
    """
    header = ("experiment", "parameters", "epochs")
    header += ("best test", "last train", "last test", "s an epoch")
    rows = []
    for name, parameters, history in load_results(folder):
        best = f"{max(history.accuracy):.2f} (epoch {history.best_epoch})"
        seconds = sorted(history.seconds)[len(history) // 2]
        accuracies = (f"{each[-1]:.2f}" for each in (history.train_accuracy, history.accuracy))
        cells = (f"{name}{history.mark}", f"{parameters:,}", len(history), best, *accuracies)
        rows.append((*cells, f"{seconds:.1f}"))
    return markdown_table("lrrrrrr", header, rows)
