"""Fill in the figures and tables of README.md and docs/ from the results files.

    python benchmarks/tables.py

Each stands between markers: <!-- NAME.FIELD -->99.59<!-- end -->. NAME is a file in results/ and
FIELD one of `field`'s; a NAME without FIELD is one of BLOCKS. A test fills in all of them again and
expects no change.
"""

import json
import re
import statistics
from pathlib import Path

import accuracy
import photos as photos_benchmark
import records as records_benchmark
import speed as speed_benchmark
import time_to_target as target_benchmark
from no_digit_kinds import BLANK, MADE
from seeds import HERE, RESULTS, sweeps_table

import plots
from checkpoints import write_atomically
from history import History, epoch_line
from report import load_results, markdown_table

REPOSITORY = HERE.parent
MARKED = re.compile(r"(<!-- ([\w.-]+) -->)(.*?)(<!-- end -->)", re.DOTALL)
PATH = (  # network, experiment in results/steps, why
    ("Net1", "1.1", "The skeleton: 3x3 convolutions, two poolings, global average pooling"),
    ("Net2", "2.1", "Fewer channels; BatchNorm makes the first epoch count"),
    ("Net3", "2.2", "Dropout 0.05 narrows the gap between training and test"),
    ("Net4", "2.3", "1x1 convolutions mix channels cheaply: under 8,000"),
    ("Net5", "3.5", "Anti-aliased pooling, affine augmentation, one cycle, EMA"),
)
SUMMARY = (  # network and recipe, file, how it differs
    ("Net4, the exercise's recipe", "net4-plateau"),
    ("Net4, tuned plateau", "net4-dropout0-tuned_plateau"),
    ("**Net5, `best`**", "net5-best"),
    ("Net5, `quick`", "net5-quick"),
    ("Net5, `quick`, one epoch", "net5-quick1"),
    ("**Net6, `separable`**", "net6-separable"),
    ("Net7, `separable`", "net7-separable"),
    ("Net7 of width 60, `wide`", "net7-width60-wide"),
    ("Net8, `tiny`", "net8-tiny"),
)
DETAILS = (
    ("Net4, `plateau`: the exercise's", "net4-plateau"),
    ("Net4, `plateau`, stepped by a validation split", "net4-plateau-val-driven"),
    ("Net4 without dropout, `tuned_plateau`", "net4-dropout0-tuned_plateau"),
    ("Net4 without dropout, `best`", "net4-dropout0-best"),
    ("Net5, `best`", "net5-best"),
    ("Net5 of width 8, `best`", "net5-width8-best"),
    ("Net5, `quick`", "net5-quick"),
    ("Net5, `quick`, one epoch", "net5-quick1"),
    ("Net6, `separable`", "net6-separable"),
    ("Net7, `separable`", "net7-separable"),
    ("Net7 of width 60, `wide`", "net7-width60-wide"),
    ("Net8, `tiny`", "net8-tiny"),
    ("Net8 of width 24, `tiny`", "net8-width24-tiny"),
)

GPU = (  # what gpu.py trains
    ("Net5, `quick`, side by side", "cuda-net5-quick"),
    ("Step 1: Net1, `baseline`", "cuda-step1-net1-baseline"),
    ("Step 2: Net4, `baseline`", "cuda-step2-net4-baseline"),
    ("Step 3: Net5, `best`", "cuda-step3-net5-best"),
)


def load(name):
    """Return the summary of a sweep in results/."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def path():
    """Return the table of the networks with a reason for each; accuracies are the notebooks'."""
    kept = {name.split()[0]: rest for name, *rest in load_results(RESULTS / "steps")}
    rows = []
    for net, experiment, why in PATH:
        parameters, history = kept[experiment]
        notebook = f"[{net}](S7_Step{experiment[0]}.ipynb)"
        rows.append((notebook, f"{parameters:,}", f"{history.accuracy[-1]:.2f}", why))
    header = ("network", "parameters", "test accuracy, %", "why")
    return markdown_table("lrrl", header, rows)


def summary():
    """Return the README's results: last epoch, mean and standard deviation over seeds."""
    rows = []
    for title, name in SUMMARY:
        t = load(name)
        accuracy = f"{t['mean']:.2f} ± {t['std']:.2f}"
        rows.append((title, f"{t['parameters']:,}", t["epochs"], len(t["seeds"]), accuracy))
    header = ("network, recipe", "parameters", "epochs", "seeds", "test accuracy, %")
    return markdown_table("lrrrr", header, rows)


