"""Train a network on MNIST from the command line: python train.py --help

Leaves a folder with settings.json, history.json, curves.png, weights.pt (a state_dict) and
checkpoint.pt, from which --resume goes on.
"""

import argparse
import io
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
from recipes import RECIPES

NETS = {f"net{n}": getattr(networks, f"Net{n}") for n in range(1, 6)}


class OneLineParser(argparse.ArgumentParser):
    """Say what is wrong with the options in one line, without the usage before it."""

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def parse_arguments(arguments=None):
    """Return the options as a namespace."""
    parser = OneLineParser(
        description="Train a network on MNIST, test it after every epoch, and keep the results.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--net", choices=NETS, default="net4", help="a network of model.py")
    parser.add_argument("--recipe", choices=RECIPES, default="plateau", help="see recipes.py")
    parser.add_argument("--epochs", type=int, default=15, help="passes over the training images")
    parser.add_argument("--batch-size", type=int, default=128, help="training images a step")
    parser.add_argument("--seed", type=int, default=1, help="of weights, order, augmentation")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--root", type=Path, help="folder with MNIST/raw/ (else MNIST_ROOT)")
    parser.add_argument(
        "--source",
        choices=("auto", "full", "sample"),
        default="auto",
        help="full: refuse to train on the sample; sample: ask for it",
    )
    parser.add_argument("--out", type=Path, help="folder of the run (else runs/NET-RECIPE-seedN)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in that folder")
    parser.add_argument("--compile", action="store_true", help="train through torch.compile")
    return parser.parse_args(arguments)


def run_folder(options):
    """Return the folder of the run, made and writable.

    A default name that is taken gets a number, or is the newest of its kind with --resume.
    Raises FileExistsError for a folder given that holds a run, FileNotFoundError for nothing to
    resume.
    """
    folder = options.out
    if folder is None:
        name = f"{options.net}-{options.recipe}-seed{options.seed}"
        first, number = Path("runs", name), 2
        folder = first
        while (following := first.with_name(f"{name}-{number}")).exists():
            folder, number = following, number + 1
        if not options.resume and first.exists():
            folder = following
    held = (folder / "checkpoint.pt").exists()
    if options.resume and not held:
        raise FileNotFoundError(f"nothing to resume: there is no {folder / 'checkpoint.pt'}")
    if held and not options.resume:
        raise FileExistsError(f"{folder} holds a run: add --resume, or choose another --out")
    if options.resume:
        utils.load_checkpoint(folder / "checkpoint.pt")  # raises ValueError for a damaged one
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()  # raises OSError where nothing can be written
    return folder


def save_results(folder, net, about):
    """Write settings, history, curves and weights as they were after the last whole epoch."""
    state = utils.load_checkpoint(folder / "checkpoint.pt")
    history = utils.History(**state["history"])
    net.load_state_dict(state["parts"]["model"])
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
    utils.set_seed(options.seed)
    device = utils.get_device(options.device)
    recipe = RECIPES[options.recipe]()
    train_loader, training_set, test_loader, _ = utils.data_loader(
        recipe.train_transforms,
        recipe.test_transforms,
        options.batch_size,
        root=options.root,
        source=options.source,
        device=device,
        seed=options.seed,
    )
    net = NETS[options.net]().to(device)
    optimizer = recipe.optimizer(net.parameters())
    folder = run_folder(options)

    settings = {name: getattr(options, name) for name in ("net", "recipe", "batch_size", "seed")}
    settings["source"] = training_set.source
    utils.modelsummary(net)
    print(
        f"{options.net} with recipe {options.recipe}, seed {options.seed}, on {device}: "
        f"{len(training_set):,} training images ({training_set.source} MNIST)"
    )
    try:
        utils.fit(
            torch.compile(net) if options.compile else net,
            device,
            train_loader,
            test_loader,
            optimizer,
            options.epochs,
            recipe.scheduler(optimizer),
            checkpoint=folder / "checkpoint.pt",
            resume=options.resume,
            settings=settings,
            history=history,
            progress=sys.stderr.isatty(),
        )
    finally:
        if len(history) and (folder / "checkpoint.pt").exists():
            about = settings | {"epochs": options.epochs} | utils.environment(device)
            save_results(folder, net, about)
    return folder


def main(arguments=None):
    """Run the command line; return its exit code: 0, 1 for a loss that broke, 2, or 130."""
    options = parse_arguments(arguments)
    history = utils.History()
    try:
        folder = train(options, history)
    except KeyboardInterrupt:
        print(
            f"\nStopped in epoch {len(history) + 1}; what came before is kept. To go on, "
            "give the same options and --resume."
        )
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
