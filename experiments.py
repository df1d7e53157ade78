"""The experiments of the notebooks, kept on disk so that each can be set beside the others."""

import json
from dataclasses import asdict
from pathlib import Path

import utils

KEPT = Path("runs", "steps")


def keep(name, net, history, folder=KEPT):
    """Write what an experiment came to, over an earlier run of as many epochs on the same data.

    Names such as "2.1 Net2" put the experiments in order. Raises ValueError for a history without
    an epoch, or for a name that is no file's.
    """
    if len(history) == 0:
        raise ValueError(f"expected a history of at least one epoch for {name!r}, got none")
    path = Path(folder, f"{name}, {history.source}, {len(history)} epochs.json")
    if not name or path.parent != Path(folder):
        raise ValueError(f"expected a name that can be a file's, got {name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    content = {"name": name, "parameters": parameters, "history": asdict(history)}
    utils.write_atomically(path, json.dumps(content, indent=1).encode() + b"\n")


def kept(folder=KEPT):
    """Return the kept experiments in the order of their names: name, parameters, History."""
    contents = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))]
    return [
        (content["name"], content["parameters"], utils.History(**content["history"]))
        for content in contents
    ]


def results_table(folder=KEPT):
    """Return the kept experiments as a Markdown table, accuracies in per cent.

    Beside the best accuracy stands its epoch; results on the sample say so.
    """
    lines = [
        "| experiment | parameters | epochs | best train | best test | last train | last test |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, parameters, history in kept(folder):
        train, test = history.train_accuracy, history.test_accuracy
        mark = " (sample)" if history.source == "sample" else ""
        best_train = f"{max(train):.2f} (epoch {1 + train.index(max(train))})"
        best_test = f"{max(test):.2f} (epoch {history.best_epoch})"
        lines.append(
            f"| {name}{mark} | {parameters:,} | {len(history)} | {best_train} | {best_test} | "
            f"{train[-1]:.2f} | {test[-1]:.2f} |"
        )
    return "\n".join(lines)
