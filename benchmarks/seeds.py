"""Train a network with a recipe over several seeds; tabulate the last epoch's accuracy.

    python benchmarks/seeds.py --net net5 --recipe best --seeds 1-10 [--root FOLDER]
    torchrun --nproc-per-node 2 benchmarks/seeds.py --net net5 --recipe best --seeds 1-10

Writes results/NAME/seed-N.json for each run, and a summary to results/NAME.json and NAME.md.
`--data` takes another data set than MNIST, see docs/data.md. The seed determines weights, order,
augmentation, and which images are held out.

Runs are trained in parallel processes that share the cores; under torchrun each rank trains its
share of the seeds and rank 0 writes the summary. An interrupted sweep continues where it stopped:
finished runs are read from results/, an unfinished one resumes from its checkpoint in runs/sweeps/.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import re
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import partial
from itertools import islice
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import utils  # noqa: E402
from checkpoints import RunState, run_settings, write_atomically  # noqa: E402
from checks import check_integer  # noqa: E402
from data import find_mnist, load_data  # noqa: E402
from experiments import prepare  # noqa: E402
from hardware import environment  # noqa: E402
from history import TARGET, History  # noqa: E402
from model import NETS  # noqa: E402
from options import OneLineParser, run_main  # noqa: E402
from recipes import RECIPES  # noqa: E402
from report import markdown_table  # noqa: E402

FINGERPRINTED = ("layers", "optimizer", "scheduler", "loss_function", "transforms", "images")
SCHEDULE_CONSTANTS = (  # in a fingerprint: another name here would change those of old results
    *("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lrs", "eps"),
    *("total_steps", "T_max", "T_0", "T_mult", "eta_min", "gamma", "step_size", "milestones"),
    *("base_lrs", "_schedule_phases"),
)
RESULTS, STATES = HERE / "results", HERE.parent / "runs" / "sweeps"


@dataclass(frozen=True)
class Run:
    """One training run: `net` and `recipe` are called for a new network and its Recipe.

    With `split` "test" every epoch is evaluated on the test set, and the loss on the `val_size`
    held-out images, if any, steps ReduceLROnPlateau; with "validation" every epoch is evaluated on
    the held-out images alone.
    """

    name: str
    net: Callable
    recipe: Callable
    seed: int
    split: str = "test"
    val_size: int = 0
    epochs: int = 15
    root: str | None = None
    device: str = "cpu"
    dataset: str | tuple | None = None

    @property
    def result(self):
        """The file with the run's settings and history."""
        return RESULTS / self.name / f"seed-{self.seed}.json"

    @property
    def state(self):
        """The run's checkpoint, which in the end holds the trained weights."""
        return STATES / self.name / f"seed-{self.seed}.pt"


def train(run, threads):
    """Run or resume one training with `threads` threads; return its result as a dict.

    Raises ValueError if the result or the checkpoint that exists is of another run.
    """
    torch.set_num_threads(threads)
    experiment = prepare(
        run.net,
        run.recipe(),
        seed=run.seed,
        epochs=run.epochs,
        val_size=run.val_size,
        split=run.split,
        dataset=run.dataset,
        root=run.root,
        device=run.device,
        verbose=False,
    )
    images, net = experiment.train_loader.dataset, experiment.net
    settings = {"name": run.name, "net": type(net).__name__, "recipe": run.recipe.__name__}
    settings |= {"seed": run.seed, "split": run.split, "val_size": run.val_size}
    settings |= {"training_images": len(images), "source": images.source}
    settings |= {"batch_size": experiment.train_loader.batch_size, "epochs": run.epochs}
    settings |= {"fingerprint": fingerprint(experiment)}
    if run.result.exists():
        kept = json.loads(run.result.read_text())
        check_same(run, settings, kept["settings"])
        return kept

    run.state.parent.mkdir(parents=True, exist_ok=True)
    run.result.parent.mkdir(parents=True, exist_ok=True)
    experiment.fit(
        checkpoint=run.state, resume=True, settings=settings, progress=False, verbose=False
    )
    about = {"parameters": experiment.parameters, "date": date.today().isoformat()}
    result = {"settings": settings | about | environment(run.device)}
    result["history"] = asdict(experiment.history)
    if experiment.averaged_model is not None:  # the same run without the EMA, for comparison
        loader = experiment.test_loader or experiment.val_loader
        result["without_ema"] = utils.test_model(net, run.device, loader, verbose=False)._asdict()
    write_atomically(run.result, json.dumps(result, indent=1).encode() + b"\n")
    return result


def check_same(run, settings, kept):
    """Raise ValueError, naming what differs, if an existing result has other settings."""
    differing = [
        f"{name} is {value!r}, was {kept.get(name)!r}"
        for name, value in settings.items()
        if kept.get(name) != value
    ]
    if differing:
        raise ValueError(
            f"{run.result} is of another run ({'; '.join(differing)}): move it and {run.state} "
            "away, or choose another name"
        )


