"""Time to 99.0, 99.4 and 99.5 %: our recipes against the exercise's in a DataLoader.

    python benchmarks/time_to_target.py [--root FOLDER]

Net4 with `plateau` and torchvision's transforms in a DataLoader, and Net5 with `quick` and `best`,
train one after the other on the same machine, with all its threads. Each is evaluated after every
epoch; the time runs from the first step and includes evaluation. `quick` ends so close to 99.4 %
that one seed says little, so it is trained to its end over several seeds and their mean counts;
the others stop at the last target. Prints a table and the ratio at 99.4 %, which is a lower bound
if the exercise's recipe does not reach it. Writes time-to-target-DEVICE.json.
"""

import json
import math
import statistics
import sys
import time
from pathlib import Path

from seeds import HERE, first_at
from speed import standard_epoch, standard_loader
from torch.utils.data import DataLoader

import utils
from checkpoints import write_atomically
from checks import check_integer
from data import find_mnist, load_mnist
from experiments import prepare
from hardware import environment
from history import TARGET
from model import Net4, Net5
from options import OneLineParser, run_main
from recipes import RECIPES, plateau
from report import markdown_table

TARGETS = (99.0, TARGET, 99.5)  # per cent


def quick(found, device, options):
    """Train Net5 with `quick` and several seeds; return their mean and the runs."""
    seeds = range(options.seed, options.seed + options.quick_seeds)
    epochs = options.quick_epochs
    return mean([ours("quick", found, device, seed, epochs, stop=False) for seed in seeds])


def best(found, device, options):
    """Train Net5 with `best` until the last target; return accuracies and seconds."""
    return ours("best", found, device, options.seed, options.epochs)


def ours(recipe, found, device, seed, epochs, stop=True):
    """Train Net5 with the recipe of this name; return accuracies and seconds."""
    print(f"Net5, {recipe}, seed {seed}")
    experiment = prepare(
        Net5, RECIPES[recipe](), seed=seed, epochs=epochs, root=found.root, device=device
    )

    def epoch(number):
        utils.train_model(
            experiment.net,
            device,
            experiment.train_loader,
            experiment.optimizer,
            number,
            loss_function=experiment.recipe.loss_function,
            batch_scheduler=experiment.scheduler,
            averaged_model=experiment.averaged_model,
            progress=False,
        )
        test_loader = experiment.test_loader
        return utils.test_model(experiment.evaluated, device, test_loader, verbose=False).accuracy

    return timed(epoch, epochs, stop)


def standard(found, device, options):
    """Train Net4 with the exercise's recipe the standard way; return accuracies and seconds."""
    print("Net4, plateau, the standard way")
    utils.set_seed(options.seed)
    recipe, workers = plateau(), options.workers
    train_loader = standard_loader(found, device, workers)
    test = load_mnist(found, train=False, transform=recipe.test_transforms)
    test_loader = DataLoader(test, recipe.batch_size, num_workers=workers)
    net = Net4().to(device)
    optimizer = recipe.optimizer(net.parameters())
    scheduler = recipe.scheduler(optimizer, options.epochs, len(train_loader))

    def epoch(number):
        standard_epoch(net, optimizer, device, train_loader)
        loss, accuracy = utils.test_model(net, device, test_loader, verbose=False)
        scheduler.step(loss)
        return accuracy

    return timed(epoch, options.epochs)


def timed(epoch, epochs, stop=True):
    """Run epochs, until one reaches the last target if `stop`.

    `epoch` is called with the number of each and returns the test accuracy in per cent. Returns
    the accuracies, and the seconds from the start to the end of each epoch.
    """
    accuracies, seconds, start = [], [], time.perf_counter()
    for number in range(1, epochs + 1):
        accuracies.append(epoch(number))
        seconds.append(time.perf_counter() - start)
        print(f"  epoch {number}: {accuracies[-1]:.2f}% after {seconds[-1]:.0f} s", flush=True)
        if stop and accuracies[-1] >= TARGETS[-1]:
            break
    return {"accuracies": accuracies, "seconds": seconds}


