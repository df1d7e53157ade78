"""Draw test accuracy against parameters, from results/ and peers.json: docs/accuracy.png.

python benchmarks/accuracy.py
"""

import json

from seeds import HERE, RESULTS

import plots

OURS = {
    "net4-plateau": "Net4, plateau",
    "net5-best": "Net5, best",
    "net5-width8-best": "Net5 of width 8",
}


def points():
    """Return what has been measured, and what others have published, as the plot takes them."""
    files = {title: RESULTS / f"{name}.json" for name, title in OURS.items()}
    tables = {title: json.loads(file.read_text()) for title, file in files.items() if file.exists()}
    ours = [(title, table["parameters"], table["last_epoch"]) for title, table in tables.items()]
    peers = json.loads((HERE / "peers.json").read_text())
    return ours, [(peer["name"], peer["parameters"], peer["accuracy"]) for peer in peers]


def main():
    """Draw, and write."""
    figure = plots.plot_accuracy_against_parameters(*points())
    figure.savefig(HERE.parent / "docs" / "accuracy.png", dpi=150)


if __name__ == "__main__":
    main()
