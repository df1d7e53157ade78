"""Train a network on MNIST from the command line: python train.py --help

Leaves a folder with settings.json, history.json, curves.png, weights.pt (a state_dict) and
checkpoint.pt, from which --resume goes on.
"""

import io
import itertools
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

import torch

import model as networks
import plots
import utils
from options import OneLineParser
from recipes import RECIPES

NETS = {f"net{n}": getattr(networks, f"Net{n}") for n in range(1, 7)}


def parse_arguments(arguments=None):
    """Return the options as a namespace."""
    parser = OneLineParser(
        description="Train a network on MNIST, test it after every epoch, and keep the results."
    )
    option = parser.option
    option("--net", "a network of model.py", choices=NETS, default="net5")
    option(
        "--recipe",
        "images, optimizer, learning rate: see recipes.py",
        choices=RECIPES,
        default="best",
    )
    option("--epochs", "passes over the training images", type=int, default=15)
    option("--batch-size", "training images per step (default: the recipe's)", type=int)
    option("--seed", "random seed for weights, order and augmentation", type=int, default=1)
    option("--val-size", "training images to hold out for validation", type=int, default=0)
    option("--device", "auto (CUDA where there is one), cpu, cuda, cuda:N or mps", default="auto")
    parser.data_options(source="auto")
    option("--out", "folder for the results (default: runs/NET-RECIPE-seedN, numbered)", type=Path)
    option("--resume", "go on with the run in that folder", action="store_true")
    option("--compile", "train through torch.compile", action="store_true")
    return parser.parse_args(arguments)


def run_folder(options):
    """Return the folder of the run: a new one, claimed for it, or with --resume one that is there.

    By default the first of runs/NAME, runs/NAME-2, ... that is free, or the last that holds a run.
    Raises FileExistsError for a folder given that is not empty, FileNotFoundError for nothing to
    resume, ValueError for a damaged checkpoint, OSError where nothing can be written.
    """
    first = Path("runs", f"{options.net}-{options.recipe}-seed{options.seed}")
    numbered = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    folders = itertools.chain([first], numbered) if options.out is None else [options.out]
    if options.resume:
        there = list(itertools.takewhile(Path.exists, folders))
        held = [folder for folder in there if (folder / "checkpoint.pt").exists()]
        if not held:
            name = options.out or first
            raise FileNotFoundError(f"nothing to resume: there is no {name / 'checkpoint.pt'}")
        utils.load_checkpoint(held[-1] / "checkpoint.pt")
        tempfile.TemporaryFile(dir=held[-1]).close()
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
    state = utils.load_checkpoint(folder / "checkpoint.pt")
    history = utils.History(**state["history"])
    net.load_state_dict(utils.tested_weights(state))
    title = "{net}, recipe {recipe}, seed {seed}".format(**about)
    png, weights = io.BytesIO(), io.BytesIO()
    plots.plot_history(history, title).savefig(png, format="png", dpi=150)
    torch.save(net.state_dict(), weights)
    utils.write_atomically(folder / "settings.json", json.dumps(about, indent=1).encode() + b"\n")
    history.save(folder / "history.json")
    utils.write_atomically(folder / "curves.png", png.getvalue())
    utils.write_atomically(folder / "weights.pt", weights.getvalue())


def train(options, history):
    """Train as the options say, filling the history; return the folder of the results.

    Raises ValueError, TypeError, RuntimeError or OSError for options that cannot be met, before
    anything is trained.
    """
    utils.check_integer("--epochs", options.epochs, minimum=1)
    utils.keep_freed_memory()
    utils.set_seed(options.seed)
    device = utils.get_device(options.device)
    recipe = RECIPES[options.recipe]()
    batch_size = recipe.batch_size if options.batch_size is None else options.batch_size
    train_loader, training_set, *held_out, test_loader, _ = utils.data_loader(
        recipe.train_transforms,
        recipe.test_transforms,
        batch_size,
        root=options.root,
        source=options.source,
        device=device,
        seed=options.seed,
        val_size=options.val_size,
    )
    net = utils.to_device(NETS[options.net](), device)
    optimizer = recipe.optimizer(net.parameters())
    scheduler = recipe.scheduler(optimizer, options.epochs, len(train_loader))
    averaged = recipe.averaged(net)
    folder = run_folder(options)

    settings = {name: getattr(options, name) for name in ("net", "recipe", "seed", "val_size")}
    settings |= {"batch_size": batch_size, "source": training_set.source}
    if not options.resume:
        utils.modelsummary(net)
    print(
        f"{options.net} with recipe {options.recipe}, seed {options.seed}, on {device}: "
        f"{len(training_set):,} training images ({training_set.source} MNIST)"
    )
    checkpoint = folder / "checkpoint.pt"
    try:
        utils.fit(
            torch.compile(net) if options.compile else net,
            device,
            train_loader,
            test_loader,
            optimizer,
            options.epochs,
            scheduler,
            val_loader=held_out[0] if held_out else None,
            averaged=averaged,
            loss_function=recipe.loss_function,
            checkpoint=checkpoint,
            resume=options.resume,
            settings=settings,
            history=history,
            progress=sys.stderr.isatty(),
        )
    except KeyboardInterrupt:
        if checkpoint.exists():
            kept = len(utils.load_checkpoint(checkpoint)["history"]["test_loss"])
            print(f"\nStopped. {folder} keeps the {kept} whole epochs; add --resume to go on.")
        else:
            print("\nStopped before an epoch was complete: nothing is kept.")
        raise
    finally:
        if len(history) and checkpoint.exists():
            about = settings | {"epochs": options.epochs} | utils.environment(device)
            save_results(folder, net, about)
        elif not checkpoint.exists():  # nothing was kept: leave nothing behind
            (folder / "settings.json").unlink(missing_ok=True)
            folder.rmdir()
    return folder


def main(arguments=None):
    """Run the command line; return its exit code: 0, 1 for a loss that broke, 2, or 130."""
    options = parse_arguments(arguments)
    history = utils.History()
    try:
        folder = train(options, history)
    except KeyboardInterrupt:
        return 130
    except FloatingPointError as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        return 1
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        return 2
    mark = " (sample)" if history.source == "sample" else ""
    print(
        f"Test accuracy{mark}: last epoch {history.test_accuracy[-1]:.2f}%, "
        f"best {history.test_accuracy[history.best_epoch - 1]:.2f}% in epoch {history.best_epoch}"
    )
    print(f"Results in {folder}{os.sep}")
    return 0


if __name__ == "__main__":
    warnings.formatwarning = lambda message, *_: f"train.py: warning: {message}\n"
    sys.exit(main())