def mean(runs):
    """Return the mean over runs of equal length, epoch by epoch, with the runs themselves."""
    means = {
        kind: [statistics.mean(values) for values in zip(*(run[kind] for run in runs), strict=True)]
        for kind in ("accuracies", "seconds")
    }
    return means | {"runs": runs}


def main(arguments=None):
    """Measure, print and write."""
    parser = OneLineParser(description="Time our recipes and the exercise's to the targets.")
    option = parser.option
    parser.data_options(source="full")
    option("--device", "cpu or cuda", default="cpu")
    option("--seed", "first seed of quick, and the seed of the others", type=int, default=1)
    option("--epochs", "maximum, and length of best's schedule", type=int, default=15)
    option("--quick-epochs", "length of quick's schedule", type=int, default=3)
    option("--quick-seeds", "number of seeds of quick, counted from --seed", type=int, default=5)
    option("--workers", "of the standard way's DataLoader", type=int, default=2)
    option("--out", "JSON file (default: time-to-target-DEVICE.json, here)", type=Path)
    options = parser.parse_args(arguments)
    try:
        check_integer("--epochs", options.epochs, minimum=1)
        check_integer("--quick-epochs", options.quick_epochs, minimum=1)
        check_integer("--quick-seeds", options.quick_seeds, minimum=1)
        check_integer("--workers", options.workers, minimum=0)
        device = utils.get_device(options.device)
        check_integer("--seed", options.seed, minimum=0)
        options.out = options.out or HERE / f"time-to-target-{device.type}.json"
        if not options.out.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {options.out.parent}")
        found = find_mnist(options.root, options.source)
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"time_to_target.py: error: {error}")
    report = environment(device) | {"source": found.source, "targets": TARGETS}
    report |= {"seed": options.seed, "workers": options.workers}
    for way in (standard, quick, best):  # standard first: ours tells glibc to keep freed memory
        report[way.__name__] = way(found, device, options)
        write_atomically(options.out, json.dumps(report, indent=1).encode() + b"\n")
    print(table(report) + "\n\n" + sentence(report))


def table(report):
    """Return what was measured so far as a Markdown table, with a column for each target."""
    seeds = len(report.get("quick", {}).get("runs", []))
    titles = {
        "standard": "Net4, `plateau`, the standard way",
        "best": "Net5, `best`",
        "quick": f"Net5, `quick`, mean of {seeds} seeds",
    }
    ways = {title: report[name] for name, title in titles.items() if name in report}
    targets = report["targets"]
    header = ("", *(f"{target} %" for target in targets))
    rows = [(title, *(cell(way, target) for target in targets)) for title, way in ways.items()]
    return markdown_table("l" + "r" * len(targets), header, rows)


def cell(way, target):
    """Return when a target was reached, such as "99 s (epoch 4)"."""
    epoch = first_at(way["accuracies"], target)
    if epoch is None:
        return f"not in {way['seconds'][-1]:.0f} s ({len(way['seconds'])} epochs)"
    return f"{way['seconds'][epoch - 1]:.0f} s (epoch {epoch})"


def sentence(report):
    """Return how `quick` compares with the standard way at 99.4 %, as a sentence."""
    if not {"quick", "standard"} <= report.keys():
        return "`quick` was not compared with the exercise's recipe."
    standard, ours = report["standard"], report["quick"]
    mine = first_at(ours["accuracies"], TARGET)
    other = first_at(standard["accuracies"], TARGET)
    if mine is None:
        return f"`quick` did not reach {TARGET} % in {len(ours['seconds'])} epochs."
    ratio = standard["seconds"][-1 if other is None else other - 1] / ours["seconds"][mine - 1]
    more = ""
    if other is None:  # a lower bound, so rounded down
        more, ratio = "more than ", math.floor(10 * ratio) / 10
    return (
        f"`quick` reaches {TARGET} % {more}{ratio:.1f} times as fast as the exercise's recipe "
        "in a DataLoader."
    )


if __name__ == "__main__":
    run_main(main)