def details():
    """Return every sweep on the test set, with hardware and versions."""
    return with_machines({title: load(name) for title, name in DETAILS})


def usps():
    """Return the table of USPS, the data set that `--data` was tried with."""
    return with_machines({"Net5, `best`": load("net5-best-usps")})


def hands():
    """Return what the runs of the recipe `hands` reach: over the seeds, and the trained weights."""
    runs = json.loads((RESULTS / "net5-hands-digits.json").read_text())
    entries = json.loads((REPOSITORY / "weights" / "metadata.json").read_text())
    (seed,) = [entry["seed"] for entry in entries if entry["name"] == "net5_hands"]
    titles = {
        "MNIST's test images, among the ten digits": ("test", "ten_digits"),
        "the same, among all 11 classes": ("test", "all_outputs"),
        "MNIST's test images taken for no digit": ("test", "refused"),
        "generated digits": ("held_out", "digits_right"),
        "the generated digit that is read worst": ("held_out", "lowest_digit_right"),
        "generated digits taken for no digit": ("held_out", "digits_refused"),
        "images of no digit recognised as such": ("held_out", "negatives_refused"),
    }
    rows = []
    for title, (images, name) in titles.items():
        figures = {run["seed"]: run[images][name] for run in runs}
        spread = (
            f"{statistics.mean(figures.values()):.2f} ± {statistics.stdev(figures.values()):.2f}"
        )
        rows.append((title, spread, f"{figures[seed]:.2f}"))
    header = ("per cent", f"{len(runs)} seeds, mean ± std", f"`net5_hands`, seed {seed}")
    machines = machine("Net5 of 11 classes, `hands`", load("net5-hands"))
    return markdown_table("lrr", header, rows) + "\n\n" + machines


def with_machines(tables):
    """Return a table of sweeps, given by their titles, and a list of their hardware below."""
    machines = [machine(*item) for item in tables.items()]
    return sweeps_table(tables) + "\n\n" + "\n".join(machines)


def machine(title, summary):
    """Return a sweep's epochs, images, hardware and version as an item of a Markdown list."""
    about = summary["environment"]
    return (
        f"- {title}: {summary['epochs']} epoch{'s' * (summary['epochs'] != 1)} of "
        f"{summary['training_images']:,} images; "
        f"{about['hardware']}; threads a run: {about['threads']}; torch {about['torch']}"
    )


def output():
    """Return train.py's output for Net5, `best`, seed 1, from that run's history."""
    result = json.loads((RESULTS / "net5-best" / "seed-1.json").read_text())
    history = History(**result["history"])
    lists = {name: value for name, value in vars(history).items() if isinstance(value, list)}
    lines = []
    for epoch in (1, 2, 3, len(history)):
        part = History(history.source, **{name: v[:epoch] for name, v in lists.items()})
        lines.append(epoch_line(part, len(history)))
    lines[3:3] = ["..."]
    return "```\n" + "\n".join(lines) + "\n```"


def weights():
    """Return the table of the trained weights."""
    entries = json.loads((REPOSITORY / "weights" / "metadata.json").read_text())
    rows = [
        (f"`{e['name']}`", f"{e['parameters']:,}", f"{e['test_accuracy']:.2f}", e["recipe"])
        for e in entries
    ]
    header = ("weights", "parameters", "test accuracy, %", "recipe")
    return markdown_table("lrrl", header, rows)


def reports(benchmark):
    """Return the reports of a benchmark, on a CPU and, if there is one, on a GPU."""
    files = (HERE / f"{benchmark}-{device}.json" for device in ("cpu", "cuda"))
    return [json.loads(file.read_text()) for file in files if file.exists()]


def speed():
    """Return the table of speeds on each device, with its hardware and versions."""
    return "\n\n".join(map(speed_benchmark.table, reports("speed")))


def faster():
    """Return how much faster `quick` reaches 99.4 %, a sentence for each device."""
    cpu, *gpus = reports("time-to-target")
    sentences = [target_benchmark.sentence(cpu)]
    sentences += [f"On {each['hardware']}: {target_benchmark.sentence(each)}" for each in gpus]
    return " ".join(sentences)


def time_to_target():
    """Return the table of the time to the targets on each device, and the ratio at 99.4 %."""
    lines = []
    for each in reports("time-to-target"):
        about = f"{each['hardware']}, {each['threads']} threads, torch {each['torch']}."
        lines += [target_benchmark.table(each), f"{target_benchmark.sentence(each)} {about}"]
    return "\n\n".join(lines)