def fingerprint(experiment):
    """Return a digest of what makes a run: layers, images, optimizer, schedule, EMA, loss.

    Takes fewer settings than a checkpoint, and only those of the first parameter group: results
    keep their fingerprints for good, while a checkpoint's settings may grow.
    """
    e, loaders = experiment, {"train_loader": experiment.train_loader}
    state = RunState(e.net, e.averaged_model, e.optimizer, e.scheduler, loaders, e.history)
    settings = run_settings(state, e.recipe.loss_function)
    schedule = {} if e.scheduler is None else e.scheduler.state_dict()
    made = {name: settings[name] for name in FINGERPRINTED}
    made |= {name: str(schedule[name]) for name in SCHEDULE_CONSTANTS if name in schedule}
    made |= {"step": e.recipe.step} if e.recipe.step else {}
    rates = {name: v for name, v in e.optimizer.param_groups[0].items() if "lr" in name}
    made["rates"] = sorted(rates.items())
    made["decay"] = getattr(getattr(e.averaged_model, "multi_avg_fn", None), "decay", None)
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:16]


def cores():
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def train_all(runs, processes):
    """Train runs in parallel; return their results in order, and print each as it is done."""
    processes = min(processes, len(runs))
    threads = max(1, cores() // processes)
    context = multiprocessing.get_context("spawn")  # CUDA cannot be used in a forked process
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        results = []
        for run, result in zip(runs, pool.map(train, runs, [threads] * len(runs)), strict=True):
            accuracy = History(**result["history"]).accuracy[-1]
            print(f"{run.name}, seed {run.seed}: last epoch {accuracy:.2f}%", flush=True)
            results.append(result)
    return results


def summary(results):
    """Return statistics over runs that differ only in the seed; accuracies in per cent."""
    histories = [History(**result["history"]) for result in results]
    all_settings = [result["settings"] for result in results]
    last = [history.accuracy[-1] for history in histories]
    best = [max(history.accuracy) for history in histories]
    settings = all_settings[0]
    return {
        "parameters": settings["parameters"],
        "split": settings["split"],
        "source": settings["source"],
        "training_images": settings["training_images"],
        "epochs": settings["epochs"],
        "seeds": [settings["seed"] for settings in all_settings],
        "last_epoch": last,
        "mean": statistics.mean(last),
        "std": statistics.stdev(last) if len(last) > 1 else 0.0,
        "minimum": min(last),
        "loss": [history.loss[-1] for history in histories],
        "best_epoch": [history.best_epoch for history in histories],
        "best_accuracy": best,
        "first_at_target": [first_at(history.accuracy, TARGET) for history in histories],
        "seconds": [sum(history.seconds) for history in histories],
        "environment": {
            name: either(settings[name] for settings in all_settings)
            for name in ("device", "hardware", "threads", "python", "torch", "torchvision")
        },
    }


def either(values):
    """Return the distinct values as one text, "A or B"; a value may be such a text itself."""
    return " or ".join(sorted({part for value in values for part in str(value).split(" or ")}))


def first_at(accuracies, target):
    """Return the first epoch, counted from 1, with an accuracy of at least `target`, or None."""
    return next((n for n, value in enumerate(accuracies, 1) if value >= target), None)


def sweeps_table(tables):
    """Return a Markdown table of summaries, given by their titles."""
    header = ("", "parameters", "seeds", "last epoch, mean ± std", "lowest", "best epoch")
    header += (f"first at {TARGET} %", "s a run")
    rows = [row(*item) for item in tables.items()]
    if all(History(table["source"]).data_set for table in tables.values()):  # the target is MNIST's
        header, *rows = ((*cells[:6], *cells[7:]) for cells in (header, *rows))
    return markdown_table("lrrrrrrr"[: len(header)], header, rows)


def row(title, table):
    """Return the cells of a summary's row."""
    reached = [epoch for epoch in table["first_at_target"] if epoch is not None]
    first = "never"
    if reached:
        first = f"epoch {min(reached)}"
        first += f" to {max(reached)}" if max(reached) > min(reached) else ""
    if 0 < len(reached) < len(table["seeds"]):
        first += f", {len(reached)} of {len(table['seeds'])}"
    comparable = " or " not in table["environment"]["threads"]
    seconds = f"{statistics.median(table['seconds']):.0f}" if comparable else "differing"
    accuracy = f"{table['mean']:.2f} ± {table['std']:.2f}"
    extremes = (f"{each:.2f}" for each in (table["minimum"], max(table["best_accuracy"])))
    parameters = f"{table['parameters']:,}"
    return (title, parameters, len(table["seeds"]), accuracy, *extremes, first, seconds)


def caption(table):
    """Return the text below a table: images, epochs, hardware and versions."""
    tested = "the test images" if table["split"] == "test" else "training images held out"
    tested += History(table["source"]).mark
    about = table["environment"]
    return (
        f"Accuracy in per cent on {tested}, after {table['epochs']} "
        f"epoch{'s' * (table['epochs'] != 1)} of "
        f"{table['training_images']:,} images; the std is over seeds. "
        f"{about['hardware']}, {about['device']}, {about['threads']} "
        f"thread{'s' * (about['threads'] != '1')} a run, torch {about['torch']}, "
        f"torchvision {about['torchvision']}."
    )


def parse_arguments(arguments=None):
    """Return the options as a namespace; `seeds` a list, `arguments` those of the network."""
    parser = OneLineParser(description="Train over several seeds and tabulate the accuracy.")
    option = parser.option
    option("--net", "a network of model.py", choices=NETS, default="net5")
    parser.network_options()
    parser.data_set_option()
    option("--recipe", "see recipes.py", choices=RECIPES, default="best")
    option("--seeds", "such as 1-10 or 1,4,5", type=seed_list, default="1-3")
    option("--epochs", "of each run (default: the recipe's)", type=int)
    option(
        "--split", "to evaluate on after each epoch", choices=("test", "validation"), default="test"
    )
    option("--val-size", "images to hold out (default: 0; 10,000 for validation)", type=int)
    option("--processes", "runs in parallel (default: one for each core; one on CUDA)", type=int)
    option("--device", "auto, cpu, cuda or mps", default="auto")
    parser.data_options(source="full")
    option(
        "--out",
        "name below results/ (default: from the net, its options, the recipe, the data and the "
        "split)",
    )
    options = parser.parse_args(arguments)
    options.arguments = parser.given_arguments(options, options.net)
    if not 0 <= options.arguments.get("dropout", 0) < 1:
        parser.error(f"expected --dropout from 0 to less than 1, got {options.dropout}")
    if options.epochs is None:
        options.epochs = RECIPES[options.recipe]().epochs
    if options.val_size is None:
        options.val_size = 10_000 if options.split == "validation" else 0
    if options.split == "validation" and not options.val_size:
        parser.error("--split validation needs --val-size of at least 1, got 0")
    return options


def seed_list(text):
    """Return the seeds named by a text such as "1-3,7"."""
    seeds = []
    if re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        for part in text.split(","):
            first, _, last = part.partition("-")
            seeds += range(int(first), int(last or first) + 1)
    if not seeds or len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError(f"expected seeds such as 1-10, each once, got {text!r}")
    return seeds


def main(arguments=None):
    """Run the command line."""
    options = parse_arguments(arguments)
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    try:
        check_integer("--epochs", options.epochs, minimum=1)
        check_integer("--val-size", options.val_size, minimum=0)
        device = utils.get_device(options.device)
        processes = options.processes
        if processes is None:
            processes = 1 if device.type == "cuda" else cores()
        check_integer("--processes", processes, minimum=1)
        net = partial(NETS[options.net], **options.arguments)
        net()  # a width may be none that it takes
        if options.data in (None, "MNIST"):
            root, suffix = str(find_mnist(options.root, options.source).root), ""
        else:  # downloaded here, not by every process
            recipe, root = RECIPES[options.recipe](), options.root and str(options.root)
            transforms = recipe.train_transforms, recipe.test_transforms
            train_set, _ = load_data(*transforms, options.data, root=root, source=options.source)
            suffix = History(train_set.source).suffix
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        sys.exit(f"seeds.py: error: {error}")
    if ranks > 1 and device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    kind = "".join(f"-{name}{value:g}" for name, value in options.arguments.items())
    default = f"{options.net}{kind}-{options.recipe}{suffix}"
    default += "-validation" if options.split == "validation" else ""
    runs = [
        Run(
            options.out or default,
            net,
            RECIPES[options.recipe],
            seed,
            options.split,
            options.val_size,
            options.epochs,
            root,
            str(device),
            options.data,
        )
        for seed in options.seeds
    ]
    try:
        if ranks > 1:
            torch.distributed.init_process_group("gloo", timeout=timedelta(days=1))
            threads = max(1, cores() // int(os.environ["LOCAL_WORLD_SIZE"]))
            for run in islice(runs, rank, None, ranks):
                train(run, threads)
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()
            if rank > 0:
                return
            results = [train(run, threads) for run in runs]  # read, for all of them are done
        else:
            results = train_all(runs, processes)
    except (ValueError, FloatingPointError, OSError) as error:
        sys.exit(f"seeds.py: error: {error}")
    table = summary(results)
    text = sweeps_table({runs[0].name: table}) + "\n\n" + caption(table) + "\n"
    write(runs[0].name, table, text)
    print("\n" + text)


def write(name, table, text):
    """Write a summary, as JSON, and its text, as Markdown, to results/."""
    content = json.dumps(table, indent=1).encode() + b"\n"
    write_atomically(RESULTS / f"{name}.json", content)
    write_atomically(RESULTS / f"{name}.md", text.encode())


if __name__ == "__main__":
    run_main(main)
