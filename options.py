"""The options of the command lines: how they are described, and refused."""

import argparse
import inspect
from pathlib import Path

from model import NETS


def path(text):
    """Return a path with ~ expanded; an error for an empty one, which would be the folder here."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got ''")
    return Path(text).expanduser()


def data_set(text):
    """Return the name of a data set, or of "train.npz,test.npz" the two paths."""
    train, comma, test = text.partition(",")
    return (path(train), path(test)) if comma else text


def network_arguments():
    """Return the numbers that networks of model.py take: {argument: {network's name: default}}.

    Without `classes`, which the data decides.
    """
    arguments = {}
    for name, network in NETS.items():
        for each in inspect.signature(network).parameters.values():
            if type(each.default) in (int, float) and each.name != "classes":
                arguments.setdefault(each.name, {})[name] = each.default
    return arguments


class OneLineParser(argparse.ArgumentParser):
    """Say what is wrong with the options in one line, without the usage before it."""

    def option(self, name, help, **settings):
        """Add an option whose help ends in its default."""
        default = "" if settings.get("default") is None else " (default: %(default)s)"
        self.add_argument(name, help=help + default, **settings)

    def root_option(self):
        """Add the option that says where MNIST is."""
        about = "folder with MNIST/raw/ (default: MNIST_ROOT, data/ or a download)"
        self.option("--root", about, type=path)

    def data_options(self, source):
        """Add where MNIST is, and whether the sample will do; `source` is the default of that."""
        self.root_option()
        self.option(
            "--source",
            "the shipped sample: never (full), always (sample), if there is nothing else (auto)",
            choices=("auto", "full", "sample"),
            default=source,
        )

    def data_set_option(self):
        """Add the option that says which data set; `data_options` is for MNIST."""
        about = "a data set of torchvision's, such as FashionMNIST or EMNIST/balanced, or "
        about += "train.npz,test.npz with arrays images and labels (default: MNIST)"
        self.option("--data", about, type=data_set, metavar="NAME")

    def network_options(self):
        """Add an option for every number that a network takes, such as --width."""
        for argument, defaults in network_arguments().items():
            about = f"of {' or '.join(defaults)} (default: the network's own)"
            self.option(f"--{argument}", about, type=type(next(iter(defaults.values()))))

    def given_arguments(self, options, name):
        """Return which of these options are given; an error for one that this network lacks."""
        given = {}
        for argument, defaults in network_arguments().items():
            value = getattr(options, argument)
            if value is not None and name not in defaults:
                self.error(f"--{argument} is of {', '.join(defaults)}, got it with {name}")
            if value is not None:
                given[argument] = value
        return given

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")