def gpu():
    """Return the steps of gpu.py, and its sweeps with their hardware and versions."""
    file = HERE / "gpu-cuda.json"
    if not file.exists():
        return "Not measured yet: CUDA was not run."
    steps = json.loads(file.read_text())["steps"]
    rows = [(title, step["outcome"], f"{step['seconds']:.0f}") for title, step in steps.items()]
    found = {title: load(name) for title, name in GPU if (RESULTS / f"{name}.json").exists()}
    table = markdown_table("llr", ("step", "outcome", "s"), rows)
    return "\n\n".join([table, *([with_machines(found)] if found else [])])


def strangers():
    """Return the tables, by kind and by digit, of what is read of other people's pictures."""
    tables = load("strangers")
    return "\n\n".join(photos_benchmark.table(tables[name]) for name in ("kinds", "digits"))


def synthetic():
    """Return how many synthetic pictures are read, as a sentence: with, and without a digit."""
    about = load("photos")
    readable = photos_benchmark.total("", about["kinds"]["tune"] + about["kinds"]["report"])
    rows = load("no-digit")["kinds"]["nothing"]
    made, blank = (
        photos_benchmark.total("", [row for row in rows if row["kind"] in names])
        for names in ({kind.__name__ for kind in MADE}, {kind.__name__ for kind in BLANK})
    )
    results = "../benchmarks/results"
    return (
        f"Of {about['number']} pictures of each readable kind, {readable['correct']} of "
        f"{readable['n']} are read ([all kinds]({results}/photos.md)). Of {made['n']} pictures "
        f"without a digit, such as letters, scribbles, shapes and parts of a clock, "
        f"{made['wrong_at_90']} ({100 * made['wrong_at_90'] / made['n']:.1f} %) are read with a "
        f"probability of 90 % or more, and {blank['wrong']} of {blank['n']} blank pages are read, "
        f"{blank['wrong_at_90']} with 90 % or more ([the counts]({results}/no-digit.md))."
    )


def records():
    """Return the records of each track, and Net5 by width."""
    return records_benchmark.tables()


def claim():
    """Return how our results compare with those that others have published, as a sentence."""
    return accuracy.claim(*accuracy.points())


BLOCKS = {
    block.__name__: block
    for block in (
        path,
        summary,
        details,
        usps,
        hands,
        output,
        weights,
        speed,
        faster,
        time_to_target,
        gpu,
        strangers,
        synthetic,
        records,
        claim,
    )
}


def field(name, field):
    """Return one figure of a sweep as text."""
    t = load(name)
    values = {
        "mean": lambda: f"{t['mean']:.2f}",
        "std": lambda: f"{t['std']:.2f}",
        "error": lambda: f"{t['std'] / len(t['seeds']) ** 0.5:.3f}",
        "seeds": lambda: len(t["seeds"]),
        "lowest": lambda: f"{t['minimum']:.2f}",
        "parameters": lambda: f"{t['parameters']:,}",
        "epochs": lambda: t["epochs"],
        "minutes": lambda: f"{statistics.median(t['seconds']) / 60:.0f}",
        "seconds": lambda: f"{statistics.median(t['seconds']):.0f}",
        "loss": lambda: f"{statistics.mean(t['loss']):.4f}",
        "correct": lambda: f"{100 * t['digits'][-1]['correct'] / t['digits'][-1]['n']:.1f}",
        "n": lambda: f"{t['digits'][-1]['n']:,}",
    }
    return str(values[field]())


def fill(text):
    """Return a text with everything between markers replaced by current figures."""

    def generate(match):
        start, name, _, end = match.groups()
        if name in BLOCKS:
            return f"{start}\n{BLOCKS[name]()}\n{end}"
        return start + field(*name.rsplit(".", 1)) + end

    return MARKED.sub(generate, text)


def pages():
    """Return the files that may hold markers."""
    return [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def main():
    """Fill in all pages and draw the README's curves."""
    for page in pages():
        write_atomically(page, fill(page.read_text()).encode())
    result = json.loads((RESULTS / "net5-best" / "seed-1.json").read_text())
    figure = plots.plot_history(History(**result["history"]), "Net5, recipe best, seed 1")
    figure.savefig(Path(REPOSITORY, "docs", "curves.png"), dpi=110)


if __name__ == "__main__":
    main()
