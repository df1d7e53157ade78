"""Draw test accuracy against parameters, from results/ and peers.json: docs/accuracy.png.

python benchmarks/accuracy.py
"""

import json
import re

from seeds import HERE, RESULTS

import plots

SWEEP = re.compile(r"net(\d)(?:-width(\d+))?-(\w+)")  # not validation, no other dropout
PLAIN = ("best", "plateau")  # these recipes go without saying


def points():
    """Return what has been measured, and what others have published, as the plot takes them.

    Ours are the sweeps over seeds of 15 epochs on the test images, the most accurate of those of
    one network and width; and, for networks without a sweep, the experiments of the notebooks.
    """
    ours = {}
    for file in sorted(RESULTS.glob("*.json")):
        match, table = SWEEP.fullmatch(file.stem), json.loads(file.read_text())
        if match and (table["split"], table["source"], table["epochs"]) == ("test", "full", 15):
            net, width, recipe = match.groups()
            name = f"Net{net}" + (f", width {width}" if width else "")
            title = name if recipe in PLAIN else f"{name}, {recipe}"
            if name not in ours or table["mean"] > sum(ours[name][2]) / len(ours[name][2]):
                ours[name] = (title, table["parameters"], table["last_epoch"])
    for file in sorted((RESULTS / "steps").glob("*.json")):
        step = json.loads(file.read_text())
        name = re.search(r"Net\d", step["name"])[0]
        ours.setdefault(name, (name, step["parameters"], step["history"]["test_accuracy"][-1:]))
    peers = json.loads((HERE / "peers.json").read_text())
    named = [(peer["name"], peer["parameters"], peer["accuracy"]) for peer in peers]
    return list(ours.values()), named


def main():
    """Draw, and write."""
    figure = plots.plot_accuracy_against_parameters(*points())
    figure.savefig(HERE.parent / "docs" / "accuracy.png", dpi=150)


if __name__ == "__main__":
    main()
