"""The records, from the files in results/: tables for docs/records.md, and docs/width.png.

    python benchmarks/records.py

draws docs/width.png; tables.py fills in the tables.
"""

import json
import math
import re
import statistics
from dataclasses import dataclass, replace

from matplotlib.figure import Figure
from seeds import HERE, RESULTS, either

import plots
from history import TARGET
from report import markdown_table

SEEDS = 10  # fewer make a record provisional


@dataclass(frozen=True)
class Record:
    """A sweep in results/, and the options of seeds.py that made it.

    With `epoch`, the runs count as stopped after that epoch of a longer schedule. `net` names a
    network that model.py no longer has, `commit` the last one that had it.
    """

    sweep: str
    options: str
    date: str
    epoch: int | None = None
    net: str | None = None
    commit: str | None = None


@dataclass(frozen=True)
class Track:
    """Records of one kind, newest first: each beats the one in the row below.

    All have fewer than `limit` parameters.
    """

    title: str
    records: tuple
    limit: int = 8_000


BEST = Record("net5-best", "--net net5 --recipe best --seeds 1-20", "2026-11-25")
NET4_BEST = Record(
    "net4-dropout0-best", "--net net4 --dropout 0 --recipe best --seeds 1-10", "2026-11-24"
)
EXERCISE = Record("net4-plateau", "--net net4 --recipe plateau --seeds 1-5", "2026-11-23")
WIDTH_8 = Record("net5-width8-best", "--net net5 --width 8 --recipe best --seeds 1-5", "2026-11-25")
QUICK = Record("net5-quick", "--net net5 --recipe quick --epochs 3 --seeds 1-20", "2026-11-25")
QUICK_1 = Record(
    "net5-quick1",
    "--net net5 --recipe quick --epochs 1 --seeds 1-10 --out net5-quick1",
    "2026-11-25",
)
SHARED_3X3 = Record(
    "shared-3x3-small",
    "--net net6 --recipe small --seeds 1-10",
    "2026-11-25",
    net="Net5 with a shared 3x3 kernel",
    commit="624d51d",
)
NET6 = Record(
    "net6-separable", "--net net6 --recipe separable --epochs 15 --seeds 1-10", "2026-11-26"
)
NET7 = Record("net7-separable", "--net net7 --recipe separable --seeds 1-10", "2026-11-26")
WIDTH_60 = Record(
    "net7-width60-wide",
    "--net net7 --width 60 --recipe wide --seeds 1-6,10",
    "2026-11-26",
    net="Net7 of width 60",
)
TRACKS = (
    Track(
        "Fewest epochs to 99.0 %, fewer than 8,000 parameters",
        (QUICK_1, replace(BEST, epoch=2), replace(NET4_BEST, epoch=2), replace(EXERCISE, epoch=5)),
    ),
    Track(
        f"Fewest epochs to {TARGET} %, fewer than 8,000 parameters",
        (QUICK, replace(BEST, epoch=4), replace(NET4_BEST, epoch=7)),
    ),
    Track(
        "Fewest epochs to 99.5 %, fewer than 8,000 parameters",
        (NET7, replace(BEST, epoch=7), replace(NET4_BEST, epoch=12)),
    ),
    Track(
        "Highest accuracy in 15 epochs, fewer than 8,000 parameters",
        (BEST, NET4_BEST, EXERCISE),
    ),
    Track(
        f"Fewest parameters to {TARGET} % in 15 epochs",
        (NET6, SHARED_3X3, WIDTH_8, BEST),
    ),
    Track(
        "Highest accuracy in 15 epochs, fewer than 20,000 parameters",
        (WIDTH_60, BEST),
        limit=20_000,
    ),
)


def runs(sweep):
    """Return the results of a sweep's runs, ordered by seed."""
    results = [json.loads(path.read_text()) for path in (RESULTS / sweep).glob("seed-*.json")]
    return sorted(results, key=lambda result: result["settings"]["seed"])


def row(record):
    """Return the cells of a record's row."""
    results = runs(record.sweep)
    settings, epochs = results[0]["settings"], len(results[0]["history"]["test_accuracy"])
    epoch = record.epoch or epochs
    accuracies = [result["history"]["test_accuracy"][epoch - 1] for result in results]
    seconds = statistics.median(sum(result["history"]["seconds"][:epoch]) for result in results)
    std = statistics.stdev(accuracies)
    trained = f"{epoch}" if epoch == epochs else f"{epoch} of {epochs}"
    provisional = "" if len(results) >= SEEDS else " (provisional)"
    return (
        f"{record.net or settings['net']}, `{settings['recipe']}`{provisional}",
        f"{settings['parameters']:,}",
        trained,
        f"{seconds:.0f}",
        len(results),
        f"{statistics.mean(accuracies):.3f}",
        f"{std:.3f}",
        f"{std / math.sqrt(len(results)):.3f}",
        f"{min(accuracies):.2f}",
        record.date,
    )


