"""Train a network on MNIST or another data set from the command line: python train.py --help

Leaves a folder with settings.json, history.json, curves.png, weights.pt (a state_dict) and
checkpoint.pt, from which --resume continues.
"""

import io
import itertools
import json
import os
import sys
from pathlib import Path

import torch

import plots
import utils
from checkpoints import evaluated_weights, load_checkpoint, write_atomically
from checks import check_integer
from experiments import prepare
from hardware import environment
from history import History
from model import NETS
from options import OneLineParser, path, run_main
from recipes import RECIPES


def parse_arguments(arguments=None):
    """Return the options as a namespace."""
    parser = OneLineParser(
        description="Train a network, test it after every epoch, and keep the results."
    )
    option = parser.option
    option("--net", "a network of model.py", choices=NETS, default="net5")
    parser.data_set_option()
    option(
        "--recipe",
        f"images, optimizer, learning rate: {', '.join(RECIPES)}",
        choices=RECIPES,
        metavar="RECIPE",
        default="best",
    )
    option("--epochs", "passes over the images (default: the recipe's)", type=int)
    option("--batch-size", "training images per step (default: the recipe's)", type=int)
    option("--seed", "random seed for weights, order and augmentation", type=int, default=1)
    option("--val-size", "training images to hold out for validation", type=int, default=0)
    option("--device", "auto (CUDA where there is one), cpu, cuda, cuda:N or mps", default="auto")
    parser.data_options(source="auto")
    option("--out", "folder for the results (default: runs/NET-RECIPE-seedN, numbered)", type=path)
    option("--resume", "continue the run in that folder", action="store_true")
    option("--compile", "train through torch.compile", action="store_true")
    option("--threads", "CPU threads (default: torch's; fewer on a busy machine)", type=int)
    return parser.parse_args(arguments)


def run_folder(options, suffix=""):
    """Return the folder of the run: a new one, claimed for it, or with --resume one that is there.

    By default the first of runs/NAME, runs/NAME-2, ... that is free, or the last that holds a run;
    `suffix` is what NAME says of the data. Raises FileExistsError for a folder given that is not
    empty, FileNotFoundError for nothing to resume, ValueError for a damaged checkpoint, OSError
    where nothing can be written.
    """
    name = f"{options.net}-{options.recipe}{suffix}-seed{options.seed}"
    first = Path("runs", name)
    numbered = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    folders = itertools.chain([first], numbered) if options.out is None else [options.out]
    if options.resume:
        there = list(itertools.takewhile(Path.exists, folders))
        held = [folder for folder in there if (folder / "checkpoint.pt").exists()]
        if not held:
            name = options.out or first
            raise FileNotFoundError(f"nothing to resume: there is no {name / 'checkpoint.pt'}")
        load_checkpoint(held[-1] / "checkpoint.pt")
        return held[-1]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        if not any(folder.iterdir()):
            try:
                (folder / "settings.json").touch(exist_ok=False)  # one process alone can make it
                return folder
            except FileExistsError:
                pass
    raise FileExistsError(f"{folder} is not empty: add --resume, or choose another --out")


def save_results(folder, net, about):
    """Write settings, history, curves and weights as they were after the last whole epoch."""
    state = load_checkpoint(folder / "checkpoint.pt")
    history = History(**state["history"])
    net.load_state_dict(evaluated_weights(state))
    title = "{net}, recipe {recipe}, seed {seed}{mark}".format(**about, mark=history.mark)
    png, weights = io.BytesIO(), io.BytesIO()
    plots.plot_history(history, title).savefig(png, format="png", dpi=150)
    torch.save(net.state_dict(), weights)
    write_atomically(folder / "settings.json", json.dumps(about, indent=1).encode() + b"\n")
    history.save(folder / "history.json")
    write_atomically(folder / "curves.png", png.getvalue())
    write_atomically(folder / "weights.pt", weights.getvalue())


def train(options):
    """Train as the options say; return the Experiment and the folder of its results.

    Raises ValueError, TypeError, RuntimeError or OSError for options that cannot be met, before
    any training.
    """
    if options.threads is not None:
        torch.set_num_threads(check_integer("--threads", options.threads, minimum=1))
    if options.epochs is not None:
        check_integer("--epochs", options.epochs, minimum=1)
    experiment = prepare(
        NETS[options.net],
        RECIPES[options.recipe](),
        dataset=options.data,
        seed=options.seed,
        epochs=options.epochs,
        batch_size=options.batch_size,
        val_size=options.val_size,
        root=options.root,
        source=options.source,
        device=options.device,
    )
    images, device = experiment.train_loader.dataset, experiment.device
    data, mnist = History(images.source), f"{images.source} MNIST"
    folder = run_folder(options, data.suffix)
    settings = {name: getattr(options, name) for name in ("net", "recipe", "seed", "val_size")}
    settings |= {"batch_size": experiment.train_loader.batch_size, "source": images.source}
    classes = [*images.classes, *getattr(experiment.train_loader, "extra_classes", ())]
    settings |= {"classes": classes, "mean": images.mean, "std": images.std}
    if not options.resume:
        utils.modelsummary(experiment.net)
    print(
        f"{options.net} with recipe {options.recipe}, seed {options.seed}, on {device}: "
        f"{len(images):,} training images ({data.data_set or mnist})"
    )
    if images.source == "sample":
        print("This is the shipped sample: results are marked (sample), and are lower.")
    checkpoint = folder / "checkpoint.pt"
    try:
        experiment.fit(
            compile=options.compile,
            checkpoint=checkpoint,
            resume=options.resume,
            settings=settings,
        )
    except KeyboardInterrupt:
        if checkpoint.exists():
            done = len(load_checkpoint(checkpoint)["history"]["train_loss"])
            epochs = f"{done} epoch{'s' * (done != 1)}"
            print(f"\nStopped. {folder} keeps {epochs}; add --resume to go on.")
        else:
            print("\nStopped before an epoch was complete: nothing is kept.")
        raise
    finally:
        if len(experiment.history) and checkpoint.exists():
            about = settings | {"epochs": experiment.epochs} | environment(device)
            save_results(folder, experiment.net, about)
        elif not checkpoint.exists():  # nothing was kept: leave nothing behind
            (folder / "settings.json").unlink(missing_ok=True)
            folder.rmdir()
    return experiment, folder


def main(arguments=None):
    """Run the command line; return its exit code: 0, 1 for a loss that is not finite, 2, or 130."""
    options = parse_arguments(arguments)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and os.environ.get("RANK") == "0":
        print(
            "train.py: warning: each process of torchrun trains the same run; "
            "benchmarks/seeds.py shares seeds between them",
            file=sys.stderr,
        )
    try:
        experiment, folder = train(options)
    except KeyboardInterrupt:
        return 130
    except FloatingPointError as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # of whoever reads the output
        raise
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        return 2
    history = experiment.history
    print(
        f"Test accuracy{history.mark}: last epoch {history.test_accuracy[-1]:.2f}%, "
        f"best {history.test_accuracy[history.best_epoch - 1]:.2f}% in epoch {history.best_epoch}"
    )
    print(f"Results in {folder}{os.sep}")
    if not history.data_set:
        print(f"Your own digits: python predict.py --weights {folder} IMAGE ...")
    return 0


if __name__ == "__main__":
    run_main(main)
