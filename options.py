"""The command lines: how their options are described and refused, and how they end."""

import argparse
import contextlib
import errno
import inspect
import os
import sys
import warnings
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


def run_main(main):
    """Run a command line's `main` and end the process with the exit code that it returns.

    Where nobody reads the output any more (`| head -1`) it ends quietly, with 141 as other tools
    do; where the output can't be written, with one line and 2; after Ctrl-C with 130. Until then
    each warning is one line.
    """
    name = Path(sys.argv[0]).name
    before, warnings.formatwarning = warnings.formatwarning, one_line
    code = 0
    try:
        try:
            code = main()
        except SystemExit as ending:  # --help, and errors
            code = ending.code
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except OSError as error:
        is_closed = error.errno == (errno.EINVAL if os.name == "nt" else errno.EPIPE)
        if not (is_closed or code):  # or else `main` has said it
            with contextlib.suppress(OSError):
                print(f"{name}: error: {error}", file=sys.stderr)
        code = code or (141 if is_closed else 2)
    finally:
        warnings.formatwarning = before
        for stream in (sys.stdout, sys.stderr):
            discard_what_is_left(stream)
    sys.exit(code)


def one_line(message, *_):
    """Return a warning as `warnings.formatwarning` does, without its place in the code."""
    return f"{Path(sys.argv[0]).name}: warning: {message}\n"


def discard_what_is_left(stream):
    """Flush a stream; drop what can't be written, so that Python does not try again at its end."""
    try:
        if stream is not None:
            stream.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