def command(record):
    """Return the command that makes a record, with its hardware as a comment."""
    every = [result["settings"] for result in runs(record.sweep)]
    found = {kind: either(settings[kind] for settings in every) for kind in ("hardware", "threads")}
    commit = f"commit {record.commit}; " if record.commit else ""
    return (
        f"python benchmarks/seeds.py {record.options}  "
        f"# {commit}{found['hardware']}; threads a run: {found['threads']}"
    )


def section(track):
    """Return a track as Markdown: its title, the records, and their commands."""
    header = ("record", "parameters", "epochs", "s a run", "seeds", "mean", "std")
    header += ("standard error", "lowest", "date")
    lines = markdown_table("lrrrrrrrrl", header, [row(record) for record in track.records])
    commands = "\n".join(command(record) for record in track.records)
    return f"### {track.title}\n\n{lines}\n\n```\n{commands}\n```\n"


def widths():
    """Return the sweeps of Net5 with `best` as (width, parameters, accuracies), narrowest first."""
    found = []
    for folder in RESULTS.glob("net5*-best"):
        name = re.fullmatch(r"net5(?:-width(\d+))?-best", folder.name)
        results = runs(folder.name)
        if name and results:
            accuracies = [result["history"]["test_accuracy"][-1] for result in results]
            width, parameters = int(name[1] or 12), results[0]["settings"]["parameters"]
            found.append((width, parameters, accuracies))
    return sorted(found)


def width_table(points):
    """Return the widths as a Markdown table."""
    rows = []
    for width, parameters, accuracies in points:
        std = f"{statistics.stdev(accuracies):.3f}" if len(accuracies) > 1 else ""
        mean, lowest = f"{statistics.mean(accuracies):.3f}", f"{min(accuracies):.2f}"
        rows.append((width, f"{parameters:,}", len(accuracies), mean, std, lowest))
    header = ("width", "parameters", "seeds", "mean", "std", "lowest")
    return markdown_table("rrrrrr", header, rows)


def draw_widths(points, other):
    """Return a figure of the widths: test accuracy against parameters, every seed and the mean.

    `other` is (name, parameters, accuracies) of another network, for comparison.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for _, parameters, accuracies in points:
        xs = [parameters] * len(accuracies)
        axes.plot(xs, accuracies, "o", color=plots.BLUE, alpha=0.35, markersize=3.5)
    name, parameters, accuracies = other
    axes.plot([parameters] * len(accuracies), accuracies, ".", color=plots.ORANGE, alpha=0.35)
    axes.plot(parameters, statistics.mean(accuracies), "D", color=plots.ORANGE)
    place = {"xytext": (0, 14), "textcoords": "offset points", "ha": "center"}
    axes.annotate(name, (parameters, max(accuracies)), color=plots.ORANGE, **place)
    means = [statistics.mean(accuracies) for *_, accuracies in points]
    axes.plot([parameters for _, parameters, _ in points], means, "o-", color=plots.BLUE)
    for (width, parameters, _), mean in zip(points, means, strict=True):
        place = {"xytext": (-5, 4), "textcoords": "offset points", "ha": "right"}
        axes.annotate(width, (parameters, mean), size="small", color=plots.BLUE, **place)
    axes.axhline(TARGET, color="grey", linewidth=0.8, linestyle=":")
    axes.set_xlabel("parameters (beside each mean of Net5: its width)")
    axes.set_ylabel("test accuracy, last epoch (%)")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def tables():
    """Return the records of every track, then Net5 by its width, as Markdown."""
    sections = [section(track) for track in TRACKS]
    by_width = f"### Net5's width, `best`, 15 epochs\n\n{width_table(widths())}"
    return "\n" + "\n".join([*sections, by_width]) + "\n"


def main():
    """Draw docs/width.png."""
    results = runs(NET6.sweep)
    accuracies = [result["history"]["test_accuracy"][-1] for result in results]
    net6 = ("Net6", results[0]["settings"]["parameters"], accuracies)
    draw_widths(widths(), net6).savefig(HERE.parent / "docs" / "width.png", dpi=150)


if __name__ == "__main__":
    main()
